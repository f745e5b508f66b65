use core::mem;

use bytes::Bytes;

use super::staged::{Piece, fill};
use super::{Backlog, Segment, StreamFull, bytes_between, portion};
use crate::offset::Offset;

/// The ways in, where more happens than a copy into the tail.
impl Backlog {
    #[cold]
    #[inline(never)]
    pub(super) fn append_across_chunks(&mut self, bytes: &[u8]) -> Result<Offset, StreamFull> {
        let end = self.check_room(bytes.len())?;
        let mut budget = portion(bytes_between(self.end, end));
        self.publish_staged();
        let mut rest = bytes;
        loop {
            // Nothing can take these bytes back, so old chunks go as fast as new ones are filled, and become them.
            self.seal_if_full();
            budget = budget.saturating_sub(self.let_go(budget));
            if rest.is_empty() {
                return Ok(self.end);
            }
            rest = self.fill_tail(rest);
            self.end = self.tail.end();
        }
    }

    pub(super) fn append_adopted(&mut self, bytes: Bytes) -> Result<Offset, StreamFull> {
        let end = self.check_room(bytes.len())?;
        let budget = portion(bytes_between(self.end, end));
        self.publish_staged();
        self.close_tail(self.tail.room() > 0);
        self.adopt(bytes);
        self.end = end;
        self.let_go(budget);
        Ok(end)
    }

    #[cold]
    #[inline(never)]
    pub(super) fn stage_across_chunks(&mut self, bytes: &[u8]) -> Result<(), StreamFull> {
        self.check_room(bytes.len())?;
        let rest = fill(&mut self.tail.bytes, bytes);
        self.staged.put(rest, &mut self.chunks);
        Ok(())
    }

    pub(super) fn stage_adopted(&mut self, bytes: Bytes) -> Result<(), StreamFull> {
        self.check_room(bytes.len())?;
        self.staged.adopt(bytes, &mut self.tail.bytes);
        Ok(())
    }

    #[cold]
    #[inline(never)]
    pub(super) fn commit_across_chunks(&mut self) -> Offset {
        let before = self.end;
        self.publish_staged();
        self.seal_if_full();
        self.let_go(portion(bytes_between(before, self.end)));
        self.end
    }

    /// Makes what is staged readable, and the last chunk of it the tail's.
    fn publish_staged(&mut self) {
        let mut staged = mem::take(&mut self.staged);
        let mut pieces = staged.drain().peekable();
        while let Some(piece) = pieces.next() {
            match piece {
                Piece::Adopted(bytes) => {
                    self.close_tail(matches!(pieces.peek(), Some(Piece::Rest(_))));
                    self.adopt(bytes);
                }
                Piece::Rest(bytes) => self.tail.bytes = bytes,
                Piece::Chunk { bytes, size } => {
                    self.close_tail(false);
                    (self.tail.bytes, self.tail.chunk) = (bytes, size);
                }
            }
        }
        drop(pieces);
        staged.shrink();
        self.staged = staged;
        self.end = self.tail.end();
    }

    /// Copies what fits into the tail, and returns the rest.
    fn fill_tail<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        if self.tail.room() == 0 {
            self.renew_tail();
        }
        fill(&mut self.tail.bytes, bytes)
    }

    /// To be called before old chunks go: their number is at its lowest while the tail is full, and the one too many
    /// for the spare ones would have to be made again.
    fn seal_if_full(&mut self) {
        if self.tail.room() == 0 && !self.tail.bytes.is_empty() {
            self.renew_tail();
        }
    }

    fn renew_tail(&mut self) {
        self.close_tail(false);
        (self.tail.bytes, self.tail.chunk) = (self.chunks.take(), self.chunks.size());
    }

    /// Makes a segment of what the tail holds. Its chunk goes on behind it, or is full.
    fn close_tail(&mut self, goes_on: bool) {
        if self.tail.bytes.is_empty() {
            return;
        }
        let (bytes, charge) = if goes_on {
            (self.tail.bytes.split(), 0)
        } else {
            (mem::take(&mut self.tail.bytes), mem::take(&mut self.tail.chunk))
        };
        self.push(bytes.freeze(), charge, false);
    }

    fn adopt(&mut self, bytes: Bytes) {
        let charge = bytes.len();
        self.adopted += charge;
        self.push(bytes, charge, true);
    }

    /// Puts a segment in the tail's place, pins included.
    fn push(&mut self, bytes: Bytes, charge: usize, is_adopted: bool) {
        if self.sealed.len() == self.sealed.capacity() {
            // Doubling would leave a directory half empty.
            self.sealed.reserve_exact(self.sealed.len() / 8 + 16);
        }
        let pins = mem::take(&mut self.tail.pins);
        let segment = Segment { start: self.tail.start, bytes, charge, pins, is_adopted };
        self.tail.start = segment.end();
        self.sealed.push_back(segment);
    }

    /// The end of the stream with what is staged, and `more` behind it.
    fn check_room(&self, more: usize) -> Result<Offset, StreamFull> {
        let end = self.tail.end().saturating_add(self.staged.len() as u64);
        end.checked_add(more as u64).ok_or(StreamFull { end, bytes: more })
    }
}
