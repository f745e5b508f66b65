use std::collections::BTreeSet;
use std::time::Duration;

use headwater::{Backoff, Config, Heartbeat, MinReplicas, OutputLimit, PinBudget, SoftLimit, wire};

use crate::fault::Fault;
use crate::network::Shape;
use crate::rng::Rng;

/// How one run differs from another. Drawn from the seed, and printed with it.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) replicas: usize,
    pub(crate) config: Config,
    pub(crate) sending: Sending,
    pub(crate) shape: Shape,
    /// Steps until the faults stop.
    pub(crate) steps: u64,
    /// The longest time between two writes, in milliseconds; and so on.
    pub(crate) write_every: usize,
    pub(crate) fault_every: usize,
    pub(crate) ack_every: usize,
    pub(crate) reconnect_after: usize,
    pub(crate) clients: usize,
    pub(crate) client_every: usize,
    /// The host syncs a file of its own.
    pub(crate) has_disk: bool,
    /// How many snapshots of a hundred fail.
    pub(crate) failing: usize,
    /// How many bytes an image has more than it needs.
    pub(crate) padding: usize,
    /// The most that a replica reads at once.
    pub(crate) gulp: usize,
    /// Faults that stay away from this run: a few at a time find more than all at once.
    pub(crate) switched_off: BTreeSet<Fault>,
}

/// By which of its ways the primary hands out the stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Sending {
    WriteTo,
    Batches,
    ByHand,
}

impl Options {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let replicas = rng.within(1..=7);
        Self {
            replicas,
            config: config(rng, replicas),
            sending: rng.pick(&[Sending::WriteTo, Sending::Batches, Sending::ByHand]),
            shape: shape(rng),
            steps: rng.within(500..=2500) as u64,
            write_every: rng.scaled(20..=4000),
            fault_every: rng.within(100..=3000),
            ack_every: rng.within(100..=1600),
            reconnect_after: rng.within(50..=4000),
            clients: rng.within(0..=6),
            client_every: rng.within(100..=2000),
            has_disk: rng.chance(60),
            failing: rng.pick(&[15, 15, 70]),
            padding: rng.pick(&[0, 2000, 30_000, 60_000]),
            gulp: rng.scaled(16..=1 << 20).max(if rng.chance(10) { 16 } else { 2000 }),
            switched_off: drawn_absent(rng),
        }
    }

    /// For how long faults strike.
    pub(crate) const fn length(&self) -> u64 {
        self.steps
    }

    pub(crate) fn with_length(&self, length: u64) -> Self {
        Self { steps: length, ..self.clone() }
    }

    /// Those of runs in which less happens.
    pub(crate) fn simpler(&self) -> Vec<Self> {
        let fewer = (self.replicas > 1).then(|| Self { replicas: self.replicas - 1, ..self.clone() });
        let alone = (self.clients > 0).then(|| Self { clients: 0, ..self.clone() });
        let faults = Fault::ALL.iter().filter(|fault| fault.is_injected() && self.allows(**fault));
        let without = faults.map(|fault| {
            let switched_off = self.switched_off.iter().chain([fault]).copied().collect();
            Self { switched_off, ..self.clone() }
        });
        fewer.into_iter().chain(alone).chain(without).collect()
    }

    pub(crate) fn allows(&self, fault: Fault) -> bool {
        !self.switched_off.contains(&fault)
    }

    /// Every other replica syncs a file of its own.
    pub(crate) fn replicas_with_disk(&self) -> usize {
        (0..self.replicas).filter(|name| has_disk(*name)).count()
    }

    /// After how much silence a replica gives its primary up, if it ever does while the stream is quiet.
    pub(crate) fn patience(&self) -> Option<Duration> {
        let period = self.config.heartbeat.as_ref()?.period;
        Some(Duration::from_secs(10) + 3 * period)
    }
}

pub(crate) fn has_disk(name: usize) -> bool {
    name.is_multiple_of(2)
}

/// A configuration for so many replicas, from sensible to barely possible.
pub(crate) fn config(rng: &mut Rng, replicas: usize) -> Config {
    let mut config = Config::default();
    let smallest = rng.pick(&[16, 2000, 60_000]);
    config.backlog_capacity = rng.scaled(smallest..=1 << 20);
    config.backlog_ttl = (!rng.chance(20)).then(|| rng.millis(500..=20_000));
    config.output_limit = output_limit(rng);
    config.sync_backoff = (!rng.chance(25)).then(|| backoff(rng));
    config.resume_pins = resume_pins(rng);
    config.min_replicas = min_replicas(rng, replicas);
    config.ack_request = (!rng.chance(25)).then(wire::get_ack);
    config.max_waiters = if rng.chance(80) { 100 } else { rng.within(1..=3) };
    config.max_transfers = if rng.chance(40) { 16 } else { rng.scaled(1..=replicas) };
    config.heartbeat = (!rng.chance(25)).then(|| Heartbeat {
        payload: if rng.chance(70) { wire::heartbeat() } else { wire::get_ack() },
        period: rng.millis(100..=5000),
    });
    config.keep_alive = rng.millis(50..=2000);
    config.replica_timeout = rng.scaled_millis(2000..=30_000);
    config.snapshot_delay = if rng.chance(50) { Duration::ZERO } else { rng.millis(1..=1000) };
    config.snapshot_timeout = rng.millis(500..=20_000);
    config.max_replicas = if rng.chance(80) { 64 } else { replicas.max(2) - 1 };
    config.max_unit = if rng.chance(50) { 1 << 30 } else { rng.scaled(4000..=100_000) };
    config.max_send = rng.scaled(1..=1 << 20).max(if rng.chance(10) { 1 } else { 1000 });
    config
}

/// A network without faults.
pub(crate) const GOOD_SHAPE: Shape =
    Shape { delay: Duration::from_millis(1), bytes_per_second: 100_000_000, window: 1 << 20 };

fn drawn_absent(rng: &mut Rng) -> BTreeSet<Fault> {
    let drawn = Fault::ALL.iter().copied().filter(|fault| rng.chance(absence(*fault)));
    drawn.filter(|fault| fault.is_injected()).collect()
}

/// In how many runs of a hundred a fault stays away. Whatever breaks the history ends all that others lead to.
fn absence(fault: Fault) -> usize {
    match fault {
        Fault::UnitPanicked | Fault::UnitAboveBound | Fault::EveryoneAway => 60,
        _ => 30,
    }
}

fn output_limit(rng: &mut Rng) -> OutputLimit {
    let lowest = rng.pick(&[1, 5000, 100_000]);
    let hard = (!rng.chance(10)).then(|| rng.scaled(lowest..=1 << 20) as u64);
    let soft = rng.chance(60).then(|| SoftLimit {
        bytes: (rng.scaled(1..=1 << 19) as u64).min(hard.unwrap_or(u64::MAX)),
        lasting: if rng.chance(10) { Duration::ZERO } else { rng.scaled_millis(10..=10_000) },
    });
    OutputLimit { hard, soft }
}

fn resume_pins(rng: &mut Rng) -> PinBudget {
    let bytes = rng.pick(&[0, 1000, 100_000, 1 << 22]);
    PinBudget { bytes, lasting: rng.millis(0..=30_000) }
}

/// Off, easily met, or more than there are.
fn min_replicas(rng: &mut Rng, replicas: usize) -> MinReplicas {
    let to_write = if rng.chance(40) { 0 } else { rng.within(1..=replicas.div_ceil(2)) };
    MinReplicas { to_write, max_lag: if rng.chance(5) { Duration::ZERO } else { rng.millis(300..=15_000) } }
}

fn backoff(rng: &mut Rng) -> Backoff {
    let first = if rng.chance(50) { rng.scaled_millis(1..=3000) } else { rng.millis(1000..=6000) };
    Backoff { first, most: if rng.chance(10) { first / 2 } else { first * rng.pick(&[2, 2, 8]) } }
}

fn shape(rng: &mut Rng) -> Shape {
    Shape {
        delay: rng.millis(0..=50),
        bytes_per_second: rng.scaled(10_000..=100_000_000),
        window: rng.scaled(64..=1 << 18).max(if rng.chance(10) { 64 } else { 4000 }),
    }
}
