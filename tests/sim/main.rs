//! The simulator: one real `Primary`, one to seven replicas, and a network and a clock that fail, all in one loop.
//!
//! A run is determined by its seed, which draws the options (printed with a failure) and every fault. After each
//! step all that must hold is checked, against a model that knows every byte. Then the faults stop, and everyone
//! has to come into step again. The letters in the messages (S1, B3, L5 …) name what was promised:
//!
//! | | |
//! | --- | --- |
//! | S1, S2, S3 | no false byte, no false +CONTINUE, no image of another offset |
//! | S4, S7, S8 | no ack believed past what was lent, no wait told of more replicas than hold its write |
//! | S5, S6, S11 | whole units, one id for one history, all in step at last |
//! | S9, S10 | no write let in without enough good replicas, no event about the departed |
//! | B1, B2, B3 | memory, what the backlog keeps, the output limit |
//! | L1, L2, L3 | each wait ends, at its deadline at the latest, and as soon as it can |
//! | L4, L5, L6, L7 | who may resume does, nobody is resynced for ever, everyone comes back |
//! | D1 | the same seed, the same outputs |
//!
//! ```text
//! cargo test --test sim                                        100 seeds
//! SIM_SEED=17 cargo test --test sim -- --nocapture             one seed, with its trace
//! SIM_SEEDS=5000 cargo test --release --test sim -- --nocapture   many
//! ```
//!
//! To read it start with `world.rs`, the loop. `options.rs` and `fault.rs` tell what differs between runs;
//! `host/` drives the primary as a datastore does and keeps the account that `host/checks.rs` compares with;
//! `replica/` speaks the wire; `model.rs` and `truth.rs` are what is so. `spiral.rs` is a
//! kind of run with absences only. What was found is kept in `regressions.rs`.

mod env;
mod fault;
mod host;
mod journal;
mod model;
mod network;
mod options;
mod progress;
mod regressions;
mod replica;
mod rng;
mod spiral;
mod truth;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use progress::Progress;
use world::World;

/// Each run ends with all in step (T2).
#[test]
fn every_seed_keeps_every_promise() {
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
        let hashes = [&world, &again].map(|world| world.env.journal.hash());
        assert_eq!(hashes[0], hashes[1], "D1: seed {seed} differs from itself");
    }
    world
}

/// Runs one seed, and tells all about it if it fails.
fn run(mut world: World, seed: u64) -> World {
    if let Err(failure) = catch_unwind(AssertUnwindSafe(|| world.run())) {
        println!("{}\n{:#?}\nseed {seed} failed", world.env.journal.last_lines(), world.first_options);
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
