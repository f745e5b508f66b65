use std::time::Duration;

use headwater::{OutputLimit, SoftLimit, Timestamp};

use super::Forecast;

/// What the syncs before say of the next one.
#[derive(Clone, Debug, Default)]
pub(super) struct SyncRecord {
    duration: Option<Duration>,
    making: Duration,
    transfer_rate: Option<u64>,
}

/// How a transfer stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// Since the cut.
    pub(super) elapsed: Duration,
    pub(super) transferring: Duration,
    pub(super) sent: u64,
    pub(super) size: Option<u64>,
}

/// How fast the stream grows: from a place that it reached one to two seconds ago.
#[derive(Clone, Debug)]
pub(super) struct WriteRate {
    places: [(u64, Timestamp); 2],
}

impl WriteRate {
    pub(super) const fn new(end: u64, now: Timestamp) -> Self {
        Self { places: [(end, now), (end, now)] }
    }

    pub(super) fn note(&mut self, end: u64, now: Timestamp) {
        let [_, last] = self.places;
        if now.saturating_since(last.1) >= Duration::from_secs(1) {
            self.places = [last, (end, now)];
        }
    }

    pub(super) fn at(&self, end: u64, now: Timestamp) -> u64 {
        let [(from, since), _] = self.places;
        per_second(end - from, now.saturating_since(since)).unwrap_or(0)
    }
}

impl SyncRecord {
    pub(super) fn note_made(&mut self, making: Duration) {
        self.making = making;
    }

    pub(super) fn note_success(&mut self, progress: Progress) {
        self.note_rate(progress);
        self.duration = Some(progress.elapsed);
    }

    /// A sync that failed would have taken as long as the rest of its image at its rate, and took what it took.
    pub(super) fn note_failure(&mut self, progress: Progress) {
        self.note_rate(progress);
        let whole = progress.size.zip(self.transfer_rate).and_then(|(size, rate)| time_for(size, rate));
        let expected = whole.map_or(progress.elapsed, |whole| self.making + whole);
        self.note_outlasted(expected.max(progress.elapsed));
    }

    /// A sync that its limit ended is expected to take half as long again.
    pub(super) fn note_over_limit(&mut self, elapsed: Duration) {
        self.note_outlasted(elapsed + elapsed / 2);
    }

    /// A sync that failed would have been under way for so long.
    fn note_outlasted(&mut self, expected: Duration) {
        self.duration = self.duration.max(Some(expected));
    }

    fn note_rate(&mut self, progress: Progress) {
        if progress.sent > 0 {
            self.transfer_rate = per_second(progress.sent, progress.transferring).or(self.transfer_rate);
        }
    }

    /// The next sync, if it is expected to fail: what is written meanwhile reaches a limit, or comes no slower than
    /// the replica takes it.
    pub(super) fn forecast(&self, write_rate: u64, limit: OutputLimit) -> Option<Forecast> {
        let (duration, transfer_rate) = (self.duration?, self.transfer_rate);
        let unsent = u64::try_from(u128::from(write_rate) * duration.as_millis() / 1000).unwrap_or(u64::MAX);
        let catches_up = write_rate == 0 || transfer_rate.is_none_or(|rate| rate > write_rate);
        let needed = OutputLimit {
            hard: limit.hard.map(|hard| hard.max(unsent.saturating_add(1))),
            soft: limit.soft.map(|soft| self.needed_soft(soft, unsent, write_rate)),
        };
        if catches_up && needed == limit {
            return None;
        }
        let needed = catches_up.then_some(needed);
        Some(Forecast { duration, write_rate, transfer_rate, unsent, limit, needed })
    }

    /// The soft limit with the whole seconds for which it would be exceeded: while the rest is written, and until
    /// it is taken.
    fn needed_soft(&self, soft: SoftLimit, unsent: u64, write_rate: u64) -> SoftLimit {
        let over = unsent.checked_sub(soft.bytes).and_then(|excess| {
            let net = self.transfer_rate.and_then(|rate| rate.checked_sub(write_rate));
            let draining = net.and_then(|net| time_for(excess, net)).unwrap_or_default();
            Some(time_for(excess, write_rate)?.saturating_add(draining))
        });
        let lasting = over.filter(|over| *over > soft.lasting).map(|over| {
            let up = u64::from(over.subsec_nanos() > 0);
            Duration::from_secs(over.as_secs().saturating_add(up))
        });
        SoftLimit { lasting: lasting.unwrap_or(soft.lasting), ..soft }
    }
}

fn time_for(bytes: u64, rate: u64) -> Option<Duration> {
    let millis = (u128::from(bytes) * 1000).checked_div(u128::from(rate))?;
    Some(Duration::from_millis(u64::try_from(millis).ok()?))
}

fn per_second(bytes: u64, span: Duration) -> Option<u64> {
    let rate = (u128::from(bytes) * 1_000_000_000).checked_div(span.as_nanos())?;
    Some(u64::try_from(rate).unwrap_or(u64::MAX))
}
