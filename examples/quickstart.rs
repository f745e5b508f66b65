//! One primary and one replica's connection, in memory: a full sync, writes, a cut, a resume.
//!
//! Try it: `cargo run --release --example quickstart`

use std::error::Error;
use std::time::Duration;

use headwater::{
    Ack, Answer, Config, Detach, Event, Framing, Image, Offset, Peer, Primary, ReplicaKey, ReplicationId,
    Sink, Tag, Timestamp, Wanted,
};

/// A store of lines; its stream is the lines themselves.
type Store = Vec<String>;

/// What the other end of the connection holds: its data, and how much of which history that is.
struct Replica {
    store: Store,
    id: ReplicationId,
    offset: Offset,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut clock = (0..).map(|seconds| Timestamp::from_origin(Duration::from_secs(seconds)));
    let mut now = || clock.next().expect("the clock has no end");
    let mut store = Store::from(["written before anybody listened".into()]);

    let mut primary = Primary::new(Config::default(), ReplicationId::from_random([1; 20]), now())?;
    primary.supply_id(ReplicationId::from_random([2; 20]))?; // a real host draws its ids at random

    let key = primary.attach(Wanted::Everything, Peer::new(Tag(1), "replica"), now())?.replica;
    let mut replica = full_sync(&mut primary, &store, now())?;
    println!("full sync:  {} lines, offset {}", replica.store.len(), replica.offset);

    write(&mut primary, &mut store, "one", now())?;
    stream(&mut primary, key, &mut replica, now())?;
    println!("streamed:   the replica acknowledged offset {} of {}", replica.offset, primary.end());

    primary.detach(key, Detach::Lost, now())?;
    write(&mut primary, &mut store, "two", now())?;
    write(&mut primary, &mut store, "three", now())?;
    println!("cut:        the replica is {} bytes behind", primary.end().get() - replica.offset.get());

    let wanted = Wanted::After { id: replica.id, offset: replica.offset };
    let attached = primary.attach(wanted, Peer::new(Tag(2), "replica"), now())?;
    assert!(matches!(attached.answer, Answer::Continue { .. }), "the backlog holds what it missed");
    stream(&mut primary, attached.replica, &mut replica, now())?;
    println!("resumed:    the replica acknowledged offset {} of {}", replica.offset, primary.end());

    assert_eq!(replica.store, store);
    let counters = primary.report(now()).counters;
    println!("in step:    {} full sync, {} partial", counters.sync_full, counters.sync_partial_ok);
    Ok(())
}

/// Applies a write and lets it into the stream, in one step.
fn write(primary: &mut Primary, store: &mut Store, line: &str, now: Timestamp) -> Result<(), Box<dyn Error>> {
    primary.write(now, |unit| {
        store.push(line.into());
        unit.put(line.as_bytes());
        unit.put(b"\n");
    })?;
    Ok(())
}

/// Answers the events of a replica that needs a snapshot, until it is online.
fn full_sync(primary: &mut Primary, store: &Store, now: Timestamp) -> Result<Replica, Box<dyn Error>> {
    while let Some(event) = primary.poll_event() {
        match event {
            Event::SnapshotWanted { .. } => {
                let image = Image { framing: Framing::Sized, replayable: true };
                let cut = primary.begin_snapshot(image, now)?; // the store as it is at this moment …
                primary.handle_snapshot_ready(cut.snapshot, now)?; // … is at hand: nothing to wait for
            }
            Event::SendSnapshot { replica, cut, .. } => {
                primary.handle_snapshot_sent(replica, now)?;
                return Ok(Replica { store: store.clone(), id: cut.id, offset: cut.offset });
            }
            other => println!("            {other:?}"),
        }
    }
    Err("a replica that asks for everything is sent a snapshot".into())
}

/// Sends what there is, has the replica apply and acknowledge it.
fn stream(
    primary: &mut Primary,
    key: ReplicaKey,
    replica: &mut Replica,
    now: Timestamp,
) -> Result<(), Box<dyn Error>> {
    let mut socket = Vec::new();
    let _ = primary.write_to(key, &mut socket, now)?;
    replica.store.extend(String::from_utf8(socket.clone())?.lines().map(Into::into));
    replica.offset = replica.offset.checked_add(socket.len() as u64).ok_or("the stream is full")?;
    primary.handle_ack(key, Ack::applied(replica.offset), now)?;
    Ok(())
}
