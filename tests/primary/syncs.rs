use std::time::Duration;

use headwater::{
    Answer, Backoff, Detach, DropReason, Event, Image, OutputLimit, ReplicaKey, ReplicaState, SnapshotError,
    SoftLimit, SyncForecast, Wanted,
};

use crate::host::{Host, NANOSECOND, SIZED, at, seconds};

const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(8) };

fn backing_off() -> Host {
    Host::new(|config| config.sync_backoff = Some(BACKOFF))
}

fn newcomer(host: &mut Host, port: i64) -> ReplicaKey {
    host.attach(Wanted::Everything, |peer| peer.port = port).replica
}

/// A sync of `port` that is lost on its way; tells for how long its peer is held back.
fn fail(host: &mut Host, port: i64) -> Duration {
    let replica = newcomer(host, port);
    if let Some(held) = host.report_of(replica).held_back {
        host.pass(held);
    }
    let cut = host.begin(SIZED);
    host.ready(&cut);
    host.primary.detach(replica, Detach::Lost, host.now).unwrap();
    host.events();
    let again = newcomer(host, port);
    let held = host.report_of(again).held_back.unwrap_or_default();
    host.primary.detach(again, Detach::Clean, host.now).unwrap();
    host.events();
    held
}

fn wanted(waiting: usize) -> Event {
    Event::SnapshotWanted { waiting, all_take_end_mark: false }
}

fn is_wanted(events: &[Event]) -> bool {
    events.iter().any(|event| matches!(event, Event::SnapshotWanted { .. }))
}

/// valkey#4718, valkey#4742, L5: half of it is certain, the rest drawn; twice as long with each failure, and never
/// above the cap.
#[test]
fn each_failure_holds_a_peer_back_for_longer_up_to_the_cap() {
    let mut host = backing_off();
    for (failure, longest) in [1, 2, 4, 8, 8, 8].map(seconds).into_iter().enumerate() {
        let held = fail(&mut host, 6380);
        assert!((longest / 2..=longest).contains(&held), "failure {failure}: {held:?} of {longest:?}");
    }
}

/// L5: those who failed together do not come back together.
#[test]
fn each_peer_has_a_delay_of_its_own() {
    let mut host = backing_off();
    let held: Vec<_> = (1..20).map(|port| fail(&mut host, port)).collect();
    let mut distinct = held.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), held.len(), "{held:?}");
    let other = newcomer(&mut host, 99);
    assert_eq!(host.report_of(other).held_back, None, "nobody answers for another's failure");
}

/// Not a nanosecond before its time, and then at once; with keep-alives meanwhile, so that it stays (R86).
#[test]
fn a_replica_in_back_off_waits_with_keep_alives_and_is_asked_for_when_its_time_comes() {
    let mut host = backing_off();
    for _ in 0..4 {
        fail(&mut host, 6380);
    }
    let replica = newcomer(&mut host, 6380);
    let held = host.report_of(replica).held_back.unwrap();
    assert!(held >= seconds(3), "{held:?}");
    assert!(!is_wanted(&host.events()));
    assert_eq!(host.primary.begin_snapshot(SIZED, host.now), Err(SnapshotError::NobodyWaits));
    let events = host.pass(held - NANOSECOND);
    assert!(events.iter().all(|event| *event == Event::KeepAlive(replica)), "{events:?}");
    assert_eq!(events.len() as u64, (held - NANOSECOND).as_secs());
    assert_eq!(host.report_of(replica).state, ReplicaState::WaitingForSnapshot);
    assert!(host.pass(NANOSECOND).contains(&wanted(1)));
    let cut = host.begin(SIZED);
    host.ready(&cut);
    assert_eq!(host.events(), [Event::SendSnapshot { replica, cut, framing: SIZED.framing }]);
}

/// L6.
#[test]
fn a_peer_in_back_off_resumes_at_once() {
    let mut host = backing_off();
    host.online();
    for _ in 0..4 {
        fail(&mut host, 6380);
    }
    let (id, offset) = (host.id(), host.primary.end());
    let attached = host.attach(Wanted::After { id, offset }, |peer| peer.port = 6380);
    assert_eq!(attached.answer, Answer::Continue { id, from: offset });
    assert_eq!(host.report_of(attached.replica).state, ReplicaState::Online);
}

/// L6: with no transfer free.
#[test]
fn a_resume_needs_no_free_transfer() {
    let mut host = Host::new(|config| config.max_transfers = 1);
    newcomer(&mut host, 1);
    host.begin(SIZED);
    let (_, answer) = host.resume(at(0));
    assert!(matches!(answer, Answer::Continue { .. }));
}

/// Others do not wait with it, and one that waits for a snapshot of its own may not share theirs early.
#[test]
fn a_peer_in_back_off_holds_nobody_up_and_does_not_join() {
    let mut host = backing_off();
    for _ in 0..4 {
        fail(&mut host, 6380);
    }
    let early = newcomer(&mut host, 6380);
    let other = newcomer(&mut host, 6381);
    assert_eq!(host.events().last(), Some(&wanted(1)));
    let cut = host.begin(SIZED);
    let late = newcomer(&mut host, 6380);
    for held_back in [early, late] {
        assert_eq!(host.report_of(held_back).state, ReplicaState::WaitingForSnapshot);
    }
    assert_eq!(host.report_of(other).state, ReplicaState::PreparingSnapshot);
    host.ready(&cut);
    host.sent(other);
    assert!(is_wanted(&host.pass(seconds(8))));
}

/// The moment at which its time is over is its own.
#[test]
fn who_is_back_just_as_its_back_off_ends_joins() {
    let mut host = backing_off();
    let held = fail(&mut host, 6380);
    let other = newcomer(&mut host, 6381);
    let cut = host.begin(SIZED);
    host.pass(held - NANOSECOND);
    let early = newcomer(&mut host, 6380);
    assert_eq!(host.report_of(early).state, ReplicaState::WaitingForSnapshot);
    host.primary.detach(early, Detach::Clean, host.now).unwrap();
    host.pass(NANOSECOND);
    let back = newcomer(&mut host, 6380);
    for joined in [other, back] {
        assert_eq!(host.report_of(joined).state, ReplicaState::PreparingSnapshot);
    }
    host.ready(&cut);
}

/// A sync has succeeded once the replica holds what was written meanwhile, not before.
#[test]
fn a_success_forgives_all_failures() {
    let mut host = backing_off();
    for _ in 0..4 {
        fail(&mut host, 6380);
    }
    let sync = |host: &mut Host, acked: u64| {
        let replica = newcomer(host, 6380);
        host.pass(seconds(8));
        let cut = host.begin(SIZED);
        host.append(b"meanwhile");
        host.ready(&cut);
        host.sent(replica);
        host.flush(replica);
        host.ack(replica, at(cut.offset.get() + acked));
        host.primary.detach(replica, Detach::Lost, host.now).unwrap();
        let again = newcomer(host, 6380);
        let held = host.report_of(again).held_back;
        host.primary.detach(again, Detach::Clean, host.now).unwrap();
        held
    };
    assert!(sync(&mut host, 8).is_some(), "it lacks the last byte");
    assert_eq!(sync(&mut host, 9), None);
    assert!(fail(&mut host, 6380) <= seconds(1), "as long as after a first failure");
}

#[test]
fn a_replica_that_leaves_cleanly_has_not_failed() {
    let mut host = backing_off();
    let replica = newcomer(&mut host, 6380);
    let cut = host.begin(SIZED);
    host.ready(&cut);
    host.primary.detach(replica, Detach::Clean, host.now).unwrap();
    let again = newcomer(&mut host, 6380);
    assert_eq!(host.report_of(again).held_back, None);
}

/// CONFIG SET at run time, for those who wait too.
#[test]
fn without_back_off_nobody_is_held_back() {
    let mut host = backing_off();
    for _ in 0..4 {
        fail(&mut host, 6380);
    }
    let replica = newcomer(&mut host, 6380);
    host.events();
    host.reconfigure(|config| config.sync_backoff = None);
    assert_eq!(host.report_of(replica).held_back, None);
    assert!(is_wanted(&host.events()));
    assert_eq!(fail(&mut host, 6380), Duration::ZERO);
}

/// valkey#3893: others wait for theirs with keep-alives, in order of arrival, and are asked for as soon as one is
/// free.
#[test]
fn no_more_transfers_run_at_once_than_are_allowed() {
    let mut host = Host::new(|config| config.max_transfers = 2);
    let [first, second, third] = [1, 2, 3].map(|port| newcomer(&mut host, port));
    assert_eq!(host.events().last(), Some(&wanted(2)));
    let cut = host.begin(SIZED);
    let states = |host: &Host| [first, second, third].map(|replica| host.report_of(replica).state);
    use ReplicaState::{Online, PreparingSnapshot, ReceivingSized, WaitingForSnapshot};
    assert_eq!(states(&host), [PreparingSnapshot, PreparingSnapshot, WaitingForSnapshot]);
    let refused = host.primary.begin_snapshot(SIZED, host.now);
    assert_eq!(refused, Err(SnapshotError::TooManyTransfers { max: 2 }));
    host.ready(&cut);
    host.events();
    assert_eq!(host.pass(seconds(2)), [Event::KeepAlive(third), Event::KeepAlive(third)]);
    host.sent(first);
    assert_eq!(host.events(), [wanted(1)]);
    host.begin(SIZED);
    assert_eq!(states(&host), [Online, ReceivingSized, PreparingSnapshot]);
}

/// R73 and L5: it would be one transfer too many, though the image is there.
#[test]
fn a_late_replica_does_not_join_without_a_free_transfer() {
    let mut host = Host::new(|config| config.max_transfers = 1);
    let first = newcomer(&mut host, 1);
    let cut = host.begin(SIZED);
    let late = newcomer(&mut host, 2);
    assert_eq!(host.report_of(late).state, ReplicaState::WaitingForSnapshot);
    host.ready(&cut);
    host.sent(first);
    assert!(is_wanted(&host.events()));
}

/// T87: where the image can't be sent again, the next one is its own.
#[test]
fn a_replica_that_comes_after_the_cut_waits_for_the_next_snapshot_or_shares_this_one() {
    for replayable in [true, false] {
        let mut host = Host::new(|_| ());
        newcomer(&mut host, 1);
        let cut = host.begin(Image { replayable, ..SIZED });
        host.ready(&cut);
        host.events();
        let late = newcomer(&mut host, 2);
        let expected =
            if replayable { ReplicaState::ReceivingSized } else { ReplicaState::WaitingForSnapshot };
        assert_eq!(host.report_of(late).state, expected);
        assert_eq!(is_wanted(&host.events()), !replayable);
    }
}

/// B41, T55 and T59: the survivors' transfers go on, and the image is let go of with its last replica.
#[test]
fn a_snapshot_lasts_as_long_as_somebody_receives_it() {
    let mut host = Host::new(|_| ());
    let [slow, quick, lost] = [1, 2, 3].map(|port| newcomer(&mut host, port));
    let cut = host.begin(SIZED);
    host.ready(&cut);
    host.events();
    host.primary.detach(lost, Detach::Lost, host.now).unwrap();
    host.sent(quick);
    host.ack(quick, at(0));
    assert_eq!(host.events(), []);
    host.pass(seconds(60));
    host.primary.handle_alive(quick, host.now).unwrap();
    let (stalled, timeout) = (seconds(60) + NANOSECOND, seconds(60));
    let reason = DropReason::TransferStalled { stalled, timeout };
    let over = Event::SnapshotOver { snapshot: cut.snapshot };
    assert_eq!(host.pass(NANOSECOND), [Event::Dropped { replica: slow, reason }, over]);
    assert!(host.is_attached(quick));
}

/// Sends an image at 200 bytes a second, while 100 a second are written.
fn transfer(host: &mut Host, replica: ReplicaKey, span: Duration) {
    let tick = Duration::from_millis(10);
    for count in 1..=span.as_millis() / tick.as_millis() {
        host.pass(tick);
        host.primary.handle_snapshot_progress(replica, u64::try_from(count * 2).unwrap(), host.now).unwrap();
        host.append(b"1");
    }
}

/// T54 and S10: it is back for another, at once without back-off, and nothing of the first is left.
#[test]
fn a_sync_that_is_cut_anywhere_is_made_again() {
    for cut_at in 0..5 {
        let mut host = Host::new(|_| ());
        let replica = newcomer(&mut host, 1);
        let mut cut = None;
        for step in 0..cut_at {
            match (step, cut) {
                (0, _) => cut = Some(host.begin(SIZED)),
                (1, Some(cut)) => host.ready(&cut),
                (2, _) => host.primary.handle_snapshot_progress(replica, 10, host.now).unwrap(),
                _ => host.sent(replica),
            }
            host.append(b"meanwhile");
        }
        host.primary.detach(replica, Detach::Lost, host.now).unwrap();
        host.primary.check_invariants();
        host.events();
        let again = host.online();
        host.append(b"after");
        assert_eq!(host.flush(again), b"after", "cut at {cut_at}");
        assert_eq!(host.report().replicas.len(), 1);
    }
}

/// One whose sync takes 10 s at 100 bytes a second, under these limits.
fn synced_under(limit: OutputLimit) -> Host {
    let mut host = Host::new(|config| (config.backlog_capacity, config.output_limit) = (100, limit));
    let replica = newcomer(&mut host, 1);
    let cut = host.begin(Image { size: Some(2000), ..SIZED });
    host.ready(&cut);
    transfer(&mut host, replica, seconds(10));
    host.sent(replica);
    host.flush(replica);
    host.ack(replica, host.primary.end());
    host.events();
    host
}

fn forecast(events: Vec<Event>) -> Option<SyncForecast> {
    events.into_iter().find_map(|event| match event {
        Event::SyncUnlikely(forecast) => Some(forecast),
        _ => None,
    })
}

/// L5: whoever runs into it is told before, with figures, and what would help.
#[test]
fn a_sync_that_is_expected_to_fail_is_told_with_figures_and_the_settings_that_help() {
    let limit = OutputLimit { hard: Some(100_000), soft: None };
    let mut host = synced_under(limit);
    newcomer(&mut host, 2);
    assert_eq!(forecast(host.events()), None, "there is room enough");

    let mut host = synced_under(limit);
    let low = OutputLimit { hard: Some(900), soft: None };
    host.reconfigure(|config| config.output_limit = low);
    newcomer(&mut host, 2);
    let events = host.events();
    let unlikely = forecast(events.clone()).unwrap();
    assert_eq!((unlikely.duration, unlikely.transfer_rate, unlikely.limit), (seconds(10), Some(200), low));
    assert_eq!(unlikely.unsent, unlikely.write_rate * 10);
    let needed = unlikely.needed.unwrap();
    assert_eq!(needed.hard, Some(unlikely.unsent + 1));
    let text = unlikely.to_string();
    assert!(text.contains("raise the hard output limit from 900 to "), "{text}");
    assert!(is_wanted(&events), "it is tried all the same");
    for _ in 0..300 {
        host.append(b"1");
        assert_eq!(forecast(host.pass(Duration::from_millis(10))), None, "told once for one sync");
    }
    host.begin(SIZED);
    newcomer(&mut host, 3);
    assert!(forecast(host.events()).is_none(), "it shares the one that was told of");

    let mut host = synced_under(limit);
    host.reconfigure(|config| config.output_limit = needed);
    newcomer(&mut host, 2);
    assert_eq!(forecast(host.events()), None, "the settings that were named make it feasible");
}

#[test]
fn a_soft_limit_that_a_sync_would_outlast_is_named_with_the_time_that_helps() {
    let mut host = synced_under(OutputLimit { hard: None, soft: None });
    let soft = |lasting| Some(SoftLimit { bytes: 500, lasting });
    host.reconfigure(|config| config.output_limit.soft = soft(seconds(1)));
    newcomer(&mut host, 2);
    let unlikely = forecast(host.events()).unwrap();
    let needed = unlikely.needed.unwrap();
    assert!(needed.soft.unwrap().lasting > seconds(5), "{needed:?}");
    assert_eq!((needed.hard, needed.soft.unwrap().bytes), (None, 500));

    let mut host = synced_under(OutputLimit { hard: None, soft: None });
    host.reconfigure(|config| config.output_limit = needed);
    newcomer(&mut host, 2);
    assert_eq!(forecast(host.events()), None);
}

/// L5: wherever in a sync the limit ends it, and though a tenth more is written while one lasts than before.
#[test]
fn the_settings_that_are_told_let_a_sync_succeed_within_a_few_tries() {
    let [short, long] = [1, 20].map(seconds);
    for size in [None, Some(20_000)] {
        for spans in [[long, short, short], [short, long, short], [short, short, long]] {
            let limit = OutputLimit { hard: Some(400), soft: None };
            let mut host = Host::new(|config| (config.backlog_capacity, config.output_limit) = (100, limit));
            let failures = (0..20).take_while(|_| !is_synced(&mut host, size, spans)).count();
            assert!((1..7).contains(&failures), "{failures} failures, made, sent and loaded in {spans:?}");
        }
    }
}

/// Sends an image of 20,000 bytes while more is written than usual.
fn is_sent(host: &mut Host, replica: ReplicaKey, span: Duration) -> bool {
    for step in 1..=100 {
        write_for(host, span / 100, MORE);
        if host.primary.handle_snapshot_progress(replica, step * 200, host.now).is_err() {
            return false;
        }
    }
    host.sent(replica);
    true
}

/// Writes a byte each `tick`.
fn write_for(host: &mut Host, span: Duration, tick: Duration) {
    let end = host.now.checked_add(span).unwrap();
    while host.now < end {
        host.pass(tick);
        host.append(b"1");
    }
}

const USUAL: Duration = Duration::from_millis(11);
const MORE: Duration = Duration::from_millis(10);

/// A sync under the limit that is told before it, if one is.
fn is_synced(host: &mut Host, size: Option<u64>, [making, sending, loading]: [Duration; 3]) -> bool {
    write_for(host, seconds(2), USUAL);
    let replica = newcomer(host, 1);
    if let Some(told) = forecast(host.events()) {
        host.reconfigure(|config| config.output_limit = told.needed.unwrap());
    }
    let cut = host.begin(Image { size, ..SIZED });
    write_for(host, making, MORE);
    // One that was dropped is gone, and its snapshot with it.
    let is_made = host.primary.handle_snapshot_ready(cut.snapshot, host.now).is_ok();
    if is_made && is_sent(host, replica, sending) {
        write_for(host, loading, MORE);
    }
    let is_synced = host.is_attached(replica);
    if is_synced {
        host.catch_up(replica);
    }
    is_synced
}

/// One that was dropped on its way teaches as much as one that succeeded.
#[test]
fn a_sync_that_failed_by_its_limit_makes_the_next_one_unlikely() {
    let limit = OutputLimit { hard: Some(500), soft: None };
    let mut host = Host::new(|config| (config.backlog_capacity, config.output_limit) = (100, limit));
    let replica = newcomer(&mut host, 1);
    let cut = host.begin(Image { size: Some(2000), ..SIZED });
    host.ready(&cut);
    transfer(&mut host, replica, seconds(5));
    assert!(!host.is_attached(replica));
    newcomer(&mut host, 1);
    let unlikely = forecast(host.events()).unwrap();
    assert_eq!(
        (unlikely.duration, unlikely.transfer_rate),
        (seconds(10), Some(200)),
        "by the size of the image"
    );
    assert!(unlikely.needed.unwrap().hard >= Some(1000), "{unlikely:?}");
}

/// Nothing that a replica failed to take makes a sync unlikely while nobody writes.
#[test]
fn a_quiet_stream_makes_no_sync_unlikely() {
    let mut host = Host::new(|_| ());
    let replica = newcomer(&mut host, 1);
    let cut = host.begin(SIZED);
    host.ready(&cut);
    host.primary.handle_snapshot_progress(replica, 16, host.now).unwrap();
    host.pass(seconds(61));
    assert!(!host.is_attached(replica));
    newcomer(&mut host, 1);
    assert_eq!(forecast(host.events()), None);
}
