//! What the backlog costs, next to the plainest things that could do its work.
//!
//! `cargo bench --bench backlog` measures everything with criterion. `cargo bench --bench backlog -- ratios` runs
//! subject and yardstick in turn instead, and prints one table of their ratios. `HEADWATER_BENCH_LARGE=1` adds
//! backlogs of 1 GiB to both.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark reads the clock")]

mod host;
mod ratios;
mod work;
mod works;
mod yardsticks;

use std::cell::LazyCell;
use std::env;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};

use work::{KIB, MIB, Work, size_name};
use works::{FEEDERS, KEEPERS, SMALL, Timed};
use yardsticks::{MemcpyRing, backlog};

fn main() {
    if env::args().any(|argument| argument == "ratios") {
        return ratios::print();
    }
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .configure_from_args();
    bench_append(&mut criterion);
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
                bench(&mut group, name, Some(size), || make(capacity, size));
            }
        }
    }
}

fn bench_first_fill(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append 64 B for the first time");
    bench(&mut group, "backlog", Some(SMALL), || works::first_fill(|| backlog(64 * MIB)));
    bench(&mut group, "memcpy ring", Some(SMALL), || works::first_fill(|| MemcpyRing::new(64 * MIB)));
}

fn bench_attached(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append 64 B to a primary");
    for replicas in [0, 8, 100] {
        let name = format!("{replicas} replicas");
        bench(&mut group, &name, Some(SMALL), || works::append_attached(replicas));
    }
}

fn bench_command(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("SET of 64 B to a primary");
    bench(&mut group, "encoded into a unit", None, works::write_command);
    bench(&mut group, "encoded before", None, works::append_command);
}

fn bench_fan_out(criterion: &mut Criterion) {
    for replicas in [8, 100] {
        for (title, part) in [("append and flush", Timed::Round), ("flush", Timed::Flushes)] {
            let mut group = criterion.benchmark_group(format!("{title} 64 B to {replicas} replicas"));
            for (name, make) in FEEDERS {
                bench(&mut group, name, None, || make(replicas, part));
            }
        }
    }
}

fn bench_read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read");
    for &capacity in works::capacities() {
        let name = format!("resume in {}", size_name(capacity));
        bench(&mut group, &name, None, || works::resume(capacity));
    }
    bench(&mut group, "gather 16 chunks", None, works::gather);
}

fn bench_let_go(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("let go of 1 MiB out of");
    let pinned = works::most_pinned();
    bench(&mut group, &size_name(pinned), Some(MIB), || works::let_go(pinned));
}

/// Measures one work, which is made only if it is to be measured. `size` is that of one operation, in bytes.
fn bench(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    size: Option<usize>,
    make: impl FnOnce() -> Work,
) {
    let mut work = LazyCell::new(make);
    group.throughput(size.map_or(Throughput::Elements(1), |size| Throughput::Bytes(size as u64)));
    group.bench_function(name, |bencher| bencher.iter_custom(|operations| work.run(operations)));
}
