use core::time::Duration;

use super::{Primary, Replica, Role};
use crate::key::ReplicaKey;
use crate::time::{Timestamp, earliest};

/// What is to happen by itself, and when. `None` is never.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// While replicas are attached.
    pub(crate) heartbeat_at: Option<Timestamp>,
    /// While somebody waits for a snapshot.
    pub(crate) keep_alive_at: Option<Timestamp>,
    /// Not later than the first replica's deadline: being heard from moves one back, and this is worked out
    /// again only when it has come.
    pub(crate) silence_at: Option<Timestamp>,
    /// Since when a kept stream has had no replica.
    pub(crate) idle_since: Option<Timestamp>,
    /// When a portion of a surplus was last let go of: the next deadline counts from there, so that no number of
    /// inputs puts it off.
    pub(crate) trimmed_at: Timestamp,
}

impl Primary {
    /// When [`Primary::handle_timeout`] has something to do, if nothing happens before. Never late.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let trimmed_at = self.stream.has_surplus().then_some(self.timers.trimmed_at);
        let surplus = trimmed_at.and_then(|at| at.checked_add(TRIM_PERIOD));
        [
            self.timers.heartbeat_at,
            self.timers.keep_alive_at,
            self.timers.silence_at,
            self.waiters.deadline(),
            self.output.deadline(),
            self.pins.deadline(),
            self.good.deadline().filter(|_| self.good.is_on() && !self.role.is_following()),
            self.idle_deadline(),
            self.snapshots.deadline(self.config.snapshot_timeout),
            surplus,
            self.outbox.sends.has_deferred().then_some(self.now),
        ]
        .into_iter()
        .fold(None, earliest)
    }

    /// Does what has become due. Afterwards [`Primary::poll_timeout`] is later than `now`.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let due = self.poll_timeout();
        self.advance_clock(now);
        if due.is_none_or(|due| due > self.now) {
            return;
        }
        self.waiters.handle_timeout(&self.acks, self.now);
        self.fail_late_snapshots();
        self.drop_silent();
        if self.is_due(self.output.deadline()) {
            self.judge_output();
        }
        if self.is_due(self.pins.deadline()) {
            self.enforce_pins();
        }
        self.good.handle_timeout(self.now);
        self.beat();
        self.keep_alive();
        self.ask_for_snapshot();
        self.let_backlog_go();
        self.timers.trimmed_at = self.now;
        self.stream.trim();
        self.outbox.sends.resume_deferred();
    }

    pub(super) fn first_heartbeat(&self) -> Option<Timestamp> {
        let beats = self.replicas.len() > 0 && !self.role.is_following();
        let heartbeat = self.config.heartbeat.as_ref().filter(|_| beats)?;
        self.now.checked_add(heartbeat.period)
    }

    /// Takes a replica's deadline into account.
    pub(super) fn watch_silence(&mut self, replica: ReplicaKey) {
        let deadline =
            self.replicas.get(replica).and_then(|replica| replica.deadline(self.config.replica_timeout));
        self.timers.silence_at = earliest(self.timers.silence_at, deadline);
    }

    pub(super) fn nearest_silence(&self) -> Option<Timestamp> {
        let timeout = self.config.replica_timeout;
        self.replicas.iter().filter_map(|(_, replica)| replica.deadline(timeout)).min()
    }

    pub(super) fn start_keep_alives(&mut self) {
        if self.timers.keep_alive_at.is_none() {
            self.timers.keep_alive_at = self.now.checked_add(self.config.keep_alive);
        }
    }

    fn idle_deadline(&self) -> Option<Timestamp> {
        // One that follows keeps it for its own return (R21).
        let idle_since = self.timers.idle_since.filter(|_| !self.role.is_following())?;
        idle_since.just_past(self.config.backlog_ttl?)
    }

    fn is_due(&self, at: Option<Timestamp>) -> bool {
        at.is_some_and(|at| at <= self.now)
    }

    fn drop_silent(&mut self) {
        if !self.is_due(self.timers.silence_at) {
            return;
        }
        let timeout = self.config.replica_timeout;
        let late = |(key, replica): (ReplicaKey, &Replica)| {
            let late = self.is_due(replica.deadline(timeout));
            late.then(|| (replica.arrival, key, replica.lateness(timeout, self.now)))
        };
        let late = self.replicas.iter().filter_map(late).collect();
        self.drop_all(late);
        self.timers.silence_at = self.nearest_silence();
    }

    fn beat(&mut self) {
        let at = self.timers.heartbeat_at.filter(|at| *at <= self.now);
        let (Some(at), Some(heartbeat)) = (at, &self.config.heartbeat) else { return };
        self.timers.heartbeat_at = next_beat(at, heartbeat.period, self.now);
        let payload = heartbeat.payload.clone();
        if self.role == Role::Leading {
            self.append_own(payload);
        }
    }

    fn keep_alive(&mut self) {
        let Some(at) = self.timers.keep_alive_at.filter(|at| *at <= self.now) else { return };
        let waiting = self.replicas_that(Replica::is_kept_alive);
        let next = next_beat(at, self.config.keep_alive, self.now);
        self.timers.keep_alive_at = next.filter(|_| !waiting.is_empty());
        for key in waiting {
            self.outbox.keep_alive(key);
        }
    }

    /// R18: more than the time to live without a replica.
    fn let_backlog_go(&mut self) {
        if self.is_due(self.idle_deadline()) {
            self.stop_stream();
        }
    }
}

/// The first of the moments `at + n × period` that is later than `now`: a late call shifts none of those to come.
fn next_beat(at: Timestamp, period: Duration, now: Timestamp) -> Option<Timestamp> {
    let missed = now.saturating_since(at).as_nanos() / period.as_nanos().max(1);
    let missed = u32::try_from(missed).ok().and_then(|missed| missed.checked_add(1));
    let ahead = missed.and_then(|count| period.checked_mul(count));
    ahead.and_then(|ahead| at.checked_add(ahead)).or_else(|| now.checked_add(period))
}

/// How soon the next portion of a surplus is let go of.
const TRIM_PERIOD: Duration = Duration::from_millis(1);
