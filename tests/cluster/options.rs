use std::time::Duration;

use headwater::{Framing, MinReplicas, Offset, OutputLimit, SoftLimit};

use crate::rng::Rng;

/// What differs between runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Options {
    pub(crate) nodes: usize,
    pub(crate) backlog: usize,
    pub(crate) backlog_ttl: Option<Duration>,
    pub(crate) pinned: u64,
    pub(crate) output_limit: OutputLimit,
    pub(crate) min_replicas: MinReplicas,
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) asks_for_acks: bool,
    pub(crate) replica_timeout: Duration,
    pub(crate) timeout: Duration,
    pub(crate) max_send: usize,
    pub(crate) max_transfers: usize,
    pub(crate) snapshot_delay: Duration,
    pub(crate) framing: Framing,
    /// Where histories begin.
    pub(crate) start: Offset,
    pub(crate) image: usize,
    /// Milliseconds at most.
    pub(crate) loading: usize,
    pub(crate) latency: usize,
    pub(crate) supply: usize,
    /// What a connection takes before it blocks.
    pub(crate) window: usize,
    pub(crate) largest_write: usize,
    /// Some units are so large that they are not copied.
    pub(crate) shares: bool,
    /// Of a hundred requests.
    pub(crate) deceit: usize,
    /// Of a hundred actions.
    pub(crate) faults: usize,
    pub(crate) roles: usize,
    /// Milliseconds between actions at most.
    pub(crate) pause: usize,
    pub(crate) actions: u64,
}

impl Options {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let near_the_end = rng.chance(12);
        let distance = rng.pick(&[20_000, 100_000, 1_000_000]);
        Self {
            nodes: rng.within(2..=7),
            backlog: rng.scaled(16..=1 << 18),
            backlog_ttl: rng.pick(&[None, Some(3), Some(30), Some(3600)]).map(Duration::from_secs),
            pinned: rng.pick(&[0, 0, 2000, 1 << 20]),
            output_limit: draw_limit(rng),
            min_replicas: draw_gate(rng),
            heartbeat: rng.pick(&[None, Some(1), Some(3), Some(10)]).map(Duration::from_secs),
            asks_for_acks: rng.chance(60),
            replica_timeout: Duration::from_secs(rng.pick(&[5, 10, 60])),
            timeout: Duration::from_secs(rng.pick(&[5, 15, 60])),
            max_send: rng.pick(&[100, 4096, 1 << 20]),
            max_transfers: rng.pick(&[1, 2, 16]),
            snapshot_delay: Duration::from_millis(rng.pick(&[0, 0, 500])),
            framing: rng.pick(&[Framing::Sized, Framing::EndMarked]),
            start: Offset::new(if near_the_end { Offset::MAX.get() - distance } else { 0 })
                .expect("it is below the last one"),
            image: rng.scaled(0..=5000),
            loading: rng.pick(&[0, 100, 3000]),
            latency: rng.pick(&[1, 10, 100]),
            supply: rng.pick(&[0, 10, 4000]),
            window: rng.pick(&[500, 1 << 14, 1 << 20]),
            largest_write: rng.pick(&[40, 300, if near_the_end { 8000 } else { 2000 }]),
            shares: !near_the_end && rng.chance(30),
            deceit: rng.pick(&[0, 0, 10]),
            faults: rng.within(1..=10),
            roles: rng.within(1..=8),
            pause: rng.pick(&[20, 100, 600]),
            actions: rng.within(200..=500) as u64,
        }
    }

    /// For how long faults strike.
    pub(crate) const fn length(&self) -> u64 {
        self.actions
    }

    pub(crate) fn with_length(&self, length: u64) -> Self {
        Self { actions: length, ..self.clone() }
    }

    /// Those of runs in which less happens.
    pub(crate) fn simpler(&self) -> Vec<Self> {
        let mut all = vec![
            Self { nodes: self.nodes.max(3) - 1, ..self.clone() },
            Self { deceit: 0, ..self.clone() },
            Self { faults: 0, ..self.clone() },
            Self { roles: 0, ..self.clone() },
            Self { latency: 1, ..self.clone() },
            Self { loading: 0, ..self.clone() },
            Self { heartbeat: None, ..self.clone() },
        ];
        all.retain(|simpler| simpler != self);
        all
    }

    pub(crate) fn is_near_the_end(&self) -> bool {
        self.start > Offset::ZERO
    }
}

/// Bytes in one unit.
pub(crate) const MAX_UNIT: usize = 20_000;

/// None, a sensible one, or next to nothing.
fn draw_limit(rng: &mut Rng) -> OutputLimit {
    let hard = rng.pick(&[None, Some(1), Some(800), Some(5_000), Some(100_000)]);
    let soft = rng.pick(&[None, Some((1, 0)), Some((300, 100)), Some((3000, 5000))]);
    let soft = soft.map(|(bytes, millis)| SoftLimit { bytes, lasting: Duration::from_millis(millis) });
    OutputLimit { hard, soft: soft.filter(|soft| hard.is_none_or(|hard| soft.bytes <= hard)) }
}

fn draw_gate(rng: &mut Rng) -> MinReplicas {
    let max_lag = Duration::from_millis(rng.pick(&[0, 300, 2000, 2000, 10_000, 10_000]));
    MinReplicas { to_write: rng.pick(&[0, 0, 0, 1, 1, 2]), max_lag }
}
