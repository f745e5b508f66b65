#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tells how fast runs are; none knows of it"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::fault::Fault;
use crate::world::World;

/// What many runs came to.
#[derive(Debug)]
pub(crate) struct Progress {
    seeds: u64,
    done: u64,
    faults: BTreeMap<Fault, u64>,
    simulated: Duration,
    started: Instant,
}

impl Progress {
    pub(crate) fn new(seeds: u64) -> Self {
        let started = Instant::now();
        Self { seeds, done: 0, faults: BTreeMap::new(), simulated: Duration::ZERO, started }
    }

    pub(crate) fn add(&mut self, world: &World) {
        self.done += 1;
        self.simulated += world.simulated();
        for (fault, count) in &world.journal().faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        if self.done.is_multiple_of(PRINT_EVERY) {
            self.print();
        }
    }

    /// Prints how often each fault struck.
    pub(crate) fn print_coverage(&self) {
        for (fault, count) in &self.faults {
            println!("{count:>10}  {fault:?}");
        }
    }

    /// Faults that never struck.
    pub(crate) fn missing(&self) -> Vec<Fault> {
        Fault::ALL.iter().copied().filter(|fault| !self.faults.contains_key(fault)).collect()
    }

    fn print(&self) {
        let elapsed = self.started.elapsed().as_secs_f64();
        let (rate, speed) = (self.done as f64 / elapsed, self.simulated.as_secs_f64() / elapsed);
        let (done, seeds) = (self.done, self.seeds);
        println!("{done} of {seeds} seeds, {rate:.0} per second, {speed:.0} virtual seconds per second");
    }
}

const PRINT_EVERY: u64 = 100;
