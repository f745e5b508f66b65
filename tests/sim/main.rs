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

mod draw;
mod env;
mod fault;
mod faults;
mod host;
mod journal;
mod model;
mod network;
mod options;
mod progress;
mod regressions;
mod replica;
mod rng;
mod seeds;
mod shrink;
mod spiral;
mod truth;
mod world;

/// Each run ends with all in step (T2).
#[test]
fn every_seed_keeps_every_promise() {
    seeds::run_them();
}
