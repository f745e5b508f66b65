//! What the benches have in common: batches that time themselves, and tables of what was promised.

#![allow(dead_code, reason = "no bench uses all of it")]

pub(crate) mod targets;
mod work;

use std::cell::LazyCell;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};

pub(crate) use targets::{Target, print};
pub(crate) use work::Work;
#[allow(unused_imports, reason = "no bench uses all of it")]
pub(crate) use work::{Random, timed};

pub(crate) fn criterion() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .configure_from_args()
}

/// Measures one work, which is made only if it is to be measured.
pub(crate) fn bench(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    throughput: Throughput,
    make: impl FnOnce() -> Work,
) {
    let mut work = LazyCell::new(make);
    group.throughput(throughput);
    group.bench_function(name, |bencher| bencher.iter_custom(|operations| work.run(operations)));
}
