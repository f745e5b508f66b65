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
    #[error(transparent)]
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
