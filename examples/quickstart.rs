//! Three stores in memory: a full sync, a cut, a resume; then the first is gone, the second leads, the third goes on with it.
//!
//! Try it: `cargo run --release --example quickstart`

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use headwater::{
    Ack, Answer, Config, Cut, Detach, Event, Framing, Image, LinkKey, Node, NodeEvent, Peer, ReplicaConfig,
    ReplicaKey, ReplicationId, ResumePoint, Sent, Sink, Start, Tag, Timestamp, UpstreamEvent,
};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result {
    let [mut first, mut second, mut third] = [(1, "first"), (2, "second"), (3, "third")].map(Store::new);

    let link = second.follow(&mut first)?; // a full sync
    third.follow(&mut first)?;
    first.write("[one]")?;
    second.stream(link, &mut first)?;

    second.cut(link, &mut first)?;
    first.write("[two]")?;
    let link = second.follow(&mut first)?; // a resume
    second.stream(link, &mut first)?;

    println!("the first is gone; the third lacks [one] and [two], which only the second has");
    second.node.promote(random_id(), now())?;
    second.write("[three]")?;
    let link = third.follow(&mut second)?; // resumes: the second kept the history, and what is to be sent of it
    third.stream(link, &mut second)?;

    assert_eq!(third.text, second.text);
    let counters = second.node.primary().report(now()).counters;
    println!("the second made {} snapshots, and let {} resume", counters.sync_full, counters.sync_partial_ok);
    Ok(())
}

/// A text; its stream is what is added to it.
struct Store {
    tag: Tag,
    name: &'static str,
    text: String,
    node: Node,
}

impl Store {
    fn new((tag, name): (u64, &'static str)) -> Self {
        let node = Node::new(Config::default(), Start::Empty { id: random_id() }, now());
        Self {
            tag: Tag(tag),
            name,
            text: String::new(),
            node: node.expect("the default configuration works"),
        }
    }

    /// Applies a write and lets it into the stream, in one step.
    fn write(&mut self, text: &str) -> Result {
        self.node.primary().write(now(), |unit| {
            self.text.push_str(text);
            unit.put(text.as_bytes());
        })?;
        Ok(())
    }

    /// Connects at once, and asks to go on from what it holds. In a real store this is what comes over a socket: for Redis's
    /// protocol `wire::Link` says it all.
    fn follow(&mut self, primary: &mut Self) -> Result<LinkKey> {
        primary.act()?; // so that it has an id in stock
        self.node.follow(ReplicaConfig::default(), None, now())?;
        let link = self.connect()?;
        let wanted = self.node.wanted().ok_or("it follows")?;
        let attached = primary.node.primary().attach(wanted, Peer::new(self.tag, self.name), now())?;
        match attached.answer {
            Answer::Continue { id, from } => {
                println!("{} goes on with {} from offset {from}", self.name, primary.name);
                self.node.handle_resumed(link, Some(id), now())?;
            }
            _ => {
                let cut = primary.act()?.ok_or("whoever can't go on is sent a snapshot")?;
                println!("{} starts over with {} from offset {}", self.name, primary.name, cut.offset);
                self.node.handle_full(link, ResumePoint { id: cut.id, offset: cut.offset }, now())?;
                self.node.handle_snapshot_end(link, now())?;
                self.text = primary.text.clone(); // what travels as the snapshot: the store as it was at the cut
                self.node.handle_loaded(link, now())?;
            }
        }
        Ok(link)
    }

    fn connect(&mut self) -> Result<LinkKey> {
        while let Some(event) = self.node.poll_event() {
            if let NodeEvent::Upstream(link, UpstreamEvent::Connect) = event {
                self.node.handle_connected(link, now())?;
                self.node.handle_asked(link, now())?;
                return Ok(link);
            }
        }
        Err("nobody is followed".into())
    }

    /// Does what the core asks for. Tells the cut of a snapshot that was sent.
    fn act(&mut self) -> Result<Option<Cut>> {
        let mut sent = None;
        while let Some(event) = self.node.poll_event() {
            let NodeEvent::Primary(event) = event else { continue };
            let primary = self.node.primary();
            match event {
                Event::IdWanted => primary.supply_id(random_id())?, // for the next change of history
                Event::SnapshotWanted { .. } => {
                    let image = Image { framing: Framing::Sized, replayable: true, size: None };
                    let cut = primary.begin_snapshot(image, now())?; // an image of this moment …
                    primary.handle_snapshot_ready(cut.snapshot, now())?; // … is at hand: nothing to wait for
                }
                Event::SendSnapshot { replica, cut, .. } => {
                    primary.handle_snapshot_sent(replica, now())?;
                    sent = Some(cut);
                }
                _ => {} // `Send`, which `stream` does anyhow, and news
            }
        }
        Ok(sent)
    }

    /// Takes what there is of the stream, applies it, and acknowledges.
    fn stream(&mut self, link: LinkKey, primary: &mut Self) -> Result {
        let (key, mut socket) = (primary.key_of(self.tag)?, Vec::new());
        while primary.node.primary().write_to(key, &mut socket, now())? == Sent::More {}
        self.node.handle_received(link, socket.len() as u64, now())?;
        let applied = self.node.handle_applied(link, &Bytes::copy_from_slice(&socket), now())?;
        self.text.push_str(std::str::from_utf8(&socket)?);
        println!("{} holds {} up to offset {applied}: {}", self.name, primary.name, self.text);
        Ok(primary.node.primary().handle_ack(key, Ack::applied(applied), now())?)
    }

    /// Both sides learn that their connection is broken.
    fn cut(&mut self, link: LinkKey, primary: &mut Self) -> Result {
        self.node.handle_disconnected(link, now());
        let key = primary.key_of(self.tag)?;
        Ok(primary.node.primary().detach(key, Detach::Lost, now())?)
    }

    fn key_of(&mut self, tag: Tag) -> Result<ReplicaKey> {
        let replicas = self.node.primary().report(now()).replicas;
        let replica = replicas.iter().find(|replica| replica.replica.tag() == tag);
        Ok(replica.ok_or("it is attached")?.replica)
    }
}

/// The host's clock: here one that goes on by a millisecond at each look.
fn now() -> Timestamp {
    static LOOKS: AtomicU64 = AtomicU64::new(0);
    Timestamp::from_origin(Duration::from_millis(LOOKS.fetch_add(1, Ordering::Relaxed)))
}

fn random_id() -> ReplicationId {
    let word = || RandomState::new().hash_one(()).to_le_bytes(); // the host's randomness: the core has none
    let bytes = [word(), word(), word()].concat();
    ReplicationId::from_random(std::array::from_fn(|index| bytes[index]))
}
