use std::error::Error;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};

use bytes::{Bytes, BytesMut};
use headwater::info::{Follower, Transfer};
use headwater::wire::{self, CommandLimits, Inbound, Introduction, StreamUnit};
use headwater::{LinkKey, LinkState, Node, Timestamp, UpstreamEvent, UpstreamReport};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{self, JoinHandle};
use tracing::{info, warn};

use crate::commands::{self, Data, Kind, Spec};
use crate::connection::ToServer;
use crate::persist::{self, Restored};
use crate::server::{Message, Server};
use crate::snapshot::nameless_file;

/// The primary that this store follows.
pub struct Upstream {
    pub host: String,
    pub port: u16,
    /// It is a replica of before, and asked to take over. Once it has answered it leads.
    pub is_handover: bool,
    link: Option<Link>,
}

/// One connection to it.
struct Link {
    key: LinkKey,
    task: JoinHandle<()>,
    to_write: mpsc::UnboundedSender<Outgoing>,
    wire: wire::Link,
    incoming: Option<Incoming>,
    /// What came and is not read yet, and what lets the connection's task read on.
    unread: Option<(Bytes, oneshot::Sender<()>)>,
}

/// What is to be written, and what lets the connection's task read on once it is: a primary that reads nothing can't fill
/// the memory with acks.
type Outgoing = (Bytes, Option<oneshot::Sender<()>>);

/// A snapshot on its way. It is kept in a file, so that its sender can't fill the memory.
struct Incoming {
    file: File,
    total: Option<u64>,
    read: u64,
    last_heard: Timestamp,
}

/// What the server is told of a link to the primary.
pub enum Heard {
    Connected,
    Bytes(Bytes, oneshot::Sender<()>),
    Closed(io::Error),
    Loaded(Result<Restored, String>),
}

impl Upstream {
    pub const fn new(host: String, port: u16, is_handover: bool) -> Self {
        Self { host, port, is_handover, link: None }
    }

    fn link(&mut self, key: LinkKey) -> Option<&mut Link> {
        self.link.as_mut().filter(|link| link.key == key)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Does what the link to the primary needs.
    pub fn act_on_upstream(&mut self, key: LinkKey, event: UpstreamEvent) {
        match event {
            UpstreamEvent::Connect => self.connect_upstream(key),
            UpstreamEvent::Close(reason) => self.lose_upstream(key, &reason.to_string()),
            UpstreamEvent::InStep => {
                let Some(upstream) = &self.upstream else { return };
                let offset = self.node.primary().end();
                info!("in step with {}:{}, at offset {offset}", upstream.host, upstream.port);
            }
            UpstreamEvent::KeepAlive => self.tell_upstream(key, wire::put_keep_alive),
            UpstreamEvent::Ack(ack) => self.tell_upstream(key, |out| wire::put_ack(out, ack)),
            _ => {}
        }
    }

    pub fn hear_upstream(&mut self, key: LinkKey, heard: Heard) {
        match heard {
            // Of a link that was given up meanwhile nothing is needed.
            Heard::Connected => drop(self.node.handle_connected(key, self.now)),
            Heard::Closed(error) => self.lose_upstream(key, &error.to_string()),
            Heard::Loaded(loaded) => self.take_loaded(key, loaded),
            Heard::Bytes(bytes, go_on) => {
                if let Some(link) = self.upstream.as_mut().and_then(|upstream| upstream.link(key)) {
                    link.unread = Some((bytes, go_on));
                    self.read_upstream(key);
                }
            }
        }
    }

    /// What INFO and ROLE tell of the primary, while one is followed.
    pub fn follower<'a>(&'a self, report: &'a Option<UpstreamReport>) -> Option<Follower<'a>> {
        let Upstream { host, port, is_handover, link } = self.upstream.as_ref()?;
        let incoming = link.as_ref().and_then(|link| link.incoming.as_ref());
        let transfer = incoming.map(|incoming| Transfer {
            total: incoming.total,
            read: incoming.read,
            last_heard: self.now.saturating_since(incoming.last_heard),
        });
        let is_read_only = self.config.replica_read_only;
        let upstream = report.as_ref()?;
        Some(Follower { host, port: *port, upstream, transfer, is_read_only, is_handing_over: *is_handover })
    }

    fn connect_upstream(&mut self, key: LinkKey) {
        let Some(upstream) = &mut self.upstream else { return };
        let (to_write, outputs) = mpsc::unbounded_channel();
        let address = (upstream.host.clone(), upstream.port);
        let task = task::spawn(serve(address, key, self.sender.clone(), outputs));
        let mut introduction = Introduction::default();
        introduction.user.clone_from(&self.config.masteruser);
        introduction.password.clone_from(&self.config.masterauth);
        introduction.port = self.config.port;
        introduction.failover = upstream.is_handover;
        let mut greeting = BytesMut::new();
        let wire = wire::Link::new(key, introduction, CommandLimits::default(), &mut greeting);
        let _ = to_write.send((greeting.freeze(), None));
        upstream.link = Some(Link { key, task, to_write, wire, incoming: None, unread: None });
    }

    fn tell_upstream(&mut self, key: LinkKey, put: impl FnOnce(&mut BytesMut)) {
        let mut out = BytesMut::new();
        put(&mut out);
        if let Some(link) = self.upstream.as_mut().and_then(|upstream| upstream.link(key)) {
            let _ = link.to_write.send((out.freeze(), None));
        }
    }

    /// Reads on in what has come. A snapshot has to be loaded before what comes after it is read.
    fn read_upstream(&mut self, key: LinkKey) {
        let Self { upstream: Some(upstream), node, data, now, .. } = self else { return };
        let Some(link) = upstream.link(key) else { return };
        let Some((bytes, go_on)) = link.unread.take() else { return };
        let (mut input, mut out) = (&bytes[..], BytesMut::new());
        let read = link.read(&mut input, &mut out, node, data, *now, self.config.work_dir());
        let to_write = link.to_write.clone();
        let state = node.upstream(*now).map(|report| report.state);
        upstream.is_handover &= !matches!(state, Some(LinkState::Syncing | LinkState::InStep)); // R237
        match read {
            Ok(None) if out.is_empty() => drop(go_on.send(())),
            Ok(None) => drop(to_write.send((out.freeze(), Some(go_on)))),
            Ok(Some(image)) => {
                let _ = to_write.send((out.freeze(), None));
                if let Some(link) = upstream.link(key) {
                    link.unread = Some((bytes.slice_ref(input), go_on));
                }
                let server = self.sender.clone();
                task::spawn_blocking(move || {
                    let loaded = load(image).map_err(|error| error.to_string());
                    let _ = server.blocking_send(Message::Upstream(key, Heard::Loaded(loaded)));
                });
            }
            Err(error) => self.lose_upstream(key, &error.to_string()),
        }
    }

    fn take_loaded(&mut self, key: LinkKey, loaded: Result<Restored, String>) {
        match loaded {
            Ok(Restored { store, .. }) => {
                // Refused if another primary is followed by now, or none.
                if self.node.handle_loaded(key, self.now).is_ok() {
                    info!("loaded a snapshot of {} keys", store.len());
                    (self.data.store, self.data.is_half_applied) = (store, false);
                    self.read_upstream(key);
                }
            }
            Err(error) => {
                let _ = self.node.handle_load_failed(key, self.now);
                self.lose_upstream(key, &format!("its snapshot is not loaded: {error}"));
            }
        }
    }

    /// The data stays as it is; another attempt follows.
    fn lose_upstream(&mut self, key: LinkKey, why: &str) {
        let Some(upstream) = self.upstream.as_mut() else { return };
        self.node.handle_disconnected(key, self.now);
        if let Some(Link { .. }) = upstream.link.take_if(|link| link.key == key) {
            let offset = self.node.primary().end();
            warn!("the link to {}:{} is closed at offset {offset}: {why}", upstream.host, upstream.port);
            self.give_up_handover();
        }
    }
}

impl Link {
    /// Reads all that came, or up to the end of a snapshot, which it returns.
    fn read(
        &mut self,
        input: &mut &[u8],
        out: &mut BytesMut,
        node: &mut Node,
        data: &mut Data,
        now: Timestamp,
        dir: &std::path::Path,
    ) -> Result<Option<File>, Box<dyn Error>> {
        let mut image = None;
        while let Some(inbound) = self.wire.next(input, out, node, now)? {
            match inbound {
                Inbound::SnapshotStart { len } => {
                    info!(
                        "a snapshot begins, {} bytes",
                        len.map_or("any number of".to_owned(), |len| len.to_string())
                    );
                    self.incoming = Some(Incoming {
                        file: nameless_file(dir, "incoming")?,
                        total: len,
                        read: 0,
                        last_heard: now,
                    });
                }
                Inbound::Snapshot(bytes) => {
                    if let Some(incoming) = &mut self.incoming {
                        incoming.file.write_all(bytes)?;
                        incoming.read += bytes.len() as u64;
                        incoming.last_heard = now;
                    }
                }
                Inbound::SnapshotEnd => {
                    image = self.incoming.take().map(|incoming| incoming.file);
                    break;
                }
                Inbound::Unit(unit) => apply(node, data, self.key, unit, now)?,
            }
        }
        Ok(image)
    }
}

/// Applies a unit whole, or tells why not: then it changes nothing.
fn apply(
    node: &mut Node,
    data: &mut Data,
    link: LinkKey,
    unit: StreamUnit,
    now: Timestamp,
) -> Result<(), Box<dyn Error>> {
    let commands: Result<Vec<(Spec, wire::Command)>, Box<dyn Error>> =
        unit.commands.into_iter().map(|command| Ok((admit(&command)?, command))).collect();
    let commands = commands?;
    node.handle_applied(link, &unit.bytes, now)?;
    if let Err(error) = data.replay(&commands) {
        node.handle_unreadable(link, now)?; // the data is not what it should be: start over
        return Err(format!("a command of the stream failed: {error}").into());
    }
    Ok(())
}

/// Only what is known to do here what it did there is applied.
fn admit(command: &wire::Command) -> Result<Spec, Box<dyn Error>> {
    let words: Vec<&[u8]> = command.args().collect();
    match (commands::find(&words)?, words.get(1).copied()) {
        (spec @ (_, Kind::Write), _) | (spec @ ("select", _), Some(b"0")) => Ok(spec),
        (("select", _), _) => Err("the stream is about another database than 0".into()),
        ((name, _), _) => Err(format!("the stream has a {name}, which changes nothing here").into()),
    }
}

fn load(mut file: File) -> Result<Restored, Box<dyn Error>> {
    let mut image = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut image)?;
    persist::load(&image)
}

/// Serves one link: connects, then hands over what comes, piece by piece, and writes.
async fn serve(
    address: (String, u16),
    key: LinkKey,
    server: ToServer,
    outputs: mpsc::UnboundedReceiver<Outgoing>,
) {
    let closed = exchange(address, key, &server, outputs).await.err();
    let error = closed.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
    let _ = server.send(Message::Upstream(key, Heard::Closed(error))).await;
}

async fn exchange(
    address: (String, u16),
    key: LinkKey,
    server: &ToServer,
    mut outputs: mpsc::UnboundedReceiver<Outgoing>,
) -> io::Result<()> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let (mut read, mut write) = socket.into_split();
    let _ = server.send(Message::Upstream(key, Heard::Connected)).await;
    let reading = async {
        loop {
            let mut buffer = BytesMut::with_capacity(READ);
            if read.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            let (go_on, may_go_on) = oneshot::channel();
            let _ = server.send(Message::Upstream(key, Heard::Bytes(buffer.freeze(), go_on))).await;
            may_go_on.await.map_err(io::Error::other)?;
        }
    };
    let writing = async {
        while let Some((output, go_on)) = outputs.recv().await {
            write.write_all(&output).await?;
            if let Some(go_on) = go_on {
                let _ = go_on.send(());
            }
        }
        Ok(())
    };
    tokio::select! { ended = reading => ended, ended = writing => ended }
}

/// Bytes read at once.
const READ: usize = 64 << 10;
