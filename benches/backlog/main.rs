//! What the backlog costs, next to the plainest things that could do its work.
//!
//! `cargo bench --bench backlog` measures everything with criterion. `cargo bench --bench backlog -- ratios` runs
//! subject and yardstick in turn instead, and prints one table of their ratios. `HEADWATER_BENCH_LARGE=1` adds
//! backlogs of 1 GiB to both.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark reads the clock")]

mod host;
mod payload;
mod ratios;
#[path = "../support/mod.rs"]
mod support;
mod works;
mod yardsticks;

use std::env;

use criterion::{Criterion, Throughput};

use payload::{KIB, MIB, size_name};
use support::bench;
use works::{FEEDERS, KEEPERS, SMALL, Timed};
use yardsticks::{MemcpyRing, backlog};

fn main() {
    if env::args().any(|argument| argument == "ratios") {
        return support::print(&ratios::targets());
    }
    let mut criterion = support::criterion();
    bench_append(&mut criterion);
    bench_adopt(&mut criterion);
    bench_first_fill(&mut criterion);
    bench_attached(&mut criterion);
    bench_command(&mut criterion);
    bench_fan_out(&mut criterion);
    bench_read(&mut criterion);
    bench_let_go(&mut criterion);
    criterion.final_summary();
}

fn bench_append(criterion: &mut Criterion) {
    for &capacity in works::capacities() {
        for size in [SMALL, 512, 4 * KIB, 64 * KIB, MIB] {
            let title = format!("append {} to {}", size_name(size), size_name(capacity));
            let mut group = criterion.benchmark_group(title);
            for (name, make) in KEEPERS {
                bench(&mut group, name, Throughput::Bytes(size as u64), || make(capacity, size));
            }
        }
    }
}

fn bench_adopt(criterion: &mut Criterion) {
    for size in [16 * KIB, MIB] {
        let mut group = criterion.benchmark_group(format!("adopt {}", size_name(size)));
        bench(&mut group, "shared", Throughput::Elements(1), || works::adopt(size));
        bench(&mut group, "copied", Throughput::Elements(1), || works::append(backlog(MIB), MIB, size));
    }
}

fn bench_first_fill(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append 64 B for the first time");
    bench(&mut group, "backlog", Throughput::Bytes(SMALL as u64), || works::first_fill(|| backlog(64 * MIB)));
    bench(&mut group, "memcpy ring", Throughput::Bytes(SMALL as u64), || {
        works::first_fill(|| MemcpyRing::new(64 * MIB))
    });
}

fn bench_attached(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append 64 B to a primary");
    for replicas in [0, 8, 100] {
        let name = format!("{replicas} replicas");
        bench(&mut group, &name, Throughput::Bytes(SMALL as u64), || works::append_attached(replicas));
    }
}

fn bench_command(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("SET of 64 B to a primary");
    bench(&mut group, "encoded into a unit", Throughput::Elements(1), works::write_command);
    bench(&mut group, "encoded before", Throughput::Elements(1), works::append_command);
}

fn bench_fan_out(criterion: &mut Criterion) {
    for replicas in [8, 100] {
        for (title, part) in [("append and flush", Timed::Round), ("flush", Timed::Flushes)] {
            let mut group = criterion.benchmark_group(format!("{title} 64 B to {replicas} replicas"));
            for (name, make) in FEEDERS {
                bench(&mut group, name, Throughput::Elements(1), || make(replicas, part));
            }
        }
    }
}

fn bench_read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read");
    for &capacity in works::capacities() {
        let name = format!("resume in {}", size_name(capacity));
        bench(&mut group, &name, Throughput::Elements(1), || works::resume(capacity));
    }
    bench(&mut group, "gather 16 chunks", Throughput::Elements(1), works::gather);
}

fn bench_let_go(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("let go of 1 MiB out of");
    let pinned = works::most_pinned();
    bench(&mut group, &size_name(pinned), Throughput::Bytes(MIB as u64), || works::let_go(pinned));
}
