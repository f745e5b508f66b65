use headwater::{
    Ack, Event, Gone, Handover, HandoverError, Level, NodeEvent, ReplicaKey, Tag, Timeout, Timestamp, Wait,
    WaitEnded, WaitOutcome, WaiterKey, WriteRefused,
};

use crate::cluster::{Cluster, at, seconds, set, syncs};

fn pair() -> (Cluster, ReplicaKey) {
    let mut cluster = Cluster::new(3);
    for host in 1..3 {
        cluster.follow(host, 0);
        cluster.pass(seconds(3));
    }
    let replica = cluster.report(0).replicas[0].replica;
    (cluster, replica)
}

fn to(replica: ReplicaKey) -> Handover {
    Handover { to: Some(replica), timeout: Some(seconds(30)) }
}

/// B32, R233 to R237, T76: units stop, and the replica that has all of them leads; nobody needs a snapshot.
#[test]
fn a_handover_loses_nothing_and_costs_no_snapshot() {
    let (mut cluster, replica) = pair();
    cluster.write_quietly(0, &set("last"));
    let now = cluster.now;
    cluster.hosts[0].node.begin_handover(to(replica), now).unwrap();
    assert_eq!(cluster.hosts[0].node.primary().write(now, |_| ()), Err(WriteRefused::HandingOver));
    cluster.settle();
    let end = cluster.hosts[0].node.held().unwrap().offset;
    cluster.pass(seconds(2)); // with its next ack
    assert_eq!(cluster.hosts[0].told(), [NodeEvent::HandoverReady(replica)]);
    assert_eq!(cluster.hosts[0].node.held().unwrap().offset, end, "no heartbeat and no request came between");

    cluster.promote(1);
    cluster.follow(0, 1);
    cluster.follow(2, 1);
    cluster.write(1, &set("first"));
    cluster.pass(seconds(3));
    cluster.assert_equal();
    assert_eq!(syncs(&mut cluster, 1), (0, 2));
}

/// R234: a byte short is not there.
#[test]
fn who_is_a_byte_short_does_not_take_over() {
    let (mut cluster, replica) = pair();
    cluster.write(0, &set("x"));
    let (now, node) = (cluster.now, &mut cluster.hosts[0].node);
    node.begin_handover(to(replica), now).unwrap();
    let end = node.held().unwrap().offset;
    node.primary().handle_ack(replica, Ack::applied(at(end.get() - 1)), now).unwrap();
    assert_eq!(node.poll_event(), None);
    node.primary().handle_ack(replica, Ack::applied(end), now).unwrap();
    assert_eq!(node.poll_event(), Some(NodeEvent::HandoverReady(replica)));
}

/// R235: who is told that a handover failed may lead again, which would be wrong of the one under way.
#[test]
fn the_failure_of_a_handover_is_not_told_of_the_next_one() {
    let (mut cluster, replica) = pair();
    let (now, node) = (cluster.now, &mut cluster.hosts[0].node);
    node.primary().append(&set("not sent"), now).unwrap();
    let soon = std::time::Duration::from_nanos(1);
    node.begin_handover(Handover { to: Some(replica), timeout: Some(soon) }, now).unwrap();
    let now = now.checked_add(soon).unwrap();
    node.handle_timeout(now);
    node.begin_handover(to(replica), now).unwrap();
    assert!(!core::iter::from_fn(|| node.poll_event()).any(|event| event == NodeEvent::HandoverFailed));
    assert!(node.primary().report(now).is_handing_over);
}

/// R235.
#[test]
fn a_handover_wakes_its_host_at_the_deadline() {
    let (mut cluster, replica) = pair();
    let (now, node) = (cluster.now, &mut cluster.hosts[0].node);
    let soon = std::time::Duration::from_nanos(1);
    node.primary().append(&set("not sent"), now).unwrap();
    node.begin_handover(Handover { to: Some(replica), timeout: Some(soon) }, now).unwrap();
    assert_eq!(node.poll_timeout(), now.checked_add(soon));
    assert!(node.primary().report(now).is_handing_over);
    node.handle_timeout(now);
    assert_eq!(node.primary().write(now, |_| ()), Err(WriteRefused::HandingOver), "it is not over");
}

/// R168, R173: what asks for acks would be a byte that the new primary lacks.
#[test]
fn those_who_wait_during_a_handover_put_nothing_into_the_stream() {
    let (mut cluster, replica) = pair();
    let now = cluster.now;
    cluster.hosts[0].node.begin_handover(to(replica), now).unwrap();
    let waiter = wait(&mut cluster);
    cluster.pass(seconds(2));
    assert_eq!(cluster.hosts[0].told(), [NodeEvent::HandoverReady(replica)]);
    cluster.promote(1);
    cluster.follow(0, 1);
    cluster.follow(2, 1);
    assert_unblocked(&mut cluster, waiter);
    cluster.write(1, &set("x"));
    cluster.pass(seconds(3));
    cluster.assert_equal();
    assert_eq!(syncs(&mut cluster, 1), (0, 2));
}

/// R168, R169: nor do those who wait as the node is demoted.
#[test]
fn a_wait_that_ends_with_the_role_before_anybody_was_asked_puts_nothing_into_the_stream() {
    let (mut cluster, _) = pair();
    let before = cluster.hosts[0].node.held();
    cluster.promote(1);
    let waiter = wait(&mut cluster);
    cluster.follow(0, 1);
    assert_unblocked(&mut cluster, waiter);
    cluster.pass(seconds(3));
    assert_eq!(cluster.hosts[0].node.held().map(|held| held.offset), before.map(|held| held.offset));
    cluster.assert_equal();
    assert_eq!(syncs(&mut cluster, 1), (0, 1));
}

/// For more than there is, at the first host; nobody has been asked yet.
fn wait(cluster: &mut Cluster) -> WaiterKey {
    let wait = Wait {
        target: at(1000),
        replicas: 2,
        level: Level::Applied,
        local: false,
        timeout: Timeout::Never,
        tag: Tag(7),
    };
    let outcome = cluster.hosts[0].node.primary().wait(wait, cluster.now).unwrap();
    let WaitOutcome::Pending(waiter) = outcome else { panic!("nobody has that much") };
    waiter
}

fn assert_unblocked(cluster: &mut Cluster, waiter: WaiterKey) {
    let ended = cluster.hosts[0].told().into_iter().find_map(|event| match event {
        NodeEvent::Primary(Event::WaitEnded { waiter, end }) => Some((waiter, end.how)),
        _ => None,
    });
    assert_eq!(ended, Some((waiter, WaitEnded::NoLongerPrimary)));
}

/// T77.
#[test]
fn without_a_name_whoever_has_everything_takes_over() {
    let (mut cluster, _) = pair();
    cluster.hosts[1].upstream = None;
    cluster.cut(1);
    cluster.write(0, &set("x"));
    let now = cluster.now;
    cluster.hosts[0].node.begin_handover(Handover { to: None, timeout: None }, now).unwrap();
    cluster.pass(seconds(3));
    let caught_up = cluster.report(0).replicas[0].replica;
    assert_eq!(cluster.hosts[0].told(), [NodeEvent::HandoverReady(caught_up)]);
}

/// D3: the time that a handover may take counts from the latest time that the node was told.
#[test]
fn a_clock_that_goes_back_does_not_end_a_handover() {
    let (mut cluster, replica) = pair();
    cluster.pass(seconds(40));
    cluster.write_quietly(0, &set("last"));
    let (now, early) = (cluster.now, Timestamp::default());
    cluster.hosts[0].node.begin_handover(to(replica), early).unwrap();
    cluster.hosts[0].node.handle_timeout(now);
    assert_eq!(cluster.hosts[0].node.primary().write(now, |_| ()), Err(WriteRefused::HandingOver));
}

/// R235, T79: at the deadline units are let in again.
#[test]
fn a_handover_that_takes_too_long_is_given_up() {
    let (mut cluster, replica) = pair();
    let (now, before) = (cluster.now, syncs(&mut cluster, 0));
    cluster.hosts[0].node.primary().append(&set("not sent"), now).unwrap();
    cluster.hosts[0].node.begin_handover(to(replica), now).unwrap();
    // It is heard from, but never has the end.
    let behind = cluster.report(0).replicas[0].acked.unwrap();
    cluster.hosts[0].node.primary().handle_ack(replica, Ack::applied(behind), now).unwrap();
    assert_eq!(
        cluster.hosts[0].node.poll_timeout().map(|at| at <= now.checked_add(seconds(30)).unwrap()),
        Some(true)
    );
    let deadline = now.checked_add(seconds(30)).unwrap();
    cluster.hosts[0].node.handle_timeout(deadline);
    let events: Vec<_> = std::iter::from_fn(|| cluster.hosts[0].node.poll_event()).collect();
    assert!(events.contains(&NodeEvent::HandoverFailed), "{events:?}");
    assert!(cluster.hosts[0].node.primary().write(deadline, |_| ()).is_ok());
    cluster.settle();
    assert_eq!((syncs(&mut cluster, 0), cluster.report(0).replicas.len()), (before, 2), "nobody noticed");
}

/// T80: who was to take over can't be reached, or refuses. The others learn the new id, and the stream goes on.
#[test]
fn a_handover_that_is_refused_costs_a_resume_each() {
    let (mut cluster, replica) = pair();
    let (now, (full, _)) = (cluster.now, syncs(&mut cluster, 0));
    cluster.hosts[0].node.begin_handover(to(replica), now).unwrap();
    cluster.pass(seconds(2));
    assert_eq!(cluster.hosts[0].told(), [NodeEvent::HandoverReady(replica)]);
    cluster.hosts[0].node.follow(headwater::ReplicaConfig::default(), None, now).unwrap();
    let refused = cluster.hosts[0].node.primary().write(now, |_| ());
    assert_eq!(refused, Err(WriteRefused::Following), "nobody leads meanwhile");
    cluster.settle(); // there is nobody to connect to
    cluster.promote(0);
    cluster.pass(seconds(3));
    cluster.write(0, &set("x"));
    cluster.assert_equal();
    assert_eq!(syncs(&mut cluster, 0), (full, 2));
}

#[test]
fn a_handover_to_one_that_goes_is_given_up() {
    let (mut cluster, replica) = pair();
    let now = cluster.now;
    cluster.write_quietly(0, &set("x"));
    cluster.hosts[0].node.begin_handover(to(replica), now).unwrap();
    cluster.hosts[1].upstream = None;
    cluster.cut(1);
    cluster.settle();
    assert_eq!(cluster.hosts[0].told(), [NodeEvent::HandoverFailed]);
    cluster.write(0, &set("y"));
}

/// T75, T79, R239, and R231.
#[test]
fn a_handover_is_cancelled_or_refused() {
    let (mut cluster, replica) = pair();
    let now = cluster.now;
    let node = &mut cluster.hosts[0].node;
    let gone = ReplicaKey::new(77, 1, headwater::Tag(0));
    assert_eq!(node.begin_handover(to(gone), now), Err(HandoverError::Gone(Gone(gone))));
    node.begin_handover(to(replica), now).unwrap();
    assert_eq!(node.begin_handover(to(replica), now), Err(HandoverError::UnderWay));
    node.cancel_handover();
    assert!(node.primary().write(now, |_| ()).is_ok());
    let follower = &mut cluster.hosts[1].node;
    assert_eq!(follower.begin_handover(to(replica), now), Err(HandoverError::Following));
    let mut alone = Cluster::new(1);
    let nobody = Handover { to: None, timeout: None };
    assert_eq!(alone.hosts[0].node.begin_handover(nobody, now), Err(HandoverError::NoReplica));
}

/// R48.
#[test]
fn nobody_attaches_during_a_handover() {
    let (mut cluster, replica) = pair();
    let now = cluster.now;
    cluster.hosts[0].node.begin_handover(to(replica), now).unwrap();
    let peer = headwater::Peer::new(headwater::Tag(9), "x");
    let refused = cluster.hosts[0].node.primary().attach(headwater::Wanted::Everything, peer, now);
    assert_eq!(refused, Err(headwater::AttachError::HandingOver));
}
