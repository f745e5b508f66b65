//! What an ack costs when callers wait for it, next to a scan of all who wait.
//!
//! `cargo bench --bench acks` measures everything with criterion. `cargo bench --bench acks -- ratios` runs subject
//! and yardstick in turn instead, and prints one table of what was promised.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark reads the clock")]

mod gate;
mod nodes;
mod ratios;
#[path = "../support/mod.rs"]
mod support;
mod works;

use std::env;

use criterion::{Criterion, Throughput};

use support::bench;
use works::Pair;

fn main() {
    if env::args().any(|argument| argument == "ratios") {
        return support::print(&ratios::targets());
    }
    let mut criterion = support::criterion();
    bench_pair(&mut criterion, "ack that ends nobody", &works::ENDS_NOBODY);
    bench_pair(&mut criterion, "ack that ends one, new wait", &works::ENDS_ONE);
    bench_pair(&mut criterion, "ack that ends all, each", &works::ENDS_ALL);
    bench_pair(&mut criterion, "ack that ends all and their telling, each", &works::ENDS_ALL_AND_TELLS);
    bench_pair(&mut criterion, "round of waits and acks", &works::ROUND);
    bench_few(&mut criterion);
    bench_gate(&mut criterion);
    criterion.final_summary();
}

fn bench_pair(criterion: &mut Criterion, title: &str, pair: &Pair) {
    for waiters in WAITERS {
        for replicas in [1, 5, 100, 1000] {
            let title = format!("{title}: {waiters} wait, {replicas} replicas");
            let mut group = criterion.benchmark_group(title);
            let scanned = (waiters * replicas <= MOST_SCANNED).then_some(("scan", pair.scanned));
            for (name, case) in [("order", pair.ordered)].into_iter().chain(scanned) {
                bench(&mut group, name, Throughput::Elements(1), || case(waiters, replicas));
            }
        }
    }
}

/// Where it does not matter how many replicas there are.
fn bench_few(criterion: &mut Criterion) {
    for (title, pair) in [
        ("ack that ends one, new wait, equal timeouts", works::ENDS_ONE_WITH_DEADLINE),
        ("ack that ends one, new wait, random timeouts", works::ENDS_ONE_WITH_RANDOM_DEADLINE),
        ("cancel, new wait", works::CANCEL),
        ("wait and time out, equal timeouts", works::EXPIRE),
        ("wait and time out, random timeouts", works::EXPIRE_RANDOM),
        ("time passes, nothing due", works::NOTHING_DUE),
    ] {
        for waiters in WAITERS {
            let mut group = criterion.benchmark_group(format!("{title}: {waiters} wait"));
            for (name, case) in [("order", pair.ordered), ("scan", pair.scanned)] {
                bench(&mut group, name, Throughput::Elements(1), || case(waiters, 5));
            }
        }
    }
}

fn bench_gate(criterion: &mut Criterion) {
    for replicas in [1, 5, 100, 1000] {
        let mut group =
            criterion.benchmark_group(format!("ack, then a look at the gate: {replicas} replicas"));
        bench(&mut group, "count", Throughput::Elements(1), || gate::kept(replicas));
        bench(&mut group, "recount", Throughput::Elements(1), || gate::recounted(replicas));
    }
}

const WAITERS: [usize; 4] = [1, 100, 10_000, 100_000];

/// A scan of more takes longer than anybody has patience for.
const MOST_SCANNED: usize = 10_000_000;
