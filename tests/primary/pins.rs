use std::time::Duration;

use headwater::{
    Ack, Answer, Detach, DropReason, Event, FullReason, OutputLimit, PinBudget, ReplicaKey, Wanted,
};

use crate::host::{Host, NANOSECOND, at, seconds};

const CAPACITY: usize = 1000;

fn pinning(bytes: u64, lasting: Duration) -> Host {
    Host::new(|config| {
        config.backlog_capacity = CAPACITY;
        config.output_limit = OutputLimit { hard: Some(1 << 20), soft: None };
        config.resume_pins = PinBudget { bytes, lasting };
    })
}

/// One that can be told apart by its port when it comes back.
fn online(host: &mut Host, port: i64) -> ReplicaKey {
    let (id, end) = (host.id(), host.primary.end());
    let wanted =
        if host.report().backlog.is_some() { Wanted::After { id, offset: end } } else { Wanted::Everything };
    let attached = host.attach(wanted, |peer| peer.port = port);
    let replica = attached.replica;
    if matches!(attached.answer, Answer::Full(_)) {
        let cut = host.begin(crate::host::SIZED);
        host.ready(&cut);
        host.sent(replica);
    }
    host.ack(replica, host.primary.end());
    host.events();
    replica
}

fn lose(host: &mut Host, replica: ReplicaKey) {
    host.primary.detach(replica, Detach::Lost, host.now).unwrap();
    host.primary.check_invariants();
}

fn back(host: &mut Host, port: i64, offset: u64) -> Answer {
    let id = host.id();
    host.attach(Wanted::After { id, offset: at(offset) }, |peer| peer.port = port).answer
}

/// Much more than the backlog may hold, in units that let it trim.
fn append(host: &mut Host, bytes: u64) {
    let unit = vec![1; usize::try_from(bytes / 100).unwrap()];
    for _ in 0..100 {
        host.append(&unit);
    }
}

/// L4: its return is a resume, though the backlog alone would have lost it; without a budget it has.
#[test]
fn a_lost_replica_resumes_as_long_as_its_pin_is_within_the_budget() {
    for (budget, resumes) in [(20_000, true), (19_999, false), (0, false)] {
        let mut host = pinning(budget, seconds(60));
        let stays = online(&mut host, 1);
        let lost = online(&mut host, 2);
        lose(&mut host, lost);
        append(&mut host, 20_000);
        host.flush(stays);
        let report = host.report();
        assert_eq!((report.resume_pins, report.pinned), if resumes { (1, 20_000) } else { (0, 0) });
        let answer = back(&mut host, 2, 0);
        assert_eq!(matches!(answer, Answer::Continue { .. }), resumes, "{budget}: {answer:?}");
    }
}

/// What it acknowledged is with it; what was only sent may not be.
#[test]
fn a_pin_stands_where_the_replica_was_known_to_be() {
    let mut host = pinning(20_000, seconds(60));
    let stays = online(&mut host, 1);
    let lost = online(&mut host, 2);
    append(&mut host, 500);
    host.flush(lost);
    host.ack(lost, at(300));
    lose(&mut host, lost);
    append(&mut host, 20_000 - 200);
    host.flush(stays);
    assert_eq!(host.report().pinned, 20_000);
    assert_eq!(back(&mut host, 2, 300), Answer::Continue { id: host.id(), from: at(300) });
}

/// To the nanosecond: over once its time has passed, by a deadline of its own.
#[test]
fn a_pin_is_let_go_of_when_its_time_is_over() {
    let mut host = pinning(50_000, seconds(30));
    let stays = online(&mut host, 1);
    let lost = online(&mut host, 2);
    lose(&mut host, lost);
    append(&mut host, 20_000);
    host.flush(stays);
    host.pass(seconds(30) - NANOSECOND);
    assert_eq!(host.report().resume_pins, 1);
    host.pass(NANOSECOND);
    assert_eq!((host.report().resume_pins, host.report().pinned), (0, 0));
    host.pass(seconds(1));
    let kept = host.report().backlog.unwrap().len;
    assert!(kept < 2 * CAPACITY as u64, "{kept} bytes are kept");
    let too_old = FullReason::TooOld { needed: 20_000, kept };
    assert_eq!(back(&mut host, 2, 0), Answer::Full(too_old));
}

/// One budget for all: the deepest counts, and goes first.
#[test]
fn pins_share_one_budget_and_the_deepest_goes_first() {
    let mut host = pinning(20_000, seconds(60));
    let stays = online(&mut host, 1);
    for port in 2..5 {
        let lost = online(&mut host, port);
        lose(&mut host, lost);
        append(&mut host, 5000);
        host.flush(stays);
    }
    assert_eq!((host.report().resume_pins, host.report().pinned), (3, 15_000));
    append(&mut host, 5000);
    assert_eq!((host.report().resume_pins, host.report().pinned), (3, 20_000), "no byte over it");
    host.append(b"1");
    host.flush(stays);
    assert_eq!((host.report().resume_pins, host.report().pinned), (2, 15_001));
    assert!(matches!(back(&mut host, 2, 0), Answer::Full(FullReason::TooOld { .. })));
    assert!(matches!(back(&mut host, 3, 5000), Answer::Continue { .. }));
    assert!(matches!(back(&mut host, 4, 10_000), Answer::Continue { .. }));
}

/// It needs it no more: its own cursor holds what it has yet to be sent.
#[test]
fn a_replica_that_is_back_takes_its_pin_with_it() {
    let mut host = pinning(20_000, seconds(60));
    online(&mut host, 1);
    let lost = online(&mut host, 2);
    lose(&mut host, lost);
    append(&mut host, 500);
    back(&mut host, 3, 500);
    assert_eq!(host.report().resume_pins, 1, "another one's return");
    back(&mut host, 2, 0);
    assert_eq!(host.report().resume_pins, 0);
}

/// A peer that comes and goes has one pin, where it was last.
#[test]
fn a_peer_has_one_pin() {
    let mut host = pinning(20_000, seconds(60));
    online(&mut host, 1);
    for round in 0..5 {
        let lost = online(&mut host, 2);
        append(&mut host, 100);
        host.flush(lost);
        lose(&mut host, lost);
        assert_eq!((host.report().resume_pins, host.report().pinned), (1, 100), "round {round}");
    }
}

/// It said that it goes, or would be over its limit again: nobody is waited for.
#[test]
fn only_one_that_was_lost_leaves_a_pin() {
    let mut host = pinning(1 << 30, seconds(60));
    let stays = online(&mut host, 1);
    let clean = online(&mut host, 2);
    host.primary.detach(clean, Detach::Clean, host.now).unwrap();
    assert_eq!(host.report().resume_pins, 0);

    let slow = online(&mut host, 3);
    append(&mut host, 700_000);
    host.flush(stays);
    append(&mut host, 700_000);
    assert!(!host.is_attached(slow) && host.is_attached(stays));
    assert_eq!(host.report().resume_pins, 0);

    host.flush(stays);
    let liar = online(&mut host, 4);
    let lie = Ack::applied(host.primary.end().checked_add(1).unwrap());
    host.primary.handle_ack(liar, lie, host.now).unwrap_err();
    assert_eq!(host.report().resume_pins, 0);

    let waiting = host.newcomer();
    lose(&mut host, waiting);
    assert_eq!(host.report().resume_pins, 0, "without an image there is nothing to go on from");
}

#[test]
fn one_dropped_for_its_silence_leaves_a_pin() {
    let mut host = pinning(20_000, seconds(60));
    let [alive, silent] = [1, 2].map(|port| online(&mut host, port));
    host.pass(seconds(30));
    host.primary.handle_alive(alive, host.now).unwrap();
    let events = host.pass(seconds(30) + NANOSECOND);
    assert!(
        matches!(events[..], [Event::Dropped { replica, reason: DropReason::Silent { .. } }] if replica == silent)
    );
    append(&mut host, 20_000);
    assert_eq!(back(&mut host, 2, 0), Answer::Continue { id: host.id(), from: at(0) });
}

#[test]
fn a_smaller_budget_is_in_force_at_once() {
    let mut host = pinning(20_000, seconds(60));
    let stays = online(&mut host, 1);
    for port in [2, 3] {
        let lost = online(&mut host, port);
        lose(&mut host, lost);
        append(&mut host, 5000);
        host.flush(stays);
    }
    let budget = |bytes| PinBudget { bytes, lasting: seconds(60) };
    host.reconfigure(|config| config.resume_pins = budget(10_000));
    assert_eq!(host.report().resume_pins, 2);
    host.reconfigure(|config| config.resume_pins = budget(9999));
    assert_eq!((host.report().resume_pins, host.report().pinned), (1, 5000));
    host.reconfigure(|config| config.resume_pins = budget(0));
    assert_eq!(host.report().resume_pins, 0);
}

/// Bound B1: the larger of the two, not their sum.
#[test]
fn pins_hold_no_more_than_their_budget() {
    let (capacity, budget) = (100_000, 400_000);
    let mut host = Host::new(|config| {
        config.backlog_capacity = capacity;
        config.resume_pins = PinBudget { bytes: budget, lasting: seconds(600) };
    });
    let stays = online(&mut host, 1);
    let mut highest = 0;
    for round in 0..1500 {
        if round % 10 == 0 {
            let lost = online(&mut host, 2 + round / 10 % 100);
            lose(&mut host, lost);
        }
        host.append(&[1; 1000]);
        host.flush(stays);
        host.ack(stays, host.primary.end());
        let memory = host.report().backlog.unwrap().memory as u64;
        let chunk = capacity as u64 / 16;
        assert!(memory <= budget + 1000 + 6 * chunk + budget / 100, "round {round}: {memory} bytes");
        highest = highest.max(memory);
    }
    assert!(highest >= budget, "{highest}");
}
