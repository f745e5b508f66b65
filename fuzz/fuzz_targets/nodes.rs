//! Two nodes, their hosts and the network between them: what is written, who leads, what breaks and how. The simulator of
//! clusters judges each step by the data, and has both come in step at last.
#![no_main]
#![allow(dead_code, reason = "the simulator uses all of it")]

#[path = "../../tests/cluster/act.rs"]
mod act;
#[path = "../../tests/cluster/break_things.rs"]
mod break_things;
#[path = "../../tests/cluster/checks.rs"]
mod checks;
#[path = "../../tests/sim/host/clock.rs"]
mod clock;
#[path = "../../tests/cluster/clocks.rs"]
mod clocks;
#[path = "../../tests/cluster/config.rs"]
mod config;
#[path = "../../tests/cluster/deceit.rs"]
mod deceit;
#[path = "../../tests/cluster/disk.rs"]
mod disk;
#[path = "../../tests/sim/draw.rs"]
mod draw;
#[path = "../../tests/cluster/fault.rs"]
mod fault;
#[path = "../../tests/sim/faults.rs"]
mod faults;
#[path = "../../tests/cluster/finish.rs"]
mod finish;
#[path = "../../tests/cluster/flow.rs"]
mod flow;
#[path = "../../tests/cluster/follow.rs"]
mod follow;
#[path = "../../tests/cluster/gate.rs"]
mod gate;
#[path = "../../tests/cluster/handover.rs"]
mod handover;
#[path = "../../tests/cluster/host.rs"]
mod host;
#[path = "../../tests/cluster/image.rs"]
mod image;
#[path = "../../tests/cluster/job.rs"]
mod job;
#[path = "../../tests/sim/journal.rs"]
mod journal;
#[path = "../../tests/cluster/loss.rs"]
mod loss;
#[path = "../../tests/cluster/network.rs"]
mod network;
#[path = "../../tests/cluster/options.rs"]
mod options;
#[path = "../../tests/cluster/readers.rs"]
mod readers;
#[path = "../../tests/cluster/restart.rs"]
mod restart;
#[path = "support/rng.rs"]
mod rng;
#[path = "../../tests/cluster/serve.rs"]
mod serve;
#[path = "../../tests/cluster/strangers.rs"]
mod strangers;
#[path = "../../tests/cluster/transfer.rs"]
mod transfer;
#[path = "../../tests/cluster/truth.rs"]
mod truth;
#[path = "../../tests/cluster/waits.rs"]
mod waits;
#[path = "../../tests/cluster/world.rs"]
mod world;

use libfuzzer_sys::fuzz_target;

use options::Options;
use rng::Rng;
use world::World;

fuzz_target!(|data: &[u8]| {
    let (head, choices) = data.split_at(data.len().min(HEAD));
    let options = Options { nodes: 2, ..Options::draw(&mut Rng::of(head)) };
    let echo = std::env::var_os("SIM_TRACE").is_some();
    let mut world = World::from_parts(Rng::of(head), options, echo);
    for choice in choices.chunks(CHOICE).take(MAX_ACTIONS) {
        while world.next_at() < world.next_action {
            world.step();
        }
        // From here on chance is what was chosen for this action, and for what comes of it.
        world.rng = Rng::of(choice);
        world.step();
    }
    world.reach_agreement();
});

/// Enough for all options.
const HEAD: usize = 48;

const CHOICE: usize = 8;

/// More take long, and find no more.
const MAX_ACTIONS: usize = 200;
