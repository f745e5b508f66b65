use std::time::Duration;

use headwater::{Backoff, Config, Heartbeat, PinBudget, ReplicaConfig, wire};

use crate::options::{MAX_UNIT, Options};
use crate::rng::Rng;

pub(crate) fn of_primary(options: &Options) -> Config {
    let mut config = Config::default();
    config.backlog_capacity = options.backlog;
    config.backlog_ttl = options.backlog_ttl;
    config.output_limit = options.output_limit;
    config.min_replicas = options.min_replicas;
    config.resume_pins = PinBudget { bytes: options.pinned, lasting: Duration::from_secs(60) };
    config.heartbeat = options.heartbeat.map(|period| Heartbeat { payload: wire::heartbeat(), period });
    config.ack_request = options.asks_for_acks.then(wire::get_ack);
    config.replica_timeout = options.replica_timeout;
    config.max_send = options.max_send;
    config.max_transfers = options.max_transfers;
    config.snapshot_delay = options.snapshot_delay;
    config.sync_backoff = Some(Backoff { first: Duration::from_secs(1), most: BACKOFF_CAP });
    config.max_unit = MAX_UNIT;
    config
}

pub(crate) fn of_replica(options: &Options, rng: &mut Rng) -> ReplicaConfig {
    let mut config = ReplicaConfig::default();
    config.timeout = options.timeout;
    config.backoff.most = BACKOFF_CAP;
    config.seed = rng.next();
    config
}

pub(crate) const BACKOFF_CAP: Duration = Duration::from_secs(10);
