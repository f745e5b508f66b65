#[cfg(feature = "std")]
use std::io::IoSlice;

use bytes::{Buf, Bytes};

use super::{Backlog, Cursor};
use crate::offset::Offset;

/// Bytes of the stream, lent by a [`Backlog`]: a [`Buf`] whose `chunks_vectored` sends straight from it.
///
/// Reading moves the reader alone; report what was sent with [`Backlog::advance`].
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    backlog: &'a Backlog,
    index: usize,
    position: usize,
    remaining: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(backlog: &'a Backlog, index: usize, position: usize, remaining: usize) -> Self {
        Self { backlog, index, position, remaining }
    }

    /// Leaves only the first `most` bytes.
    pub fn truncate(&mut self, most: usize) {
        self.remaining = self.remaining.min(most);
    }

    /// The next piece, at most `most` bytes of it, to be kept or handed to another thread: shared from a full chunk or
    /// a payload that was handed over, copied where the stream is still appended to.
    pub fn to_bytes(&self, most: usize) -> Bytes {
        let piece = self.chunk();
        let piece = &piece[..piece.len().min(most)];
        match self.backlog.sealed.get(self.index) {
            Some(segment) => segment.bytes.slice_ref(piece),
            None => Bytes::copy_from_slice(piece),
        }
    }

    /// Whether the next piece is shared by [`Reader::to_bytes`] rather than copied.
    pub(crate) fn is_shared(&self) -> bool {
        self.index < self.backlog.sealed.len()
    }
}

impl Backlog {
    /// Lends what lies between `from` and the end, if it is kept, without a pin.
    pub(crate) fn read_from(&self, from: Offset) -> Option<Reader<'_>> {
        let is_kept = (self.start()..=self.end()).contains(&from);
        is_kept.then(|| {
            let sequence = self.first + self.index_of(from) as u64;
            self.read(&Cursor { sequence, at: from })
        })
    }
}

impl Buf for Reader<'_> {
    #[inline]
    fn remaining(&self) -> usize {
        self.remaining
    }

    #[inline]
    fn chunk(&self) -> &[u8] {
        let rest = &self.backlog.slice(self.index)[self.position..];
        &rest[..rest.len().min(self.remaining)]
    }

    #[cfg(feature = "std")]
    fn chunks_vectored<'s>(&'s self, slices: &mut [IoSlice<'s>]) -> usize {
        let mut left = self.remaining;
        let mut position = self.position;
        let mut filled = 0;
        for (slice, piece) in slices.iter_mut().zip(self.backlog.pieces(self.index)) {
            if left == 0 {
                break;
            }
            let rest = &piece[position..];
            let rest = &rest[..rest.len().min(left)];
            *slice = IoSlice::new(rest);
            left -= rest.len();
            position = 0;
            filled += 1;
        }
        filled
    }

    /// # Panics
    ///
    /// If fewer than `count` bytes remain, as [`Buf`] asks for.
    #[inline]
    fn advance(&mut self, count: usize) {
        assert!(count <= self.remaining, "advanced by {count} of {} bytes", self.remaining);
        self.remaining -= count;
        self.position += count;
        while self.remaining > 0 && self.position >= self.backlog.slice(self.index).len() {
            self.position -= self.backlog.slice(self.index).len();
            self.index += 1;
        }
    }
}
