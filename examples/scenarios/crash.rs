use std::time::Duration;

use headwater::Config;

use crate::chart::{Chart, Shade};
use crate::options::Parameter;
use crate::scenario::{Account, Scenario, describe_limit, limits};
use crate::table::{Table, count, megabytes};
use crate::world::{Keys, Load, Network, Setup, World};

/// A primary dies while its replica lags, and the replica takes over.
#[derive(Clone, Debug)]
pub struct Crash {
    pub writes: u64,
    pub rate: u64,
    pub bytes: u64,
    pub lag_ms: u64,
    pub other_rate: u64,
    pub other_lag_ms: u64,
}

/// How much load there is, and what its clients wait for.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub writes: u64,
    pub rate: u64,
    pub bytes: u64,
    pub lag: Duration,
    /// WAIT, on every write.
    pub waits: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    pub written: u64,
    /// Writes that the replica had acknowledged when the primary died.
    pub acked: u64,
    /// Writes whose clients were told that they are done.
    pub answered: u64,
    /// Writes that the new primary lacks.
    pub lost: u64,
    pub lost_bytes: u64,
    pub lost_answered: u64,
    /// By rule of thumb: rate × lag.
    pub estimate: u64,
    pub chart: Chart,
}

impl Default for Crash {
    fn default() -> Self {
        Self {
            writes: 10_000,
            rate: 10_000,
            bytes: 5_000,
            lag_ms: 300,
            other_rate: 100_000,
            other_lag_ms: 1_000,
        }
    }
}

impl Crash {
    /// Without and with WAIT, and at another load.
    pub fn cases(&self) -> [Case; 3] {
        let lag = Duration::from_millis(self.lag_ms);
        let case = Case { writes: self.writes, rate: self.rate, bytes: self.bytes, lag, waits: false };
        let lag = Duration::from_millis(self.other_lag_ms);
        // Long enough that the replica has some of it.
        let writes = 2 * (self.other_rate * self.other_lag_ms / 1000).max(1);
        let other = Case { writes, rate: self.other_rate, bytes: OTHER_BYTES, lag, waits: false };
        [case, Case { waits: true, ..case }, other]
    }
}

impl Scenario for Crash {
    fn name(&self) -> &'static str {
        "crash"
    }

    fn title(&self) -> &'static str {
        "the primary dies while its replica lags"
    }

    fn parameters(&mut self) -> Vec<Parameter<'_>> {
        let parameter = |name, help, range, value| Parameter { name, help, range, value };
        vec![
            parameter("writes", "writes until the primary dies", 1..=1_000_000, &mut self.writes),
            parameter("rate", "of these a second", 1..=1_000_000, &mut self.rate),
            parameter("bytes", "of each in the stream", 12..=16_383, &mut self.bytes),
            parameter("lag-ms", "how long each is under way", 0..=60_000, &mut self.lag_ms),
            parameter("other-rate", "the same for the other load", 1..=1_000_000, &mut self.other_rate),
            parameter("other-lag-ms", "and its lag", 0..=5_000, &mut self.other_lag_ms),
        ]
    }

    fn run(&self) -> Account {
        let cases = self.cases();
        let titles = ["without WAIT", "WAIT 1 on every write", "another load, without WAIT"];
        let runs: Vec<_> = cases.iter().zip(titles).map(|(case, title)| run(case, title)).collect();
        let mut table = Table::new(&["without WAIT", "with WAIT 1", "another load"]);
        table.row("writes a second, lag", &cases, |case| {
            format!("{}, {} ms", count(case.rate), count(u64::try_from(case.lag.as_millis()).unwrap_or(0)))
        });
        table.row("writes made", &runs, |run| count(run.written));
        table.row("acknowledged by the replica when the primary dies", &runs, |run| count(run.acked));
        table.row("clients told that their write is done", &runs, |run| count(run.answered));
        table.row("writes lost", &runs, |run| count(run.lost));
        table.row("bytes lost", &runs, |run| megabytes(run.lost_bytes));
        table.row("lost of those whose client was told", &runs, |run| count(run.lost_answered));
        table.row("estimate: rate × lag", &runs, |run| count(run.estimate));
        let notes = vec![format!("output limit in force: {}", describe_limit(&config()))];
        Account { table, notes, charts: runs.into_iter().map(|run| run.chart).collect() }
    }
}

pub fn run(case: &Case, title: &str) -> Outcome {
    let length = Duration::from_nanos(case.writes * NANOS / case.rate);
    let mut world = World::new(length / 200);
    let primary = world.add("primary", Setup { config: config(), ..Setup::default() });
    let setup = Setup { config: config(), acks_at_once: true, ..Setup::default() };
    let replica = world.add("replica", setup);
    world.follow(replica, primary, None);
    world.set_network(replica, Network { to_replica: case.lag, ..Network::default() });

    let from = world.now();
    let writer = world.load(Load {
        host: primary,
        first_key: 0,
        from,
        span: length,
        writes: case.writes,
        bytes: usize::try_from(case.bytes).unwrap_or(usize::MAX),
        burst: burst(case),
        wait: case.waits.then_some(1),
    });
    world.run_until(from.checked_add(length).unwrap_or(from));
    let acked = world.acked(primary, replica).map_or(0, |acked| acked.get() / case.bytes);
    world.kill(primary);
    let died_at = world.now();
    world.promote(replica);
    world.run_until(died_at.checked_add(length / 4).unwrap_or(died_at));
    account(&world, case, title, (primary, replica, writer), acked, died_at.since_origin())
}

fn account(
    world: &World,
    case: &Case,
    title: &str,
    (primary, replica, writer): (usize, usize, usize),
    acked: u64,
    died_at: Duration,
) -> Outcome {
    let [old, new] = [primary, replica].map(|host| &world.hosts[host]);
    let lost = old.keys.without(&new.keys);
    let answered: &Keys = if case.waits { &old.confirmed } else { &old.keys };
    let [held, end] = [new, old].map(|host| host.node.held().map_or(0, |held| held.offset.get()));
    let rate_by_lag = u128::from(case.rate) * case.lag.as_millis() / 1000;
    let lost_answered = answered.without(&new.keys).len();
    let note = format!("lost: {} writes, {}", count(lost.len()), megabytes(end - held));
    let note = if case.waits { format!("{note}; {} confirmed", count(lost_answered)) } else { note };
    let mut chart = Chart::new(title, world.now().since_origin());
    chart.add_offsets(world, &[primary, replica]);
    chart.shade(Shade { line: 0, above: held, until: died_at, name: note });
    chart.add_unacked(world, replica, primary, limits(&config()));
    chart.mark(died_at, "the primary dies, the replica takes over");
    Outcome {
        written: world.writers[writer].accepted,
        acked,
        answered: answered.len(),
        lost: lost.len(),
        lost_bytes: end - held,
        lost_answered,
        estimate: u64::try_from(rate_by_lag).unwrap_or(u64::MAX),
        chart,
    }
}

fn config() -> Config {
    let mut config = Config::default();
    config.ack_request = None; // the replica acknowledges at once all that it applies
    config.max_waiters = 1_000_000;
    config
}

/// So that the run takes no longer: those of a millisecond go out together.
fn burst(case: &Case) -> Duration {
    if case.rate > 10_000 { Duration::from_millis(1) } else { Duration::ZERO }
}

/// Of a write of the other load.
const OTHER_BYTES: u64 = 100;

/// In a second.
const NANOS: u64 = 1_000_000_000;
