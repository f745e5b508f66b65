use core::time::Duration;

use bytes::Bytes;

use crate::backoff::Backoff;
use crate::good_replicas::MinReplicas;
use crate::history::IdRefused;
use crate::offset::Offset;
use crate::output::OutputLimit;

/// How much replication may keep, and how long it waits for whom. Plain data: [`Primary::new`] checks it.
///
/// # Memory
///
/// However slow replicas are, the stream takes at most the larger of `backlog_capacity` and the bytes of
/// `resume_pins`, the hard output limit as it acts, and one largest unit; to that come two chunks (of a sixteenth of
/// the capacity, from 64 B to 64 KiB), at most four spare ones, 64 bytes for each chunk in the directory, and what is
/// still being let go of in portions. Each replica may hold one chunk more in its batch. Without a hard limit there is
/// no bound.
///
/// A payload that is handed over as [`Bytes`] and kept without a copy counts its length, and 128 bytes in the
/// directory, whatever the size of the buffer that it is a view of. It is let go of as a whole, so the oldest one may
/// add its length to that bound, and a batch may hold one in place of a chunk.
///
/// ```
/// use headwater::{Config, OutputLimit};
///
/// let mut config = Config::default();
/// config.backlog_capacity = 64 << 20;
/// config.output_limit = OutputLimit { hard: Some(1 << 30), soft: None };
/// ```
///
/// [`Primary::new`]: crate::Primary::new
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// Bytes of the stream kept for replicas that come back. Default: 1 MiB.
    ///
    /// It should cover the write rate times the longest absence that must not cost a full resync.
    pub backlog_capacity: usize,
    /// The backlog is let go once no replica has been attached for more than this; `None` is never.
    /// Default: 1 h. What is written afterwards is not counted, so the history gets a new id.
    pub backlog_ttl: Option<Duration>,
    /// What a replica may leave unread before it is dropped. Default: 256 MiB, or 64 MiB for 60 s.
    pub output_limit: OutputLimit,
    /// What is kept for replicas that were lost, so that they resume. Default: 64 MiB for 60 s.
    pub resume_pins: PinBudget,
    /// How many replicas have to be good for a write to be let in. Default: none.
    pub min_replicas: MinReplicas,
    /// What asks replicas to acknowledge at once, for those who wait for them. Default: none, since it must be a unit
    /// that the host's replicas understand (for Redis: [`wire::get_ack`](crate::wire::get_ack)). Without it
    /// waiters end when replicas acknowledge by themselves.
    pub ack_request: Option<Bytes>,
    /// What goes into the stream while replicas are attached, so that they notice a dead link. Default: none,
    /// since it must be a unit that the host's replicas understand (for Redis:
    /// [`wire::heartbeat`](crate::wire::heartbeat)).
    pub heartbeat: Option<Heartbeat>,
    /// How often a replica that waits for its snapshot is told that the link lives. Default: 1 s.
    pub keep_alive: Duration,
    /// A replica is dropped after more than this without a word from it, or without progress of its
    /// transfer. Default: 60 s.
    pub replica_timeout: Duration,
    /// How long the first replica that needs a snapshot waits for others to share it. Default: 0.
    pub snapshot_delay: Duration,
    /// A snapshot fails when the host needs more than this from its cut until it is ready. Default: 1 h.
    pub snapshot_timeout: Duration,
    /// How long a replica is held back whose last sync failed, told apart by its address and port; `None` is not at
    /// all. It waits with keep-alives. Resuming is never held back. Default: up to 1 s, doubling up to 60 s.
    pub sync_backoff: Option<Backoff>,
    /// Replicas that are given a snapshot at once; others wait for theirs. Default: 16.
    pub max_transfers: usize,
    /// Callers that wait at once; one counts until its event is taken. Default: 100,000.
    pub max_waiters: usize,
    /// Replicas attached at once; a dropped one counts until its event is taken. Default: 1,000.
    pub max_replicas: usize,
    /// Bytes in one unit. Default: 1 GiB. A larger one breaks the history: see [`Primary::write`].
    ///
    /// [`Primary::write`]: crate::Primary::write
    pub max_unit: usize,
    /// Bytes lent to one replica by one call of [`Primary::write_to`] or [`Primary::take_batch`], so that
    /// one that is far behind does not hold up a loop. Default: 1 MiB.
    ///
    /// [`Primary::write_to`]: crate::Primary::write_to
    /// [`Primary::take_batch`]: crate::Primary::take_batch
    pub max_send: usize,
}

/// How much of the stream is kept for replicas that were lost, and for how long. Both bounds are for all of them
/// together: the deepest counts. None is kept for one that left cleanly or was dropped by its output limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PinBudget {
    /// Bytes between the place where a replica left off and the end of the stream. With 0 nothing is kept.
    pub bytes: u64,
    /// Since it was lost.
    pub lasting: Duration,
}

/// A unit that goes into the stream at intervals.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Heartbeat {
    /// The unit's bytes: opaque here, counted in the stream like any other.
    pub payload: Bytes,
    /// From one to the next.
    pub period: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            backlog_capacity: 1 << 20,
            backlog_ttl: Some(Duration::from_secs(3600)),
            output_limit: OutputLimit::default(),
            resume_pins: PinBudget { bytes: 64 << 20, lasting: Duration::from_secs(60) },
            min_replicas: MinReplicas::default(),
            ack_request: None,
            heartbeat: None,
            keep_alive: Duration::from_secs(1),
            replica_timeout: Duration::from_secs(60),
            snapshot_delay: Duration::ZERO,
            snapshot_timeout: Duration::from_secs(3600),
            sync_backoff: Some(Backoff::default()),
            max_transfers: 16,
            max_waiters: 100_000,
            max_replicas: 1000,
            max_unit: 1 << 30,
            max_send: 1 << 20,
        }
    }
}

/// A [`Config`] that can't work. Nothing has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A bound of zero would refuse everything, a timeout of zero drop everybody, and a period of zero would never
    /// let the host sleep.
    #[error("{setting} must not be zero")]
    Zero {
        /// The field's name.
        setting: &'static str,
    },
    /// More than the whole stream can hold.
    #[error("{setting} is {bytes}, above {}", Offset::MAX)]
    TooLarge {
        /// The field's name.
        setting: &'static str,
        /// Its value.
        bytes: u64,
    },
    /// The first id is no id.
    #[error(transparent)]
    Id(IdRefused),
    /// A soft limit that can never be reached before the hard one.
    #[error("the soft output limit is {soft} bytes, above the hard one of {hard}")]
    SoftAboveHard {
        /// Bytes of the soft limit.
        soft: u64,
        /// Bytes of the hard limit.
        hard: u64,
    },
    /// A payload of the core's own that is larger than a unit may be.
    #[error("the {setting} has {bytes} bytes, a unit at most {max_unit}")]
    PayloadTooLarge {
        /// The field's name.
        setting: &'static str,
        /// Bytes in its payload.
        bytes: usize,
        /// The bound.
        max_unit: usize,
    },
}

impl Config {
    /// Whether a [`Primary`](crate::Primary) takes it.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] naming the first setting that can't work.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_zeros()?;
        for (setting, bytes) in [("backlog_capacity", self.backlog_capacity), ("max_unit", self.max_unit)] {
            if Offset::new(bytes as u64).is_none() {
                return Err(ConfigError::TooLarge { setting, bytes: bytes as u64 });
            }
        }
        if let (Some(soft), Some(hard)) = (self.output_limit.soft, self.output_limit.hard)
            && soft.bytes > hard
        {
            return Err(ConfigError::SoftAboveHard { soft: soft.bytes, hard });
        }
        self.check_payloads()
    }

    fn check_zeros(&self) -> Result<(), ConfigError> {
        let heartbeat = self.heartbeat.as_ref();
        for (setting, zero) in [
            ("backlog_capacity", self.backlog_capacity == 0),
            ("output_limit.hard", self.output_limit.hard == Some(0)),
            ("output_limit.soft", self.output_limit.soft.is_some_and(|soft| soft.bytes == 0)),
            ("ack_request", self.ack_request.as_ref().is_some_and(Bytes::is_empty)),
            ("heartbeat.payload", heartbeat.is_some_and(|beat| beat.payload.is_empty())),
            ("heartbeat.period", heartbeat.is_some_and(|beat| beat.period.is_zero())),
            ("keep_alive", self.keep_alive.is_zero()),
            ("replica_timeout", self.replica_timeout.is_zero()),
            ("snapshot_timeout", self.snapshot_timeout.is_zero()),
            ("max_transfers", self.max_transfers == 0),
            ("max_waiters", self.max_waiters == 0),
            ("max_replicas", self.max_replicas == 0),
            ("max_unit", self.max_unit == 0),
            ("max_send", self.max_send == 0),
        ] {
            if zero {
                return Err(ConfigError::Zero { setting });
            }
        }
        Ok(())
    }

    fn check_payloads(&self) -> Result<(), ConfigError> {
        let max_unit = self.max_unit;
        let heartbeat = self.heartbeat.as_ref().map(|heartbeat| ("heartbeat", &heartbeat.payload));
        let request = self.ack_request.as_ref().map(|request| ("ack_request", request));
        let too_large = heartbeat.into_iter().chain(request).find(|(_, payload)| payload.len() > max_unit);
        too_large.map_or(Ok(()), |(setting, payload)| {
            Err(ConfigError::PayloadTooLarge { setting, bytes: payload.len(), max_unit })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the primary puts into the stream itself is a unit like any other.
    #[test]
    fn an_own_payload_may_be_as_large_as_a_unit() {
        let mut config = Config { ack_request: Some(Bytes::from_static(b"ack")), ..Config::default() };
        config.heartbeat = Some(Heartbeat { payload: Bytes::from_static(b"beat"), period: Duration::MAX });
        config.max_unit = 4;
        assert_eq!(config.check(), Ok(()));
        config.max_unit = 3;
        let setting = "heartbeat";
        assert_eq!(config.check(), Err(ConfigError::PayloadTooLarge { setting, bytes: 4, max_unit: 3 }));
        config.heartbeat = None;
        assert_eq!(config.check(), Ok(()));
    }
}
