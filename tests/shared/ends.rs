use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use headwater::shared::{SharedNode, Step};
use headwater::{
    Config, DropReason, Event, Framing, Heartbeat, Image, NodeEvent, Peer, Sink, SnapshotError, Start, Tag,
    Timeout, Wait, WaitEnded, Wanted,
};

use crate::host::{Host, id, wait};

#[test]
fn shutdown_ends_waits_senders_and_events() {
    let mut host = Host::new(|_| ());
    let mut sender = host.online();
    let target = host.write(b"bytes");
    crate::host::next_bytes(&mut sender);
    host.drain();
    let node = host.node.clone();
    thread::scope(|scope| {
        let callers = [(); 3].map(|()| scope.spawn(|| node.wait(wait(target, 1))));
        let sending = scope.spawn(|| assert!(matches!(sender.next(), Step::Closed(None))));
        host.until_waiting(3);
        let taking = scope.spawn(|| while host.events.recv().is_some() {});
        node.shutdown();
        for caller in callers {
            assert_eq!(caller.join().unwrap().unwrap().how, WaitEnded::Cancelled);
        }
        sending.join().unwrap();
        taking.join().unwrap();
    });
}

#[test]
fn after_shutdown_nobody_is_parked() {
    let mut host = Host::new(|_| ());
    host.node.shutdown();
    let waited = host.node.wait(wait(host.node.end().checked_add(1).unwrap(), 1)).unwrap();
    assert_eq!(waited.how, WaitEnded::Cancelled);
    assert!(matches!(host.attach().next(), Step::Closed(None)));
    while host.events.recv().is_some() {}
    host.node.shutdown();
    assert_eq!(host.events.recv(), None);
}

/// The last events come before the end.
#[test]
fn events_from_before_the_shutdown_are_told() {
    let mut host = Host::new(|_| ());
    host.attach();
    host.node.shutdown();
    assert!(matches!(host.events.recv(), Some(NodeEvent::Primary(Event::SnapshotWanted { .. }))));
    while host.events.recv().is_some() {}
}

/// The data has moved on without the stream. The lock is free, and the next write is let in.
#[test]
fn a_panic_in_a_write_breaks_the_history_and_frees_the_lock() {
    let mut host = Host::new(|_| ());
    let mut sender = host.online();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        host.node.write(|unit| {
            unit.put(b"half of a ");
            panic!("on purpose");
        })
    }));
    assert!(panicked.is_err());
    assert!(host.node.write(|unit| unit.put(b"bytes")).is_ok());
    assert!(matches!(sender.next(), Step::Closed(Some(DropReason::HistoryChanged))));
    assert_eq!(host.node.report().id, id(3));
    assert!(host.drain().contains(&NodeEvent::Primary(Event::HistoryChanged { id: id(3) })));
}

/// Those who wait for the image are told to somebody else, not kept until a timeout.
#[test]
fn a_panic_at_a_cut_fails_the_snapshot() {
    let mut host = Host::new(|_| ());
    let (_sender, _) = host.node.attach(Wanted::Everything, Peer::new(Tag(7), "10.0.0.9")).unwrap();
    let image = Image { framing: Framing::Sized, replayable: true, size: None };
    let begun = catch_unwind(AssertUnwindSafe(|| host.node.begin_snapshot(image, |_| panic!("on purpose"))));
    assert!(begun.is_err());
    let events = host.drain();
    assert!(
        events.iter().any(|event| matches!(event, NodeEvent::Primary(Event::SnapshotOver { .. }))),
        "{events:?}"
    );
    assert_eq!(
        host.node.begin_snapshot(image, |_| ()),
        Err(SnapshotError::NobodyWaits),
        "it is held back for a while"
    );
}

/// Dropping joins the thread, which would beat for ever.
#[test]
fn the_last_handle_takes_the_thread_of_the_timer_with_it() {
    let mut config = Config::default();
    let period = Duration::from_millis(1);
    config.heartbeat = Some(Heartbeat { payload: "beat\n".into(), period });
    let (node, mut events) = SharedNode::spawn(config, Start::Empty { id: id(1) }).unwrap();
    node.supply_id(id(2)).unwrap();
    let (mut sender, _) = node.attach(Wanted::Everything, Peer::new(Tag(7), "10.0.0.9")).unwrap();
    let clone = node.clone();
    drop(node);
    let timeout = Timeout::After(period);
    let waited = clone.wait(Wait { timeout, ..wait(clone.end(), 1) }).unwrap();
    assert_eq!(waited.how, WaitEnded::TimedOut, "there is a handle, and so a timer");
    drop(clone);
    while events.recv().is_some() {}
    assert!(matches!(sender.next(), Step::Closed(_)));
}

#[test]
fn a_handle_dropped_by_the_taker_of_events_ends_them() {
    let (node, mut events) = SharedNode::spawn(Config::default(), Start::Empty { id: id(1) }).unwrap();
    let (tell, told) = mpsc::channel();
    let taking = thread::spawn(move || {
        while events.recv().is_some() {}
        tell.send(()).unwrap();
    });
    thread::spawn(move || drop(node)).join().unwrap();
    told.recv().unwrap();
    taking.join().unwrap();
}
