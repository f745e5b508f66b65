use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use headwater::shared::SharedNode;
use headwater::{
    Ack, Config, Fence, FenceEnd, NodeEvent, ReplicaConfig, ResumePoint, Start, Tag, Timeout, Timestamp,
    UpstreamEvent, Wait, WaitEnded, WaitError, WriteRefused,
};

use crate::host::{Host, NANOSECOND, id, next_bytes, wait};

const SPAN: Duration = Duration::from_millis(500);

/// T24: by the ack that holds its target, and nobody else is woken.
#[test]
fn a_wait_ends_by_the_ack_that_holds_its_target_and_no_other_does() {
    let host = Host::new(|_| ());
    let mut sender = host.online();
    let [first, second] = [b"a", b"b"].map(|bytes| host.write(bytes));
    assert_eq!(next_bytes(&mut sender), b"ab");
    let [early, late] = [first, second].map(|target| host.waiting(wait(target, 1)));
    host.until_waiting(2);
    host.ack(&sender, first);
    assert_eq!(early.join().unwrap().unwrap().how, WaitEnded::Satisfied);
    assert_eq!(host.node.report().waiters, 1);
    host.ack(&sender, second);
    assert_eq!(late.join().unwrap().unwrap().how, WaitEnded::Satisfied);
}

/// Whichever comes first, the append, the ack or the wait.
#[test]
fn callers_that_wait_for_each_of_their_writes_all_end() {
    let host = Host::new(|_| ());
    let mut sender = host.online();
    let replica = sender.replica();
    thread::scope(|scope| {
        let callers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let target = host.write(b"bytes");
                        assert_eq!(host.node.wait(wait(target, 1)).unwrap().how, WaitEnded::Satisfied);
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            let mut left = 8 * 100 * 5;
            let mut end = host.node.report().replicas[0].acked.unwrap();
            while left > 0 {
                let sent = next_bytes(&mut sender).len();
                left -= sent;
                end = end.checked_add(sent as u64).unwrap();
                host.node.handle_ack(replica, Ack::applied(end)).unwrap();
            }
        });
        callers.into_iter().for_each(|caller| caller.join().unwrap());
    });
    assert_eq!(host.node.report().waiters, 0);
}

/// L1: by the host's clock, to the nanosecond.
#[test]
fn a_wait_ends_at_its_deadline_and_not_before() {
    let host = Host::new(|_| ());
    let _sender = host.online();
    let target = host.write(b"bytes");
    let caller = host.waiting(Wait { timeout: Timeout::After(SPAN), ..wait(target, 1) });
    host.until_waiting(1);
    host.pass(SPAN - NANOSECOND);
    assert_eq!(host.node.report().waiters, 1);
    assert!(!caller.is_finished());
    host.pass(NANOSECOND);
    assert_eq!(caller.join().unwrap().unwrap().how, WaitEnded::TimedOut);
}

/// The timer's thread sleeps until a far deadline when the near one comes.
#[test]
fn the_thread_of_a_spawned_node_keeps_the_nearest_deadline() {
    let (node, _events) = SharedNode::spawn(Config::default(), Start::Empty { id: id(1) }).unwrap();
    let target = node.end();
    let waiting = |span| Wait { timeout: Timeout::After(span), ..wait(target, 1) };
    thread::scope(|scope| {
        let far = scope.spawn(|| node.wait(waiting(Duration::from_secs(3600))));
        while node.report().waiters == 0 {
            thread::yield_now();
        }
        let (asked, span) = (Instant::now(), Duration::from_millis(20));
        assert_eq!(node.wait(waiting(span)).unwrap().how, WaitEnded::TimedOut);
        assert!(asked.elapsed() >= span);
        assert_eq!(node.report().waiters, 1);
        node.shutdown();
        assert_eq!(far.join().unwrap().unwrap().how, WaitEnded::Cancelled);
    });
}

#[test]
fn who_must_not_block_does_not() {
    let host = Host::new(|_| ());
    let _sender = host.online();
    let wait = Wait { timeout: Timeout::Immediate, ..wait(host.write(b"bytes"), 1) };
    assert_eq!(host.node.wait(wait).unwrap().how, WaitEnded::TimedOut);
}

#[test]
fn a_demotion_ends_all_waits() {
    let host = Host::new(|_| ());
    let _sender = host.online();
    let target = host.write(b"bytes");
    let callers = [(); 3].map(|()| host.waiting(wait(target, 1)));
    host.until_waiting(3);
    host.follow();
    for caller in callers {
        assert_eq!(caller.join().unwrap().unwrap().how, WaitEnded::NoLongerPrimary);
    }
    assert_eq!(host.node.wait(wait(target, 1)), Err(WaitError::Following));
    assert!(matches!(host.node.write(|_| ()), Err(WriteRefused::Following)));
}

/// Of a quorum and a demotion at once, the demotion counts; also when the node leads again before the caller wakes.
#[test]
fn a_quorum_that_a_demotion_follows_before_the_caller_knows_is_none() {
    for promoted in [false, true] {
        let host = Host::new(|_| ());
        let mut sender = host.online();
        let target = host.write(b"bytes");
        next_bytes(&mut sender);
        let caller = host.waiting(wait(target, 1));
        host.until_waiting(1);
        host.node.with(|node, now| {
            node.primary().handle_ack(sender.replica(), Ack::applied(target), now).unwrap();
            node.follow(ReplicaConfig::default(), None, now).unwrap();
            if promoted {
                node.promote(id(9), now).unwrap();
            }
        });
        let end = caller.join().unwrap().unwrap();
        assert_eq!((end.acked, end.how), (1, WaitEnded::NoLongerPrimary));
    }
}

/// A new term has waits of its own.
#[test]
fn a_node_that_leads_again_satisfies_waits_again() {
    let host = Host::new(|_| ());
    host.follow();
    host.node.with(|node, now| node.promote(id(9), now)).unwrap();
    let mut sender = host.online();
    let target = host.write(b"bytes");
    next_bytes(&mut sender);
    let caller = host.waiting(wait(target, 1));
    host.until_waiting(1);
    host.ack(&sender, target);
    assert_eq!(caller.join().unwrap().unwrap().how, WaitEnded::Satisfied);
}

#[test]
fn a_reader_is_parked_at_a_fence_until_the_write_is_applied_here() {
    let mut host = Host::new(|_| ());
    host.follow();
    let link = host.drain().into_iter().find_map(|event| match event {
        NodeEvent::Upstream(link, UpstreamEvent::Connect) => Some(link),
        _ => None,
    });
    let link = link.expect("it is to connect");
    let point = ResumePoint { id: id(9), offset: host.node.end() };
    host.node.with(|node, now| {
        node.handle_connected(link, now).unwrap();
        node.handle_asked(link, now).unwrap();
        node.handle_full(link, point, now).unwrap();
        node.handle_snapshot_end(link, now).unwrap();
        node.handle_loaded(link, now).unwrap();
        node.handle_received(link, 5, now).unwrap();
    });
    let offset = point.offset.checked_add(5).unwrap();
    let fence = Fence { id: point.id, offset, timeout: Timeout::After(NANOSECOND), tag: Tag(0) };
    let node = host.node.clone();
    let reader = thread::spawn(move || node.fence(fence));
    // Nothing else is due as soon.
    while host.node.poll_timeout() != Some(Timestamp::from_origin(NANOSECOND)) {
        thread::yield_now();
    }
    host.node.with(|node, now| node.handle_applied(link, &Bytes::from_static(b"bytes"), now)).unwrap();
    assert_eq!(reader.join().unwrap(), Ok(FenceEnd::Applied));
}
