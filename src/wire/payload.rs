use bytes::Bytes;

use crate::primary::{Context, Unit};
use crate::sink::Sink;

/// Puts one command in the form that counts in a stream: an array of bulks (R4).
pub fn put_command(out: &mut impl Sink, args: &[impl AsRef<[u8]>]) {
    put_header(out, b'*', args.len() as u64);
    for arg in args.iter().map(AsRef::as_ref) {
        put_header(out, b'$', arg.len() as u64);
        out.put(arg);
        out.put(b"\r\n");
    }
}

/// Puts `SELECT db`: what follows concerns that database. [`SelectedDb`] knows when it is needed.
pub fn put_select(out: &mut impl Sink, db: u32) {
    put_command(out, &["SELECT", itoa::Buffer::new().format(db)]);
}

/// The payload of a [`Heartbeat`](crate::Heartbeat) for Redis replicas: `PING`, 14 bytes.
pub const fn heartbeat() -> Bytes {
    Bytes::from_static(b"*1\r\n$4\r\nPING\r\n")
}

/// The payload that makes Redis replicas acknowledge at once: `REPLCONF GETACK *`, 37 bytes.
///
/// The ack tells the offset before these bytes (R218).
pub const fn get_ack() -> Bytes {
    Bytes::from_static(b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n")
}

/// Remembers which database the stream selected last: puts `SELECT` where it is needed, and only there.
///
/// ```
/// # use headwater::{Unit, wire};
/// # fn apply_set(selected: &mut wire::SelectedDb, unit: &mut Unit<'_>) {
/// selected.select(3, unit); // before each command that concerns a database
/// wire::put_command(unit, &["SET", "key", "value"]);
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct SelectedDb {
    last: Option<(Context, u32)>,
}

impl SelectedDb {
    /// Nothing is selected: the first command gets its `SELECT`.
    pub const fn new() -> Self {
        Self { last: None }
    }

    /// Puts `SELECT db` unless every reader of the stream has `db` selected: for another database, and after
    /// a snapshot's cut or a change of history (R7).
    pub fn select(&mut self, db: u32, unit: &mut Unit<'_>) {
        let wanted = Some((unit.context(), db));
        if self.last != wanted {
            put_select(unit, db);
            self.last = wanted;
        }
    }
}

/// Puts a line of one character and a number: a count or a length.
pub(super) fn put_header(out: &mut impl Sink, kind: u8, number: u64) {
    out.put(&[kind]);
    out.put(itoa::Buffer::new().format(number).as_bytes());
    out.put(b"\r\n");
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_command_is_an_array_of_bulks() {
        let mut out = Vec::new();
        put_command(&mut out, &[&b"SET"[..], b"", b"a\r\n\xff"]);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$0\r\n\r\n$4\r\na\r\n\xff\r\n");
    }

    /// R4: these sizes are part of every offset.
    #[test]
    fn payloads_have_the_sizes_that_offsets_count() {
        let mut select = Vec::new();
        put_select(&mut select, 9);
        assert_eq!(select, b"*2\r\n$6\r\nSELECT\r\n$1\r\n9\r\n");
        assert_eq!((select.len(), heartbeat().len(), get_ack().len()), (23, 14, 37));

        let mut built = Vec::new();
        put_command(&mut built, &["PING"]);
        put_command(&mut built, &["REPLCONF", "GETACK", "*"]);
        assert_eq!(built, [heartbeat(), get_ack()].concat());
    }

    proptest! {
        #[test]
        fn a_header_is_its_number_in_decimal(number in prop_oneof![any::<u64>(), 0..200u64, Just(u64::MAX)]) {
            let mut out = Vec::new();
            put_header(&mut out, b'$', number);
            let digits = number.to_string();
            prop_assert_eq!(&out[..], [b"$", digits.as_bytes(), b"\r\n"].concat());
        }
    }
}
