use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::{Buf, Bytes};
use headwater::{
    Answer, Detach, DropReason, Event, FullReason, Heartbeat, OutputLimit, OverLimit, Sink, WriteRefused,
    wire,
};

use crate::host::{Host, NANOSECOND, at, seconds};

#[test]
fn nothing_is_counted_while_nobody_wants_the_stream() {
    let mut host = Host::new(|_| ());
    let written = host.primary.write(host.now, |unit| {
        unit.put(b"nobody hears");
        unit.is_wanted()
    });
    let written = written.unwrap();
    assert_eq!((written.value, written.end, host.primary.end()), (false, None, at(0)));
    assert_eq!(host.append(b"nor this"), at(0));
}

#[test]
fn a_unit_enters_the_stream_at_once_when_it_ends() {
    let mut host = Host::new(|_| ());
    let replica = host.online();
    let written = host.primary.write(host.now, |unit| {
        assert!(unit.is_wanted());
        unit.put(b"MULTI ");
        unit.put_shared(Bytes::from_static(b"EXEC"));
        "applied"
    });
    let written = written.unwrap();
    assert_eq!((written.value, written.end), ("applied", Some(at(10))));
    assert_eq!(host.events(), [Event::Send(replica)]);
    assert_eq!(host.flush(replica), b"MULTI EXEC");
}

/// Whichever way a payload comes, and whichever way it is sent.
#[test]
fn a_shared_payload_is_sent_as_what_was_appended() {
    let mut host = Host::new(|_| ());
    let (first, second) = (host.online(), host.online());
    let payload = Bytes::from((0..40_000_u32).map(|n| (n % 251) as u8).collect::<Vec<_>>());
    assert_eq!(host.primary.append_shared(payload.clone(), host.now), Some(at(40_000)));
    let written = host.primary.write(host.now, |unit| {
        unit.put(b"before ");
        unit.put_shared(payload.clone());
        unit.put(b" behind");
    });
    assert_eq!(written.unwrap().end, Some(at(80_014)));
    host.primary.check_invariants();

    let expected = [&payload[..], b"before ", &payload, b" behind"].concat();
    let mut batch = host.primary.take_batch(first, host.now).unwrap().unwrap();
    assert_eq!(batch.chunk().as_ptr(), payload.as_ptr(), "it is not copied for another task either");
    assert_eq!(batch.copy_to_bytes(batch.remaining()), expected);
    host.primary.handle_batch_written(batch, host.now);
    assert_eq!(host.flush(second), expected);
}

/// R123: a shared payload counts as any other.
#[test]
fn a_shared_payload_drops_whoever_it_puts_over_the_limit() {
    let limit = 2 << 20;
    let mut host = Host::new(|config| config.output_limit = OutputLimit { hard: Some(limit), soft: None });
    let (slow, quick) = (host.online(), host.online());
    let payload = Bytes::from(vec![1; 1 << 20]);
    host.primary.append_shared(payload.clone(), host.now).unwrap();
    host.flush(quick);
    host.events();
    let written = host.primary.write(host.now, |unit| unit.put_shared(payload)).unwrap();
    assert_eq!(written.end, Some(at(limit)));
    let reason = DropReason::OverLimit(OverLimit::Hard { unsent: limit, limit });
    assert_eq!(host.events(), [Event::Dropped { replica: slow, reason }, Event::Send(quick)]);
}

/// Adopted or copied, what was put is taken back, and a unit that is too large does not enter.
#[test]
fn shared_payloads_of_a_unit_are_taken_back_with_it() {
    let mut host = Host::new(|config| config.max_unit = 100_000);
    let replica = host.online();
    host.append(b"kept");
    let payload = Bytes::from(vec![1; 50_000]);
    let written = host.primary.write(host.now, |unit| {
        unit.put_shared(payload.clone());
        unit.clear();
        unit.put(b" instead");
    });
    assert_eq!(written.unwrap().end, Some(at(12)));
    assert!(payload.is_unique());
    assert_eq!(host.flush(replica), b"kept instead");
    let written = host.primary.write(host.now, |unit| {
        unit.put_shared(payload.clone());
        unit.put_shared(payload.clone());
        unit.put(b"!");
    });
    assert_eq!(written.unwrap().end, None);
    assert!(payload.is_unique());
    assert!(!host.is_attached(replica), "the history broke");
}

#[test]
fn a_command_that_changed_nothing_leaves_no_trace() {
    let mut host = Host::new(|config| config.backlog_capacity = 1024);
    let replica = host.online();
    host.append(b"kept");
    let written = host.primary.write(host.now, |unit| {
        unit.put(&[7; 3000]);
        unit.clear();
    });
    assert_eq!(written.unwrap().end, None);
    let written = host.primary.write(host.now, |unit| {
        unit.put(&[7; 3000]);
        unit.clear();
        unit.put(b" instead");
    });
    assert_eq!(written.unwrap().end, Some(at(12)));
    assert_eq!(host.flush(replica), b"kept instead");
}

/// KeyDB#80, B11, R7, T71: a replica that joins knows no selected database; one that resumes does.
#[test]
fn select_is_put_where_a_reader_could_not_know() {
    let mut host = Host::new(|_| ());
    let mut selected = wire::SelectedDb::new();
    let mut put = |host: &mut Host, db, clear: bool| {
        let before = host.primary.end();
        let written = host.primary.write(host.now, |unit| {
            selected.select(db, unit);
            if clear {
                unit.clear();
            }
        });
        written.unwrap().end.map_or(0, |end| end.bytes_since(before).unwrap())
    };
    let select = 23;
    let replica = host.online();
    assert_eq!(put(&mut host, 0, false), select);
    assert_eq!(put(&mut host, 0, false), 0);
    assert_eq!(put(&mut host, 7, false), select);
    host.primary.detach(replica, Detach::Lost, host.now).unwrap();
    host.resume(at(0));
    assert_eq!(put(&mut host, 7, false), 0, "one that resumes has read it");
    host.online();
    assert_eq!(put(&mut host, 7, false), select, "one with a new snapshot has not");
    assert_eq!(put(&mut host, 8, true), 0);
    assert_eq!(put(&mut host, 8, false), select, "what was taken back nobody has read");
}

/// The data has moved on without the stream: whoever went on from it would silently differ.
#[test]
fn a_unit_that_fails_after_it_was_applied_breaks_the_history() {
    let too_large: fn(&mut Host) = |host| {
        let written = host.primary.write(host.now, |unit| {
            unit.put(&[1; 60]);
            unit.put(&[1; 41]);
            unit.put(b"?");
            "applied"
        });
        let written = written.unwrap();
        assert_eq!((written.value, written.end), ("applied", None));
    };
    let too_large_at_once: fn(&mut Host) = |host| assert_eq!(host.append(&[1; 101]), at(4));
    let panics: fn(&mut Host) = |host| {
        let (primary, now) = (AssertUnwindSafe(&mut host.primary), host.now);
        let outcome = catch_unwind(|| {
            let primary = primary;
            primary.0.write(now, |unit| {
                unit.put(b"half");
                panic!("the store failed in the middle");
            })
        });
        assert!(outcome.is_err());
    };
    let too_large_and_shared: fn(&mut Host) = |host| {
        assert_eq!(host.primary.append_shared(Bytes::from(vec![1; 101]), host.now), None);
    };
    for fail in [too_large, too_large_at_once, too_large_and_shared, panics] {
        let mut host = Host::new(|config| config.max_unit = 100);
        let replica = host.online();
        host.append(b"good");
        let before = host.id();
        fail(&mut host);
        host.primary.check_invariants();
        assert_ne!(host.id(), before);
        let dropped = Event::Dropped { replica, reason: DropReason::HistoryChanged };
        assert_eq!(host.events(), [dropped, Event::HistoryChanged { id: host.id() }]);
        let (_, answer) = host.resume(at(4));
        assert_eq!(answer, Answer::Full(FullReason::NoBacklog));
    }
}

#[test]
fn a_unit_too_large_can_still_be_taken_back() {
    let mut host = Host::new(|config| config.max_unit = 100);
    let replica = host.online();
    let written = host.primary.write(host.now, |unit| {
        unit.put(&[1; 101]);
        unit.clear();
        unit.put(b"changed");
    });
    assert_eq!(written.unwrap().end, Some(at(7)));
    assert_eq!(host.flush(replica), b"changed");
}

#[test]
fn the_largest_unit_allowed_is_no_failure() {
    let mut host = Host::new(|config| config.max_unit = 100);
    let replica = host.online();
    let written = host.primary.write(host.now, |unit| {
        unit.put(&[1; 60]);
        unit.put(&[1; 40]);
    });
    assert_eq!(written.unwrap().end, Some(at(100)));
    assert_eq!(host.append(&[2; 100]), at(200));
    assert_eq!(host.flush(replica).len(), 200);
}

/// S12: a write that might not fit is refused before it is applied.
#[test]
fn a_full_stream_refuses_writes_before_they_are_applied() {
    let mut host = Host::new(|config| config.max_unit = usize::try_from(i64::MAX).unwrap());
    let replica = host.online();
    assert_eq!(host.append(b"1"), at(1));
    let refused = host.primary.write(host.now, |_| panic!("it was not to be applied"));
    assert!(matches!(refused, Err(WriteRefused::StreamFull(full)) if full.end == at(1)));
    assert_eq!(host.flush(replica), b"1");
}

fn beating(host: &mut headwater::Config) {
    host.heartbeat = Some(Heartbeat { payload: Bytes::from_static(b"beat"), period: seconds(10) });
}

/// R141: into the stream, while somebody is attached, and counted.
#[test]
fn the_heart_beats_in_the_stream_while_somebody_listens() {
    let mut host = Host::new(beating);
    assert_eq!(host.primary.poll_timeout(), None);
    let replica = host.online();
    host.pass(seconds(10) - NANOSECOND);
    assert_eq!(host.primary.end(), at(0));
    assert_eq!(host.pass(NANOSECOND), [Event::Send(replica)]);
    assert_eq!(host.flush(replica), b"beat");

    host.now = host.now.checked_add(seconds(19)).unwrap();
    host.primary.handle_timeout(host.now);
    assert_eq!(host.primary.end(), at(8), "one that was slept through is not made up for");
    host.pass(seconds(1));
    assert_eq!(host.primary.end(), at(12), "and shifts none of those to come");

    host.primary.detach(replica, Detach::Clean, host.now).unwrap();
    host.pass(seconds(60));
    assert_eq!(host.primary.end(), at(12));
}

/// 6ddf0ea29, R18 and R19, and B12: writes without a backlog are not counted, so the id must go with it.
#[test]
fn a_backlog_that_nobody_comes_back_for_is_let_go_of_with_its_id() {
    let mut host = Host::new(|config| config.backlog_ttl = Some(seconds(100)));
    let replica = host.online();
    host.append(b"kept");
    host.primary.detach(replica, Detach::Lost, host.now).unwrap();
    let before = host.id();
    assert_eq!(host.pass(seconds(100)), []);
    assert!(host.primary.report(host.now).backlog.is_some(), "not before more than that has passed");
    let changed = host.pass(NANOSECOND);
    assert_eq!(changed, [Event::HistoryChanged { id: host.id() }]);
    assert_ne!(host.id(), before);
    assert_eq!(host.append(b"uncounted"), at(4));
    assert!(host.primary.report(host.now).backlog.is_none());
    let (_, answer) = host.resume(at(4));
    assert_eq!(answer, Answer::Full(FullReason::NoBacklog));
}

#[test]
fn a_replica_that_comes_back_in_time_keeps_the_backlog() {
    let mut host = Host::new(|config| config.backlog_ttl = Some(seconds(100)));
    let replica = host.online();
    host.append(b"kept");
    host.primary.detach(replica, Detach::Lost, host.now).unwrap();
    host.pass(seconds(100));
    let (_, answer) = host.resume(at(0));
    assert!(matches!(answer, Answer::Continue { .. }));
    host.pass(seconds(59));
    assert!(host.primary.report(host.now).backlog.is_some());
}

#[test]
fn without_a_time_to_live_the_backlog_stays() {
    let mut host = Host::new(|config| config.backlog_ttl = None);
    let replica = host.online();
    host.append(b"kept");
    host.primary.detach(replica, Detach::Lost, host.now).unwrap();
    host.pass(seconds(1 << 40));
    assert!(matches!(host.resume(at(0)).1, Answer::Continue { .. }));
}

#[test]
fn a_large_backlog_is_let_go_of_a_portion_at_a_time() {
    let mut host = Host::new(|config| {
        config.backlog_ttl = Some(seconds(1));
        config.backlog_capacity = 8 << 20;
    });
    let replica = host.online();
    for _ in 0..8 {
        host.append(&vec![1; 1 << 20]);
        host.flush(replica);
    }
    host.primary.detach(replica, Detach::Clean, host.now).unwrap();
    host.pass(seconds(1) + NANOSECOND);
    let mut portions = 0;
    let held = host.primary.report(host.now).retired_memory;
    assert!(held > 6 << 20, "{held} bytes are still to be let go of");
    while let Some(due) = host.primary.poll_timeout() {
        assert!(due.saturating_since(host.now) <= seconds(1) / 1000, "within a millisecond");
        host.now = due;
        host.primary.handle_timeout(due);
        portions += 1;
    }
    assert!((6..=8).contains(&portions), "{portions} portions of 1 MiB");
    assert_eq!(host.primary.report(host.now).retired_memory, 0);
}
