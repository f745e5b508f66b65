//! The primary, written the obvious way: plain vectors, linear scans, all judged anew after every call.
//!
//! It is meant to be read as the specification, and stands in the order of a replica's life: `attach` (who resumes, who
//! starts over, what the departed leave), `sync` (snapshots), `send`, `acks` and `waits`; then what goes by itself,
//! `timers`, and what is grown and judged, `stream`. `events` gives the order in which all is told. The rules (R…) are
//! those of the Redis protocol.
//!
//! Three things are not promised exactly, so that the primary need not look at everybody each time. Here the model is
//! told what the primary did ([`Observed`]), and holds it against the bound:
//!
//! - the backlog lets go in whole chunks and payloads ([`Reference::check_kept`]);
//! - what has become due while the host did not call `handle_timeout` may be done by a unit that is judged earlier: the
//!   drop of a replica over its soft limit for too long, the end of a pin;
//! - ages of bytes come from samples ([`Reference::check_ages`]), and `poll_timeout` may be early
//!   ([`Reference::check_deadline`]).

mod acks;
mod attach;
mod config;
mod events;
mod forecast;
mod report;
mod send;
mod stream;
mod sync;
mod timers;
mod waits;
mod words;

pub(crate) use attach::mix;
pub(crate) use stream::KEPT_WHOLE_FROM;
pub(crate) use words::*;

use std::time::Duration;

use headwater::{Ack, Config, IdRefused, Image, Offset, Peer, ReplicationId, Timestamp, Wait};

use events::Outbox;
use forecast::{SyncRecord, WriteRate};
use timers::Timers;

pub(crate) struct Reference {
    config: Config,
    now: Timestamp,
    id: ReplicationId,
    /// For the next change of history.
    fresh_id: Option<ReplicationId>,
    /// Every byte that was ever counted.
    bytes: Vec<u8>,
    /// When the unit that begins there entered the stream.
    units: Vec<(u64, Timestamp)>,
    /// The oldest byte kept, by the last observation; `None` while nobody wants the stream.
    kept_from: Option<u64>,
    /// A context begins at each cut, change of history and cleared unit (R7).
    context: u64,
    /// In order of arrival.
    replicas: Vec<Replica>,
    /// In the order of their cuts.
    snapshots: Vec<Snapshot>,
    snapshots_begun: u64,
    /// In order of arrival.
    waiters: Vec<Waiter>,
    local_fsynced: Option<u64>,
    pins: Vec<Pin>,
    failures: Vec<Failure>,
    record: SyncRecord,
    write_rate: WriteRate,
    /// When the age of a byte was last noted, which is at most once per millisecond.
    sampled_at: Option<Timestamp>,
    /// Nobody has asked for the age of a byte before this one for a while.
    ages_from: u64,
    is_gate_told_open: bool,
    is_forecast_told: bool,
    timers: Timers,
    outbox: Outbox,
    counts: Counts,
    observed: Observed,
    /// Something was let go of in this call already.
    has_released: bool,
    /// Pins that may have been left in this call, and are not any more.
    doubts: usize,
    /// What follows depends on more than was observed: a pin that was in doubt may have been one too many.
    pub(crate) is_ambiguous: bool,
    /// What the backlog lets go of at once, at most.
    largest_piece: u64,
    largest_age_error: Duration,
}

/// What the primary was seen to do by the end of a call, where more than one thing is right.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observed {
    pub(crate) kept_from: Option<u64>,
    pub(crate) attached: Vec<u64>,
    pub(crate) resume_pins: usize,
}

#[derive(Clone, Debug)]
struct Replica {
    name: u64,
    peer: Peer,
    life: Life,
    /// How far it was sent the stream.
    sent: u64,
    /// The highest offset that it can have received.
    lent: u64,
    /// Where its part of the stream began.
    began_at: u64,
    /// What came with its resume is not charged to it.
    credited_to: u64,
    over_since: Option<Timestamp>,
    heard: Timestamp,
    ack: Option<Ack>,
    acked_at: Option<Timestamp>,
    highest_age: Duration,
    /// Some byte that it lacks, or lacked, is older than the ages that are kept.
    is_age_unsure: bool,
    /// Its sync has succeeded once it acknowledges this; and when its cut was.
    synced_at: Option<(u64, Timestamp)>,
    has_batch_out: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Life {
    Waiting {
        not_before: Option<Timestamp>,
    },
    Preparing {
        snapshot: u64,
    },
    Receiving {
        snapshot: u64,
        begun: Timestamp,
        progress: Timestamp,
        sent: u64,
        acked: bool,
    },
    /// It has its snapshot, and the stream waits for an ack (R89).
    AwaitingAck,
    Online,
}

#[derive(Clone, Debug)]
struct Snapshot {
    number: u64,
    id: ReplicationId,
    offset: u64,
    image: Image,
    cut_at: Timestamp,
    is_in_the_making: bool,
}

#[derive(Clone, Debug)]
struct Waiter {
    wait: Wait,
    deadline: Option<Timestamp>,
}

#[derive(Clone, Debug)]
struct Pin {
    address: String,
    port: i64,
    at: u64,
    until: Timestamp,
}

/// A peer whose last sync failed.
#[derive(Clone, Debug)]
struct Failure {
    address: String,
    port: i64,
    count: u32,
    not_before: Timestamp,
}

impl Reference {
    pub(crate) fn new(config: Config, id: ReplicationId, now: Timestamp) -> Self {
        let largest_piece = stream::chunk_of(&config);
        Self {
            config,
            now,
            id,
            fresh_id: None,
            bytes: Vec::new(),
            units: Vec::new(),
            kept_from: None,
            context: 0,
            replicas: Vec::new(),
            snapshots: Vec::new(),
            snapshots_begun: 0,
            waiters: Vec::new(),
            local_fsynced: None,
            pins: Vec::new(),
            failures: Vec::new(),
            record: SyncRecord::default(),
            write_rate: WriteRate::new(0, now),
            sampled_at: None,
            ages_from: 0,
            is_gate_told_open: true,
            is_forecast_told: false,
            timers: Timers::default(),
            outbox: Outbox { id_wanted: true, ..Outbox::default() },
            counts: Counts::default(),
            observed: Observed::default(),
            has_released: false,
            doubts: 0,
            is_ambiguous: false,
            largest_piece,
            largest_age_error: Duration::ZERO,
        }
    }

    /// Does one call, given what the primary was seen to do in it.
    pub(crate) fn apply(&mut self, input: &Input, now: Timestamp, observed: &Observed) -> Output {
        self.observed = observed.clone();
        (self.has_released, self.doubts) = (false, 0);
        if takes_time(input) {
            self.now = self.now.max(now);
        }
        match input {
            Input::Attach { wanted, peer } => Output::Attached(self.attach(*wanted, peer)),
            Input::Detach { replica, how } => Output::Known(self.detach(*replica, *how)),
            Input::Alive(replica) => Output::Known(self.hear(*replica)),
            Input::Ack { replica, ack } => Output::Acked(self.acknowledge(*replica, *ack)),
            Input::Wait(wait) => Output::Waited(self.wait(*wait)),
            Input::CancelWait(waiter) => Output::Cancelled(self.cancel_wait(*waiter)),
            Input::EndWaits => self.end_waits(),
            Input::LocalFsync(upto) => Output::Fsynced(self.fsync_locally(*upto)),
            Input::SupplyId(id) => Output::IdTaken(self.supply_id(*id)),
            Input::ResetCounters => {
                self.counts = Counts::default();
                Output::Nothing
            }
            Input::Reconfigure(config) => Output::Reconfigured(self.reconfigure(config, now)),
            Input::Timeout => {
                self.do_what_is_due();
                Output::Nothing
            }
            Input::PollEvent => Output::Event(self.poll_event()),
            _ => self.apply_to_the_stream(input, now),
        }
    }

    fn apply_to_the_stream(&mut self, input: &Input, now: Timestamp) -> Output {
        match input {
            Input::Write(unit) => Output::Written(self.write(unit)),
            Input::WriteUngated(unit) => Output::Written(self.write_ungated(unit)),
            Input::Append(unit) => Output::Appended(self.append(unit)),
            Input::AppendShared(unit) => Output::Appended(self.append_shared(unit)),
            Input::AdmitWrite => Output::Admitted(self.admit_write(now)),
            Input::GoodAt(offset) => self.good_at(*offset, now),
            Input::WriteTo { replica, writer } => Output::Wrote(self.write_to(*replica, *writer)),
            Input::TakeBatch(replica) => Output::Lent(self.take_batch(*replica)),
            Input::BatchWritten { replica, written } => self.batch_written(*replica, *written),
            Input::Unsent(replica) => Output::Lent(self.unsent(*replica)),
            Input::Sent { replica, bytes } => Output::Sent(self.sent(*replica, *bytes)),
            Input::BeginSnapshot(image) => Output::Begun(self.begin_snapshot(*image)),
            Input::SnapshotReady(snapshot) => Output::Known(self.snapshot_ready(*snapshot)),
            Input::SnapshotFailed(snapshot) => Output::Known(self.snapshot_failed(*snapshot)),
            Input::SnapshotProgress { replica, sent } => {
                Output::Known(self.snapshot_progress(*replica, *sent))
            }
            Input::SnapshotSent(replica) => Output::Known(self.snapshot_sent(*replica)),
            other => unreachable!("{other:?} was applied"),
        }
    }

    fn supply_id(&mut self, id: ReplicationId) -> Result<(), IdRefused> {
        let is_used = id == self.id || id == ReplicationId::NONE;
        self.outbox.id_wanted = is_used;
        if is_used {
            return Err(IdRefused(id));
        }
        self.fresh_id = Some(id);
        Ok(())
    }

    fn find(&self, name: u64) -> Option<&Replica> {
        self.replicas.iter().find(|replica| replica.name == name)
    }

    fn find_mut(&mut self, name: u64) -> Option<&mut Replica> {
        self.replicas.iter_mut().find(|replica| replica.name == name)
    }

    /// The names of those that `wanted` picks, in order of arrival.
    fn names(&self, wanted: impl Fn(&Replica) -> bool) -> Vec<u64> {
        self.replicas.iter().filter(|replica| wanted(replica)).map(|replica| replica.name).collect()
    }
}

impl Replica {
    fn is_online(&self) -> bool {
        matches!(self.life, Life::AwaitingAck | Life::Online)
    }

    /// Whether its stream may be sent, and none of it is out in a batch.
    fn is_open(&self) -> bool {
        self.life == Life::Online && !self.has_batch_out
    }

    fn snapshot(&self) -> Option<u64> {
        match self.life {
            Life::Preparing { snapshot } | Life::Receiving { snapshot, .. } => Some(snapshot),
            _ => None,
        }
    }

    fn is_waiting(&self) -> bool {
        matches!(self.life, Life::Waiting { .. })
    }

    /// How much of the stream it is known to hold.
    fn held(&self) -> u64 {
        self.ack.map_or(0, |ack| ack.applied.get()).max(self.began_at)
    }

    /// The stream behind an end mark waits for an ack, so one that never acknowledges can't have that.
    fn takes_end_mark(&self) -> bool {
        self.peer.takes_end_mark && self.peer.acks
    }

    fn identity(&self) -> (&str, i64) {
        (&self.peer.address, self.peer.port)
    }
}

fn takes_time(input: &Input) -> bool {
    !matches!(
        input,
        Input::AdmitWrite
            | Input::GoodAt(_)
            | Input::Unsent(_)
            | Input::CancelWait(_)
            | Input::SupplyId(_)
            | Input::ResetCounters
            | Input::PollEvent
            | Input::Reconfigure(_)
    )
}

fn at(bytes: u64) -> Offset {
    Offset::new(bytes).expect("the model counts no further than a stream may")
}

/// The first moment at which more than `span` has passed.
fn past(since: Timestamp, span: Duration) -> Option<Timestamp> {
    since.checked_add(span)?.checked_add(Duration::from_nanos(1))
}

/// The earlier of two moments, where `None` is never.
fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    a.into_iter().chain(b).min()
}
