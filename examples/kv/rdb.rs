use std::iter;

use crc::{CRC_64_REDIS, Crc, Table};
use headwater::ResumePoint;

use crate::store::{Entry, Shard, View};

/// The data of one moment.
pub struct Frozen {
    pub view: View,
    /// Its place in its history: stored with the data, since it belongs to nothing else.
    pub held: Option<ResumePoint>,
}

/// The data as an RDB of version 9, which Redis 5 and later and every Valkey load: a header, a part for each shard, and
/// an end. Each is encoded when it is asked for, however long that takes.
pub fn encode(frozen: &Frozen) -> impl Iterator<Item = Vec<u8>> + Send + use<> {
    let shards = frozen.view.clone().into_iter().map(|shard| encode_shard(&shard));
    let header = [b"REDIS0009", &encode_held(frozen.held)[..], &[SELECT_DB, 0]].concat();
    let mut parts = iter::once(header).chain(shards).chain([vec![EOF]]);
    let mut digest = Some(CHECKSUM.digest());
    iter::from_fn(move || match parts.next() {
        Some(part) => {
            digest.as_mut()?.update(&part);
            Some(part)
        }
        None => digest.take().map(|digest| digest.finalize().to_le_bytes().to_vec()),
    })
}

/// All three, or none (R37). The stream never writes to another database.
fn encode_held(held: Option<ResumePoint>) -> Vec<u8> {
    let Some(ResumePoint { id, offset }) = held else { return Vec::new() };
    let mut bytes = Vec::new();
    for (name, value) in
        [("repl-stream-db", "0".to_owned()), ("repl-id", id.to_string()), ("repl-offset", offset.to_string())]
    {
        bytes.push(AUX);
        put_string(&mut bytes, name.as_bytes());
        put_string(&mut bytes, value.as_bytes());
    }
    bytes
}

fn encode_shard(shard: &Shard) -> Vec<u8> {
    let len = shard.iter().map(|(key, entry)| key.len() + entry.value.len() + 28).sum();
    let mut bytes = Vec::with_capacity(len);
    for (key, entry) in shard {
        put_entry(&mut bytes, key, entry);
    }
    bytes
}

fn put_entry(out: &mut Vec<u8>, key: &[u8], entry: &Entry) {
    if let Some(at) = entry.expires_at {
        out.push(EXPIRE_TIME_MS);
        out.extend(at.to_le_bytes());
    }
    out.push(TYPE_STRING);
    put_string(out, key);
    put_string(out, &entry.value);
}

/// Its length, in the fewest bytes, the first of which tells how many follow; then itself.
fn put_string(out: &mut Vec<u8>, text: &[u8]) {
    let len = (text.len() as u64).to_be_bytes();
    match text.len() as u64 {
        0..0x40 => out.push(len[7]),
        0x40..0x4000 => out.extend([0x40 | len[6], len[7]]),
        0x4000..=0xffff_ffff => out.extend([&[0x80], &len[4..]].concat()),
        _ => out.extend([&[0x81], &len[..]].concat()),
    }
    out.extend(text);
}

static CHECKSUM: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);

const AUX: u8 = 0xfa;
const EXPIRE_TIME_MS: u8 = 0xfc;
const SELECT_DB: u8 = 0xfe;
const EOF: u8 = 0xff;
const TYPE_STRING: u8 = 0;
