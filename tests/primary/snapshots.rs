use std::time::Duration;

use headwater::{
    Ack, Detach, DropReason, Event, Framing, Image, OutputLimit, ReplicaState, SnapshotError, Wanted,
};

use crate::host::{END_MARKED, Host, NANOSECOND, SIZED, at, seconds};

fn wanted(waiting: usize, all_take_end_mark: bool) -> Event {
    Event::SnapshotWanted { waiting, all_take_end_mark }
}

/// redis#2724, R61 and B10: the field told the offset of the request, or that of the reply.
#[test]
fn the_offset_told_is_that_of_the_cut() {
    let mut host = Host::new(|_| ());
    let replica = host.newcomer();
    assert!(host.events().contains(&wanted(1, true)));
    host.append(b"before");
    let cut = host.begin(SIZED);
    host.append(b" and after");
    host.ready(&cut);
    assert_eq!((cut.offset, cut.id), (at(6), host.id()));
    assert_eq!(host.events(), [Event::SendSnapshot { replica, cut, framing: Framing::Sized }]);

    assert_eq!(host.flush(replica), b"", "the stream waits for the image");
    host.sent(replica);
    assert_eq!(host.events(), [Event::SnapshotOver { snapshot: cut.snapshot }, Event::Send(replica)]);
    assert_eq!(host.flush(replica), b" and after");
}

/// redis#2724, T51.
#[test]
fn all_who_wait_share_one_snapshot() {
    let mut host = Host::new(|_| ());
    let (first, second) = (host.newcomer(), host.newcomer());
    assert_eq!(host.events().last(), Some(&wanted(2, true)));
    let cut = host.begin(SIZED);
    host.ready(&cut);
    host.ready(&cut);
    let transfer = |replica| Event::SendSnapshot { replica, cut, framing: Framing::Sized };
    assert_eq!(host.events(), [transfer(first), transfer(second)]);
    host.sent(first);
    assert_eq!(host.events(), [], "the other one still needs it");
    host.primary.detach(second, Detach::Lost, host.now).unwrap();
    assert_eq!(host.events(), [Event::SnapshotOver { snapshot: cut.snapshot }]);
    assert!(host.primary.handle_snapshot_ready(cut.snapshot, host.now).is_err());
}

/// R73 to R75.
#[test]
fn a_late_replica_joins_a_snapshot_that_can_be_sent_again() {
    for (replayable, ready, joins) in [(true, true, true), (false, true, false), (false, false, true)] {
        let mut host = Host::new(|_| ());
        host.newcomer();
        let cut = host.begin(Image { framing: Framing::Sized, replayable, size: None });
        if ready {
            host.ready(&cut);
        }
        host.events();
        host.append(b"since");
        let late = host.newcomer();
        let asked = host.events().contains(&wanted(1, true));
        assert_eq!(asked, !joins, "replayable {replayable}, ready {ready}");
        if joins {
            host.ready(&cut);
            host.sent(late);
            assert_eq!(host.flush(late), b"since");
        }
    }
}

#[test]
fn a_late_replica_does_not_join_what_the_backlog_has_lost_or_it_cannot_receive() {
    let mut host = Host::new(|config| config.backlog_capacity = 1024);
    let first = host.newcomer();
    let cut = host.begin(END_MARKED);
    host.ready(&cut);
    let plain = host.attach(Wanted::Everything, |_| ()).replica;
    assert!(host.events().contains(&wanted(1, false)), "it takes no end mark");
    host.primary.detach(plain, Detach::Clean, host.now).unwrap();

    host.append(&[1; 500]);
    let second = host.newcomer();
    assert_eq!(host.primary.report(host.now).replicas[1].state, ReplicaState::ReceivingEndMarked);
    host.sent(first);
    host.ack(first, cut.offset);
    host.append(&[1; 500]);
    host.flush(first);
    host.events();
    assert!(host.is_attached(second));
}

/// B23, R89: the receiver finds the mark only as the last thing that came.
#[test]
fn behind_an_end_mark_the_stream_waits_for_the_first_ack() {
    let mut host = Host::new(|_| ());
    let replica = host.newcomer();
    let cut = host.begin(END_MARKED);
    host.ready(&cut);
    host.append(b"stream");
    host.sent(replica);
    assert_eq!(host.primary.report(host.now).replicas[0].state, ReplicaState::Online);
    host.events();
    host.primary.handle_alive(replica, host.now).unwrap();
    assert_eq!((host.events(), host.flush(replica)), (vec![], vec![]), "an empty line is no ack");
    host.ack(replica, cut.offset);
    assert_eq!(host.events(), [Event::Send(replica)]);
    assert_eq!(host.flush(replica), b"stream");
}

/// R90: the replica may be faster than the host's word that all was sent.
#[test]
fn an_ack_that_comes_during_the_transfer_opens_the_stream_later() {
    let mut host = Host::new(|_| ());
    let replica = host.newcomer();
    let cut = host.begin(END_MARKED);
    host.ready(&cut);
    host.append(b"stream");
    host.ack(replica, cut.offset);
    assert_eq!(host.flush(replica), b"");
    host.sent(replica);
    assert_eq!(host.flush(replica), b"stream");
}

#[test]
fn one_that_takes_no_end_mark_is_left_for_the_next_snapshot() {
    let mut host = Host::new(|_| ());
    let marked = host.newcomer();
    let plain = host.attach(Wanted::Everything, |_| ()).replica;
    let silent =
        host.attach(Wanted::Everything, |peer| (peer.takes_end_mark, peer.acks) = (true, false)).replica;
    assert_eq!(host.events().last(), Some(&wanted(3, false)));
    let first = host.begin(END_MARKED);
    assert_eq!(
        host.primary.begin_snapshot(END_MARKED, host.now),
        Err(SnapshotError::NobodyWaits),
        "the ones left can't receive it"
    );
    assert_eq!(host.events(), [wanted(2, false)]);
    let second = host.begin(SIZED);
    host.ready(&first);
    host.ready(&second);
    let transfers: Vec<_> = host
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::SendSnapshot { replica, cut, .. } => Some((replica, cut.snapshot)),
            _ => None,
        })
        .collect();
    assert_eq!(transfers, [(marked, first.snapshot), (plain, second.snapshot), (silent, second.snapshot)]);
}

/// B40, R82, T56 and T57: they come back by themselves, and then a new one is asked for.
#[test]
fn a_failed_snapshot_drops_those_who_shared_it_and_nobody_else() {
    let mut host = Host::new(|_| ());
    let online = host.online();
    let (first, second) = (host.newcomer(), host.newcomer());
    let cut = host.begin(SIZED);
    let waits = host.attach(Wanted::Everything, |_| ()).replica;
    assert_eq!(host.primary.report(host.now).replicas[3].state, ReplicaState::PreparingSnapshot);
    host.events();
    host.primary.handle_snapshot_failed(cut.snapshot, host.now).unwrap();
    let dropped = |replica| Event::Dropped { replica, reason: DropReason::SnapshotFailed };
    let over = Event::SnapshotOver { snapshot: cut.snapshot };
    assert_eq!(host.events(), [dropped(first), dropped(second), dropped(waits), over]);
    assert!(host.is_attached(online));
    assert!(host.primary.handle_snapshot_failed(cut.snapshot, host.now).is_err());
    host.newcomer();
    assert_eq!(host.events(), [wanted(1, true)]);
}

#[test]
fn a_snapshot_that_is_never_ready_fails_just_past_its_time() {
    let timeout = seconds(90);
    let mut host = Host::new(|config| config.snapshot_timeout = timeout);
    let replica = host.newcomer();
    let cut = host.begin(SIZED);
    host.events();
    assert!(!host.pass(timeout).contains(&Event::SnapshotOver { snapshot: cut.snapshot }));
    let reason = DropReason::SnapshotTimedOut { timeout };
    let over = Event::SnapshotOver { snapshot: cut.snapshot };
    assert_eq!(host.pass(NANOSECOND), [Event::Dropped { replica, reason }, over]);
}

/// B21, B24, R86: before the transfer only; inside the image or the stream they would be taken for part of it.
#[test]
fn who_waits_is_kept_alive_until_its_transfer_begins() {
    let mut host = Host::new(|config| config.snapshot_delay = seconds(10));
    let replica = host.newcomer();
    host.events();
    assert_eq!(host.pass(seconds(1) - NANOSECOND), []);
    assert_eq!(host.pass(NANOSECOND), [Event::KeepAlive(replica)]);
    let cut = host.begin(SIZED);
    assert_eq!(host.pass(seconds(2)), [Event::KeepAlive(replica), Event::KeepAlive(replica)]);

    host.now = host.now.checked_add(seconds(1)).unwrap();
    host.primary.handle_timeout(host.now);
    host.ready(&cut);
    let transfer = Event::SendSnapshot { replica, cut, framing: Framing::Sized };
    assert_eq!(host.events(), [transfer], "one that was not taken yet is taken back");
    assert_eq!(host.pass(seconds(20)), []);
}

#[test]
fn the_first_that_waits_gives_others_time_to_come() {
    let mut host = Host::new(|config| (config.snapshot_delay, config.keep_alive) = (seconds(5), seconds(60)));
    host.newcomer();
    assert_eq!(host.events().len(), 1, "the change of history alone");
    assert_eq!(host.pass(seconds(4)), []);
    host.newcomer();
    assert_eq!(host.pass(seconds(1)), [wanted(2, true)]);
}

/// L4: a host that failed to begin one is asked again.
#[test]
fn a_snapshot_is_asked_for_until_it_is_begun_or_nobody_waits() {
    let mut host = Host::new(|_| ());
    let replica = host.newcomer();
    assert!(host.events().contains(&wanted(1, true)));
    assert_eq!(host.pass(seconds(1)), [wanted(1, true), Event::KeepAlive(replica)]);
    host.primary.detach(replica, Detach::Lost, host.now).unwrap();
    assert_eq!(host.pass(seconds(5)), []);
    assert_eq!(host.primary.begin_snapshot(SIZED, host.now), Err(SnapshotError::NobodyWaits));
}

/// redis#8762, B39: a full sync that got stuck had no timeout.
#[test]
fn progress_renews_the_deadline_of_a_transfer() {
    let timeout = seconds(60);
    let mut host = Host::new(|_| ());
    let replica = host.newcomer();
    let cut = host.begin(END_MARKED);
    host.ready(&cut);
    host.pass(timeout);
    host.primary.handle_snapshot_progress(replica, 1, host.now).unwrap();
    host.primary.handle_ack(replica, Ack::applied(at(0)), host.now).unwrap();
    assert_eq!(host.pass(timeout), [], "an ack is no progress, but progress is");
    let reason = DropReason::TransferStalled { stalled: timeout + NANOSECOND, timeout };
    let over = Event::SnapshotOver { snapshot: cut.snapshot };
    assert_eq!(host.pass(NANOSECOND), [Event::Dropped { replica, reason }, over]);
}

/// B11: SELECT was not put again for who had just joined.
#[test]
fn the_unit_after_a_cut_is_read_in_a_context_of_its_own() {
    let mut host = Host::new(|_| ());
    let context = |host: &mut Host| host.primary.write(host.now, |unit| unit.context()).unwrap().value;
    host.online();
    let before = context(&mut host);
    assert_eq!(context(&mut host), before);
    host.newcomer();
    host.begin(SIZED);
    assert_ne!(context(&mut host), before);
    assert_eq!(Duration::ZERO, host.primary.report(host.now).replicas[1].last_heard);
}

#[test]
fn a_late_replica_does_not_join_where_it_could_not_stay() {
    let mut host = Host::new(|config| {
        config.backlog_capacity = 1000;
        config.output_limit = OutputLimit { hard: Some(5000), soft: None };
    });
    host.newcomer();
    let cut = host.begin(SIZED);
    host.ready(&cut);
    host.append(&[1; 2500]);
    host.newcomer();
    host.events();
    host.append(&[1; 1]);
    host.newcomer();
    assert!(host.events().contains(&wanted(1, true)), "more than half of the limit is used up at the start");
    assert_eq!(host.primary.report(host.now).replicas[1].state, ReplicaState::ReceivingSized);
}

#[test]
fn shorter_periods_take_effect_at_once() {
    let mut host =
        Host::new(|config| (config.snapshot_delay, config.keep_alive) = (seconds(60), seconds(60)));
    let replica = host.newcomer();
    host.events();
    let mut config = host.primary.config().clone();
    (config.snapshot_delay, config.keep_alive) = (seconds(2), seconds(1));
    host.primary.reconfigure(config, host.now).unwrap();
    assert_eq!(host.pass(seconds(1)), [Event::KeepAlive(replica)]);
    assert_eq!(host.pass(seconds(1)), [wanted(1, true), Event::KeepAlive(replica)]);
}

/// The image went out in time, but then its replica took long to load it.
#[test]
fn a_replica_dropped_before_it_has_caught_up_makes_the_next_sync_unlikely() {
    let limit = OutputLimit { hard: Some(500), soft: None };
    let mut host = Host::new(|config| (config.backlog_capacity, config.output_limit) = (100, limit));
    let replica = host.newcomer();
    let (cut_at, cut) = (host.now, host.begin(SIZED));
    host.ready(&cut);
    host.pass(seconds(1));
    host.sent(replica);
    while host.is_attached(replica) {
        host.pass(seconds(1));
        host.append(&[b'x'; 100]);
    }
    let lasted = host.now.saturating_since(cut_at);
    assert!(lasted > seconds(4), "{lasted:?}");
    host.newcomer();
    let unlikely = host.events().into_iter().find_map(|event| match event {
        Event::SyncUnlikely(forecast) => Some(forecast),
        _ => None,
    });
    let unlikely = unlikely.unwrap();
    assert_eq!((unlikely.duration, unlikely.limit), (lasted * 3 / 2, limit));
    assert!(unlikely.needed.unwrap().hard > limit.hard, "{unlikely:?}");
}
