//! A node for one test, with the test's clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Buf;
use headwater::shared::{Events, Sender, SharedNode, Step};
use headwater::{
    Ack, Config, Cut, Detach, Framing, Image, Level, NodeEvent, Offset, Peer, ReplicaConfig, ReplicationId,
    Sink, Start, Tag, Timeout, Timestamp, Wait, WaitEnd, WaitError, Wanted,
};

pub(crate) struct Host {
    pub(crate) node: SharedNode,
    pub(crate) events: Events,
    nanoseconds: Arc<AtomicU64>,
}

pub(crate) const SIZED: Image = Image { framing: Framing::Sized, replayable: true, size: None };
pub(crate) const NANOSECOND: Duration = Duration::from_nanos(1);

pub(crate) fn id(number: u8) -> ReplicationId {
    ReplicationId::from_random([number; 20])
}

/// WAIT without a timeout.
pub(crate) const fn wait(target: Offset, replicas: usize) -> Wait {
    Wait { target, replicas, level: Level::Applied, local: false, timeout: Timeout::Never, tag: Tag(0) }
}

impl Host {
    pub(crate) fn new(configure: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.sync_backoff = None;
        configure(&mut config);
        let nanoseconds = Arc::new(AtomicU64::new(0));
        let read = Arc::clone(&nanoseconds);
        let clock = move || Timestamp::from_origin(Duration::from_nanos(read.load(Ordering::SeqCst)));
        let (node, events) = SharedNode::new(config, Start::Empty { id: id(1) }, clock).unwrap();
        node.supply_id(id(2)).unwrap();
        let mut host = Self { node, events, nanoseconds };
        host.attach().detach(Detach::Clean); // the stream begins, under that id
        host.node.supply_id(id(3)).unwrap();
        host.drain();
        host
    }

    pub(crate) fn pass(&self, span: Duration) {
        self.nanoseconds.fetch_add(u64::try_from(span.as_nanos()).unwrap(), Ordering::SeqCst);
        self.node.handle_timeout();
    }

    pub(crate) fn write(&self, bytes: &[u8]) -> Offset {
        self.node.write(|unit| unit.put(bytes)).unwrap().end.expect("a replica wants it")
    }

    pub(crate) fn attach(&self) -> Sender {
        self.node.attach(Wanted::Everything, Peer::new(Tag(7), "10.0.0.9")).unwrap().0
    }

    /// A replica that has been through a full sync and has acknowledged it.
    pub(crate) fn online(&self) -> Sender {
        let mut sender = self.attach();
        let cut = self.snapshot();
        assert!(matches!(sender.next(), Step::SendSnapshot { cut: sent, .. } if sent == cut));
        sender.handle_snapshot_sent();
        self.ack(&sender, cut.offset);
        sender
    }

    pub(crate) fn snapshot(&self) -> Cut {
        let cut = self.node.begin_snapshot(SIZED, |cut| cut).unwrap();
        self.node.handle_snapshot_ready(cut.snapshot).unwrap();
        cut
    }

    pub(crate) fn ack(&self, sender: &Sender, offset: Offset) {
        self.node.handle_ack(sender.replica(), Ack::applied(offset)).unwrap();
    }

    /// All that came so far.
    pub(crate) fn drain(&mut self) -> Vec<NodeEvent> {
        std::iter::from_fn(|| self.events.try_recv()).collect()
    }

    pub(crate) fn follow(&self) {
        self.node.with(|node, now| node.follow(ReplicaConfig::default(), None, now)).unwrap();
    }

    /// A caller on a thread of its own.
    pub(crate) fn waiting(&self, wait: Wait) -> JoinHandle<Result<WaitEnd, WaitError>> {
        let node = self.node.clone();
        thread::spawn(move || node.wait(wait))
    }

    /// Until so many callers wait. The core has no event of that, so this looks again and again.
    pub(crate) fn until_waiting(&self, count: usize) {
        while self.node.report().waiters != count {
            thread::yield_now();
        }
    }
}

/// The bytes of the next step.
pub(crate) fn next_bytes(sender: &mut Sender) -> Vec<u8> {
    match sender.next() {
        Step::Stream(batch) => batch.copy_to_bytes(batch.remaining()).to_vec(),
        step => panic!("not a part of the stream: {step:?}"),
    }
}
