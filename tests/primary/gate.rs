use std::time::Duration;

use bytes::Bytes;
use headwater::wire::CommandError;
use headwater::{
    Config, Detach, Event, Heartbeat, MinReplicas, NotEnoughReplicas, Primary, Sink, Timestamp, WriteRefused,
};

use crate::host::{END_MARKED, Host, NANOSECOND, at, id, seconds};

const LAG: Duration = seconds(10);

fn gated(to_write: usize, max_lag: Duration) -> Host {
    let mut host = Host::new(|_| ());
    host.reconfigure(|config| config.min_replicas = MinReplicas { to_write, max_lag });
    host.events();
    host
}

const fn refused(good: usize, needed: usize) -> NotEnoughReplicas {
    NotEnoughReplicas { good, needed, max_lag: LAG }
}

fn closed(good: usize, needed: usize) -> Event {
    Event::GateClosed(refused(good, needed))
}

/// R147 and S9: good up to the lag and not a nanosecond longer, and again with the ack itself, not the next tick.
#[test]
fn the_gate_closes_just_past_the_lag_and_opens_with_the_next_ack() {
    let mut host = gated(1, LAG);
    let replica = host.online();
    assert_eq!(host.pass(LAG), []);
    assert_eq!(host.primary.poll_timeout(), host.now.checked_add(NANOSECOND));
    assert_eq!((host.primary.good(host.now), host.write(b"let in")), (1, Ok(at(6))));
    assert_eq!(host.events(), [Event::Send(replica)]);

    assert_eq!(host.pass(NANOSECOND), [closed(0, 1)]);
    assert_eq!(host.write(b"refused"), Err(WriteRefused::NotEnough(refused(0, 1))));
    host.pass(seconds(5));
    host.ack(replica, at(0));
    assert_eq!(host.events(), [Event::GateOpened { good: 1 }]);
    assert_eq!(host.write(b"let in"), Ok(at(12)));
}

/// T67, where Redis lets in what comes before its next tick: the count is that of the write's own time.
#[test]
fn a_write_is_judged_by_its_own_time_though_nobody_handled_the_timeout() {
    let mut host = gated(1, LAG);
    host.online();
    host.now = host.now.checked_add(LAG).unwrap();
    assert!(host.primary.admit_write(host.now).is_ok());
    host.now = host.now.checked_add(NANOSECOND).unwrap();
    assert_eq!((host.primary.good(host.now), host.report().good), (0, 0));
    assert_eq!(host.primary.admit_write(host.now), Err(WriteRefused::NotEnough(refused(0, 1))));
    assert_eq!(host.write(b"refused"), Err(WriteRefused::NotEnough(refused(0, 1))));
    assert_eq!(host.events(), [closed(0, 1)]);
}

/// R149.
#[test]
fn either_setting_being_zero_lets_every_write_in() {
    for (to_write, max_lag) in [(0, LAG), (5, Duration::ZERO), (0, Duration::ZERO)] {
        let mut host = gated(to_write, max_lag);
        assert!(host.write(b"nobody is there").is_ok());
        host.online();
        assert!(host.write(b"one is there").is_ok());
        let gate = |event: &Event| matches!(event, Event::GateClosed(_) | Event::GateOpened { .. });
        assert!(!host.pass(seconds(50)).iter().any(gate), "{to_write} within {max_lag:?}");
        assert!(host.write(b"one is late").is_ok());
    }
}

/// R149 and T69: whatever applies it is not run, so that store and stream stay one.
#[test]
fn a_refused_write_is_never_applied_and_says_why_in_the_words_of_redis() {
    let mut host = gated(2, LAG);
    host.online();
    let (mut applied, end) = (false, host.primary.end());
    let refusal = host.primary.write(host.now, |unit| {
        applied = true;
        unit.put(b"bytes");
    });
    let refusal = refusal.unwrap_err();
    assert_eq!((applied, host.primary.end()), (false, end));
    assert_eq!(refusal, WriteRefused::NotEnough(refused(1, 2)));
    let text = CommandError::from(refusal).to_string();
    assert_eq!(text, "NOREPLICAS Not enough good replicas to write.");
    assert_eq!(refusal.to_string(), "1 replicas were heard from within 10s, 2 are needed to write");
}

/// R149 and T68: nobody can be refused what nobody asked for, such as an eviction, an expired key, a heartbeat, or
/// what an upstream has written.
#[test]
fn what_nobody_asked_for_passes_a_closed_gate() {
    let mut host = gated(2, LAG);
    let payload = Bytes::from_static(b"PING");
    host.reconfigure(|config| config.heartbeat = Some(Heartbeat { payload, period: seconds(1) }));
    host.online();
    assert!(host.primary.admit_write(host.now).is_err());
    let evicted = host.primary.write_ungated(host.now, |unit| unit.put(b"DEL")).unwrap();
    assert_eq!(evicted.end, Some(at(3)));
    assert_eq!(host.append(b"DEL"), at(6));
    host.pass(seconds(1));
    assert_eq!(host.primary.end(), at(10));
}

/// R144: an empty line is enough, since offsets play no part in the gate (R147).
#[test]
fn any_sign_of_life_reopens_the_gate() {
    let mut host = gated(1, LAG);
    let replica = host.online();
    host.append(b"never acknowledged");
    assert_eq!(host.pass(LAG + NANOSECOND), [Event::Send(replica), closed(0, 1)]);
    host.primary.handle_alive(replica, host.now).unwrap();
    assert_eq!(host.events(), [Event::GateOpened { good: 1 }]);
}

/// R144 and R147: it is heard from when it comes online, behind an end mark too (R162), and holds nothing yet.
#[test]
fn a_replica_is_good_from_the_moment_it_is_online_and_holds_nothing_before_its_first_ack() {
    let mut host = gated(1, LAG);
    let replica = host.newcomer();
    let cut = host.begin(END_MARKED);
    host.ready(&cut);
    host.ack(replica, cut.offset);
    assert_eq!(host.primary.good(host.now), 0, "an ack of one that has no image yet");

    let second = host.newcomer();
    host.events();
    host.sent(second);
    assert!(host.events().contains(&Event::GateOpened { good: 1 }));
    assert!(host.report_of(second).is_good && !host.report_of(replica).is_good);
    assert_eq!((host.primary.good(host.now), host.primary.good_at(at(0), host.now)), (1, 0));
    host.ack(second, at(0));
    assert_eq!(host.primary.good_at(at(0), host.now), 1);
}

#[test]
fn good_at_counts_those_who_are_good_and_hold_the_offset() {
    let mut host = gated(1, LAG);
    let [behind, silent, whole] = [(); 3].map(|()| host.online());
    host.append(b"12345");
    host.catch_up(silent);
    host.pass(seconds(6));
    host.catch_up(whole);
    host.ack(behind, at(0));
    for (offset, expected) in [(0, 3), (1, 2), (5, 2), (6, 0)] {
        assert_eq!(host.primary.good_at(at(offset), host.now), expected, "up to {offset}");
    }
    host.pass(seconds(4) + NANOSECOND);
    assert_eq!((host.primary.good_at(at(5), host.now), host.primary.good(host.now)), (1, 2));
}

/// R148, without the tick.
#[test]
fn a_replica_that_goes_closes_the_gate_at_once() {
    let mut host = gated(2, LAG);
    let [first, second] = [(); 2].map(|()| host.online());
    assert!(host.write(b"bytes").is_ok());
    host.events();
    host.primary.detach(first, Detach::Clean, host.now).unwrap();
    assert_eq!(host.write(b"bytes"), Err(WriteRefused::NotEnough(refused(1, 2))));
    assert_eq!(host.events(), [closed(1, 2)]);
    host.primary.detach(second, Detach::Lost, host.now).unwrap();
    assert_eq!(host.events(), [], "it is closed already");
    let [(third, _), (fourth, _)] = [(); 2].map(|()| host.resume(at(0)));
    let events = host.events();
    assert_eq!(events, [Event::GateOpened { good: 2 }, Event::Send(third), Event::Send(fourth)]);
}

/// T66, and R148 without the tick.
#[test]
fn other_limits_are_in_force_at_once() {
    let mut host = gated(1, LAG);
    host.online();
    assert!(host.write(b"bytes").is_ok());
    host.events();
    for (to_write, max_lag, expected) in [
        (2, LAG, Some(closed(1, 2))),
        (1, LAG, Some(Event::GateOpened { good: 1 })),
        (1, seconds(30), None),
        (0, seconds(30), None),
    ] {
        host.reconfigure(|config| config.min_replicas = MinReplicas { to_write, max_lag });
        let is_open = !matches!(expected, Some(Event::GateClosed(_)));
        assert_eq!(host.write(b"bytes").is_ok(), is_open, "{to_write} within {max_lag:?}");
        assert_eq!(host.events(), Vec::from_iter(expected), "{to_write} within {max_lag:?}");
    }
}

#[test]
fn a_lag_that_is_made_shorter_counts_from_when_each_was_heard() {
    let mut host = gated(1, LAG);
    host.online();
    host.pass(seconds(3));
    let within = |max_lag| MinReplicas { to_write: 1, max_lag };
    host.reconfigure(|config| config.min_replicas = within(seconds(3)));
    assert_eq!(host.events(), []);
    host.reconfigure(|config| config.min_replicas = within(seconds(3) - NANOSECOND));
    let refused = NotEnoughReplicas { good: 0, needed: 1, max_lag: seconds(3) - NANOSECOND };
    assert_eq!(host.events(), [Event::GateClosed(refused)]);
    host.reconfigure(|config| config.min_replicas = within(seconds(30)));
    assert_eq!(host.events(), [Event::GateOpened { good: 1 }]);
}

#[test]
fn a_gate_closed_from_the_start_is_told_of() {
    let mut config = Config::default();
    config.min_replicas = MinReplicas { to_write: 1, max_lag: LAG };
    let mut primary = Primary::new(config, id(1), Timestamp::default()).unwrap();
    let events: Vec<_> = std::iter::from_fn(|| primary.poll_event()).collect();
    assert_eq!(events, [Event::IdWanted, closed(0, 1)]);
}

/// Whoever looks late is told how it is, not how it was in between.
#[test]
fn a_gate_that_is_as_it_was_is_no_event() {
    let mut host = gated(1, LAG);
    let replica = host.online();
    host.now = host.now.checked_add(seconds(20)).unwrap();
    host.primary.handle_timeout(host.now);
    assert!(host.primary.admit_write(host.now).is_err());
    host.ack(replica, at(0));
    assert_eq!(host.events(), []);
}
