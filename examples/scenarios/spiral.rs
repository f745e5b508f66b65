use std::time::Duration;

use headwater::{
    Backoff, Config, LinkState, OutputLimit, PinBudget, ReplicaConfig, SoftLimit, SyncForecast, Timestamp,
};

use crate::chart::Chart;
use crate::options::Parameter;
use crate::scenario::{Account, Scenario, describe_limit, limits};
use crate::table::{Table, count, megabytes, moment};
use crate::world::{Load, Network, News, Setup, World};

/// More is written while a snapshot is sent than may wait for the replica: it is dropped, and starts over.
#[derive(Clone, Debug)]
pub struct Spiral {
    pub write_mb: u64,
    pub link_mb: u64,
    pub image_mb: u64,
    pub limit_mb: u64,
    pub high_hard_mb: u64,
    pub high_soft_mb: u64,
    pub high_soft_s: u64,
    pub high_backlog_mb: u64,
    pub seconds: u64,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// The primary's settings in the end.
    pub config: Config,
    /// From its cut until its replica was dropped, of each sync that failed.
    pub dropped_after: Vec<Duration>,
    /// From one sync's beginning to the next's.
    pub apart: Vec<Duration>,
    /// When the replica had everything for the first time.
    pub in_sync_at: Option<Timestamp>,
    /// Bytes of images that were sent.
    pub image_sent: u64,
    /// What was told before the first sync that was expected to fail.
    pub advice: Option<SyncForecast>,
    pub chart: Chart,
}

/// How the primary is set up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Defence {
    /// As is usual: a failed sync is tried again at once.
    None,
    /// The same, with limits that are high enough.
    HighLimits,
    /// This crate's defaults.
    Defaults,
    /// These, and an operator who follows the advice.
    Advice,
}

impl Default for Spiral {
    fn default() -> Self {
        Self {
            write_mb: 100,
            link_mb: 200,
            image_mb: 1_600,
            limit_mb: 256,
            high_hard_mb: 1_000,
            high_soft_mb: 256,
            high_soft_s: 300,
            high_backlog_mb: 2_000,
            seconds: 120,
        }
    }
}

impl Scenario for Spiral {
    fn name(&self) -> &'static str {
        "spiral"
    }

    fn title(&self) -> &'static str {
        "a snapshot takes longer than the output limit lasts"
    }

    fn parameters(&mut self) -> Vec<Parameter<'_>> {
        let parameter = |name, help, range, value| Parameter { name, help, range, value };
        vec![
            parameter("write-mb", "MB a second that are written", 17..=1_000, &mut self.write_mb),
            parameter("link-mb", "MB a second that the link carries", 1..=10_000, &mut self.link_mb),
            parameter("image-mb", "MB of a snapshot", 1..=100_000, &mut self.image_mb),
            parameter("limit-mb", "the hard output limit", 64..=100_000, &mut self.limit_mb),
            parameter(
                "high-hard-mb",
                "the hard limit that is high enough",
                1..=100_000,
                &mut self.high_hard_mb,
            ),
            parameter("high-soft-mb", "and the soft one", 1..=100_000, &mut self.high_soft_mb),
            parameter("high-soft-s", "that may be exceeded for so long", 0..=3_600, &mut self.high_soft_s),
            parameter("high-backlog-mb", "and the backlog", 1..=4_000, &mut self.high_backlog_mb),
            parameter("seconds", "how long it is watched", 1..=3_600, &mut self.seconds),
        ]
    }

    fn check(&self) -> Result<(), String> {
        if self.high_soft_mb > self.high_hard_mb {
            return Err("--high-soft-mb must not be above --high-hard-mb".into());
        }
        Ok(())
    }

    fn run(&self) -> Account {
        let defences = [
            (Defence::None, "no defence"),
            (Defence::HighLimits, "high limits"),
            (Defence::Defaults, "defaults"),
            (Defence::Advice, "defaults + advice"),
        ];
        let runs = defences.map(|(defence, title)| self.run_one(title, defence));
        let titles = defences.map(|(_, title)| title);
        let mut table = Table::new(&titles);
        table.row("syncs begun", &runs, |run| count(run.apart.len() as u64 + 1));
        table.row("of these dropped by the limit", &runs, |run| count(run.dropped_after.len() as u64));
        table.row("dropped after its cut, the first", &runs, |run| seconds(run.dropped_after.first()));
        table.row("between two syncs, the shortest", &runs, |run| seconds(run.apart.iter().min()));
        table.row("between the last two", &runs, |run| seconds(run.apart.last()));
        table.row("in sync at", &runs, |run| moment(run.in_sync_at));
        table.row("images sent", &runs, |run| megabytes(run.image_sent));
        let in_force = titles
            .iter()
            .zip(&runs)
            .map(|(title, run)| format!("output limit in force, {title}: {}", describe_limit(&run.config)));
        let advice = runs[2].advice;
        let notes = in_force.chain(advice.map(|advice| format!("SyncUnlikely: {advice}"))).collect();
        Account { table, notes, charts: runs.into_iter().map(|run| run.chart).collect() }
    }
}

impl Spiral {
    pub fn run_one(&self, title: &str, defence: Defence) -> Outcome {
        let until = Duration::from_secs(self.seconds);
        let mut world = World::new(until / 600);
        let config = self.config(defence);
        let image_bytes = self.image_mb * MB;
        let primary = world.add("primary", Setup { config, image_bytes, ..Setup::default() });
        let network = Network { rate: Some(self.link_mb * MB), ..Network::default() };
        let mut replica = ReplicaConfig::default();
        replica.backoff = self.backoff(defence);
        let replica = world.add("replica", Setup { network, replica, ..Setup::default() });
        world.follow(replica, primary, None);
        world.load(self.load(primary));
        let in_sync_at = watch(&mut world, (primary, replica), Timestamp::from_origin(until), defence);
        self.account(&mut world, title, (primary, replica), in_sync_at)
    }

    fn load(&self, host: usize) -> Load {
        let writes = self.seconds * 1_000;
        let bytes = usize::try_from(self.write_mb * MB / 1_000).unwrap_or(usize::MAX);
        let (from, span) = (Timestamp::default(), Duration::from_secs(self.seconds));
        Load { host, first_key: 0, from, span, writes, bytes, burst: Duration::ZERO, wait: None }
    }

    fn account(
        &self,
        world: &mut World,
        title: &str,
        (primary, replica): (usize, usize),
        in_sync_at: Option<Timestamp>,
    ) -> Outcome {
        let config = world.hosts[primary].node.primary().config().clone();
        let mut chart = Chart::new(title, world.now().since_origin());
        chart.add_offsets(world, &[primary, replica]);
        chart.add_unsent(world, &[replica], limits(&config));
        if let Some(at) = in_sync_at {
            chart.mark(at.since_origin(), "the replica is in sync");
        }
        let host = &world.hosts[primary];
        let (mut begun, mut dropped_after) = (Vec::<Timestamp>::new(), Vec::new());
        for (at, news) in &host.news {
            match (news, begun.last()) {
                (News::SyncBegun, _) => begun.push(*at),
                (News::Dropped(_), Some(begun)) => dropped_after.push(at.saturating_since(*begun)),
                _ => {}
            }
        }
        let advice = host.news.iter().find_map(|(_, news)| match news {
            News::SyncUnlikely(forecast) => Some(*forecast),
            _ => None,
        });
        Outcome {
            config,
            dropped_after,
            apart: begun.windows(2).map(|pair| pair[1].saturating_since(pair[0])).collect(),
            in_sync_at,
            image_sent: host.image_sent,
            advice,
            chart,
        }
    }

    fn config(&self, defence: Defence) -> Config {
        let mut config = Config::default();
        let soft = |bytes, seconds| Some(SoftLimit { bytes, lasting: Duration::from_secs(seconds) });
        match defence {
            Defence::None => {
                config.output_limit = OutputLimit { hard: Some(self.limit_mb * MB), soft: soft(64 * MB, 60) };
            }
            Defence::HighLimits => {
                let soft = soft(self.high_soft_mb * MB, self.high_soft_s);
                config.output_limit = OutputLimit { hard: Some(self.high_hard_mb * MB), soft };
                config.backlog_capacity = usize::try_from(self.high_backlog_mb * MB).unwrap_or(usize::MAX);
            }
            Defence::Defaults | Defence::Advice => return config,
        }
        config.sync_backoff = None;
        config.resume_pins = PinBudget { bytes: 0, ..config.resume_pins };
        config
    }

    /// A replica of Redis tries again each second.
    fn backoff(&self, defence: Defence) -> Backoff {
        let each_second = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(1) };
        match defence {
            Defence::None | Defence::HighLimits => each_second,
            Defence::Defaults | Defence::Advice => ReplicaConfig::default().backoff,
        }
    }
}

/// Lets it go on. Tells when the replica had everything for the first time.
fn watch(
    world: &mut World,
    (primary, replica): (usize, usize),
    until: Timestamp,
    defence: Defence,
) -> Option<Timestamp> {
    let (mut heard, mut in_sync_at) = (0, None);
    while world.step(until) {
        let news = &world.hosts[primary].news[heard..];
        let advice = news.iter().find_map(|(_, news)| match news {
            News::SyncUnlikely(forecast) => forecast.needed,
            _ => None,
        });
        heard += news.len();
        if let Some(needed) = advice.filter(|_| defence == Defence::Advice) {
            set_limit(world, primary, needed);
        }
        if in_sync_at.is_none() && is_in_sync(world, replica) {
            in_sync_at = Some(world.now());
        }
    }
    in_sync_at
}

fn set_limit(world: &mut World, primary: usize, limit: OutputLimit) {
    let now = world.now();
    let primary = world.hosts[primary].node.primary();
    let mut config = primary.config().clone();
    config.output_limit = limit;
    primary.reconfigure(config, now).expect("what is advised can be done");
}

/// Whether it follows the stream, and nothing waits for it.
fn is_in_sync(world: &World, replica: usize) -> bool {
    let upstream = world.hosts[replica].node.upstream(world.now());
    let is_in_step = upstream.is_some_and(|upstream| upstream.state == LinkState::InStep);
    is_in_step && world.behind(replica).unsent == 0
}

fn seconds(span: Option<&Duration>) -> String {
    span.map_or("never".to_owned(), |span| format!("{:.3} s", span.as_secs_f64()))
}

/// MB are 10^6 bytes.
const MB: u64 = 1_000_000;
