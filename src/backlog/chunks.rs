use alloc::vec::Vec;
use core::mem;

use bytes::BytesMut;

/// Makes the chunks of one backlog, and keeps a few of those that were let go of, to be used again.
#[derive(Debug)]
pub(super) struct Chunks {
    size: usize,
    most_spares: usize,
    spare: Vec<BytesMut>,
    /// Bytes of all chunks that were made and not dropped, spare ones too.
    bytes: usize,
}

impl Chunks {
    pub(super) fn new(capacity: usize) -> Self {
        Self { size: chunk_size(capacity), most_spares: most_spares(capacity), spare: Vec::new(), bytes: 0 }
    }

    /// Makes chunks for another capacity from now on.
    pub(super) fn set_capacity(&mut self, capacity: usize) {
        let old_size = mem::replace(&mut self.size, chunk_size(capacity));
        self.most_spares = most_spares(capacity);
        for chunk in mem::take(&mut self.spare) {
            self.give_back(chunk, old_size);
        }
    }

    /// The size of the chunks that it makes now.
    pub(super) const fn size(&self) -> usize {
        self.size
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn take(&mut self) -> BytesMut {
        self.spare.pop().unwrap_or_else(|| {
            self.bytes += self.size;
            new_chunk(self.size)
        })
    }

    /// Takes a chunk of `size` bytes back, of which nobody else holds a part. `chunk` may be any part of it.
    pub(super) fn give_back(&mut self, mut chunk: BytesMut, size: usize) {
        chunk.clear();
        if size == self.size && self.spare.len() < self.most_spares && chunk.try_reclaim(size) {
            self.spare.push(chunk);
        } else {
            self.forget(size);
        }
    }

    /// A chunk of `size` bytes is dropped, or belongs to whom it was shared with.
    pub(super) const fn forget(&mut self, size: usize) {
        self.bytes -= size;
    }

    /// Panics unless chunks of `in_use` bytes in all are in use.
    pub(super) fn check_invariants(&self, in_use: usize) {
        let spare: usize = self.spare.iter().map(BytesMut::capacity).sum();
        assert_eq!(spare, self.spare.len() * self.size, "spare chunks are whole");
        assert_eq!(in_use + spare, self.bytes, "every chunk is counted once");
        assert!(self.spare.len() <= self.most_spares, "spare chunks are few");
    }
}

fn chunk_size(capacity: usize) -> usize {
    (capacity / 16).clamp(MIN_CHUNK, MAX_CHUNK)
}

/// An eviction burst and a seal don't come one to one: a staged unit of two chunks takes both before old ones go, and
/// an adopted payload pushes several out at once.
fn most_spares(capacity: usize) -> usize {
    (capacity / chunk_size(capacity) / 16).clamp(2, 4)
}

fn new_chunk(size: usize) -> BytesMut {
    let mut chunk = BytesMut::with_capacity(size);
    // Makes its reference count now, once, so that sealing and sharing it later allocates nothing.
    drop(chunk.split());
    chunk
}

/// Below it the directory outweighs the bytes. A backlog of less than 16 of them keeps up to one more.
const MIN_CHUNK: usize = 64;

/// Above it the allocator maps each chunk anew, at a page fault per 4 KiB; below it nothing is gained.
const MAX_CHUNK: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_a_sixteenth_of_the_capacity_within_bounds() {
        let capacities = [1, 16 * 65, 16 * 66, 1 << 20, 2 << 20, 64 << 20];
        assert_eq!(capacities.map(chunk_size), [64, 65, 66, 64 << 10, 64 << 10, 64 << 10]);
    }

    /// As many spare ones as a sixteenth of all, from two to four.
    #[test]
    fn spare_chunks_are_few() {
        let capacities = [1, 1 << 20, 2 << 20, 3 << 20, 4 << 20, 64 << 20];
        assert_eq!(capacities.map(most_spares), [2, 2, 2, 3, 4, 4]);
    }

    #[test]
    fn what_is_given_back_is_used_again() {
        let mut chunks = Chunks::new(1 << 20);
        let [first, second, third] = [chunks.take(), chunks.take(), chunks.take()];
        let places = [first.as_ptr(), second.as_ptr()];
        for chunk in [second, first, third] {
            chunks.give_back(chunk, 64 << 10);
        }
        assert_eq!(chunks.bytes(), 2 * (64 << 10), "two are kept");
        assert_eq!([chunks.take().as_ptr(), chunks.take().as_ptr()], places);
    }
}
