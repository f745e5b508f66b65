use core::time::Duration;

use crate::offset::Offset;
use crate::time::{Timestamp, earliest};

/// How much of the stream a replica may leave unread before it is dropped.
///
/// A limit below the backlog's capacity acts as the capacity: those bytes are kept anyhow, and whoever resumed
/// within them would be dropped again for ever (R123; Redis raises the hard limit only).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
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
    /// Dropped after more than this at or above it without a break (R124). With none it acts as a hard limit does, on who may
    /// resume too.
    pub lasting: Duration,
}

impl Default for OutputLimit {
    fn default() -> Self {
        let soft = SoftLimit { bytes: 64 << 20, lasting: Duration::from_secs(60) };
        Self { hard: Some(256 << 20), soft: Some(soft) }
    }
}

impl OutputLimit {
    /// The limit as it acts beside a backlog of `capacity` bytes.
    pub fn beside(self, capacity: usize) -> Self {
        let capacity = capacity as u64;
        Self {
            hard: self.hard.map(|hard| hard.max(capacity)),
            soft: self.soft.map(|soft| SoftLimit { bytes: soft.bytes.max(capacity), ..soft }),
        }
    }

    /// With this many bytes unsent nobody stays: a soft limit that lasts no time is as good as a hard one.
    pub(crate) fn at_once(self) -> Option<u64> {
        let soft = self.soft.filter(|soft| soft.lasting.is_zero()).map(|soft| soft.bytes);
        soft.into_iter().chain(self.hard).min()
    }
}

/// Watches every replica's unsent bytes against the limit, at the cost of one comparison per append.
///
/// It knows the nearest offset at which somebody may cross, and the earliest moment at which somebody may have been
/// over the soft limit for too long. Replicas only move forward, so both are lower bounds, and are worked out
/// again only once one of them is reached: [`OutputMeter::restart`], then [`OutputMeter::judge`] for each replica.
/// Since when a replica is over the soft limit is kept beside it, by the caller.
///
/// ```
/// use std::time::Duration;
/// use headwater::{Offset, OutputLimit, OutputMeter, OverLimit, SoftLimit, Timestamp};
///
/// let at = |bytes| Offset::new(bytes).expect("a small number");
/// let second = |count| Timestamp::from_origin(Duration::from_secs(count));
/// let soft = SoftLimit { bytes: 100, lasting: Duration::from_secs(5) };
/// let limit = OutputLimit { hard: Some(1000), soft: Some(soft) };
/// let mut meter = OutputMeter::new(limit, 50);
///
/// let (sent, mut over_since) = (at(0), None);
/// meter.judge(sent, &mut over_since, at(0), second(0))?;
/// assert!(!meter.may_be_crossed(at(99)) && meter.may_be_crossed(at(100)));
///
/// meter.judge(sent, &mut over_since, at(100), second(1))?; // over the soft limit, from now on
/// meter.judge(sent, &mut over_since, at(100), second(6))?;
/// let over = meter.judge(sent, &mut over_since, at(100), second(7));
/// assert!(matches!(over, Err(OverLimit::Soft { unsent: 100, .. })));
/// # Ok::<(), OverLimit>(())
/// ```
#[derive(Clone, Debug)]
pub struct OutputMeter {
    limit: OutputLimit,
    nearest: Option<Offset>,
    deadline: Option<Timestamp>,
}

/// More waits to be sent than is allowed, with the limit as it acts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OverLimit {
    /// As much as may never wait.
    #[error("{unsent} bytes wait to be sent, the hard limit is {limit}")]
    Hard {
        /// Bytes yet to be sent that count.
        unsent: u64,
        /// The hard limit.
        limit: u64,
    },
    /// As much as may wait for a while, for longer than that.
    #[error("{unsent} bytes wait to be sent, the soft limit of {} was exceeded for {lasted:?}, more than {:?}",
        .limit.bytes, .limit.lasting)]
    Soft {
        /// Bytes yet to be sent that count.
        unsent: u64,
        /// The soft limit.
        limit: SoftLimit,
        /// For how long it has been reached without a break.
        lasted: Duration,
    },
}

impl OutputMeter {
    /// A meter that watches nobody yet, beside a backlog of `capacity` bytes.
    pub fn new(limit: OutputLimit, capacity: usize) -> Self {
        Self { limit: limit.beside(capacity), nearest: None, deadline: None }
    }

    /// The limit as it acts.
    pub const fn limit(&self) -> OutputLimit {
        self.limit
    }

    /// Whether somebody may have crossed at `end`. If so, judge all of them anew.
    #[inline]
    pub fn may_be_crossed(&self, end: Offset) -> bool {
        self.nearest.is_some_and(|nearest| end >= nearest)
    }

    /// The first moment at which somebody may have been over the soft limit for too long. Then judge all of them anew.
    pub const fn deadline(&self) -> Option<Timestamp> {
        self.deadline
    }

    /// Forgets all bounds, for every replica to be judged anew.
    pub fn restart(&mut self) {
        (self.nearest, self.deadline) = (None, None);
    }

    /// Judges a replica whose bytes from `charged_from` to `end` have yet to be sent, and watches it from now on. It
    /// has been over the soft limit since `over_since`, which is set and cleared here.
    ///
    /// Reached is at or above (R123, R124); one moment below forgives everything. Call it also when a replica that
    /// is over the soft limit has been sent something.
    ///
    /// # Errors
    ///
    /// [`OverLimit`]: drop it.
    pub fn judge(
        &mut self,
        charged_from: Offset,
        over_since: &mut Option<Timestamp>,
        end: Offset,
        now: Timestamp,
    ) -> Result<(), OverLimit> {
        let unsent = end.saturating_since(charged_from);
        if let Some(limit) = self.limit.hard.filter(|hard| unsent >= *hard) {
            return Err(OverLimit::Hard { unsent, limit });
        }
        self.judge_softly(unsent, over_since, now)?;
        let soft = self.limit.soft.filter(|_| over_since.is_none()).map(|soft| soft.bytes);
        let next = soft.into_iter().chain(self.limit.hard).min();
        // Without a sum there is no such offset.
        let crossing = next.and_then(|bytes| charged_from.checked_add(bytes));
        self.nearest = [self.nearest, crossing].into_iter().flatten().min();
        Ok(())
    }

    fn judge_softly(
        &mut self,
        unsent: u64,
        over_since: &mut Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), OverLimit> {
        let Some(limit) = self.limit.soft.filter(|soft| unsent >= soft.bytes) else {
            *over_since = None;
            return Ok(());
        };
        let since = *over_since.get_or_insert(now);
        let lasted = now.saturating_since(since);
        if lasted > limit.lasting {
            return Err(OverLimit::Soft { unsent, limit, lasted });
        }
        self.deadline = earliest(self.deadline, since.just_past(limit.lasting));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::collection::vec as vec_of;
    use proptest::prelude::*;

    use super::*;

    fn at(bytes: u64) -> Offset {
        Offset::new(bytes).unwrap()
    }

    fn nanosecond(count: u64) -> Timestamp {
        Timestamp::from_origin(Duration::from_nanos(count))
    }

    fn limit(hard: Option<u64>, soft: Option<(u64, u64)>) -> OutputLimit {
        let soft = soft.map(|(bytes, nanos)| SoftLimit { bytes, lasting: Duration::from_nanos(nanos) });
        OutputLimit { hard, soft }
    }

    /// R123: reached at usage >= limit, and a limit below the backlog's size acts as that size.
    #[test]
    fn the_hard_limit_is_reached_at_its_last_byte_and_never_below_the_capacity() {
        for (hard, capacity, effective) in [(100, 10, 100), (100, 300, 300)] {
            let mut meter = OutputMeter::new(limit(Some(hard), None), capacity);
            let mut judge = |end| meter.judge(at(50), &mut None, at(50 + end), nanosecond(0));
            assert_eq!(judge(effective - 1), Ok(()));
            assert_eq!(judge(effective), Err(OverLimit::Hard { unsent: effective, limit: effective }));
        }
    }

    /// R124: over only after more than the duration, counted from the byte that reached it.
    #[test]
    fn the_soft_limit_is_over_just_past_its_duration() {
        let mut meter = OutputMeter::new(limit(None, Some((100, 30))), 1);
        let mut since = None;
        assert_eq!(meter.judge(at(0), &mut since, at(99), nanosecond(5)), Ok(()));
        assert_eq!((since, meter.deadline()), (None, None));
        assert_eq!(meter.judge(at(0), &mut since, at(100), nanosecond(10)), Ok(()));
        assert_eq!(meter.deadline(), Some(nanosecond(41)));
        assert_eq!(meter.judge(at(0), &mut since, at(100), nanosecond(40)), Ok(()));
        let over = meter.judge(at(0), &mut since, at(120), nanosecond(41));
        let soft = limit(None, Some((100, 30))).soft.unwrap();
        assert_eq!(over, Err(OverLimit::Soft { unsent: 120, limit: soft, lasted: Duration::from_nanos(31) }));
    }

    /// T43: falling below it once resets the timer.
    #[test]
    fn one_moment_below_the_soft_limit_forgives_everything() {
        let mut meter = OutputMeter::new(limit(None, Some((100, 30))), 1);
        let mut since = None;
        assert_eq!(meter.judge(at(0), &mut since, at(100), nanosecond(0)), Ok(()));
        assert_eq!(meter.judge(at(1), &mut since, at(100), nanosecond(30)), Ok(()));
        assert_eq!(meter.judge(at(1), &mut since, at(101), nanosecond(31)), Ok(()));
        assert_eq!(meter.judge(at(1), &mut since, at(101), nanosecond(61)), Ok(()));
        assert!(meter.judge(at(1), &mut since, at(101), nanosecond(62)).is_err());
    }

    /// B9, for both limits: whoever resumed within the backlog is not over it.
    #[test]
    fn a_limit_below_the_capacity_acts_as_the_capacity() {
        let both = limit(Some(200), Some((100, 30)));
        assert_eq!(both.beside(300), limit(Some(300), Some((300, 30))));
        assert_eq!(both.beside(150), limit(Some(200), Some((150, 30))));
        assert_eq!(both.beside(50), both);
    }

    #[test]
    fn a_soft_limit_of_no_duration_still_takes_a_later_moment() {
        let mut meter = OutputMeter::new(limit(None, Some((100, 0))), 1);
        let mut since = None;
        assert_eq!(meter.judge(at(0), &mut since, at(500), nanosecond(7)), Ok(()));
        assert_eq!(meter.deadline(), Some(nanosecond(8)));
        assert!(meter.judge(at(0), &mut since, at(500), nanosecond(8)).is_err());
    }

    /// B49: a limit of 0 was taken for one that is reached.
    #[test]
    fn no_limit_is_never_crossed() {
        let mut meter = OutputMeter::new(limit(None, None), 1);
        assert_eq!(meter.judge(at(0), &mut None, Offset::MAX, nanosecond(0)), Ok(()));
        assert!(!meter.may_be_crossed(Offset::MAX));
    }

    #[test]
    fn a_crossing_past_the_last_offset_never_comes() {
        let mut meter = OutputMeter::new(limit(Some(u64::MAX), Some((u64::MAX, 1))), 1);
        assert_eq!(meter.judge(at(5), &mut None, Offset::MAX, nanosecond(0)), Ok(()));
        assert!(!meter.may_be_crossed(Offset::MAX));
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Append(u64),
        Send(usize, u64),
        Pass(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..40u64).prop_map(Step::Append),
            (0..3usize, 0..60u64).prop_map(|(who, bytes)| Step::Send(who, bytes)),
            (0..30u64).prop_map(Step::Pass),
        ]
    }

    proptest! {
        /// Judging all only when a bound is reached finds each offender in the same step as judging all always.
        #[test]
        fn the_bounds_are_never_late(steps in vec_of(step(), 0..80), hard in 50..200u64, soft in 20..60u64) {
            let limit = limit(Some(hard), Some((soft, 40)));
            let mut meter = OutputMeter::new(limit, 1);
            let (mut sent, mut since, mut eager_since) = ([at(0); 3], [None; 3], [None; 3]);
            let (mut end, mut now) = (at(0), 0);
            for who in 0..3 {
                meter.judge(sent[who], &mut since[who], end, nanosecond(now)).unwrap();
            }
            for step in steps {
                match step {
                    Step::Append(bytes) => end = at(end.get() + bytes),
                    Step::Pass(span) => now += span,
                    Step::Send(who, bytes) => {
                        sent[who] = at((sent[who].get() + bytes).min(end.get()));
                        if since[who].is_some() {
                            let _ = meter.judge(sent[who], &mut since[who], end, nanosecond(now));
                        }
                    }
                }
                let mut eager = OutputMeter::new(limit, 1);
                let expected: Vec<_> =
                    (0..3).map(|who| eager.judge(sent[who], &mut eager_since[who], end, nanosecond(now))).collect();
                let is_due = meter.deadline().is_some_and(|deadline| deadline <= nanosecond(now));
                if meter.may_be_crossed(end) || is_due {
                    meter.restart();
                    let judge = |who: usize| meter.judge(sent[who], &mut since[who], end, nanosecond(now));
                    let verdicts: Vec<_> = (0..3).map(judge).collect();
                    prop_assert_eq!(&verdicts, &expected);
                } else {
                    prop_assert!(expected.iter().all(Result::is_ok), "missed: {:?}", expected);
                }
                if expected.iter().any(Result::is_err) {
                    return Ok(());
                }
            }
        }
    }
}
