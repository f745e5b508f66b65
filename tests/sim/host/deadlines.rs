use std::time::Duration;

use headwater::Timestamp;

use super::Host;
use super::link::Link;

/// L1 and L4: no state without a deadline that the primary wakes for.
impl Host {
    pub(super) fn check_wakes(&self) {
        let wakes_at = self.primary.poll_timeout();
        let is_in_time = |due: Timestamp| wakes_at.is_some_and(|at| at <= due);
        for (what, due) in self.deadlines() {
            assert!(is_in_time(due), "L1 or L4: {what} ends at {due:?}, the primary wakes at {wakes_at:?}");
        }
    }

    /// By when something has to be done, for all that may not last.
    fn deadlines(&self) -> impl Iterator<Item = (&'static str, Timestamp)> {
        let waits = self.waits.first_deadline().map(|due| ("a wait", due));
        let idle = self.idle_since.zip(self.config().backlog_ttl).filter(|_| self.is_kept);
        let idle = idle.and_then(|(since, ttl)| just_past(since, ttl)).map(|due| ("an idle backlog", due));
        let pins = self.first_pin_deadline().map(|due| ("a resume pin", due));
        let links = self.live().flat_map(|(link, _)| self.deadlines_of(link));
        [waits, idle, pins].into_iter().flatten().chain(links).chain(self.snapshot_deadlines())
    }

    fn deadlines_of(&self, link: &Link) -> impl Iterator<Item = (&'static str, Timestamp)> {
        let timeout = self.config().replica_timeout;
        let silence = link.silent_since().and_then(|since| just_past(since, timeout));
        let soft = link.account.over_since.zip(self.effective_limit().soft);
        let soft = soft.and_then(|(since, soft)| just_past(since, soft.lasting));
        // One that waits for its snapshot is told that the primary lives, until it has come.
        let is_kept_alive = link.account.waits() || link.account.is_preparing();
        let keep_alive = self.now().checked_add(self.config().keep_alive).filter(|_| is_kept_alive);
        let silence = silence.map(|due| ("silence", due));
        let soft = soft.map(|due| ("being over the soft limit", due));
        let keep_alive = keep_alive.map(|due| ("waiting for a snapshot", due));
        [silence, soft, keep_alive].into_iter().flatten()
    }

    fn snapshot_deadlines(&self) -> impl Iterator<Item = (&'static str, Timestamp)> {
        let timeout = self.config().snapshot_timeout;
        let unready =
            self.snapshots.values().filter(|making| !making.is_ready && self.is_shared(making.key()));
        unready.filter_map(move |making| Some(("a snapshot", just_past(making.cut_at(), timeout)?)))
    }
}

/// The first moment at which more than `span` has passed.
fn just_past(since: Timestamp, span: Duration) -> Option<Timestamp> {
    since.checked_add(span)?.checked_add(Duration::from_nanos(1))
}
