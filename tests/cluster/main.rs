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
//! | S7, L1, L2 | no wait is told of more than hold its write, by connections; each ends once, in time, and with its node's role |
//! | S8 | nobody is dropped as a liar but who lied |
//! | S9 | nobody writes while it follows, hands over, or has too few good replicas |
//! | S12 | offsets don't go back under one id, and end in silence |
//! | fences | each ends once, in time, and as applied only where it is |
//! | handovers | who is to take over has everything |
//! | divergence | who loses what it wrote is told, and told no less than the truth |
//! | L4 | no transfer stands still for longer than the timeout, and no stream for long |
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
//! `break_things.rs` what is done to a cluster, `strangers.rs` and `deceit.rs` who speaks the wire and means no good;
//! `serve.rs` and `follow.rs` are the two halves of a host, `transfer.rs`, `disk.rs`, `waits.rs` and `gate.rs` parts of them; `truth.rs` knows what is so,
//! and `checks.rs` and `flow.rs` compare with it.

mod act;
mod break_things;
mod checks;
#[path = "../sim/host/clock.rs"]
mod clock;
mod clocks;
mod config;
mod deceit;
mod disk;
#[path = "../sim/draw.rs"]
mod draw;
mod fault;
#[path = "../sim/faults.rs"]
mod faults;
mod finish;
mod flow;
mod follow;
mod gate;
mod handover;
mod host;
mod image;
mod job;
#[path = "../sim/journal.rs"]
mod journal;
mod loss;
mod network;
mod options;
#[path = "../sim/progress.rs"]
mod progress;
mod readers;
mod restart;
#[path = "../sim/rng.rs"]
mod rng;
#[path = "../sim/seeds.rs"]
mod seeds;
mod serve;
#[path = "../sim/shrink.rs"]
mod shrink;
mod strangers;
mod transfer;
mod truth;
mod waits;
mod world;

/// Each run ends with all in step.
#[test]
fn every_cluster_keeps_every_promise() {
    seeds::run_them();
}
