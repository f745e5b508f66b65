#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tells how fast runs are; none knows of it"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::fault::Fault;
use crate::rng::Rng;
use crate::world::World;

/// What many runs came to.
#[derive(Debug)]
pub(crate) struct Progress {
    seeds: u64,
    done: u64,
    faults: BTreeMap<Fault, u64>,
    simulated: Duration,
    /// Over the outputs of all seeds, in whatever order they came.
    hash: u64,
    started: Instant,
}

impl Progress {
    pub(crate) fn new(seeds: u64) -> Self {
        let started = Instant::now();
        Self { seeds, done: 0, faults: BTreeMap::new(), simulated: Duration::ZERO, hash: 0, started }
    }

    pub(crate) fn add(&mut self, seed: u64, world: &World) {
        self.done += 1;
        self.hash = self.hash.wrapping_add(Rng::new(world.journal().hash() ^ seed).next());
        self.simulated += world.simulated();
        for (fault, count) in &world.journal().faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        if self.done.is_multiple_of(PRINT_EVERY) {
            self.print();
        }
    }

    /// Prints how often each fault struck, and what is the same wherever these seeds run (D1).
    pub(crate) fn print_coverage(&self) {
        for (fault, count) in &self.faults {
            println!("{count:>10}  {fault:?}");
        }
        println!("never happened: {:?}", self.missing());
        println!("outputs hash {:016x} over {} seeds", self.hash, self.done);
        let (simulated, elapsed) = (self.simulated.as_secs_f64(), self.started.elapsed().as_secs_f64());
        println!("{simulated:.0} s simulated in {elapsed:.1} s, {:.0} : 1", simulated / elapsed);
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
