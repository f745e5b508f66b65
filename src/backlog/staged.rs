use alloc::vec::{Drain, Vec};
use core::mem;

use bytes::{Bytes, BytesMut};

use super::chunks::Chunks;

/// What is staged behind the tail's chunk, or behind a payload that was handed over. While there is any, the tail
/// has no room.
///
/// Chunks stay writable here, so that taking all back makes them whole again.
#[derive(Debug, Default)]
pub(super) struct Staged {
    pieces: Vec<Piece>,
    len: usize,
}

#[derive(Debug)]
pub(super) enum Piece {
    /// A payload that was handed over.
    Adopted(Bytes),
    /// The chunk that was in use before such payloads goes on.
    Rest(BytesMut),
    /// Another chunk, of `size` bytes, since there was no room.
    Chunk { bytes: BytesMut, size: usize },
}

impl Staged {
    pub(super) const fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Bytes of the stream.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory, its chunks apart.
    pub(super) fn memory(&self) -> usize {
        let adopted = |piece: &Piece| if let Piece::Adopted(bytes) = piece { bytes.len() } else { 0 };
        self.pieces.iter().map(adopted).sum::<usize>() + self.pieces.capacity() * size_of::<Piece>()
    }

    /// Copies `bytes` behind all else.
    pub(super) fn put(&mut self, bytes: &[u8], chunks: &mut Chunks) {
        self.len += bytes.len();
        let mut rest = match self.pieces.last_mut() {
            Some(Piece::Rest(open) | Piece::Chunk { bytes: open, .. }) => fill(open, bytes),
            Some(Piece::Adopted(_)) | None => bytes,
        };
        while !rest.is_empty() {
            let (mut chunk, size) = (chunks.take(), chunks.size());
            rest = fill(&mut chunk, rest);
            self.pieces.push(Piece::Chunk { bytes: chunk, size });
        }
    }

    /// Puts `bytes` behind all else as they are, and parts the chunk in use there; the tail's, if it's the first.
    pub(super) fn adopt(&mut self, bytes: Bytes, tail: &mut BytesMut) {
        let rest = match self.pieces.last_mut() {
            None => split_room(tail),
            Some(Piece::Rest(open) | Piece::Chunk { bytes: open, .. }) => split_room(open),
            Some(Piece::Adopted(_)) => None,
        };
        self.len += bytes.len();
        self.pieces.push(Piece::Adopted(bytes));
        self.pieces.extend(rest.map(Piece::Rest));
    }

    /// All pieces in order. Its buffer stays, unless a huge unit made it large.
    pub(super) fn drain(&mut self) -> Drain<'_, Piece> {
        self.len = 0;
        self.pieces.drain(..)
    }

    pub(super) fn shrink(&mut self) {
        self.pieces.shrink_to(MOST_IDLE);
    }

    /// Drops all, and gives the room back to the chunks: that of the tail's own to `tail`.
    pub(super) fn take_back(&mut self, tail: &mut BytesMut, chunks: &mut Chunks) {
        let mut rest = BytesMut::new();
        while let Some(piece) = self.pieces.pop() {
            match piece {
                Piece::Adopted(_) => {}
                Piece::Rest(bytes) => rest = join(bytes, rest),
                Piece::Chunk { bytes, size } => chunks.give_back(join(bytes, mem::take(&mut rest)), size),
            }
        }
        *tail = join(mem::take(tail), rest);
        self.len = 0;
        self.shrink();
    }

    /// Panics when the bookkeeping is broken. Tells the bytes of its chunks.
    pub(super) fn check_invariants(&self) -> usize {
        let len = |piece: &Piece| match piece {
            Piece::Adopted(bytes) => bytes.len(),
            Piece::Rest(bytes) | Piece::Chunk { bytes, .. } => bytes.len(),
        };
        assert_eq!(self.pieces.iter().map(len).sum::<usize>(), self.len, "staged bytes are counted once");
        let size = |piece: &Piece| if let Piece::Chunk { size, .. } = piece { *size } else { 0 };
        self.pieces.iter().map(size).sum()
    }
}

/// Copies what fits behind what is there, and returns the rest.
pub(super) fn fill<'b>(chunk: &mut BytesMut, bytes: &'b [u8]) -> &'b [u8] {
    let room = chunk.capacity() - chunk.len();
    let (now, rest) = bytes.split_at(bytes.len().min(room));
    chunk.extend_from_slice(now);
    rest
}

fn split_room(chunk: &mut BytesMut) -> Option<BytesMut> {
    (chunk.len() < chunk.capacity()).then(|| chunk.split_off(chunk.len()))
}

/// Undoes [`split_room`].
fn join(mut chunk: BytesMut, rest: BytesMut) -> BytesMut {
    chunk.try_unsplit(rest).expect("they were parted at this place");
    chunk
}

/// Pieces for which memory stays reserved.
const MOST_IDLE: usize = 64;

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    /// Chunks are counted where they are made.
    #[test]
    fn staged_payloads_count_as_memory_and_so_does_their_list() {
        let mut staged = Staged::default();
        assert_eq!(staged.memory(), 0);
        for _ in 0..10 {
            staged.adopt(Bytes::from(vec![7; 1000]), &mut BytesMut::new());
        }
        let list = staged.memory() - 10_000;
        assert!((10 * size_of::<Piece>()..=20 * size_of::<Piece>()).contains(&list), "{list} bytes");
    }

    #[test]
    fn a_list_that_a_huge_unit_made_long_is_given_up() {
        let mut staged = Staged::default();
        for _ in 0..1000 {
            staged.adopt(Bytes::from_static(b"payload"), &mut BytesMut::new());
        }
        drop(staged.drain());
        staged.shrink();
        assert_eq!(staged.memory(), MOST_IDLE * size_of::<Piece>());
    }
}
