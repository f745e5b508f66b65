mod reader;

pub use reader::Reader;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;

use bytes::{Bytes, BytesMut};

use crate::offset::Offset;

/// The most recent stretch of a stream, kept for readers that are behind.
///
/// A ring of chunks. What is appended is copied once, into the tail chunk; full chunks are immutable and shared
/// with whoever reads them; those that fall out of retention become the next tail. At least `capacity` bytes are
/// kept once that many were appended, and whatever a [`Cursor`] still has before it. It lets go from the front in
/// whole chunks, a portion per call, so that no call takes long.
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
    /// What precedes the tail, in order; none is empty.
    sealed: VecDeque<Segment>,
    /// The sequence number of the first of them. The tail's follows that of the last.
    first: u64,
    tail: Tail,
    /// What is readable ends here; staged bytes lie behind it.
    end: Offset,
    capacity: usize,
    spare: Vec<BytesMut>,
    /// Bytes of all chunks, spare ones too.
    chunk_bytes: usize,
    /// A chunk was sealed since the last look at what may be released.
    trim_due: bool,
}

/// An immutable stretch of the stream.
#[derive(Debug)]
struct Segment {
    start: Offset,
    bytes: Bytes,
    /// The size of its chunk.
    charge: usize,
    pins: u32,
}

#[derive(Debug)]
struct Tail {
    start: Offset,
    bytes: BytesMut,
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
            tail: Tail { start: at, bytes: BytesMut::new(), pins: 0 },
            end: at,
            capacity,
            spare: Vec::new(),
            chunk_bytes: 0,
            trim_due: false,
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
        if bytes.len() > self.tail.room() || self.trim_due {
            return self.append_across_chunks(bytes);
        }
        let end = self.staged_end(bytes.len())?;
        self.tail.bytes.extend_from_slice(bytes);
        self.end = end;
        Ok(end)
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
        self.staged_end(bytes.len())?;
        if bytes.len() <= self.tail.room() {
            self.tail.bytes.extend_from_slice(bytes);
        } else {
            let mut rest = bytes;
            while !rest.is_empty() {
                rest = self.fill_tail(rest);
            }
        }
        Ok(())
    }

    /// Makes all staged bytes readable at once, and tells the new end. May let go of old chunks, as
    /// [`Backlog::append`] does.
    #[inline]
    pub fn commit(&mut self) -> Offset {
        if self.trim_due {
            return self.commit_across_chunks();
        }
        self.end = self.tail.end();
        self.end
    }

    /// Takes all staged bytes back.
    pub fn discard_staged(&mut self) {
        if self.tail.start <= self.end {
            self.tail.bytes.truncate(bytes_between(self.tail.start, self.end));
            return;
        }
        let staged = mem::replace(&mut self.tail, Tail { start: self.end, bytes: BytesMut::new(), pins: 0 });
        let charge = staged.bytes.capacity();
        self.keep_spare(staged.bytes, charge);
        while let Some(staged) = self.sealed.pop_back_if(|segment| segment.start >= self.end) {
            // Cursors stand no further than the end: only the first of these can be pinned, and the tail takes
            // its place.
            self.tail.pins = staged.pins;
            self.recycle(staged);
        }
        self.reopen_last();
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
        for chunk in mem::take(&mut self.spare) {
            let charge = chunk.capacity();
            self.keep_spare(chunk, charge);
        }
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

    /// Bytes of memory held: chunks, spare ones, and the directory. [`Bytes`] that a host still holds of chunks
    /// that were let go of are its own.
    pub fn memory(&self) -> usize {
        self.chunk_bytes + self.sealed.capacity() * size_of::<Segment>()
    }

    /// Panics when the bookkeeping is broken. For tests and fuzzing.
    #[doc(hidden)]
    pub fn check_invariants(&self) {
        let mut at = self.start();
        let mut chunk_bytes = self.tail.bytes.capacity();
        for segment in &self.sealed {
            assert_eq!(segment.start, at, "segments are contiguous");
            assert!(!segment.bytes.is_empty(), "no segment is empty");
            assert!(segment.bytes.len() <= segment.charge, "a segment lies in its chunk");
            at = segment.end();
            chunk_bytes += segment.charge;
        }
        chunk_bytes += self.spare.iter().map(BytesMut::capacity).sum::<usize>();
        assert_eq!(self.tail.start, at, "the tail follows the last segment");
        assert!(self.start() <= self.end && self.end <= self.tail.end(), "the end lies in what is kept");
        assert_eq!(chunk_bytes, self.chunk_bytes, "every chunk is counted once");
        assert!(self.spare.len() <= self.most_spares(), "spare chunks are few");
    }

    #[cold]
    #[inline(never)]
    fn append_across_chunks(&mut self, bytes: &[u8]) -> Result<Offset, StreamFull> {
        self.staged_end(bytes.len())?;
        let mut budget = portion(bytes.len());
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = self.fill_tail(rest);
            // Nothing can take these bytes back, so old chunks go as fast as new ones are filled, and become them.
            self.end = self.tail.end();
            self.seal_if_full();
            budget = budget.saturating_sub(self.let_go(budget));
        }
        self.trim_due = false;
        self.end = self.tail.end();
        Ok(self.end)
    }

    #[cold]
    #[inline(never)]
    fn commit_across_chunks(&mut self) -> Offset {
        let end = self.tail.end();
        let appended = bytes_between(self.end, end);
        self.end = end;
        self.seal_if_full();
        self.trim_due = false;
        self.let_go(portion(appended));
        end
    }

    /// To be called before old chunks go: their number is at its lowest while the tail is full, and the one too many
    /// for the spare ones would have to be made again.
    fn seal_if_full(&mut self) {
        if self.tail.room() == 0 {
            self.seal();
        }
    }

    /// Copies what fits into the tail, a new one if the old one is full, and returns the rest.
    fn fill_tail<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        self.seal_if_full();
        let (now, rest) = bytes.split_at(bytes.len().min(self.tail.room()));
        self.tail.bytes.extend_from_slice(now);
        rest
    }

    fn seal(&mut self) {
        let start = self.tail.end();
        let chunk = self.spare.pop().unwrap_or_else(|| {
            self.chunk_bytes += self.chunk_size();
            new_chunk(self.chunk_size())
        });
        let full = mem::replace(&mut self.tail, Tail { start, bytes: chunk, pins: 0 });
        if full.bytes.is_empty() {
            // The first tail of all has no chunk; cursors that stand in it go over to the next.
            self.tail.pins = full.pins;
            return;
        }
        if self.sealed.len() == self.sealed.capacity() {
            // Doubling would leave a directory half empty.
            self.sealed.reserve_exact(self.sealed.len() / 8 + 16);
        }
        let charge = full.bytes.capacity();
        self.sealed.push_back(Segment {
            start: full.start,
            bytes: full.bytes.freeze(),
            charge,
            pins: full.pins,
        });
        self.trim_due = true;
    }

    /// Makes a segment that was sealed for staged bytes the tail again. Left as it is, truncated, it would hold a
    /// whole chunk for a few bytes, and there could be any number of its kind.
    fn reopen_last(&mut self) {
        let Some(mut last) = self.sealed.pop_back_if(|segment| segment.end() > self.end) else { return };
        last.bytes.truncate(bytes_between(last.start, self.end));
        match last.bytes.try_into_mut() {
            Ok(bytes) => self.tail = Tail { start: last.start, bytes, pins: last.pins },
            Err(bytes) => self.sealed.push_back(Segment { bytes, ..last }),
        }
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
        match segment.bytes.try_into_mut() {
            Ok(chunk) => self.keep_spare(chunk, segment.charge),
            // Someone still reads it: the memory is theirs now.
            Err(_) => self.chunk_bytes -= segment.charge,
        }
    }

    fn keep_spare(&mut self, mut chunk: BytesMut, charge: usize) {
        chunk.clear();
        if chunk.capacity() == self.chunk_size() && self.spare.len() < self.most_spares() {
            self.spare.push(chunk);
        } else {
            self.chunk_bytes -= charge;
        }
    }

    /// Whether enough is kept without `front`.
    fn spares(&self, front: &Segment) -> bool {
        let kept = self.end.saturating_since(front.start);
        kept.saturating_sub(front.bytes.len() as u64) >= self.capacity as u64
    }

    fn staged_end(&self, more: usize) -> Result<Offset, StreamFull> {
        let len = self.tail.bytes.len() + more;
        self.tail.start.checked_add(len as u64).ok_or(StreamFull { end: self.tail.end(), bytes: more })
    }

    const fn chunk_size(&self) -> usize {
        let sixteenth = self.capacity / 16;
        if sixteenth < MIN_CHUNK {
            MIN_CHUNK
        } else if sixteenth > MAX_CHUNK {
            MAX_CHUNK
        } else {
            sixteenth
        }
    }

    /// An eviction burst and a seal don't come one to one.
    fn most_spares(&self) -> usize {
        (self.capacity / self.chunk_size() / 16).clamp(1, 4)
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

fn new_chunk(size: usize) -> BytesMut {
    let mut chunk = BytesMut::with_capacity(size);
    // Makes its reference count now, once, so that sealing and sharing it later allocates nothing.
    drop(chunk.split());
    chunk
}

fn bytes_between(from: Offset, to: Offset) -> usize {
    usize::try_from(to.saturating_since(from)).unwrap_or(usize::MAX)
}

/// Below it the directory outweighs the bytes. A backlog of less than 16 of them keeps up to one more.
const MIN_CHUNK: usize = 64;

/// Above it the allocator maps each chunk anew, at a page fault per 4 KiB; below it nothing is gained.
const MAX_CHUNK: usize = 64 << 10;
