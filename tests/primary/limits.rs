use headwater::{Detach, DropReason, Event, OutputLimit, OverLimit};

use crate::host::{END_MARKED, Host, at, seconds};

fn limited(hard: u64) -> Host {
    Host::new(|config| {
        config.backlog_capacity = 1000;
        config.output_limit = OutputLimit { hard: Some(hard), soft: None };
    })
}

/// R123, T42 and bound B3: closed in the step in which it is reached.
#[test]
fn a_replica_is_dropped_by_the_byte_that_reaches_its_limit() {
    let mut host = limited(5000);
    let (slow, quick) = (host.online(), host.online());
    host.append(&[1; 4999]);
    assert_eq!(host.flush(quick).len(), 4999);
    host.events();
    assert!(host.is_attached(slow));
    host.append(&[1; 1]);
    let reason = DropReason::OverLimit(OverLimit::Hard { unsent: 5000, limit: 5000 });
    assert_eq!(host.events(), [Event::Dropped { replica: slow, reason }, Event::Send(quick)]);
}

/// Counted is what is not yet sent; a replica that has been sent everything counts nothing.
#[test]
fn what_is_sent_no_longer_counts() {
    let mut host = limited(5000);
    let replica = host.online();
    for _ in 0..100 {
        host.append(&[1; 4999]);
        host.flush(replica);
    }
    assert!(host.is_attached(replica));
}

#[test]
fn a_batch_counts_as_unsent_until_it_is_back() {
    let mut host = limited(5000);
    let replica = host.online();
    host.append(&[1; 4000]);
    let batch = host.primary.take_batch(replica, host.now).unwrap().unwrap();
    host.append(&[1; 1000]);
    assert!(!host.is_attached(replica));
    host.primary.handle_batch_written(batch, host.now);
    host.primary.check_invariants();
}

/// R127: while the image is on its way the stream piles up, and counts.
#[test]
fn the_stream_behind_a_snapshot_counts() {
    let mut host = limited(5000);
    let replica = host.newcomer();
    host.append(&[1; 9000]);
    assert!(host.is_attached(replica), "before the cut there is nothing to keep for it");
    let cut = host.begin(END_MARKED);
    host.append(&[1; 4999]);
    assert!(host.is_attached(replica));
    host.append(&[1; 1]);
    let reason = DropReason::OverLimit(OverLimit::Hard { unsent: 5000, limit: 5000 });
    let events = host.events();
    assert!(events.contains(&Event::Dropped { replica, reason }));
    assert!(events.contains(&Event::SnapshotOver { snapshot: cut.snapshot }));
}

#[test]
fn a_limit_below_the_capacity_acts_as_the_capacity() {
    let mut host = limited(1);
    let replica = host.online();
    host.append(&[1; 999]);
    assert!(host.is_attached(replica));
    host.append(&[1; 1]);
    assert!(!host.is_attached(replica));
}

#[test]
fn a_lower_limit_drops_whoever_is_over_it_at_once() {
    let mut host = limited(5000);
    let replica = host.online();
    host.append(&[1; 2000]);
    let mut config = host.primary.config().clone();
    config.output_limit = OutputLimit { hard: Some(2001), soft: None };
    host.primary.reconfigure(config.clone(), host.now).unwrap();
    assert!(host.is_attached(replica));
    config.output_limit = OutputLimit { hard: Some(2000), soft: None };
    host.primary.reconfigure(config, host.now).unwrap();
    assert!(!host.is_attached(replica));
    host.primary.check_invariants();
}

#[test]
fn an_impossible_configuration_changes_nothing() {
    let mut host = limited(5000);
    let before = host.primary.config().clone();
    let mut config = before.clone();
    config.backlog_capacity = 0;
    assert!(host.primary.reconfigure(config, host.now).is_err());
    assert_eq!(*host.primary.config(), before);
}

/// Bound B1, by the formula that the configuration's documentation gives.
#[test]
fn memory_stays_within_its_bound_however_slow_replicas_are() {
    let (capacity, hard, unit) = (1 << 20, 4 << 20, 300_000);
    let mut host = Host::new(|config| {
        config.backlog_capacity = capacity;
        config.output_limit = OutputLimit { hard: Some(hard as u64), soft: None };
    });
    let (chunk, held) = (capacity / 16, capacity + hard + unit);
    let bound = held + 2 * chunk + 4 * chunk + held / 100;
    let mut highest = 0;
    for round in 0..200 {
        if round % 7 == 0 {
            host.online();
        }
        if round % 11 == 0 {
            let start = host.primary.report(host.now).backlog.map_or(at(0), |backlog| backlog.start);
            let _ = host.resume(start);
        }
        host.append(&vec![1; unit]);
        host.pass(seconds(1) / 50);
        let memory = host.primary.report(host.now).backlog.map_or(0, |backlog| backlog.memory);
        assert!(memory <= bound, "round {round}: {memory} bytes held, at most {bound} expected");
        highest = highest.max(memory);
    }
    assert!(highest > hard, "slow replicas were there: {highest}");
}

/// redis#9713 (B3) and bound B2: a capacity raised at run time loses nothing, one lowered keeps what is asked for.
#[test]
fn the_capacity_changes_at_run_time() {
    let mut host = limited(1 << 20);
    let replica = host.online();
    host.append(&[1; 900]);
    let mut config = host.primary.config().clone();
    config.backlog_capacity = 10_000;
    host.primary.reconfigure(config.clone(), host.now).unwrap();
    host.append(&[2; 9100]);
    host.flush(replica);
    assert_eq!(host.primary.report(host.now).backlog.unwrap().len, 10_000);
    config.backlog_capacity = 2000;
    host.primary.reconfigure(config, host.now).unwrap();
    let backlog = host.primary.report(host.now).backlog.unwrap();
    assert!((2000..4000).contains(&backlog.len), "{} bytes kept", backlog.len);
    host.primary.detach(replica, Detach::Clean, host.now).unwrap();
}
