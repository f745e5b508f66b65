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
    put_command(out, &[b"SELECT", Decimal::new(db.into()).digits()]);
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

/// Remembers which database the stream selected last, so that `SELECT` is put where it must be, and only there.
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
    ///
    /// [`Unit::clear`] takes the `SELECT` back too: start over with a new `SelectedDb` after it.
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
    let mut line = Decimal::new(number);
    out.put(line.framed_by(kind));
}

/// A number in decimal digits, without an allocation. Room is left for a header line's other characters.
struct Decimal {
    text: [u8; 1 + MAX_DIGITS + 2],
    start: usize,
}

impl Decimal {
    fn new(mut number: u64) -> Self {
        let mut text = [0; 1 + MAX_DIGITS + 2];
        let mut start = 1 + MAX_DIGITS;
        loop {
            start -= 1;
            text[start] = b'0' + u8::try_from(number % 10).expect("a digit");
            number /= 10;
            if number == 0 {
                return Self { text, start };
            }
        }
    }

    fn digits(&self) -> &[u8] {
        &self.text[self.start..=MAX_DIGITS]
    }

    /// `kind`, the digits and CRLF.
    fn framed_by(&mut self, kind: u8) -> &[u8] {
        self.text[self.start - 1] = kind;
        self.text[1 + MAX_DIGITS..].copy_from_slice(b"\r\n");
        &self.text[self.start - 1..]
    }
}

/// Of `u64::MAX`.
const MAX_DIGITS: usize = 20;
