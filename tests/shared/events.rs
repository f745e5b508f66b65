use std::thread;

use crossbeam_channel::select;
use headwater::{Event, NodeEvent, Sink, UpstreamEvent, Wanted};

use crate::host::{Host, id};

/// The gate opens and closes a thousand times, roles change, and nobody takes an event: it is bounded, and the last word counts.
#[test]
fn a_host_that_is_slow_finds_the_newest_of_each_kind() {
    let mut host = Host::new(|config| config.min_replicas.to_write = 1);
    for _ in 0..1000 {
        drop(host.online());
    }
    let good = host.online();
    let events = host.drain();
    assert!(matches!(gate(&events)[..], [Event::GateOpened { good: 1 }]), "{events:?}");
    let over = events.iter().filter(|event| matches!(event, NodeEvent::Primary(Event::SnapshotOver { .. })));
    assert_eq!(over.count(), 1001, "each image is to be let go of");
    drop(good);
    assert!(matches!(gate(&host.drain())[..], [Event::GateClosed(_)]));
}

fn gate(events: &[NodeEvent]) -> Vec<Event> {
    let of_gate = |event: &NodeEvent| match event {
        NodeEvent::Primary(event @ (Event::GateOpened { .. } | Event::GateClosed(_))) => Some(event.clone()),
        _ => None,
    };
    events.iter().filter_map(of_gate).collect()
}

/// Without a replica a write looks for nobody to wake, but for what it broke.
#[test]
fn a_unit_that_is_too_large_is_told_of_though_no_replica_is_there() {
    let mut host = Host::new(|config| config.max_unit = 8);
    host.write(b"8 bytes.");
    assert_eq!(host.drain(), []);
    assert_eq!(host.node.write(|unit| unit.put(b"these are 17 byte")).unwrap().end, None);
    let changed = NodeEvent::Primary(Event::HistoryChanged { id: id(3) });
    assert_eq!(host.drain(), [changed, NodeEvent::Primary(Event::IdWanted)]);
}

/// What a chunk of the backlog leaves behind is no work for the timer's thread.
#[test]
fn writes_that_no_replica_follows_leave_nothing_due() {
    let host = Host::new(|config| config.backlog_capacity = 1 << 20);
    let due = host.node.poll_timeout();
    for _ in 0..(4 << 10) {
        host.write(&[b'x'; 1 << 10]);
        assert_eq!(host.node.poll_timeout(), due);
    }
}

#[test]
fn changes_of_role_that_nobody_saw_leave_the_last_history_and_no_link() {
    let mut host = Host::new(|_| ());
    for number in 10..110 {
        host.follow();
        host.node.with(|node, now| node.promote(id(number), now)).unwrap();
    }
    let events = host.drain();
    let changed: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            NodeEvent::Primary(Event::HistoryChanged { id }) => Some(*id),
            _ => None,
        })
        .collect();
    assert_eq!(changed, [id(109)]);
    let connects =
        events.iter().filter(|event| matches!(event, NodeEvent::Upstream(_, UpstreamEvent::Connect)));
    assert_eq!(connects.count(), 0, "no link that was given up is to be opened");
    assert!(events.len() < 5, "{events:?}");
}

#[test]
fn one_wish_for_a_snapshot_stands_for_all_who_want_one() {
    let mut host = Host::new(|_| ());
    let senders = [(); 3].map(|()| host.attach());
    let wanted = NodeEvent::Primary(Event::SnapshotWanted { waiting: 3, all_take_end_mark: false });
    assert_eq!(host.drain(), [wanted]);
    drop(senders);
}

#[test]
fn the_taker_of_events_is_parked_until_there_is_one() {
    let mut host = Host::new(|_| ());
    thread::scope(|scope| {
        let taking = scope.spawn(|| host.events.recv());
        let sender =
            host.node.attach(Wanted::Everything, headwater::Peer::new(headwater::Tag(7), "10.0.0.9"));
        let event = taking.join().unwrap();
        assert!(matches!(event, Some(NodeEvent::Primary(Event::SnapshotWanted { .. }))), "{event:?}");
        drop(sender);
    });
}

/// Events among the host's own channels.
#[test]
fn the_bell_rings_while_events_are_left_and_ends_with_them() {
    let mut host = Host::new(|_| ());
    let (_own, requests) = crossbeam_channel::bounded::<()>(1);
    while host.events.bell().try_recv().is_ok() {}
    host.attach();
    select! {
        recv(host.events.bell()) -> rang => assert!(rang.is_ok()),
        recv(requests) -> _ => panic!("there are none"),
    }
    assert!(!host.drain().is_empty());
    host.node.shutdown();
    assert!(host.events.bell().recv().is_err());
}
