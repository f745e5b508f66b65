use alloc::collections::VecDeque;
use alloc::vec::Vec;
#[cfg(feature = "std")]
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};

use crate::backlog::Reader;
use crate::key::{ReplicaKey, Tag};
use crate::offset::Offset;

/// Bytes of the stream lent to one replica's writer, which may be another task or thread: a [`Buf`].
///
/// Full chunks and payloads that were handed over are shared, the end of the stream is copied. Write it out, then
/// hand it back to [`Primary::handle_batch_written`](crate::Primary::handle_batch_written), with whatever is left in
/// it.
#[derive(Debug)]
pub struct Batch {
    replica: ReplicaKey,
    start: Offset,
    shared: VecDeque<Bytes>,
    /// What follows the shared pieces.
    copied: Vec<u8>,
    position: usize,
    len: usize,
    remaining: usize,
}

impl Batch {
    /// Whom it is for.
    pub const fn replica(&self) -> ReplicaKey {
        self.replica
    }

    /// Writes all of it out, straight from what is shared. After an error it holds what was not written.
    ///
    /// # Errors
    ///
    /// The writer's.
    #[cfg(feature = "std")]
    pub fn write_all_to(&mut self, writer: &mut impl io::Write) -> io::Result<()> {
        while self.has_remaining() {
            let mut slices = [IoSlice::new(&[]); 16];
            let filled = self.chunks_vectored(&mut slices);
            match writer.write_vectored(&slices[..filled]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.advance(count.min(self.remaining)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Bytes that were taken out of it.
    pub(crate) const fn written(&self) -> usize {
        self.len - self.remaining
    }

    /// Where its first byte lies in the stream.
    pub(crate) const fn start(&self) -> Offset {
        self.start
    }

    /// Where the stream goes on after it.
    pub(crate) const fn end(&self) -> Offset {
        self.start.saturating_add(self.len as u64)
    }

    /// Lets all go that it shares; keeps its buffers.
    pub(crate) fn clear(&mut self) {
        self.shared.clear();
        self.copied.clear();
        (self.position, self.len, self.remaining) = (0, 0, 0);
    }

    /// Fills an empty one with what the reader lends. Once its buffers have grown, this allocates nothing.
    pub(crate) fn fill(&mut self, replica: ReplicaKey, start: Offset, mut reader: Reader<'_>) {
        self.replica = replica;
        self.start = start;
        self.len = reader.remaining();
        self.remaining = self.len;
        while reader.is_shared() && reader.has_remaining() {
            let piece = reader.to_bytes(usize::MAX);
            reader.advance(piece.len());
            self.shared.push_back(piece);
        }
        self.copied.extend_from_slice(reader.chunk());
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            replica: ReplicaKey::new(0, 0, Tag(0)),
            start: Offset::ZERO,
            shared: VecDeque::new(),
            copied: Vec::new(),
            position: 0,
            len: 0,
            remaining: 0,
        }
    }
}

impl Buf for Batch {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.shared.front().map_or(&self.copied[self.position..], |piece| piece)
    }

    #[cfg(feature = "std")]
    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let copied = &self.copied[self.position..];
        let pieces = self.shared.iter().map(|piece| &piece[..]).chain((!copied.is_empty()).then_some(copied));
        let filled = slices.iter_mut().zip(pieces).map(|(slice, piece)| *slice = IoSlice::new(piece));
        filled.count()
    }

    /// # Panics
    ///
    /// If fewer than `count` bytes remain, as [`Buf`] asks for.
    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.remaining, "advanced by {count} of {} bytes", self.remaining);
        self.remaining -= count;
        while let Some(piece) = self.shared.front_mut() {
            if count < piece.len() {
                piece.advance(count);
                return;
            }
            count -= piece.len();
            self.shared.pop_front();
        }
        self.position += count;
    }
}
