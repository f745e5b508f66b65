use super::Primary;
use super::event::DropReason;
use super::peer::Peer;
use super::replica::{Replica, Stage, takes_end_mark};
use super::timers::Timers;
use crate::history::{FullReason, Resume, Wanted};
use crate::id::ReplicationId;
use crate::key::{Gone, ReplicaKey, SnapshotKey};
use crate::offset::Offset;
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
    /// that it can share is under way.
    ///
    /// # Errors
    ///
    /// [`AttachError`].
    ///
    /// [`Event::SnapshotWanted`]: crate::Event::SnapshotWanted
    pub fn attach(&mut self, wanted: Wanted, peer: Peer, now: Timestamp) -> Result<Attached, AttachError> {
        self.advance_clock(now);
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
        Ok(Attached { replica, answer })
    }

    /// Forgets a replica whose connection is closed, and every event that names it, an [`Event::Dropped`] that was
    /// not taken yet too. `how` is counted.
    ///
    /// What it had yet to be sent may be let go of; after [`Config::backlog_ttl`] without a replica all is.
    ///
    /// # Errors
    ///
    /// [`Gone`].
    ///
    /// [`Event::Dropped`]: crate::Event::Dropped
    /// [`Config::backlog_ttl`]: crate::Config::backlog_ttl
    pub fn detach(
        &mut self,
        replica: ReplicaKey,
        how: Detach,
        now: Timestamp,
    ) -> Result<(), Gone<ReplicaKey>> {
        self.advance_clock(now);
        if !self.outbox.forget_dropped(replica) {
            self.remove(replica).ok_or(Gone(replica))?;
        }
        match how {
            Detach::Clean => self.counters.detached_clean += 1,
            Detach::Lost => self.counters.detached_lost += 1,
        }
        Ok(())
    }

    pub(super) fn drop_replica(&mut self, replica: ReplicaKey, reason: DropReason) {
        if self.remove(replica).is_some() {
            self.outbox.dropped.push_back((replica, reason));
        }
    }

    /// A replica may be as far behind as its limit allows, apart from what it is credited with.
    fn most_behind(&self) -> Option<u64> {
        let credit = self.config.backlog_capacity as u64;
        self.output.hard().map(|hard| credit.saturating_add(hard - 1))
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
        self.queue(replica, false);
    }

    /// Has the replica share a snapshot that is under way, or else wait for one.
    fn enter_sync(&mut self, replica: ReplicaKey) {
        match self.joinable(replica) {
            Some(snapshot) => self.join(replica, snapshot),
            None => self.await_snapshot(),
        }
    }

    fn joinable(&self, replica: ReplicaKey) -> Option<SnapshotKey> {
        let start = self.stream.backlog()?.start();
        let takes_end_mark = takes_end_mark(&self.replicas.get(replica)?.peer);
        let cut = self.snapshots.joinable(start, takes_end_mark)?.cut;
        let behind = self.end().saturating_since(cut.offset);
        // With less room than that before its limit it might be dropped before it has the image.
        let most = self.output.hard().map_or(self.config.backlog_capacity as u64, |hard| hard / 2);
        (behind <= most).then_some(cut.snapshot)
    }

    /// Pins the stream from `at` on for a replica, and brings it to `stage`.
    pub(super) fn pin(&mut self, key: ReplicaKey, at: Offset, stage: Stage, credited_to: Offset) {
        let Some(replica) = self.replicas.get_mut(key) else { return };
        let backlog = self.stream.backlog_mut().expect("who is attached has a stream");
        replica.start_at(backlog.cursor(at).expect("it was found to be kept"));
        replica.credited_to = credited_to;
        replica.stage = stage;
        self.output.watch(at.max(credited_to));
        self.watch_silence(key);
    }

    fn remove(&mut self, key: ReplicaKey) -> Option<Replica> {
        let mut replica = self.replicas.remove(key)?;
        self.acks.remove(key);
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
}
