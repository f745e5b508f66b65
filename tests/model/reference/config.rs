use std::time::Duration;

use headwater::{Config, ConfigError, Offset};

use super::stream::Overdue;
use super::{Life, Reference, earlier};

impl Reference {
    /// All settings at once. Whoever a lower limit finds late is dropped now; what a shorter period makes due earlier
    /// comes earlier.
    pub(super) fn reconfigure(
        &mut self,
        config: &Config,
        now: headwater::Timestamp,
    ) -> Result<(), ConfigError> {
        check(config)?;
        self.now = self.now.max(now);
        let period = |config: &Config| config.heartbeat.as_ref().map(|beat| beat.period);
        let beats_anew = period(config) != period(&self.config);
        self.has_released = true;
        // Those who wait had none asked for, or by what replicas did not understand.
        let asks_anew = config.ack_request != self.config.ack_request;
        self.outbox.acks_wanted |= asks_anew && !self.waiters.is_empty();
        self.config = config.clone();
        self.judge_all(Overdue::Goes);
        self.enforce_pins(Overdue::Goes);
        if self.config.sync_backoff.is_none() {
            self.forgive_failures();
        }
        if beats_anew {
            self.timers.heartbeat_at = self.first_heartbeat();
        }
        self.hasten();
        self.do_what_is_due();
        Ok(())
    }

    fn forgive_failures(&mut self) {
        self.failures.clear();
        for replica in &mut self.replicas {
            if let Life::Waiting { not_before } = &mut replica.life {
                *not_before = None;
            }
        }
    }

    fn hasten(&mut self) {
        let after = |span: Duration| self.now.checked_add(span);
        if let Some(at) = self.timers.keep_alive_at {
            self.timers.keep_alive_at = earlier(Some(at), after(self.config.keep_alive));
        }
        if self.replicas.iter().any(super::Replica::is_waiting) {
            self.timers.ask_at = earlier(self.timers.ask_at, after(self.config.snapshot_delay));
        }
    }
}

/// The first setting that can't work.
fn check(config: &Config) -> Result<(), ConfigError> {
    let beat = config.heartbeat.as_ref();
    let soft = config.output_limit.soft.map(|soft| soft.bytes);
    let zeros = [
        ("backlog_capacity", config.backlog_capacity == 0),
        ("output_limit.hard", config.output_limit.hard == Some(0)),
        ("output_limit.soft", soft == Some(0)),
        ("ack_request", config.ack_request.as_ref().is_some_and(|request| request.is_empty())),
        ("heartbeat.payload", beat.is_some_and(|beat| beat.payload.is_empty())),
        ("heartbeat.period", beat.is_some_and(|beat| beat.period.is_zero())),
        ("keep_alive", config.keep_alive.is_zero()),
        ("replica_timeout", config.replica_timeout.is_zero()),
        ("snapshot_timeout", config.snapshot_timeout.is_zero()),
        ("max_transfers", config.max_transfers == 0),
        ("max_waiters", config.max_waiters == 0),
        ("max_replicas", config.max_replicas == 0),
        ("max_unit", config.max_unit == 0),
        ("max_send", config.max_send == 0),
    ];
    if let Some((setting, _)) = zeros.into_iter().find(|(_, is_zero)| *is_zero) {
        return Err(ConfigError::Zero { setting });
    }
    for (setting, bytes) in [("backlog_capacity", config.backlog_capacity), ("max_unit", config.max_unit)] {
        if bytes as u64 > Offset::MAX.get() {
            return Err(ConfigError::TooLarge { setting, bytes: bytes as u64 });
        }
    }
    if let (Some(soft), Some(hard)) = (soft, config.output_limit.hard)
        && soft > hard
    {
        return Err(ConfigError::SoftAboveHard { soft, hard });
    }
    check_payloads(config)
}

fn check_payloads(config: &Config) -> Result<(), ConfigError> {
    let max_unit = config.max_unit;
    let heartbeat = config.heartbeat.as_ref().map_or(0, |beat| beat.payload.len());
    let request = config.ack_request.as_ref().map_or(0, |request| request.len());
    for (setting, bytes) in [("heartbeat", heartbeat), ("ack_request", request)] {
        if bytes > max_unit {
            return Err(ConfigError::PayloadTooLarge { setting, bytes, max_unit });
        }
    }
    Ok(())
}
