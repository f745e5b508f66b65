use std::time::Duration;

use headwater::{Config, MinReplicas, Timestamp};

use crate::chart::Chart;
use crate::options::Parameter;
use crate::scenario::{Account, Scenario, describe_limit, limits};
use crate::table::{Table, count, moment};
use crate::world::{Load, News, Setup, World};

/// A replica stands still for a while, and the gate with it.
#[derive(Clone, Debug)]
pub struct Stall {
    pub rate: u64,
    pub bytes: u64,
    pub stall_at_s: u64,
    pub stall_s: u64,
    pub max_lag_s: u64,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    pub accepted: u64,
    pub refused: u64,
    pub first_refused: Option<Timestamp>,
    pub last_refused: Option<Timestamp>,
    pub gate_closed_at: Option<Timestamp>,
    pub gate_opened_at: Option<Timestamp>,
    /// Writes that no replica had when the stall ended: what the primary would have taken with it.
    pub at_risk: u64,
    /// Writes that some replica lacks in the end.
    pub lost: u64,
    pub chart: Chart,
}

impl Default for Stall {
    fn default() -> Self {
        Self { rate: 1_000, bytes: 100, stall_at_s: 5, stall_s: 20, max_lag_s: 10 }
    }
}

impl Scenario for Stall {
    fn name(&self) -> &'static str {
        "stall"
    }

    fn title(&self) -> &'static str {
        "a replica stands still, and the gate blocks writes"
    }

    fn parameters(&mut self) -> Vec<Parameter<'_>> {
        let parameter = |name, help, range, value| Parameter { name, help, range, value };
        vec![
            parameter("rate", "writes a second", 1..=100_000, &mut self.rate),
            parameter("bytes", "of each in the stream", 12..=16_383, &mut self.bytes),
            parameter("stall-at-s", "when the replica stalls", 1..=60, &mut self.stall_at_s),
            parameter("stall-s", "for how long", 1..=60, &mut self.stall_s),
            parameter("max-lag-s", "of min-replicas 1", 1..=60, &mut self.max_lag_s),
        ]
    }

    fn run(&self) -> Account {
        let runs = [
            self.run_one("one replica, without a gate", 1, false),
            self.run_one("one replica, with the gate", 1, true),
            self.run_one("two replicas, with the gate", 2, true),
        ];
        let mut table = Table::new(&["1 replica, no gate", "1 replica, gate", "2 replicas, gate"]);
        table.row("writes accepted", &runs, |run| count(run.accepted));
        table.row("refused", &runs, |run| count(run.refused));
        table.row("first refused at", &runs, |run| moment(run.first_refused));
        table.row("last refused at", &runs, |run| moment(run.last_refused));
        table.row("gate closed at", &runs, |run| moment(run.gate_closed_at));
        table.row("gate opened at", &runs, |run| moment(run.gate_opened_at));
        table.row("held by the primary alone as the stall ends", &runs, |run| count(run.at_risk));
        table.row("lost", &runs, |run| count(run.lost));
        let config = self.config(true);
        let gate = format!("the gate: min-replicas 1, max-lag {} s", self.max_lag_s);
        let notes = vec![gate, format!("output limit in force: {}", describe_limit(&config))];
        Account { table, notes, charts: runs.into_iter().map(|run| run.chart).collect() }
    }
}

impl Stall {
    /// The first one of so many `replicas` stalls.
    pub fn run_one(&self, title: &str, replicas: usize, is_gated: bool) -> Outcome {
        let (stalls_at, wakes_at) = (self.stall_at_s, self.stall_at_s + self.stall_s);
        let seconds = wakes_at + self.stall_s / 2 + 1;
        let mut world = World::new(Duration::from_secs(seconds) / 300);
        let setup = || Setup { config: self.config(is_gated), ..Setup::default() };
        let primary = world.add("primary", setup());
        let replicas: Vec<_> = NAMES.iter().take(replicas).map(|name| world.add(name, setup())).collect();
        for replica in &replicas {
            world.follow(*replica, primary, None);
        }
        let span = Duration::from_secs(seconds);
        let (from, writes, burst) = (world.now(), self.rate * seconds, Duration::ZERO);
        let bytes = usize::try_from(self.bytes).unwrap_or(usize::MAX);
        world.load(Load { host: primary, first_key: 0, from, span, writes, bytes, burst, wait: None });

        let stalled = replicas.first().copied().unwrap_or(primary);
        world.run_until(at(stalls_at));
        world.stall(stalled);
        world.run_until(at(wakes_at));
        let at_risk = self.only_on(&world, primary, &replicas);
        world.wake(stalled);
        world.run_until(at(seconds));
        self.account(&world, title, (primary, &replicas), at_risk)
    }

    fn account(
        &self,
        world: &World,
        title: &str,
        (primary, replicas): (usize, &[usize]),
        at_risk: u64,
    ) -> Outcome {
        let [writer] = &world.writers[..] else { unreachable!("one load was begun") };
        let host = &world.hosts[primary];
        let missing = |replica: &usize| host.keys.without(&world.hosts[*replica].keys).len();
        Outcome {
            accepted: writer.accepted,
            refused: writer.refused,
            first_refused: writer.first_refused,
            last_refused: writer.last_refused,
            gate_closed_at: host.first_told(|news| matches!(news, News::GateClosed)),
            gate_opened_at: host.first_told(|news| matches!(news, News::GateOpened)),
            at_risk,
            lost: replicas.iter().map(missing).max().unwrap_or(0),
            chart: self.chart(world, title, primary, replicas),
        }
    }

    fn chart(&self, world: &World, title: &str, primary: usize, replicas: &[usize]) -> Chart {
        let mut chart = Chart::new(title, world.now().since_origin());
        let hosts: Vec<_> = [primary].iter().chain(replicas).copied().collect();
        chart.add_offsets(world, &hosts);
        chart.add_gate(world, primary);
        chart.add_unsent(world, replicas, limits(&self.config(false)));
        chart.mark(Duration::from_secs(self.stall_at_s), "it stalls, just after its last ack");
        chart.mark(Duration::from_secs(self.stall_at_s + self.stall_s), "it goes on");
        chart
    }

    /// Keys that no replica holds.
    fn only_on(&self, world: &World, primary: usize, replicas: &[usize]) -> u64 {
        let keys = world.hosts[primary].keys.clone();
        let rest = replicas.iter().fold(keys, |keys, replica| keys.without(&world.hosts[*replica].keys));
        rest.len()
    }

    fn config(&self, is_gated: bool) -> Config {
        let mut config = Config::default();
        let to_write = usize::from(is_gated);
        config.min_replicas = MinReplicas { to_write, max_lag: Duration::from_secs(self.max_lag_s) };
        config.replica_timeout = Duration::from_secs(self.stall_s + 60); // it is waited for
        config
    }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_origin(Duration::from_secs(seconds))
}

const NAMES: [&str; 2] = ["stalled replica", "healthy replica"];
