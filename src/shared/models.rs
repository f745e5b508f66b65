//! What threads may do to each other, in every order that there is: loom runs each model again and again, and chooses who goes
//! on at each lock, condition and atomic. A thread that nobody wakes fails its model as a deadlock.
//!
//! The search is exhaustive up to [`PREEMPTIONS`] preemptions in one run, or `LOOM_MAX_PREEMPTIONS`; that a thread blocks or
//! ends is none. loom has its own kind of lock, condition, channel, atomic and thread (`looms.rs`); the node itself, which is
//! all under the lock, is the real one.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::Mutex;

use bytes::Buf;
use loom::thread;

use super::{Events, Sender, SharedNode, Step};
use crate::acks::{Ack, Level};
use crate::history::Wanted;
use crate::id::ReplicationId;
use crate::key::Tag;
use crate::node::{Fence, FenceEnd, FenceError, Start};
use crate::offset::Offset;
use crate::output::OutputLimit;
use crate::primary::{Config, Detach, DropReason, Peer};
use crate::replica::ReplicaConfig;
use crate::sink::Sink;
use crate::snapshots::{Framing, Image};
use crate::time::Timestamp;
use crate::waiters::{Timeout, Wait, WaitEnded, WaitError};

const PREEMPTIONS: usize = 2;
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn explore(model: fn()) {
    let mut search = loom::model::Builder::new();
    search.preemption_bound.get_or_insert(PREEMPTIONS);
    search.max_branches = 10_000;
    search.check(model);
}

/// A clock that each look at it moves on.
fn clock() -> Box<dyn Fn() -> Timestamp + Send + Sync> {
    let looks = AtomicU64::new(0);
    Box::new(move || {
        Timestamp::from_origin(Duration::from_millis(100 * looks.fetch_add(1, Ordering::Relaxed)))
    })
}

fn id(number: u8) -> ReplicationId {
    ReplicationId::from_random([number; 20])
}

fn config() -> Config {
    let output_limit = OutputLimit { hard: Some(16), soft: None };
    Config { backlog_capacity: 16, output_limit, ..Config::default() }
}

/// Without the timer's thread.
fn node() -> (Events, SharedNode) {
    let (node, events) = SharedNode::new(config(), Start::Empty { id: id(1) }, clock()).expect("it works");
    node.supply_id(id(2)).expect("it is new");
    (events, node)
}

fn timed_node() -> (Events, SharedNode) {
    let (node, events) =
        SharedNode::spawn_with(config(), Start::Empty { id: id(1) }, clock()).expect("it works");
    (events, node)
}

fn online(node: &SharedNode) -> Sender {
    let (mut sender, _) =
        node.attach(Wanted::Everything, Peer::new(Tag(7), "10.0.0.2")).expect("there is room");
    let image = Image { framing: Framing::Sized, replayable: true, size: None };
    let cut = node.begin_snapshot(image, |cut| cut).expect("one waits");
    node.handle_snapshot_ready(cut.snapshot).expect("it is wanted");
    assert!(matches!(sender.next(), Step::SendSnapshot { .. }));
    sender.handle_snapshot_sent();
    node.handle_ack(sender.replica(), Ack::applied(cut.offset)).expect("it was sent that");
    sender
}

fn write(node: &SharedNode, data: &Mutex<Vec<u8>>, byte: u8) -> Offset {
    let apply = |unit: &mut crate::Unit<'_>| {
        data.lock().expect("nobody panics").push(byte);
        unit.put(&[byte]);
    };
    let written = node.write(apply).expect("it leads");
    written.end.unwrap_or(node.end())
}

/// A replica that was sent a write, which ends at that offset.
fn lent(node: &SharedNode) -> (Sender, Offset) {
    let mut sender = online(node);
    let target = write(node, &Mutex::new(Vec::new()), b'a');
    assert!(matches!(sender.next(), Step::Stream(batch) if batch.remaining() == 1));
    (sender, target)
}

const fn wait(target: Offset, timeout: Timeout) -> Wait {
    Wait { target, replicas: 1, level: Level::Applied, local: false, timeout, tag: Tag(0) }
}

/// Sends, and acknowledges what it sent, until it has `len` bytes or is closed. The replica stays attached.
fn send(node: &SharedNode, mut sender: Sender, len: usize) -> Sent {
    let (mut sent, start, replica) = (Vec::new(), Offset::ZERO, sender.replica());
    while sent.len() < len {
        match sender.next() {
            Step::Stream(batch) => sent.extend(batch.copy_to_bytes(batch.remaining())),
            Step::Closed(reason) => return Sent { sender, bytes: sent, closed: Some(reason) },
            step => panic!("{step:?}"),
        }
        let held = start.checked_add(sent.len() as u64).expect("a few bytes");
        let _ = node.handle_ack(replica, Ack::applied(held)); // it may be detached
    }
    Sent { sender, bytes: sent, closed: None }
}

struct Sent {
    sender: Sender,
    bytes: Vec<u8>,
    closed: Option<Option<DropReason>>,
}

/// Two writers and a sender: the stream has the order of the data, and who waits for its write is woken.
#[test]
fn append_against_wait() {
    explore(|| {
        let (_events, node) = node();
        let data = Arc::new(Mutex::new(Vec::new()));
        let sender = online(&node);
        let (other, others) = (node.clone(), Arc::clone(&data));
        let writing = thread::spawn(move || write(&other, &others, b'a'));
        let reading = node.clone();
        let sending = thread::spawn(move || send(&reading, sender, 2));
        let target = write(&node, &data, b'b');
        let end = node.wait(wait(target, Timeout::Never)).expect("it leads");
        assert_eq!((end.how, end.acked), (WaitEnded::Satisfied, 1));
        writing.join().expect("it wrote");
        let sent = sending.join().expect("it sent");
        assert_eq!(sent.bytes, *data.lock().expect("nobody panics"));
    });
}

/// By the host's own clock: the wait ends once, by either.
#[test]
fn ack_against_deadline() {
    explore(|| {
        let (_events, node) = node();
        let sender = online(&node);
        let target = write(&node, &Mutex::new(Vec::new()), b'a');
        let acking = node.clone();
        let sending = thread::spawn(move || send(&acking, sender, 1));
        let ticking = node.clone();
        let ticks = thread::spawn(move || ticking.handle_timeout());
        let end = node.wait(wait(target, Timeout::After(SECOND / 10))).expect("it leads");
        assert!(matches!(end.how, WaitEnded::Satisfied | WaitEnded::TimedOut), "{end:?}");
        assert_eq!(node.report().waiters, 0);
        ticks.join().expect("it ticked");
        sending.join().expect("it sent");
    });
}

/// The thread of the timer sleeps until a far deadline, or until none, when a near one comes.
#[test]
fn deadline_against_the_sleep_of_the_timer() {
    explore(|| {
        let (_events, node) = timed_node();
        let target = node.end();
        let far = node.clone();
        let waiting = thread::spawn(move || far.wait(wait(target, Timeout::After(HOUR))));
        let end = node.wait(wait(target, Timeout::After(SECOND))).expect("it leads");
        assert_eq!(end.how, WaitEnded::TimedOut);
        node.shutdown();
        let end = waiting.join().expect("it waited").expect("it leads");
        assert_eq!(end.how, WaitEnded::Cancelled);
    });
}

/// A quorum and a demotion: one of them ends the wait, and a quorum that came too late is none.
#[test]
fn quorum_against_demotion() {
    explore(|| {
        let (_events, node) = node();
        let (sender, target) = lent(&node);
        let (acking, replica) = (node.clone(), sender.replica());
        let acks = thread::spawn(move || {
            acking.with(|node, now| {
                node.primary().handle_ack(replica, Ack::applied(target), now).expect("it is attached");
                node.is_following()
            })
        });
        let demoting = node.clone();
        let demotion = thread::spawn(move || {
            demoting.with(|node, now| node.follow(ReplicaConfig::default(), None, now)).expect("it works");
        });
        let ended = node.wait(wait(target, Timeout::Never)).map(|end| end.how);
        let was_late = acks.join().expect("it acked");
        match ended {
            Ok(WaitEnded::Satisfied) => assert!(!was_late),
            Ok(WaitEnded::NoLongerPrimary) | Err(WaitError::Following) => {}
            ended => panic!("{ended:?}"),
        }
        demotion.join().expect("it demoted");
    });
}

/// They come at once: the wait is told of the demotion, though it was satisfied.
#[test]
fn a_tie_of_quorum_and_demotion_is_a_demotion() {
    explore(|| {
        let (_events, node) = node();
        let (sender, target) = lent(&node);
        let (other, replica) = (node.clone(), sender.replica());
        let tie = thread::spawn(move || {
            other.with(|node, now| {
                node.primary().handle_ack(replica, Ack::applied(target), now).expect("it is attached");
                node.follow(ReplicaConfig::default(), None, now).expect("it works");
            });
        });
        match node.wait(wait(target, Timeout::Never)).map(|end| end.how) {
            Ok(WaitEnded::NoLongerPrimary) | Err(WaitError::Following) => {}
            ended => panic!("{ended:?}"),
        }
        tie.join().expect("no panic");
    });
}

/// A reader waits for what is not applied yet: somebody promotes the node, or all is over.
#[test]
fn fence_against_promotion_and_shutdown() {
    explore(|| {
        let (_events, node) = node();
        drop(online(&node));
        let (id_here, offset) = (node.report().id, node.end().checked_add(1).expect("a few bytes"));
        node.with(|node, now| node.follow(ReplicaConfig::default(), None, now)).expect("it works");
        let promoting = node.clone();
        let promotion = thread::spawn(move || promoting.with(|node, now| node.promote(id(3), now)));
        let ending = node.clone();
        let end = thread::spawn(move || ending.shutdown());
        match node.fence(Fence { id: id_here, offset, timeout: Timeout::Never, tag: Tag(0) }) {
            Ok(FenceEnd::HistoryChanged | FenceEnd::Cancelled) | Err(FenceError::OtherHistory { .. }) => {}
            ended => panic!("{ended:?}"),
        }
        promotion.join().expect("no panic").expect("the id is new");
        end.join().expect("no panic");
    });
}

/// Somebody detaches a replica while its sender sends and a writer writes: the sender is told, and had a part of the data.
#[test]
fn detach_against_send() {
    explore(|| {
        let (_events, node) = node();
        let data = Arc::new(Mutex::new(Vec::new()));
        let sender = online(&node);
        let (sent_by, replica) = (node.clone(), sender.replica());
        let sending = thread::spawn(move || send(&sent_by, sender, usize::MAX));
        let detaching = node.clone();
        let detach = thread::spawn(move || detaching.detach(replica, Detach::Clean));
        write(&node, &data, b'a');
        detach.join().expect("no panic").expect("it was attached");
        let sent = sending.join().expect("it sent");
        assert_eq!(sent.closed, Some(None));
        assert!(data.lock().expect("nobody panics").starts_with(&sent.bytes));
        drop(sent.sender);
        assert!(node.report().replicas.is_empty());
    });
}

/// A sender is dropped in the middle of a batch while writers make its replica cross the output limit.
#[test]
fn drop_against_limit() {
    explore(|| {
        let (_events, node) = node();
        let mut sender = online(&node);
        write(&node, &Mutex::new(Vec::new()), b'a');
        let sending = thread::spawn(move || {
            let bytes = matches!(sender.next(), Step::Stream(_));
            let closed = bytes && matches!(sender.next(), Step::Closed(_));
            drop(sender);
            closed
        });
        let writing = node.clone();
        let writer = thread::spawn(move || writing.write(|unit| unit.put(&[b'x'; 32])).map(|_| ()));
        node.write(|unit| unit.put(b"b")).expect("it leads");
        writer.join().expect("it wrote").expect("it leads");
        sending.join().expect("it was told");
        assert!(node.report().replicas.is_empty());
    });
}

/// Whoever waits is cancelled, and the timer's thread ends, whatever it was about to do.
#[test]
fn shutdown_against_waits_and_the_timer() {
    explore(|| {
        let (_events, node) = timed_node();
        let target = node.end();
        let waiting = [Timeout::Never, Timeout::After(HOUR)].map(|timeout| {
            let node = node.clone();
            thread::spawn(move || node.wait(wait(target, timeout)))
        });
        node.shutdown();
        for thread in waiting {
            let end = thread.join().expect("it waited").expect("it leads");
            assert_eq!(end.how, WaitEnded::Cancelled);
        }
    });
}

/// A write, an ack and the end of a sender, each before or after.
#[test]
fn shutdown_against_whoever_acts() {
    explore(|| {
        let (_events, node) = node();
        let mut sender = online(&node);
        let target = write(&node, &Mutex::new(Vec::new()), b'a');
        let acting = node.clone();
        let actor = thread::spawn(move || {
            let is_lent = matches!(sender.next(), Step::Stream(_));
            let acked = acting.handle_ack(sender.replica(), Ack::applied(target));
            assert!(is_lent || acked.is_err(), "it was sent nothing");
            drop(sender);
            let _ = acting.write(|unit| unit.put(b"b"));
        });
        let ending = node.clone();
        let end = thread::spawn(move || ending.shutdown());
        match node.wait(wait(target, Timeout::Never)).map(|end| end.how) {
            Ok(WaitEnded::Satisfied | WaitEnded::Cancelled) => {}
            ended => panic!("{ended:?}"),
        }
        actor.join().expect("no panic");
        end.join().expect("no panic");
        assert!(node.report().replicas.is_empty());
        assert_eq!(node.report().waiters, 0);
    });
}

/// The sender is closed, and the events have an end, behind all that came before.
#[test]
fn shutdown_against_a_sender_and_the_events() {
    explore(|| {
        let (mut events, node) = node();
        let sender = online(&node);
        while events.try_recv().is_some() {}
        let sent_by = node.clone();
        let sending = thread::spawn(move || send(&sent_by, sender, usize::MAX));
        let taking = thread::spawn(move || core::iter::from_fn(|| events.recv()).count());
        node.supply_id(id(3)).expect("it is new");
        let attached = node.attach(Wanted::Everything, Peer::new(Tag(8), "10.0.0.3"));
        node.shutdown();
        assert_eq!(sending.join().expect("it was told").closed, Some(None));
        assert_eq!(taking.join().expect("they ended"), 1, "a snapshot is wanted");
        assert!(attached.is_ok());
    });
}

/// The last handle goes while others end: it joins the timer's thread.
#[test]
fn last_drop_against_the_timer() {
    explore(|| {
        let (mut events, node) = timed_node();
        let target = node.end();
        let other = node.clone();
        let waiting = thread::spawn(move || other.wait(wait(target, Timeout::After(SECOND))));
        drop(node);
        let end = waiting.join().expect("it waited").expect("it leads");
        assert_eq!(end.how, WaitEnded::TimedOut);
        while events.recv().is_some() {}
    });
}

/// Whoever takes events sleeps only while there is none.
#[test]
fn event_against_its_taker() {
    explore(|| {
        let (mut events, node) = node();
        while events.try_recv().is_some() {}
        let taking = thread::spawn(move || (events.recv().is_some(), events));
        node.attach(Wanted::Everything, Peer::new(Tag(7), "10.0.0.2")).expect("there is room");
        let (is_told, _events) = taking.join().expect("it was told");
        assert!(is_told);
        drop(node); // loom wants somebody to receive what it sends
    });
}
