//! A run that fails is made smaller, as long as it fails alike: what is left is told.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Mutex;

use crate::seeds::variable;
use crate::world::World;

/// A run that failed, and how.
pub(crate) struct Failed {
    pub(crate) world: World,
    pub(crate) promise: String,
}

/// The smallest run of `seed` that fails as `first` did, of those that are tried.
pub(crate) fn shrink(seed: u64, first: Box<Failed>) -> Box<Failed> {
    let _alone = SHRINKING.lock();
    let hook = take_hook();
    set_hook(Box::new(|_| ())); // what fails on the way is of no interest
    let (mut smallest, mut left) = (first, variable("SIM_SHRINK").unwrap_or(MOST_RUNS));
    while let Some(smaller) = smaller(seed, &smallest, &mut left) {
        smallest = smaller;
    }
    set_hook(hook);
    smallest
}

/// There is one hook for all threads.
static SHRINKING: Mutex<()> = Mutex::new(());

/// The first that fails alike of those that are a step smaller.
fn smaller(seed: u64, failed: &Failed, left: &mut u64) -> Option<Box<Failed>> {
    let kind_of_first = kind(&failed.promise);
    let options = failed.world.options();
    let shorter = shorter(options.length()).map(|length| options.with_length(length));
    shorter.chain(options.simpler()).find_map(|options| {
        *left = left.checked_sub(1)?;
        let failed = run(World::varied(seed, options)).err()?;
        (kind(&failed.promise) == kind_of_first).then_some(failed)
    })
}

fn shorter(length: u64) -> impl Iterator<Item = u64> {
    let lengths = [length / 2, length - length / 4, length - length / 16, length.saturating_sub(1)];
    lengths.into_iter().filter(move |shorter| *shorter < length)
}

/// Runs it, and tells what it died of.
pub(crate) fn run(mut world: World) -> Result<World, Box<Failed>> {
    match catch_unwind(AssertUnwindSafe(|| world.run())) {
        Ok(()) => Ok(world),
        Err(death) => Err(Box::new(Failed { promise: message(&*death), world })),
    }
}

fn message(death: &dyn Any) -> String {
    let text = death.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| death.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
}

/// What two failures of one kind have in common: how they begin, but for numbers.
fn kind(promise: &str) -> String {
    promise.chars().filter(|letter| !letter.is_ascii_digit()).take(40).collect()
}

/// That are tried.
const MOST_RUNS: u64 = 400;
