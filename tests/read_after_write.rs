//! The figures of the example `read_after_write`: who reads its own writes, and at what cost.

#[allow(dead_code, reason = "a program has a `main`")]
#[path = "../examples/read_after_write.rs"]
mod example;

use std::time::Duration;

use example::{CLIENTS, Figures, Pattern, run};

fn means(figures: &Figures) -> [Duration; 2] {
    [figures.writers_waited, figures.readers_waited].map(|waited| waited / CLIENTS)
}

#[test]
fn the_primary_has_the_newest_and_has_to_serve_every_read() {
    let figures = run(Pattern::ReadPrimary);
    assert_eq!((figures.reads, figures.at_primary, figures.stale), (1000, 1000, 0));
    assert_eq!(means(&figures), [Duration::ZERO; 2]);
}

/// 5 ms after the write the near replica has it, and the other one, 200 ms behind, has not.
#[test]
fn who_does_not_wait_reads_stale_data_where_a_replica_lags() {
    let figures = run(Pattern::AcceptStaleness);
    assert_eq!((figures.at_primary, figures.stale, figures.stale_at_lagging), (0, 500, 500));
    assert_eq!(means(&figures), [Duration::ZERO; 2]);
}

/// It tells how many replicas hold the write, not which: the one that is read may be another.
#[test]
fn after_wait_another_replica_than_the_one_that_acknowledged_is_stale() {
    let figures = run(Pattern::Wait { replicas: 1 });
    assert_eq!((figures.at_primary, figures.stale, figures.stale_at_lagging), (0, 500, 500));
    assert_eq!(means(&figures), [Duration::from_millis(2), Duration::ZERO], "there and back");
}

#[test]
fn after_a_wait_for_all_nobody_is_stale_and_everybody_waits_for_the_slowest() {
    let figures = run(Pattern::Wait { replicas: 2 });
    assert_eq!((figures.at_primary, figures.stale), (0, 0));
    assert_eq!(means(&figures), [Duration::from_millis(201), Duration::ZERO]);
}

/// Half of them for 0 ms, half for what is left of 200 ms after 5 ms.
#[test]
fn at_a_fence_nobody_is_stale_and_only_who_reads_at_the_slow_one_waits() {
    let figures = run(Pattern::Fence);
    assert_eq!((figures.reads, figures.at_primary, figures.stale), (1000, 0, 0));
    assert_eq!(means(&figures), [Duration::ZERO, Duration::from_micros(97_500)]);
}
