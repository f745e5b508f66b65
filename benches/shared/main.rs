//! What it costs to share a node among threads: their appends next to a locked primary and to a locked `Vec<u8>`, and
//! how long a caller of `wait` sleeps on after the ack that ends it, next to a condition variable that wakes all.
//!
//! `cargo bench --bench shared` measures everything with criterion. `cargo bench --bench shared -- ratios` runs
//! subject and yardstick in turn instead, and prints one table of what was promised.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a benchmark of threads reads the clock"
)]

mod appends;
mod logs;
mod ratios;
mod replicas;
#[path = "../support/mod.rs"]
mod support;
mod wakes;

use std::env;

use criterion::{Criterion, Throughput};

use support::bench;
use wakes::{Parked, WakesAll};

fn main() {
    if env::args().any(|argument| argument == "ratios") {
        return support::print(&ratios::targets());
    }
    let mut criterion = support::criterion();
    bench_appends(&mut criterion);
    bench_wakes(&mut criterion);
    criterion.final_summary();
}

fn bench_appends(criterion: &mut Criterion) {
    for threads in THREADS {
        let mut group = criterion.benchmark_group(format!("append 64 B: {threads} threads"));
        let each = Throughput::Elements(1);
        for senders in SENDERS {
            bench(&mut group, &format!("{senders} senders"), each.clone(), || {
                appends::shared(threads, senders)
            });
        }
        bench(&mut group, "locked primary", each.clone(), || appends::locked_primary(threads));
        bench(&mut group, "locked bytes", each, || appends::locked_bytes(threads));
    }
}

fn bench_wakes(criterion: &mut Criterion) {
    for callers in CALLERS {
        let mut group = criterion.benchmark_group(format!("wake one: {callers} wait"));
        bench(&mut group, "shared", Throughput::Elements(1), || wakes::work::<Parked>(callers));
        bench(&mut group, "condvar", Throughput::Elements(1), || wakes::work::<WakesAll>(callers));
    }
}

const THREADS: [usize; 4] = [1, 2, 4, 8];
const SENDERS: [usize; 3] = [0, 1, 8];
const CALLERS: [usize; 3] = [1, 100, 10_000];
