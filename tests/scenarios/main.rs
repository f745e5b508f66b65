//! The figures of the examples `scenarios` and `read_after_write`, exactly.

#![allow(unreachable_pub, reason = "nothing in a program can be reached from outside")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

#[path = "../../examples/scenarios/chart/mod.rs"]
mod chart;
#[path = "../../examples/scenarios/crash.rs"]
mod crash;
#[path = "../../examples/scenarios/options.rs"]
mod options;
#[path = "../../examples/scenarios/partition.rs"]
mod partition;
#[path = "../../examples/scenarios/scenario.rs"]
mod scenario;
#[path = "../../examples/scenarios/spiral.rs"]
mod spiral;
#[path = "../../examples/scenarios/stall.rs"]
mod stall;
#[path = "../../examples/scenarios/table.rs"]
mod table;
#[allow(dead_code, reason = "other programs use other parts of it")]
#[path = "../../examples/scenarios/world/mod.rs"]
mod world;

mod command_line;
mod figures;
mod keys;
