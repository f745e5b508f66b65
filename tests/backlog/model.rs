//! A backlog the obvious way, every byte in a plain `Vec`, and operations that drive both.
//!
//! The fuzzer includes this file too.

use bytes::{Buf, Bytes};
use headwater::{Backlog, Cursor, Offset};

/// One call. Numbers are taken modulo what is possible at that moment.
#[derive(Clone, Debug)]
#[cfg_attr(fuzzing, derive(arbitrary::Arbitrary))]
pub(crate) enum Op {
    Append(u16),
    AppendShared(u16),
    Stage(u16),
    StageShared(u16),
    Commit,
    Discard,
    /// Opens a cursor so far before the end.
    Open(u16),
    Advance {
        cursor: u8,
        bytes: u16,
    },
    Release(u8),
    SetCapacity(u16),
    Trim,
    /// Holds a piece of the stream outside, as a sending thread would.
    Share(u8),
    LetShared,
}

pub(crate) struct Model {
    backlog: Backlog,
    start: Offset,
    /// Every byte appended since `start`.
    written: Vec<u8>,
    staged: Vec<u8>,
    cursors: Vec<Cursor>,
    shared: Vec<(usize, Bytes)>,
    /// Where the payloads lie that were handed over and must not have been copied.
    adopted: Vec<(usize, Bytes)>,
    /// What must be kept: shrinking takes effect at once, growing only for bytes that were still there.
    owed: usize,
    next: u8,
}

impl Model {
    pub(crate) fn new(capacity: usize, start: Offset) -> Self {
        Self {
            backlog: Backlog::new(capacity, start).expect("the capacity is not zero"),
            start,
            written: Vec::new(),
            staged: Vec::new(),
            cursors: Vec::new(),
            shared: Vec::new(),
            adopted: Vec::new(),
            owed: 0,
            next: 0,
        }
    }

    /// Does one operation to both, then compares all that can be seen.
    pub(crate) fn apply(&mut self, op: &Op) {
        match *op {
            Op::Append(len) => {
                let bytes = self.fresh(len);
                self.written.append(&mut self.staged);
                self.written.extend_from_slice(&bytes);
                assert_eq!(self.backlog.append(&bytes), Ok(self.end()));
            }
            Op::AppendShared(len) => {
                self.written.append(&mut self.staged);
                let bytes = self.fresh_shared(len);
                self.written.extend_from_slice(&bytes);
                assert_eq!(self.backlog.append_shared(bytes), Ok(self.end()));
            }
            Op::StageShared(len) => {
                let bytes = self.fresh_shared(len);
                self.staged.extend_from_slice(&bytes);
                assert_eq!(self.backlog.stage_shared(bytes), Ok(()));
            }
            Op::Stage(len) => {
                let bytes = self.fresh(len);
                self.staged.extend_from_slice(&bytes);
                assert_eq!(self.backlog.stage(&bytes), Ok(()));
            }
            Op::Commit => {
                self.written.append(&mut self.staged);
                assert_eq!(self.backlog.commit(), self.end());
            }
            Op::Discard => {
                self.staged.clear();
                self.backlog.discard_staged();
                self.adopted.retain(|(at, _)| *at < self.written.len());
            }
            Op::Open(back) => self.open(back),
            Op::Advance { cursor, bytes } => self.advance(cursor, bytes),
            Op::Release(cursor) => {
                if let Some(index) = self.pick(cursor) {
                    self.backlog.release(self.cursors.swap_remove(index));
                }
            }
            Op::SetCapacity(capacity) => {
                let capacity = usize::from(capacity) + 1;
                self.backlog.set_capacity(capacity).expect("the capacity is not zero");
                self.owed = self.owed.min(capacity);
            }
            Op::Trim => while self.backlog.trim() {},
            Op::Share(cursor) => self.share(cursor),
            Op::LetShared => self.shared.clear(),
        }
        self.check();
    }

    fn open(&mut self, back: u16) {
        let back = usize::from(back).min(self.written.len());
        let at = self.offset(self.written.len() - back);
        match self.backlog.cursor(at) {
            Ok(cursor) => self.cursors.push(cursor),
            Err(refused) => {
                assert!(at < self.backlog.start(), "refused what is kept: {refused}");
                assert!(back > self.owed, "refused {back} bytes back, though {} are owed", self.owed);
            }
        }
    }

    fn advance(&mut self, cursor: u8, bytes: u16) {
        let Some(index) = self.pick(cursor) else { return };
        let cursor = &mut self.cursors[index];
        let before = cursor.offset();
        let unread = self.backlog.read(cursor).remaining();
        let moved = self.backlog.advance(cursor, usize::from(bytes));
        assert_eq!(moved.is_ok(), usize::from(bytes) <= unread, "advances up to the end and no further");
        let expected = if moved.is_ok() { u64::from(bytes) } else { 0 };
        assert_eq!(cursor.offset().bytes_since(before), Some(expected));
    }

    fn share(&mut self, cursor: u8) {
        let Some(index) = self.pick(cursor) else { return };
        let cursor = &self.cursors[index];
        let piece = self.backlog.read(cursor).to_bytes(usize::MAX);
        self.shared.push((self.position(cursor.offset()), piece));
    }

    fn check(&mut self) {
        self.backlog.check_invariants();
        self.owed = self.owed.max(self.written.len().min(self.backlog.capacity()).min(self.kept()));
        assert_eq!(self.backlog.end(), self.end());
        assert!(self.kept() >= self.owed, "kept {} of {} bytes owed", self.kept(), self.owed);
        for cursor in &self.cursors {
            let expected = &self.written[self.position(cursor.offset())..];
            assert_eq!(read_all(&self.backlog, cursor), expected, "from {}", cursor.offset());
            assert!(cursor.offset() >= self.backlog.start(), "a cursor pins what it needs");
        }
        for (at, piece) in &self.shared {
            assert_eq!(piece, &self.written[*at..at + piece.len()], "shared bytes never change");
        }
        self.check_adopted();
        self.check_memory();
    }

    /// What is lent of a payload that was handed over is that payload, as long as it is kept.
    fn check_adopted(&mut self) {
        let start = self.position(self.backlog.start());
        self.adopted.retain(|(at, _)| *at >= start);
        for (at, payload) in self.adopted.iter().filter(|(at, _)| *at < self.written.len()) {
            // A cursor that goes lets go of a piece of the surplus, and maybe of a payload in it.
            let Ok(cursor) = self.backlog.cursor(self.offset(*at)) else {
                assert!(self.offset(*at) < self.backlog.start(), "it is kept");
                continue;
            };
            let lent = self.backlog.read(&cursor).to_bytes(usize::MAX);
            assert_eq!((lent.as_ptr(), lent.len()), (payload.as_ptr(), payload.len()));
            self.backlog.release(cursor);
        }
    }

    /// Bound B2: without a cursor that needs more, no more than the capacity and one chunk or payload is kept.
    fn check_memory(&self) {
        if self.cursors.is_empty() && !self.backlog.has_surplus() && self.staged.is_empty() {
            let chunk = (self.backlog.capacity() / 16).clamp(64, 64 << 10);
            let largest_chunk = chunk.max((usize::from(u16::MAX) + 1) / 16);
            let largest =
                self.adopted.iter().map(|(_, payload)| payload.len()).fold(largest_chunk, usize::max);
            assert!(self.kept() <= self.backlog.capacity() + largest, "kept {}", self.kept());
        }
    }

    fn kept(&self) -> usize {
        self.written.len() - self.position(self.backlog.start())
    }

    fn end(&self) -> Offset {
        self.offset(self.written.len())
    }

    fn offset(&self, position: usize) -> Offset {
        self.start.checked_add(position as u64).expect("the model writes little")
    }

    fn position(&self, offset: Offset) -> usize {
        usize::try_from(offset.bytes_since(self.start).expect("after the start")).expect("little is written")
    }

    fn pick(&self, cursor: u8) -> Option<usize> {
        usize::from(cursor).checked_rem(self.cursors.len())
    }

    /// The next bytes, in memory of their own.
    fn fresh_shared(&mut self, len: u16) -> Bytes {
        let bytes = Bytes::from(self.fresh(len));
        if bytes.len() >= ADOPTED_FROM {
            self.adopted.push((self.written.len() + self.staged.len(), bytes.clone()));
        }
        bytes
    }

    /// Bytes that differ from those a chunk's length before and after.
    fn fresh(&mut self, len: u16) -> Vec<u8> {
        (0..len)
            .map(|_| {
                self.next = if self.next == 250 { 0 } else { self.next + 1 };
                self.next
            })
            .collect()
    }
}

fn read_all(backlog: &Backlog, cursor: &Cursor) -> Vec<u8> {
    let mut reader = backlog.read(cursor);
    let mut bytes = Vec::new();
    while reader.has_remaining() {
        let piece = reader.chunk();
        assert!(!piece.is_empty(), "a reader with bytes left lends some");
        assert_eq!(reader.to_bytes(usize::MAX), piece);
        bytes.extend_from_slice(piece);
        reader.advance(piece.len());
    }
    bytes
}

/// From here on payloads are promised not to be copied.
const ADOPTED_FROM: usize = 16 << 10;
