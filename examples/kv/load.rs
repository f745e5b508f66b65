use crc::{CRC_64_REDIS, Crc, Table};
use headwater::{Offset, ReplicationId, ResumePoint};

/// What an RDB file holds, if all of its keys are strings in database 0.
#[derive(Debug, PartialEq)]
pub struct Dump {
    pub entries: Vec<Entry>,
    /// Where the data is in its primary's stream, and which database that stream writes to, if both are told (R37).
    pub replication: Option<(ResumePoint, u64)>,
}

#[derive(Debug, PartialEq)]
pub struct Entry {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    /// Milliseconds of Unix time. It may have passed.
    pub expires_at: Option<i64>,
}

/// Why a file is not loaded.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum LoadError {
    #[error("no RDB file begins with {0}")]
    NoHeader(String),
    #[error("RDB version {0}; those from 1 to {MAX_VERSION} can be loaded")]
    Version(u32),
    #[error("key {key} in db {db} is a {kind}; only strings in db 0 can be loaded")]
    NotOurs { key: String, kind: String, db: u64 },
    #[error("opcode {opcode} at byte {at} is not known")]
    Opcode { opcode: u8, at: usize },
    #[error("the file ends at byte {at}, {wanted} more are needed")]
    Truncated { at: usize, wanted: u64 },
    #[error("no length can be read at byte {at}")]
    Length { at: usize },
    #[error("the string before byte {at} can't be decompressed")]
    Lzf { at: usize },
    #[error("the checksum is {stored:016x}, that of the data {computed:016x}")]
    Checksum { stored: u64, computed: u64 },
    #[error("{0} bytes follow the file's end")]
    Trailing(usize),
}

/// Reads a whole file. It takes no more memory than what the bytes that are there stand for, whatever lengths they
/// announce.
pub fn load(image: &[u8]) -> Result<Dump, LoadError> {
    let mut bytes = Bytes { image, at: 0 };
    let version = bytes.header()?;
    let mut loader = Loader { bytes, db: 0, expires_at: None, aux: Aux::default(), entries: Vec::new() };
    while loader.step()? {}
    loader.bytes.check_end(version)?;
    Ok(Dump { replication: loader.aux.replication(), entries: loader.entries })
}

struct Loader<'a> {
    bytes: Bytes<'a>,
    db: u64,
    /// Of the next key.
    expires_at: Option<i64>,
    aux: Aux,
    entries: Vec<Entry>,
}

impl Loader<'_> {
    /// Reads one opcode or key, with what belongs to it. Tells whether there is more.
    fn step(&mut self) -> Result<bool, LoadError> {
        let bytes = &mut self.bytes;
        match bytes.byte()? {
            EOF => return Ok(false),
            SELECT_DB => self.db = bytes.len()?,
            EXPIRE_TIME => self.expires_at = Some(i64::from(i32::from_le_bytes(bytes.array()?)) * 1000),
            EXPIRE_TIME_MS => self.expires_at = Some(i64::from_le_bytes(bytes.array()?)),
            AUX => self.aux.set(&bytes.string()?, &bytes.string()?),
            RESIZE_DB => (0..2).try_for_each(|_| bytes.len().map(drop))?,
            SLOT_INFO => (0..3).try_for_each(|_| bytes.len().map(drop))?,
            IDLE => drop(bytes.len()?),
            FREQ => drop(bytes.byte()?),
            FUNCTION => drop(bytes.string()?),
            opcode @ FIRST_OPCODE.. => return Err(LoadError::Opcode { opcode, at: bytes.at - 1 }),
            kind => self.read_entry(kind)?,
        }
        Ok(true)
    }

    fn read_entry(&mut self, kind: u8) -> Result<(), LoadError> {
        let key = self.bytes.string()?;
        if kind != TYPE_STRING || self.db != 0 {
            let key = key[..key.len().min(MAX_EXCERPT)].escape_ascii().to_string();
            return Err(LoadError::NotOurs { key, kind: name(kind), db: self.db });
        }
        let value = self.bytes.string()?;
        self.entries.push(Entry { key, value, expires_at: self.expires_at.take() });
        Ok(())
    }
}

/// What is told of the stream, as far as it was read.
#[derive(Default)]
struct Aux {
    id: Option<ReplicationId>,
    offset: Option<Offset>,
    stream_db: Option<u64>,
}

impl Aux {
    fn set(&mut self, name: &[u8], value: &[u8]) {
        let number = || str::from_utf8(value).ok()?.parse().ok();
        match name {
            b"repl-id" => self.id = ReplicationId::parse(value).filter(|id| *id != ReplicationId::NONE),
            b"repl-offset" => self.offset = number().and_then(Offset::new),
            b"repl-stream-db" => self.stream_db = number(),
            _ => {}
        }
    }

    fn replication(&self) -> Option<(ResumePoint, u64)> {
        Some((ResumePoint { id: self.id?, offset: self.offset? }, self.stream_db?))
    }
}

/// A file's bytes, read from the front.
struct Bytes<'a> {
    image: &'a [u8],
    at: usize,
}

impl<'a> Bytes<'a> {
    fn header(&mut self) -> Result<u32, LoadError> {
        let begin = &self.image[..self.image.len().min(9)];
        let version = begin.strip_prefix(b"REDIS").filter(|digits| digits.len() == 4);
        let version = version.filter(|digits| digits.iter().all(u8::is_ascii_digit));
        let version = version.and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
        let version = version.ok_or_else(|| LoadError::NoHeader(begin.escape_ascii().to_string()))?;
        self.at = begin.len();
        if (1..=MAX_VERSION).contains(&version) { Ok(version) } else { Err(LoadError::Version(version)) }
    }

    /// Older versions have no checksum, and 0 stands for none.
    fn check_end(&mut self, version: u32) -> Result<(), LoadError> {
        if version >= FIRST_WITH_CHECKSUM {
            let computed = CHECKSUM.checksum(&self.image[..self.at]);
            let stored = u64::from_le_bytes(self.array()?);
            if stored != 0 && stored != computed {
                return Err(LoadError::Checksum { stored, computed });
            }
        }
        match self.image.len() - self.at {
            0 => Ok(()),
            more => Err(LoadError::Trailing(more)),
        }
    }

    /// A string by its length, a number as text, or a compressed string.
    fn string(&mut self) -> Result<Vec<u8>, LoadError> {
        let at = self.at;
        match self.length()? {
            Length::Plain(len) => Ok(self.take(len)?.to_vec()),
            Length::Encoded(INT8) => Ok(i8::from_le_bytes(self.array()?).to_string().into()),
            Length::Encoded(INT16) => Ok(i16::from_le_bytes(self.array()?).to_string().into()),
            Length::Encoded(INT32) => Ok(i32::from_le_bytes(self.array()?).to_string().into()),
            Length::Encoded(LZF) => {
                let (compressed, len) = (self.len()?, self.len()?);
                let compressed = self.take(compressed)?;
                decompress(compressed, len).ok_or(LoadError::Lzf { at: self.at })
            }
            Length::Encoded(_) => Err(LoadError::Length { at }),
        }
    }

    fn len(&mut self) -> Result<u64, LoadError> {
        let at = self.at;
        match self.length()? {
            Length::Plain(len) => Ok(len),
            Length::Encoded(_) => Err(LoadError::Length { at }),
        }
    }

    fn length(&mut self) -> Result<Length, LoadError> {
        let (first, at) = (self.byte()?, self.at - 1);
        let low = first & 0x3f;
        Ok(match (first >> 6, first) {
            (0, _) => Length::Plain(low.into()),
            (1, _) => Length::Plain(u16::from_be_bytes([low, self.byte()?]).into()),
            (2, 0x80) => Length::Plain(u32::from_be_bytes(self.array()?).into()),
            (2, 0x81) => Length::Plain(u64::from_be_bytes(self.array()?)),
            (3, _) => Length::Encoded(low),
            _ => return Err(LoadError::Length { at }),
        })
    }

    fn byte(&mut self) -> Result<u8, LoadError> {
        self.array().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], LoadError> {
        let truncated = LoadError::Truncated { at: self.image.len(), wanted: self.lack(N as u64) };
        let array = self.image[self.at..].first_chunk().ok_or(truncated)?;
        self.at += N;
        Ok(*array)
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], LoadError> {
        let wanted = self.lack(len);
        if wanted > 0 {
            return Err(LoadError::Truncated { at: self.image.len(), wanted });
        }
        let (taken, _) = self.image[self.at..].split_at(usize::try_from(len).unwrap_or(usize::MAX));
        self.at += taken.len();
        Ok(taken)
    }

    /// How many of the next `len` bytes are not there.
    fn lack(&self, len: u64) -> u64 {
        len.saturating_sub((self.image.len() - self.at) as u64)
    }
}

enum Length {
    Plain(u64),
    /// Something else follows than so many bytes.
    Encoded(u8),
}

/// LZF: runs of bytes, each as it is or a reference to what was written before. `None` unless it makes `len` bytes.
fn decompress(mut input: &[u8], len: u64) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    while let Some((control, rest)) = input.split_first() {
        if *control < 0x20 {
            let (literal, rest) = rest.split_at_checked(usize::from(*control) + 1)?;
            out.extend_from_slice(literal);
            input = rest;
        } else {
            input = copy_back(*control, rest, &mut out)?;
        }
        if out.len() as u64 > len {
            return None;
        }
    }
    (out.len() as u64 == len).then_some(out)
}

/// Repeats what was written up to 8 KiB before. It may overlap with what it writes.
fn copy_back<'a>(control: u8, mut input: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let mut next = || {
        let (byte, rest) = input.split_first()?;
        input = rest;
        Some(usize::from(*byte))
    };
    let len = match control >> 5 {
        7 => 7 + next()?,
        short => usize::from(short),
    };
    let distance = (usize::from(control & 0x1f) << 8) + next()? + 1;
    let from = out.len().checked_sub(distance)?;
    for index in from..from + len + 2 {
        out.push(out[index]);
    }
    Some(input)
}

fn name(kind: u8) -> String {
    let name = match kind {
        TYPE_STRING => "string",
        1 | 10 | 14 | 18 => "list",
        2 | 11 | 20 => "set",
        3 | 5 | 12 | 17 => "sorted set",
        4 | 9 | 13 | 16 | 22..=25 => "hash",
        6 | 7 => "module's type",
        15 | 19 | 21 => "stream",
        _ => return format!("type {kind}"),
    };
    name.to_owned()
}

static CHECKSUM: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);

const MAX_VERSION: u32 = 12;
const FIRST_WITH_CHECKSUM: u32 = 5;
/// Bytes of a key that an error repeats.
const MAX_EXCERPT: usize = 128;

const TYPE_STRING: u8 = 0;
/// Types of values are below it.
const FIRST_OPCODE: u8 = 0xf0;
const SLOT_INFO: u8 = 0xf4;
const FUNCTION: u8 = 0xf5;
const IDLE: u8 = 0xf8;
const FREQ: u8 = 0xf9;
const AUX: u8 = 0xfa;
const RESIZE_DB: u8 = 0xfb;
const EXPIRE_TIME_MS: u8 = 0xfc;
const EXPIRE_TIME: u8 = 0xfd;
const SELECT_DB: u8 = 0xfe;
const EOF: u8 = 0xff;

const INT8: u8 = 0;
const INT16: u8 = 1;
const INT32: u8 = 2;
const LZF: u8 = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By Redis 7.0.15, which had a function library and a replica.
    const IMAGE: &[u8] =
        b"REDIS0010\xfa\x09redis-ver\x067.0.15\xfa\nredis-bits\xc0@\xfa\x05ctime\xc2\"m\x07k\
        \xfa\x08used-mem\xc2\xd8#\x10\x00\xfa\x0erepl-stream-db\xc0\x00\
        \xfa\x07repl-id(733d814e02a274adf987f72a7c882dbe8e8858e8\xfa\x0brepl-offset\xc1m\x01\
        \xfa\x08aof-base\xc0\x00\
        \xf5@B#!lua name=l\nredis.register_function(\"f\", function() return 1 end)\xfe\x00\xfb\x07\x01\
        \x00\x01z\xc3\n8\x02xyx\xe0*\x01\x01xy\x00\x03n16\xc1,\x01\xfc{ J\xa9\xd1\x01\x00\x00\x00\x01e\x01v\
        \x00\x01a\x05hello\x00\x02n8\xc0\xf9\x00\x03n32\xc2\x90\xee\xfe\xff\x00\x03n64\n9999999999\
        \xff\x9b\xe6\xb9,\x92\xa3\xd2O";

    fn entry(key: &str, value: &str, expires_at: Option<i64>) -> Entry {
        Entry { key: key.into(), value: value.into(), expires_at }
    }

    /// A file of the given version without a checksum, in which `body` stands before the end.
    fn image(version: u32, body: &[u8]) -> Vec<u8> {
        let end: &[u8] = if version < 5 { b"\xff" } else { b"\xff\0\0\0\0\0\0\0\0" };
        [format!("REDIS{version:04}").as_bytes(), body, end].concat()
    }

    fn entries(body: &[u8]) -> Result<Vec<Entry>, LoadError> {
        load(&image(11, body)).map(|dump| dump.entries)
    }

    #[test]
    fn a_real_file_is_read_whole() {
        let dump = load(IMAGE).unwrap();
        let expected = [
            entry("z", &"xy".repeat(28), None),
            entry("n16", "300", None),
            entry("e", "v", Some(2_000_000_000_123)),
            entry("a", "hello", None),
            entry("n8", "-7", None),
            entry("n32", "-70000", None),
            entry("n64", "9999999999", None),
        ];
        assert_eq!(dump.entries, expected);
        let id = ReplicationId::parse(b"733d814e02a274adf987f72a7c882dbe8e8858e8").unwrap();
        let point = ResumePoint { id, offset: Offset::new(365).unwrap() };
        assert_eq!(dump.replication, Some((point, 0)));
    }

    #[test]
    fn a_file_that_ends_early_or_differs_in_a_byte_is_refused() {
        for at in 0..IMAGE.len() {
            let whole = load(&IMAGE[..at]);
            assert!(matches!(whole, Err(LoadError::Truncated { .. } | LoadError::NoHeader(_))), "{at}");
            for flip in [0x01, 0x80, 0xff] {
                let mut image = IMAGE.to_vec();
                image[at] ^= flip;
                assert!(load(&image).is_err(), "byte {at} ^ {flip:#x}");
            }
        }
        let longer = [IMAGE, b"*1"].concat();
        assert_eq!(load(&longer), Err(LoadError::Trailing(2)));
    }

    #[test]
    fn lengths_have_four_forms_and_not_a_fifth() {
        let long = |len: usize| "x".repeat(len);
        for (form, len) in [
            (&b"\x3f"[..], 0x3f),
            (b"\x7f\xff", 0x3fff),
            (b"\x80\0\x01\0\0", 0x1_0000),
            (b"\x81\0\0\0\0\0\x01\0\0", 0x1_0000),
        ] {
            let body = [b"\0\x01k", form, long(len).as_bytes()].concat();
            assert_eq!(entries(&body), Ok(vec![entry("k", &long(len), None)]));
        }
        assert_eq!(entries(b"\0\x01k\x82"), Err(LoadError::Length { at: 12 }));
        assert_eq!(entries(b"\0\x01k\xc4"), Err(LoadError::Length { at: 12 }));
        assert_eq!(entries(b"\xfe\xc0"), Err(LoadError::Length { at: 10 }));
    }

    #[test]
    fn what_belongs_to_a_key_stands_before_it() {
        let body =
            b"\xfd\x02\0\0\0\xf9\x07\0\x01s\x011\xf8\x40\x09\xfc\x03\0\0\0\0\0\0\0\0\x01m\x012\0\x01n\x013";
        let expected = [entry("s", "1", Some(2000)), entry("m", "2", Some(3)), entry("n", "3", None)];
        assert_eq!(entries(body), Ok(expected.into()));
        let before_1970 = b"\xfd\xff\xff\xff\xff\0\x01s\x011";
        assert_eq!(entries(before_1970), Ok(vec![entry("s", "1", Some(-1000))]));
    }

    #[test]
    fn versions_up_to_12_are_read_and_those_before_5_have_no_checksum() {
        for version in 1..=12 {
            assert_eq!(load(&image(version, b"\0\x01k\x01v")).unwrap().entries, [entry("k", "v", None)]);
        }
        assert_eq!(load(&image(0, b"")), Err(LoadError::Version(0)));
        assert_eq!(load(&image(13, b"")), Err(LoadError::Version(13)));
        for other in ["", "REDIS", "REDIS+011", "redis0011\u{ff}", "VALKEY080\u{ff}"] {
            assert!(matches!(load(other.as_bytes()), Err(LoadError::NoHeader(_))), "{other}");
        }
    }

    #[test]
    fn what_a_store_of_strings_cannot_hold_is_named() {
        let error = |body: &[u8]| entries(body).unwrap_err().to_string();
        let only = "only strings in db 0 can be loaded";
        assert_eq!(error(b"\x12\x02l\n"), format!("key l\\n in db 0 is a list; {only}"));
        assert_eq!(error(b"\xfe\x03\0\x01k\x01v"), format!("key k in db 3 is a string; {only}"));
        assert_eq!(error(b"\x63\x01k"), format!("key k in db 0 is a type 99; {only}"));
        assert_eq!(error(b"\xf7\x01"), "opcode 247 at byte 9 is not known");
        let long = [b"\x02\x80\0\0\x04\0", &[b'k'; 1024][..]].concat();
        assert!(error(&long).len() < 200, "a long key is shortened");
    }

    /// R37: all three or none.
    #[test]
    fn half_a_place_in_the_stream_is_none() {
        let id = b"\xfa\x07repl-id(733d814e02a274adf987f72a7c882dbe8e8858e8";
        let (offset, db) = (b"\xfa\x0brepl-offset\x0299", b"\xfa\x0erepl-stream-db\xc0\x03");
        let replication = |aux: &[&[u8]]| load(&image(11, &aux.concat())).unwrap().replication;
        assert_eq!(replication(&[id, offset, db]).unwrap().1, 3);
        for aux in [&[&id[..], offset][..], &[offset, db], &[id, db], &[id, b"\xfa\x0brepl-offset\x02-1", db]]
        {
            assert_eq!(replication(aux), None);
        }
    }

    #[test]
    fn a_reference_may_overlap_with_what_it_writes() {
        assert_eq!(decompress(b"\x00a\x40\x00", 5), Some(b"aaaaa".into()));
        assert_eq!(decompress(b"\x01ab\xe0\x05\x01\x00c", 17), Some(b"ababababababababc".to_vec())); // 2 + 14 + 1
        for (compressed, len) in [
            (&b"\x00a\x40\x00"[..], 4),
            (b"\x00a\x40\x00", 6),
            (b"\x00a\x40\x01", 5), // from before the beginning
            (b"\x02ab", 3),
            (b"\x00a\x40", 5),
            (b"\x00a\xe0\x05", 15),
        ] {
            assert_eq!(decompress(compressed, len), None, "{}", compressed.escape_ascii());
        }
    }

    #[test]
    fn memory_follows_the_bytes_that_are_there() {
        let huge = b"\x81\x10\0\0\0\0\0\0\0";
        let compressed = [&b"\0\x01k\xc3\x02"[..], huge, b"\x00a"].concat();
        for (body, refused) in [
            ([b"\0\x01k", &huge[..]].concat(), LoadError::Truncated { at: 30, wanted: (1 << 60) - 9 }),
            (
                [b"\xfb", &huge[..], huge, b"\0", huge].concat(),
                LoadError::Truncated { at: 47, wanted: (1 << 60) - 9 },
            ),
            (compressed, LoadError::Lzf { at: 25 }),
        ] {
            let image = image(11, &body);
            let mut loaded = Ok(Vec::new());
            let used = allocation_counter::measure(|| loaded = load(&image).map(|dump| dump.entries));
            assert_eq!(loaded, Err(refused));
            assert!(used.bytes_max < 200, "{} bytes", used.bytes_max);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body: Vec<u8>, version in 1_u32..=12) {
            let _ = load(&body);
            let _ = load(&image(version, &body));
        }

        /// Bytes that get further than random ones do: pieces of a real file.
        #[test]
        fn no_order_of_pieces_panics(pieces in prop::collection::vec((9..IMAGE.len(), 1..60_usize), 0..20)) {
            let pieces = pieces.into_iter().map(|(at, len)| &IMAGE[at..IMAGE.len().min(at + len)]);
            let body: Vec<u8> = pieces.flatten().copied().collect();
            let _ = load(&image(11, &body));
        }

        #[test]
        fn what_is_decompressed_is_as_long_as_announced(compressed: Vec<u8>, len in 0..1000_u64) {
            if let Some(text) = decompress(&compressed, len) {
                prop_assert_eq!(text.len() as u64, len);
            }
        }
    }
}
