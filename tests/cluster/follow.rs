//! The half of a host that follows another node.

use std::time::Duration;

use headwater::wire::{self, CommandLimits, Inbound, Introduction, Link, LinkError, StreamUnit};
use headwater::{LinkKey, Offset, Peer, Tag, UpstreamEvent};

use crate::config;
use crate::fault::Fault;
use crate::host::{Host, Own};
use crate::image;
use crate::job::{Errand, Job};
use crate::network::{Connection, FollowerEnd, Pipe, UpstreamEnd};
use crate::world::World;

/// What a link brought.
enum Came {
    /// More bytes are needed.
    Nothing,
    Piece,
    Image,
    Unit(StreamUnit),
    /// The link can't go on.
    Broken(LinkError),
}

impl World {
    pub(crate) fn follow(&mut self, host: usize, target: usize) {
        self.note(format_args!("{host} follows {target}"));
        let successor_held = self.acked_by(host, target);
        let successor = successor_held.map(|_| {
            let successor = &self.hosts[target];
            (target, successor.life, successor.account.loads)
        });
        let (now, config) = (self.timestamp(host), config::of_replica(&self.options, &mut self.rng));
        let node = &mut self.hosts[host].node;
        let (id, end) = (node.report(now).id, node.primary().end());
        let is_counted = node.held().is_some();
        node.follow(config, successor_held, now).expect("the configuration can work");
        self.hosts[host].target = Some(target);
        self.hosts[host].asks_to_hand_over = false;
        if self.hosts[host].loading.is_some() {
            self.journal.count(Fault::ChangedWhileLoading);
        }
        let account = &mut self.hosts[host].account;
        if !account.follows {
            account.own = (end > account.led_from).then_some(Own { id, successor, is_counted });
            (account.told, account.hands_over_at) = (None, None);
        } else if let Some(own) = &mut account.own {
            own.successor = successor;
        }
        account.follows = true;
    }

    /// What another node has acknowledged to this one, if it is its replica.
    fn acked_by(&self, host: usize, other: usize) -> Option<Offset> {
        let ends = self
            .network
            .connections
            .values()
            .filter(|connection| connection.hosts == [other, host] && connection.follower.is_some());
        let ends = ends.filter(|connection| !connection.lied);
        let replica = ends.filter_map(|connection| connection.upstream.as_ref()?.replica).next_back()?;
        let report = self.hosts[host].report();
        report.replicas.iter().find(|attached| attached.replica == replica)?.acked
    }

    pub(crate) fn act_upstream(&mut self, host: usize, link: LinkKey, event: UpstreamEvent) {
        match event {
            UpstreamEvent::Connect => {
                self.hosts[host].connecting = Some(link);
                self.later(host, 0..=self.options.latency, Job::Connected(link));
            }
            UpstreamEvent::Close(_) => {
                self.hosts[host].connecting.take_if(|connecting| *connecting == link);
                if let Some(number) = self.connection_of_link(host, link) {
                    self.close_follower(number);
                }
            }
            UpstreamEvent::InStep => self.come_in_step(host, link),
            UpstreamEvent::Ack(ack) => self.send_up(host, link, |out| wire::put_ack(out, ack)),
            UpstreamEvent::KeepAlive => self.send_up(host, link, wire::put_keep_alive),
            event => panic!("{event:?} is news"),
        }
    }

    fn come_in_step(&mut self, host: usize, link: LinkKey) {
        let account = &mut self.hosts[host].account;
        if account.loaded_by == Some(link) {
            return;
        }
        (account.own, account.told, account.is_lost) = (None, None, false);
        self.journal.count(Fault::Resumed);
        self.note_reached(host);
        self.note_synced(host);
    }

    fn send_up(&mut self, host: usize, link: LinkKey, put: impl FnOnce(&mut Vec<u8>)) {
        // While it reads from the link, that is taken out of its place by nobody.
        let Some(number) = self.connection_of_link(host, link) else { return };
        let mut out = Vec::new();
        put(&mut out);
        self.push_up(number, &out);
    }

    pub(crate) fn push_up(&mut self, number: usize, bytes: &[u8]) {
        self.journal.output(bytes);
        if let Some(connection) = self.network.connections.get_mut(&number) {
            connection.up.push(bytes, self.now);
        }
    }

    pub(crate) fn connection_of_link(&self, host: usize, link: LinkKey) -> Option<usize> {
        let is_it = |connection: &Connection| {
            connection.hosts[0] == host
                && connection.follower.as_ref().is_some_and(|end| end.link.key() == link)
        };
        self.network.connections.iter().find(|(_, connection)| is_it(connection)).map(|(number, _)| *number)
    }

    /// The connection comes about, unless somebody is cut off.
    pub(crate) fn connect(&mut self, host: usize, link: LinkKey) {
        if self.hosts[host].connecting != Some(link) {
            return;
        }
        let Some(target) = self.hosts[host].target else { return };
        let blocked = [(host, target), (target, host)].map(|(from, to)| self.network.blocked_until(from, to));
        if let Some(until) = blocked.into_iter().max().filter(|until| *until > self.now) {
            let life = self.hosts[host].life;
            return self.jobs.add(until, Errand { host, life, job: Job::Connected(link) });
        }
        self.hosts[host].connecting = None;
        let now = self.timestamp(host);
        if self.hosts[host].node.handle_connected(link, now).is_err() {
            return; // it was given up, and the host has yet to be told
        }
        self.ask_where_parted(host, target);
        self.open(host, target, link);
    }

    fn open(&mut self, host: usize, target: usize, key: LinkKey) {
        let mut introduction = Introduction::default();
        introduction.port = 7000 + u16::try_from(host).expect("there are few");
        introduction.failover = std::mem::take(&mut self.hosts[host].asks_to_hand_over);
        let mut out = Vec::new();
        let link = Link::new(key, introduction, CommandLimits::default(), &mut out);
        let follower = FollowerEnd { link, inbox: Vec::new(), image: Vec::new(), is_loading: false };
        let upstream = UpstreamEnd::new(Peer::new(Tag(host as u64), "127.0.0.1"));
        let latency = Duration::from_millis(self.options.latency as u64);
        let pipe = || Pipe::new(latency, self.options.window);
        let hosts = [host, target];
        let number = self.network.open(Connection::new(Some(follower), upstream, hosts, [pipe(), pipe()]));
        self.push_up(number, &out);
    }

    pub(crate) fn arrive_down(&mut self, number: usize) {
        let connection = self.network.connections.get_mut(&number).expect("something arrives over it");
        let [host, upstream] = connection.hosts;
        let is_over = connection.down.is_over();
        let bytes = connection.down.take(&mut self.rng, self.now);
        let Some(end) = &mut connection.follower else { return };
        end.inbox.extend(bytes);
        if is_over {
            if end.is_loading {
                self.journal.count(Fault::LostWhileLoading);
            }
            self.close_follower(number);
        } else {
            self.read(number);
        }
        self.drain(host);
        if !self.is_stalled(upstream) {
            self.resume_writing(upstream);
            self.drain(upstream);
        }
    }

    /// Reads all that has come and can be acted on.
    pub(crate) fn read(&mut self, number: usize) {
        loop {
            let Some((host, key, came)) = self.read_one(number) else { return };
            match came {
                Came::Nothing => return,
                Came::Piece => {}
                Came::Image => self.begin_load(number, host, key),
                Came::Unit(unit) => {
                    if !self.apply(host, key, &unit) {
                        return self.close_follower(number);
                    }
                }
                Came::Broken(error) => {
                    self.note(format_args!("{host}: {key} is broken: {error}"));
                    self.note_unreadable(host, &error);
                    return self.close_follower(number);
                }
            }
        }
    }

    /// It was in step, if perhaps for no longer than that: what it wrote itself the other one claimed to have.
    fn note_unreadable(&mut self, host: usize, error: &LinkError) {
        if matches!(error, LinkError::Stream(_)) {
            self.journal.count(Fault::StreamUnreadable);
            let account = &mut self.hosts[host].account;
            (account.own, account.told, account.is_lost) = (None, None, true);
        }
    }

    fn read_one(&mut self, number: usize) -> Option<(usize, LinkKey, Came)> {
        let host = self.network.connections.get(&number)?.hosts[0];
        let now = self.timestamp(host);
        let connection = self.network.connections.get_mut(&number)?;
        let FollowerEnd { link, inbox, image, is_loading: false } = connection.follower.as_mut()? else {
            return None;
        };
        let (key, mut out, mut rest) = (link.key(), Vec::new(), &inbox[..]);
        let came = match link.next(&mut rest, &mut out, &mut self.hosts[host].node, now) {
            Ok(None) => Came::Nothing,
            Ok(Some(Inbound::SnapshotStart { .. })) => {
                image.clear();
                Came::Piece
            }
            Ok(Some(Inbound::Snapshot(bytes))) => {
                image.extend_from_slice(bytes);
                Came::Piece
            }
            Ok(Some(Inbound::SnapshotEnd)) => Came::Image,
            Ok(Some(Inbound::Unit(unit))) => Came::Unit(unit),
            Err(error) => Came::Broken(error),
        };
        let taken = inbox.len() - rest.len();
        inbox.drain(..taken);
        self.push_up(number, &out);
        Some((host, key, came))
    }

    /// S5: what comes is a whole unit, which makes what a leader made.
    fn apply(&mut self, host: usize, link: LinkKey, unit: &StreamUnit) -> bool {
        let now = self.timestamp(host);
        let Host { node, state, .. } = &mut self.hosts[host];
        if node.handle_applied(link, &unit.bytes, now).is_err() {
            return false;
        }
        if !unit.commands.is_empty() {
            let raw: Vec<u8> = unit.commands.iter().flat_map(|command| command.raw().to_vec()).collect();
            *state = state.after(&raw);
        }
        assert!(self.truth.is_made(*state), "S5: node {host} has applied what nobody wrote there");
        self.check_place(host);
        self.note_reached(host);
        true
    }

    fn begin_load(&mut self, number: usize, host: usize, link: LinkKey) {
        let connection = self.network.connections.get_mut(&number).expect("it is read from");
        let end = connection.follower.as_mut().expect("it is read from");
        let image = std::mem::take(&mut end.image);
        end.is_loading = true;
        let Some(state) = image::decode(&image) else { return self.fail_load(host, link) };
        self.hosts[host].loading = Some((link, state));
        let fails = self.strikes(Fault::LoadFailed, 15);
        let job = if fails { Job::LoadFailed(link) } else { Job::Loaded(link) };
        self.later(host, 0..=self.options.loading, job);
    }

    pub(crate) fn load(&mut self, host: usize, link: LinkKey) {
        let now = self.timestamp(host);
        let loaded = self.hosts[host].node.handle_loaded(link, now);
        let loading = self.hosts[host].loading.take_if(|(loading, _)| *loading == link);
        let (Ok(()), Some((_, state))) = (loaded, loading) else {
            return self.journal.count(Fault::LoadedInVain);
        };
        self.note(format_args!("{host} has loaded"));
        self.judge_loss(host, link, state);
        let account = &mut self.hosts[host].account;
        account.loads += 1;
        account.loaded_by = Some(link);
        (account.last_end, account.last_held, account.is_lost) = (None, None, false);
        (self.hosts[host].state, self.hosts[host].synced) = (state, None);
        self.journal.count(Fault::FullSync);
        self.check_place(host); // what comes next may be unreadable
        self.note_reached(host);
        self.note_synced(host);
        if let Some(number) = self.connection_of_link(host, link) {
            let connection = self.network.connections.get_mut(&number).expect("it was found");
            connection.follower.as_mut().expect("it has this end").is_loading = false;
            self.read(number);
        }
    }

    pub(crate) fn fail_load(&mut self, host: usize, link: LinkKey) {
        self.hosts[host].loading.take_if(|(loading, _)| *loading == link);
        let now = self.timestamp(host);
        let _ = self.hosts[host].node.handle_load_failed(link, now);
        if let Some(number) = self.connection_of_link(host, link) {
            self.close_follower(number);
        }
    }

    /// The follower closes its end, or has found it closed.
    pub(crate) fn close_follower(&mut self, number: usize) {
        let Some(connection) = self.network.connections.get_mut(&number) else { return };
        let Some(end) = connection.follower.take() else { return };
        connection.up.finish(self.now + connection.up.latency);
        let host = connection.hosts[0];
        let now = self.timestamp(host);
        self.hosts[host].node.handle_disconnected(end.link.key(), now);
    }
}
