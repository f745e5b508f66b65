use std::time::Duration;

use headwater::{Framing, ReplicaState, SnapshotError, SnapshotKey, SyncForecast, Timestamp};

use super::Host;
use super::failures::Failed;
use super::link::Link;
use crate::env::Env;
use crate::fault::Fault;
use crate::network::Connection;

/// Who is given a snapshot, and when.
impl Host {
    /// Some of those who wait share it: who does is the primary's choice, within what was promised.
    pub(super) fn start_syncs(&mut self, snapshot: SnapshotKey, framing: Framing, at: usize, env: &mut Env) {
        let report = self.primary.report(self.now());
        let preparing = |link: &Link| {
            let reported = report.replicas.iter().find(|reported| Some(reported.replica) == link.replica);
            reported.is_some_and(|reported| reported.state == ReplicaState::PreparingSnapshot)
        };
        let waiting = self.links.values().filter(|link| link.is_live() && link.account.waits());
        let suited = waiting.filter(|link| suits(framing, link));
        let (shares, left): (Vec<_>, Vec<_>) = suited.partition(|link| preparing(link));
        assert!(!shares.is_empty(), "a snapshot is begun for somebody");
        let last = shares.iter().map(|link| link.account.arrival).max();
        let is_passed_over = |link: &&Link| {
            let is_free = self.failures.of(link.peer.port).is_none_or(|failed| failed.latest() <= self.now());
            is_free && Some(link.account.arrival) < last
        };
        assert!(!left.iter().any(is_passed_over), "L4: one that came first is passed over");
        let shares: Vec<_> = shares.iter().map(|link| link.connection).collect();
        for connection in shares {
            self.start_sync(connection, snapshot, at, env);
        }
    }

    /// L5: not before its back-off is over, and (L6) not more at once than may be.
    pub(super) fn start_sync(
        &mut self,
        connection: Connection,
        snapshot: SnapshotKey,
        at: usize,
        env: &mut Env,
    ) {
        let (now, most) = (self.now(), self.config().max_transfers);
        let Some(link) = self.links.get_mut(&connection) else { return };
        link.start_at(at);
        link.account.snapshot = Some(snapshot);
        let soonest = self.failures.of(link.peer.port).as_ref().map(Failed::soonest);
        assert!(soonest.is_none_or(|soonest| soonest <= now), "L5: {soonest:?} is yet to come at {now:?}");
        if soonest.is_some() {
            env.journal.count(Fault::SyncedAgainLater);
        }
        let busy = self.busy_transfers();
        assert!(busy <= most, "{busy} are given a snapshot, at most {most} may be");
    }

    pub(super) fn busy_transfers(&self) -> usize {
        self.live().filter(|(link, _)| link.account.is_in_transfer()).count()
    }

    pub(super) fn is_shared(&self, snapshot: SnapshotKey) -> bool {
        let shares = |link: &Link| link.account.snapshot == Some(snapshot) && link.account.is_in_transfer();
        self.live().any(|(link, _)| shares(link))
    }

    /// Who waits for a snapshot and is not held back, as far as can be told without the jitter.
    pub(super) fn surely_wait(&self) -> impl Iterator<Item = &Link> {
        let is_free =
            |link: &Link| self.failures.of(link.peer.port).is_none_or(|failed| failed.latest() <= self.now());
        self.live().map(|(link, _)| link).filter(move |link| link.account.waits() && is_free(link))
    }

    /// L5: a replica is held back as long as its failures in a row ask for. Gives till when.
    pub(super) fn check_held_back(&self, port: i64, told: Option<Duration>) -> Option<Timestamp> {
        let until = told.and_then(|told| self.now().checked_add(told));
        let (soonest, latest) = self
            .failures
            .of(port)
            .map_or((self.now(), self.now()), |failed| (failed.soonest(), failed.latest()));
        let at_least = until.unwrap_or(self.now());
        assert!(soonest <= at_least, "L5: {port} is held back till {until:?}, not till {soonest:?}");
        assert!(until.is_none_or(|until| until <= latest), "L5: {port} is held back beyond {latest:?}");
        until
    }

    /// L5: and not as long as another.
    pub(super) fn note_held_back(&mut self, connection: Connection, told: Option<Duration>, env: &mut Env) {
        let port = self.links[&connection].peer.port;
        let until = self.check_held_back(port, told);
        let (Some(failed), Some(until)) = (self.failures.of(port), until) else { return };
        env.journal.count(Fault::HeldBack);
        let (in_a_row, is_most) = failed.severity();
        let together = self.failures.note_told(port, until);
        let seen = [
            (in_a_row > 1, Fault::HeldBackForLonger),
            (is_most, Fault::HeldBackForMost),
            (together, Fault::HeldBackTogether),
        ];
        seen.iter().filter(|(is_seen, _)| *is_seen).for_each(|(_, fault)| env.journal.count(*fault));
    }

    pub(super) fn check_begin_refused(&self, refused: SnapshotError, framing: Framing, env: &mut Env) {
        let is_right = match refused {
            SnapshotError::NobodyWaits => {
                env.journal.count(Fault::SnapshotSuitsNobody);
                !self.surely_wait().any(|link| suits(framing, link))
            }
            SnapshotError::TooManyTransfers { max } => {
                env.journal.count(Fault::TooManyTransfers);
                self.busy_transfers() >= max && max == self.config().max_transfers
            }
            SnapshotError::TooManySnapshots { max } => self.snapshots.len() >= max,
            _ => false,
        };
        assert!(is_right, "no snapshot is begun: {refused:?}");
    }

    /// A forecast is of a sync that is wanted, and of the limits in force.
    pub(super) fn on_sync_unlikely(&self, forecast: &SyncForecast, env: &mut Env) {
        env.journal.count(Fault::SyncUnlikely);
        assert!(
            self.live().any(|(link, _)| link.account.waits()),
            "nobody waits for a sync that is forecast"
        );
        assert_eq!(forecast.limit, self.effective_limit(), "B3: the limit is told as it acts");
        let over_hard = forecast.limit.hard.is_some_and(|hard| forecast.unsent >= hard);
        let over_soft = forecast.limit.soft.is_some_and(|soft| forecast.unsent >= soft.bytes);
        assert!(over_hard || over_soft || forecast.needed.is_none(), "it would succeed: {forecast:?}");
    }
}

fn suits(framing: Framing, link: &Link) -> bool {
    framing == Framing::Sized || link.peer.takes_end_mark
}
