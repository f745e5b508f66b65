use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::Duration;

use headwater::wire::{CommandLimits, CommandReader, Link};
use headwater::{Peer, ReplicaKey, Timestamp};

use crate::flow::Flow;
use crate::rng::Rng;
use crate::transfer::Transfer;
use crate::truth::State;

/// All connections, and who can't reach whom.
#[derive(Debug, Default)]
pub(crate) struct Network {
    pub(crate) connections: BTreeMap<usize, Connection>,
    count: usize,
    /// From whom to whom nothing comes, and until when.
    blocked: BTreeMap<(usize, usize), Duration>,
}

/// From a follower to the node that it follows.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) follower: Option<FollowerEnd>,
    pub(crate) upstream: Option<UpstreamEnd>,
    /// Who they are, or were.
    pub(crate) hosts: [usize; 2],
    pub(crate) up: Pipe,
    pub(crate) down: Pipe,
    /// What the follower's data was, and that of its disk, when it last had this link.
    pub(crate) reached: Option<State>,
    pub(crate) synced: Option<State>,
    /// An ack went over it that the follower did not make.
    pub(crate) lied: bool,
    pub(crate) flow: Option<Flow>,
}

#[derive(Debug)]
pub(crate) struct FollowerEnd {
    pub(crate) link: Link,
    /// What came and is not read: the host loads a snapshot.
    pub(crate) inbox: Vec<u8>,
    pub(crate) image: Vec<u8>,
    pub(crate) is_loading: bool,
}

#[derive(Debug)]
pub(crate) struct UpstreamEnd {
    pub(crate) peer: Peer,
    pub(crate) replica: Option<ReplicaKey>,
    pub(crate) reader: CommandReader,
    /// It has more to write than the connection takes.
    pub(crate) is_blocked: bool,
    pub(crate) transfer: Option<Transfer>,
    /// When it was last heard of, once it is online.
    pub(crate) online_heard: Option<Timestamp>,
}

/// Bytes on their way in one direction.
#[derive(Debug)]
pub(crate) struct Pipe {
    bytes: VecDeque<u8>,
    ready_at: Duration,
    /// The reader learns that no more come; `None` inside is never.
    end: Option<Option<Duration>>,
    pub(crate) latency: Duration,
    window: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    /// To the upstream.
    Up,
    Down,
}

impl Connection {
    pub(crate) fn new(
        follower: Option<FollowerEnd>,
        upstream: UpstreamEnd,
        hosts: [usize; 2],
        [up, down]: [Pipe; 2],
    ) -> Self {
        let upstream = Some(upstream);
        Self { follower, upstream, hosts, up, down, reached: None, synced: None, lied: false, flow: None }
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.upstream.as_ref().is_some_and(|end| end.replica.is_some())
    }
}

impl UpstreamEnd {
    pub(crate) fn new(peer: Peer) -> Self {
        let reader = CommandReader::new(CommandLimits::default());
        Self { peer, replica: None, reader, is_blocked: false, transfer: None, online_heard: None }
    }
}

impl Network {
    pub(crate) fn open(&mut self, connection: Connection) -> usize {
        self.count += 1;
        self.connections.insert(self.count, connection);
        self.count
    }

    pub(crate) fn block(&mut self, from: usize, to: usize, until: Duration) {
        let known = self.blocked.entry((from, to)).or_default();
        *known = until.max(*known);
    }

    pub(crate) fn blocked_until(&self, from: usize, to: usize) -> Duration {
        self.blocked.get(&(from, to)).copied().unwrap_or_default()
    }

    pub(crate) fn heal(&mut self, latency: Duration) {
        self.blocked.clear();
        for connection in self.connections.values_mut() {
            if connection.follower.is_none() {
                connection.up.finish(Duration::ZERO);
            }
            (connection.up.latency, connection.down.latency) = (latency, latency);
        }
    }

    /// When something next arrives at whom.
    pub(crate) fn arrivals(&self) -> impl Iterator<Item = (Duration, usize, Way, usize)> {
        self.connections.iter().flat_map(|(number, connection)| {
            let [follower, upstream] = connection.hosts;
            let up = connection.upstream.as_ref().and_then(|_| connection.up.next_at());
            let down = connection.follower.as_ref().and_then(|_| connection.down.next_at());
            let up =
                up.map(|at| (at.max(self.blocked_until(follower, upstream)), *number, Way::Up, upstream));
            let down =
                down.map(|at| (at.max(self.blocked_until(upstream, follower)), *number, Way::Down, follower));
            up.into_iter().chain(down)
        })
    }

    /// Forgets those of which no end is open.
    pub(crate) fn tidy(&mut self) {
        self.connections
            .retain(|_, connection| connection.follower.is_some() || connection.upstream.is_some());
    }
}

impl Pipe {
    pub(crate) fn new(latency: Duration, window: usize) -> Self {
        Self { bytes: VecDeque::new(), ready_at: Duration::ZERO, end: None, latency, window }
    }

    pub(crate) fn push(&mut self, bytes: &[u8], now: Duration) {
        if self.end.is_some() {
            return;
        }
        if self.bytes.is_empty() {
            self.ready_at = now + self.latency;
        }
        self.bytes.extend(bytes);
    }

    /// Takes a part of what is there, if anything is. It may leave the rest for a moment later.
    pub(crate) fn take(&mut self, rng: &mut Rng, now: Duration) -> Vec<u8> {
        let most = self.bytes.len();
        if most == 0 {
            return Vec::new();
        }
        let count = if rng.chance(60) { most } else { rng.scaled(1..=most) };
        self.ready_at = now + rng.millis(0..=1);
        self.bytes.drain(..count).collect()
    }

    /// Nothing more gets through, and of what is under way only a part.
    pub(crate) fn cut(&mut self, rng: &mut Rng, told_at: Option<Duration>) {
        let left = rng.within(0..=self.bytes.len());
        self.bytes.truncate(left);
        self.end = self.end.or(Some(told_at));
    }

    /// The writer has closed.
    pub(crate) fn finish(&mut self, at: Duration) {
        self.end = self.end.or(Some(Some(at)));
    }

    pub(crate) fn is_over(&self) -> bool {
        self.bytes.is_empty() && self.end.is_some()
    }

    /// What is written to it arrives, and no later than it should.
    pub(crate) fn is_sound(&self, latency: Duration) -> bool {
        self.end.is_none() && self.latency <= latency
    }

    pub(crate) fn has_room(&self) -> bool {
        self.bytes.len() < self.window
    }

    fn next_at(&self) -> Option<Duration> {
        if self.bytes.is_empty() { self.end.flatten() } else { Some(self.ready_at) }
    }
}

/// Writes to a pipe, as a socket that doesn't wait.
pub(crate) struct Writer<'a> {
    pub(crate) pipe: &'a mut Pipe,
    pub(crate) now: Duration,
    pub(crate) written: &'a mut Vec<u8>,
}

impl io::Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.pipe.window.saturating_sub(self.pipe.bytes.len());
        // Nobody reads what goes into a connection that is cut; nor does the writer know.
        let room = if self.pipe.end.is_some() { self.pipe.window } else { room };
        let count = bytes.len().min(room);
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.pipe.push(&bytes[..count], self.now);
        self.written.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
