use core::time::Duration;

use crate::offset::Offset;

/// How much of the stream a replica may leave unread before it is dropped.
///
/// A limit below the backlog's capacity acts as the capacity: those bytes are kept anyhow, and whoever resumed
/// within them would be dropped again for ever (R123; Redis raises the hard limit only).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct OutputLimit {
    /// Dropped as soon as this many bytes wait to be sent; `None` is no bound, on memory either. Default:
    /// 256 MiB.
    pub hard: Option<u64>,
    /// Dropped once fewer have waited for too long. Default: 64 MiB for 60 s (R122).
    pub soft: Option<SoftLimit>,
}

/// A limit that may be crossed for a while.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SoftLimit {
    /// Reached when this many bytes wait to be sent.
    pub bytes: u64,
    /// Dropped after more than this at or above it without a break (R124).
    pub lasting: Duration,
}

impl Default for OutputLimit {
    fn default() -> Self {
        let soft = SoftLimit { bytes: 64 << 20, lasting: Duration::from_secs(60) };
        Self { hard: Some(256 << 20), soft: Some(soft) }
    }
}

/// Watches every replica's unsent bytes against the limit, at the cost of one comparison per append.
///
/// It knows the nearest offset at which somebody may cross. Replicas only move forward, so that is a lower
/// bound, and is worked out again only once the stream has reached it.
#[derive(Debug)]
pub(crate) struct OutputMeter {
    hard: Option<u64>,
    nearest: Option<Offset>,
}

/// More waits to be sent than is allowed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct OverLimit {
    pub(crate) unsent: u64,
    pub(crate) limit: u64,
}

impl OutputMeter {
    pub(crate) fn new(limit: OutputLimit, capacity: usize) -> Self {
        Self { hard: limit.hard.map(|hard| hard.max(capacity as u64)), nearest: None }
    }

    /// The hard limit as it acts.
    pub(crate) const fn hard(&self) -> Option<u64> {
        self.hard
    }

    /// Takes a replica into account whose bytes after `charged_from` count.
    pub(crate) fn watch(&mut self, charged_from: Offset) {
        let crossing = self.hard.map(|hard| charged_from.saturating_add(hard));
        self.nearest = match (self.nearest, crossing) {
            (Some(nearest), Some(crossing)) => Some(nearest.min(crossing)),
            (nearest, crossing) => nearest.or(crossing),
        };
    }

    /// Whether somebody may have crossed at `end`. If so, judge all of them anew: [`OutputMeter::restart`], then
    /// [`OutputMeter::judge`] for each.
    #[inline]
    pub(crate) fn may_be_crossed(&self, end: Offset) -> bool {
        self.nearest.is_some_and(|nearest| end >= nearest)
    }

    pub(crate) fn restart(&mut self) {
        self.nearest = None;
    }

    /// Whether a replica is over the limit at `end`; watches it if it is not.
    pub(crate) fn judge(&mut self, charged_from: Offset, end: Offset) -> Result<(), OverLimit> {
        let unsent = end.saturating_since(charged_from);
        if let Some(limit) = self.hard.filter(|hard| unsent >= *hard) {
            return Err(OverLimit { unsent, limit });
        }
        self.watch(charged_from);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(bytes: u64) -> Offset {
        Offset::new(bytes).unwrap()
    }

    fn limit(hard: Option<u64>) -> OutputLimit {
        OutputLimit { hard, soft: None }
    }

    /// R123: reached at usage >= limit, and a limit below the backlog's size acts as that size.
    #[test]
    fn the_limit_is_reached_at_its_last_byte_and_never_below_the_capacity() {
        for (hard, capacity, effective) in [(100, 10, 100), (100, 300, 300)] {
            let mut meter = OutputMeter::new(limit(Some(hard)), capacity);
            assert_eq!(meter.judge(at(50), at(50 + effective - 1)), Ok(()));
            let over = OverLimit { unsent: effective, limit: effective };
            assert_eq!(meter.judge(at(50), at(50 + effective)), Err(over));
        }
    }

    #[test]
    fn the_nearest_crossing_is_that_of_the_slowest() {
        let mut meter = OutputMeter::new(limit(Some(100)), 1);
        meter.watch(at(500));
        meter.watch(at(20));
        meter.watch(at(300));
        assert!(!meter.may_be_crossed(at(119)));
        assert!(meter.may_be_crossed(at(120)));
    }

    #[test]
    fn no_limit_is_never_crossed() {
        let mut meter = OutputMeter::new(limit(None), 1);
        meter.watch(at(0));
        assert!(!meter.may_be_crossed(Offset::MAX));
        assert_eq!(meter.judge(at(0), Offset::MAX), Ok(()));
    }

    #[test]
    fn a_crossing_past_the_last_offset_never_comes() {
        let mut meter = OutputMeter::new(limit(Some(u64::MAX)), 1);
        assert_eq!(meter.judge(at(5), Offset::MAX), Ok(()));
    }
}
