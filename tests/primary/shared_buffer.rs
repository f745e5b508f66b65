use headwater::{Answer, Detach, DropReason, Event, FullReason, OutputLimit, OverLimit, ReplicaKey};

use crate::host::{END_MARKED, Host, SIZED, at, seconds};

const MB: usize = 1 << 20;

fn sized(capacity: usize, hard: Option<u64>) -> Host {
    Host::new(|config| {
        config.backlog_capacity = capacity;
        config.output_limit = OutputLimit { hard, soft: None };
    })
}

/// A replica whose image is being made, for as long as the test lasts.
fn stuck(host: &mut Host) -> ReplicaKey {
    let replica = host.newcomer();
    host.begin(END_MARKED);
    host.events();
    replica
}

fn held(host: &Host) -> usize {
    let report = host.report();
    report.backlog.map_or(0, |backlog| backlog.memory) + report.retired_memory
}

fn histlen(host: &Host) -> u64 {
    host.report().backlog.map_or(0, |backlog| backlog.len)
}

/// Bytes whose place in the stream shows in them.
fn numbered(from: u64, count: u64) -> Vec<u8> {
    (from..from + count).map(|place| u8::try_from(place % 251).unwrap()).collect()
}

/// T12: one copy however many wait, and the last of them lets it go.
#[test]
fn those_who_wait_for_a_snapshot_share_one_copy() {
    let mut host = sized(16_384, None);
    let quick = host.online();
    let [first, second] = [(); 2].map(|()| host.newcomer());
    host.begin(SIZED);
    let before = held(&host);
    for _ in 0..64 {
        host.append(&vec![1; MB / 64]);
        host.flush(quick);
    }
    let grown = held(&host) - before;
    assert!((MB..MB * 5 / 4).contains(&grown), "{grown} bytes for 1 MiB");
    let full = held(&host);
    host.primary.detach(first, Detach::Lost, host.now).unwrap();
    host.pass(seconds(5));
    assert_eq!(held(&host), full);
    host.primary.detach(second, Detach::Lost, host.now).unwrap();
    host.pass(seconds(5));
    assert!(held(&host) < full - MB / 2, "{} of {full}", held(&host));
    assert!(histlen(&host) < 2 * 16_384, "{}", histlen(&host));
}

/// T13, T14 and R107: what one pins is kept far beyond the backlog's size, and serves the return of another.
#[test]
fn what_a_stuck_replica_pins_lets_others_resume() {
    let mut host = sized(16_384, None);
    host.reconfigure(|config| config.resume_pins.bytes = 0);
    stuck(&mut host);
    let (other, _) = host.resume(at(0));
    for _ in 0..100 {
        host.append(&vec![1; MB / 10]);
        host.flush(other);
    }
    assert_eq!(histlen(&host), 100 * (MB as u64 / 10));
    host.primary.detach(other, Detach::Lost, host.now).unwrap();
    let left = host.primary.end();
    for _ in 0..100 {
        host.append(&vec![1; MB / 10]);
    }
    let (back, answer) = host.resume(left);
    assert_eq!(answer, Answer::Continue { id: host.id(), from: left });
    assert_eq!(host.flush(back).len(), 100 * (MB / 10));
}

/// redis#9713, B3, T15 and R108: in portions, so that no call takes long.
#[test]
fn what_a_dropped_replica_pinned_is_let_go_of_gradually() {
    let mut host = sized(16_384, None);
    let quick = host.online();
    let replica = stuck(&mut host);
    for _ in 0..200 {
        host.append(&vec![1; MB / 10]);
        host.flush(quick);
    }
    let full = histlen(&host);
    host.reconfigure(|config| config.output_limit.hard = Some(128 * 1024));
    let reason = DropReason::OverLimit(OverLimit::Hard { unsent: full, limit: 128 * 1024 });
    assert_eq!(host.events()[0], Event::Dropped { replica, reason });
    let first = histlen(&host);
    assert!(first < full && first > full / 2, "{first} of {full} at once");
    let mut calls = 0;
    while let Some(due) =
        host.primary.poll_timeout().filter(|due| *due < host.now.checked_add(seconds(1)).unwrap())
    {
        host.primary.handle_timeout(due);
        (host.now, calls) = (due, calls + 1);
    }
    assert!(histlen(&host) < 2 * 16_384 && calls > 5, "{} after {calls} calls", histlen(&host));
    host.primary.check_invariants();
}

/// redis#11666, B1, T17 and L5: whoever can't be sent it within the limit is not let in again to be dropped again.
#[test]
fn a_unit_above_the_limit_makes_no_loop_of_resumes() {
    let mut host = sized(16_384, Some(32_768));
    let replica = host.online();
    host.append(&vec![1; 256 * 1024]);
    assert!(matches!(host.events()[..], [Event::Dropped { .. }]), "{replica} had it all to be sent");
    let (_, answer) = host.resume(at(0));
    assert!(
        matches!(answer, Answer::Full(FullReason::TooOld { .. } | FullReason::OverLimit { .. })),
        "{answer:?}"
    );
    assert_eq!(host.report().counters.sync_partial_ok, 0);
    host.events();
    let cut = host.begin(SIZED);
    host.ready(&cut);
    let newcomer = host.report().replicas[0].replica;
    host.sent(newcomer);
    host.catch_up(newcomer);
    assert_eq!(host.report_of(newcomer).unsent, 0, "nothing of the value is held against it");
    host.append(&[1; 1000]);
    assert!(host.is_attached(newcomer));
}

/// redis#11905, B2, T18 and R103: the very first byte that is kept, after large and small units.
#[test]
fn the_first_byte_kept_can_be_resumed_from() {
    let mut host = sized(16_384, Some(1 << 30));
    let replica = host.online();
    let mut end = 0;
    for count in [1, 300, 256 * 1024, 1, 1023, 1024, 1025, 40_000] {
        host.append(&numbered(end, count));
        end += count;
        host.flush(replica);
    }
    host.pass(seconds(1));
    let first = host.report().backlog.unwrap().start;
    assert!(first.get() > 0);
    let (back, answer) = host.resume(first);
    assert_eq!(answer, Answer::Continue { id: host.id(), from: first });
    assert_eq!(host.flush(back), numbered(first.get(), end - first.get()));
}

/// T3 and T20: within the backlog each return is a resume, and none is a full sync.
#[test]
fn a_replica_that_is_cut_off_again_and_again_resumes_each_time() {
    let mut host = sized(MB, Some(1 << 30));
    let mut replica = host.online();
    let (mut received, mut end) = (0, 0);
    for round in 1..=50 {
        host.append(&numbered(end, 1000 + round));
        end += 1000 + round;
        let mut part = vec![0; 700];
        let mut writer = &mut part[..];
        let _ = host.primary.write_to(replica, &mut writer, host.now);
        assert_eq!(part, numbered(received, 700));
        received += 700;
        host.primary.detach(replica, Detach::Lost, host.now).unwrap();
        host.pass(seconds(3));
        let (back, answer) = host.resume(at(received));
        assert!(matches!(answer, Answer::Continue { .. }), "round {round}: {answer:?}");
        replica = back;
    }
    assert_eq!(host.flush(replica), numbered(received, end - received));
    let counters = host.report().counters;
    assert_eq!((counters.sync_full, counters.sync_partial_ok, counters.sync_partial_err), (1, 50, 0));
}

/// T21: what is gone is not given out.
#[test]
fn with_a_backlog_that_is_too_small_a_return_is_a_full_sync() {
    let mut host = sized(100, Some(1 << 30));
    host.reconfigure(|config| config.resume_pins.bytes = 0);
    let replica = host.online();
    host.primary.detach(replica, Detach::Lost, host.now).unwrap();
    for _ in 0..100 {
        host.append(&[1; 50]);
    }
    let (_, answer) = host.resume(at(0));
    assert!(matches!(answer, Answer::Full(FullReason::TooOld { needed: 5000, .. })), "{answer:?}");
    assert_eq!(host.report().counters.sync_partial_err, 1);
}

/// T22 and B12: after the time to live, what was written is not counted, so nobody resumes.
#[test]
fn after_the_backlogs_time_to_live_a_return_is_a_full_sync() {
    for (away, resumes) in [(seconds(1), true), (seconds(3), false)] {
        let mut host = sized(MB, None);
        host.reconfigure(|config| config.backlog_ttl = Some(seconds(1)));
        let replica = host.online();
        host.append(b"bytes");
        let (id, offset) = (host.id(), host.primary.end());
        host.primary.detach(replica, Detach::Lost, host.now).unwrap();
        host.pass(away);
        let attached = host.attach(headwater::Wanted::After { id, offset }, |_| ());
        assert_eq!(matches!(attached.answer, Answer::Continue { .. }), resumes, "after {away:?}");
        assert_eq!(host.report().counters.sync_partial_err, u64::from(!resumes));
    }
}
