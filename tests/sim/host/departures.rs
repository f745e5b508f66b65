use headwater::{DropReason, OverLimit, SnapshotKey};

use super::Host;
use super::link::Link;
use crate::network::Connection;

/// Why a replica is no longer attached, by the model's own judgement.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Departure {
    Clean,
    Lost,
    Lied,
    LiedOfItsDisk,
    OverHard,
    OverSoft,
    Silent,
    Stalled,
    SnapshotFailed,
    SnapshotLate,
    HistoryChanged,
}

impl Departure {
    /// Whether `reason` is the one that the primary has to give.
    pub(super) fn fits(self, reason: DropReason) -> bool {
        match reason {
            DropReason::AckBeyondLent { .. } => self == Self::Lied,
            DropReason::FsyncedBeyondApplied { .. } => self == Self::LiedOfItsDisk,
            DropReason::OverLimit(OverLimit::Hard { .. }) => self == Self::OverHard,
            DropReason::OverLimit(OverLimit::Soft { .. }) => self == Self::OverSoft,
            DropReason::Silent { .. } => self == Self::Silent,
            DropReason::TransferStalled { .. } => self == Self::Stalled,
            DropReason::SnapshotFailed => self == Self::SnapshotFailed,
            DropReason::SnapshotTimedOut { .. } => self == Self::SnapshotLate,
            DropReason::HistoryChanged => self == Self::HistoryChanged,
            _ => false,
        }
    }

    fn leaves_pin(self) -> bool {
        matches!(self, Self::Lost | Self::Silent)
    }

    fn fails_sync(self) -> bool {
        !matches!(self, Self::Clean | Self::HistoryChanged)
    }
}

/// Whom the primary has to drop, as soon as it is told what makes it so. The events are compared with it, and none may
/// be missing after a drain.
impl Host {
    /// From now on the replica behind a connection counts nowhere, though its event may be yet to come.
    pub(super) fn depart(&mut self, connection: Connection, departure: Departure, end: usize) {
        let Some(link) = self.links.get_mut(&connection).filter(|link| link.is_live()) else { return };
        link.account.departure = Some(departure);
        let (account, port) = (&link.account, link.peer.port);
        let held = account.acked.unwrap_or(0).max(account.began_at);
        let (is_online, is_syncing) = (account.is_online, account.is_syncing());
        if departure.leaves_pin() && is_online {
            self.leave_pin(port, held, end);
        }
        if departure.fails_sync() && is_syncing {
            self.note_failed_sync(port);
            let is_back = |link: &Link| link.peer.port == port && link.account.waits();
            let are_back = self.live().filter(|(link, _)| is_back(link)).count();
            self.failed_behind += are_back as u64;
        }
        self.failed_syncs += u64::from(!is_online || is_syncing);
        let by_limit = matches!(departure, Departure::OverHard | Departure::OverSoft);
        self.expected.dropped_by_limit += u64::from(by_limit);
        if self.live().next().is_none() {
            self.idle_since = Some(self.clock.latest());
        }
    }

    /// B3: over the hard limit at once, over the soft one once that has lasted too long. To be called after whatever
    /// makes the stream longer, sends some of it, or changes the limits.
    pub(super) fn judge_output(&mut self, end: usize) {
        let (limit, latest) = (self.effective_limit(), self.now());
        let judge = |link: &mut Link| {
            let charged = link.charged(end)? as u64;
            if limit.hard.is_some_and(|hard| charged >= hard) {
                return Some(Departure::OverHard);
            }
            let Some(soft) = limit.soft.filter(|soft| charged >= soft.bytes) else {
                link.account.over_since = None;
                return None;
            };
            let since = *link.account.over_since.get_or_insert(latest);
            (latest.saturating_since(since) > soft.lasting).then_some(Departure::OverSoft)
        };
        self.depart_where(end, judge);
    }

    /// L4: one that is silent, or takes none of its snapshot, for longer than the timeout.
    pub(super) fn judge_silence(&mut self, end: usize) {
        let (timeout, latest) = (self.config().replica_timeout, self.now());
        self.depart_where(end, |link| {
            let late = latest.saturating_since(link.silent_since()?) > timeout;
            let departure = if link.account.is_online { Departure::Silent } else { Departure::Stalled };
            late.then_some(departure)
        });
    }

    /// L4: those whose snapshot is not ready in time.
    pub(super) fn judge_snapshots(&mut self, end: usize) {
        let (timeout, latest) = (self.config().snapshot_timeout, self.now());
        let late = |making: &&super::Making| making.is_late(timeout, latest);
        let late: Vec<_> = self.snapshots.values().filter(late).map(super::Making::key).collect();
        for snapshot in late {
            self.fail_snapshot(snapshot, Departure::SnapshotLate, end);
        }
    }

    pub(super) fn fail_snapshot(&mut self, snapshot: SnapshotKey, departure: Departure, end: usize) {
        self.depart_where(end, |link| {
            let shares = link.account.snapshot == Some(snapshot) && !link.account.is_online;
            shares.then_some(departure)
        });
    }

    /// All leave a history that is broken.
    pub(super) fn judge_broken(&mut self, end: usize) {
        self.depart_where(end, |_| Some(Departure::HistoryChanged));
    }

    fn depart_where(&mut self, end: usize, judge: impl Fn(&mut Link) -> Option<Departure>) {
        let live = self.links.values_mut().filter(|link| link.is_live());
        let mut departing: Vec<_> =
            live.filter_map(|link| Some((link.account.arrival, link.connection, judge(link)?))).collect();
        departing.sort_unstable_by_key(|(arrival, ..)| *arrival);
        for (_, connection, departure) in departing {
            self.depart(connection, departure, end);
        }
    }
}
