use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use bytes::Buf;
use headwater::shared::{Sender, SharedNode, Step};
use headwater::{
    Ack, Answer, Detach, DropReason, Event, NodeEvent, Offset, OutputLimit, Peer, Sink, SnapshotKey, Tag,
    Wanted,
};

use crate::host::{Host, SIZED, id, next_bytes};

/// A full sync while writers write: the image and the stream after it are the data, in its order.
#[test]
fn what_a_replica_gets_is_the_order_in_which_the_data_changed() {
    let host = Host::new(|_| ());
    let (data, images) = (Mutex::default(), Mutex::default());
    let mut sender = host.attach();
    thread::scope(|scope| {
        let replica = scope.spawn(|| receive(&mut sender, &host.node, &images));
        let writers = ["a", "b", "c", "d"].map(|name| scope.spawn(|| write_some(&host.node, name, &data)));
        let view = |cut| (cut, data.lock().unwrap().clone());
        let (cut, image) = host.node.begin_snapshot(SIZED, view).unwrap();
        images.lock().unwrap().insert(cut.snapshot, image);
        host.node.handle_snapshot_ready(cut.snapshot).unwrap();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        host.node.wait(crate::host::wait(host.node.end(), 1)).unwrap();
        host.node.shutdown();
        let held = replica.join().unwrap();
        assert!(held == *data.lock().unwrap(), "the bytes or their order differ");
        assert_eq!(held.len(), 4 * 200 * 5);
    });
}

fn write_some(node: &SharedNode, name: &str, data: &Mutex<Vec<u8>>) {
    for number in 0..200 {
        let bytes = format!("{name}{number:03};");
        node.write(|unit| {
            data.lock().unwrap().extend(bytes.bytes());
            unit.put(bytes.as_bytes());
        })
        .unwrap();
    }
}

/// Acknowledges all that it gets, until it is closed.
fn receive(
    sender: &mut Sender,
    node: &SharedNode,
    images: &Mutex<BTreeMap<SnapshotKey, Vec<u8>>>,
) -> Vec<u8> {
    let (mut held, mut end, replica) = (Vec::new(), Offset::ZERO, sender.replica());
    loop {
        match sender.next() {
            Step::Stream(batch) => {
                end = end.checked_add(batch.remaining() as u64).unwrap();
                held.extend(batch.copy_to_bytes(batch.remaining()));
                let _ = node.handle_ack(replica, Ack::applied(end));
            }
            Step::SendSnapshot { cut, .. } => {
                held.clone_from(&images.lock().unwrap()[&cut.snapshot]);
                end = cut.offset;
                sender.handle_snapshot_sent();
            }
            Step::KeepAlive => {}
            Step::Closed(_) => return held,
        }
    }
}

#[test]
fn what_is_left_in_a_batch_is_lent_again_with_the_next() {
    let host = Host::new(|_| ());
    let mut sender = host.online();
    host.write(b"one two");
    let Step::Stream(batch) = sender.next() else { panic!("there are bytes") };
    batch.advance(4);
    host.write(b" three");
    assert_eq!(next_bytes(&mut sender), b"two three");
}

#[test]
fn a_sender_is_parked_until_there_are_bytes() {
    let host = Host::new(|_| ());
    let mut sender = host.online();
    thread::scope(|scope| {
        let sending = scope.spawn(|| next_bytes(&mut sender));
        host.write(b"bytes");
        assert_eq!(sending.join().unwrap(), b"bytes");
    });
}

/// R86: while it waits for its snapshot, which nobody makes here.
#[test]
fn who_waits_for_a_snapshot_gets_signs_of_life() {
    let host = Host::new(|_| ());
    let mut sender = host.attach();
    thread::scope(|scope| {
        let sending = scope.spawn(|| assert!(matches!(sender.next(), Step::KeepAlive)));
        host.pass(Duration::from_secs(1));
        sending.join().unwrap();
    });
}

fn limited() -> (Host, Sender) {
    let host = Host::new(|config| {
        config.backlog_capacity = 100;
        config.output_limit = OutputLimit { hard: Some(100), soft: None };
    });
    let sender = host.online();
    (host, sender)
}

/// R123: what it was lent counts as unsent until it comes back.
#[test]
fn a_sender_over_the_output_limit_is_closed() {
    let (mut host, mut sender) = limited();
    host.write(b"bytes");
    assert!(matches!(sender.next(), Step::Stream(_)));
    host.write(&[b'x'; 200]);
    let replica = sender.replica();
    assert!(matches!(sender.next(), Step::Closed(Some(DropReason::OverLimit(_)))));
    assert!(matches!(sender.next(), Step::Closed(Some(DropReason::OverLimit(_)))), "and stays so");
    assert!(!is_told_dropped(&mut host, &sender), "its sender knows");
    drop(sender);
    assert!(host.node.detach(replica, Detach::Lost).is_err(), "it was gone before");
}

/// Its sender may be stuck in a write to the socket.
#[test]
fn the_host_is_told_of_a_drop_that_the_sender_has_not_taken() {
    let (mut host, sender) = limited();
    host.write(&[b'x'; 200]);
    assert!(is_told_dropped(&mut host, &sender));
}

fn is_told_dropped(host: &mut Host, sender: &Sender) -> bool {
    let of = |event: &NodeEvent| match event {
        NodeEvent::Primary(Event::Dropped { replica, .. }) => *replica == sender.replica(),
        _ => false,
    };
    host.drain().iter().any(of)
}

#[test]
fn a_dropped_sender_has_lost_its_replica() {
    let host = Host::new(|_| ());
    drop(host.online());
    assert!(host.node.report().replicas.is_empty());
    assert_eq!(host.node.report().resume_pins, 1, "so it may resume");
    host.online().detach(Detach::Clean);
    assert_eq!(host.node.report().resume_pins, 0, "it came back, and has left");
}

#[test]
fn what_a_dropped_sender_had_written_is_not_sent_again() {
    let host = Host::new(|_| ());
    let mut sender = host.online();
    host.write(b"one two");
    let Step::Stream(batch) = sender.next() else { panic!("there are bytes") };
    batch.advance(4);
    assert_eq!(host.node.report().replicas[0].unsent, 7);
    let end = host.node.end();
    drop(sender);
    let wanted = Wanted::After { id: id(2), offset: Offset::new(end.get() - 3).unwrap() };
    let (mut resumed, answer) = host.node.attach(wanted, Peer::new(Tag(8), "10.0.0.9")).unwrap();
    assert!(matches!(answer, Answer::Continue { .. }));
    assert_eq!(next_bytes(&mut resumed), b"two");
}

#[test]
fn a_parked_sender_whose_replica_somebody_detaches_is_closed() {
    let host = Host::new(|_| ());
    let mut sender = host.online();
    let replica = sender.replica();
    thread::scope(|scope| {
        let sending = scope.spawn(|| assert!(matches!(sender.next(), Step::Closed(None))));
        host.node.detach(replica, Detach::Clean).unwrap();
        sending.join().unwrap();
    });
    assert!(host.node.report().replicas.is_empty());
}
