//! L5: nobody is given one snapshot after the other. Absences are all that goes wrong here.

use std::time::Duration;

use headwater::{OutputLimit, SoftLimit};

use crate::fault::Fault;
use crate::options::Options;
use crate::rng::Rng;
use crate::shrink;
use crate::world::World;

/// redis#11534, redis#2315, redis#15447, valkey#3044, valkey#2119: one full resync after the other.
#[test]
fn replicas_are_resynced_no_more_often_than_their_absences_account_for() {
    let (mut resumes, mut snapshots, mut gaps) = (0, 0, 0);
    let seeds = crate::seeds::variable("SIM_SEEDS").map_or(SEEDS, |seeds| SEEDS.max(seeds / 10));
    for seed in 0..seeds {
        let world = World::with_options(seed, options(&mut Rng::new(seed)));
        let world = shrink::run(world).unwrap_or_else(|failed| panic!("seed {seed}: {}", failed.promise));
        let syncs = world.syncs();
        // One for each that comes, one more for each that is cut off before it has all of it, and one for each
        // absence in which more was written than the backlog covers.
        let most = syncs.replicas as u64 + syncs.failed + syncs.gaps;
        assert!(syncs.full <= most, "L5: seed {seed}: {syncs:?}");
        assert_eq!(syncs.over_limit, 0, "L5: seed {seed}: no snapshot takes as long as the limit allows");
        (resumes, snapshots, gaps) = (resumes + syncs.resumed, snapshots + syncs.full, gaps + syncs.gaps);
    }
    assert!(resumes > snapshots && snapshots > seeds && gaps > 0, "{resumes}, {snapshots}, {gaps}");
}

/// The backlog covers most absences, and the limit what is written until a transfer that is stuck is given up.
fn options(rng: &mut Rng) -> Options {
    let mut options = Options::draw(rng);
    let config = &mut options.config;
    config.backlog_capacity = COVERED;
    config.backlog_ttl = None;
    config.output_limit = OutputLimit {
        hard: Some(4 * COVERED as u64),
        soft: rng.chance(50).then_some(SoftLimit { bytes: 1, lasting: Duration::from_secs(60) }),
    };
    config.min_replicas.to_write = 0;
    (config.max_unit, config.max_replicas, config.max_send) = (1 << 20, 64, 10_000);
    (config.snapshot_timeout, config.replica_timeout) = (Duration::from_secs(10), Duration::from_secs(15));
    options.steps = 5000;
    options.write_every = 100;
    options.fault_every = 400;
    options.shape.bytes_per_second = options.shape.bytes_per_second.max(200_000);
    options.shape.window = options.shape.window.max(20_000);
    options.switched_off = Fault::ALL.iter().copied().filter(|fault| !PASSING.contains(fault)).collect();
    options
}

const SEEDS: u64 = 10;

/// From a quarter of a minute of writes to a whole one.
const COVERED: usize = 24_000;

/// Faults that keep replicas away for a while, and take nothing from them.
const PASSING: [Fault; 13] = [
    Fault::CutInHandshake,
    Fault::CutInSnapshot,
    Fault::CutInStream,
    Fault::HalfOpen,
    Fault::PartialWrite,
    Fault::Clogged,
    Fault::Paused,
    Fault::Crashed,
    Fault::EveryoneAway,
    Fault::Mute,
    Fault::AckLost,
    Fault::AckRepeated,
    Fault::SnapshotFailed,
];
