use alloc::string::String;
use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};

use super::args::excerpt;
use super::command::{Command, CommandLimits, CommandReader, ProtocolError};

/// One unit of a primary's stream: a command, or a transaction from MULTI to EXEC.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StreamUnit {
    /// Its bytes as they came: what counts, and what a relay passes on.
    pub bytes: Bytes,
    /// What is to be applied, in order: without MULTI and EXEC, and without what concerns the link alone (PING,
    /// REPLCONF).
    pub commands: Vec<Command>,
    /// Whether the primary asks for an ack.
    pub(super) asks_for_ack: bool,
}

/// Why the stream can't be read on. It is final.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// These bytes are no command.
    #[error("no command in the stream: {0}")]
    Protocol(#[from] ProtocolError),
    /// A stream has arrays only; this is a reply, or a line (R220).
    #[error("a line in the stream: {text}")]
    Inline {
        /// What came, shortened to 128 bytes and escaped.
        text: String,
    },
    /// MULTI within a transaction, or EXEC without one.
    #[error("{name} in the stream, out of place")]
    OutOfPlace {
        /// Which.
        name: &'static str,
    },
    /// A transaction is longer than a unit may be.
    #[error("a transaction of more than {max} bytes in the stream")]
    TransactionTooLong {
        /// [`CommandLimits::max_command`].
        max: usize,
    },
}

/// Reads units from a stream that comes in pieces.
#[derive(Debug)]
pub(super) struct UnitReader {
    limits: CommandLimits,
    reader: CommandReader,
    /// The bytes so far of a transaction, or of empty lines, which belong to the unit after them (R6).
    bytes: BytesMut,
    commands: Vec<Command>,
    is_in_transaction: bool,
    asks_for_ack: bool,
}

impl UnitReader {
    pub(super) fn new(limits: CommandLimits) -> Self {
        Self {
            limits,
            reader: CommandReader::new(limits),
            bytes: BytesMut::new(),
            commands: Vec::new(),
            is_in_transaction: false,
            asks_for_ack: false,
        }
    }

    pub(super) fn buffered(&self) -> usize {
        self.reader.buffered() + self.bytes.len()
    }

    /// The next unit, or `None` when more bytes are needed: then all of `input` was taken.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Result<Option<StreamUnit>, StreamError> {
        while let Some(command) = self.reader.next(input)? {
            if command.is_inline() && !command.is_empty() {
                return Err(StreamError::Inline { text: excerpt(command.raw()) });
            }
            let raw = command.raw().clone();
            if self.bytes.len() + raw.len() > self.limits.max_command {
                return Err(StreamError::TransactionTooLong { max: self.limits.max_command });
            }
            let is_whole = self.take(command)?;
            if is_whole && self.bytes.is_empty() {
                return Ok(Some(self.finish(raw))); // the usual case: nothing is copied
            }
            self.bytes.extend_from_slice(&raw);
            if is_whole {
                let bytes = core::mem::take(&mut self.bytes).freeze();
                return Ok(Some(self.finish(bytes)));
            }
        }
        Ok(None)
    }

    /// Notes what a command is for. Tells whether it ends a unit.
    fn take(&mut self, command: Command) -> Result<bool, StreamError> {
        let Some(name) = command.arg(0) else { return Ok(false) };
        if name.eq_ignore_ascii_case(b"multi") {
            if core::mem::replace(&mut self.is_in_transaction, true) {
                return Err(StreamError::OutOfPlace { name: "MULTI" });
            }
        } else if name.eq_ignore_ascii_case(b"exec") {
            if !core::mem::replace(&mut self.is_in_transaction, false) {
                return Err(StreamError::OutOfPlace { name: "EXEC" });
            }
        } else if name.eq_ignore_ascii_case(b"replconf") {
            self.asks_for_ack |= command.arg(1).is_some_and(|option| option.eq_ignore_ascii_case(b"getack"));
        } else if !name.eq_ignore_ascii_case(b"ping") {
            self.commands.push(command);
        }
        Ok(!self.is_in_transaction)
    }

    fn finish(&mut self, bytes: Bytes) -> StreamUnit {
        StreamUnit {
            bytes,
            commands: core::mem::take(&mut self.commands),
            asks_for_ack: core::mem::take(&mut self.asks_for_ack),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::collection::vec as vec_of;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::wire::put_command;

    fn command(args: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        put_command(&mut out, args);
        out
    }

    fn words(unit: &StreamUnit) -> Vec<Vec<String>> {
        let text = |arg: &[u8]| String::from_utf8_lossy(arg).into_owned();
        unit.commands.iter().map(|command| command.args().map(text).collect()).collect()
    }

    /// All units of `stream`, read in pieces of the given sizes.
    fn read(mut stream: &[u8], sizes: &[usize]) -> (Vec<StreamUnit>, Option<StreamError>) {
        let (mut reader, mut units) = (UnitReader::new(CommandLimits::default()), Vec::new());
        for size in sizes.iter().cycle() {
            let (mut piece, rest) = stream.split_at((*size).min(stream.len()));
            loop {
                match reader.next(&mut piece) {
                    Ok(Some(unit)) => units.push(unit),
                    Ok(None) => break,
                    Err(error) => return (units, Some(error)),
                }
            }
            stream = rest;
            if stream.is_empty() {
                break;
            }
        }
        (units, None)
    }

    /// R35, R215: a transaction is one unit, whole or not at all.
    #[test]
    fn a_transaction_is_one_unit() {
        let transaction =
            [&["MULTI"][..], &["SET", "a", "1"], &["SET", "b", "2"], &["exec"]].map(command).concat();
        let (units, error) = read(&[&transaction[..], &command(&["SET", "c", "3"])].concat(), &[99]);
        assert_eq!((units.len(), error), (2, None));
        assert_eq!(units[0].bytes, transaction);
        assert_eq!(words(&units[0]), [vec!["SET", "a", "1"], vec!["SET", "b", "2"]]);
        let (units, _) = read(&transaction[..transaction.len() - 1], &[7]);
        assert_eq!(units, []);
    }

    /// R217: what concerns the link alone counts like all the rest, and is nothing to be applied.
    #[test]
    fn what_concerns_the_link_counts_and_is_not_applied() {
        for (args, asks_for_ack) in [
            (&["ping"][..], false),
            (&["REPLCONF", "GETACK", "*"], true),
            (&["replconf", "getack", "*"], true),
            (&["REPLCONF", "other", "*"], false),
        ] {
            let bytes = command(args);
            let (units, error) = read(&bytes, &[3]);
            assert_eq!(units, [StreamUnit { bytes: bytes.into(), commands: vec![], asks_for_ack }]);
            assert_eq!(error, None);
        }
    }

    /// R6: an empty line is one byte of the stream, and counts with what follows it.
    #[test]
    fn an_empty_line_belongs_to_the_unit_after_it() {
        let stream = [b"\n\r\n", &command(&["SET", "a", "1"])[..]].concat();
        let (units, _) = read(&stream, &[1]);
        assert_eq!(units.len(), 1);
        assert_eq!(units[0].bytes, stream);
    }

    /// R220: what a primary never sends.
    #[test]
    fn what_is_no_stream_ends_it() {
        for (stream, error) in [
            (&b"+OK\r\n"[..], StreamError::Inline { text: r"+OK\r\n".into() }),
            (b"-ERR no\r\n", StreamError::Inline { text: r"-ERR no\r\n".into() }),
            (b"SET a 1\r\n", StreamError::Inline { text: r"SET a 1\r\n".into() }),
            (b"*1\r\n$4\r\nEXEC\r\n", StreamError::OutOfPlace { name: "EXEC" }),
            (b"*1\r\n$5\r\nMULTI\r\n*1\r\n$5\r\nMULTI\r\n", StreamError::OutOfPlace { name: "MULTI" }),
            (b"*1\r\n$9000000000000000000\r\n", ProtocolError::InvalidLength.into()),
            (b"*9000000000000000000\r\n", ProtocolError::InvalidCount.into()),
        ] {
            assert_eq!(read(stream, &[2]), (vec![], Some(error)));
        }
    }

    #[test]
    fn a_transaction_without_an_end_is_not_kept() {
        let limits = CommandLimits { max_command: 100, ..CommandLimits::default() };
        let mut reader = UnitReader::new(limits);
        assert_eq!(reader.next(&mut &command(&["MULTI"])[..]), Ok(None));
        let set = command(&["SET", "key", "value"]);
        assert_eq!(reader.next(&mut &set[..]), Ok(None));
        assert_eq!(reader.next(&mut &set[..]), Ok(None));
        assert!(reader.buffered() <= 100);
        assert_eq!(reader.next(&mut &set[..]), Err(StreamError::TransactionTooLong { max: 100 }));
    }

    #[test]
    fn a_transaction_may_be_as_long_as_a_command() {
        let stream = [command(&["MULTI"]), command(&["SET", "key", "value"]), command(&["EXEC"])].concat();
        let read = |max_command| {
            let mut reader = UnitReader::new(CommandLimits { max_command, ..CommandLimits::default() });
            reader.next(&mut &stream[..]).map(|unit| unit.map(|unit| unit.bytes.len()))
        };
        assert_eq!(read(stream.len()), Ok(Some(stream.len())));
        let max = stream.len() - 1;
        assert_eq!(read(max), Err(StreamError::TransactionTooLong { max }));
    }

    const LINES: &[&[u8]] = &[b"", b"\n", b"\r\n"];
    const PARTS: &[&[&str]] =
        &[&["MULTI"], &["EXEC"], &["SET", "a", "1"], &["PING"], &["REPLCONF", "GETACK", "*"], &["*", "\r\n"]];

    proptest! {
        /// P2, and no byte is lost: units are the stream, cut at their ends.
        #[test]
        fn units_are_the_stream_however_it_is_cut(
            parts in vec_of(select(PARTS), 0..12),
            lines in vec_of(select(LINES), 12),
            sizes in vec_of(1..40usize, 1..5),
        ) {
            let parts = parts.iter().zip(lines).map(|(part, line)| [line, &command(part)].concat());
            let stream = parts.collect::<Vec<_>>().concat();
            let (units, error) = read(&stream, &[usize::MAX]);
            prop_assert_eq!(&read(&stream, &sizes), &(units.clone(), error));
            let whole: Vec<_> = units.iter().flat_map(|unit| unit.bytes.to_vec()).collect();
            prop_assert!(stream.starts_with(&whole));
        }
    }
}
