//! What the simulator has found, each in the fewest steps that show it.

use std::time::Duration;

use headwater::{
    Config, Detach, Framing, Image, Peer, Primary, ReplicaKey, ReplicationId, Sink, Tag, Timestamp, Wanted,
};

/// B1: a unit that was taken back left the chunk before it sealed, however little was in it, so 1,000 bytes of
/// stream could take 64 MiB.
#[test]
fn units_taken_back_leave_no_chunks_behind() {
    let ((mut primary, _), now) = (attached(), at(0));
    let large = [b'x'; 100_000];
    for _ in 0..1000 {
        primary.write(now, |unit| unit.put(b"1")).unwrap();
        primary
            .write(now, |unit| {
                unit.put(&large);
                unit.clear();
            })
            .unwrap();
    }
    primary.check_invariants();
    let backlog = primary.report(now).backlog.unwrap();
    assert_eq!(backlog.len, 1000);
    assert!(backlog.memory <= 8 * (64 << 10), "{} bytes held for 1,000", backlog.memory);
}

/// B1: the deadline for letting go of a surplus moved on with every input, so a host that gets one every half
/// millisecond never came to it.
#[test]
fn a_surplus_goes_however_many_inputs_come() {
    let (mut primary, slow) = attached();
    let image = Image { framing: Framing::Sized, replayable: false, size: None };
    primary.begin_snapshot(image, at(0)).unwrap();
    primary.write(at(0), |unit| unit.put(&vec![b'x'; 64 << 20])).unwrap();
    let held = Wanted::After { id: primary.report(at(0)).id, offset: primary.end() };
    let other = primary.attach(held, Peer::new(Tag(2), "other"), at(0)).unwrap().replica;
    primary.detach(slow, Detach::Lost, at(0)).unwrap();
    for half_millis in 1..1000 {
        let now = at(half_millis * 500);
        primary.handle_alive(other, now).unwrap();
        if primary.poll_timeout().is_some_and(|due| due <= now) {
            primary.handle_timeout(now);
        }
    }
    let kept = primary.report(at(0)).backlog.unwrap().len;
    assert!(kept < 2 << 20, "{kept} bytes kept of a capacity of 1 MiB");
}

/// A primary with a stream, and the replica that waits for its snapshot.
fn attached() -> (Primary, ReplicaKey) {
    let mut primary = Primary::new(Config::default(), ReplicationId::from_random([1; 20]), at(0))
        .expect("a valid configuration");
    primary.supply_id(ReplicationId::from_random([2; 20])).expect("a fresh id");
    let attached =
        primary.attach(Wanted::Everything, Peer::new(Tag(1), "replica"), at(0)).expect("there is room");
    (primary, attached.replica)
}

fn at(micros: u64) -> Timestamp {
    Timestamp::from_origin(Duration::from_micros(micros))
}
