//! The simulator of clusters: two to seven real `Node`s, each with a host and its data, and a network and a clock that fail,
//! all in one loop.
//!
//! A run is determined by its seed, which draws the options (printed with a failure) and every fault. After each step
//! what must hold is judged by the data, never by the library's own figures. Then the faults stop, one node leads, the
//! others follow, and all have to be in step with equal data. The letters in the messages name what was promised:
//!
//! | | |
//! | --- | --- |
//! | S2, S6 | who claims the same place in the same history holds the same data |
//! | S5 | data changes only by whole units of a leader's, or by a whole snapshot |
//! | S9 | nobody writes while it follows, or hands over |
//! | S12 | offsets don't go back under one id, and end in silence |
//! | fences | each ends once, in time, and as applied only where it is |
//! | handovers | who is to take over has everything |
//! | divergence | who loses what it wrote is told, and told no less than the truth |
//! | S11, L4, L7 | all are in step at last, soon, and stay so without a snapshot |
//! | D1 | the same seed, the same outputs |
//!
//! ```text
//! cargo test --test cluster                                        100 seeds
//! SIM_SEED=17 cargo test --test cluster -- --nocapture             one seed, with its trace
//! SIM_SEEDS=5000 cargo test --release --test cluster -- --nocapture   many
//! ```
//!
//! To read it start with `world.rs`, the loop. `options.rs` and `fault.rs` tell what differs between runs, `act.rs` and
//! `break_things.rs` what is done to a cluster; `serve.rs` and `follow.rs` are the two halves of a host; `truth.rs` knows what is so,
//! and `checks.rs` compares with it.

mod act;
mod break_things;
mod checks;
mod config;
mod fault;
mod finish;
mod follow;
mod handover;
mod host;
mod image;
mod job;
#[path = "../sim/journal.rs"]
mod journal;
mod loss;
mod network;
mod options;
mod progress;
mod readers;
mod restart;
#[path = "../sim/rng.rs"]
mod rng;
mod serve;
mod truth;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use progress::Progress;
use world::World;

/// Each run ends with all in step.
#[test]
fn every_cluster_keeps_every_promise() {
    if let Some(seed) = variable("SIM_SEED") {
        run(World::new(seed, true), seed);
        return;
    }
    let seeds = variable("SIM_SEEDS").unwrap_or(NORMAL_SEEDS);
    let (next, progress) = (AtomicU64::new(0), Mutex::new(Progress::new(seeds)));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| run_all(&next, seeds, &progress));
        }
    });
    let progress = progress.into_inner().expect("all seeds are done");
    progress.print_coverage();
    // A fault that can't happen any more is a gap in the test.
    let missing = progress.missing();
    assert!(seeds < NORMAL_SEEDS || missing.is_empty(), "these never happened: {missing:?}");
}

/// Runs one seed after the other, until none is left or one has failed.
fn run_all(next: &AtomicU64, seeds: u64, progress: &Mutex<Progress>) {
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= seeds || progress.is_poisoned() {
            return;
        }
        let world = catch_unwind(|| run_checked(seed));
        // Once the other thread has failed nobody asks for it any more.
        let Ok(mut progress) = progress.lock() else { return };
        progress.add(&world.unwrap_or_else(|failure| resume_unwind(failure)));
    }
}

/// Runs one seed, and some of them twice.
fn run_checked(seed: u64) -> World {
    let world = run(World::new(seed, false), seed);
    if seed.is_multiple_of(REPEAT_EVERY) {
        let again = run(World::new(seed, false), seed);
        let hashes = [&world, &again].map(|world| world.journal.hash());
        assert_eq!(hashes[0], hashes[1], "D1: seed {seed} differs from itself");
    }
    world
}

/// Runs one seed, and tells all about it if it fails.
fn run(mut world: World, seed: u64) -> World {
    if let Err(failure) = catch_unwind(AssertUnwindSafe(|| world.run())) {
        println!("{}\n{:#?}\nseed {seed} failed", world.journal.last_lines(), world.options);
        resume_unwind(failure);
    }
    world
}

fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

const NORMAL_SEEDS: u64 = 100;

/// Every so many seeds one is run twice.
const REPEAT_EVERY: u64 = 20;

const THREADS: usize = 2;
