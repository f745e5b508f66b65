//! In steady state append, send, ack and wait allocate nothing.

use std::hint::black_box;
use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes};
use headwater::{
    Ack, Acks, Backlog, Config, Event, Framing, Image, Level, MinReplicas, Offset, OutputLimit, Peer,
    Primary, ReplicaKey, ReplicationId, Sent, Sink, SoftLimit, Tag, Timeout, Timestamp, Wait, WaitEnded,
    WaitOutcome, Waiters, Wanted, wire,
};

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(black_box(Box::new(7)))), STEPS);
}

#[test]
fn an_append_allocates_nothing() {
    for size in [64, 4096, 100_000] {
        let mut backlog = backlog();
        let unit = vec![b'x'; size];
        let append = || {
            backlog.append(&unit).unwrap();
        };
        assert_eq!(allocations(append), 0, "units of {size} bytes");
    }
}

/// The largest fill two chunks before old ones may go.
#[test]
fn a_staged_unit_allocates_nothing() {
    for size in [4096, 64 << 10, 70_000, 128 << 10] {
        let mut backlog = backlog();
        let value = vec![b'x'; size - 11];
        let stage = || {
            backlog.stage(b"one piece, ").unwrap();
            backlog.stage(&value).unwrap();
            backlog.commit();
        };
        assert_eq!(allocations(stage), 0, "units of {size} bytes");
    }
}

/// Both fill chunks, so that now the one, now the other makes room.
#[test]
fn appends_between_staged_units_allocate_nothing() {
    let mut backlog = backlog();
    for (staged, appended) in [(107, 37), (64 << 10, 37), (107, 64 << 10)] {
        let (staged, appended) = (vec![b'x'; staged], vec![b'y'; appended]);
        let step = || {
            backlog.stage(&staged).unwrap();
            backlog.commit();
            backlog.append(&appended).unwrap();
        };
        assert_eq!(allocations(step), 0, "{} bytes staged, {} appended", staged.len(), appended.len());
    }
}

/// Beyond what the host allocates for them, that is.
#[test]
fn adopted_payloads_allocate_nothing() {
    let (mut backlog, payload) = (backlog(), Bytes::from(vec![b'x'; 16 << 10]));
    let step = || {
        backlog.append_shared(payload.clone()).unwrap();
        backlog.append(b"between").unwrap();
        backlog.stage(b"before").unwrap();
        backlog.stage_shared(payload.clone()).unwrap();
        backlog.stage(b"behind").unwrap();
        backlog.commit();
        backlog.stage_shared(payload.clone()).unwrap();
        backlog.discard_staged();
    };
    assert_eq!(allocations(step), 0);
}

/// What lies between them fills chunks, at another pace than that at which payloads push old ones out.
#[test]
fn adopted_payloads_between_large_copies_allocate_nothing() {
    for (copied, adopted) in [(30_000, 20_000), (70_000, 16 << 10), (30_000, 300_000), (60_000, 1 << 20)] {
        let (mut backlog, payload) = (backlog(), Bytes::from(vec![b'x'; adopted]));
        let unit = vec![b'y'; copied];
        let step = || {
            backlog.append(&unit).unwrap();
            backlog.append_shared(payload.clone()).unwrap();
            backlog.stage(&unit).unwrap();
            backlog.stage_shared(payload.clone()).unwrap();
            backlog.commit();
        };
        assert_eq!(allocations(step), 0, "{copied} bytes copied, {adopted} adopted");
    }
}

#[test]
fn an_adopted_payload_written_and_sent_allocates_nothing() {
    let (mut primary, replicas) = primary();
    let payload = Bytes::from(vec![b'x'; 64 << 10]);
    let step = || {
        primary.append_shared(payload.clone(), NOW).unwrap();
        primary.write(NOW, |unit| unit.put_shared(payload.clone())).unwrap();
        while primary.poll_event().is_some() {}
        let mut batch = primary.take_batch(replicas[0], NOW).unwrap().expect("there is something to send");
        batch.advance(batch.remaining());
        primary.handle_batch_written(batch, NOW);
        for &replica in &replicas[1..] {
            assert_eq!(primary.write_to(replica, &mut TakesAll, NOW).unwrap(), Sent::All);
        }
    };
    assert_eq!(allocations(step), 0);
}

#[test]
fn a_command_written_and_sent_allocates_nothing() {
    let (mut primary, _) = primary();
    let value = [b'x'; 64];
    let step = || {
        let command: [&[u8]; 3] = [b"SET", b"key:000000000042", &value];
        primary.write(NOW, |unit| wire::put_command(unit, &command)).unwrap();
        while let Some(event) = primary.poll_event() {
            let Event::Send(replica) = event else { panic!("{event:?}") };
            assert_eq!(primary.write_to(replica, &mut TakesAll, NOW).unwrap(), Sent::All);
        }
    };
    assert_eq!(allocations(step), 0);
}

#[test]
fn what_is_sent_in_batches_and_acknowledged_allocates_nothing() {
    let (mut primary, _) = primary();
    let unit = vec![b'x'; 4096];
    let step = || {
        let end = primary.append(&unit, NOW).unwrap();
        while let Some(event) = primary.poll_event() {
            let Event::Send(replica) = event else { panic!("{event:?}") };
            let mut batch = primary.take_batch(replica, NOW).unwrap().expect("there is something to send");
            batch.advance(batch.remaining());
            primary.handle_batch_written(batch, NOW);
            primary.handle_ack(replica, Ack::applied(end), NOW).unwrap();
        }
    };
    assert_eq!(allocations(step), 0);
}

/// A replica that lags: what it is sent lies in many chunks, and its batches share them.
#[test]
fn a_replica_that_catches_up_in_steps_allocates_nothing() {
    let (mut primary, replicas) = primary();
    let unit = vec![b'x'; 300_000];
    let step = || {
        primary.append(&unit, NOW).unwrap();
        while primary.poll_event().is_some() {}
        let mut batch = primary.take_batch(replicas[0], NOW).unwrap().expect("there is something to send");
        batch.advance(batch.remaining());
        primary.handle_batch_written(batch, NOW);
        for &replica in &replicas[1..] {
            assert_eq!(primary.write_to(replica, &mut TakesAll, NOW).unwrap(), Sent::All);
        }
    };
    assert_eq!(allocations(step), 0);
}

/// Callers that wait for one replica or for two, with timeouts and without, are satisfied, and wait again.
#[test]
fn a_wait_after_a_wait_allocates_nothing() {
    let (mut acks, mut waiters) = (Acks::default(), Waiters::new(1000));
    let replicas = [0, 1].map(|place| ReplicaKey::new(place, 1, Tag(0)));
    for replica in replicas {
        acks.insert(replica);
        acks.set_online(replica);
    }
    let mut target = 0;
    let step = || {
        for (replicas, seconds) in [(1, 1), (1, 5), (2, 1), (2, 5)] {
            target += 1;
            let timeout = Timeout::After(Duration::from_secs(seconds));
            let (target, tag) = (Offset::new(target).unwrap(), Tag(target));
            let wait = Wait { target, replicas, level: Level::Applied, local: false, timeout, tag };
            assert!(matches!(waiters.wait(wait, &acks, NOW), Ok(WaitOutcome::Pending(_))));
        }
        for replica in replicas {
            let end = Offset::new(target).unwrap();
            assert_eq!(acks.record(replica, Ack::applied(end), end), Ok(true));
            waiters.handle_acks(&acks);
            while waiters.poll_ended().is_some() {}
        }
        assert!(waiters.is_empty());
    };
    assert_eq!(allocations(step), 0);
}

/// Callers that give up, one of many at a time, or run out of time.
#[test]
fn a_wait_in_place_of_one_given_up_allocates_nothing() {
    let (acks, mut waiters) = (Acks::default(), Waiters::new(1000));
    let (mut waiting, mut steps) = (Vec::with_capacity(200), 0_usize);
    let step = || {
        steps += 1;
        let now = Timestamp::from_origin(Duration::from_millis(steps as u64));
        let timeout = Timeout::After(Duration::from_millis([90, 1000, 50][steps % 3]));
        let (target, tag) = (Offset::new(steps as u64).unwrap(), Tag(steps as u64));
        let wait = Wait { target, replicas: 1, level: Level::Applied, local: false, timeout, tag };
        let Ok(WaitOutcome::Pending(waiter)) = waiters.wait(wait, &acks, now) else {
            panic!("nobody has it")
        };
        waiting.push(waiter);
        if waiting.len() == 100 {
            let _ = waiters.cancel(waiting.swap_remove(steps * 37 % 100), &acks);
        }
        waiters.handle_timeout(&acks, now);
        while waiters.poll_ended().is_some() {}
    };
    assert_eq!(allocations(step), 0);
}

/// With the gate, the soft limit, the samples of lag and the request for acks on: what a caller of WAIT costs.
#[test]
fn a_guarded_write_that_is_waited_for_allocates_nothing() {
    let (mut primary, replicas) = primary_of(guarded());
    let mut steps = 0;
    let step = || {
        steps += 1;
        let now = Timestamp::from_origin(Duration::from_millis(steps));
        let written = primary.write(now, |unit| unit.put(&[b'x'; 64])).unwrap();
        let target = written.end.unwrap();
        let timeout = Timeout::After(Duration::from_secs(1));
        let tag = Tag(steps);
        let wait = Wait { target, replicas: 2, level: Level::Applied, local: false, timeout, tag };
        assert!(matches!(primary.wait(wait, now), Ok(WaitOutcome::Pending(_))));
        assert_eq!(send_all(&mut primary, now), (3, 0), "each replica is sent the unit, nobody's wait ends");
        for replica in replicas {
            primary.handle_ack(replica, Ack::applied(primary.end()), now).unwrap();
        }
        assert_eq!(send_all(&mut primary, now), (0, 1), "the wait ends, once");
        primary.handle_timeout(now);
    };
    assert_eq!(allocations(step), 0);
}

/// How often a step allocates, once all has found its size.
fn allocations(mut step: impl FnMut()) -> u64 {
    for _ in 0..STEPS {
        step();
    }
    allocation_counter::measure(|| (0..STEPS).for_each(|_| step())).count_total
}

fn backlog() -> Backlog {
    Backlog::new(1 << 20, Offset::ZERO).expect("the capacity is not zero")
}

/// What a careful host configures.
fn guarded() -> Config {
    let mut config = Config::default();
    config.min_replicas = MinReplicas { to_write: 2, max_lag: Duration::from_secs(10) };
    let soft = SoftLimit { bytes: 1 << 20, lasting: Duration::from_secs(60) };
    config.output_limit = OutputLimit { hard: Some(8 << 20), soft: Some(soft) };
    config.ack_request = Some(wire::get_ack());
    config
}

fn primary() -> (Primary, [ReplicaKey; 3]) {
    primary_of(Config::default())
}

/// A primary with a backlog of 1 MiB, whose replicas are online.
fn primary_of(config: Config) -> (Primary, [ReplicaKey; 3]) {
    let id = |byte| ReplicationId::from_random([byte; 20]);
    let mut primary = Primary::new(config, id(1), NOW).expect("the default can work");
    primary.supply_id(id(2)).expect("the id is fresh");
    let replicas = [1, 2, 3].map(|tag| {
        let attached = primary.attach(Wanted::Everything, Peer::new(Tag(tag), "replica"), NOW);
        attached.expect("there is room").replica
    });
    let image = Image { framing: Framing::Sized, replayable: true, size: None };
    let cut = primary.begin_snapshot(image, NOW).expect("somebody waits");
    primary.handle_snapshot_ready(cut.snapshot, NOW).expect("it is under way");
    for replica in replicas {
        primary.handle_snapshot_sent(replica, NOW).expect("it is attached");
    }
    while primary.poll_event().is_some() {}
    (primary, replicas)
}

/// Sends each replica all there is. Tells how many were sent something, and how many waits ended.
fn send_all(primary: &mut Primary, now: Timestamp) -> (usize, usize) {
    let (mut sent, mut ended) = (0, 0);
    while let Some(event) = primary.poll_event() {
        match event {
            Event::Send(replica) => {
                assert_eq!(
                    primary.write_to(replica, &mut TakesAll, now).expect("the writer never fails"),
                    Sent::All
                );
                sent += 1;
            }
            Event::WaitEnded { end, .. } => {
                assert_eq!(end.how, WaitEnded::Satisfied);
                ended += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    (sent, ended)
}

/// A socket that takes everything.
struct TakesAll;

impl io::Write for TakesAll {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const NOW: Timestamp = Timestamp::from_origin(Duration::ZERO);

/// Enough for a backlog of 1 MiB to go round, even in units of 64 bytes.
const STEPS: u64 = 20_000;
