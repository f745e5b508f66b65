//! Stores that replicate to each other in virtual time: real nodes, on a network and a clock that are made up.

mod connection;
mod host;
mod keys;
mod trace;
mod unit;
mod writer;

pub use connection::Network;
pub use host::{Host, News, Setup};
pub use keys::Keys;
pub use trace::{Behind, Sample, Trace};
pub use writer::{Load, Writer};

use std::time::Duration;

use headwater::{
    Answer, Detach, Event, LinkKey, Offset, Peer, ReplicaKey, ReplicationId, ResumePoint, Tag, Timestamp,
    UpstreamEvent,
};

use connection::{Connection, Parcel};
use host::{Act, Condition};

/// All hosts, the connections between them, and the clients that write.
#[derive(Debug)]
pub struct World {
    now: Timestamp,
    pub hosts: Vec<Host>,
    pub writers: Vec<Writer>,
    pub trace: Trace,
    connections: Vec<Connection>,
    opened: u64,
    drawn: u8,
}

impl World {
    /// A world in which each host's figures are noted once in `period`.
    pub fn new(period: Duration) -> Self {
        Self {
            now: Timestamp::default(),
            hosts: Vec::new(),
            writers: Vec::new(),
            trace: Trace::new(period),
            connections: Vec::new(),
            opened: 0,
            drawn: 0,
        }
    }

    pub const fn now(&self) -> Timestamp {
        self.now
    }

    pub fn add(&mut self, name: &'static str, setup: Setup) -> usize {
        let id = draw(&mut self.drawn);
        self.hosts.push(Host::new(name, setup, id, self.now));
        self.hosts.len() - 1
    }

    /// One write of one client. Tells where it ends in the stream, if it was let in.
    pub fn write(&mut self, host: usize, key: u64, bytes: usize) -> Option<Offset> {
        let Host { node, keys, .. } = &mut self.hosts[host];
        let written = node.primary().write(self.now, |unit| {
            keys.insert(key);
            unit::put(unit, key, bytes);
        });
        self.settle();
        written.ok()?.end
    }

    /// Has clients write.
    pub fn load(&mut self, load: Load) -> usize {
        self.writers.push(Writer::new(load));
        self.writers.len() - 1
    }

    pub fn follow(&mut self, follower: usize, leader: usize, successor_held: Option<Offset>) {
        let host = &mut self.hosts[follower];
        host.upstream = Some(leader);
        host.news.push((self.now, News::Follows));
        let followed = host.node.follow(host.setup.replica, successor_held, self.now);
        followed.expect("the settings were checked");
        self.settle();
    }

    pub fn promote(&mut self, host: usize) {
        let id = draw(&mut self.drawn);
        self.hosts[host].node.promote(id, self.now).expect("no id is drawn twice");
        self.hosts[host].upstream = None;
        self.settle();
    }

    /// Cuts a host off from all others. Nobody is told.
    pub fn isolate(&mut self, host: usize) {
        self.hosts[host].is_isolated = true;
    }

    pub fn heal(&mut self, host: usize) {
        self.hosts[host].is_isolated = false;
    }

    /// A host stands still: its clock goes on, and all that comes waits.
    pub fn stall(&mut self, host: usize) {
        self.hosts[host].condition = Condition::Stalled;
    }

    pub fn wake(&mut self, host: usize) {
        self.hosts[host].condition = Condition::Up;
        self.hosts[host].node.handle_timeout(self.now);
        self.settle();
    }

    /// A host is gone, with all that it had not sent. Nobody is told.
    pub fn kill(&mut self, host: usize) {
        self.hosts[host].condition = Condition::Down;
    }

    /// The way to a host's primary changes.
    pub fn set_network(&mut self, follower: usize, network: Network) {
        self.hosts[follower].setup.network = network;
        for connection in self.connections.iter_mut().filter(|connection| connection.follower == follower) {
            connection.network = network;
        }
    }

    /// The last ack of a host that a primary knows of.
    pub fn acked(&self, leader: usize, follower: usize) -> Option<Offset> {
        let connection = self.connections.iter().find(|connection| connection.joins(follower, leader))?;
        let report = self.hosts[leader].node.report(self.now);
        report.replicas.iter().find(|replica| replica.replica == connection.replica)?.acked
    }

    pub fn run_until(&mut self, until: Timestamp) {
        while self.step(until) {}
        self.now = self.now.max(until);
    }

    /// Lets happen what is due next, unless that is later than `until`.
    pub fn step(&mut self, until: Timestamp) -> bool {
        let writes_at = self.writers_at(None);
        let due = [self.others_at(), writes_at, self.trace.next_at()].into_iter().flatten().min();
        let Some(due) = due.filter(|due| *due <= until) else { return false };
        self.now = self.now.max(due);
        self.handle_timeouts();
        self.settle();
        if writes_at.is_some_and(|at| at <= self.now) {
            self.let_write();
            self.settle();
        }
        self.take_sample();
        true
    }

    fn others_at(&self) -> Option<Timestamp> {
        let running = self.hosts.iter().filter(|host| host.condition == Condition::Up);
        let timeouts = running.filter_map(|host| host.node.poll_timeout());
        let connections = self.connections.iter().filter(|connection| self.is_open(connection));
        timeouts.chain(connections.filter_map(Connection::next_at)).min()
    }

    /// When the next write is due, apart from those of one writer.
    fn writers_at(&self, except: Option<usize>) -> Option<Timestamp> {
        let writers = self.writers.iter().enumerate().filter(|(index, _)| Some(*index) != except);
        let reachable = |host: usize| self.hosts[host].condition == Condition::Up;
        writers.filter_map(|(_, writer)| writer.next_at().filter(|_| reachable(writer.host()))).min()
    }

    fn handle_timeouts(&mut self) {
        for host in self.hosts.iter_mut().filter(|host| host.condition == Condition::Up) {
            if host.node.poll_timeout().is_some_and(|at| at <= self.now) {
                host.node.handle_timeout(self.now);
            }
        }
    }

    fn let_write(&mut self) {
        for index in 0..self.writers.len() {
            let others = [self.others_at(), self.writers_at(Some(index)), self.trace.next_at()];
            let others = others.into_iter().flatten().min();
            let writer = &mut self.writers[index];
            let host = &mut self.hosts[writer.host()];
            if host.condition == Condition::Up && writer.next_at().is_some_and(|at| at <= self.now) {
                self.now = writer.write(host, others).map_or(self.now, |last| last.max(self.now));
            }
        }
    }

    fn take_sample(&mut self) {
        if self.trace.next_at().is_some_and(|at| at <= self.now) {
            let behind = (0..self.hosts.len()).map(|host| self.behind(host)).collect();
            self.trace.take(&self.hosts, behind, self.now);
        }
    }

    /// How far a host is behind, as its primary sees it.
    pub fn behind(&self, follower: usize) -> Behind {
        let to = self.connections.iter().filter(|connection| connection.follower == follower);
        let behind = to.filter_map(|connection| {
            let report = self.hosts[connection.leader].node.report(self.now);
            let replica =
                report.replicas.into_iter().find(|replica| replica.replica == connection.replica)?;
            let unacked = replica.lag.map_or(0, |lag| lag.bytes);
            Some(Behind { unsent: replica.unsent, unacked })
        });
        behind.max_by_key(|behind| behind.unsent).unwrap_or_default()
    }

    /// Everything that happens at this moment.
    fn settle(&mut self) {
        loop {
            let mut is_quiet = true;
            for index in 0..self.hosts.len() {
                is_quiet &= !self.drain(index);
            }
            self.close();
            for index in 0..self.connections.len() {
                is_quiet &= !self.carry(index);
            }
            if is_quiet {
                return;
            }
        }
    }

    /// Takes a host's events. Tells whether there were any.
    fn drain(&mut self, index: usize) -> bool {
        let mut had_any = false;
        while self.hosts[index].condition == Condition::Up {
            let host = &mut self.hosts[index];
            let Some(event) = host.node.poll_event() else { break };
            had_any = true;
            match host.act(event, || draw(&mut self.drawn), self.now) {
                Some(Act::Upstream(link, event)) => self.act_upstream(index, link, event),
                Some(Act::Downstream(event)) => self.act_downstream(index, event),
                None => {}
            }
        }
        had_any
    }

    fn act_upstream(&mut self, follower: usize, link: LinkKey, event: UpstreamEvent) {
        let now = self.now;
        let mine = self
            .connections
            .iter_mut()
            .filter(|connection| connection.follower == follower && connection.link == link);
        match event {
            UpstreamEvent::Connect => self.connect(follower, link),
            UpstreamEvent::Close(_) => mine.for_each(|connection| connection.is_closed_by_follower = true),
            UpstreamEvent::Ack(ack) => mine.for_each(|connection| connection.send_ack(ack, now)),
            UpstreamEvent::InStep => {
                drop(mine);
                self.hosts[follower].news.push((now, News::InStep));
            }
            _ => {}
        }
    }

    /// Asks the primary at once, if it can be reached; else nothing comes of it, and the node gives up after a while.
    fn connect(&mut self, follower: usize, link: LinkKey) {
        let (now, Some(leader)) = (self.now, self.hosts[follower].upstream) else { return };
        if !self.can_reach(follower, leader) {
            return;
        }
        self.opened += 1;
        let tag = Tag(self.opened);
        let Host { name, node, setup, .. } = &mut self.hosts[follower];
        let peer = Peer::new(tag, *name);
        let network = setup.network;
        node.handle_connected(link, now).expect("the link was just begun");
        node.handle_asked(link, now).expect("it is connected");
        let wanted = node.wanted().expect("it follows");
        let Ok(attached) = self.hosts[leader].node.primary().attach(wanted, peer, now) else {
            return self.hosts[follower].node.handle_disconnected(link, now);
        };
        let names = (tag, link, attached.replica);
        let mut connection = Connection::new((follower, leader), names, network, now);
        if let Answer::Continue { id, .. } = attached.answer {
            connection.send(Parcel::Resumed(id), now);
        }
        self.connections.push(connection);
    }

    fn act_downstream(&mut self, leader: usize, event: Event) {
        let now = self.now;
        match event {
            Event::Send(replica) => self.with(leader, replica, |connection, _| connection.has_more = true),
            Event::KeepAlive(replica) => {
                self.with(leader, replica, |connection, _| connection.send(Parcel::Alive, now));
            }
            Event::SendSnapshot { replica, cut, .. } => self.with(leader, replica, |connection, host| {
                let image = host.images.iter().find(|(snapshot, _)| *snapshot == cut.snapshot);
                let keys = image.map(|(_, keys)| keys.clone()).unwrap_or_default();
                connection.send(Parcel::Full(ResumePoint { id: cut.id, offset: cut.offset }), now);
                connection.begin_transfer(keys, host.setup.image_bytes);
            }),
            Event::Dropped { replica, reason } => self.with(leader, replica, |connection, host| {
                connection.is_closed_by_leader = true;
                host.news.push((now, News::Dropped(reason)));
            }),
            _ => {}
        }
    }

    fn with(&mut self, leader: usize, replica: ReplicaKey, act: impl FnOnce(&mut Connection, &mut Host)) {
        let of = |connection: &&mut Connection| (connection.leader, connection.replica) == (leader, replica);
        if let Some(connection) = self.connections.iter_mut().find(of) {
            act(connection, &mut self.hosts[leader]);
        }
    }

    /// Tells the other side of each connection that one side has closed, once it can be told.
    fn close(&mut self) {
        for index in (0..self.connections.len()).rev() {
            let connection = &self.connections[index];
            let Connection { follower, leader, link, replica, .. } = *connection;
            let (by_follower, by_leader) = (connection.is_closed_by_follower, connection.is_closed_by_leader);
            if !(by_follower || by_leader) || !self.is_open(connection) {
                continue;
            }
            if !by_leader {
                let detached = self.hosts[leader].node.primary().detach(replica, Detach::Lost, self.now);
                detached.expect("it is attached");
            }
            if !by_follower {
                self.hosts[follower].node.handle_disconnected(link, self.now);
            }
            self.connections.remove(index);
        }
    }

    fn carry(&mut self, index: usize) -> bool {
        let connection = &mut self.connections[index];
        let hosts = [connection.follower, connection.leader];
        let [follower, leader] = self.hosts.get_disjoint_mut(hosts).expect("nobody follows itself");
        if !reach_each_other(follower, leader) {
            return false;
        }
        let has_sent = connection.pump(leader, self.now);
        connection.deliver(follower, leader, self.now) || has_sent
    }

    fn is_open(&self, connection: &Connection) -> bool {
        self.can_reach(connection.follower, connection.leader)
    }

    fn can_reach(&self, one: usize, other: usize) -> bool {
        reach_each_other(&self.hosts[one], &self.hosts[other])
    }
}

impl Connection {
    fn joins(&self, follower: usize, leader: usize) -> bool {
        (self.follower, self.leader) == (follower, leader)
    }
}

fn reach_each_other(one: &Host, other: &Host) -> bool {
    let are_up = [one, other].iter().all(|host| host.condition == Condition::Up);
    are_up && !one.is_isolated && !other.is_isolated
}

/// What stands in for randomness: each id is another, and each run is the same.
fn draw(drawn: &mut u8) -> ReplicationId {
    *drawn += 1;
    ReplicationId::from_random([*drawn; 20])
}

pub fn second(seconds: f64) -> Timestamp {
    Timestamp::from_origin(Duration::from_secs_f64(seconds))
}
