use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use headwater::wire::{self, Command, ProtocolError, SelectedDb};
use headwater::{
    Batch, ConfigError, Cut, Detach, Event, Framing, Peer, Primary, ReplicaKey, ReplicationId, Sink as _,
    SnapshotKey, Tag, Timestamp,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{self, JoinHandle};
use tokio::time;
use tracing::{info, warn};

use crate::admin;
use crate::commands::{Answer, Data, Kind, Spec};
use crate::config::Config;
use crate::connection::{self, Answered, Input, Output, ToServer};
use crate::reply::Reply;
use crate::snapshot::{Image, Transfer, write_file};
use crate::store::Store;

/// The task that owns the data and the [`Primary`]: all that happens comes to it as a [`Message`].
pub struct Server {
    pub primary: Primary,
    pub config: Config,
    pub stats: Stats,
    /// The time of the message under way.
    pub now: Timestamp,
    started: Instant,
    data: Data,
    selected: SelectedDb,
    /// For the connections.
    sender: ToServer,
    pub clients: HashMap<u64, Client>,
    last_client: u64,
    images: HashMap<SnapshotKey, Image>,
}

pub enum Message {
    Input(Input),
    Written(Batch),
    FileWritten(SnapshotKey, io::Result<Image>),
    SnapshotProgress(ReplicaKey),
    SnapshotSent(ReplicaKey),
    Closed(u64),
}

#[derive(Default)]
pub struct Stats {
    pub connections: u64,
    pub commands: u64,
    pub expired: u64,
}

/// One connection, as the server knows it.
pub struct Client {
    pub peer: Peer,
    pub name: String,
    pub authenticated: bool,
    pub replica: Option<ReplicaKey>,
    /// What was queued since MULTI, and whether a command was refused.
    pub transaction: Option<Vec<(Spec, Command)>>,
    pub is_refused: bool,
    /// Whether it has replies that were not sent yet.
    pub has_unsent: bool,
    pub is_closing: bool,
    /// Once it is dropped, the connection ends when all before was written.
    outputs: mpsc::UnboundedSender<Output>,
    task: JoinHandle<()>,
}

impl Server {
    pub fn new(config: Config, sender: ToServer) -> Result<Self, ConfigError> {
        let id = ReplicationId::from_random(random_bytes());
        Ok(Self {
            primary: Primary::new(config.replication.clone(), id, Timestamp::default())?,
            config,
            stats: Stats::default(),
            now: Timestamp::default(),
            started: Instant::now(),
            data: Data { store: Store::new(), effects: BytesMut::new(), now_ms: 0 },
            selected: SelectedDb::new(),
            sender,
            clients: HashMap::new(),
            last_client: 0,
            images: HashMap::new(),
        })
    }

    /// Runs for ever. Events are drained once for many messages.
    pub async fn run(mut self, listener: TcpListener, mut messages: mpsc::Receiver<Message>) {
        let mut arrived = Vec::new();
        loop {
            self.begin();
            self.primary.handle_timeout(self.now);
            while let Some(event) = self.primary.poll_event() {
                self.act_on(event);
            }
            let deadline = self.primary.poll_timeout().map(|at| at.saturating_since(self.now));
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

    /// Reads the clocks, and removes the keys whose time has come. Replicas wait to be told so.
    fn begin(&mut self) {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.now = Timestamp::from_origin(self.started.elapsed());
        self.data.now_ms = i64::try_from(unix.as_millis()).unwrap_or(i64::MAX);
        while let Some(key) = self.data.store.expired(self.data.now_ms) {
            self.data.store.remove(&key);
            self.stats.expired += 1;
            let mut unit = BytesMut::new();
            wire::put_command(&mut unit, &[b"DEL", &key[..]]); // without SELECT: there is but one database
            self.primary.append(&unit, self.now);
        }
    }

    /// A key in a message may be stale by now: then its replica, or its snapshot, is gone and nothing is to be done.
    fn handle(&mut self, message: Message) {
        let (primary, now) = (&mut self.primary, self.now);
        match message {
            Message::Input(input) => self.take_input(input),
            Message::Written(batch) => primary.handle_batch_written(batch, now),
            Message::FileWritten(snapshot, written) => self.take_file(snapshot, written),
            Message::SnapshotProgress(replica) => drop(primary.handle_snapshot_progress(replica, 0, now)),
            Message::SnapshotSent(replica) => drop(primary.handle_snapshot_sent(replica, now)),
            Message::Closed(id) => {
                if let Some(client) = self.clients.remove(&id) {
                    self.close(client, Detach::Lost);
                }
            }
        }
    }

    fn connect(&mut self, socket: TcpStream, address: SocketAddr) {
        let _ = socket.set_nodelay(true); // it fails for one that is closed, which the reader will see
        self.last_client += 1;
        self.stats.connections += 1;
        let id = self.last_client;
        let authenticated = self.config.requirepass.is_empty();
        let (outputs, to_write) = mpsc::unbounded_channel();
        let serve = connection::serve(socket, id, self.sender.clone(), to_write, authenticated);
        let client = Client {
            peer: Peer::new(Tag(id), address.ip().to_string()),
            name: String::new(),
            authenticated,
            replica: None,
            transaction: None,
            is_refused: false,
            has_unsent: false,
            is_closing: false,
            outputs,
            task: task::spawn(serve),
        };
        self.clients.insert(id, client);
    }

    /// Executes what one read brought, and hands the replies to the connection's writer, which lets the reader go on.
    fn take_input(&mut self, Input { client: id, mut commands, answered }: Input) {
        let Some(mut client) = self.clients.remove(&id) else { return };
        let mut replies = BytesMut::new();
        while !client.is_closing && replies.len() < MAX_REPLIES {
            let Some(command) = commands.next() else { break };
            client.has_unsent = !replies.is_empty();
            self.answer(&mut client, command).put_into(&mut replies);
        }
        let answer = Answered { rest: commands, authenticated: client.authenticated };
        // A reader or a writer that is gone says so itself.
        if replies.is_empty() {
            let _ = answered.send(answer);
        } else {
            let _ = client.outputs.send(Output::Replies { bytes: replies.freeze(), answered, answer });
        }
        if client.is_closing {
            self.close(client, Detach::Clean);
        } else {
            self.clients.insert(id, client);
        }
    }

    fn answer(&mut self, client: &mut Client, command: Result<Command, ProtocolError>) -> Reply {
        let answer = match (command, client.replica) {
            (Ok(command), None) if command.is_empty() => Ok(Reply::NOTHING),
            (Ok(command), None) => self.execute(client, command),
            (Ok(command), Some(replica)) => admin::hear_replica(self, client, replica, &command),
            (Err(fault), replica) => {
                client.is_closing = true;
                if replica.is_some() { Ok(Reply::NOTHING) } else { Err(format!("ERR {fault}").into()) }
            }
        };
        answer.unwrap_or_else(|error| Reply::Error(error.to_string()))
    }

    fn execute(&mut self, client: &mut Client, command: Command) -> Answer {
        self.stats.commands += 1;
        let words: Vec<&[u8]> = command.args().collect();
        let admitted = admin::admit(client, &words);
        client.is_refused |= admitted.is_err();
        let (name, kind) = admitted?;
        match (kind, &mut client.transaction) {
            (Kind::Serve, _) => admin::serve(self, client, name, &words[1..]),
            (_, Some(queued)) => {
                queued.push(((name, kind), command));
                Ok(Reply::Simple("QUEUED"))
            }
            (_, None) => Ok(self.apply(&[((name, kind), command)])?.remove(0)),
        }
    }

    /// Runs commands on the data, as one unit of the stream if any of them can change it.
    pub fn apply(&mut self, commands: &[(Spec, Command)]) -> Result<Vec<Reply>, Box<dyn Error>> {
        let Self { primary, data, selected, .. } = self;
        if commands.iter().all(|((_, kind), _)| *kind == Kind::Read) {
            return Ok(data.run_all(commands));
        }
        let written = primary.write(self.now, |unit| {
            let replies = data.run_all(commands);
            let effects = data.effects.split().freeze();
            if !effects.is_empty() && unit.is_wanted() {
                selected.select(0, unit);
                let is_transaction = commands.len() > 1; // replicas apply all of it or nothing
                if is_transaction {
                    wire::put_command(unit, &["MULTI"]);
                }
                unit.put_shared(effects);
                if is_transaction {
                    wire::put_command(unit, &["EXEC"]);
                }
            }
            replies
        });
        Ok(written.map_err(|refused| format!("ERR {refused}"))?.value)
    }

    /// A replica's connection is cut, another one closed when its last replies are written.
    fn close(&mut self, client: Client, how: Detach) {
        if let Some(replica) = client.replica {
            info!("{replica} is gone");
            client.task.abort();
            let _ = self.primary.detach(replica, how, self.now);
        }
    }

    fn act_on(&mut self, event: Event) {
        match event {
            Event::Dropped { replica, reason } => {
                warn!("{replica} is dropped: {reason}");
                if let Some(client) = self.clients.remove(&replica.tag().0) {
                    client.task.abort();
                }
            }
            Event::SnapshotOver { snapshot } => drop(self.images.remove(&snapshot)),
            // Refused only if it is the current one: once in 2^160 times.
            Event::IdWanted => drop(self.primary.supply_id(ReplicationId::from_random(random_bytes()))),
            Event::SnapshotWanted { all_take_end_mark, .. } => self.begin_snapshot(all_take_end_mark),
            Event::SendSnapshot { replica, cut, .. } => self.send_snapshot(replica, cut),
            Event::KeepAlive(replica) => self.tell(replica, Output::KeepAlive),
            Event::Send(replica) => {
                if let Ok(Some(batch)) = self.primary.take_batch(replica, self.now) {
                    self.tell(replica, Output::Stream(batch));
                }
            }
            _ => {}
        }
    }

    /// Takes a view of the data, to be sent as it is, or by way of a file.
    fn begin_snapshot(&mut self, all_take_end_mark: bool) {
        let diskless = all_take_end_mark && self.config.diskless_sync;
        let framing = if diskless { Framing::EndMarked } else { Framing::Sized };
        let image = headwater::Image { framing, replayable: true, size: None };
        let cut = match self.primary.begin_snapshot(image, self.now) {
            Ok(cut) => cut,
            Err(refused) => return warn!("{refused}"), // the event comes again
        };
        info!("{} begins: {} keys, at offset {}", cut.snapshot, self.data.store.len(), cut.offset);
        let view = Arc::new(self.data.store.view());
        self.images.insert(cut.snapshot, Image::View(view.clone()));
        if diskless {
            let _ = self.primary.handle_snapshot_ready(cut.snapshot, self.now);
            return;
        }
        let (dir, server) = (self.config.dir.clone(), self.sender.clone());
        task::spawn_blocking(move || {
            let written = write_file(&dir, &view, cut.snapshot);
            let _ = server.blocking_send(Message::FileWritten(cut.snapshot, written));
        });
    }

    fn take_file(&mut self, snapshot: SnapshotKey, written: io::Result<Image>) {
        let Some(image) = self.images.get_mut(&snapshot) else { return };
        let _ = match written.map(|file| *image = file) {
            Ok(()) => self.primary.handle_snapshot_ready(snapshot, self.now),
            Err(error) => {
                warn!("{snapshot} can't be written: {error}");
                self.primary.handle_snapshot_failed(snapshot, self.now)
            }
        };
    }

    fn send_snapshot(&mut self, replica: ReplicaKey, cut: Cut) {
        let Some(client) = self.clients.get(&replica.tag().0) else { return };
        let Some(image) = self.images.get(&cut.snapshot).cloned() else { return };
        let transfer = Transfer { replica, cut, asked_by_psync: client.peer.acks, image };
        let _ = client.outputs.send(Output::Snapshot(transfer));
    }

    /// Hands something to a replica's writer. One that is gone says so itself.
    fn tell(&self, replica: ReplicaKey, output: Output) {
        if let Some(client) = self.clients.get(&replica.tag().0) {
            let _ = client.outputs.send(output);
        }
    }
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
/// Replies to one read grow no further than by the reply that gets past this: the rest of the commands comes again.
const MAX_REPLIES: usize = 1 << 20;
/// How late a key may expire while nobody asks.
const EXPIRY_PERIOD: Duration = Duration::from_millis(100);
