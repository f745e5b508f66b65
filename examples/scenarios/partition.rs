use std::time::Duration;

use headwater::{Config, MinReplicas, Offset, Timestamp};

use crate::chart::{Chart, Shade};
use crate::options::Parameter;
use crate::scenario::{Account, Scenario, describe_limit, limits};
use crate::table::{Table, count, megabytes, moment, yes};
use crate::world::{Keys, Load, News, Setup, World};

/// A primary is cut off, another one is promoted meanwhile, and then both are there.
#[derive(Clone, Debug)]
pub struct Partition {
    pub writes: u64,
    pub bytes: u64,
    pub promote_s: u64,
    pub heal_s: u64,
    pub stay_percent: u64,
    pub max_lag_s: u64,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// Writes that the primary let in while it was cut off: until the other was promoted, and from then on.
    pub accepted: [u64; 2],
    pub refused: u64,
    pub first_refused: Option<Timestamp>,
    pub gate_closed_at: Option<Timestamp>,
    /// Writes that the new primary lacks, by the keys that each holds: of those before it was promoted, and after.
    pub lost: [u64; 2],
    pub lost_bytes: u64,
    /// Writes in the lost range that the old primary handed out before it gave them up.
    pub handed_out: u64,
    /// Whether these are exactly the lost ones.
    pub is_exact: bool,
    /// Whether all stores hold the same in the end.
    pub is_one_again: bool,
    pub chart: Chart,
}

impl Default for Partition {
    fn default() -> Self {
        Self { writes: 5_000_000, bytes: 16, promote_s: 30, heal_s: 60, stay_percent: 20, max_lag_s: 10 }
    }
}

impl Scenario for Partition {
    fn name(&self) -> &'static str {
        "partition"
    }

    fn title(&self) -> &'static str {
        "a primary is cut off, and a replica takes over: split brain"
    }

    fn parameters(&mut self) -> Vec<Parameter<'_>> {
        let parameter = |name, help, range, value| Parameter { name, help, range, value };
        vec![
            parameter("writes", "writes until the promotion", 1..=20_000_000, &mut self.writes),
            parameter("bytes", "of each in the stream", 12..=16_383, &mut self.bytes),
            parameter("promote-s", "when the replica is promoted", 1..=3_600, &mut self.promote_s),
            parameter("heal-s", "when the partition is over", 1..=7_200, &mut self.heal_s),
            parameter("stay-percent", "clients that stay when others move", 1..=99, &mut self.stay_percent),
            parameter("max-lag-s", "of min-replicas, for the defence", 1..=3_600, &mut self.max_lag_s),
        ]
    }

    fn check(&self) -> Result<(), String> {
        if self.heal_s <= self.promote_s {
            return Err("--heal-s must be later than --promote-s".into());
        }
        if self.capacity() > MOST_KEPT {
            let most = megabytes(MOST_KEPT);
            return Err(format!(
                "this would write more than the {most} that are kept: lower --writes or --bytes"
            ));
        }
        Ok(())
    }

    fn run(&self) -> Account {
        let runs = [self.run_one("without a gate", false), self.run_one(&self.gate(), true)];
        let mut table = Table::new(&["without a gate", &self.gate()]);
        table.row("accepted until the promotion", &runs, |run| count(run.accepted[0]));
        table.row("accepted from clients that stayed", &runs, |run| count(run.accepted[1]));
        table.row("refused", &runs, |run| count(run.refused));
        table.row("first refused at", &runs, |run| moment(run.first_refused));
        table.row("gate closed at", &runs, |run| moment(run.gate_closed_at));
        table.row("lost of those until the promotion", &runs, |run| count(run.lost[0]));
        table.row("lost of those after it", &runs, |run| count(run.lost[1]));
        table.row("bytes lost", &runs, |run| megabytes(run.lost_bytes));
        table.row("handed out by the old primary", &runs, |run| count(run.handed_out));
        table.row("exactly the lost ones", &runs, |run| yes(run.is_exact));
        table.row("all stores equal in the end", &runs, |run| yes(run.is_one_again));
        let notes = vec![format!("output limit in force: {}", describe_limit(&self.config(true)))];
        Account { table, notes, charts: runs.into_iter().map(|run| run.chart).collect() }
    }
}

/// Who is who.
#[derive(Clone, Copy)]
struct Cast {
    old: usize,
    new: usize,
    sibling: usize,
    /// Clients of the old primary, before the promotion and after.
    writers: [usize; 2],
}

impl Partition {
    pub fn run_one(&self, title: &str, is_gated: bool) -> Outcome {
        let (promoted_at, healed_at) = (at(self.promote_s), at(self.heal_s));
        let mut world = World::new(healed_at.since_origin() / 300);
        let [old, new, sibling] = ["old primary", "new primary", "its replica"]
            .map(|name| world.add(name, Setup { config: self.config(is_gated), ..Setup::default() }));
        world.follow(new, old, None);
        world.follow(sibling, old, None);
        world.run_until(at(0)); // both hold all there is, and have said so

        world.isolate(old);
        let before = self.load(old, 0, at(0), self.writes, self.promote_s);
        let before = world.load(before);
        world.run_until(promoted_at);
        world.promote(new);
        world.follow(sibling, new, None);
        let (after_s, later) = (self.heal_s - self.promote_s, self.writes_after());
        let stay = later * self.stay_percent / 100;
        let after = world.load(self.load(old, self.writes, promoted_at, stay, after_s));
        world.load(self.load(new, MOVED_FROM, promoted_at, later - stay, after_s));
        world.run_until(healed_at);
        self.heal(&mut world, title, Cast { old, new, sibling, writers: [before, after] })
    }

    /// The old primary is back, and is told to follow the new one.
    fn heal(&self, world: &mut World, title: &str, cast: Cast) -> Outcome {
        let Cast { old, new, sibling, .. } = cast;
        let [had, has] = [old, new].map(|host| world.hosts[host].keys.clone());
        world.heal(old);
        let successor_held = world.acked(old, new);
        world.follow(old, new, successor_held);
        world.run_until(at(self.heal_s + self.heal_s.div_ceil(8)));

        let end = &world.hosts[new].keys;
        let is_one_again = [old, sibling].iter().all(|host| world.hosts[*host].keys == *end);
        let lost = had.without(&has);
        let saved = &world.hosts[old].saved;
        let before = lost.without(&from(self.writes)).len();
        let figures = world.hosts[old].news.iter().find_map(|(_, news)| match news {
            News::Lost(lost) => lost.held.map(|held| lost.end.get() - held.get()),
            _ => None,
        });
        let writers = cast.writers.map(|writer| &world.writers[writer]);
        Outcome {
            accepted: writers.map(|writer| writer.accepted),
            refused: writers.map(|writer| writer.refused).iter().sum(),
            first_refused: writers.iter().find_map(|writer| writer.first_refused),
            gate_closed_at: world.hosts[old].first_told(|news| matches!(news, News::GateClosed)),
            lost: [before, lost.len() - before],
            lost_bytes: figures.unwrap_or(0),
            handed_out: saved.len(),
            is_exact: *saved == lost,
            is_one_again,
            chart: self.chart(world, title, cast, (&lost, successor_held)),
        }
    }

    fn chart(&self, world: &World, title: &str, cast: Cast, lost: (&Keys, Option<Offset>)) -> Chart {
        let Cast { old, new, sibling, .. } = cast;
        let (lost, held) = lost;
        let [promoted_at, healed_at] = [self.promote_s, self.heal_s].map(Duration::from_secs);
        let mut chart = Chart::new(title, world.now().since_origin());
        chart.add_offsets(world, &[old, new, sibling]);
        let name = format!("lost: {} writes", count(lost.len()));
        let above = held.map_or(0, |held| held.get());
        chart.shade(Shade { line: 0, above, until: healed_at, name });
        chart.add_gate(world, old);
        chart.add_unsent(world, &[new, sibling], limits(&self.config(true)));
        chart.mark(Duration::ZERO, "the old primary is cut off");
        chart.mark(promoted_at, "the new one is promoted");
        chart.mark(healed_at, "the partition heals");
        chart
    }

    fn load(&self, host: usize, first_key: u64, from: Timestamp, writes: u64, seconds: u64) -> Load {
        let (span, burst) = (Duration::from_secs(seconds), Duration::from_millis(1));
        let bytes = usize::try_from(self.bytes).unwrap_or(usize::MAX);
        Load { host, first_key, from, span, writes, bytes, burst, wait: None }
    }

    /// Writes between the promotion and the heal, at the same rate as before.
    fn writes_after(&self) -> u64 {
        self.writes * (self.heal_s - self.promote_s) / self.promote_s
    }

    /// Enough that all that is lost can be handed out.
    fn capacity(&self) -> u64 {
        (self.writes + self.writes_after()) * self.bytes
    }

    fn config(&self, is_gated: bool) -> Config {
        let mut config = Config::default();
        config.backlog_capacity = usize::try_from(self.capacity()).unwrap_or(usize::MAX);
        // Whoever is cut off is still attached when the partition is over, so its last ack is known.
        config.replica_timeout = Duration::from_secs(2 * self.heal_s);
        let to_write = usize::from(is_gated);
        config.min_replicas = MinReplicas { to_write, max_lag: Duration::from_secs(self.max_lag_s) };
        config
    }

    fn gate(&self) -> String {
        format!("min-replicas 1, max-lag {} s", self.max_lag_s)
    }
}

/// All keys from one on.
fn from(key: u64) -> Keys {
    Keys::from_range(key..u64::MAX)
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_origin(Duration::from_secs(seconds))
}

/// Keys of the clients that moved to the new primary.
const MOVED_FROM: u64 = 1 << 40;

/// Bytes of memory that a run may take for one store.
const MOST_KEPT: u64 = 1_000_000_000;
