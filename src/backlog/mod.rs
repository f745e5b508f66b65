mod chunks;
mod growth;
mod reader;
mod staged;

pub use reader::Reader;

use alloc::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use chunks::Chunks;
use staged::Staged;

use crate::offset::Offset;

/// The most recent stretch of a stream, kept for readers that are behind.
///
/// A ring of chunks. What is appended is copied once, into the tail chunk; full chunks are immutable and shared
/// with whoever reads them; those that fall out of retention become the next tail. A payload of 16 KiB and more that
/// is handed over as [`Bytes`] is not copied at all. At least `capacity` bytes are kept once that many were appended,
/// and whatever a [`Cursor`] still has before it. It lets go from the front in whole chunks and payloads, a portion
/// per call, so that no call takes long.
///
/// ```
/// use bytes::Buf;
/// use headwater::{Backlog, Offset};
///
/// let mut backlog = Backlog::new(1 << 20, Offset::ZERO)?;
/// let mut cursor = backlog.cursor(Offset::ZERO)?;
/// backlog.append(b"one unit")?;
///
/// backlog.stage(b"another, ")?; // nobody reads it yet
/// backlog.stage(b"in two pieces")?;
/// assert_eq!(backlog.read(&cursor).remaining(), 8);
/// let end = backlog.commit();
///
/// assert_eq!(backlog.read(&cursor).to_bytes(usize::MAX), "one unitanother, in two pieces");
/// backlog.advance(&mut cursor, 8)?;
/// assert_eq!(end.bytes_since(cursor.offset()), Some(22));
/// backlog.release(cursor);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Backlog {
    /// What precedes the tail, in order; none is empty. All of it is readable.
    sealed: VecDeque<Segment>,
    /// The sequence number of the first of them. The tail's follows that of the last.
    first: u64,
    tail: Tail,
    /// What is readable ends here, in the tail; staged bytes lie behind it.
    end: Offset,
    /// Staged bytes that have no room in the tail.
    staged: Staged,
    capacity: usize,
    chunks: Chunks,
    /// Bytes of the payloads among `sealed` that were handed over.
    adopted: usize,
}

/// An immutable stretch of the stream: a payload that was handed over, or as much of a chunk as lies between two of
/// these.
#[derive(Debug)]
struct Segment {
    start: Offset,
    bytes: Bytes,
    /// Bytes of memory that go with it. A whole chunk goes with the last segment in it, nothing with the others.
    charge: usize,
    pins: u32,
    is_adopted: bool,
}

#[derive(Debug)]
struct Tail {
    start: Offset,
    /// What its chunk has left.
    bytes: BytesMut,
    /// The size of its chunk; 0 without one.
    chunk: usize,
    pins: u32,
}

/// A place in a [`Backlog`] from which bytes are still needed: they are kept until it moves on.
///
/// Give it back with [`Backlog::release`]; one that is merely dropped holds its bytes as long as the backlog lives.
#[derive(Debug)]
#[must_use = "a cursor that is not released holds its bytes for ever"]
pub struct Cursor {
    sequence: u64,
    at: Offset,
}

/// Bytes that are not there to be read. Nothing has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("offset {wanted} is outside of what is kept, offsets {from} to {to}")]
pub struct NotKept {
    /// The offset asked for.
    pub wanted: Offset,
    /// The oldest one kept.
    pub from: Offset,
    /// The end of the stream.
    pub to: Offset,
}

/// Bytes that would go past [`Offset::MAX`]. Nothing has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the stream is full: {bytes} bytes do not fit behind offset {end}")]
pub struct StreamFull {
    /// The end of the stream, with what is staged.
    pub end: Offset,
    /// Bytes to be appended.
    pub bytes: usize,
}

/// A capacity of no bytes. Nothing has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a backlog must hold at least one byte")]
pub struct ZeroCapacity;

impl Backlog {
    /// An empty backlog of a stream that has reached `at`. Memory is taken as bytes come.
    ///
    /// # Errors
    ///
    /// [`ZeroCapacity`].
    pub fn new(capacity: usize, at: Offset) -> Result<Self, ZeroCapacity> {
        if capacity == 0 {
            return Err(ZeroCapacity);
        }
        Ok(Self {
            sealed: VecDeque::new(),
            first: 0,
            tail: Tail { start: at, bytes: BytesMut::new(), chunk: 0, pins: 0 },
            end: at,
            staged: Staged::default(),
            capacity,
            chunks: Chunks::new(capacity),
            adopted: 0,
        })
    }

    /// Appends a copy of `bytes`, behind what is staged, and makes all of it readable. Tells the new end.
    ///
    /// May let go of old chunks: up to twice the bytes appended, and no less than 1 MiB.
    ///
    /// # Errors
    ///
    /// [`StreamFull`].
    #[inline]
    pub fn append(&mut self, bytes: &[u8]) -> Result<Offset, StreamFull> {
        if bytes.len() >= self.tail.room() {
            return self.append_across_chunks(bytes);
        }
        let end = self.tail.check_room(bytes.len())?;
        self.tail.bytes.extend_from_slice(bytes);
        self.end = end;
        Ok(end)
    }

    /// [`Backlog::append`] for a payload that is shared: one of 16 KiB and more is kept as it is, at the same cost
    /// whatever its length. A smaller one is copied, which then costs less than to keep track of it.
    ///
    /// It counts its length, in whatever is told of memory. [`Bytes`] may be a small view of a large buffer, all of
    /// which lives as long as the view: of a network buffer, say, hand over a copy.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use headwater::{Backlog, Offset};
    ///
    /// let value = Bytes::from(vec![b'x'; 1 << 20]);
    /// let mut backlog = Backlog::new(1 << 20, Offset::ZERO)?;
    /// let cursor = backlog.cursor(Offset::ZERO)?;
    /// backlog.append_shared(value.clone())?;
    /// backlog.append(b"\r\n")?;
    ///
    /// let lent = backlog.read(&cursor).to_bytes(usize::MAX);
    /// assert_eq!(lent.as_ptr(), value.as_ptr(), "it is the same memory");
    /// backlog.release(cursor);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`StreamFull`].
    #[inline]
    pub fn append_shared(&mut self, bytes: Bytes) -> Result<Offset, StreamFull> {
        if bytes.len() < ADOPTED_FROM { self.append(&bytes) } else { self.append_adopted(bytes) }
    }

    /// Puts a copy of `bytes` behind the end, where nobody reads them until [`Backlog::commit`].
    ///
    /// Nothing is let go of meanwhile, so that [`Backlog::discard_staged`] can take them back.
    ///
    /// # Errors
    ///
    /// [`StreamFull`].
    #[inline]
    pub fn stage(&mut self, bytes: &[u8]) -> Result<(), StreamFull> {
        if bytes.len() > self.tail.room() {
            return self.stage_across_chunks(bytes);
        }
        self.tail.check_room(bytes.len())?;
        self.tail.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// [`Backlog::stage`] for a payload that is shared: see [`Backlog::append_shared`].
    ///
    /// # Errors
    ///
    /// [`StreamFull`].
    #[inline]
    pub fn stage_shared(&mut self, bytes: Bytes) -> Result<(), StreamFull> {
        if bytes.len() < ADOPTED_FROM { self.stage(&bytes) } else { self.stage_adopted(bytes) }
    }

    /// Makes all staged bytes readable at once, and tells the new end. May let go of old chunks, as
    /// [`Backlog::append`] does.
    #[inline]
    pub fn commit(&mut self) -> Offset {
        if !self.staged.is_empty() {
            return self.commit_across_chunks();
        }
        self.end = self.tail.end();
        self.end
    }

    /// Takes all staged bytes back.
    pub fn discard_staged(&mut self) {
        self.staged.take_back(&mut self.tail.bytes, &mut self.chunks);
        self.tail.bytes.truncate(bytes_between(self.tail.start, self.end));
    }

    /// Pins the stream from `at` on.
    ///
    /// # Errors
    ///
    /// [`NotKept`] outside of start to end.
    pub fn cursor(&mut self, at: Offset) -> Result<Cursor, NotKept> {
        if at < self.start() || at > self.end {
            return Err(NotKept { wanted: at, from: self.start(), to: self.end });
        }
        let index = self.index_of(at);
        *self.pins_mut(index) += 1;
        Ok(Cursor { sequence: self.first + index as u64, at })
    }

    /// Lends what lies between the cursor and the end.
    ///
    /// # Panics
    ///
    /// Possibly, if the cursor is another backlog's.
    #[inline]
    pub fn read(&self, cursor: &Cursor) -> Reader<'_> {
        let remaining = bytes_between(cursor.at, self.end);
        let mut index = self.index_in(cursor);
        let mut position = bytes_between(self.start_of(index), cursor.at);
        if index < self.sealed.len() && position == self.sealed[index].bytes.len() {
            (index, position) = (index + 1, 0);
        }
        Reader::new(self, index, position, remaining)
    }

    /// Moves the cursor forward by `bytes`, so that what it leaves behind may be let go of: up to 1 MiB of it now.
    ///
    /// # Errors
    ///
    /// [`NotKept`] if that is past the end.
    #[inline]
    pub fn advance(&mut self, cursor: &mut Cursor, bytes: usize) -> Result<(), NotKept> {
        let to = match cursor.at.checked_add(bytes as u64) {
            Some(to) if to <= self.end => to,
            to => {
                let wanted = to.unwrap_or(Offset::MAX);
                return Err(NotKept { wanted, from: self.start(), to: self.end });
            }
        };
        cursor.at = to;
        let index = self.index_in(cursor);
        if index < self.sealed.len() && to >= self.sealed[index].end() {
            self.leave(index, cursor);
        }
        Ok(())
    }

    /// Unpins what the cursor held. Up to 1 MiB of it is let go of now.
    pub fn release(&mut self, cursor: Cursor) {
        let index = self.index_in(&cursor);
        self.unpin(index);
        self.let_go(portion(0));
    }

    /// Changes how much is kept. Growing loses nothing; shrinking lets go of up to 1 MiB now.
    ///
    /// # Errors
    ///
    /// [`ZeroCapacity`].
    pub fn set_capacity(&mut self, capacity: usize) -> Result<(), ZeroCapacity> {
        if capacity == 0 {
            return Err(ZeroCapacity);
        }
        self.capacity = capacity;
        self.chunks.set_capacity(capacity);
        self.let_go(portion(0));
        Ok(())
    }

    /// Lets go of up to 1 MiB that nobody needs any more. Tells whether more is left: call again soon.
    pub fn trim(&mut self) -> bool {
        self.let_go(portion(0));
        self.has_surplus()
    }

    /// Whether there is something to let go of.
    pub fn has_surplus(&self) -> bool {
        self.sealed.front().is_some_and(|front| front.pins == 0 && self.spares(front))
    }

    /// The offset of the oldest byte kept.
    pub fn start(&self) -> Offset {
        self.sealed.front().map_or(self.tail.start, |front| front.start)
    }

    /// The end of what can be read.
    #[inline]
    pub const fn end(&self) -> Offset {
        self.end
    }

    /// How many bytes are kept at least, once that many were appended.
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes of memory held: chunks, spare ones too, payloads that were handed over, and the directory. [`Bytes`] that
    /// a host still holds of chunks that were let go of are its own.
    pub fn memory(&self) -> usize {
        let directory = self.sealed.capacity() * size_of::<Segment>();
        self.chunks.bytes() + self.adopted + self.staged.memory() + directory
    }

    /// Panics when the bookkeeping is broken. For tests and fuzzing.
    #[doc(hidden)]
    pub fn check_invariants(&self) {
        let mut at = self.start();
        let (mut in_chunks, mut adopted) = (self.tail.chunk, 0);
        for (segment, next) in self.sealed.iter().zip(self.sealed.iter().skip(1).map(Some).chain([None])) {
            assert_eq!(segment.start, at, "segments are contiguous");
            assert!(!segment.bytes.is_empty(), "no segment is empty");
            at = segment.end();
            if segment.is_adopted {
                assert_eq!(segment.charge, segment.bytes.len(), "a payload counts its length");
                adopted += segment.charge;
                continue;
            }
            let is_cut = segment.charge == 0 && next.is_some_and(|next| next.is_adopted);
            assert!(is_cut || segment.bytes.len() <= segment.charge, "only a payload parts a chunk");
            in_chunks += segment.charge;
        }
        assert_eq!(adopted, self.adopted, "every payload is counted once");
        assert_eq!(self.tail.start, at, "the tail follows the last segment");
        assert!(self.tail.start <= self.end && self.end <= self.tail.end(), "the end lies in the tail");
        assert!(self.tail.bytes.capacity() <= self.tail.chunk, "the tail lies in its chunk");
        assert!(self.staged.is_empty() || self.tail.room() == 0, "what is staged fills the tail first");
        self.chunks.check_invariants(in_chunks + self.staged.check_invariants());
    }

    fn leave(&mut self, index: usize, cursor: &mut Cursor) {
        let next = self.index_of(cursor.at);
        cursor.sequence = self.first + next as u64;
        *self.pins_mut(next) += 1;
        self.unpin(index);
        self.let_go(portion(0));
    }

    fn let_go(&mut self, most: usize) -> usize {
        let mut released = 0;
        while released < most && self.has_surplus() {
            let Some(front) = self.sealed.pop_front() else { break };
            self.first += 1;
            released += front.charge;
            self.recycle(front);
        }
        if self.sealed.capacity() > 4 * self.sealed.len() + 64 {
            // A slow reader's chunks are gone; in steady state there are never so many fewer.
            self.sealed.shrink_to(2 * self.sealed.len());
        }
        released
    }

    fn recycle(&mut self, segment: Segment) {
        if segment.is_adopted {
            self.adopted -= segment.charge;
        } else {
            match segment.bytes.try_into_mut() {
                Ok(chunk) => self.chunks.give_back(chunk, segment.charge),
                // Someone still reads it: the memory is theirs now.
                Err(_) => self.chunks.forget(segment.charge),
            }
        }
    }

    /// Whether enough is kept without `front`.
    fn spares(&self, front: &Segment) -> bool {
        let kept = self.end.saturating_since(front.start);
        kept.saturating_sub(front.bytes.len() as u64) >= self.capacity as u64
    }

    /// Where `at`, which is kept, lies: in a sealed segment, or in the tail, whose index follows theirs.
    fn index_of(&self, at: Offset) -> usize {
        if at >= self.tail.start {
            return self.sealed.len();
        }
        self.sealed.partition_point(|segment| segment.start <= at).saturating_sub(1)
    }

    fn index_in(&self, cursor: &Cursor) -> usize {
        let index = cursor.sequence.saturating_sub(self.first);
        usize::try_from(index).map_or(self.sealed.len(), |index| index.min(self.sealed.len()))
    }

    fn start_of(&self, index: usize) -> Offset {
        self.sealed.get(index).map_or(self.tail.start, |segment| segment.start)
    }

    fn slice(&self, index: usize) -> &[u8] {
        self.sealed.get(index).map_or(&self.tail.bytes, |segment| &segment.bytes)
    }

    /// What lies from a segment on, the tail last.
    #[cfg(feature = "std")]
    fn pieces(&self, index: usize) -> impl Iterator<Item = &[u8]> {
        let sealed = self.sealed.range(index.min(self.sealed.len())..);
        sealed.map(|segment| &segment.bytes[..]).chain([&self.tail.bytes[..]])
    }

    fn pins_mut(&mut self, index: usize) -> &mut u32 {
        self.sealed.get_mut(index).map_or(&mut self.tail.pins, |segment| &mut segment.pins)
    }

    fn unpin(&mut self, index: usize) {
        let pins = self.pins_mut(index);
        *pins = pins.saturating_sub(1);
    }
}

impl Segment {
    fn end(&self) -> Offset {
        self.start.saturating_add(self.bytes.len() as u64)
    }
}

impl Tail {
    fn end(&self) -> Offset {
        self.start.saturating_add(self.bytes.len() as u64)
    }

    /// The end with `more` bytes behind what it holds.
    #[inline]
    fn check_room(&self, more: usize) -> Result<Offset, StreamFull> {
        let len = self.bytes.len() + more;
        self.start.checked_add(len as u64).ok_or(StreamFull { end: self.end(), bytes: more })
    }

    fn room(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }
}

impl Cursor {
    /// The offset of the next byte that it needs.
    pub const fn offset(&self) -> Offset {
        self.at
    }
}

/// How much one call lets go of. Giving 1 GiB back at once would stop it for 100 ms, 1 MiB for 0.1 ms.
fn portion(appended: usize) -> usize {
    appended.saturating_mul(2).max(1 << 20)
}

fn bytes_between(from: Offset, to: Offset) -> usize {
    usize::try_from(to.saturating_since(from)).unwrap_or(usize::MAX)
}

/// Below it keeping track of a payload costs more than a copy, in memory and in each look-up.
const ADOPTED_FROM: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// A backlog of 64-byte chunks, of which a cursor at the start keeps so many full ones.
    fn held(chunks: usize) -> (Backlog, Cursor) {
        let mut backlog = Backlog::new(64, Offset::ZERO).unwrap();
        let cursor = backlog.cursor(Offset::ZERO).unwrap();
        for _ in 0..chunks {
            backlog.append(&[7; 64]).unwrap();
        }
        (backlog, cursor)
    }

    /// What is listed, and the room for it, once so many chunks are held no more.
    fn directory_after(chunks: usize, left_behind: usize) -> (usize, usize) {
        let (mut backlog, mut cursor) = held(chunks);
        backlog.advance(&mut cursor, 64 * left_behind).unwrap();
        let room = (backlog.sealed.len(), backlog.sealed.capacity());
        backlog.release(cursor);
        room
    }

    #[test]
    fn the_directory_counts_as_memory() {
        let (backlog, cursor) = held(10_000);
        let directory = 10_000 * size_of::<Segment>();
        let memory = backlog.memory() - backlog.chunks.bytes();
        assert!((directory..directory * 5 / 4).contains(&memory), "{memory} bytes for {directory}");
        drop(cursor);
    }

    /// In steady state it must not be made anew again and again.
    #[test]
    fn the_directory_keeps_its_room_until_a_quarter_is_used() {
        let (_, room) = directory_after(1000, 0);
        assert_eq!(directory_after(1000, 700), (300, room));
    }

    #[test]
    fn a_directory_that_is_nearly_empty_keeps_twice_what_it_needs() {
        assert_eq!(directory_after(1000, 900), (100, 200));
    }

    #[test]
    fn the_directory_grows_seldom() {
        let (mut backlog, cursor) = held(0);
        let mut rooms = alloc::collections::BTreeSet::new();
        for _ in 0..10_000 {
            backlog.append(&[7; 64]).unwrap();
            rooms.insert(backlog.sealed.capacity());
        }
        assert!(rooms.len() < 70, "{} times", rooms.len());
        drop(cursor);
    }

    /// With bytes that fill its chunk, which only a commit leaves open, there is nothing to go on behind a payload.
    #[test]
    fn a_full_chunk_is_not_parted_by_a_payload() {
        for stages in [false, true] {
            let (mut backlog, cursor) = held(0);
            backlog.stage(&[1; 64]).unwrap();
            backlog.commit();
            let payload = Bytes::from(alloc::vec![2; ADOPTED_FROM]);
            if stages {
                backlog.stage_shared(payload).unwrap();
                backlog.commit();
            } else {
                backlog.append_shared(payload).unwrap();
            }
            backlog.check_invariants();
            backlog.append(&[3; 10]).unwrap();
            backlog.check_invariants();
            drop(cursor);
        }
    }

    #[test]
    fn any_place_that_is_kept_is_read_from_without_a_pin() {
        let mut backlog = Backlog::new(640, Offset::ZERO).unwrap();
        for chunk in 0..20 {
            backlog.append(&[chunk; 64]).unwrap();
        }
        assert!(backlog.first > 0, "some are let go of");
        for at in backlog.start().get()..backlog.end().get() {
            let reader = backlog.read_from(Offset::new(at).unwrap()).unwrap();
            assert_eq!(u64::from(reader.to_bytes(1)[0]), at / 64);
        }
        assert!(backlog.read_from(backlog.end().saturating_add(1)).is_none());
    }
}
