use std::collections::VecDeque;
use std::hint::black_box;

use bytes::{Buf, Bytes};
use headwater::{Backlog, Cursor, Offset};
use tokio::sync::broadcast;

/// Keeps the last bytes of a stream.
pub(crate) trait Keep {
    fn append(&mut self, bytes: &[u8]);
}

/// Keeps the last bytes of a stream, and brings them to its replicas.
pub(crate) trait FanOut: Keep {
    /// Every replica reads what it has not read yet.
    fn flush(&mut self);
}

impl Keep for Backlog {
    #[inline]
    fn append(&mut self, bytes: &[u8]) {
        Backlog::append(self, bytes).expect("the stream has room");
    }
}

/// A backlog with a cursor for each replica.
pub(crate) struct Cursors {
    backlog: Backlog,
    cursors: Vec<Cursor>,
}

/// The floor: one bounds check and one copy.
pub(crate) struct MemcpyRing {
    bytes: Vec<u8>,
    at: usize,
}

/// What one writes first. It can't keep more for a replica that is slow, nor share what it keeps.
pub(crate) struct ByteDeque {
    bytes: VecDeque<u8>,
    capacity: usize,
}

/// A shared buffer per unit: in the history, and in a queue for each replica.
pub(crate) struct BytesQueues {
    kept: VecDeque<Bytes>,
    kept_bytes: usize,
    capacity: usize,
    queues: Vec<VecDeque<Bytes>>,
}

/// A channel of shared buffers, as long as the capacity has room for units of one size.
pub(crate) struct Broadcast {
    sender: broadcast::Sender<Bytes>,
    receivers: Vec<broadcast::Receiver<Bytes>>,
    /// A channel without a receiver keeps nothing.
    _keeper: broadcast::Receiver<Bytes>,
}

pub(crate) fn backlog(capacity: usize) -> Backlog {
    Backlog::new(capacity, Offset::ZERO).expect("the capacity is not zero")
}

impl Cursors {
    pub(crate) fn new(capacity: usize, replicas: usize) -> Self {
        let mut backlog = backlog(capacity);
        let cursors = (0..replicas).map(|_| backlog.cursor(Offset::ZERO).expect("nothing was let go of yet"));
        let cursors = cursors.collect();
        Self { backlog, cursors }
    }
}

impl Keep for Cursors {
    #[inline]
    fn append(&mut self, bytes: &[u8]) {
        Keep::append(&mut self.backlog, bytes);
    }
}

impl FanOut for Cursors {
    fn flush(&mut self) {
        for cursor in &mut self.cursors {
            while cursor.offset() < self.backlog.end() {
                let sent = black_box(self.backlog.read(cursor).chunk()).len();
                self.backlog.advance(cursor, sent).expect("it was lent");
            }
        }
    }
}

impl MemcpyRing {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { bytes: vec![0; capacity], at: 0 }
    }
}

impl Keep for MemcpyRing {
    #[inline]
    fn append(&mut self, bytes: &[u8]) {
        // Units divide the capacity here, so none is cut in two.
        if self.at + bytes.len() > self.bytes.len() {
            self.at = 0;
        }
        self.bytes[self.at..][..bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
}

impl ByteDeque {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { bytes: VecDeque::with_capacity(capacity), capacity }
    }
}

impl Keep for ByteDeque {
    #[inline]
    fn append(&mut self, bytes: &[u8]) {
        let excess = (self.bytes.len() + bytes.len()).saturating_sub(self.capacity);
        self.bytes.drain(..excess);
        self.bytes.extend(bytes);
    }
}

impl BytesQueues {
    pub(crate) fn new(capacity: usize, replicas: usize) -> Self {
        let queues = vec![VecDeque::new(); replicas];
        Self { kept: VecDeque::new(), kept_bytes: 0, capacity, queues }
    }
}

impl Keep for BytesQueues {
    #[inline]
    fn append(&mut self, bytes: &[u8]) {
        let unit = Bytes::copy_from_slice(bytes);
        for queue in &mut self.queues {
            queue.push_back(unit.clone());
        }
        self.kept_bytes += unit.len();
        self.kept.push_back(unit);
        while self.kept_bytes > self.capacity {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.kept_bytes -= oldest.len();
        }
    }
}

impl FanOut for BytesQueues {
    fn flush(&mut self) {
        for queue in &mut self.queues {
            while let Some(unit) = queue.pop_front() {
                black_box(&unit[..]);
            }
        }
    }
}

impl Broadcast {
    pub(crate) fn new(capacity: usize, size: usize, replicas: usize) -> Self {
        let (sender, keeper) = broadcast::channel(capacity / size);
        let receivers = (0..replicas).map(|_| sender.subscribe()).collect();
        Self { sender, receivers, _keeper: keeper }
    }
}

impl Keep for Broadcast {
    #[inline]
    fn append(&mut self, bytes: &[u8]) {
        self.sender.send(Bytes::copy_from_slice(bytes)).expect("somebody receives");
    }
}

impl FanOut for Broadcast {
    fn flush(&mut self) {
        for receiver in &mut self.receivers {
            while let Ok(unit) = receiver.try_recv() {
                black_box(&unit[..]);
            }
        }
    }
}
