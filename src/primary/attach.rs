use super::Primary;
use super::config::Config;
use super::event::DropReason;
use super::peer::Peer;
use super::replica::{Replica, Stage, takes_end_mark};
use super::role::Role;
use super::timers::Timers;
use crate::history::{FullReason, Resume, Wanted};
use crate::id::ReplicationId;
use crate::key::{Gone, ReplicaKey, SnapshotKey};
use crate::lag::LagSamples;
use crate::offset::Offset;
use crate::snapshots::WriteRate;
use crate::time::Timestamp;

/// What [`Primary::attach`] made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Attached {
    /// Names the replica from now on.
    pub replica: ReplicaKey,
    /// What to tell it.
    pub answer: Answer,
}

/// What to tell a replica that attaches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Answer {
    /// It goes on where it was. Tell it now (for Redis: [`wire::put_continue`](crate::wire::put_continue)), ahead
    /// of the stream.
    Continue {
        /// The current history.
        id: ReplicationId,
        /// Where the stream goes on.
        from: Offset,
    },
    /// It starts over. There is nothing to tell it yet: [`Event::SendSnapshot`](crate::Event::SendSnapshot)
    /// follows.
    Full(FullReason),
}

/// Why nobody was attached. Nothing has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The table is full.
    #[error("{max} replicas are attached, the most allowed")]
    TooManyReplicas {
        /// [`Config::max_replicas`](crate::Config::max_replicas).
        max: usize,
    },
    /// A stream that starts to be kept needs a new id, and none was supplied since
    /// [`Event::IdWanted`](crate::Event::IdWanted).
    #[error("no id for a new history was supplied")]
    IdWanted,
    /// This node follows a primary, and has no link to it: what it would hand on might be old (R49).
    #[error("this node follows another one, and has no link to it")]
    NotInStep,
    /// A replica is about to take over (R48).
    #[error("this node is handing over")]
    HandingOver,
}

/// How a replica's connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Detach {
    /// It said so, or the host closed it on purpose.
    Clean,
    /// It broke.
    Lost,
}

impl Primary {
    /// Attaches a connection that asks for the stream: registers it, decides whether it resumes, and pins what it
    /// needs, in one step.
    ///
    /// One that resumes is online at once. Any other is told of by [`Event::SnapshotWanted`], unless a snapshot
    /// that it can share is under way; later if its last sync failed ([`Config::sync_backoff`]), or if
    /// [`Config::max_transfers`] are under way.
    ///
    /// # Errors
    ///
    /// [`AttachError`].
    ///
    /// [`Event::SnapshotWanted`]: crate::Event::SnapshotWanted
    /// [`Config::sync_backoff`]: crate::Config::sync_backoff
    /// [`Config::max_transfers`]: crate::Config::max_transfers
    pub fn attach(&mut self, wanted: Wanted, peer: Peer, now: Timestamp) -> Result<Attached, AttachError> {
        self.advance_clock(now);
        match self.role {
            Role::Leading | Role::Following { in_step: true } => {}
            Role::HandingOver => return Err(AttachError::HandingOver),
            Role::Following { in_step: false } => return Err(AttachError::NotInStep),
        }
        let max = self.config.max_replicas;
        if self.replicas.len() + self.outbox.dropped.len() >= max {
            return Err(AttachError::TooManyReplicas { max });
        }
        let decision = self.history.resume(wanted, self.stream.kept(self.most_behind()));
        self.start_stream()?;
        self.count(wanted, decision);
        let replica = self.register(peer);
        let answer = match decision {
            Resume::Continue { from } => {
                self.resume(replica, from);
                Answer::Continue { id: self.history.id(), from }
            }
            Resume::Full(reason) => {
                self.enter_sync(replica);
                Answer::Full(reason)
            }
        };
        self.release_pin(replica);
        Ok(Attached { replica, answer })
    }

    /// Forgets a replica whose connection is closed, and every event that names it, an [`Event::Dropped`] that was
    /// not taken yet too. `how` is counted.
    ///
    /// What it had yet to be sent may be let go of, though one that was lost leaves a pin within
    /// [`Config::resume_pins`]; after [`Config::backlog_ttl`] without a replica all is.
    ///
    /// # Errors
    ///
    /// [`Gone`].
    ///
    /// [`Event::Dropped`]: crate::Event::Dropped
    /// [`Config::backlog_ttl`]: crate::Config::backlog_ttl
    /// [`Config::resume_pins`]: crate::Config::resume_pins
    pub fn detach(
        &mut self,
        replica: ReplicaKey,
        how: Detach,
        now: Timestamp,
    ) -> Result<(), Gone<ReplicaKey>> {
        self.advance_clock(now);
        if !self.outbox.forget_dropped(replica) {
            self.remove(replica, how.into()).ok_or(Gone(replica))?;
        }
        match how {
            Detach::Clean => self.counters.detached_clean += 1,
            Detach::Lost => self.counters.detached_lost += 1,
        }
        Ok(())
    }

    pub(super) fn drop_replica(&mut self, replica: ReplicaKey, reason: DropReason) {
        if let DropReason::OverLimit(_) = reason {
            self.counters.dropped_by_limit += 1;
            self.note_sync_over_limit(replica);
        }
        if self.remove(replica, reason.into()).is_some() {
            self.outbox.dropped.push_back((replica, reason));
        }
    }

    /// A replica may be as far behind as its limit allows, apart from what it is credited with. One that is dropped before
    /// it can be sent anything would come back for ever.
    fn most_behind(&self) -> Option<u64> {
        let credit = self.config.backlog_capacity as u64;
        self.output.limit().at_once().map(|limit| credit.saturating_add(limit - 1))
    }

    /// Keeps the stream from now on, under a new id: what was written before was not counted (R13).
    fn start_stream(&mut self) -> Result<(), AttachError> {
        if self.stream.backlog().is_some() {
            return Ok(());
        }
        let Some(id) = self.fresh_id.take() else {
            self.outbox.id_wanted = true;
            return Err(AttachError::IdWanted);
        };
        self.stream
            .keep(self.config.backlog_capacity)
            .expect("a configuration is checked before it is in force");
        self.change_history(id);
        (self.lag, self.write_rate) = (LagSamples::new(), WriteRate::new(self.end(), self.now));
        Ok(())
    }

    /// R64 to R66.
    fn count(&mut self, wanted: Wanted, decision: Resume) {
        match decision {
            Resume::Continue { .. } => self.counters.sync_partial_ok += 1,
            Resume::Full(_) => {
                self.counters.sync_full += 1;
                self.counters.sync_partial_err += u64::from(wanted != Wanted::Everything);
            }
        }
    }

    fn register(&mut self, peer: Peer) -> ReplicaKey {
        self.arrivals += 1;
        let replica = self.replicas.insert(peer.tag, Replica::new(peer, self.arrivals, self.now));
        self.acks.insert(replica);
        if self.replicas.len() == 1 {
            self.timers = Timers { heartbeat_at: self.first_heartbeat(), ..Timers::default() };
        }
        replica
    }

    fn resume(&mut self, replica: ReplicaKey, from: Offset) {
        let credited_to = from.saturating_add(self.config.backlog_capacity as u64).min(self.end());
        self.pin(replica, from, Stage::Online, credited_to);
        self.come_online(replica);
        self.queue(replica, false);
    }

    /// Has the replica share a snapshot that is under way, or else wait for one.
    fn enter_sync(&mut self, key: ReplicaKey) {
        let Some(replica) = self.replicas.get_mut(key) else { return };
        let failed = self.failures.held_back_until(replica.peer.identity());
        let not_before = failed.filter(|until| *until > self.now);
        replica.stage = Stage::Waiting { not_before };
        match self.joinable(key) {
            Some(snapshot) if not_before.is_none() => self.join(key, snapshot),
            _ => self.await_snapshot(not_before),
        }
    }

    fn joinable(&self, replica: ReplicaKey) -> Option<SnapshotKey> {
        if self.free_transfers() == 0 {
            return None;
        }
        let start = self.stream.backlog()?.start();
        let takes_end_mark = takes_end_mark(&self.replicas.get(replica)?.peer);
        let cut = self.snapshots.joinable(start, takes_end_mark)?.cut;
        let behind = self.end().saturating_since(cut.offset);
        // With less room than that before its limit it might be dropped before it has the image.
        let most = self.output.limit().hard.map_or(self.config.backlog_capacity as u64, |hard| hard / 2);
        (behind <= most).then_some(cut.snapshot)
    }

    /// Pins the stream from `at` on for a replica, and brings it to `stage`.
    pub(super) fn pin(&mut self, key: ReplicaKey, at: Offset, stage: Stage, credited_to: Offset) {
        let Some(replica) = self.replicas.get_mut(key) else { return };
        let backlog = self.stream.backlog_mut().expect("who is attached has a stream");
        replica.start_at(backlog.cursor(at).expect("it was found to be kept"));
        replica.credited_to = credited_to;
        replica.stage = stage;
        let (charged_from, end) = (at.max(credited_to), backlog.end());
        let judged = self.output.judge(charged_from, &mut replica.over_since, end, self.now);
        debug_assert!(judged.is_ok(), "nobody is pinned over the hard limit");
        self.watch_silence(key);
    }

    /// A replica has the stream up to its cursor: from now on it counts.
    pub(super) fn come_online(&mut self, key: ReplicaKey) {
        self.acks.set_online(key);
        self.good.insert(key, self.now);
        self.waiters.handle_acks(&self.acks);
        // It may have acknowledged long ago, or never.
        self.outbox.acks_wanted |= self.waiters.pending() > 0;
    }

    fn remove(&mut self, key: ReplicaKey, departure: Departure) -> Option<Replica> {
        let mut replica = self.replicas.remove(key)?;
        if departure.leaves_pin {
            self.leave_pin(key, &replica);
        }
        if departure.fails_sync && replica.is_syncing() {
            self.note_failed_sync(&replica);
        }
        self.acks.remove(key);
        self.good.remove(key);
        self.outbox.forget(key);
        if let (Some(cursor), Some(backlog)) = (replica.cursor.take(), self.stream.backlog_mut()) {
            backlog.release(cursor);
        }
        match replica.snapshot() {
            Some(snapshot) => self.leave_snapshot(snapshot),
            None => self.forget_wish(),
        }
        if self.replicas.len() == 0 {
            self.timers = Timers { idle_since: Some(self.now), ..Timers::default() };
        }
        Some(replica)
    }

    /// What follows the last byte that a lost replica told to hold is kept for its return. One without its snapshot
    /// has nothing to return to.
    fn leave_pin(&mut self, key: ReplicaKey, replica: &Replica) {
        let held = self.held_by(key, replica);
        let Some(backlog) = self.stream.backlog_mut().filter(|_| replica.is_online()) else { return };
        let Config { resume_pins, max_replicas, .. } = self.config;
        self.pins.leave(backlog, (&replica.peer, held), resume_pins, self.now, max_replicas);
    }

    /// It is back: its own cursor pins what it needs, if it can resume at all.
    fn release_pin(&mut self, key: ReplicaKey) {
        if let (Some(replica), Some(backlog)) = (self.replicas.get(key), self.stream.backlog_mut()) {
            self.pins.release_of(backlog, &replica.peer);
        }
    }
}

/// What a replica leaves behind.
#[derive(Clone, Copy, Debug)]
struct Departure {
    /// Its place in the stream: it is likely to come back for the rest.
    leaves_pin: bool,
    /// A failed sync, if it had one under way.
    fails_sync: bool,
}

impl From<Detach> for Departure {
    fn from(how: Detach) -> Self {
        let is_lost = how == Detach::Lost;
        Self { leaves_pin: is_lost, fails_sync: is_lost }
    }
}

impl From<DropReason> for Departure {
    fn from(reason: DropReason) -> Self {
        Self {
            leaves_pin: matches!(reason, DropReason::Silent { .. } | DropReason::HistoryChanged),
            fails_sync: reason != DropReason::HistoryChanged,
        }
    }
}
