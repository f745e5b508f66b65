//! The simulator: one real `Primary`, one to seven replicas, and a network and a clock that fail, all in one loop.
//!
//! A run is determined by its seed, which draws the options (printed with a failure) and every fault. After each
//! step all that must hold is checked, against a model that knows every byte. Then the faults stop, and everyone
//! has to come into step again. The letters in the messages (S1, B3, L5 …) name what was promised:
//!
//! | | |
//! | --- | --- |
//! | S1, S2, S3 | no false byte, no false +CONTINUE, no image of another offset |
//! | S5, S6, S8, S10, S11 | whole units, one id for one history, no ack believed past what was lent, no event about the departed, all in step at last |
//! | B1, B2, B3 | memory, what the backlog keeps, the output limit |
//! | L4, L5, L7 | who may resume does, nobody is resynced for ever, everyone comes back |
//! | D1 | the same seed, the same outputs |
//!
//! ```text
//! cargo test --test sim                                        120 seeds
//! SIM_SEED=17 cargo test --test sim -- --nocapture             one seed, with its trace
//! SIM_SEEDS=5000 cargo test --release --test sim -- --nocapture   many
//! ```
//!
//! To read it start with `world.rs`, the loop. `options.rs` and `fault.rs` tell what differs between runs;
//! `host/` drives the primary as a datastore does and keeps the account that `host/checks.rs` compares with;
//! `replica/` speaks the wire; `model.rs` is the truth. What it found is kept in `regressions.rs`.

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
mod truth;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use progress::Progress;
use world::World;

#[test]
fn every_seed_keeps_every_promise() {
    if let Some(seed) = variable("SIM_SEED") {
        run(seed, true);
        return;
    }
    let seeds = variable("SIM_SEEDS").unwrap_or(NORMAL_SEEDS);
    let mut progress = Progress::new(seeds);
    for seed in 0..seeds {
        let world = run(seed, false);
        if seed % REPEAT_EVERY == 0 {
            let (first, second) = (world.env.journal.hash(), run(seed, false).env.journal.hash());
            assert_eq!(first, second, "D1: seed {seed} differs from itself");
        }
        progress.add(&world);
    }
    progress.print_coverage();
    // A fault that can't happen any more is a gap in the test.
    let missing = progress.missing();
    assert!(seeds < NORMAL_SEEDS || missing.is_empty(), "these never happened: {missing:?}");
}

/// Runs one seed, and tells all about it if it fails.
fn run(seed: u64, echo: bool) -> World {
    let mut world = World::new(seed, echo);
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

const NORMAL_SEEDS: u64 = 120;

/// Every so many seeds one is run twice.
const REPEAT_EVERY: u64 = 20;
