use core::time::Duration;

use crate::backoff::Backoff;

/// How a [`Replica`](crate::Replica) keeps in touch with its primary. Plain data: [`ReplicaConfig::check`] is called
/// by whoever takes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ReplicaConfig {
    /// How often it acknowledges by itself (R208). Default: 1 s.
    pub ack_period: Duration,
    /// Between two words of the primary before the resume request is answered to: to connect, and for each answer.
    /// Default: 5 s (R155).
    pub answer_timeout: Duration,
    /// The link ends after more than this without a byte from the primary, a line end counted (R154). It should be a
    /// few times the primary's heartbeat period. Default: 60 s.
    pub timeout: Duration,
    /// Between two attempts. The first after a link that was in step for an [`ack_period`](Self::ack_period) comes at once,
    /// each further one later, until something is applied again. Default: up to 1 s, doubling up to 10 s.
    pub backoff: Backoff,
    /// Random bits, drawn once for each node: with them those who lost the same primary don't all come back together.
    /// Default: 0.
    pub seed: u64,
}

impl Default for ReplicaConfig {
    fn default() -> Self {
        Self {
            ack_period: Duration::from_secs(1),
            answer_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(60),
            backoff: Backoff { most: Duration::from_secs(10), ..Backoff::default() },
            seed: 0,
        }
    }
}

/// A [`ReplicaConfig`] that can't work. Nothing has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{setting} must not be zero")]
pub struct ZeroPeriod {
    /// The field's name.
    pub setting: &'static str,
}

impl ReplicaConfig {
    /// Whether a [`Replica`](crate::Replica) takes it.
    ///
    /// # Errors
    ///
    /// [`ZeroPeriod`]: a period of zero would never let the host sleep, and a timeout of zero end every link.
    pub fn check(&self) -> Result<(), ZeroPeriod> {
        let periods = [
            ("ack_period", self.ack_period),
            ("answer_timeout", self.answer_timeout),
            ("timeout", self.timeout),
            ("backoff.first", self.backoff.first),
            ("backoff.most", self.backoff.most),
        ];
        let zero = periods.into_iter().find(|(_, period)| period.is_zero());
        zero.map_or(Ok(()), |(setting, _)| Err(ZeroPeriod { setting }))
    }
}
