use std::time::Duration;

use headwater::Timestamp;

/// The host's clock: it may stand still, jump forward, and once in a while tell a time that has passed.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    ahead: Duration,
    /// What it tells while it stands still, and until when it does.
    frozen: Option<(Timestamp, Duration)>,
    /// By how much the time told is too early, from the next step in which it is told to the end of that.
    backward: Duration,
    was_told: bool,
    latest: Timestamp,
}

impl Clock {
    /// The time to be told to the primary, with a call that follows.
    pub(crate) fn read(&mut self, now: Duration) -> Timestamp {
        self.was_told = true;
        let told = self.face(now).since_origin().saturating_sub(self.backward);
        let told = Timestamp::from_origin(told);
        self.latest = self.latest.max(told);
        told
    }

    /// The host looks at what is due by itself before each step, so no time passes within one.
    pub(crate) fn end_step(&mut self) {
        if std::mem::take(&mut self.was_told) {
            self.backward = Duration::ZERO;
        }
    }

    fn face(&self, now: Duration) -> Timestamp {
        match self.frozen {
            Some((at, until)) if now < until => at,
            _ => Timestamp::from_origin(now + self.ahead),
        }
    }

    /// The latest time told: a clock that goes back counts as one that stands still.
    pub(crate) fn latest(&self) -> Timestamp {
        self.latest
    }

    /// The true time at which it will tell `at`.
    pub(crate) fn true_time(&self, at: Timestamp) -> Duration {
        at.since_origin().saturating_sub(self.ahead).max(self.thaws_at())
    }

    /// Until when it stands still, or did.
    pub(crate) fn thaws_at(&self) -> Duration {
        self.frozen.map_or(Duration::ZERO, |(_, until)| until)
    }

    pub(crate) fn freeze(&mut self, now: Duration, until: Duration) {
        self.frozen = Some((self.face(now), until));
    }

    pub(crate) fn thaw(&mut self) {
        (self.frozen, self.backward) = (None, Duration::ZERO);
    }

    pub(crate) fn jump(&mut self, ahead: Duration) {
        self.ahead += ahead;
    }

    pub(crate) fn go_back(&mut self, by: Duration) {
        self.backward = by;
    }
}
