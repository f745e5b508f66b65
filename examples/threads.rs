//! A small Redis-compatible store of plain threads: `SharedNode` over blocking sockets of `std::net`, without an async runtime.
//!
//! Each connection has a thread that reads, applies and replies; `SharedNode::write` gives the stream the order of the data, and
//! WAIT parks the thread of its client. One that asks for the stream gets a second thread, which sends.
//! The data and the RDB are those of `kv` and `support`; it needs a Unix system. Try it:
//!
//! ```text
//! cargo run --release --example threads
//! redis-server --port 7001 --save '' --replicaof 127.0.0.1 7000
//! printf 'set greeting hello\nwait 1 1000\n' | redis-cli -p 7000
//! redis-cli -p 7001 get greeting
//! redis-cli -p 7001 client kill type master
//! redis-cli -p 7000 info stats
//! ```
//!
//! The last two cut the link, and tell that the replica resumed. `--port` takes another port.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, unreachable_pub, reason = "it is a program")]

#[path = "support/random.rs"]
mod random;
#[path = "kv/rdb.rs"]
mod rdb;
#[path = "kv/store.rs"]
#[allow(dead_code, reason = "kv needs more of it")]
mod store;
#[path = "support/strings.rs"]
mod strings;

use std::collections::HashMap;
use std::error::Error;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use std::{env, mem, thread};

use bytes::BytesMut;
use headwater::shared::{Events, Sender, SharedNode, Step};
use headwater::wire::{self, CommandError, CommandLimits, CommandReader, EndMark, Replconf, SelectedDb};
use headwater::{
    Answer, Config, Cut, Detach, Event, Framing, Heartbeat, Image, NodeEvent, Offset, Peer, ReplicaKey,
    ReplicationId, ResumePoint, SnapshotKey, Start, Tag,
};
use parking_lot::Mutex;

use crate::rdb::Frozen;
use crate::store::Store;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result {
    let port = env::args().skip_while(|arg| arg != "--port").nth(1).map_or(Ok(7000), |port| port.parse())?;
    let mut config = Config::default();
    config.backlog_capacity = 16 << 20;
    config.ack_request = Some(wire::get_ack());
    config.heartbeat = Some(Heartbeat { payload: wire::heartbeat(), period: Duration::from_secs(10) });
    let (node, events) =
        SharedNode::spawn(config, Start::Empty { id: ReplicationId::from_random(random::bytes()) })?;
    let data = Mutex::new((Store::new(), SelectedDb::new()));
    let server = Arc::new(Server { node, data, images: Mutex::default() });
    let acting = Arc::clone(&server);
    thread::spawn(move || acting.act(events));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    println!("ready on {}", listener.local_addr()?);
    for (tag, socket) in (0..).zip(listener.incoming()) {
        let server = Arc::clone(&server);
        let serve =
            move |socket| println!("connection {tag} has ended: {:?}", server.serve(socket, Tag(tag)));
        if let Err(error) = socket.and_then(|socket| thread::Builder::new().spawn(move || serve(socket))) {
            println!("connection {tag} is refused: {error}");
            thread::sleep(Duration::from_millis(100)); // until some of the others have ended
        }
    }
    Ok(())
}

/// What threads share. Whoever is inside `node` may lock the others, and nobody the other way round.
struct Server {
    node: SharedNode,
    /// The data, and the database that the stream's last command was for. Who only reads locks nothing else.
    data: Mutex<(Store, SelectedDb)>,
    /// The data at the cut of each snapshot under way.
    images: Mutex<HashMap<SnapshotKey, Frozen>>,
}

struct Client {
    socket: TcpStream,
    peer: Peer,
    /// Replies that are yet to be written.
    out: BytesMut,
    /// The end of its own last write, which its WAIT is about.
    write_end: Offset,
    replica: Option<ReplicaKey>,
}

impl Server {
    fn act(&self, mut events: Events) {
        while let Some(event) = events.recv() {
            match event {
                NodeEvent::Primary(Event::SnapshotWanted { .. }) => self.make_image(),
                NodeEvent::Primary(Event::SnapshotOver { snapshot }) => {
                    self.images.lock().remove(&snapshot);
                }
                NodeEvent::Primary(Event::IdWanted) => {
                    let _ = self.node.supply_id(ReplicationId::from_random(random::bytes())); // it is new
                }
                news => println!("{news:?}"),
            }
        }
    }

    /// The view is taken under the node's lock, so no write falls between it and its cut. It is encoded by those who send it.
    fn make_image(&self) {
        let image = Image { framing: Framing::EndMarked, replayable: true, size: None };
        let begun = self.node.begin_snapshot(image, |cut| {
            let held = Some(ResumePoint { id: cut.id, offset: cut.offset });
            self.images.lock().insert(cut.snapshot, Frozen { view: self.data.lock().0.view(), held });
            cut.snapshot
        });
        if let Ok(snapshot) = begun {
            let _ = self.node.handle_snapshot_ready(snapshot); // if it is over, an event tells so
        }
    }

    fn serve(self: &Arc<Self>, socket: TcpStream, tag: Tag) -> Result {
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(Duration::from_secs(60)))?; // who is stuck in it hears of nothing
        let peer = Peer::new(tag, socket.peer_addr()?.ip().to_string());
        let mut client =
            Client { socket, peer, out: BytesMut::new(), write_end: Offset::ZERO, replica: None };
        let ended = self.read(&mut client);
        let _ = client.replica.map(|replica| self.node.detach(replica, Detach::Lost)); // its sender may have
        ended
    }

    fn read(self: &Arc<Self>, client: &mut Client) -> Result {
        let (mut reader, mut buffer) = (CommandReader::new(CommandLimits::default()), vec![0; 16 << 10]);
        while let len @ 1.. = client.socket.read(&mut buffer)? {
            let mut input = &buffer[..len];
            while let Some(command) = reader.next(&mut input)? {
                let words: Vec<&[u8]> = command.args().collect();
                if let Err(error) = self.execute(client, &words) {
                    wire::put_error(&mut client.out, &error);
                }
                if client.out.len() > 1 << 20 {
                    client.flush()?;
                }
            }
            client.flush()?;
        }
        Ok(())
    }

    fn execute(self: &Arc<Self>, client: &mut Client, words: &[&[u8]]) -> Result {
        let [name, args @ ..] = words else {
            return client.replica.map_or(Ok(()), |replica| Ok(self.node.handle_alive(replica)?));
        };
        match &name.to_ascii_lowercase()[..] {
            b"replconf" => match (wire::replconf(args, &mut client.peer)?, client.replica) {
                (Replconf::Ok, _) => wire::put_ok(&mut client.out),
                (Replconf::Ack(ack), Some(replica)) => self.node.handle_ack(replica, ack)?,
                _ => {}
            },
            _ if client.replica.is_some() => return Err("ERR a replica does not say such things".into()),
            b"wait" => {
                let wait = wire::wait(args)?.for_target(client.write_end, client.peer.tag);
                client.flush()?; // what is answered does not wait
                let end = self.node.wait(wait).map_err(CommandError::from)?;
                wire::put_wait_end(&mut client.out, &end);
            }
            b"info" => wire::put_bulk(&mut client.out, &strings::info(&self.node.report())),
            b"psync" => self.attach(client, args)?,
            name if strings::is_write(name, args) => self.write(client, name, args)?,
            name => strings::read(&self.data.lock().0, name, args, &mut client.out)?,
        }
        Ok(())
    }

    /// Apply, append, reply: the unit enters the stream as the closure returns, and nobody comes between.
    fn write(&self, client: &mut Client, name: &[u8], args: &[&[u8]]) -> Result {
        let written = self.node.write(|unit| {
            let (store, selected) = &mut *self.data.lock();
            strings::write(store, name, args, &mut client.out, |effect| {
                selected.select(0, unit);
                wire::put_command(unit, effect);
            });
        });
        client.write_end = written.map_err(CommandError::from)?.end.unwrap_or(client.write_end);
        Ok(())
    }

    /// Another thread sends from now on; this one goes on to read acks.
    fn attach(self: &Arc<Self>, client: &mut Client, args: &[&[u8]]) -> Result {
        let (wanted, mut socket) = (wire::psync(args)?.wanted, client.socket.try_clone()?);
        if !client.peer.takes_end_mark {
            return Err("ERR snapshots end with a mark here: announce it by REPLCONF capa eof".into());
        }
        let (sender, answer) = self.node.attach(wanted, client.peer.clone()).map_err(CommandError::from)?;
        let replica = sender.replica();
        client.replica = Some(replica);
        println!("{replica} is {}:{}: {answer:?}", client.peer.address, client.peer.port);
        if let Answer::Continue { id, .. } = answer {
            wire::put_continue(&mut client.out, id, &client.peer);
        }
        let (server, first) = (Arc::clone(self), mem::take(&mut client.out));
        thread::Builder::new().spawn(move || {
            println!("{replica} is sent nothing any more: {:?}", server.send(&mut socket, sender, &first));
            socket.shutdown(Shutdown::Both) // so that the thread that reads ends
        })?;
        Ok(())
    }

    fn send(&self, socket: &mut TcpStream, mut sender: Sender, first: &[u8]) -> Result {
        socket.write_all(first)?;
        loop {
            match sender.next() {
                Step::Stream(batch) => batch.write_all_to(socket)?,
                Step::SendSnapshot { cut, .. } => self.send_image(socket, &mut sender, &cut)?,
                Step::KeepAlive => socket.write_all(b"\n")?,
                Step::Closed(_) => return Ok(()),
            }
        }
    }

    fn send_image(&self, socket: &mut TcpStream, sender: &mut Sender, cut: &Cut) -> Result {
        let parts = self.images.lock().get(&cut.snapshot).map(rdb::encode).ok_or("the snapshot is over")?;
        let (mark, mut header, mut trailer) = (EndMark::from_random(random::bytes()), vec![], vec![]);
        wire::put_full_resync(&mut header, cut);
        wire::put_end_mark_header(&mut header, &mark);
        wire::put_end_mark(&mut trailer, &mark);
        let mut sent = 0;
        for part in [header].into_iter().chain(parts).chain([trailer]) {
            socket.write_all(&part)?;
            sent += part.len() as u64;
            sender.handle_snapshot_progress(sent);
        }
        sender.handle_snapshot_sent();
        Ok(())
    }
}

impl Client {
    fn flush(&mut self) -> io::Result<()> {
        let out = mem::take(&mut self.out);
        // An answer to a replica would get into its stream.
        if self.replica.is_none() { self.socket.write_all(&out) } else { Ok(()) }
    }
}
