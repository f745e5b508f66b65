//! A Redis-compatible store in one thread: mio says which sockets are ready, and the loop owns the data and the `Primary`.
//!
//! It shows the contract as a loop ([`Server::run`]): tell the time, drain the events, sleep until `poll_timeout` or a
//! socket is ready. The stream is written to the replicas' sockets straight from the backlog (`write_to`: no copy, no
//! queue of each replica), a snapshot in portions between everything else, and what a connection may have read or is yet
//! to be sent is bounded. Nobody holds up the loop: each gets a bounded turn. Try it:
//!
//! ```text
//! cargo run --release --example event_loop
//! redis-server --port 7001 --save '' --replicaof 127.0.0.1 7000
//! printf 'set greeting hello\nwait 1 1000\n' | redis-cli -p 7000
//! redis-cli -p 7001 get greeting
//! redis-cli -p 7000 info replication
//! redis-benchmark -p 7000 -t set -n 300000 -P 16
//! ```
//!
//! The data are those of `support/strings.rs`, in the store and the RDB of the example `kv`. It needs a Unix system;
//! `--port` takes another port.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a program has clocks and I/O; the core has not"
)]
#![allow(unreachable_pub, reason = "nothing in a program can be reached from outside")]

#[path = "support/random.rs"]
mod random;
#[path = "kv/rdb.rs"]
mod rdb;
#[path = "kv/store.rs"]
#[allow(dead_code, reason = "kv needs more of it")]
mod store;
#[path = "support/strings.rs"]
mod strings;

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use std::{env, mem};

use bytes::{Buf as _, BytesMut};
use headwater::wire::{
    self, Command, CommandError, CommandLimits, CommandReader, EndMark, Replconf, SelectedDb,
};
use headwater::{
    Answer, Config, Cut, Detach, Event, Framing, Heartbeat, Image, Offset, Peer, Primary, ReplicaKey,
    ReplicationId, ResumePoint, Sent, SnapshotKey, Tag, Timestamp, WaitOutcome, WaiterKey, info,
};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::rdb::Frozen;
use crate::store::Store;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result {
    let port = match &env::args().skip(1).collect::<Vec<_>>()[..] {
        [] => 7000,
        [option, port] if option == "--port" => port.parse()?,
        _ => return Err("the only option is --port, with a number".into()),
    };
    Server::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?.run()
}

/// All that there is. Only the loop touches it, so nothing is locked and nothing is sent to another thread.
struct Server {
    primary: Primary,
    store: Store,
    selected: SelectedDb,
    /// The data at the cut of each snapshot under way.
    images: HashMap<SnapshotKey, Frozen>,
    poll: Poll,
    listener: TcpListener,
    /// No tag is given twice, so nothing that is late finds another connection in its place.
    connections: HashMap<Tag, Connection>,
    last_token: Token,
    /// Who goes on without being told by mio, which speaks up only when a socket that was not ready becomes so.
    runnable: BTreeSet<Tag>,
    buffer: Box<[u8]>,
    started: Instant,
    /// The time of this turn of the loop.
    now: Timestamp,
}

struct Connection {
    socket: TcpStream,
    /// Its tag, and what it told of itself in case that it becomes a replica.
    peer: Peer,
    reader: CommandReader,
    /// Commands that wait until replies are written, or until its WAIT is over.
    input: Vec<u8>,
    /// Goes out before anything else: replies, or a portion of a snapshot.
    output: BytesMut,
    replica: Option<ReplicaKey>,
    transfer: Option<Transfer>,
    /// Where its own last write ends: what its WAIT is about.
    write_end: Offset,
    wait: Option<WaiterKey>,
}

/// What is yet to be sent of a snapshot.
struct Transfer {
    parts: Box<dyn Iterator<Item = Vec<u8>>>,
    sent: u64,
}

impl Server {
    fn bind(address: SocketAddr) -> Result<Self> {
        let mut config = Config::default();
        config.backlog_capacity = 16 << 20;
        config.ack_request = Some(wire::get_ack());
        config.heartbeat = Some(Heartbeat { payload: wire::heartbeat(), period: Duration::from_secs(10) });
        let (poll, mut listener) = (Poll::new()?, TcpListener::bind(address)?);
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        println!("ready on {address}");
        Ok(Self {
            primary: Primary::new(config, ReplicationId::from_random(random::bytes()), Timestamp::default())?,
            store: Store::new(),
            selected: SelectedDb::new(),
            images: HashMap::new(),
            poll,
            listener,
            connections: HashMap::new(),
            last_token: LISTENER,
            runnable: BTreeSet::new(),
            buffer: vec![0; READ].into(),
            started: Instant::now(),
            now: Timestamp::default(),
        })
    }

    fn run(mut self) -> Result {
        let mut ready = Events::with_capacity(1024);
        loop {
            self.now = Timestamp::from_origin(self.started.elapsed());
            self.primary.handle_timeout(self.now);
            while let Some(event) = self.primary.poll_event() {
                self.act_on(event);
            }
            match self.poll.poll(&mut ready, self.time_to_sleep()) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
                _ => self.now = Timestamp::from_origin(self.started.elapsed()),
            }
            self.runnable.extend(ready.iter().map(|event| tag_of(event.token())));
            for tag in mem::take(&mut self.runnable) {
                if tag == tag_of(LISTENER) { self.accept() } else { self.visit(tag, Self::serve) }
            }
        }
    }

    fn time_to_sleep(&self) -> Option<Duration> {
        if self.runnable.is_empty() {
            self.primary.poll_timeout().map(|at| at.saturating_since(self.now))
        } else {
            Some(Duration::ZERO)
        }
    }

    fn act_on(&mut self, event: Event) {
        match event {
            Event::WaitEnded { waiter, end } => self.with(waiter.tag(), |waiting| {
                waiting.wait = None;
                wire::put_wait_end(&mut waiting.output, &end);
            }),
            Event::Dropped { replica, reason } => {
                println!("{replica} is dropped: {reason}");
                self.connections.remove(&replica.tag());
            }
            Event::SnapshotOver { snapshot } => drop(self.images.remove(&snapshot)),
            Event::HistoryChanged { id } => println!("a new history begins: {id}"),
            // Refused only if it is the current one: once in 2^160 times.
            Event::IdWanted => drop(self.primary.supply_id(ReplicationId::from_random(random::bytes()))),
            Event::SnapshotWanted { .. } => self.begin_snapshot(),
            Event::SendSnapshot { replica, cut, .. } => self.start_transfer(replica, &cut),
            Event::KeepAlive(replica) => {
                self.with(replica.tag(), |waiting| wire::put_keep_alive(&mut waiting.output));
            }
            Event::Send(replica) => self.visit(replica.tag(), Self::flush),
            _ => {} // news of a gate that is not used, and of syncs that are expected to fail
        }
    }

    /// Gives a connection something that it is to go on with.
    fn with(&mut self, tag: Tag, give: impl FnOnce(&mut Connection)) {
        if let Some(conn) = self.connections.get_mut(&tag) {
            give(conn);
            self.runnable.insert(tag);
        }
    }

    /// A view of the data is taken here, between two commands. It is encoded while it is sent, so its length is not
    /// known before.
    fn begin_snapshot(&mut self) {
        let image = Image { framing: Framing::EndMarked, replayable: true, size: Some(self.store.bytes()) };
        match self.primary.begin_snapshot(image, self.now) {
            Ok(cut) => {
                let held = Some(ResumePoint { id: cut.id, offset: cut.offset });
                self.images.insert(cut.snapshot, Frozen { view: self.store.view(), held });
                // Refused if nobody waits any more.
                let _ = self.primary.handle_snapshot_ready(cut.snapshot, self.now);
            }
            Err(refused) => println!("no snapshot: {refused}"), // the event comes again
        }
    }

    fn start_transfer(&mut self, replica: ReplicaKey, cut: &Cut) {
        let Some(image) = self.images.get(&cut.snapshot) else { return };
        let (mark, mut trailer) = (EndMark::from_random(random::bytes()), Vec::new());
        wire::put_end_mark(&mut trailer, &mark);
        let parts = Box::new(rdb::encode(image).chain([trailer]));
        println!("{replica} is sent {}", cut.snapshot);
        self.with(replica.tag(), |receiver| {
            wire::put_full_resync(&mut receiver.output, cut);
            wire::put_end_mark_header(&mut receiver.output, &mark);
            receiver.transfer = Some(Transfer { parts, sent: 0 });
        });
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                // Refused for one that is closed already.
                Ok((socket, address)) => drop(self.connect(socket, address)),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => return println!("no more connections for now: {error}"),
            }
        }
    }

    fn connect(&mut self, mut socket: TcpStream, address: SocketAddr) -> io::Result<()> {
        self.last_token.0 += 1;
        let (tag, both) = (tag_of(self.last_token), Interest::READABLE | Interest::WRITABLE);
        socket.set_nodelay(true)?;
        self.poll.registry().register(&mut socket, self.last_token, both)?;
        self.connections.insert(tag, Connection::new(socket, Peer::new(tag, address.ip().to_string())));
        Ok(())
    }

    /// Does something with a connection, and closes it if that fails.
    fn visit(&mut self, tag: Tag, act: fn(&mut Self, &mut Connection) -> Result) {
        let Some(mut conn) = self.connections.remove(&tag) else { return };
        match act(self, &mut conn) {
            Ok(()) => drop(self.connections.insert(tag, conn)),
            Err(_) => self.close(&conn),
        }
    }

    fn close(&mut self, conn: &Connection) {
        if let Some(waiter) = conn.wait {
            let _ = self.primary.cancel_wait(waiter);
        }
        if let Some(replica) = conn.replica {
            println!("{replica} is gone");
            let _ = self.primary.detach(replica, Detach::Lost, self.now);
        }
        self.runnable.insert(tag_of(LISTENER)); // there is room for another one
    }

    /// One turn of a connection: one read, its commands, and what follows from them.
    fn serve(&mut self, conn: &mut Connection) -> Result {
        if conn.may_read() {
            match unless_blocked(conn.socket.read(&mut self.buffer))? {
                Some(0) => return Err("it has closed".into()),
                Some(len) => {
                    conn.input.extend_from_slice(&self.buffer[..len]);
                    self.runnable.insert(conn.peer.tag); // there may be more, but the others come first
                }
                None => {}
            }
        }
        self.run_commands(conn)?;
        self.flush(conn)
    }

    fn run_commands(&mut self, conn: &mut Connection) -> Result {
        let mut input = mem::take(&mut conn.input);
        let mut rest = &input[..];
        while conn.may_run() {
            match (conn.reader.next(&mut rest), conn.replica) {
                (Ok(None), _) => break,
                (Ok(Some(command)), Some(replica)) => self.hear_replica(conn, replica, &command)?,
                (Ok(Some(command)), None) => self.answer(conn, &command),
                (Err(fault), _) => {
                    wire::put_error(&mut conn.output, &format_args!("ERR {fault}"));
                    self.flush(conn)?; // as far as it goes
                    return Err(fault.into());
                }
            }
        }
        let taken = input.len() - rest.len();
        input.drain(..taken);
        conn.input = input;
        Ok(())
    }

    /// Writes what the socket takes: first what is the host's own, then the stream.
    fn flush(&mut self, conn: &mut Connection) -> Result {
        while !conn.output.is_empty() {
            let Some(len) = unless_blocked(conn.socket.write(&conn.output))? else { return Ok(()) };
            conn.output.advance(len);
            self.runnable.insert(conn.peer.tag); // for what was held back by it
        }
        let Some(replica) = conn.replica else { return Ok(()) };
        if let Some(transfer) = &mut conn.transfer {
            self.primary.handle_snapshot_progress(replica, transfer.sent, self.now)?;
            if transfer.fill(&mut conn.output) {
                self.runnable.insert(conn.peer.tag); // to be written once the others had their turn
                return Ok(());
            }
            conn.transfer = None;
            self.primary.handle_snapshot_sent(replica, self.now)?;
        }
        // What remains is told of by mio if the socket is full, else by an event.
        let _: Sent = self.primary.write_to(replica, &mut conn.socket, self.now)?;
        Ok(())
    }

    /// A replica acknowledges and sends empty lines: an answer to anything else would get into its stream.
    fn hear_replica(&mut self, conn: &mut Connection, replica: ReplicaKey, command: &Command) -> Result {
        let words: Vec<&[u8]> = command.args().collect();
        // What is wrong with an ack, or with a replica that is gone, comes as an event.
        match &words[..] {
            [] => drop(self.primary.handle_alive(replica, self.now)),
            [name, args @ ..] if name.eq_ignore_ascii_case(b"replconf") => {
                if let Ok(Replconf::Ack(ack)) = wire::replconf(args, &mut conn.peer) {
                    let _ = self.primary.handle_ack(replica, ack, self.now);
                }
            }
            _ => return Err("a replica does not say such things".into()),
        }
        Ok(())
    }

    fn answer(&mut self, client: &mut Connection, command: &Command) {
        let words: Vec<&[u8]> = command.args().collect();
        if let [name, args @ ..] = &words[..]
            && let Err(error) = self.execute(client, &name.to_ascii_lowercase(), args)
        {
            wire::put_error(&mut client.output, &error);
        }
    }

    fn execute(&mut self, client: &mut Connection, name: &[u8], args: &[&[u8]]) -> Result {
        let out = &mut client.output;
        match (name, args) {
            (b"wait", _) => self.wait(client, args)?,
            (b"info", _) => wire::put_bulk(out, &strings::info(&self.primary.report(self.now))),
            (b"role", []) => info::put_role(out, &self.primary.report(self.now)),
            (b"replconf", _) => {
                if wire::replconf(args, &mut client.peer)? == Replconf::Ok {
                    wire::put_ok(out);
                }
            }
            (b"psync", _) => self.attach(client, args)?,
            _ if strings::is_write(name, args) => self.write(client, name, args)?,
            _ => strings::read(&self.store, name, args, out)?,
        }
        Ok(())
    }

    /// Apply, append, reply: the unit enters the stream as the closure returns, and nothing comes between.
    fn write(&mut self, client: &mut Connection, name: &[u8], args: &[&[u8]]) -> Result {
        let Self { primary, store, selected, now, .. } = self;
        let written = primary.write(*now, |unit| {
            strings::write(store, name, args, &mut client.output, |effect| {
                selected.select(0, unit);
                wire::put_command(unit, effect);
            });
        });
        client.write_end = written.map_err(CommandError::from)?.end.unwrap_or(client.write_end);
        Ok(())
    }

    fn wait(&mut self, client: &mut Connection, args: &[&[u8]]) -> Result {
        let wait = wire::wait(args)?.for_target(client.write_end, client.peer.tag);
        match self.primary.wait(wait, self.now).map_err(CommandError::from)? {
            WaitOutcome::Pending(waiter) => client.wait = Some(waiter),
            WaitOutcome::Ended(end) => wire::put_wait_end(&mut client.output, &end),
            _ => {}
        }
        Ok(())
    }

    fn attach(&mut self, client: &mut Connection, args: &[&[u8]]) -> Result {
        let asked = wire::psync(args)?;
        if asked.failover {
            return Err(CommandError::FailoverToPrimary.into());
        }
        if !client.peer.takes_end_mark {
            return Err("ERR snapshots end with a mark here: announce it by REPLCONF capa eof".into());
        }
        let attached =
            self.primary.attach(asked.wanted, client.peer.clone(), self.now).map_err(CommandError::from)?;
        println!(
            "{} is {}:{}: {:?}",
            attached.replica, client.peer.address, client.peer.port, attached.answer
        );
        client.replica = Some(attached.replica);
        if let Answer::Continue { id, .. } = attached.answer {
            wire::put_continue(&mut client.output, id, &client.peer);
        }
        Ok(()) // else its answer goes with the snapshot
    }
}

impl Connection {
    fn new(socket: TcpStream, peer: Peer) -> Self {
        Self {
            socket,
            peer,
            reader: CommandReader::new(CommandLimits::default()),
            input: Vec::new(),
            output: BytesMut::new(),
            replica: None,
            transfer: None,
            write_end: Offset::ZERO,
            wait: None,
        }
    }

    /// A client that does not take its replies is not asked for more. Of one that waits an end is to be noticed.
    fn may_read(&self) -> bool {
        let is_heard = self.output.is_empty() || self.replica.is_some() || self.wait.is_some();
        is_heard && self.input.len() < READ
    }

    fn may_run(&self) -> bool {
        let has_room = self.output.len() < MAX_REPLIES || self.replica.is_some();
        has_room && self.wait.is_none()
    }
}

impl Transfer {
    /// Puts the next portion, if there is one.
    fn fill(&mut self, out: &mut BytesMut) -> bool {
        while out.len() < PORTION
            && let Some(part) = self.parts.next()
        {
            out.extend_from_slice(&part);
        }
        self.sent += out.len() as u64;
        !out.is_empty()
    }
}

fn tag_of(Token(token): Token) -> Tag {
    Tag(token as u64)
}

fn unless_blocked<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        result => result.map(Some),
    }
}

const LISTENER: Token = Token(0);
/// Bytes read at once.
const READ: usize = 16 << 10;
/// Replies grow no further than by the one that gets past this: the rest of the commands comes when they are written.
const MAX_REPLIES: usize = 1 << 20;
/// The least that is encoded of a snapshot at once.
const PORTION: usize = 64 << 10;
