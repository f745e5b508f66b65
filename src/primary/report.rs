use alloc::vec::Vec;
use core::time::Duration;

use super::Primary;
use super::peer::Peer;
use super::replica::Replica;
use super::role::Role;
use crate::good_replicas::MinReplicas;
use crate::id::ReplicationId;
use crate::key::ReplicaKey;
use crate::lag::Lag;
use crate::offset::Offset;
use crate::time::Timestamp;

/// Every figure of a [`Primary`](crate::Primary) at one instant. [`info`](crate::info) prints it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// The current history.
    pub id: ReplicationId,
    /// The previous one, and the offset up to which it was the same stream.
    pub previous: Option<(ReplicationId, Offset)>,
    /// The end of the stream.
    pub end: Offset,
    /// The history kept; `None` while nobody wants the stream.
    pub backlog: Option<BacklogReport>,
    /// Bytes of memory of an earlier backlog, which is being let go of in portions.
    pub retired_memory: usize,
    /// [`Config::backlog_capacity`](crate::Config::backlog_capacity).
    pub backlog_capacity: usize,
    /// Places kept for replicas that were lost.
    pub resume_pins: usize,
    /// Bytes between the deepest of these and the end.
    pub pinned: u64,
    /// [`Config::min_replicas`](crate::Config::min_replicas).
    pub min_replicas: MinReplicas,
    /// How many replicas are good.
    pub good: usize,
    /// Whether units are held up until a replica has all of them.
    pub is_handing_over: bool,
    /// How many callers wait.
    pub waiters: usize,
    /// How far this node's own disk holds the stream, if the host told.
    pub local_fsynced: Option<Offset>,
    /// Ages in [`Lag`] are too high by less than this.
    pub lag_error: Duration,
    /// The attached replicas, in order of arrival.
    pub replicas: Vec<ReplicaReport>,
    /// Requests counted since the start, or since [`Primary::reset_counters`](crate::Primary::reset_counters).
    pub counters: Counters,
}

/// What the backlog holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct BacklogReport {
    /// The oldest byte kept has this offset before it.
    pub start: Offset,
    /// Bytes from there to the end.
    pub len: u64,
    /// Bytes of memory that holding them takes.
    pub memory: usize,
}

/// One attached replica.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ReplicaReport {
    /// Its key.
    pub replica: ReplicaKey,
    /// What it announced.
    pub peer: Peer,
    /// How far its life has come.
    pub state: ReplicaState,
    /// The highest offset it acknowledged; `None` before its first ack.
    pub acked: Option<Offset>,
    /// The highest offset of which it told that its disk holds it.
    pub fsynced: Option<Offset>,
    /// Bytes of the stream that wait to be sent to it.
    pub unsent: u64,
    /// How far it is behind; `None` before it is online.
    pub lag: Option<Lag>,
    /// Since it was heard from, or came online.
    pub last_heard: Duration,
    /// Since its last ack, if there was one.
    pub last_ack: Option<Duration>,
    /// Whether it counts for [`Config::min_replicas`](crate::Config::min_replicas).
    pub is_good: bool,
    /// For how long it has been over the soft output limit, if it is.
    pub over_soft_limit: Option<Duration>,
    /// For how long it gets no snapshot yet, since its last sync failed.
    pub held_back: Option<Duration>,
}

/// How far a replica's life has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ReplicaState {
    /// It waits for a snapshot to begin.
    WaitingForSnapshot,
    /// Its snapshot is being made.
    PreparingSnapshot,
    /// Its snapshot is being sent by length.
    ReceivingSized,
    /// Its snapshot is being sent up to a mark.
    ReceivingEndMarked,
    /// It has its snapshot. The stream may still wait for its first ack.
    Online,
}

/// Requests to attach, and how they ended.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Counters {
    /// Requests that need a snapshot, counted when they were made (R64).
    pub sync_full: u64,
    /// Requests to resume that were granted (R65).
    pub sync_partial_ok: u64,
    /// Requests to resume that were refused (R66). Each is a full sync too.
    pub sync_partial_err: u64,
    /// Replicas that were dropped by their output limit.
    pub dropped_by_limit: u64,
    /// Bytes of the stream that were sent to replicas, each one's counted.
    pub sent_bytes: u64,
    /// Connections that the host detached cleanly.
    pub detached_clean: u64,
    /// Connections that the host detached as lost.
    pub detached_lost: u64,
}

impl Primary {
    /// Every figure at this instant. Looks at each replica.
    pub fn report(&self, now: Timestamp) -> Report {
        let now = now.max(self.now);
        let pinned = self.pins.oldest().map_or(0, |oldest| self.end().saturating_since(oldest));
        let mut replicas: Vec<_> = self.replicas.iter().collect();
        replicas.sort_unstable_by_key(|(_, replica)| replica.arrival);
        Report {
            id: self.history.id(),
            previous: self.history.previous(),
            end: self.end(),
            backlog: self.stream.backlog().map(|backlog| BacklogReport {
                start: backlog.start(),
                len: backlog.end().saturating_since(backlog.start()),
                memory: backlog.memory(),
            }),
            retired_memory: self.stream.retired_memory(),
            backlog_capacity: self.config.backlog_capacity,
            resume_pins: self.pins.len(),
            pinned,
            min_replicas: self.config.min_replicas,
            good: self.good(now),
            is_handing_over: self.role == Role::HandingOver,
            waiters: self.waiters.pending(),
            local_fsynced: self.waiters.local_fsynced(),
            lag_error: self.lag.error(),
            replicas: replicas
                .into_iter()
                .map(|(key, replica)| self.report_replica(key, replica, now))
                .collect(),
            counters: self.counters,
        }
    }

    fn report_replica(&self, key: ReplicaKey, replica: &Replica, now: Timestamp) -> ReplicaReport {
        let ack = self.acks.of(key);
        let held_back = replica.held_back_until().flatten();
        ReplicaReport {
            replica: key,
            peer: replica.peer.clone(),
            state: replica.state(),
            acked: ack.map(|ack| ack.applied),
            fsynced: ack.and_then(|ack| ack.fsynced),
            unsent: replica.cursor.as_ref().map_or(0, |cursor| self.end().saturating_since(cursor.offset())),
            lag: replica.is_online().then(|| self.lag_of(key, replica, now)),
            last_heard: now.saturating_since(replica.heard),
            last_ack: replica.acked_at.map(|at| now.saturating_since(at)),
            is_good: self.good.is_good(key, now),
            over_soft_limit: replica.over_since.map(|since| now.saturating_since(since)),
            held_back: held_back.map(|until| until.saturating_since(now)).filter(|span| !span.is_zero()),
        }
    }

    fn lag_of(&self, key: ReplicaKey, replica: &Replica, now: Timestamp) -> Lag {
        let held = self.held_by(key, replica);
        let age = self.lag.appended_at(held, self.end()).map(|at| now.saturating_since(at));
        let highest_age = replica.highest_age.max(age.unwrap_or_default());
        Lag { bytes: self.end().saturating_since(held), age, highest_age }
    }

    /// How much of the stream a replica is known to hold, once it is online.
    pub(super) fn held_by(&self, key: ReplicaKey, replica: &Replica) -> Offset {
        self.acks.of(key).map_or(replica.began_at, |ack| ack.applied.max(replica.began_at))
    }

    /// An ack is about to come: until then a replica's lag grows.
    pub(super) fn note_age(&mut self, key: ReplicaKey) {
        let Some(replica) = self.replicas.get(key).filter(|replica| replica.is_online()) else { return };
        let oldest = self.lag.appended_at(self.held_by(key, replica), self.end());
        let age = oldest.map_or(Duration::ZERO, |at| self.now.saturating_since(at));
        if let Some(replica) = self.replicas.get_mut(key) {
            replica.highest_age = replica.highest_age.max(age);
        }
    }
}
