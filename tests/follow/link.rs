use std::time::Duration;

use headwater::{
    Ack, Backoff, CloseReason, FollowError, LinkKey, LinkState, Replica, ReplicaConfig, ReplicationId,
    ResumePoint, Timestamp, UpstreamEvent, Wanted, ZeroPeriod,
};

use crate::cluster::{at, id, seconds};

const NANOSECOND: Duration = Duration::from_nanos(1);

fn moment(span: Duration) -> Timestamp {
    Timestamp::from_origin(span)
}

fn config() -> ReplicaConfig {
    let mut config = ReplicaConfig::default();
    config.backoff = Backoff { first: seconds(2), most: seconds(16) };
    config
}

fn point(offset: u64) -> ResumePoint {
    ResumePoint { id: id(1), offset: at(offset) }
}

fn events(replica: &mut Replica) -> Vec<UpstreamEvent> {
    std::iter::from_fn(|| replica.poll_event()).map(|(_, event)| event).collect()
}

fn connect(replica: &mut Replica, now: Timestamp) -> LinkKey {
    let Some((link, UpstreamEvent::Connect)) = replica.poll_event() else { panic!("it connects") };
    replica.handle_connected(link, now).unwrap();
    link
}

/// In step since the origin of time, from `held` on.
fn in_step(held: u64) -> (Replica, LinkKey) {
    let now = Timestamp::default();
    let mut replica = Replica::new(config(), Some(point(held)), now).unwrap();
    let link = connect(&mut replica, now);
    replica.handle_asked(link, now).unwrap();
    replica.handle_resumed(link, None, now).unwrap();
    assert_eq!(events(&mut replica), [UpstreamEvent::InStep, UpstreamEvent::Ack(Ack::applied(at(held)))]);
    (replica, link)
}

#[test]
fn a_period_of_zero_is_refused() {
    let mut config = config();
    config.ack_period = Duration::ZERO;
    let refused = Replica::new(config, None, Timestamp::default()).map(|_| ());
    assert_eq!(refused, Err(ZeroPeriod { setting: "ack_period" }));
}

/// T33, R208, R209, C6.
#[test]
fn it_acknowledges_each_second_and_when_the_host_wishes() {
    let (mut replica, link) = in_step(100);
    replica.handle_received(link, 30, moment(seconds(0))).unwrap();
    assert_eq!(replica.handle_applied(link, &[0; 20], moment(seconds(0))), Ok(at(120)));
    assert_eq!(replica.poll_timeout(), Some(moment(seconds(1))));
    replica.handle_timeout(moment(seconds(1) - NANOSECOND));
    assert_eq!(events(&mut replica), []);
    replica.handle_timeout(moment(seconds(1)));
    assert_eq!(events(&mut replica), [UpstreamEvent::Ack(Ack::applied(at(120)))]);
    replica.handle_fsynced(at(110)).unwrap();
    replica.acknowledge();
    let ack = Ack { applied: at(120), fsynced: Some(at(110)) };
    assert_eq!(events(&mut replica), [UpstreamEvent::Ack(ack)]);
    replica.check_invariants();
}

/// R154, to the nanosecond: any byte counts as a word.
#[test]
fn a_silent_primary_is_given_up() {
    let (mut replica, link) = in_step(0);
    replica.handle_received(link, 1, moment(seconds(5))).unwrap();
    replica.handle_timeout(moment(seconds(65)));
    assert!(replica.is_in_step());
    replica.handle_timeout(moment(seconds(65) + NANOSECOND));
    let silent = CloseReason::Silent { silent: seconds(60) + NANOSECOND, timeout: seconds(60) };
    assert_eq!(events(&mut replica), [UpstreamEvent::Close(silent), UpstreamEvent::Connect]);
    let late = replica.handle_received(link, 1, moment(seconds(66)));
    assert_eq!(late, Err(FollowError::Gone(link)), "bytes of an earlier connection are nobody's");
}

/// A host that is late to take events still closes what it has open.
#[test]
fn a_link_that_was_given_up_is_told_of_though_the_next_one_is_too() {
    let silent = CloseReason::Silent { silent: seconds(60) + NANOSECOND, timeout: seconds(60) };
    let (mut replica, link) = in_step(0);
    replica.handle_timeout(moment(seconds(1)));
    let ack = UpstreamEvent::Ack(Ack::applied(at(0)));
    assert_eq!(events(&mut replica), [ack], "it has held for a while");
    replica.handle_timeout(moment(seconds(60) + NANOSECOND));
    let next = replica.poll_timeout().unwrap();
    replica.handle_timeout(next);
    assert_eq!(replica.poll_event(), Some((link, UpstreamEvent::Close(silent))));
    assert_eq!(events(&mut replica), [], "of the next one the host never heard");
}

/// redis#7830, B37, T46, R155, and R154 once the request was sent.
#[test]
fn each_step_of_the_handshake_has_its_deadline() {
    let start = Timestamp::default();
    let mut replica = Replica::new(config(), None, start).unwrap();
    let Some((link, UpstreamEvent::Connect)) = replica.poll_event() else { panic!("it connects") };
    replica.handle_timeout(moment(seconds(5)));
    assert_eq!(events(&mut replica), []);
    replica.handle_timeout(moment(seconds(5) + NANOSECOND));
    let late = CloseReason::NotConnected { timeout: seconds(5) };
    assert_eq!(replica.poll_event(), Some((link, UpstreamEvent::Close(late))));

    let again = replica.poll_timeout().unwrap();
    replica.handle_timeout(again);
    let link = connect(&mut replica, again);
    let silent = seconds(5) + NANOSECOND;
    replica.handle_timeout(again.checked_add(silent).unwrap());
    let late = CloseReason::NoAnswer { silent, timeout: seconds(5) };
    assert_eq!(replica.poll_event(), Some((link, UpstreamEvent::Close(late))));

    let again = replica.poll_timeout().unwrap();
    replica.handle_timeout(again);
    let link = connect(&mut replica, again);
    replica.handle_asked(link, again).unwrap();
    let alive = again.checked_add(seconds(50)).unwrap();
    replica.handle_heard(link, alive).unwrap(); // R201: an empty line
    replica.handle_timeout(alive.checked_add(seconds(60)).unwrap());
    assert_eq!(events(&mut replica), []);
    let silent = seconds(60) + NANOSECOND;
    replica.handle_timeout(alive.checked_add(silent).unwrap());
    let late = CloseReason::NoAnswer { silent, timeout: seconds(60) };
    assert_eq!(replica.poll_event(), Some((link, UpstreamEvent::Close(late))));
}

/// R221: at once after a link that held, then ever later.
#[test]
fn attempts_come_at_once_and_then_ever_later() {
    let (mut replica, link) = in_step(100);
    replica.handle_timeout(moment(seconds(1)));
    events(&mut replica);
    let mut now = moment(seconds(2));
    replica.handle_disconnected(link, now);
    let mut last = now;
    for (least, most) in [(0, 0), (1, 2), (2, 4), (4, 8), (8, 16), (8, 16), (8, 16)] {
        if let Some(due) = replica.poll_timeout().filter(|_| least > 0) {
            now = due;
            replica.handle_timeout(now);
        }
        let delay = now.saturating_since(last);
        assert!(delay >= seconds(least) && delay <= seconds(most), "{delay:?} within {least} to {most} s");
        let link = connect(&mut replica, now);
        assert_eq!(
            replica.wanted(),
            Wanted::After { id: id(1), offset: at(100) },
            "it outlives failed attempts"
        );
        replica.handle_disconnected(link, now);
        last = now;
    }
    replica.check_invariants();
}

/// However often the link breaks: who gets on is behind by one short wait, not by ever longer ones.
#[test]
fn progress_makes_the_next_attempts_come_early() {
    let (mut replica, mut link) = in_step(100);
    for lost in 1..=5 {
        let now = moment(seconds(10 * lost));
        replica.handle_received(link, 10, now).unwrap();
        replica.handle_applied(link, &[0; 10], now).unwrap();
        replica.handle_disconnected(link, now);
        let due = replica.poll_timeout().unwrap();
        let delay = due.saturating_since(now);
        assert!(delay <= seconds(2), "{delay:?}");
        replica.handle_timeout(due);
        link = connect(&mut replica, due);
        replica.handle_asked(link, due).unwrap();
        replica.handle_resumed(link, None, due).unwrap();
        events(&mut replica);
    }
}

/// L5: those who lost the same primary don't all come back together.
#[test]
fn the_seed_spreads_those_who_failed_together() {
    let delay = |seed| {
        let mut config = config();
        config.seed = seed;
        let mut replica = Replica::new(config, None, Timestamp::default()).unwrap();
        let Some((link, _)) = replica.poll_event() else { panic!("it connects") };
        replica.handle_disconnected(link, Timestamp::default());
        replica.poll_timeout().unwrap()
    };
    let mut delays: Vec<_> = (0..50).map(delay).collect();
    delays.sort_unstable();
    delays.dedup();
    assert!(delays.len() > 45, "{} of 50 differ", delays.len());
}

/// valkey#926, B34, T53, T65, R202, R212, R36: until the snapshot is loaded, what was held stays.
#[test]
fn a_snapshot_takes_the_place_of_what_was_held_only_once_it_is_loaded() {
    let now = Timestamp::default();
    let mut replica = Replica::new(config(), Some(point(100)), now).unwrap();
    let link = connect(&mut replica, now);
    replica.handle_asked(link, now).unwrap();
    let other = ResumePoint { id: id(2), offset: at(7) };
    replica.handle_full(link, other, now).unwrap();
    assert_eq!(replica.held(), Some(point(100)));
    assert_eq!(
        replica.handle_loaded(link, now),
        Err(FollowError::OutOfStep { link }),
        "it has not come whole"
    );
    replica.handle_snapshot_end(link, now).unwrap();
    assert_eq!(replica.held(), Some(point(100)));

    // R210: the primary is to know that the link lives, however long it takes to load.
    for second in 1..200 {
        replica.handle_timeout(moment(seconds(second)));
        assert_eq!(events(&mut replica), [UpstreamEvent::KeepAlive]);
    }
    replica.handle_loaded(link, moment(seconds(200))).unwrap();
    assert_eq!(replica.held(), Some(other));
    assert_eq!(events(&mut replica), [UpstreamEvent::InStep, UpstreamEvent::Ack(Ack::applied(at(7)))]);
}

/// T53, R211: a load that fails, and a link that is lost while one goes on.
#[test]
fn a_load_may_fail_and_may_outlive_its_link() {
    let now = Timestamp::default();
    let loading = || {
        let mut replica = Replica::new(config(), Some(point(100)), now).unwrap();
        let link = connect(&mut replica, now);
        replica.handle_asked(link, now).unwrap();
        replica.handle_full(link, ResumePoint { id: id(2), offset: at(7) }, now).unwrap();
        replica.handle_snapshot_end(link, now).unwrap();
        (replica, link)
    };
    let (mut replica, link) = loading();
    replica.handle_load_failed(link, now).unwrap();
    assert_eq!(replica.wanted(), Wanted::After { id: id(1), offset: at(100) });

    let (mut replica, link) = loading();
    replica.handle_disconnected(link, now);
    assert_eq!(replica.poll_timeout(), None, "it is the host's turn");
    replica.handle_loaded(link, moment(seconds(9))).unwrap();
    assert_eq!(replica.wanted(), Wanted::After { id: id(2), offset: at(7) });
    assert!(!replica.is_in_step() && replica.poll_timeout() > Some(moment(seconds(9))));

    let (mut replica, link) = loading();
    replica.handle_replacing(link, now).unwrap();
    assert_eq!(replica.wanted(), Wanted::Everything, "what is being replaced is held no more");
}

/// R210: nobody is left to be told that the link lives.
#[test]
fn a_link_that_is_lost_during_a_load_is_kept_alive_no_more() {
    let now = Timestamp::default();
    let mut replica = Replica::new(config(), None, now).unwrap();
    let link = connect(&mut replica, now);
    replica.handle_asked(link, now).unwrap();
    replica.handle_full(link, point(7), now).unwrap();
    replica.handle_snapshot_end(link, now).unwrap();
    replica.handle_timeout(moment(seconds(1)));
    replica.handle_disconnected(link, moment(seconds(1)));
    assert_eq!(events(&mut replica), []);
}

/// A real replica process of redis 7.0.15 ends by a segmentation fault here.
#[test]
fn a_primary_that_continues_what_was_not_begun_is_at_fault() {
    let now = Timestamp::default();
    let mut replica = Replica::new(config(), None, now).unwrap();
    let link = connect(&mut replica, now);
    assert_eq!(
        replica.handle_resumed(link, None, now),
        Err(FollowError::OutOfStep { link }),
        "nothing was asked"
    );
    replica.handle_asked(link, now).unwrap();
    assert_eq!(replica.handle_resumed(link, Some(id(1)), now), Err(FollowError::NothingToResume));
    let none = ResumePoint { id: ReplicationId::NONE, offset: at(0) };
    assert_eq!(replica.handle_full(link, none, now), Err(FollowError::NoId));
    assert_eq!(replica.held(), None);
    replica.check_invariants();
}

#[test]
fn a_resume_under_another_id_is_held_under_that() {
    let now = Timestamp::default();
    let mut replica = Replica::new(config(), Some(point(100)), now).unwrap();
    let link = connect(&mut replica, now);
    replica.handle_asked(link, now).unwrap();
    assert_eq!(replica.handle_resumed(link, Some(ReplicationId::NONE), now), Err(FollowError::NoId));
    replica.handle_resumed(link, Some(id(2)), now).unwrap();
    assert_eq!(replica.held(), Some(ResumePoint { id: id(2), offset: at(100) }));
}

/// R220: going on from there would meet the same bytes again.
#[test]
fn after_an_unreadable_stream_everything_is_asked_for() {
    let (mut replica, link) = in_step(100);
    replica.handle_unreadable(link, moment(seconds(1))).unwrap();
    replica.handle_disconnected(link, moment(seconds(1)));
    assert_eq!(replica.wanted(), Wanted::Everything);
    assert_eq!(replica.held(), Some(point(100)), "the data is as good as it was");
}

/// redis#9448, redis#11608, B33, T33, T52, S4.
#[test]
fn nothing_is_applied_or_fsynced_beyond_what_came() {
    let (mut replica, link) = in_step(100);
    let now = moment(seconds(0));
    replica.handle_received(link, 10, now).unwrap();
    let refused = FollowError::BeyondReceived { applied: 11, received: at(110) };
    assert_eq!(replica.handle_applied(link, &[0; 11], now), Err(refused));
    replica.handle_applied(link, &[0; 10], now).unwrap();
    let refused = FollowError::FsyncedBeyondApplied { fsynced: at(111), applied: at(110) };
    assert_eq!(replica.handle_fsynced(at(111)), Err(refused));
    replica.handle_fsynced(at(110)).unwrap();
    replica.handle_fsynced(at(50)).unwrap();
    assert_eq!(replica.ack(), Some(Ack { applied: at(110), fsynced: Some(at(110)) }), "it never goes back");
}

#[test]
fn who_holds_nothing_has_nothing_on_its_disk() {
    let mut replica = Replica::new(config(), None, Timestamp::default()).unwrap();
    let refused = FollowError::FsyncedBeyondApplied { fsynced: at(1), applied: at(0) };
    assert_eq!(replica.handle_fsynced(at(1)), Err(refused));
    replica.handle_fsynced(at(0)).unwrap();
    replica.check_invariants();
    assert_eq!(replica.report(Timestamp::default()).fsynced, None);
}

/// S12.
#[test]
fn the_stream_ends_at_the_last_offset() {
    let (mut replica, link) = in_step(i64::MAX as u64 - 5);
    let refused = FollowError::StreamFull { bytes: 6, received: at(i64::MAX as u64 - 5) };
    assert_eq!(replica.handle_received(link, 6, moment(seconds(0))), Err(refused));
    assert_eq!(replica.handle_received(link, 5, moment(seconds(0))), Ok(()));
}

#[test]
fn a_report_tells_how_far_the_link_has_come() {
    let now = Timestamp::default();
    let mut replica = Replica::new(config(), None, now).unwrap();
    let state = |replica: &Replica| replica.report(now).state;
    assert_eq!(state(&replica), LinkState::Connecting);
    let link = connect(&mut replica, now);
    assert_eq!(state(&replica), LinkState::Handshake);
    replica.handle_asked(link, now).unwrap();
    replica.handle_full(link, point(9), now).unwrap();
    assert_eq!(state(&replica), LinkState::Syncing);
    replica.handle_snapshot_end(link, now).unwrap();
    replica.handle_loaded(link, now).unwrap();
    replica.handle_received(link, 5, now).unwrap();
    let report = replica.report(now);
    assert_eq!(
        (report.state, report.received, report.held),
        (LinkState::InStep, Some(at(14)), Some(point(9)))
    );
    replica.handle_disconnected(link, now);
    assert_eq!(state(&replica), LinkState::Waiting);
}

/// Its host closes nothing twice, nor the connection that now has the place of an earlier one.
#[test]
fn a_link_that_has_ended_by_itself_is_not_to_be_closed() {
    let (mut replica, link) = in_step(0);
    replica.handle_timeout(moment(seconds(61)));
    replica.handle_disconnected(link, moment(seconds(61)));
    assert!(events(&mut replica).iter().all(|event| !matches!(event, UpstreamEvent::Close(_))));
}
