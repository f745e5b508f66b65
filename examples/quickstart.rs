//! One primary and one replica's connection, in memory: a full sync, a write, a cut, a resume.
//!
//! Try it: `cargo run --release --example quickstart`

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use headwater::{
    Ack, Config, Cut, Detach, Event, Framing, Image, Peer, Primary, ReplicaKey, ReplicationId, Sent, Sink,
    Tag, Timestamp, Wanted,
};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result {
    let mut clock = (0..).map(|seconds| Timestamp::from_origin(Duration::from_secs(seconds)));
    let mut now = || clock.next().expect("the clock has no end");
    let mut store = String::from("[before anybody listened]"); // a text; its stream is what is added to it

    let mut primary = Primary::new(Config::default(), random_id(), now())?;
    act_on_events(&mut primary, now())?;

    let attached = primary.attach(Wanted::Everything, Peer::new(Tag(1), "replica"), now())?;
    let cut = act_on_events(&mut primary, now())?.ok_or("whoever asks for everything is sent a snapshot")?;
    let mut replica = store.clone(); // what travels as the snapshot: the store as it was at the cut
    println!("full sync  from offset {}: {replica}", cut.offset);

    write(&mut primary, &mut store, "[one]", now())?;
    stream(&mut primary, attached.replica, &mut replica, now())?;
    println!("streamed   up to offset {}: {replica}", primary.end());

    let held = primary.end(); // the replica acknowledged all of it
    primary.detach(attached.replica, Detach::Lost, now())?;
    write(&mut primary, &mut store, "[two]", now())?;
    write(&mut primary, &mut store, "[three]", now())?;
    println!("cut        at offset {held}: {} bytes behind", primary.end().bytes_since(held).unwrap_or(0));

    let wanted = Wanted::After { id: cut.id, offset: held };
    let attached = primary.attach(wanted, Peer::new(Tag(2), "replica"), now())?;
    println!("back again {:?}", attached.answer);
    stream(&mut primary, attached.replica, &mut replica, now())?;
    println!("in step    at offset {}: {replica}", primary.end());

    assert_eq!(replica, store);
    let counters = primary.report(now()).counters;
    println!("counted    {} full sync, {} partial", counters.sync_full, counters.sync_partial_ok);
    Ok(())
}

/// Applies a write and lets it into the stream, in one step.
fn write(primary: &mut Primary, store: &mut String, text: &str, now: Timestamp) -> Result {
    primary.write(now, |unit| {
        store.push_str(text);
        unit.put(text.as_bytes());
    })?;
    Ok(())
}

/// Does what the primary asks for. Tells the cut of a snapshot that was sent.
fn act_on_events(primary: &mut Primary, now: Timestamp) -> Result<Option<Cut>> {
    let mut sent = None;
    while let Some(event) = primary.poll_event() {
        match event {
            Event::IdWanted => primary.supply_id(random_id())?, // for the next change of history
            Event::SnapshotWanted { .. } => {
                let image = Image { framing: Framing::Sized, replayable: true, size: None };
                let cut = primary.begin_snapshot(image, now)?; // an image of this moment …
                primary.handle_snapshot_ready(cut.snapshot, now)?; // … is at hand: nothing to wait for
            }
            Event::SendSnapshot { replica, cut, .. } => {
                primary.handle_snapshot_sent(replica, now)?;
                sent = Some(cut);
            }
            other => println!("           {other:?}"),
        }
    }
    Ok(sent)
}

/// Sends the replica what it lacks, and has it acknowledge that.
fn stream(primary: &mut Primary, key: ReplicaKey, replica: &mut String, now: Timestamp) -> Result {
    let mut socket = Vec::new();
    while primary.write_to(key, &mut socket, now)? == Sent::More {}
    replica.push_str(std::str::from_utf8(&socket)?);
    Ok(primary.handle_ack(key, Ack::applied(primary.end()), now)?)
}

fn random_id() -> ReplicationId {
    let word = || RandomState::new().hash_one(()).to_le_bytes(); // the host's randomness: the core has none
    let bytes = [word(), word(), word()].concat();
    ReplicationId::from_random(std::array::from_fn(|index| bytes[index]))
}
