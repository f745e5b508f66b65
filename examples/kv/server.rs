use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use headwater::wire::{self, SelectedDb};
use headwater::{
    Batch, Detach, LinkKey, Node, ReplicaKey, ReplicationId, SnapshotKey, Start, Timestamp, WriteRefused,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::{task, time};
use tracing::info;

use crate::client::{Client, Link};
use crate::commands::Data;
use crate::config::Config;
use crate::connection::{self, Input, ToServer};
use crate::persist::{self, Restored};
use crate::reply::Reply;
use crate::snapshot::Image;
use crate::upstream::{Heard, Upstream};

/// The task that owns the data and the [`Node`]: all that happens comes to it as a [`Message`].
pub struct Server {
    pub node: Node,
    /// The primary that is followed.
    pub upstream: Option<Upstream>,
    pub config: Config,
    pub stats: Stats,
    /// The time of the message under way.
    pub now: Timestamp,
    started: Instant,
    pub data: Data,
    pub selected: SelectedDb,
    /// For the connections.
    pub sender: ToServer,
    pub clients: HashMap<u64, Client>,
    last_client: u64,
    /// Clients whose wait another one ended, and their answers.
    pub unblocked: Vec<(u64, Reply)>,
    pub images: HashMap<SnapshotKey, Image>,
    pub is_saving: bool,
}

pub enum Message {
    Input(Input),
    Written(Batch),
    FileWritten(SnapshotKey, io::Result<Image>),
    SnapshotProgress(ReplicaKey, u64),
    SnapshotSent(ReplicaKey),
    Closed(u64),
    /// About the link to the primary.
    Upstream(LinkKey, Heard),
    /// A background save has ended.
    Saved(io::Result<()>),
}

#[derive(Default)]
pub struct Stats {
    pub connections: u64,
    pub commands: u64,
    pub expired: u64,
}

impl Server {
    /// Starts with what was saved, and follows the primary that the settings name.
    pub fn new(config: Config, sender: ToServer) -> Result<Self, Box<dyn Error>> {
        let Restored { store, held } = persist::restore(&config)?;
        let start = match held {
            None => Start::Empty { id: random_id() },
            Some(held) if config.replicaof.is_some() => Start::Replica { held },
            Some(held) => Start::Primary { held, fresh: random_id() },
        };
        let replicaof = config.replicaof.clone();
        let mut server = Self {
            node: Node::new(config.replication.clone(), start, Timestamp::default())?,
            upstream: None,
            config,
            stats: Stats::default(),
            now: Timestamp::default(),
            started: Instant::now(),
            data: Data {
                store,
                effects: BytesMut::new(),
                now_ms: 0,
                is_replaying: false,
                is_half_applied: false,
            },
            selected: SelectedDb::new(),
            sender,
            clients: HashMap::new(),
            last_client: 0,
            unblocked: Vec::new(),
            images: HashMap::new(),
            is_saving: false,
        };
        if let Some((host, port)) = replicaof {
            server.follow(host, port);
        }
        Ok(server)
    }

    /// Runs for ever. Events are drained once for many messages.
    pub async fn run(mut self, listener: TcpListener, mut messages: mpsc::Receiver<Message>) {
        let mut arrived = Vec::new();
        loop {
            self.begin();
            self.node.handle_timeout(self.now);
            self.settle();
            let deadline = self.node.poll_timeout().map(|at| at.saturating_since(self.now));
            tokio::select! {
                _ = messages.recv_many(&mut arrived, MESSAGES) => {}
                // An error, such as too many open files, may be over the next time.
                Ok((socket, address)) = listener.accept() => self.connect(socket, address),
                () = time::sleep(deadline.unwrap_or(EXPIRY_PERIOD).min(EXPIRY_PERIOD)) => {}
            }
            for message in arrived.drain(..) {
                self.begin();
                self.handle(message);
            }
        }
    }

    /// Acts on all that follows from the messages. Who was unblocked comes first: its writes are in the stream, and
    /// its waits are known, when replicas are asked for acks.
    fn settle(&mut self) {
        loop {
            if let Some((id, reply)) = self.unblocked.pop() {
                self.end_wait(id, &reply);
            } else if let Some(event) = self.node.poll_event() {
                self.act_on(event);
            } else {
                return;
            }
        }
    }

    /// Reads the clocks, and removes the keys whose time has come.
    fn begin(&mut self) {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.now = Timestamp::from_origin(self.started.elapsed());
        self.data.now_ms = i64::try_from(unix.as_millis()).unwrap_or(i64::MAX);
        self.expire();
    }

    /// Removes the keys whose time has come. Who follows waits to be told so, and who hands over ends what it tells (R233).
    pub fn expire(&mut self) {
        let admitted = self.node.primary().admit_write(self.now);
        if matches!(admitted, Err(WriteRefused::Following | WriteRefused::HandingOver)) {
            return;
        }
        while let Some(key) = self.data.store.expired(self.data.now_ms) {
            self.data.store.remove(&key);
            self.stats.expired += 1;
            let mut unit = BytesMut::new();
            wire::put_command(&mut unit, &[b"DEL", &key[..]]); // without SELECT: there is but one database
            self.node.primary().append(&unit, self.now);
        }
    }

    /// A key in a message may be stale by now: then its replica, or its snapshot, is gone and nothing is to be done.
    fn handle(&mut self, message: Message) {
        let (primary, now) = (self.node.primary(), self.now);
        match message {
            Message::Input(Input { client, commands, answered }) => {
                if let Some(client) = self.clients.remove(&client) {
                    self.run_commands(client, BytesMut::new(), commands, answered);
                }
            }
            Message::Written(batch) => primary.handle_batch_written(batch, now),
            Message::FileWritten(snapshot, written) => self.take_file(snapshot, written),
            Message::SnapshotProgress(replica, sent) => {
                let _ = primary.handle_snapshot_progress(replica, sent, now);
            }
            Message::SnapshotSent(replica) => drop(primary.handle_snapshot_sent(replica, now)),
            Message::Closed(id) => self.cut(id),
            Message::Upstream(link, heard) => self.hear_upstream(link, heard),
            Message::Saved(saved) => self.end_save(saved),
        }
    }

    fn connect(&mut self, socket: TcpStream, address: SocketAddr) {
        // Both fail for one that is closed, which the reader will see.
        let _ = socket.set_nodelay(true);
        let local_address = socket.local_addr().unwrap_or(address);
        self.last_client += 1;
        self.stats.connections += 1;
        let id = self.last_client;
        let authenticated = self.config.requirepass.is_empty();
        let (outputs, to_write) = mpsc::unbounded_channel();
        let task = task::spawn(connection::serve(socket, id, self.sender.clone(), to_write, authenticated));
        let link = Link { address, local_address, since: self.now, outputs, task };
        self.clients.insert(id, Client::new(id, link, authenticated));
    }

    /// Closes a connection that is broken, or not wanted any more, at once.
    pub fn cut(&mut self, id: u64) {
        if let Some(client) = self.clients.remove(&id) {
            client.link.task.abort();
            self.close(client, Detach::Lost);
        }
    }

    /// Forgets a client. Its connection is closed when its last replies are written; a replica's is cut.
    pub fn close(&mut self, client: Client, how: Detach) {
        if let Some(wait) = client.wait {
            let _ = self.node.primary().cancel_wait(wait.waiter);
        }
        if let Some(replica) = client.replica {
            info!("{replica} is gone");
            client.link.task.abort();
            let _ = self.node.primary().detach(replica, how, self.now);
        }
    }
}

pub fn random_id() -> ReplicationId {
    ReplicationId::from_random(random_bytes())
}

/// Twenty bytes that nobody can guess.
pub fn random_bytes() -> [u8; 20] {
    let mut bytes = [0; 20];
    let read = File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes));
    read.expect("every Unix system has random bytes");
    bytes
}

/// Messages that wait for the server, which handles all that do at once; then connections wait for it.
pub const MESSAGES: usize = 256;
/// How late a key may expire while nobody asks.
const EXPIRY_PERIOD: Duration = Duration::from_millis(100);
