use std::time::Duration;

use headwater::Timestamp;

use super::host::{Condition, Host};

/// Figures of all hosts, noted at intervals.
#[derive(Clone, Debug)]
pub struct Trace {
    period: Duration,
    next: Timestamp,
    pub samples: Vec<Sample>,
}

/// Those of one instant, in the order of the hosts.
#[derive(Clone, Debug)]
pub struct Sample {
    pub at: Timestamp,
    /// How far each holds the stream; `None` of one that is gone, or was never in step.
    pub offsets: Vec<Option<u64>>,
    pub behind: Vec<Behind>,
}

/// What a host does not have yet of its primary's stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Behind {
    /// Bytes that wait to be sent to it.
    pub unsent: u64,
    /// Bytes that it has not acknowledged, if it has its snapshot.
    pub unacked: u64,
}

impl Trace {
    pub(super) const fn new(period: Duration) -> Self {
        let next = Timestamp::from_origin(Duration::ZERO);
        Self { period, next, samples: Vec::new() }
    }

    pub(super) const fn next_at(&self) -> Option<Timestamp> {
        Some(self.next)
    }

    pub(super) fn take(&mut self, hosts: &[Host], behind: Vec<Behind>, now: Timestamp) {
        let is_there = |host: &Host| host.condition != Condition::Down;
        let offset = |host: &Host| {
            let held = host.node.held().filter(|_| is_there(host));
            held.map(|held| held.offset.get())
        };
        self.samples.push(Sample { at: now, offsets: hosts.iter().map(offset).collect(), behind });
        self.next = now.checked_add(self.period).unwrap_or(now);
    }
}
