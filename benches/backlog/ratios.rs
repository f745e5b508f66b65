use crate::payload::{KIB, MIB, size_name};
use crate::support::Target;
use crate::support::targets::nanos;
use crate::works::{self, FEEDERS, KEEPERS, SMALL, Timed};
use crate::yardsticks::backlog;

pub(crate) fn targets() -> Vec<Target> {
    let mut targets: Vec<_> = works::capacities().iter().copied().flat_map(append_targets).collect();
    targets.push(Target::ratio(
        "append 64 B, 100 replicas / none",
        1.1,
        || works::append_attached(100),
        || works::append_attached(0),
    ));
    targets.push(Target::nanos("SET of 64 B, encoded into a unit", 40.0, works::write_command));
    targets.extend(works::capacities().iter().copied().map(resume_target));
    targets.extend(adopt_targets());
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

/// A payload that is handed over costs the same whatever its length.
fn adopt_targets() -> [Target; 5] {
    let copy = |size| works::append(backlog(MIB), MIB, size);
    [
        Target::nanos("adopt 16 KiB", 35.0, || works::adopt(16 * KIB)),
        Target::nanos("adopt 1 MiB", 35.0, || works::adopt(MIB)),
        Target::ratio("adopt 1 MiB / adopt 16 KiB", 1.3, || works::adopt(MIB), || works::adopt(16 * KIB)),
        Target::gain("copy 16 KiB / adopt", 4.0, || works::adopt(16 * KIB), move || copy(16 * KIB)),
        Target::gain("copy 1 MiB / adopt", 300.0, || works::adopt(MIB), move || copy(MIB)),
    ]
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
