use core::time::Duration;

/// A moment on the host's monotonic clock: the time since an origin that the host picks.
///
/// A clock that goes back counts as one that stands still.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(Duration);

impl Timestamp {
    /// The moment `since_origin` after the host's origin.
    pub const fn from_origin(since_origin: Duration) -> Self {
        Self(since_origin)
    }

    /// The time since the host's origin.
    pub const fn since_origin(self) -> Duration {
        self.0
    }

    /// Time from `earlier` to `self`; zero when `earlier` is the later one.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment `span` later, or `None` past the end of time.
    pub const fn checked_add(self, span: Duration) -> Option<Self> {
        match self.0.checked_add(span) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The first moment at which more than `span` has passed since `self`.
    pub(crate) const fn just_past(self, span: Duration) -> Option<Self> {
        match self.checked_add(span) {
            Some(last) => last.checked_add(Duration::from_nanos(1)),
            None => None,
        }
    }
}

/// The earlier of two deadlines, where `None` is never.
pub(crate) fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_goes_back_stands_still() {
        let early = Timestamp::from_origin(Duration::from_secs(1));
        let late = Timestamp::from_origin(Duration::from_secs(3));
        assert_eq!(late.saturating_since(early), Duration::from_secs(2));
        assert_eq!(early.saturating_since(late), Duration::ZERO);
    }

    #[test]
    fn just_past_is_the_first_moment_beyond_a_span() {
        let start = Timestamp::from_origin(Duration::from_secs(1));
        let span = Duration::from_secs(60);
        let past = start.just_past(span).unwrap();
        assert_eq!(past.saturating_since(start), span + Duration::from_nanos(1));
        assert_eq!(start.just_past(Duration::MAX), None);
    }
}
