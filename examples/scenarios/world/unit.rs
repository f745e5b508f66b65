use bytes::{BufMut, Bytes, BytesMut};
use headwater::Sink;

/// Puts a write into the stream: its length, its key, and a value that fills it up.
pub fn put(unit: &mut impl Sink, key: u64, bytes: usize) {
    unit.put(&header(key, bytes));
    let mut left = bytes.saturating_sub(HEADER);
    while left > 0 {
        let filler = left.min(FILLER.len());
        unit.put(&FILLER[..filler]);
        left -= filler;
    }
}

/// A write that can be put into the stream again and again without a copy.
pub fn shared(key: u64, bytes: usize) -> Bytes {
    let mut unit = BytesMut::zeroed(bytes);
    unit[..HEADER].copy_from_slice(&header(key, bytes));
    unit.freeze()
}

/// Names the keys of the whole units at the start of `bytes`, and tells how long these are together.
pub fn read_whole(bytes: &[u8], mut key_of: impl FnMut(u64)) -> usize {
    let mut at = 0;
    while let Some((len, key)) = read_header(&bytes[at..]) {
        if bytes.len() - at < len {
            break;
        }
        key_of(key);
        at += len;
    }
    at
}

fn header(key: u64, bytes: usize) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let mut room = &mut header[..];
    room.put_u32_le(u32::try_from(bytes).expect("a write of a scenario is no larger than that"));
    room.put_u64_le(key);
    header
}

fn read_header(bytes: &[u8]) -> Option<(usize, u64)> {
    let (len, rest) = bytes.split_first_chunk()?;
    let (key, _) = rest.split_first_chunk()?;
    Some((u32::from_le_bytes(*len) as usize, u64::from_le_bytes(*key)))
}

/// Bytes of a write beside its value; the smallest there is.
pub const HEADER: usize = 12;

const FILLER: [u8; 4096] = [0; 4096];
