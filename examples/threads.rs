//! A small replicated store of plain threads: `SharedNode` over `std::net`, without an async runtime.
//!
//! Each connection has a thread that reads; one that asks for the stream gets a second one, which sends. Try it with a real replica:
//!
//! ```text
//! cargo run --release --example threads -- 7000
//! redis-server --port 7001 --replicaof 127.0.0.1 7000
//! redis-cli -p 7000 set key value
//! redis-cli -p 7000 wait 1 1000
//! redis-cli -p 7001 get key
//! ```
//!
//! Cut the link with `redis-cli -p 7001 client kill type master`, and INFO of 7000 tells that the replica resumed. It knows GET,
//! SET, DEL, INCR, PING, INFO and WAIT.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a program has sockets and threads")]

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use std::{env, thread};

use headwater::info::{self, Flavour};
use headwater::shared::{Events, Sender, SharedNode, Step};
use headwater::wire::{self, CommandError, CommandLimits, CommandReader, Replconf, SelectedDb};
use headwater::{
    Answer, Config, Detach, Event, Framing, Heartbeat, Image, NodeEvent, Offset, Peer, ReplicaKey,
    ReplicationId, SnapshotKey, Start, Tag,
};
use parking_lot::Mutex;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;
type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

fn main() -> Result {
    let port = env::args().nth(1).map_or(Ok(7000), |port| port.parse())?;
    let mut config = Config::default();
    config.ack_request = Some(wire::get_ack()); // what a real replica understands
    config.heartbeat = Some(Heartbeat { payload: wire::heartbeat(), period: Duration::from_secs(10) });
    let (node, events) = SharedNode::spawn(config, Start::Empty { id: random_id() })?;
    let server = Arc::new(Server { node, store: Mutex::default(), images: Mutex::default() });
    let acting = Arc::clone(&server);
    thread::spawn(move || acting.act(events));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    println!("ready for clients on port {port}");
    for (tag, socket) in (0..).zip(listener.incoming()) {
        let (server, socket) = (Arc::clone(&server), socket?);
        thread::spawn(move || {
            println!("connection {tag} has ended: {:?}", server.serve(socket, Tag(tag)));
        });
    }
    Ok(())
}

struct Server {
    /// Locked before the store, by what runs inside it.
    node: SharedNode,
    store: Mutex<Store>,
    images: Mutex<BTreeMap<SnapshotKey, Arc<Vec<u8>>>>,
}

#[derive(Default)]
struct Store {
    entries: Entries,
    selected: SelectedDb,
}

struct Client {
    socket: TcpStream,
    peer: Peer,
    /// Replies that are yet to be written.
    out: Vec<u8>,
    /// The end of its own last write, which WAIT is about.
    written: Offset,
    replica: Option<ReplicaKey>,
}

impl Server {
    /// Does what the node asks for.
    fn act(&self, mut events: Events) {
        while let Some(event) = events.recv() {
            match event {
                NodeEvent::Primary(Event::IdWanted) => drop(self.node.supply_id(random_id())),
                NodeEvent::Primary(Event::SnapshotWanted { .. }) => self.make_image(),
                NodeEvent::Primary(Event::SnapshotOver { snapshot }) => {
                    self.images.lock().remove(&snapshot);
                }
                news => println!("{news:?}"),
            }
        }
    }

    fn make_image(&self) {
        let image = Image { framing: Framing::Sized, replayable: true, size: None };
        // A copy of the moment of the cut. It is encoded without a lock.
        let view = |cut| (cut, self.store.lock().entries.clone());
        let Ok((cut, entries)) = self.node.begin_snapshot(image, view) else { return };
        self.images.lock().insert(cut.snapshot, Arc::new(rdb(&entries)));
        let _ = self.node.handle_snapshot_ready(cut.snapshot); // if it is over, an event tells so
    }

    fn serve(self: &Arc<Self>, socket: TcpStream, tag: Tag) -> Result {
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(Duration::from_secs(60)))?; // a sender that writes hears nothing
        let peer = Peer::new(tag, socket.peer_addr()?.ip().to_string());
        let mut client = Client { socket, peer, out: Vec::new(), written: Offset::ZERO, replica: None };
        let ended = self.read(&mut client);
        if let Some(replica) = client.replica {
            let _ = self.node.detach(replica, Detach::Lost); // its sender may have ended before
        }
        ended
    }

    /// Reads commands, and answers them.
    fn read(self: &Arc<Self>, client: &mut Client) -> Result {
        let (mut reader, mut buffer) = (CommandReader::new(CommandLimits::default()), vec![0; 16 << 10]);
        loop {
            let len = client.socket.read(&mut buffer)?;
            if len == 0 {
                return Ok(());
            }
            let mut input = &buffer[..len];
            while let Some(command) = reader.next(&mut input)? {
                let words: Vec<&[u8]> = command.args().collect();
                if let Err(error) = self.execute(client, &words) {
                    wire::put_error(&mut client.out, &error);
                }
            }
            if client.replica.is_none() {
                client.socket.write_all(&client.out)?;
            }
            client.out.clear(); // an answer to a replica would get into its stream
        }
    }

    fn execute(self: &Arc<Self>, client: &mut Client, words: &[&[u8]]) -> Result {
        let name = words.first().map(|name| name.to_ascii_uppercase()).unwrap_or_default();
        let out = &mut client.out;
        match (name.as_slice(), words.get(1..).unwrap_or_default()) {
            (b"", _) => client.replica.map_or(Ok(()), |replica| self.node.handle_alive(replica))?,
            (b"PING", []) => out.extend(b"+PONG\r\n"),
            (b"GET", [key]) => put_value(out, self.store.lock().entries.get(*key)),
            (b"SET", [_, _]) | (b"DEL", [_, ..]) | (b"INCR", [_]) => self.write(client, &name, words)?,
            (b"INFO", _) => {
                let report = self.node.report();
                let replication = info::replication(&report, Flavour::Redis);
                wire::put_bulk(out, &format_args!("# Stats\r\n{}\r\n{replication}", info::stats(&report)));
            }
            (b"WAIT", args) => {
                let wait = wire::wait(args)?.for_target(client.written, client.peer.tag);
                wire::put_wait_end(out, &self.node.wait(wait).map_err(CommandError::from)?);
            }
            (b"REPLCONF", args) => match (wire::replconf(args, &mut client.peer)?, client.replica) {
                (Replconf::Ok, _) => wire::put_ok(out),
                (Replconf::Ack(ack), Some(replica)) => self.node.handle_ack(replica, ack)?,
                _ => {}
            },
            (b"PSYNC", args) if client.replica.is_none() => self.attach(client, args)?,
            _ => return Err("ERR unknown command, or wrong number of arguments".into()),
        }
        Ok(())
    }

    /// Applies a write and lets it into the stream, in one step. What fails changes nothing, and no replica hears of it.
    fn write(&self, client: &mut Client, name: &[u8], words: &[&[u8]]) -> Result {
        let written = self.node.write(|unit| {
            let mut store = self.store.lock();
            let reply = apply(&mut store.entries, name, &words[1..])?;
            store.selected.select(0, unit);
            wire::put_command(unit, words);
            Ok::<_, &'static str>(reply)
        });
        let written = written.map_err(CommandError::from)?;
        client.written = written.end.unwrap_or(client.written);
        client.out.extend(written.value?.bytes());
        Ok(())
    }

    /// A replica asks for the stream. Another thread sends to it from now on; this one reads its acks.
    fn attach(self: &Arc<Self>, client: &mut Client, args: &[&[u8]]) -> Result {
        let mut socket = client.socket.try_clone()?;
        let wanted = wire::psync(args)?.wanted;
        let (sender, answer) = self.node.attach(wanted, client.peer.clone()).map_err(CommandError::from)?;
        client.replica = Some(sender.replica());
        println!("{} is attached: {answer:?}", sender.replica());
        let mut first = std::mem::take(&mut client.out);
        if let Answer::Continue { id, .. } = answer {
            wire::put_continue(&mut first, id, &client.peer);
        }
        let server = Arc::clone(self);
        thread::spawn(move || {
            println!("sending has ended: {:?}", server.send(&mut socket, sender, &first));
            socket.shutdown(Shutdown::Both) // so that the thread that reads ends
        });
        Ok(())
    }

    fn send(&self, socket: &mut TcpStream, mut sender: Sender, first: &[u8]) -> Result {
        socket.write_all(first)?;
        loop {
            match sender.next() {
                Step::Stream(batch) => batch.write_all_to(socket)?,
                Step::SendSnapshot { cut, .. } => {
                    let image = self.images.lock().get(&cut.snapshot).cloned().ok_or("it is over")?;
                    let mut header = Vec::new();
                    wire::put_full_resync(&mut header, &cut);
                    wire::put_snapshot_len(&mut header, image.len() as u64);
                    socket.write_all(&[&header, &image[..]].concat())?;
                    sender.handle_snapshot_sent();
                }
                Step::KeepAlive => socket.write_all(b"\n")?,
                Step::Closed(reason) => return Ok(reason.map_or(Ok(()), Err)?),
            }
        }
    }
}

fn apply(entries: &mut Entries, name: &[u8], args: &[&[u8]]) -> std::result::Result<String, &'static str> {
    match (name, args) {
        (b"SET", [key, value]) => {
            entries.insert(key.to_vec(), value.to_vec());
            Ok("+OK\r\n".into())
        }
        (b"INCR", [key]) => {
            let value = entries.get(*key).map_or(&b"0"[..], Vec::as_slice);
            let value = std::str::from_utf8(value).ok().and_then(|value| value.parse::<i64>().ok());
            let next = value.and_then(|value| value.checked_add(1)).ok_or("ERR value is not an integer")?;
            entries.insert(key.to_vec(), next.to_string().into());
            Ok(format!(":{next}\r\n"))
        }
        (_, keys) => {
            let gone = keys.iter().filter(|key| entries.remove(**key).is_some()).count();
            Ok(format!(":{gone}\r\n"))
        }
    }
}

fn put_value(out: &mut Vec<u8>, value: Option<&Vec<u8>>) {
    match value {
        Some(value) => out.extend([format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()),
        None => out.extend(b"$-1\r\n"),
    }
}

/// The entries as an RDB of version 9. A checksum of zeros is none.
fn rdb(entries: &Entries) -> Vec<u8> {
    let mut image = b"REDIS0009\xfe\x00".to_vec();
    for (key, value) in entries {
        image.push(0); // a string; then texts behind their lengths, of eight bytes
        for text in [key, value] {
            image.extend([&[0x81], &(text.len() as u64).to_be_bytes()[..], text].concat());
        }
    }
    image.extend([0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    image
}

fn random_id() -> ReplicationId {
    let word = || RandomState::new().hash_one(()).to_le_bytes();
    let bytes = [word(), word(), word()].concat();
    ReplicationId::from_random(std::array::from_fn(|index| bytes[index]))
}
