//! Configurations in which much happens within two hundred calls.

use std::time::Duration;

use headwater::{Backoff, Config, Heartbeat, MinReplicas, Offset, OutputLimit, PinBudget, SoftLimit};

use crate::rng::Rng;

/// What histories are about. Each draws its settings from a range of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Family {
    /// Little is allowed of anything.
    Tight,
    /// Nobody is dropped for being slow: replicas live long, and many callers wait.
    Patient,
}

pub(crate) fn draw(family: Family, rng: &mut Rng) -> Config {
    let mut config = Config::default();
    for setting in 0..SETTINGS {
        change(&mut config, setting, family, rng);
    }
    // A soft limit above the hard one is for `reconfigure` to refuse.
    if config.check().is_err() {
        config.output_limit.soft = None;
    }
    config
}

/// Another value for one or two settings, which may be one that can't work.
pub(crate) fn vary(config: &Config, family: Family, rng: &mut Rng) -> Config {
    let mut config = config.clone();
    if rng.chance(15) {
        spoil(&mut config, rng);
    } else {
        for _ in 0..rng.within(1, 2) {
            let setting = rng.upto(SETTINGS - 1);
            change(&mut config, setting, family, rng);
        }
    }
    config
}

fn change(config: &mut Config, setting: u64, family: Family, rng: &mut Rng) {
    let is_tight = family == Family::Tight;
    match setting {
        0 => {
            let most = rng.one_of([3000, 3000, 3000, 40_000]);
            config.backlog_capacity = rng.size(1, if is_tight { 300 } else { most });
        }
        1 => config.output_limit = limit(is_tight, rng),
        2 => config.resume_pins = pins(rng),
        3 => config.min_replicas = gate(rng),
        4 => config.ack_request = rng.chance(80).then(|| vec![b'?'; rng.size(1, 9)].into()),
        5 => config.heartbeat = rng.chance(60).then(|| heartbeat(rng)),
        6 => config.keep_alive = rng.millis(100, 1500),
        7 => config.replica_timeout = if is_tight { rng.millis(500, 4000) } else { rng.millis(5000, 60_000) },
        8 => config.snapshot_delay = if rng.chance(50) { Duration::ZERO } else { rng.millis(0, 900) },
        9 => {
            config.snapshot_timeout = if is_tight { rng.millis(300, 3000) } else { rng.millis(2000, 20_000) }
        }
        10 => config.sync_backoff = rng.chance(75).then(|| backoff(rng)),
        _ => change_bound(config, setting, is_tight, rng),
    }
}

fn change_bound(config: &mut Config, setting: u64, is_tight: bool, rng: &mut Rng) {
    match setting {
        11 => config.max_transfers = rng.size(1, 3),
        12 => config.max_waiters = if is_tight { rng.size(1, 6) } else { rng.size(2, 20) },
        13 => config.max_replicas = if is_tight || rng.chance(20) { rng.size(1, 6) } else { rng.size(4, 10) },
        14 if is_tight || rng.chance(80) => config.max_unit = unit_bound(rng),
        14 => config.max_unit = rng.size(15_000, 50_000),
        15 => config.max_send = rng.size(1, 300),
        _ => {
            let ttl = if is_tight { rng.millis(0, 1500) } else { rng.millis(1000, 20_000) };
            config.backlog_ttl = rng.chance(70).then_some(ttl);
        }
    }
}

fn limit(is_tight: bool, rng: &mut Rng) -> OutputLimit {
    let most = if is_tight || rng.chance(20) {
        rng.one_of([300, 700, 700, 4000])
    } else {
        rng.one_of([20_000, 20_000, 100_000])
    };
    let hard = rng.chance(80).then(|| rng.within(1, most));
    let longest = rng.one_of([0, 300, 2000]);
    let soft = rng.chance(70).then(|| SoftLimit {
        bytes: rng.within(1, hard.unwrap_or(most / 2)),
        lasting: rng.millis(0, longest),
    });
    OutputLimit { hard, soft }
}

fn pins(rng: &mut Rng) -> PinBudget {
    let lasting = if rng.chance(10) { Duration::MAX } else { rng.millis(0, 6000) };
    let most = rng.one_of([20, 300, 1200, 20_000]);
    PinBudget { bytes: rng.within(0, most), lasting }
}

fn gate(rng: &mut Rng) -> MinReplicas {
    let max_lag = if rng.chance(8) { Duration::ZERO } else { rng.millis(1, 3000) };
    MinReplicas { to_write: rng.size(0, 3), max_lag }
}

fn heartbeat(rng: &mut Rng) -> Heartbeat {
    Heartbeat { payload: vec![b'.'; rng.size(1, 9)].into(), period: rng.millis(200, 3000) }
}

fn backoff(rng: &mut Rng) -> Backoff {
    let most = rng.one_of([4000, 4000, 60_000]);
    Backoff { first: rng.millis(0, 900), most: rng.millis(0, most) }
}

fn unit_bound(rng: &mut Rng) -> usize {
    if rng.chance(3) {
        // Then a stream that has begun has no room for the largest unit.
        return usize::try_from(Offset::MAX.get()).expect("addresses have 64 bits");
    }
    rng.size(60, 1500)
}

fn spoil(config: &mut Config, rng: &mut Rng) {
    match rng.upto(9) {
        0 => config.backlog_capacity = 0,
        1 => config.output_limit.hard = Some(0),
        2 => {
            config.output_limit =
                OutputLimit { hard: Some(100), soft: Some(SoftLimit { bytes: 101, lasting: Duration::ZERO }) }
        }
        3 => config.ack_request = Some(vec![].into()),
        4 => config.heartbeat = Some(Heartbeat { payload: vec![1].into(), period: Duration::ZERO }),
        5 => config.keep_alive = Duration::ZERO,
        6 => config.max_unit = 0,
        7 => config.max_send = 0,
        8 => config.max_unit = usize::MAX,
        _ => {
            config.max_unit = 5;
            config.ack_request = Some(vec![b'?'; 6].into());
            config.heartbeat = None;
        }
    }
}

/// How many settings `change` knows.
const SETTINGS: u64 = 17;
