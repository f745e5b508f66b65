use std::time::Duration;

use headwater::ReplicationId;
use headwater::wire::{self, CommandLimits, CommandReader};

use crate::network::Connection;

/// One connection, as long as it lasts.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) connection: Connection,
    pub(super) stage: Stage,
    /// Answers to REPLCONF that have not come yet.
    pub(super) greetings_due: usize,
    pub(super) heard: Duration,
    /// Read and not yet taken.
    pub(super) input: Vec<u8>,
    /// Said and not yet written.
    pub(super) output: Vec<u8>,
    pub(super) reader: CommandReader,
    /// The commands of a transaction under way, and the bytes of the unit under way.
    pub(super) transaction: Option<Vec<Vec<Vec<u8>>>>,
    pub(super) unit: Vec<u8>,
    pub(super) has_acked: bool,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// REPLCONF is sent.
    Greeting,
    /// PSYNC is sent, with words of its own or others.
    Asked {
        astray: bool,
    },
    /// +FULLRESYNC has come, the snapshot's header has not.
    Resyncing {
        id: ReplicationId,
        start: usize,
    },
    Sized {
        id: ReplicationId,
        start: usize,
        bytes: usize,
    },
    EndMarked {
        id: ReplicationId,
        start: usize,
        mark: Vec<u8>,
        searched: usize,
    },
    Streaming,
    /// It was granted what it does not hold, and takes none of it.
    Idling,
}

impl Session {
    pub(super) fn new(connection: Connection, now: Duration) -> Self {
        Self {
            connection,
            stage: Stage::Greeting,
            greetings_due: 2,
            heard: now,
            input: Vec::new(),
            output: Vec::new(),
            reader: CommandReader::new(CommandLimits::default()),
            transaction: None,
            unit: Vec::new(),
            has_acked: false,
        }
    }

    pub(super) fn say(&mut self, words: &[&str]) {
        wire::put_command(&mut self.output, words);
    }

    pub(super) fn acknowledge(&mut self, applied: usize, fsynced: Option<usize>) {
        self.has_acked = true;
        let (applied, fsynced) = (applied.to_string(), fsynced.map(|at| at.to_string()));
        match &fsynced {
            Some(fsynced) => self.say(&["REPLCONF", "ACK", &applied, "FACK", fsynced]),
            None => self.say(&["REPLCONF", "ACK", &applied]),
        }
    }

    pub(super) fn take_line(&mut self) -> Option<String> {
        let end = self.input.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.input.drain(..=end).collect();
        let line = String::from_utf8(line).expect("an answer is text");
        Some(line.trim_end_matches(['\r', '\n']).into())
    }

    /// Takes the line ahead of an image. No sign of life comes once the transfer has begun (R86).
    pub(super) fn take_header(&mut self, id: ReplicationId, start: usize) -> bool {
        let Some(line) = self.take_line() else { return false };
        let header =
            line.strip_prefix('$').unwrap_or_else(|| panic!("R84: {line:?} is no snapshot's header"));
        self.stage = match header.strip_prefix("EOF:") {
            Some(mark) => Stage::EndMarked { id, start, mark: mark.into(), searched: 0 },
            None => Stage::Sized { id, start, bytes: header.parse().expect("a length") },
        };
        true
    }

    pub(super) fn take_sized(&mut self, bytes: usize) -> Option<Vec<u8>> {
        (self.input.len() >= bytes).then(|| self.input.drain(..bytes).collect())
    }

    /// R89: the mark is the last thing that comes before this replica's first ack.
    pub(super) fn take_marked(&mut self) -> Option<Vec<u8>> {
        let Stage::EndMarked { mark, searched, .. } = &mut self.stage else { return None };
        let from = std::mem::replace(searched, self.input.len().saturating_sub(mark.len()));
        let at = from + self.input[from..].windows(mark.len()).position(|window| window == mark)?;
        let (image, rest) = self.input.split_at(at);
        let (image, rest) = (image.to_vec(), rest[mark.len()..].to_vec());
        assert!(rest.is_empty() || self.has_acked, "R89: the stream follows an end mark before any ack");
        self.input = rest;
        Some(image)
    }
}
