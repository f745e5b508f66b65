use std::panic::{catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::progress::Progress;
use crate::shrink;
use crate::world::World;

/// Runs all seeds that are asked for, or 100, and asserts that nothing stayed away that is to be seen.
pub(crate) fn run_them() {
    if let Some(seed) = variable("SIM_SEED") {
        let mut progress = Progress::new(1);
        progress.add(seed, &run(World::new(seed, true), seed));
        return progress.print_coverage();
    }
    let seeds = variable("SIM_SEEDS").unwrap_or(NORMAL_SEEDS);
    let (next, progress) = (AtomicU64::new(0), Mutex::new(Progress::new(seeds)));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| run_all(&next, seeds, &progress));
        }
    });
    let progress = progress.into_inner().expect("all seeds are done");
    progress.print_coverage();
    // A fault that can't happen any more is a gap in the test.
    let missing = progress.missing();
    assert!(seeds < NORMAL_SEEDS || missing.is_empty(), "these never happened: {missing:?}");
}

/// Runs one seed after the other, until none is left or one has failed.
fn run_all(next: &AtomicU64, seeds: u64, progress: &Mutex<Progress>) {
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= seeds || progress.is_poisoned() {
            return;
        }
        let world = catch_unwind(|| run_checked(seed));
        // Once the other thread has failed nobody asks for it any more.
        let Ok(mut progress) = progress.lock() else { return };
        progress.add(seed, &world.unwrap_or_else(|failure| resume_unwind(failure)));
    }
}

/// Runs one seed, and some of them twice.
fn run_checked(seed: u64) -> World {
    let world = run(World::new(seed, false), seed);
    if seed.is_multiple_of(REPEAT_EVERY) {
        let again = run(World::new(seed, false), seed);
        let hashes = [&world, &again].map(|world| world.journal().hash());
        assert_eq!(hashes[0], hashes[1], "D1: seed {seed} differs from itself");
    }
    world
}

/// Runs one seed. If it fails, the smallest run that fails alike is told.
fn run(world: World, seed: u64) -> World {
    shrink::run(world).unwrap_or_else(|failed| {
        let first = failed.world.options().length();
        let failed = shrink::shrink(seed, failed);
        println!("{}\n{:#?}", failed.world.journal().last_lines(), failed.world.options());
        println!("shrunk from {first} steps to {}: {}", failed.world.options().length(), failed.promise);
        println!("seed {seed} failed; its whole trace: SIM_SEED={seed}, with --nocapture");
        panic!("seed {seed}: {}", failed.promise);
    })
}

pub(crate) fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

const NORMAL_SEEDS: u64 = 100;

/// Every so many seeds one is run twice.
const REPEAT_EVERY: u64 = 20;

const THREADS: usize = 2;
