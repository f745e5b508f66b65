use std::hint::black_box;
use std::sync::Mutex;
use std::time::Instant;

use headwater::shared::SharedNode;
use headwater::{
    Config, Detach, OutputLimit, Peer, Primary, ReplicationId, Sink, Start, Tag, Timestamp, Wanted,
};

/// Whatever takes units from many threads, in one order.
pub(crate) trait Log: Send + Sync {
    fn append(&self, unit: &[u8]);
}

impl Log for SharedNode {
    #[inline]
    fn append(&self, unit: &[u8]) {
        let written = self.write(|into| into.put(unit)).expect("the stream has room");
        black_box(written.end.expect("the stream is kept"));
    }
}

/// The floor: a lock and a copy, into as many bytes as a backlog has.
pub(crate) struct LockedBytes {
    bytes: Mutex<Vec<u8>>,
    capacity: usize,
}

impl LockedBytes {
    pub(crate) fn new() -> Self {
        let capacity = Config::default().backlog_capacity;
        Self { bytes: Mutex::new(Vec::with_capacity(capacity)), capacity }
    }
}

impl Log for LockedBytes {
    #[inline]
    fn append(&self, unit: &[u8]) {
        let mut bytes = self.bytes.lock().expect("nobody panics");
        if bytes.len() + unit.len() > self.capacity {
            bytes.clear();
        }
        bytes.extend_from_slice(unit);
    }
}

/// What the least that shares a `Primary` does: no replica could be sent to, and nobody told of anything.
pub(crate) struct LockedPrimary {
    primary: parking_lot::Mutex<Primary>,
    origin: Instant,
}

impl LockedPrimary {
    pub(crate) fn new() -> Self {
        let mut primary = Primary::new(config(), id(1), Timestamp::default()).expect("it can work");
        primary.supply_id(id(2)).expect("the id is fresh");
        let first = primary.attach(Wanted::Everything, peer(), Timestamp::default());
        let first = first.expect("there is room").replica;
        primary.detach(first, Detach::Clean, Timestamp::default()).expect("it is attached");
        Self { primary: parking_lot::Mutex::new(primary), origin: Instant::now() }
    }
}

impl Log for LockedPrimary {
    #[inline]
    fn append(&self, unit: &[u8]) {
        let mut primary = self.primary.lock();
        let now = Timestamp::from_origin(self.origin.elapsed());
        let written = primary.write(now, |into| into.put(unit)).expect("the stream has room");
        black_box(written.end.expect("the stream is kept"));
    }
}

/// A node with a clock and a timer. Its stream is kept, for which a replica has come, and has left.
pub(crate) fn node() -> SharedNode {
    let (node, _) = SharedNode::spawn(config(), Start::Empty { id: id(1) }).expect("it can work");
    node.supply_id(id(2)).expect("the id is fresh");
    let (first, _) = node.attach(Wanted::Everything, peer()).expect("there is room");
    first.detach(Detach::Clean);
    node
}

/// Writers may be ahead of senders by as much as they like.
fn config() -> Config {
    let mut config = Config::default();
    config.output_limit = OutputLimit { hard: None, soft: None };
    config
}

pub(crate) fn peer() -> Peer {
    Peer::new(Tag(0), "replica")
}

fn id(byte: u8) -> ReplicationId {
    ReplicationId::from_random([byte; 20])
}
