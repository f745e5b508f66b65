//! Clients that read what they have just written, one way after the other: how many read something older, and how long
//! they wait.
//!
//! There is a primary, a replica that is close to it, and one that lags. Each client writes a key, and reads it 5 ms later;
//! those who read at a replica take the two in turn. All is in virtual time, so each run is the same.
//!
//! Try it: `cargo run --release --example read_after_write`

#![allow(unreachable_pub, reason = "nothing in a program can be reached from outside")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

#[allow(dead_code, reason = "other programs use other parts of it")]
#[path = "scenarios/table.rs"]
mod table;
#[allow(dead_code, unused_imports, reason = "other programs use other parts of it")]
#[path = "scenarios/world/mod.rs"]
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use headwater::{
    Fence, FenceOutcome, Level, Offset, ReplicationId, Tag, Timeout, Timestamp, Wait, WaitOutcome,
};

use table::{Table, count};
use world::{Network, News, Setup, World};

fn main() {
    let patterns = [
        Pattern::ReadPrimary,
        Pattern::AcceptStaleness,
        Pattern::Wait { replicas: 1 },
        Pattern::Wait { replicas: 2 },
        Pattern::Fence,
    ];
    let runs = patterns.map(run);
    let mut table =
        Table::new(&["read the primary", "accept staleness", "WAIT 1, read", "WAIT 2, read", "read fence"]);
    table.row("reads", &runs, |run| count(run.reads));
    table.row("of these at the primary", &runs, |run| count(run.at_primary));
    table.row("stale", &runs, |run| count(run.stale));
    table.row("stale at the replica that lags", &runs, |run| count(run.stale_at_lagging));
    table.row("mean wait of a writer", &runs, |run| millis(run.writers_waited / CLIENTS));
    table.row("mean wait of a reader", &runs, |run| millis(run.readers_waited / CLIENTS));
    print!("{table}");
}

/// How a client sees to it that it reads what it has written, or does not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pattern {
    /// All reads are the primary's to serve.
    ReadPrimary,
    /// A replica answers with what it has.
    AcceptStaleness,
    /// The write takes until so many replicas hold it; which of them is not told.
    Wait { replicas: usize },
    /// The client brings id and offset of its write, and the replica answers once it has applied that.
    Fence,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Figures {
    pub(crate) reads: u64,
    pub(crate) at_primary: u64,
    /// Reads that did not find what their own client had written.
    pub(crate) stale: u64,
    pub(crate) stale_at_lagging: u64,
    /// Of all clients together.
    pub(crate) writers_waited: Duration,
    pub(crate) readers_waited: Duration,
}

pub(crate) fn run(pattern: Pattern) -> Figures {
    let mut run = Run::new(pattern);
    while run.figures.reads < u64::from(CLIENTS) {
        let next = run.plans.first_key_value().map(|((at, _), _)| *at);
        // What happens in the world comes first: it may let somebody go on earlier.
        if run.world.step(next.unwrap_or(Timestamp::from_origin(Duration::MAX))) {
            run.hear();
        } else if let Some(((at, client), act)) = run.plans.pop_first() {
            run.world.run_until(at);
            match act {
                Act::Write => run.write(client),
                Act::Read => run.read(client),
            }
        }
    }
    run.figures
}

/// The clients, and the world that they write to and read from.
struct Run {
    world: World,
    pattern: Pattern,
    id: ReplicationId,
    /// What clients do by themselves, and when.
    plans: BTreeMap<(Timestamp, u64), Act>,
    /// Where each client's write ends, and since when it waits.
    clients: BTreeMap<u64, (Offset, Timestamp)>,
    figures: Figures,
}

#[derive(Clone, Copy)]
enum Act {
    Write,
    Read,
}

impl Run {
    fn new(pattern: Pattern) -> Self {
        let mut world = World::new(Duration::from_secs(1));
        world.add("primary", Setup::default());
        for (name, lag) in [("near", NEAR), ("lagging", LAGGING)] {
            let replica = world.add(name, Setup { acks_at_once: true, ..Setup::default() });
            world.follow(replica, PRIMARY, None);
            world.set_network(replica, Network { to_replica: lag, to_primary: NEAR, rate: None });
        }
        let held = world.hosts[PRIMARY].node.held().expect("its stream is kept");
        let plan = |client| ((after(PERIOD * (client + 1)), u64::from(client)), Act::Write);
        let plans = (0..CLIENTS).map(plan).collect();
        Self { world, pattern, id: held.id, plans, clients: BTreeMap::new(), figures: Figures::default() }
    }

    fn write(&mut self, client: u64) {
        let end = self.world.write(PRIMARY, client, 100).expect("it leads, without a gate");
        let now = self.world.now();
        self.clients.insert(client, (end, now));
        let Pattern::Wait { replicas } = self.pattern else { return self.think(client) };
        let (level, timeout) = (Level::Applied, Timeout::Never);
        let wait = Wait { target: end, replicas, level, local: false, timeout, tag: Tag(client) };
        let outcome = self.world.hosts[PRIMARY].node.primary().wait(wait, now);
        if let WaitOutcome::Ended(_) = outcome.expect("few wait") {
            self.think(client);
        }
    }

    /// The client has its answer, and reads a little later.
    fn think(&mut self, client: u64) {
        let at = self.world.now().checked_add(THINKING).expect("time goes on for long");
        self.plans.insert((at, client), Act::Read);
    }

    fn read(&mut self, client: u64) {
        let now = self.world.now();
        let host = self.reads_at(client);
        let (offset, since) = self.clients.get_mut(&client).expect("it has written");
        *since = now;
        if self.pattern == Pattern::Fence {
            let fence = Fence { id: self.id, offset: *offset, timeout: Timeout::Never, tag: Tag(client) };
            let outcome = self.world.hosts[host].node.fence(fence, now);
            if let FenceOutcome::Pending(_) = outcome.expect("it is the same history") {
                return;
            }
        }
        self.finish(client);
    }

    /// Somebody has waited long enough: a writer for its WAIT, or a reader at its fence.
    fn hear(&mut self) {
        let news = self.world.hosts.iter_mut().flat_map(|host| host.news.drain(..));
        let ended =
            news.filter_map(|(_, news)| if let News::Ended(client) = news { Some(client) } else { None });
        for client in ended.collect::<Vec<_>>() {
            let waited = self.world.now().saturating_since(self.clients[&client].1);
            if self.pattern == Pattern::Fence {
                self.figures.readers_waited += waited;
                self.finish(client);
            } else {
                self.figures.writers_waited += waited;
                self.think(client);
            }
        }
    }

    /// What the store holds at this moment is what is read.
    fn finish(&mut self, client: u64) {
        let host = self.reads_at(client);
        let is_stale = !self.world.hosts[host].keys.contains(client);
        self.figures.reads += 1;
        self.figures.at_primary += u64::from(host == PRIMARY);
        self.figures.stale += u64::from(is_stale);
        self.figures.stale_at_lagging += u64::from(is_stale && host == LAST);
    }

    fn reads_at(&self, client: u64) -> usize {
        match self.pattern {
            Pattern::ReadPrimary => PRIMARY,
            _ if client.is_multiple_of(2) => LAST,
            _ => LAST - 1,
        }
    }
}

fn after(span: Duration) -> Timestamp {
    Timestamp::from_origin(span)
}

fn millis(span: Duration) -> String {
    format!("{:.1} ms", span.as_secs_f64() * 1e3)
}

pub(crate) const CLIENTS: u32 = 1000;

/// From one client to the next.
const PERIOD: Duration = Duration::from_millis(3);

/// Between the answer to its write and its read.
const THINKING: Duration = Duration::from_millis(5);

/// From the primary to the replica that is close to it, and back from each.
const NEAR: Duration = Duration::from_millis(1);

/// From the primary to the replica that lags.
const LAGGING: Duration = Duration::from_millis(200);

const PRIMARY: usize = 0;

/// The replica that lags.
const LAST: usize = 2;
