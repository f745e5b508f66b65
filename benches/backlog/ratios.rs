use std::fs;
use std::time::Duration;

use crate::work::{KIB, MIB, Work, size_name};
use crate::works::{self, FEEDERS, KEEPERS, SMALL, Timed};

/// A promise about cost, and how to find out whether it is kept.
struct Target {
    name: String,
    at_most: f64,
    unit: &'static str,
    measure: Box<dyn Fn() -> f64>,
}

/// Measures every target a few times, each time from scratch, and prints a table of the medians.
pub(crate) fn print() {
    print_caches();
    println!("{:62} {:>10} {:>10} {:>18}", "", "at most", "median", "least to most");
    for target in targets() {
        target.print();
    }
}

fn targets() -> Vec<Target> {
    let mut targets: Vec<_> = works::capacities().iter().copied().flat_map(append_targets).collect();
    targets.push(Target::ratio(
        "append 64 B, 100 replicas / none",
        1.1,
        || works::append_attached(100),
        || works::append_attached(0),
    ));
    targets.push(Target::nanos("SET of 64 B, encoded into a unit", 40.0, works::write_command));
    targets.extend(works::capacities().iter().copied().map(resume_target));
    targets.extend(read_targets());
    targets.extend(tail_targets());
    targets
}

/// A copy is bound by the caches or by memory: what is promised differs.
fn append_targets(capacity: usize) -> [Target; 5] {
    let medium = if capacity > MIB { 1.7 } else { 1.3 };
    [(SMALL, 1.25), (512, medium), (4 * KIB, 1.1), (64 * KIB, 1.3), (MIB, 1.1)].map(|(size, at_most)| {
        let [(_, subject), (_, floor), ..] = KEEPERS;
        let name = format!("append {} to {} / memcpy ring", size_name(size), size_name(capacity));
        Target::ratio(name, at_most, move || subject(capacity, size), move || floor(capacity, size))
    })
}

fn resume_target(capacity: usize) -> Target {
    Target::nanos(format!("resume in {}", size_name(capacity)), 60.0, move || works::resume(capacity))
}

fn read_targets() -> [Target; 4] {
    let [(_, cursors), _, (_, queues), (_, broadcast)] = FEEDERS;
    let flush = move || cursors(100, Timed::Flushes);
    [
        Target::nanos("flush 64 B to one of 100 replicas", 3.0, flush),
        Target::ratio("flush 64 B / queue of Bytes", 0.5, flush, move || queues(100, Timed::Flushes)),
        Target::ratio("flush 64 B / broadcast of Bytes", 0.05, flush, move || broadcast(100, Timed::Flushes)),
        Target::nanos("gather 16 chunks", 19.0, works::gather),
    ]
}

/// What one call may take.
fn tail_targets() -> [Target; 4] {
    let capacity = works::capacities()[works::capacities().len() - 1];
    let slowest = |name: &str, one_in: usize| {
        let name = format!("one append of 64 B to {}, {name}", size_name(capacity));
        Target::of(name, 1000.0, "ns", move || {
            let times = works::append_latencies(capacity);
            nanos(times[times.len() - times.len() / one_in])
        })
    };
    let pinned = works::most_pinned();
    let longest = move || {
        let times = works::let_go_times(pinned);
        nanos(times[times.len() - 1]) / 1000.0
    };
    let name = format!("longest call while {} are let go of", size_name(pinned));
    [
        slowest("p50", 2),
        slowest("p99", 100),
        slowest("p99.99", 10_000),
        Target::of(name, 150.0, "us", longest),
    ]
}

impl Target {
    fn of(
        name: impl Into<String>,
        at_most: f64,
        unit: &'static str,
        measure: impl Fn() -> f64 + 'static,
    ) -> Self {
        Self { name: name.into(), at_most, unit, measure: Box::new(measure) }
    }

    /// The time of one operation.
    fn nanos(name: impl Into<String>, at_most: f64, work: impl Fn() -> Work + 'static) -> Self {
        Self::of(name, at_most, "ns", move || {
            let mut work = work();
            let operations = operations_in_segment(&mut work);
            median((0..SEGMENTS).map(|_| nanos(work.run(operations)) / operations as f64))
        })
    }

    /// The subject's time in parts of the yardstick's, the two run in turn.
    fn ratio(
        name: impl Into<String>,
        at_most: f64,
        subject: impl Fn() -> Work + 'static,
        yardstick: impl Fn() -> Work + 'static,
    ) -> Self {
        Self::of(name, at_most, "x", move || {
            let (mut subject, mut yardstick) = (subject(), yardstick());
            let operations = operations_in_segment(&mut subject);
            median((0..SEGMENTS).map(|_| nanos(subject.run(operations)) / nanos(yardstick.run(operations))))
        })
    }

    fn print(&self) {
        let Self { name, at_most, unit, measure } = self;
        let runs = sorted((0..RUNS).map(|_| measure()));
        let [least, .., most] = runs[..] else { return };
        let median = runs[RUNS / 2];
        let verdict = if median <= *at_most { "met" } else { "missed" };
        println!("{name:62} {at_most:>7} {unit} {median:>7.2} {unit} {least:>8.2} {most:>8.2}  {verdict}");
    }
}

/// So many that a segment is short beside the scheduler's slices, and long beside the clock.
fn operations_in_segment(work: &mut Work) -> u64 {
    let mut operations = 1;
    while work.run(operations) < SEGMENT {
        operations *= 2;
    }
    operations
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let values = sorted(values);
    values[values.len() / 2]
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

fn nanos(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

/// Ratios mean little without them.
fn print_caches() {
    for index in 0..4 {
        let read =
            |file| fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{file}"));
        if let (Ok(level), Ok(kind), Ok(size)) = (read("level"), read("type"), read("size")) {
            println!("L{} {}: {}", level.trim(), kind.trim(), size.trim());
        }
    }
}

const RUNS: usize = 5;
const SEGMENTS: usize = 51;
const SEGMENT: Duration = Duration::from_millis(2);
