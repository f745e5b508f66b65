use alloc::collections::VecDeque;
use core::time::Duration;

use crate::offset::Offset;
use crate::time::Timestamp;

/// How far a replica is behind, by what it has acknowledged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lag {
    /// Bytes of the stream that it has not acknowledged.
    pub bytes: u64,
    /// For how long the oldest of them has been in the stream; `None` if there are none. It may be too high by less
    /// than [`Report::lag_error`](crate::Report::lag_error); of one that resumed from further back than any other was,
    /// it may be too low.
    pub age: Option<Duration>,
    /// The highest that this was since the replica came online.
    pub highest_age: Duration,
}

/// When which byte entered the stream: samples, taken as it grows.
///
/// A sample holds for the bytes from its offset up to the next one's. One is taken for the first bytes that come at
/// least `step` after the last. There are at most [`MOST`]: when they are too many the step doubles, and those closer
/// than that to the one before are given up. A byte of one that was given up is off by the new step more, so after
/// any number of doublings by less than two steps: by 1 ms, or about a 64th of the time between the oldest sample and
/// the newest, which is the longest lag.
#[derive(Debug)]
pub(crate) struct LagSamples {
    samples: VecDeque<Sample>,
    step: Duration,
    /// Samples before this offset are left from a longer lag, and may be off by more.
    coarse: Option<(Offset, Duration)>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Offset,
    time: Timestamp,
}

impl LagSamples {
    pub(crate) const fn new() -> Self {
        Self { samples: VecDeque::new(), step: FINEST, coarse: None }
    }

    /// Whether bytes that enter the stream at `now` need a sample.
    #[inline]
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        self.samples.back().is_none_or(|last| now.saturating_since(last.time) >= self.step)
    }

    /// Notes that the bytes from `at` on enter the stream at `now`. Nobody will ask for one before `needed_from`.
    pub(crate) fn take(&mut self, at: Offset, needed_from: Offset, now: Timestamp) {
        self.forget_before(needed_from);
        if self.step > FINEST && self.samples.len() < FEW {
            self.coarse = Some((at, self.error()));
            self.step = FINEST;
        }
        while self.samples.len() >= MOST {
            self.thin_out();
        }
        self.samples.push_back(Sample { at, time: now });
    }

    /// When the byte after `offset` entered the stream, which ends at `end`: at this time, or less than
    /// [`LagSamples::error`] later. `None` if there is no such byte; one that is older than all samples is taken for as
    /// old as the first.
    pub(crate) fn appended_at(&self, offset: Offset, end: Offset) -> Option<Timestamp> {
        if offset >= end {
            return None;
        }
        let after = self.samples.partition_point(|sample| sample.at <= offset);
        self.samples.get(after.saturating_sub(1)).map(|sample| sample.time)
    }

    /// A time is too early by less than this.
    pub(crate) fn error(&self) -> Duration {
        let own = self.step.saturating_mul(2).saturating_sub(FINEST);
        self.coarse.map_or(own, |(_, error)| error.max(own))
    }

    /// The last sample at or before `needed_from` still holds for it.
    fn forget_before(&mut self, needed_from: Offset) {
        let covering = self.samples.partition_point(|sample| sample.at <= needed_from).saturating_sub(1);
        self.samples.drain(..covering);
        self.coarse.take_if(|(end, _)| self.samples.front().is_none_or(|first| first.at >= *end));
    }

    fn thin_out(&mut self) {
        self.step = self.step.saturating_mul(2);
        let step = self.step;
        if let Some((_, error)) = &mut self.coarse {
            *error = error.saturating_add(step);
        }
        let mut kept: Option<Timestamp> = None;
        self.samples.retain(|sample| {
            let is_needed = kept.is_none_or(|kept| sample.time.saturating_since(kept) >= step);
            if is_needed {
                kept = Some(sample.time);
            }
            is_needed
        });
    }
}

/// 8 KiB of them.
const MOST: usize = 256;

/// So few are left that the step may be fine again.
const FEW: usize = MOST / 8;

/// Finer than any clock tick that matters to a replica.
const FINEST: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::collection::vec as vec_of;
    use proptest::prelude::*;

    use super::*;

    fn at(bytes: u64) -> Offset {
        Offset::new(bytes).unwrap()
    }

    fn micro(count: u64) -> Timestamp {
        Timestamp::from_origin(Duration::from_micros(count))
    }

    #[test]
    fn what_is_acknowledged_has_no_age() {
        let mut samples = LagSamples::new();
        assert!(samples.is_due(micro(0)));
        samples.take(at(0), at(0), micro(0));
        assert_eq!(samples.appended_at(at(100), at(100)), None);
        assert_eq!(samples.appended_at(at(99), at(100)), Some(micro(0)));
    }

    #[test]
    fn what_is_older_than_all_samples_is_at_least_as_old_as_they() {
        let mut samples = LagSamples::new();
        samples.take(at(50), at(50), micro(7));
        assert_eq!(samples.appended_at(at(10), at(100)), Some(micro(7)));
    }

    /// A quiet stretch between two writes is no error: the second is not taken for the first.
    #[test]
    fn an_idle_stretch_is_never_swallowed() {
        let mut samples = LagSamples::new();
        for round in 0..5000 {
            samples.take(at(round * 10), at(0), micro(round * 60_000_000));
        }
        let (last, error) = (4999, samples.error().as_micros());
        let found = samples.appended_at(at(last * 10), at(u64::MAX >> 1)).unwrap();
        let late = micro(last * 60_000_000).saturating_since(found).as_micros();
        assert!(late < error, "{late} of {error}");
    }

    /// The documentation's bound: two steps, where 256 samples a step apart span the lag.
    #[test]
    fn the_error_is_a_small_part_of_the_longest_lag() {
        let mut samples = LagSamples::new();
        for round in 0..100_000 {
            let now = micro(round * 700);
            if samples.is_due(now) {
                samples.take(at(round), at(0), now);
            }
            let lag = Duration::from_micros(round * 700);
            assert!(samples.error() <= FINEST.max(lag / 62), "{:?} of {lag:?}", samples.error());
        }
    }

    #[test]
    fn the_error_is_small_again_once_nobody_lags() {
        let mut samples = LagSamples::new();
        for round in (0..1000).filter(|round| round % 4 == 0 || *round < 500) {
            if samples.is_due(micro(round * 1000)) {
                samples.take(at(round), at(0), micro(round * 1000));
            }
        }
        assert!(samples.error() > FINEST);
        samples.take(at(1000), at(1000), micro(2_000_000));
        assert!(samples.error() > FINEST, "the oldest sample is still a coarse one");
        samples.take(at(1001), at(1001), micro(2_100_000));
        samples.take(at(1002), at(1002), micro(2_200_000));
        assert_eq!(samples.error(), FINEST);
    }

    /// Those that are taken meanwhile are fine, few as they are.
    #[test]
    fn the_error_lasts_as_long_as_the_coarse_samples() {
        let mut samples = LagSamples::new();
        for round in 0..300 {
            samples.take(at(round), at(0), micro(round * 1000));
        }
        samples.take(at(300), at(290), micro(300_000));
        samples.take(at(301), at(290), micro(301_000));
        assert!(samples.error() > FINEST, "what entered before 300 is asked for still");
        samples.take(at(302), at(300), micro(302_000));
        assert_eq!(samples.error(), FINEST);
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Append(u64),
        Pass(u64),
        Acknowledge(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1..20u64).prop_map(Step::Append),
            3 => (0..3000u64).prop_map(Step::Pass),
            1 => (0..100_000_000u64).prop_map(Step::Pass),
            1 => (0..50u64).prop_map(Step::Acknowledge),
        ]
    }

    proptest! {
        /// Against the time of every single unit, and with the error that the documentation states.
        #[test]
        fn no_age_is_off_by_more_than_the_stated_error(steps in vec_of(step(), 0..1500)) {
            let mut samples = LagSamples::new();
            let mut truth: Vec<(u64, u64)> = Vec::new();
            let (mut end, mut now, mut acked) = (0, 0, 0);
            for step in steps {
                match step {
                    Step::Pass(span) => now += span,
                    Step::Acknowledge(bytes) => acked = end.min(acked + bytes),
                    Step::Append(bytes) => {
                        if samples.is_due(micro(now)) {
                            samples.take(at(end), at(acked), micro(now));
                        }
                        truth.push((end, now));
                        end += bytes;
                    }
                }
            }
            prop_assert!(samples.samples.len() <= MOST);
            for (from, time) in truth.iter().filter(|(from, _)| *from >= acked) {
                let found = samples.appended_at(at(*from), at(end)).unwrap();
                prop_assert!(found <= micro(*time));
                let off = micro(*time).saturating_since(found);
                prop_assert!(off < samples.error(), "{:?} of {:?}", off, samples.error());
            }
        }
    }
}
