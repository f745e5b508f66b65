use headwater::{
    Ack, Answer, AttachError, Config, ConfigError, Detach, DropReason, Event, FullReason, Gone, OutputLimit,
    OverLimit, Peer, Primary, ReplicationId, Tag, Timestamp, Wanted,
};

use crate::host::{Host, SIZED, at, id};

#[test]
fn an_impossible_configuration_is_refused() {
    let attempt = |change: fn(&mut Config)| {
        let mut config = Config::default();
        change(&mut config);
        Primary::new(config, id(1), Timestamp::default()).map(|_| ())
    };
    assert_eq!(attempt(|_| ()), Ok(()));
    assert_eq!(
        attempt(|config| config.backlog_capacity = 0),
        Err(ConfigError::Zero { setting: "backlog_capacity" })
    );
    assert_eq!(attempt(|config| config.max_replicas = 0), Err(ConfigError::Zero { setting: "max_replicas" }));
    assert!(matches!(
        attempt(|config| config.max_unit = usize::MAX),
        Err(ConfigError::TooLarge { setting: "max_unit", .. })
    ));
    let none = Primary::new(Config::default(), ReplicationId::NONE, Timestamp::default());
    assert!(matches!(none, Err(ConfigError::Id(_))));
}

/// R13: what was written before was not counted, so nobody may ever resume by the id of that time.
#[test]
fn the_first_replica_starts_the_stream_under_a_new_id() {
    let mut host = Host::new(|_| ());
    let before = host.id();
    let (_, answer) = host.resume(at(0));
    assert_eq!(answer, Answer::Full(FullReason::NoBacklog));
    assert_ne!(host.id(), before);
    let changed = Event::HistoryChanged { id: host.id() };
    assert_eq!(host.events().first(), Some(&changed));
}

#[test]
fn without_an_id_in_stock_nobody_starts_the_stream() {
    let mut primary = Primary::new(Config::default(), id(1), Timestamp::default()).unwrap();
    let attempt = |primary: &mut Primary| {
        primary.attach(Wanted::Everything, Peer::new(Tag(1), "a"), Timestamp::default()).map(|_| ())
    };
    assert_eq!(attempt(&mut primary), Err(AttachError::IdWanted));
    assert_eq!(primary.report(Timestamp::default()).counters.sync_full, 0);
    assert_eq!(primary.poll_event(), Some(Event::IdWanted));
    assert!(primary.supply_id(id(1)).is_err(), "the current id is no new one");
    primary.supply_id(id(2)).unwrap();
    assert_eq!(attempt(&mut primary), Ok(()));
}

/// redis#1271, R55, in counts instead of the wire's next bytes.
#[test]
fn a_replica_resumes_at_every_offset_kept_and_no_other() {
    let mut host = Host::new(|config| config.backlog_capacity = 1024);
    let replica = host.online();
    for _ in 0..40 {
        host.append(&[1; 100]);
        host.flush(replica);
    }
    let backlog = host.primary.report(host.now).backlog.unwrap();
    let (start, end) = (backlog.start.get(), host.primary.end().get());
    assert!(start > 0 && end == 4000);
    for (offset, expected) in [(start, start), (end - 1, end - 1), (end, end)] {
        let (replica, answer) = host.resume(at(offset));
        assert_eq!(answer, Answer::Continue { id: host.id(), from: at(expected) });
        assert_eq!(host.flush(replica).len() as u64, end - offset);
    }
    let too_old = FullReason::TooOld { needed: end - start + 1, kept: end - start };
    assert_eq!(host.resume(at(start - 1)).1, Answer::Full(too_old));
    assert_eq!(host.resume(at(end + 1)).1, Answer::Full(FullReason::InFuture { end: at(end) }));
}

/// R64 to R67: three first syncs, nine refused, three resumed.
#[test]
fn requests_are_counted_by_how_they_were_answered() {
    let mut host = Host::new(|_| ());
    for _ in 0..3 {
        host.attach(Wanted::Everything, |_| ());
    }
    for _ in 0..8 {
        host.attach(Wanted::After { id: id(99), offset: at(0) }, |_| ());
    }
    host.attach(Wanted::Unrecognised, |_| ());
    for _ in 0..3 {
        host.resume(at(0));
    }
    let counters = host.primary.report(host.now).counters;
    assert_eq!((counters.sync_full, counters.sync_partial_ok, counters.sync_partial_err), (12, 3, 9));
    host.primary.reset_counters();
    assert_eq!(host.primary.report(host.now).counters, headwater::Counters::default());
}

/// T16: what a resume hands out is not held against the replica, or it would be dropped again for ever.
#[test]
fn a_resume_is_not_charged_with_what_it_hands_out() {
    let mut host = Host::new(|config| {
        config.backlog_capacity = 100_000;
        config.output_limit = OutputLimit { hard: Some(1000), soft: None };
    });
    let replica = host.online();
    host.append(&[1; 90_000]);
    host.primary.detach(replica, Detach::Lost, host.now).unwrap();
    let (replica, answer) = host.resume(at(0));
    assert!(matches!(answer, Answer::Continue { .. }));
    host.append(&[2; 99_999]);
    assert!(host.is_attached(replica), "the limit acts as the capacity, on top of the credit");
    host.append(&[3; 1]);
    let over = DropReason::OverLimit(OverLimit::Hard { unsent: 100_000, limit: 100_000 });
    assert!(host.events().contains(&Event::Dropped { replica, reason: over }));
}

/// T13 and T14: what one slow replica pins is there for all; but nobody resumes further behind than the limit
/// would let it stay.
#[test]
fn another_ones_pin_is_good_for_a_resume_up_to_the_limit() {
    let mut host = Host::new(|config| {
        config.backlog_capacity = 1000;
        config.output_limit = OutputLimit { hard: Some(50_000), soft: None };
    });
    let first = host.online();
    host.append(&[1; 1000]);
    let (slow, _) = host.resume(at(0));
    host.flush(first);
    host.append(&[1; 49_999]);
    let (second, answer) = host.resume(at(0));
    assert_eq!(
        answer,
        Answer::Continue { id: host.id(), from: at(0) },
        "one byte below the limit, and the credit"
    );
    assert!(host.is_attached(slow) && host.is_attached(second));
    host.append(&[1]);
    assert!(!host.is_attached(slow) && !host.is_attached(second));

    let (mut host, megabyte) = (Host::new(|config| config.output_limit.hard = None), 1 << 20);
    let _slow = host.online();
    host.append(&vec![1; 10 * megabyte]);
    let mut config = host.primary.config().clone();
    config.output_limit = OutputLimit { hard: Some(2 << 20), soft: None };
    host.primary.reconfigure(config, host.now).unwrap();
    let start = host.primary.report(host.now).backlog.unwrap().start;
    let needed = host.primary.end().get() - start.get();
    let over = FullReason::OverLimit { needed, limit: (3 << 20) - 1 };
    assert_eq!(host.resume(start).1, Answer::Full(over), "what is let go of in portions is still there");
}

#[test]
fn the_table_is_bounded_and_one_untold_of_counts() {
    let mut host = Host::new(|config| config.max_replicas = 2);
    let first = host.online();
    let second = host.newcomer();
    let peer = host.peer();
    let full = AttachError::TooManyReplicas { max: 2 };
    assert_eq!(host.primary.attach(Wanted::Everything, peer.clone(), host.now), Err(full));

    host.primary.handle_ack(first, Ack::applied(at(9)), host.now).unwrap_err();
    assert_eq!(host.primary.attach(Wanted::Everything, peer.clone(), host.now), Err(full));
    host.events();
    assert!(host.primary.attach(Wanted::Everything, peer, host.now).is_ok());
    assert!(host.is_attached(second));
}

/// S10: no event names a connection that the host has closed, and its key is nobody's.
#[test]
fn a_detached_replica_is_not_heard_of_again() {
    let mut host = Host::new(|_| ());
    let gone = host.newcomer();
    let stays = host.newcomer();
    let cut = host.begin(SIZED);
    host.ready(&cut);
    host.primary.detach(gone, Detach::Clean, host.now).unwrap();
    let expected = Event::SendSnapshot { replica: stays, cut, framing: SIZED.framing };
    assert_eq!(host.events(), [Event::HistoryChanged { id: host.id() }, expected]);

    assert_eq!(host.primary.detach(gone, Detach::Lost, host.now), Err(Gone(gone)));
    assert_eq!(host.primary.handle_alive(gone, host.now), Err(Gone(gone)));
    assert_eq!(host.primary.handle_snapshot_sent(gone, host.now), Err(Gone(gone)));
    assert!(host.primary.take_batch(gone, host.now).is_err());
    let newcomer = host.newcomer();
    assert_ne!(newcomer, gone);
    let counters = host.primary.report(host.now).counters;
    assert_eq!((counters.detached_clean, counters.detached_lost), (1, 0));
}

#[test]
fn replicas_are_reported_in_the_order_in_which_they_came() {
    let mut host = Host::new(|_| ());
    let first = host.newcomer();
    let second = host.newcomer();
    host.primary.detach(first, Detach::Clean, host.now).unwrap();
    let third = host.newcomer();
    let report = host.primary.report(host.now);
    let order: Vec<_> = report.replicas.iter().map(|replica| replica.replica).collect();
    assert_eq!(order, [second, third]);
}

/// The host may have given the tag to another connection by then.
#[test]
fn one_dropped_and_then_detached_is_not_named_any_more() {
    let mut host = Host::new(|_| ());
    let replica = host.online();
    host.primary.handle_ack(replica, Ack::applied(at(9)), host.now).unwrap_err();
    host.primary.detach(replica, Detach::Lost, host.now).unwrap();
    assert_eq!(host.events(), []);
    assert_eq!(host.primary.detach(replica, Detach::Lost, host.now), Err(Gone(replica)));
}

#[test]
fn an_id_is_asked_for_again_after_one_in_use() {
    let mut host = Host::new(|_| ());
    host.newcomer();
    let current = host.id();
    assert!(host.primary.supply_id(current).is_err());
    assert!(std::iter::from_fn(|| host.primary.poll_event()).any(|event| event == Event::IdWanted));
}
