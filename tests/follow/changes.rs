//! Another primary, or none, while something of the one before is still under way.

use headwater::{
    CloseReason, Config, Event, FollowError, Handover, LinkKey, Lost, Node, NodeEvent, Offset, Peer,
    ReplicaConfig, ResumePoint, Staleness, Start, Tag, Timestamp, UpstreamEvent, Wanted,
};

use crate::cluster::{Cluster, at, id, seconds};

pub(crate) fn moment(count: u64) -> Timestamp {
    Timestamp::from_origin(seconds(count))
}

pub(crate) fn point(number: u8, offset: u64) -> ResumePoint {
    ResumePoint { id: id(number), offset: at(offset) }
}

/// One that holds offset 100 of a history.
pub(crate) fn node() -> Node {
    Node::new(Config::default(), Start::Replica { held: point(1, 100) }, Timestamp::default()).unwrap()
}

pub(crate) fn follow(node: &mut Node, successor_held: Option<Offset>, now: Timestamp) {
    node.follow(ReplicaConfig::default(), successor_held, now).unwrap();
}

fn upstream_events(node: &mut Node) -> Vec<(LinkKey, UpstreamEvent)> {
    let of_upstream = |event| match event {
        NodeEvent::Upstream(link, event) => Some((link, event)),
        _ => None,
    };
    std::iter::from_fn(|| node.poll_event()).filter_map(of_upstream).collect()
}

/// Asks for the stream over a new connection.
pub(crate) fn ask(node: &mut Node, now: Timestamp) -> LinkKey {
    let events = upstream_events(node);
    let Some((link, UpstreamEvent::Connect)) = events.last().copied() else {
        panic!("it connects: {events:?}")
    };
    node.handle_connected(link, now).unwrap();
    node.handle_asked(link, now).unwrap();
    link
}

/// A load that outlives its link and its primary must not be taken for the one under way.
#[test]
fn what_comes_late_of_a_primary_of_before_is_never_taken_for_the_next_ones() {
    let mut node = node();
    follow(&mut node, None, moment(0));
    let first = ask(&mut node, moment(0));
    node.handle_disconnected(first, moment(0));
    node.handle_timeout(moment(5));
    let loading = ask(&mut node, moment(5));
    node.handle_full(loading, point(2, 500), moment(5)).unwrap();
    node.handle_snapshot_end(loading, moment(5)).unwrap();

    follow(&mut node, None, moment(6));
    let link = ask(&mut node, moment(6));
    node.handle_full(link, point(3, 7), moment(6)).unwrap();
    node.handle_snapshot_end(link, moment(6)).unwrap();
    assert_eq!(node.handle_loaded(loading, moment(7)), Err(FollowError::Gone(loading)));
    assert_eq!(node.held(), Some(point(1, 100)));
    node.handle_loaded(link, moment(7)).unwrap();
    assert_eq!(node.held(), Some(point(3, 7)));
}

/// Two links' ends in one batch: the host has but one connection open, and is to close it.
#[test]
fn a_connection_given_up_is_closed_whatever_follows_in_the_same_batch() {
    let mut node = node();
    follow(&mut node, None, moment(0));
    let link = ask(&mut node, moment(0));
    node.handle_resumed(link, None, moment(0)).unwrap();
    node.handle_timeout(moment(1)); // it has held for a while: the next attempt comes at once
    assert_eq!(upstream_events(&mut node).len(), 2);
    node.handle_timeout(moment(62));
    node.promote(id(9), moment(62)).unwrap();
    let reason = CloseReason::Silent { silent: seconds(62), timeout: seconds(60) };
    assert_eq!(upstream_events(&mut node), [(link, UpstreamEvent::Close(reason))]);
}

/// What one replica acknowledged says nothing of another one.
#[test]
fn what_may_be_lost_is_told_by_what_the_primary_of_now_has() {
    let now = moment(0);
    let mut node = Node::new(Config::default(), Start::Empty { id: id(1) }, now).unwrap();
    node.primary().supply_id(id(2)).unwrap();
    let _ = node.primary().attach(Wanted::Everything, Peer::new(Tag(1), "replica"), now).unwrap();
    node.primary().append(&[b'x'; 90], now);
    for (successor_held, parted, held) in [
        (Some(at(80)), Some(at(70)), Some(at(70))),
        (Some(at(80)), Some(at(91)), Some(at(80))), // past the end
        (Some(at(40)), None, Some(at(40))),
        (None, None, None),
    ] {
        follow(&mut node, successor_held, now);
        parted.into_iter().for_each(|parted| node.handle_parted(parted));
        let events = std::iter::from_fn(|| node.poll_event());
        let link = events.filter_map(|event| match event {
            NodeEvent::Upstream(link, UpstreamEvent::Connect) => Some(link),
            _ => None,
        });
        let link = link.last().unwrap();
        node.handle_connected(link, now).unwrap();
        node.handle_asked(link, now).unwrap();
        node.handle_full(link, point(3, 7), now).unwrap();
        let lost = Lost { held, end: at(90), kept_from: Some(at(0)) };
        let told =
            std::iter::from_fn(|| node.poll_event()).find(|event| matches!(event, NodeEvent::Diverged(..)));
        assert_eq!(told, Some(NodeEvent::Diverged(link, lost)));
    }
}

/// A load takes long, and the primary sends meanwhile: none of that is in the image.
#[test]
fn what_is_read_after_a_load_is_as_old_as_the_snapshots_end() {
    let mut node = node();
    follow(&mut node, None, moment(0));
    let link = ask(&mut node, moment(0));
    node.handle_full(link, point(2, 500), moment(1)).unwrap();
    node.handle_snapshot_end(link, moment(2)).unwrap();
    node.handle_loaded(link, moment(60)).unwrap();
    assert_eq!(node.staleness(moment(60)), Some(Staleness { bytes: 0, age: seconds(58) }));
    node.handle_received(link, 1, moment(61)).unwrap();
    node.handle_applied(link, &"x".into(), moment(61)).unwrap();
    assert_eq!(node.staleness(moment(61)), Some(Staleness { bytes: 0, age: seconds(0) }));
}

/// R235: no handover is under way any more that could have failed.
#[test]
fn who_follows_is_told_of_no_handover() {
    let mut cluster = Cluster::new(2);
    cluster.follow(1, 0);
    cluster.pass(seconds(3));
    let now = cluster.now;
    let later = now.checked_add(seconds(9)).unwrap();
    let node = &mut cluster.hosts[0].node;
    node.begin_handover(Handover { to: None, timeout: Some(seconds(9)) }, now).unwrap();
    node.handle_timeout(later);
    follow(node, None, later);
    let told: Vec<_> = std::iter::from_fn(|| node.poll_event()).collect();
    assert!(!told.contains(&NodeEvent::HandoverFailed), "{told:?}");
}

/// R220: it is the host's data that can't be gone on from, whoever is asked.
#[test]
fn what_can_not_be_gone_on_from_is_neither_offered_to_another_primary_nor_stored() {
    let mut node = node();
    follow(&mut node, None, moment(0));
    let link = ask(&mut node, moment(0));
    node.handle_resumed(link, None, moment(0)).unwrap();
    node.handle_unreadable(link, moment(0)).unwrap();
    assert_eq!(node.held(), None);
    node.handle_disconnected(link, moment(0));
    follow(&mut node, None, moment(0));
    assert_eq!((node.wanted(), node.held()), (Some(Wanted::Everything), None));

    let link = ask(&mut node, moment(5));
    node.handle_full(link, point(2, 500), moment(5)).unwrap();
    node.handle_snapshot_end(link, moment(5)).unwrap();
    node.handle_loaded(link, moment(5)).unwrap();
    assert_eq!(node.held(), Some(point(2, 500)));
    node.check_invariants();
}

/// B50, R36: a host that loads in the place of its data has nothing to go on from when the load fails.
#[test]
fn half_a_load_in_the_place_of_the_data_is_nothing_to_go_on_from() {
    let mut node = node();
    follow(&mut node, None, moment(0));
    let link = ask(&mut node, moment(0));
    node.handle_resumed(link, None, moment(0)).unwrap();
    let replica =
        node.primary().attach(Wanted::Everything, Peer::new(Tag(1), "replica"), moment(0)).unwrap().replica;
    node.handle_disconnected(link, moment(0));
    node.handle_timeout(moment(5));
    let link = ask(&mut node, moment(5));
    node.handle_full(link, point(2, 500), moment(5)).unwrap();
    node.handle_snapshot_end(link, moment(5)).unwrap();
    node.handle_replacing(link, moment(5)).unwrap();
    assert_eq!(node.held(), None);
    let dropped =
        |event| matches!(event, NodeEvent::Primary(Event::Dropped { replica: gone, .. }) if gone == replica);
    assert!(std::iter::from_fn(|| node.poll_event()).any(dropped));
    node.handle_load_failed(link, moment(6)).unwrap();
    node.check_invariants();
    follow(&mut node, None, moment(6));
    assert_eq!((node.wanted(), node.held()), (Some(Wanted::Everything), None));

    let link = ask(&mut node, moment(6));
    node.handle_full(link, point(3, 7), moment(6)).unwrap();
    node.handle_snapshot_end(link, moment(6)).unwrap();
    node.handle_replacing(link, moment(6)).unwrap();
    node.handle_loaded(link, moment(6)).unwrap();
    assert_eq!(node.held(), Some(point(3, 7)));
    node.check_invariants();
}
