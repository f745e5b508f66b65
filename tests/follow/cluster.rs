//! A few nodes, each with all that a host has, and the connections between them.

use std::collections::BTreeMap;
use std::time::Duration;

use headwater::wire::{self, CommandLimits, CommandReader, Inbound, Introduction, Link, Replconf};
use headwater::{
    Answer, Config, Detach, Event, Framing, Image, LinkKey, Node, NodeEvent, Offset, Peer, ReplicaConfig,
    ReplicaKey, ReplicationId, Sent, Sink, SnapshotKey, Start, Tag, Timestamp, UpstreamEvent,
};

pub(crate) struct Cluster {
    pub(crate) hosts: Vec<Host>,
    pub(crate) now: Timestamp,
    connections: Vec<Connection>,
    ids: u8,
}

pub(crate) struct Host {
    pub(crate) node: Node,
    /// What it stores: every command that it has applied.
    pub(crate) data: Vec<u8>,
    /// What it was told and did not act on.
    pub(crate) events: Vec<NodeEvent>,
    /// Whom it connects to, if it can be reached.
    pub(crate) upstream: Option<usize>,
    pub(crate) framing: Framing,
    images: BTreeMap<SnapshotKey, Vec<u8>>,
}

/// From a follower to the host that it follows.
struct Connection {
    follower: usize,
    link: Link,
    image: Vec<u8>,
    upstream: usize,
    peer: Peer,
    replica: Option<ReplicaKey>,
    reader: CommandReader,
    /// Bytes on their way.
    up: Vec<u8>,
    down: Vec<u8>,
}

pub(crate) fn at(bytes: u64) -> Offset {
    Offset::new(bytes).unwrap()
}

pub(crate) fn id(number: u8) -> ReplicationId {
    ReplicationId::from_random([number; 20])
}

pub(crate) const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(crate) fn set(value: &str) -> Vec<u8> {
    let mut unit = Vec::new();
    wire::put_command(&mut unit, &["SET", "key", value]);
    unit
}

/// Full and partial syncs that a host granted.
pub(crate) fn syncs(cluster: &mut Cluster, host: usize) -> (u64, u64) {
    let counters = cluster.report(host).counters;
    (counters.sync_full, counters.sync_partial_ok)
}

/// A chain in step: each follows the one before it.
pub(crate) fn chain(nodes: usize) -> Cluster {
    let mut cluster = Cluster::new(nodes);
    for host in 1..nodes {
        cluster.follow(host, host - 1);
        cluster.pass(seconds(3));
    }
    cluster
}

impl Cluster {
    /// Of each node at first.
    pub(crate) fn config() -> Config {
        let mut config = Config::default();
        config.heartbeat = Some(headwater::Heartbeat { payload: wire::heartbeat(), period: seconds(10) });
        config.ack_request = Some(wire::get_ack());
        config
    }

    /// So many nodes, each leading.
    pub(crate) fn new(nodes: usize) -> Self {
        let mut cluster =
            Self { hosts: Vec::new(), now: Timestamp::default(), connections: Vec::new(), ids: 100 };
        for number in 0..nodes {
            let id = id(u8::try_from(number).unwrap() + 1);
            cluster.hosts.push(Host::new(Start::Empty { id }, Vec::new(), cluster.now));
        }
        cluster.settle();
        cluster
    }

    /// Replaces a node by one that starts from what it stored.
    pub(crate) fn restart(&mut self, host: usize, start: Start) {
        self.cut(host);
        let data = std::mem::take(&mut self.hosts[host].data);
        self.hosts[host] = Host::new(start, data, self.now);
        self.settle();
    }

    pub(crate) fn follow(&mut self, host: usize, upstream: usize) {
        let now = self.now;
        let Host { node, upstream: target, .. } = &mut self.hosts[host];
        *target = Some(upstream);
        node.follow(ReplicaConfig::default(), None, now).unwrap();
        self.settle();
    }

    pub(crate) fn promote(&mut self, host: usize) {
        self.ids += 1;
        self.hosts[host].node.promote(id(self.ids), self.now).unwrap();
        self.settle();
    }

    /// Writes one unit, and lets all come to rest.
    pub(crate) fn write(&mut self, host: usize, unit: &[u8]) {
        self.write_quietly(host, unit);
        self.settle();
    }

    /// Writes one unit of which nobody hears yet.
    pub(crate) fn write_quietly(&mut self, host: usize, unit: &[u8]) {
        let Host { node, data, .. } = &mut self.hosts[host];
        let apply = |put: &mut headwater::Unit<'_>| {
            data.extend_from_slice(unit);
            put.put(unit);
        };
        node.primary().write(self.now, apply).unwrap();
    }

    /// Ends all connections to and from a host, with what is on its way.
    pub(crate) fn cut(&mut self, host: usize) {
        let of_host = |connection: &Connection| connection.follower == host || connection.upstream == host;
        while let Some(index) = self.connections.iter().position(of_host) {
            self.close(index);
        }
    }

    /// Has everything happen that needs no time.
    pub(crate) fn settle(&mut self) {
        while (0..self.hosts.len()).any(|host| self.act(host)) || self.deliver() {}
        self.hosts.iter().for_each(|host| host.node.check_invariants());
    }

    /// Lets time pass, to each deadline in turn.
    pub(crate) fn pass(&mut self, span: Duration) {
        let until = self.now.checked_add(span).unwrap();
        let due = |cluster: &Self| cluster.hosts.iter().filter_map(|host| host.node.poll_timeout()).min();
        self.settle();
        while let Some(at) = due(self).filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.hosts.iter_mut().for_each(|host| host.node.handle_timeout(at));
            self.settle();
        }
        self.now = until;
    }

    pub(crate) fn report(&mut self, host: usize) -> headwater::Report {
        self.hosts[host].node.primary().report(self.now)
    }

    /// Whether all hold the same, under the same name.
    pub(crate) fn assert_equal(&self) {
        for host in &self.hosts[1..] {
            assert_eq!(host.node.held(), self.hosts[0].node.held());
            assert!(host.data == self.hosts[0].data, "the data is the same");
        }
    }

    fn act(&mut self, host: usize) -> bool {
        let mut has_acted = false;
        while let Some(event) = self.hosts[host].node.poll_event() {
            has_acted = true;
            match event {
                NodeEvent::Upstream(link, event) => self.act_upstream(host, link, event),
                NodeEvent::Primary(event) => self.act_downstream(host, event),
                event => self.hosts[host].events.push(event),
            }
        }
        has_acted
    }

    fn act_upstream(&mut self, host: usize, key: LinkKey, event: UpstreamEvent) {
        let index = self
            .connections
            .iter()
            .position(|connection| connection.link.key() == key && connection.follower == host);
        match (event, index) {
            (UpstreamEvent::Connect, _) => self.connect(host, key),
            (UpstreamEvent::Close(_), Some(index)) => self.close(index),
            (UpstreamEvent::Ack(ack), Some(index)) => wire::put_ack(&mut self.connections[index].up, ack),
            (UpstreamEvent::KeepAlive, Some(index)) => wire::put_keep_alive(&mut self.connections[index].up),
            (event, _) => self.hosts[host].events.push(NodeEvent::Upstream(key, event)),
        }
    }

    fn connect(&mut self, host: usize, key: LinkKey) {
        let now = self.now;
        let Some(upstream) = self.hosts[host].upstream else {
            return self.hosts[host].node.handle_disconnected(key, now);
        };
        self.hosts[host].node.handle_connected(key, now).unwrap();
        let mut introduction = Introduction::default();
        introduction.port = 7000 + u16::try_from(host).unwrap();
        let mut up = Vec::new();
        self.connections.push(Connection {
            follower: host,
            link: Link::new(key, introduction, CommandLimits::default(), &mut up),
            image: Vec::new(),
            upstream,
            peer: Peer::new(Tag(host as u64), "127.0.0.1"),
            replica: None,
            reader: CommandReader::new(CommandLimits::default()),
            up,
            down: Vec::new(),
        });
    }

    fn close(&mut self, index: usize) {
        let Connection { follower, link, upstream, replica, .. } = self.connections.remove(index);
        self.hosts[follower].node.handle_disconnected(link.key(), self.now);
        if let Some(replica) = replica {
            let _ = self.hosts[upstream].node.primary().detach(replica, Detach::Lost, self.now);
        }
    }

    fn act_downstream(&mut self, host: usize, event: Event) {
        let now = self.now;
        let Host { node, data, images, framing, .. } = &mut self.hosts[host];
        let of = |key: ReplicaKey| {
            move |connection: &&mut Connection| connection.upstream == host && connection.replica == Some(key)
        };
        match event {
            Event::IdWanted => {
                self.ids += 1;
                node.primary().supply_id(id(self.ids)).unwrap();
            }
            Event::SnapshotWanted { .. } => {
                let image = Image { framing: *framing, replayable: true, size: None };
                let cut = node.primary().begin_snapshot(image, now).unwrap();
                images.insert(cut.snapshot, data.clone());
                node.primary().handle_snapshot_ready(cut.snapshot, now).unwrap();
            }
            Event::SendSnapshot { replica, cut, framing } => {
                let connection = self.connections.iter_mut().find(of(replica)).unwrap();
                wire::put_full_resync(&mut connection.down, &cut);
                put_image(&mut connection.down, &images[&cut.snapshot], framing);
                node.primary().handle_snapshot_sent(replica, now).unwrap();
            }
            Event::SnapshotOver { snapshot } => drop(images.remove(&snapshot)),
            Event::KeepAlive(replica) => {
                wire::put_keep_alive(&mut self.connections.iter_mut().find(of(replica)).unwrap().down);
            }
            Event::Send(replica) => {
                let connection = self.connections.iter_mut().find(of(replica)).unwrap();
                let sent = node.primary().write_to(replica, &mut connection.down, now).unwrap();
                assert!(matches!(sent, Sent::All | Sent::More), "memory takes everything");
            }
            Event::Dropped { replica, .. } => {
                let of = |connection: &Connection| {
                    connection.upstream == host && connection.replica == Some(replica)
                };
                let index = self.connections.iter().position(of).unwrap();
                self.connections[index].replica = None;
                self.close(index);
            }
            event => self.hosts[host].events.push(NodeEvent::Primary(event)),
        }
    }

    /// Brings all bytes to where they go. Tells whether there were some.
    fn deliver(&mut self) -> bool {
        let Some(index) = self
            .connections
            .iter()
            .position(|connection| !(connection.up.is_empty() && connection.down.is_empty()))
        else {
            return false;
        };
        let connection = &mut self.connections[index];
        let (up, down) = (std::mem::take(&mut connection.up), std::mem::take(&mut connection.down));
        let upstream = &mut self.hosts[connection.upstream];
        let mut is_closed = connection.serve(&up, upstream, self.now).is_none();
        let follower = &mut self.hosts[connection.follower];
        is_closed |= connection.read(&down, follower, self.now).is_none();
        if is_closed {
            self.close(index);
        }
        true
    }
}

impl Connection {
    /// What the upstream does with what came; `None` is to close.
    fn serve(&mut self, mut input: &[u8], host: &mut Host, now: Timestamp) -> Option<()> {
        while let Some(command) = self.reader.next(&mut input).ok()? {
            let args: Vec<&[u8]> = command.args().collect();
            match (args.as_slice(), self.replica) {
                ([], Some(replica)) => host.node.primary().handle_alive(replica, now).ok()?,
                ([b"PING"], None) => self.down.put(b"+PONG\r\n"),
                ([b"REPLCONF", options @ ..], _) => match wire::replconf(options, &mut self.peer).ok()? {
                    Replconf::Ok => wire::put_ok(&mut self.down),
                    Replconf::Ack(ack) => host.node.primary().handle_ack(self.replica?, ack, now).ok()?,
                    _ => {}
                },
                ([b"PSYNC", request @ ..], None) => self.attach(request, host, now)?,
                _ => return None,
            }
        }
        Some(())
    }

    fn attach(&mut self, request: &[&[u8]], host: &mut Host, now: Timestamp) -> Option<()> {
        let wanted = wire::psync(request).ok()?.wanted;
        match host.node.primary().attach(wanted, self.peer.clone(), now) {
            Ok(attached) => {
                self.replica = Some(attached.replica);
                if let Answer::Continue { id, .. } = attached.answer {
                    wire::put_continue(&mut self.down, id, &self.peer);
                }
            }
            Err(refused) => wire::put_error(&mut self.down, &wire::CommandError::from(refused)),
        }
        Some(())
    }

    /// What the follower does with what came; `None` is to close.
    fn read(&mut self, mut input: &[u8], host: &mut Host, now: Timestamp) -> Option<()> {
        let key = self.link.key();
        while let Some(inbound) = self.link.next(&mut input, &mut self.up, &mut host.node, now).ok()? {
            match inbound {
                Inbound::SnapshotStart { .. } => self.image.clear(),
                Inbound::Snapshot(bytes) => self.image.extend_from_slice(bytes),
                Inbound::SnapshotEnd => {
                    host.data = std::mem::take(&mut self.image);
                    host.node.handle_loaded(key, now).ok()?;
                }
                Inbound::Unit(unit) => {
                    host.node.handle_applied(key, &unit.bytes, now).ok()?;
                    unit.commands.iter().for_each(|command| host.data.extend_from_slice(command.raw()));
                }
            }
        }
        Some(())
    }
}

impl Host {
    fn new(start: Start, data: Vec<u8>, now: Timestamp) -> Self {
        Self {
            node: Node::new(Cluster::config(), start, now).unwrap(),
            data,
            events: Vec::new(),
            upstream: None,
            framing: Framing::Sized,
            images: BTreeMap::new(),
        }
    }

    /// What it was told since the last look, but for coming in step and for new names.
    pub(crate) fn told(&mut self) -> Vec<NodeEvent> {
        let is_news = |event: &NodeEvent| {
            !matches!(event, NodeEvent::Upstream(..) | NodeEvent::Primary(Event::HistoryChanged { .. }))
        };
        std::mem::take(&mut self.events).into_iter().filter(is_news).collect()
    }
}

fn put_image(out: &mut Vec<u8>, image: &[u8], framing: Framing) {
    if framing == Framing::Sized {
        wire::put_snapshot_len(out, image.len() as u64);
        out.put(image);
    } else {
        let mark = wire::EndMark::from_random([0xab; 20]);
        wire::put_end_mark_header(out, &mark);
        out.put(image);
        wire::put_end_mark(out, &mark);
    }
}
