use std::collections::BTreeMap;
use std::time::Duration;

use headwater::{
    Fence, LinkKey, Lost, Node, Offset, ReplicaKey, ReplicationId, Report, ResumePoint, SnapshotKey, Timeout,
    Timestamp, WaiterKey,
};

use crate::clock::Clock;
use crate::truth::State;
use crate::waits::{Seen, Waiting};

/// A node with all that its host has.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) node: Node,
    pub(crate) clock: Clock,
    /// A time that the node knows; it may know a later one.
    pub(crate) told: Timestamp,
    /// What it stores.
    pub(crate) state: State,
    /// How many times it was started.
    pub(crate) life: u64,
    /// Whom it connects to.
    pub(crate) target: Option<usize>,
    pub(crate) connecting: Option<LinkKey>,
    /// What it loads.
    pub(crate) loading: Option<(LinkKey, State)>,
    /// What it makes snapshots of.
    pub(crate) images: BTreeMap<SnapshotKey, State>,
    /// It does nothing until then.
    pub(crate) stalled_until: Duration,
    pub(crate) saved: Vec<Saved>,
    pub(crate) fences: BTreeMap<WaiterKey, Reader>,
    pub(crate) waits: BTreeMap<WaiterKey, Waiting>,
    /// Replicas that went since events were last taken.
    pub(crate) departed: Vec<Seen>,
    /// What is on its disk of the data that it has.
    pub(crate) synced: Option<State>,
    /// It is to ask the next node to take over.
    pub(crate) asks_to_hand_over: bool,
    pub(crate) account: Account,
}

/// Data on disk, with what was held when it was taken.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Saved {
    pub(crate) state: State,
    pub(crate) held: Option<ResumePoint>,
}

/// Who waits at a fence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader {
    pub(crate) fence: Fence,
    /// What the place was for whom wrote there.
    pub(crate) state: State,
    /// When it may end, and when it has to, which differ once a clock has gone back.
    pub(crate) deadline: Option<[Timestamp; 2]>,
}

/// What the simulator knows of a node by itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Account {
    pub(crate) follows: bool,
    /// The end of the stream when it stopped to let units in.
    pub(crate) hands_over_at: Option<Offset>,
    /// To whom, if that is settled and not done.
    pub(crate) hands_over_to: Option<ReplicaKey>,
    /// Where it began to lead.
    pub(crate) led_from: Offset,
    /// What it wrote itself, until it is known what became of it.
    pub(crate) own: Option<Own>,
    /// What it was told would be lost, over which link.
    pub(crate) told: Option<(LinkKey, Lost)>,
    /// Snapshots that it has loaded.
    pub(crate) loads: u64,
    /// Units that it let in, and that have no place in its stream.
    pub(crate) uncounted: u64,
    pub(crate) loaded_by: Option<LinkKey>,
    /// The last stream could not be read: it may have named a place where nobody was.
    pub(crate) is_lost: bool,
    pub(crate) last_end: Option<(ReplicationId, Offset)>,
    pub(crate) last_held: Option<ResumePoint>,
    pub(crate) previous: Option<(ReplicationId, Offset)>,
}

/// A stretch of the stream that a node wrote, and follows somebody since.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own {
    pub(crate) id: ReplicationId,
    /// Whom, as it was then: life and loads. Only if it was a replica.
    pub(crate) successor: Option<(usize, u64, u64)>,
    /// All of it has a place. Of what has none nobody can tell that it is lost.
    pub(crate) is_counted: bool,
}

impl Host {
    pub(crate) fn new(node: Node, clock: Clock, saved: Saved, life: u64) -> Self {
        let follows = node.is_following();
        let led_from = saved.held.map_or(Offset::ZERO, |held| held.offset);
        Self {
            node,
            clock,
            told: Timestamp::default(),
            state: saved.state,
            life,
            target: None,
            connecting: None,
            loading: None,
            images: BTreeMap::new(),
            stalled_until: Duration::ZERO,
            saved: vec![saved],
            fences: BTreeMap::new(),
            waits: BTreeMap::new(),
            departed: Vec::new(),
            synced: None,
            asks_to_hand_over: false,
            account: Account { follows, led_from, last_held: saved.held, ..Account::default() },
        }
    }

    pub(crate) fn next_at(&self) -> Option<Duration> {
        self.node.poll_timeout().map(|at| self.clock.true_time(at))
    }

    pub(crate) fn report(&self) -> Report {
        self.node.report(self.clock.latest())
    }

    /// The node is told this time for certain: the latest that it knows by that.
    pub(crate) fn note_told(&mut self, now: Timestamp) -> Timestamp {
        self.told = self.told.max(now);
        self.told
    }

    pub(crate) const fn leads_at_all(&self) -> bool {
        !self.account.follows
    }

    /// When something that begins now, and may last so long, is over: at the earliest and at the latest.
    pub(crate) fn deadline(&mut self, timeout: Timeout, now: Timestamp) -> Option<[Timestamp; 2]> {
        let Timeout::After(span) = timeout else { return None };
        let [earliest, latest] = [self.note_told(now), self.clock.latest()];
        Some([earliest.checked_add(span)?, latest.checked_add(span)?])
    }

    /// Whether the time may have come.
    pub(crate) fn may_be_over(&self, deadline: Option<[Timestamp; 2]>) -> bool {
        deadline.is_some_and(|[earliest, _]| earliest <= self.clock.latest())
    }

    /// Whether the time has come and gone.
    pub(crate) fn is_past(&self, deadline: Option<[Timestamp; 2]>) -> bool {
        deadline.is_some_and(|[_, latest]| latest < self.clock.latest())
    }

    /// Whether it lets units in.
    pub(crate) fn leads(&self) -> bool {
        !self.account.follows && self.account.hands_over_at.is_none()
    }
}
