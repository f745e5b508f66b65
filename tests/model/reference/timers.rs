use std::collections::BTreeSet;
use std::time::Duration;

use headwater::{DropReason, Timestamp};

use super::stream::{Overdue, expect};
use super::{Life, Reference, Replica, earlier, past};

/// What happens by itself, and when.
#[derive(Clone, Debug, Default)]
pub(super) struct Timers {
    pub(super) heartbeat_at: Option<Timestamp>,
    /// While somebody waits for a snapshot to begin.
    pub(super) keep_alive_at: Option<Timestamp>,
    /// When the host is to be asked for a snapshot.
    pub(super) ask_at: Option<Timestamp>,
    pub(super) idle_since: Option<Timestamp>,
    /// Every moment, from the last timeout on, that was somebody's deadline at some time since.
    known: BTreeSet<Timestamp>,
}

impl Timers {
    /// Somebody has a deadline now, who may be gone by the end of the call.
    pub(super) fn know(&mut self, deadlines: impl IntoIterator<Item = Timestamp>) {
        self.known.extend(deadlines);
    }
}

impl Reference {
    /// All that is due, in this order: waits, snapshots that took too long, silent replicas, those over their soft limit,
    /// pins, the heartbeat, keep-alives, the question for a snapshot, the idle backlog.
    pub(super) fn do_what_is_due(&mut self) {
        self.end_overdue();
        self.fail_late_snapshots();
        self.drop_silent();
        self.judge_all(Overdue::Goes);
        self.enforce_pins(Overdue::Goes);
        self.beat();
        self.keep_alive();
        self.ask_for_snapshot();
        if self.is_due(self.idle_deadline()) {
            self.stop_stream();
        }
        let now = self.now;
        self.timers.known.retain(|at| *at > now);
        let deferred = std::mem::take(&mut self.outbox.deferred);
        self.outbox.ready.extend(deferred);
    }

    /// The first replica is there: heartbeats begin.
    pub(super) fn restart_timers(&mut self) {
        (self.timers.keep_alive_at, self.timers.idle_since) = (None, None);
        self.timers.heartbeat_at = self.first_heartbeat();
    }

    /// The last replica is gone, and the backlog's time to live begins (R18).
    pub(super) fn stop_timers(&mut self) {
        (self.timers.keep_alive_at, self.timers.heartbeat_at) = (None, None);
        self.timers.idle_since = Some(self.now);
    }

    pub(super) fn first_heartbeat(&self) -> Option<Timestamp> {
        let heartbeat = self.config.heartbeat.as_ref().filter(|_| !self.replicas.is_empty())?;
        self.now.checked_add(heartbeat.period)
    }

    pub(super) fn start_keep_alives(&mut self) {
        if self.timers.keep_alive_at.is_none() {
            self.timers.keep_alive_at = self.now.checked_add(self.config.keep_alive);
        }
    }

    fn fail_late_snapshots(&mut self) {
        let timeout = self.config.snapshot_timeout;
        let late = |snapshot: &&super::Snapshot| {
            snapshot.is_in_the_making && self.is_due(past(snapshot.cut_at, timeout))
        };
        let late: Vec<_> = self.snapshots.iter().filter(late).map(|snapshot| snapshot.number).collect();
        for number in late {
            self.fail_snapshot(number, DropReason::SnapshotTimedOut { timeout });
        }
    }

    /// R151: one that never acknowledges is exempt. A snapshot in the making has a deadline of its own.
    fn drop_silent(&mut self) {
        let timeout = self.config.replica_timeout;
        let late = self.replicas.iter().filter(|replica| self.is_due(self.silence_deadline(replica)));
        let late: Vec<_> = late.map(|replica| (replica.name, self.lateness(replica, timeout))).collect();
        for (name, reason) in late {
            self.drop_replica(name, reason);
        }
    }

    fn silence_deadline(&self, replica: &Replica) -> Option<Timestamp> {
        let timeout = self.config.replica_timeout;
        match replica.life {
            Life::Receiving { progress, .. } => past(progress, timeout),
            Life::AwaitingAck | Life::Online if replica.peer.acks => past(replica.heard, timeout),
            _ => None,
        }
    }

    fn lateness(&self, replica: &Replica, timeout: Duration) -> DropReason {
        match replica.life {
            Life::Receiving { progress, .. } => {
                DropReason::TransferStalled { stalled: self.now.saturating_since(progress), timeout }
            }
            _ => DropReason::Silent { silent: self.now.saturating_since(replica.heard), timeout },
        }
    }

    /// One beat, however many were missed.
    fn beat(&mut self) {
        let Some(at) = self.timers.heartbeat_at.filter(|at| *at <= self.now) else { return };
        let heartbeat = self.config.heartbeat.clone().filter(|_| !self.replicas.is_empty());
        self.timers.heartbeat_at = heartbeat.as_ref().and_then(|beat| next_beat(at, beat.period, self.now));
        if let Some(heartbeat) = heartbeat {
            self.grow(&heartbeat.payload);
        }
    }

    /// R86: before a transfer only.
    fn keep_alive(&mut self) {
        let Some(at) = self.timers.keep_alive_at.filter(|at| *at <= self.now) else { return };
        let waiting =
            self.names(|replica| matches!(replica.life, Life::Waiting { .. } | Life::Preparing { .. }));
        let next = next_beat(at, self.config.keep_alive, self.now);
        self.timers.keep_alive_at = next.filter(|_| !waiting.is_empty());
        for name in waiting {
            if !self.outbox.keep_alives.contains(&name) {
                self.outbox.keep_alives.push(name);
            }
        }
    }

    /// R18: more than the time to live without a replica.
    fn idle_deadline(&self) -> Option<Timestamp> {
        past(self.timers.idle_since?, self.config.backlog_ttl?)
    }

    fn is_due(&self, at: Option<Timestamp>) -> bool {
        at.is_some_and(|at| at <= self.now)
    }

    /// Everything that will happen by itself.
    pub(crate) fn deadlines(&self) -> Vec<Timestamp> {
        let Timers { heartbeat_at, keep_alive_at, ask_at, .. } = self.timers;
        let mut all = vec![heartbeat_at, keep_alive_at, ask_at, self.idle_deadline()];
        all.push((!self.outbox.deferred.is_empty()).then_some(self.now));
        all.extend(self.waiters.iter().map(|waiter| waiter.deadline));
        all.extend(self.pins.iter().map(|pin| Some(pin.until)));
        let making = self.snapshots.iter().filter(|snapshot| snapshot.is_in_the_making);
        all.extend(making.map(|snapshot| past(snapshot.cut_at, self.config.snapshot_timeout)));
        let of_replicas = self.replicas.iter().flat_map(|replica| self.deadlines_of(replica));
        all.into_iter().flatten().chain(of_replicas).collect()
    }

    /// When it is dropped as silent or for its soft limit, or is good no more, if nothing happens.
    pub(super) fn deadlines_of(&self, replica: &Replica) -> Vec<Timestamp> {
        let soft = self.limit().soft.and_then(|soft| past(replica.over_since?, soft.lasting));
        let good = (self.config.min_replicas.to_write > 0).then(|| self.good_until(replica)).flatten();
        [self.silence_deadline(replica), soft, good].into_iter().flatten().collect()
    }

    /// The first moment at which a replica that is good is not, if it is not heard from.
    fn good_until(&self, replica: &Replica) -> Option<Timestamp> {
        let max_lag = self.config.min_replicas.max_lag;
        let is_good = self.is_good(replica, self.now) && !max_lag.is_zero();
        is_good.then(|| past(replica.heard, max_lag)).flatten()
    }

    /// `poll_timeout` is never late. It may be early, for whoever had a deadline then and has a later one by now, or to let
    /// a surplus go: within 1 ms.
    pub(crate) fn check_deadline(&mut self, polled: Option<Timestamp>) -> Result<(), String> {
        let due = self.deadlines();
        let first = due.iter().min().copied();
        self.timers.know(due);
        expect(earlier(first, polled) == polled, || format!("poll_timeout is {polled:?}, due is {first:?}"))?;
        let Some(polled) = polled.filter(|_| polled != first) else { return Ok(()) };
        let has_surplus = self.kept_from.is_none_or(|from| from < self.needed_from());
        let is_for_surplus = has_surplus && polled <= self.now.checked_add(TRIM_PERIOD).unwrap_or(polled);
        expect(is_for_surplus || self.timers.known.contains(&polled), || {
            format!("poll_timeout is {polled:?}, which was nobody's deadline; due is {first:?}")
        })
    }
}

/// The first of the moments `at + n × period` that is later than `now`.
fn next_beat(at: Timestamp, period: Duration, now: Timestamp) -> Option<Timestamp> {
    let missed = now.saturating_since(at).as_nanos() / period.as_nanos();
    let missed = u32::try_from(missed).expect("the model's clock and periods are small");
    at.checked_add(period * (missed + 1))
}

const TRIM_PERIOD: Duration = Duration::from_millis(1);
