use std::collections::BTreeMap;
use std::time::Duration;

use headwater::{Backoff, Timestamp};

use super::Host;
use super::link::Link;

/// Replicas whose last sync failed, by the port that they announce, and what is known of how long they are held back:
/// the jitter is not.
#[derive(Debug, Default)]
pub(super) struct Failures(BTreeMap<i64, Failed>);

#[derive(Clone, Copy, Debug)]
pub(super) struct Failed {
    at: Timestamp,
    backoff: Backoff,
    /// Until when it is held back, once that was told.
    told: Option<Timestamp>,
    /// So many in a row: one after a long while counts as the first.
    least: u32,
    most: u32,
}

impl Failures {
    fn record(&mut self, port: i64, backoff: Backoff, now: Timestamp, room: usize) {
        let (mut least, mut most) = (1, 1);
        if let Some(before) = self.0.remove(&port) {
            let rest = |since: Timestamp| now.saturating_since(since);
            least += if rest(before.soonest()) > backoff.most { 0 } else { before.least };
            most += if rest(before.latest()) > backoff.most { 0 } else { before.most };
        }
        if self.0.len() >= room {
            // Somebody is forgotten, by a rule that depends on the jitter.
            self.0.values_mut().for_each(|failed| failed.least = 0);
        }
        self.0.insert(port, Failed { at: now, backoff, told: None, least, most });
    }

    /// L5: of those who failed at the same moment, no two come back at the same. Tells whether there are others.
    pub(super) fn note_told(&mut self, port: i64, until: Timestamp) -> bool {
        let Some(failed) = self.0.get_mut(&port) else { return false };
        assert!(failed.told.is_none_or(|told| told == until), "L5: it is held back for longer than was told");
        failed.told = Some(until);
        let at = failed.at;
        let others = self.0.iter().filter(|(other, failed)| **other != port && failed.at == at);
        let others: Vec<_> = others.filter_map(|(_, failed)| failed.told).collect();
        assert!(!others.contains(&until) || until == at, "L5: two come back at once");
        !others.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn of(&self, port: i64) -> Option<Failed> {
        self.0.get(&port).copied()
    }
}

impl Failed {
    /// L5: half of the delay is certain.
    pub(super) fn soonest(&self) -> Timestamp {
        let half = if self.least == 0 { Duration::ZERO } else { nominal(self.backoff, self.least) / 2 };
        self.at.checked_add(half).unwrap_or(self.at)
    }

    /// How often it failed in a row, at least, and whether it is held back for as long as anybody is.
    pub(super) fn severity(&self) -> (u32, bool) {
        let Backoff { first, most } = self.backoff;
        (self.least, first < most && nominal(self.backoff, self.least) == most)
    }

    pub(super) fn latest(&self) -> Timestamp {
        self.at.checked_add(nominal(self.backoff, self.most)).unwrap_or(self.at)
    }
}

/// The delay doubles with each failure, to its cap.
fn nominal(backoff: Backoff, failures: u32) -> Duration {
    let doubled = (1..failures.min(40)).fold(backoff.first, |delay, _| delay.saturating_mul(2));
    doubled.min(backoff.most)
}

impl Host {
    /// Its sync has succeeded. Another connection of it that waits may be held back as long as it was told.
    pub(super) fn forget_failures(&mut self, port: i64) {
        let waits = |link: &Link| link.peer.port == port && link.account.waits();
        if self.live().any(|(link, _)| waits(link)) {
            self.failures.0.entry(port).and_modify(|failed| failed.least = 0);
        } else {
            self.failures.0.remove(&port);
        }
    }

    pub(super) fn note_failed_sync(&mut self, port: i64) {
        if let Some(backoff) = self.config().sync_backoff {
            let (now, room) = (self.now(), self.config().max_replicas);
            self.failures.record(port, backoff, now, room);
        }
    }
}
