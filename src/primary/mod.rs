mod attach;
mod batch;
mod check;
mod config;
mod event;
mod gate;
mod growth;
mod outbox;
mod peer;
mod pins;
mod replica;
mod report;
mod role;
mod send;
mod stream;
mod sync;
mod timers;
mod unit;
mod wait;

pub use attach::{Answer, AttachError, Attached, Detach};
pub use batch::Batch;
pub use config::{Config, ConfigError, Heartbeat, PinBudget};
pub use event::{DropReason, Event};
pub use peer::Peer;
pub use report::{BacklogReport, Counters, ReplicaReport, ReplicaState, Report};
#[cfg(feature = "std")]
pub use send::SendError;
pub use send::{Sent, SentError};
pub use sync::SnapshotError;
pub use unit::{Context, Unit};
pub use wait::LocalFsyncError;

use alloc::vec::Vec;

use bytes::Bytes;

use outbox::Outbox;
use pins::ResumePins;
use replica::Replica;
pub(crate) use role::Role;
use stream::Stream;
use timers::Timers;

use crate::acks::{Ack, AckRefused, Acks};
use crate::backlog::{StreamFull, ZeroCapacity};
use crate::good_replicas::{GoodReplicas, NotEnoughReplicas};
use crate::history::{History, IdRefused};
use crate::id::ReplicationId;
use crate::key::{Gone, ReplicaKey};
use crate::lag::LagSamples;
use crate::offset::Offset;
use crate::output::OutputMeter;
use crate::slots::Slots;
use crate::snapshots::{Failures, Snapshots, SyncRecord, WriteRate};
use crate::time::Timestamp;
use crate::waiters::Waiters;

/// Feeds replicas: owns the stream, and knows each replica's life.
///
/// **After each batch of inputs drain the events, then sleep until [`poll_timeout`](Self::poll_timeout).**
///
/// Its methods are of four kinds:
///
/// - what the host wants: [`write`](Self::write), [`append`](Self::append),
///   [`append_shared`](Self::append_shared), [`wait`](Self::wait), [`attach`](Self::attach),
///   [`detach`](Self::detach), [`begin_snapshot`](Self::begin_snapshot), [`reconfigure`](Self::reconfigure);
/// - what happened outside: `handle_…`, and [`supply_id`](Self::supply_id);
/// - what the host is to take and to do: [`poll_event`](Self::poll_event), [`poll_timeout`](Self::poll_timeout),
///   and the bytes, by one of three ways: [`write_to`](Self::write_to) for a host that is told when a socket is
///   writable, [`take_batch`](Self::take_batch) for one that writes in another task, [`unsent`](Self::unsent)
///   for all others;
/// - a plain look: [`end`](Self::end), [`admit_write`](Self::admit_write), [`good`](Self::good),
///   [`report`](Self::report).
///
/// `now` may come from any clock that does not go back; one that does stands still. A stream that nobody has
/// asked for is not kept and not counted: the first replica starts it, under a new id (R13).
///
/// ```
/// use std::time::Duration;
/// use headwater::{Answer, Config, Event, Peer, Primary, ReplicationId, Sink, Tag, Timestamp, Wanted};
///
/// let at = |seconds| Timestamp::from_origin(Duration::from_secs(seconds));
/// let mut primary = Primary::new(Config::default(), ReplicationId::from_random([1; 20]), at(0))?;
/// assert_eq!(primary.poll_event(), Some(Event::IdWanted));
/// primary.supply_id(ReplicationId::from_random([2; 20]))?;
///
/// let attached = primary.attach(Wanted::Everything, Peer::new(Tag(7), "10.0.0.9"), at(1))?;
/// assert!(matches!(attached.answer, Answer::Full(_)));
///
/// let mut store = Vec::new();
/// let written = primary.write(at(2), |unit| {
///     store.push("x = 1"); // apply …
///     unit.put(b"x = 1"); // … and say so
///     store.len()
/// })?;
/// assert_eq!((written.value, written.end), (1, Some(primary.end())));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Primary {
    config: Config,
    /// The latest time that the host told.
    now: Timestamp,
    role: Role,
    history: History,
    /// Supplied by the host for the next change of history.
    fresh_id: Option<ReplicationId>,
    stream: Stream,
    context: Context,
    replicas: Slots<Replica>,
    arrivals: u64,
    acks: Acks,
    good: GoodReplicas,
    /// Whether the host takes the gate for open.
    is_gate_open: bool,
    waiters: Waiters,
    output: OutputMeter,
    pins: ResumePins,
    lag: LagSamples,
    write_rate: WriteRate,
    snapshots: Snapshots,
    sync_record: SyncRecord,
    /// The host knows what is expected of the sync that it is asked for.
    is_forecast_told: bool,
    failures: Failures,
    timers: Timers,
    outbox: Outbox,
    counters: Counters,
}

/// What a call of [`Primary::write`] did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Written<R> {
    /// What the closure returned.
    pub value: R,
    /// The end of the unit; `None` if it has not entered the stream: nothing was put, nobody wants the stream, or
    /// the unit was larger than [`Config::max_unit`] and [`Event::HistoryChanged`] follows.
    pub end: Option<Offset>,
}

/// Why a write was refused. Its closure was not run; nothing has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteRefused {
    /// Fewer replicas are good than [`Config::min_replicas`] asks for.
    #[error(transparent)]
    NotEnough(#[from] NotEnoughReplicas),
    /// The largest unit would go past the last offset.
    #[error(transparent)]
    StreamFull(#[from] StreamFull),
    /// This node follows a primary, which alone writes.
    #[error("this node follows another one")]
    Following,
    /// A replica is about to take over, and is to have everything first.
    #[error("this node is handing over")]
    HandingOver,
}

/// Why an ack was refused. It counts for nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AckError {
    /// The host named a replica that is not attached.
    #[error(transparent)]
    Gone(#[from] Gone<ReplicaKey>),
    /// The replica's fault. It is dropped, as [`Event::Dropped`] tells too: a host may ignore this.
    #[error("{replica} was dropped: {reason}")]
    Dropped {
        /// Who.
        replica: ReplicaKey,
        /// Why.
        reason: DropReason,
    },
}

impl Primary {
    /// A primary with no replica, whose stream begins at [`Offset::ZERO`] under `id`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a configuration that can't work, or [`ReplicationId::NONE`] as id.
    pub fn new(config: Config, id: ReplicationId, now: Timestamp) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            history: History::new(id)?,
            output: OutputMeter::new(config.output_limit, config.backlog_capacity),
            good: GoodReplicas::new(config.min_replicas),
            waiters: Waiters::new(config.max_waiters),
            config,
            now,
            role: Role::Leading,
            fresh_id: None,
            stream: Stream::idle(Offset::ZERO),
            context: Context(0),
            replicas: Slots::new(),
            arrivals: 0,
            acks: Acks::default(),
            is_gate_open: true,
            pins: ResumePins::default(),
            lag: LagSamples::new(),
            write_rate: WriteRate::new(Offset::ZERO, now),
            snapshots: Snapshots::default(),
            sync_record: SyncRecord::default(),
            is_forecast_told: false,
            failures: Failures::default(),
            timers: Timers::default(),
            outbox: Outbox { id_wanted: true, ..Outbox::default() },
            counters: Counters::default(),
        })
    }

    /// Runs `apply`, and lets what it puts into its [`Unit`] enter the stream at once, when it returns.
    ///
    /// All refusals come before `apply` runs. Should it panic, or put more than [`Config::max_unit`], the data
    /// has moved on without the stream: the history breaks. All replicas are dropped, the backlog is let go of,
    /// and a new id follows, with the next replica at the latest ([`Event::HistoryChanged`]). May drop a replica that
    /// crosses its output limit.
    ///
    /// # Errors
    ///
    /// [`WriteRefused`]; `apply` was not run.
    #[inline]
    pub fn write<R>(
        &mut self,
        now: Timestamp,
        apply: impl FnOnce(&mut Unit<'_>) -> R,
    ) -> Result<Written<R>, WriteRefused> {
        self.advance_clock(now);
        self.role.admit_write()?;
        self.good.admit_write(self.now)?;
        self.write_ungated(now, apply)
    }

    /// [`Primary::write`], whether enough replicas are good or not: for what nobody asked for, and so nobody can be
    /// refused, such as an eviction.
    ///
    /// # Errors
    ///
    /// [`WriteRefused`], but for [`WriteRefused::NotEnough`]; `apply` was not run.
    #[inline]
    pub fn write_ungated<R>(
        &mut self,
        now: Timestamp,
        apply: impl FnOnce(&mut Unit<'_>) -> R,
    ) -> Result<Written<R>, WriteRefused> {
        self.advance_clock(now);
        self.role.admit_write()?;
        self.stream.check_room(self.config.max_unit)?;
        let mut unit = Unit::open(self);
        let value = apply(&mut unit);
        Ok(Written { value, end: unit.end() })
    }

    /// Lets a whole unit, which the host has applied already, enter the stream, and tells its end.
    ///
    /// For what nobody asked for, and so nobody can be refused, such as a key that expired. `None` if it has not
    /// entered: nobody wants the stream, this node follows another (R9), or it is larger than [`Config::max_unit`] or goes past
    /// [`Offset::MAX`], which breaks the history as for [`Primary::write`].
    #[inline]
    pub fn append(&mut self, unit: &[u8], now: Timestamp) -> Option<Offset> {
        self.append_unit(unit.len(), now, |backlog| backlog.append(unit))
    }

    /// [`Primary::append`] for a unit that is shared: one of 16 KiB and more is not copied, as
    /// [`Backlog::append_shared`](crate::Backlog::append_shared) tells.
    #[inline]
    pub fn append_shared(&mut self, unit: Bytes, now: Timestamp) -> Option<Offset> {
        self.append_unit(unit.len(), now, |backlog| backlog.append_shared(unit))
    }

    /// Records how far `replica` holds the stream. Opens the stream behind an end-marked snapshot, ends waits, and may
    /// open the gate.
    ///
    /// An offset below an earlier one only tells that the replica lives.
    ///
    /// # Errors
    ///
    /// [`AckError::Gone`], or [`AckError::Dropped`] for an ack that can't be true.
    pub fn handle_ack(&mut self, replica: ReplicaKey, ack: Ack, now: Timestamp) -> Result<(), AckError> {
        self.handle_alive(replica, now)?;
        self.note_age(replica);
        let attached = self.replicas.get_mut(replica).ok_or(Gone(replica))?;
        match self.acks.record(replica, ack, attached.lent) {
            Ok(is_news) => {
                attached.acked_at = Some(self.now);
                self.on_acked(replica);
                if is_news {
                    self.waiters.handle_acks(&self.acks);
                }
                Ok(())
            }
            Err(refused) => Err(self.drop_liar(replica, refused)),
        }
    }

    fn drop_liar(&mut self, replica: ReplicaKey, refused: AckRefused) -> AckError {
        let reason = match refused {
            AckRefused::Gone(gone) => return gone.into(),
            AckRefused::BeyondLent { acked, lent } => DropReason::AckBeyondLent { acked, lent },
            AckRefused::FsyncedBeyondApplied { fsynced, applied } => {
                DropReason::FsyncedBeyondApplied { fsynced, applied }
            }
        };
        self.drop_replica(replica, reason);
        AckError::Dropped { replica, reason }
    }

    /// Notes a sign of life of `replica` that is no ack (for Redis: an empty line).
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub fn handle_alive(&mut self, replica: ReplicaKey, now: Timestamp) -> Result<(), Gone<ReplicaKey>> {
        self.advance_clock(now);
        self.replicas.get_mut(replica).ok_or(Gone(replica))?.heard = self.now;
        self.good.heard(replica, self.now);
        Ok(())
    }

    /// Takes the next thing for the host to act on, in the order of [`Event`]'s variants.
    ///
    /// A request for acks may enter the stream here, after what ended and before what is to be sent.
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some((waiter, end)) = self.waiters.poll_ended() {
            return Some(Event::WaitEnded { waiter, end });
        }
        if let Some((replica, reason)) = self.outbox.dropped.pop_front() {
            return Some(Event::Dropped { replica, reason });
        }
        if let Some(snapshot) = self.outbox.over.pop_front() {
            return Some(Event::SnapshotOver { snapshot });
        }
        if core::mem::take(&mut self.outbox.history_changed) {
            return Some(Event::HistoryChanged { id: self.history.id() });
        }
        if core::mem::take(&mut self.outbox.id_wanted) {
            return Some(Event::IdWanted);
        }
        let event = self
            .poll_gate()
            .or_else(|| self.poll_snapshot_event())
            .or_else(|| self.outbox.keep_alives.pop_front().map(Event::KeepAlive));
        if event.is_none() && self.request_acks() {
            return self.poll_event(); // it may have crossed somebody's limit
        }
        event.or_else(|| self.poll_send())
    }

    /// Takes the id for the next change of history: the answer to [`Event::IdWanted`].
    ///
    /// # Errors
    ///
    /// [`IdRefused`] for an id in use: the event comes again.
    pub fn supply_id(&mut self, id: ReplicationId) -> Result<(), IdRefused> {
        let refused = self.history.check_fresh(id);
        self.outbox.id_wanted = refused.is_err();
        if refused.is_ok() {
            self.fresh_id = Some(id);
        }
        refused
    }

    /// The configuration in force.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Puts another configuration in force. May drop replicas that a lower output limit or timeout finds late, and
    /// close or open the gate. Those who wait already keep their timeouts.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for one that can't work.
    pub fn reconfigure(&mut self, config: Config, now: Timestamp) -> Result<(), ConfigError> {
        config.check()?;
        self.advance_clock(now);
        self.stream.set_capacity(config.backlog_capacity)?;
        self.output = OutputMeter::new(config.output_limit, config.backlog_capacity);
        let beats_anew = config.heartbeat.as_ref().map(|beat| beat.period)
            != self.config.heartbeat.as_ref().map(|beat| beat.period);
        if config.ack_request != self.config.ack_request {
            // Those who wait already had none, or one that replicas did not understand.
            self.outbox.acks_wanted |= self.waiters.pending() > 0;
        }
        self.config = config;
        self.good.set_limits(self.config.min_replicas, self.now);
        self.waiters.set_max(self.config.max_waiters);
        self.judge_output();
        self.enforce_pins();
        if self.config.sync_backoff.is_none() {
            self.forgive_failures();
        }
        if beats_anew {
            self.timers.heartbeat_at = self.first_heartbeat();
        }
        self.timers.silence_at = self.nearest_silence();
        self.hasten_snapshots();
        self.handle_timeout(now);
        Ok(())
    }

    /// The end of the stream.
    #[inline]
    pub const fn end(&self) -> Offset {
        self.stream.end()
    }

    /// Sets all [`Counters`] to zero (R68).
    pub fn reset_counters(&mut self) {
        self.counters = Counters::default();
    }

    /// The latest time that was told, this one included.
    pub(crate) fn clamped(&mut self, now: Timestamp) -> Timestamp {
        self.advance_clock(now);
        self.now
    }

    /// A clock that goes back stands still.
    #[inline]
    fn advance_clock(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    /// The replicas that `wanted` picks, in order of arrival.
    fn replicas_that(&self, wanted: impl Fn(&Replica) -> bool) -> Vec<ReplicaKey> {
        let picked = self.replicas.iter().filter(|(_, replica)| wanted(replica));
        let mut picked: Vec<_> = picked.map(|(key, replica)| (replica.arrival, key)).collect();
        picked.sort_unstable();
        picked.into_iter().map(|(_, key)| key).collect()
    }

    /// What is applied and what is in the stream differ, so nobody may go on from it.
    #[cold]
    fn break_history(&mut self) {
        for replica in self.replicas_that(|_| true) {
            self.drop_replica(replica, DropReason::HistoryChanged);
        }
        self.stop_stream();
    }

    /// Keeps nothing any more. What is written from now on is not counted, hence the new id (R19); without one at
    /// hand the old one stays, by which nobody can resume, and the next replica gets the new one.
    fn stop_stream(&mut self) {
        if let Some(backlog) = self.stream.backlog_mut() {
            self.pins.release_all(backlog);
        }
        self.stream.retire();
        self.timers.idle_since = None;
        if let Some(id) = self.fresh_id.take() {
            self.change_history(id);
        }
    }

    fn change_history(&mut self, id: ReplicationId) {
        self.history.adopt(id).expect("it was found fresh when it was supplied, and the history is the same");
        self.context.0 += 1;
        self.outbox.history_changed = true;
        self.outbox.id_wanted = true;
    }
}

impl From<ZeroCapacity> for ConfigError {
    fn from(_: ZeroCapacity) -> Self {
        Self::Zero { setting: "backlog_capacity" }
    }
}

impl From<IdRefused> for ConfigError {
    fn from(refused: IdRefused) -> Self {
        Self::Id(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Wanted;
    use crate::key::Tag;

    /// S12: at the last offset nothing wraps, and what was applied and can't be counted is not passed over in silence.
    #[test]
    fn what_does_not_fit_before_the_last_offset_breaks_the_history() {
        let now = Timestamp::default();
        let [first, second] = [[1; 20], [2; 20]].map(ReplicationId::from_random);
        let mut primary = Primary::new(Config::default(), first, now).unwrap();
        primary.supply_id(second).unwrap();
        primary.stream = Stream::idle(Offset::new(i64::MAX as u64 - 5).unwrap());
        let replica = primary.attach(Wanted::Everything, Peer::new(Tag(1), "a"), now).unwrap().replica;
        assert_eq!(primary.append(b"12345", now), Some(Offset::MAX));
        assert_eq!(primary.append(b"6", now), None);
        let dropped = Event::Dropped { replica, reason: DropReason::HistoryChanged };
        assert_eq!(primary.poll_event(), Some(dropped));
        primary.check_invariants();
    }
}
