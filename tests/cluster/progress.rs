use std::collections::BTreeMap;

use crate::fault::Fault;
use crate::world::World;

/// What many runs came to.
#[derive(Debug)]
pub(crate) struct Progress {
    seeds: u64,
    done: u64,
    steps: u64,
    faults: BTreeMap<Fault, u64>,
}

impl Progress {
    pub(crate) fn new(seeds: u64) -> Self {
        Self { seeds, done: 0, steps: 0, faults: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, world: &World) {
        self.done += 1;
        self.steps += world.steps;
        for (fault, count) in &world.journal.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        if self.done.is_multiple_of(PRINT_EVERY) {
            println!("{} of {} seeds, {} steps", self.done, self.seeds, self.steps);
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
}

const PRINT_EVERY: u64 = 100;
