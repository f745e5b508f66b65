use core::fmt::{self, Display};
use core::time::Duration;

use crate::offset::Offset;
use crate::output::{OutputLimit, SoftLimit};
use crate::time::Timestamp;

/// Why the next sync is expected to fail: more is written while it lasts than may wait for a replica.
///
/// It is an estimate by the syncs before. The host decides what to do about it; the sync is tried all the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SyncForecast {
    /// From the cut until a replica has the image. After a sync that its output limit ended, whose end nobody saw, half
    /// as long again as it lasted, or more.
    pub duration: Duration,
    /// Bytes a second that enter the stream.
    pub write_rate: u64,
    /// Bytes a second of an image that a replica takes, if the host told its progress.
    pub transfer_rate: Option<u64>,
    /// Bytes that will wait for the replica by the end of its transfer.
    pub unsent: u64,
    /// The output limit as it acts.
    pub limit: OutputLimit,
    /// The least limits under which it is expected to succeed; `None` if none would do, since the replica takes bytes no
    /// faster than they are written.
    pub needed: Option<OutputLimit>,
}

/// What syncs so far say of the next one.
#[derive(Debug, Default)]
pub(crate) struct SyncRecord {
    duration: Option<Duration>,
    making: Duration,
    transfer_rate: Option<u64>,
}

/// How a transfer stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// Since the cut.
    pub(crate) elapsed: Duration,
    /// Since the transfer began.
    pub(crate) transferring: Duration,
    /// Bytes of the image that went out.
    pub(crate) sent: u64,
    /// Bytes of the whole image, if they are known.
    pub(crate) size: Option<u64>,
}

/// How fast the stream grows, over the last one to two seconds.
#[derive(Debug)]
pub(crate) struct WriteRate {
    older: (Offset, Timestamp),
    newer: (Offset, Timestamp),
}

impl SyncRecord {
    /// An image took so long to be made.
    pub(crate) fn note_made(&mut self, making: Duration) {
        self.making = making;
    }

    pub(crate) fn note_success(&mut self, progress: Progress) {
        self.note_rate(progress);
        self.duration = Some(progress.elapsed);
    }

    /// A sync that failed on its way tells how long it would have taken, or at least how long it took.
    pub(crate) fn note_failure(&mut self, progress: Progress) {
        self.note_rate(progress);
        let whole = progress.size.zip(self.transfer_rate).and_then(|(size, rate)| time_for(size, rate));
        let expected = whole.map_or(progress.elapsed, |whole| self.making.saturating_add(whole));
        self.note_outlasted(expected.max(progress.elapsed));
    }

    /// Its output limit ended a sync after so long, and nobody saw how much was missing. Had the next limit room for
    /// so long a sync and no more, that would fail as well, by what a replica takes to load, or by a load a little
    /// higher.
    pub(crate) fn note_over_limit(&mut self, elapsed: Duration) {
        self.note_outlasted(elapsed.saturating_add(elapsed / 2));
    }

    /// A sync that failed would have been under way for so long.
    fn note_outlasted(&mut self, expected: Duration) {
        self.duration = self.duration.max(Some(expected));
    }

    /// Whether the next sync will fail, as far as is known.
    pub(crate) fn forecast(&self, write_rate: u64, limit: OutputLimit) -> Option<SyncForecast> {
        judge(self.duration?, self.transfer_rate, write_rate, limit)
    }

    fn note_rate(&mut self, progress: Progress) {
        if progress.sent > 0 {
            self.transfer_rate = rate(progress.sent, progress.transferring).or(self.transfer_rate);
        }
    }
}

impl WriteRate {
    pub(crate) const fn new(at: Offset, now: Timestamp) -> Self {
        Self { older: (at, now), newer: (at, now) }
    }

    /// The stream ends at `end`.
    pub(crate) fn note(&mut self, end: Offset, now: Timestamp) {
        if now.saturating_since(self.newer.1) >= RATE_SPAN {
            self.older = self.newer;
            self.newer = (end, now);
        }
    }

    /// Bytes a second.
    pub(crate) fn at(&self, end: Offset, now: Timestamp) -> u64 {
        let (offset, since) = self.older;
        rate(end.saturating_since(offset), now.saturating_since(since)).unwrap_or(0)
    }
}

/// The forecast of a sync, if it would fail.
fn judge(
    duration: Duration,
    transfer_rate: Option<u64>,
    write_rate: u64,
    limit: OutputLimit,
) -> Option<SyncForecast> {
    let unsent = bytes_in(duration, write_rate);
    let over_soft = limit.soft.and_then(|soft| time_over(soft, unsent, transfer_rate, write_rate));
    let catches_up = write_rate == 0 || transfer_rate.is_none_or(|rate| rate > write_rate);
    let needed = OutputLimit {
        hard: limit.hard.map(|hard| hard.max(unsent.saturating_add(1))),
        soft: limit.soft.map(|soft| match over_soft {
            Some(over) if over > soft.lasting => SoftLimit { lasting: whole_seconds(over), ..soft },
            _ => soft,
        }),
    };
    if catches_up && needed == limit {
        return None;
    }
    let needed = catches_up.then_some(needed);
    Some(SyncForecast { duration, write_rate, transfer_rate, unsent, limit, needed })
}

/// For how long a replica is over the soft limit: from when the stream behind its snapshot reaches it, until it has
/// caught up so far.
fn time_over(soft: SoftLimit, unsent: u64, transfer_rate: Option<u64>, write_rate: u64) -> Option<Duration> {
    let excess = unsent.checked_sub(soft.bytes)?;
    let filling = time_for(excess, write_rate)?;
    let net = transfer_rate.and_then(|rate| rate.checked_sub(write_rate));
    let draining = net.and_then(|net| time_for(excess, net)).unwrap_or_default();
    Some(filling.saturating_add(draining))
}

fn bytes_in(span: Duration, rate: u64) -> u64 {
    let bytes = u128::from(rate).saturating_mul(span.as_millis()) / 1000;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// `None` if it takes for ever.
fn time_for(bytes: u64, rate: u64) -> Option<Duration> {
    let millis = (u128::from(bytes) * 1000).checked_div(u128::from(rate))?;
    u64::try_from(millis).ok().map(Duration::from_millis)
}

/// `None` if no time has passed.
fn rate(bytes: u64, span: Duration) -> Option<u64> {
    let rate = (u128::from(bytes) * 1_000_000_000).checked_div(span.as_nanos())?;
    Some(u64::try_from(rate).unwrap_or(u64::MAX))
}

/// Settings are told in seconds.
fn whole_seconds(span: Duration) -> Duration {
    let up = u64::from(span.subsec_nanos() > 0);
    Duration::from_secs(span.as_secs().saturating_add(up))
}

impl Display for SyncForecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { duration, write_rate, unsent, limit, .. } = self;
        write!(
            f,
            "a sync is expected to take {duration:.1?} while {write_rate} bytes a second are written: "
        )?;
        write!(f, "{unsent} bytes would wait for the replica")?;
        let Some(needed) = self.needed else {
            let rate = self.transfer_rate.unwrap_or(0);
            return write!(f, ", which takes only {rate} a second: no setting helps, write more slowly");
        };
        if let (Some(hard), true) = (needed.hard, needed.hard != limit.hard) {
            write!(f, "; raise the hard output limit from {} to {hard} bytes", limit.hard.unwrap_or(0))?;
        }
        if let (Some(soft), true) = (needed.soft, needed.soft != limit.soft) {
            let SoftLimit { bytes, lasting } = soft;
            write!(
                f,
                "; allow the soft output limit of {bytes} bytes to be exceeded for {} s",
                lasting.as_secs()
            )?;
        }
        Ok(())
    }
}

/// Long enough that single writes even out, short enough to follow a load that changes.
const RATE_SPAN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    const MB: u64 = 1_000_000;

    const fn limit(hard: u64, soft: Option<(u64, u64)>) -> OutputLimit {
        let soft = match soft {
            Some((bytes, seconds)) => Some(SoftLimit { bytes, lasting: Duration::from_secs(seconds) }),
            None => None,
        };
        OutputLimit { hard: Some(hard), soft }
    }

    fn at(bytes: u64) -> Offset {
        Offset::new(bytes).unwrap()
    }

    fn second(count: u64) -> Timestamp {
        Timestamp::from_origin(Duration::from_secs(count))
    }

    const EIGHT_SECONDS: Duration = Duration::from_secs(8);

    /// 8 s at 100 MB/s are 800 MB: too many at the limit, enough below it.
    #[test]
    fn a_sync_fails_from_the_byte_that_reaches_the_hard_limit() {
        assert_eq!(judge(EIGHT_SECONDS, None, 100 * MB, limit(800 * MB + 1, None)), None);
        let forecast = judge(EIGHT_SECONDS, None, 100 * MB, limit(800 * MB, None)).unwrap();
        assert_eq!(forecast.unsent, 800 * MB);
        assert_eq!(forecast.needed, Some(limit(800 * MB + 1, None)));
        assert_eq!(judge(EIGHT_SECONDS, None, 100 * MB, forecast.needed.unwrap()), None);
    }

    /// Above 200 MB from 2 s to 8 s, and for 6 s more at a net 100 MB/s: 12 s.
    #[test]
    fn a_soft_limit_counts_until_the_replica_has_caught_up_below_it() {
        let judge = |seconds| {
            judge(EIGHT_SECONDS, Some(200 * MB), 100 * MB, limit(900 * MB, Some((200 * MB, seconds))))
        };
        assert_eq!(judge(12), None);
        let forecast = judge(11).unwrap();
        assert_eq!(forecast.needed, Some(limit(900 * MB, Some((200 * MB, 12)))));
        let advice = "bytes would wait for the replica; allow the soft output limit of 200000000 bytes to be \
            exceeded for 12 s";
        assert!(forecast.to_string().ends_with(advice), "{forecast}");
    }

    /// Above 200 MB for 6.25 s, and as long again.
    #[test]
    fn a_soft_limit_that_just_suffices_is_not_rounded_up() {
        let soft = SoftLimit { bytes: 200 * MB, lasting: Duration::from_millis(12_500) };
        let limit = OutputLimit { hard: None, soft: Some(soft) };
        assert_eq!(judge(Duration::from_millis(8250), Some(200 * MB), 100 * MB, limit), None);
    }

    #[test]
    fn no_limit_helps_a_replica_that_takes_less_than_is_written() {
        let forecast = judge(EIGHT_SECONDS, Some(100 * MB), 100 * MB, limit(u64::MAX, None)).unwrap();
        assert_eq!(forecast.needed, None);
        assert!(forecast.to_string().ends_with("no setting helps, write more slowly"), "{forecast}");
    }

    #[test]
    fn a_quiet_stream_fails_nobody() {
        assert_eq!(judge(Duration::MAX, None, 0, limit(1, Some((1, 0)))), None);
        assert_eq!(judge(Duration::MAX, Some(0), 0, limit(1, None)), None, "though its replica took nothing");
    }

    /// Dropped at 2.56 s by a limit of 256 MB: with the size of the image known, all of it is known.
    #[test]
    fn a_failed_sync_tells_how_long_it_would_have_taken() {
        let cut_short = Duration::from_millis(2560);
        let size = Some(1600 * MB);
        let progress = Progress { elapsed: cut_short, transferring: cut_short, sent: 512 * MB, size };
        let mut record = SyncRecord::default();
        record.note_failure(progress);
        let forecast = record.forecast(100 * MB, limit(256 * MB, None)).unwrap();
        assert_eq!((forecast.duration, forecast.transfer_rate), (EIGHT_SECONDS, Some(200 * MB)));
        let text = forecast.to_string();
        assert!(text.contains("raise the hard output limit from 256000000 to 800000001 bytes"), "{text}");

        let mut record = SyncRecord::default();
        record.note_failure(Progress { size: None, ..progress });
        assert_eq!(record.forecast(100 * MB, limit(256 * MB, None)).unwrap().duration, cut_short);
    }

    #[test]
    fn a_success_corrects_what_failures_made_expect() {
        let progress =
            Progress { elapsed: EIGHT_SECONDS, transferring: EIGHT_SECONDS, sent: 800 * MB, size: None };
        let mut record = SyncRecord::default();
        record.note_failure(progress);
        record.note_failure(Progress { elapsed: Duration::from_secs(1), ..progress });
        assert_eq!(record.duration, Some(EIGHT_SECONDS), "a link that broke early says nothing");
        record.note_success(Progress { elapsed: Duration::from_secs(3), ..progress });
        assert_eq!(record.duration, Some(Duration::from_secs(3)));
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut rate = WriteRate::new(at(0), second(0));
        assert_eq!(rate.at(at(500), second(0)), 0, "no time has passed");
        for count in 1..=10 {
            rate.note(at(count * 100), second(count));
        }
        assert_eq!(rate.at(at(1000), second(10)), 100);
        rate.note(at(1000), second(20));
        rate.note(at(1000), second(30));
        assert_eq!(rate.at(at(1000), second(30)), 0);
    }
}
