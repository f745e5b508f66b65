use crate::appends::{locked_bytes, locked_primary, shared};
use crate::support::Target;
use crate::wakes::{Parked, WakesAll, percentile};
use crate::{CALLERS, SENDERS, THREADS};

pub(crate) fn targets() -> Vec<Target> {
    let mut targets = vec![Target::nanos("append 64 B, 1 thread, 0 senders", 60.0, || shared(1, 0))];
    targets.extend(THREADS.into_iter().map(to_primary));
    for senders in SENDERS {
        targets.extend(THREADS.into_iter().map(|threads| to_floor(threads, senders)));
    }
    for callers in CALLERS {
        targets.extend([50, 99].into_iter().flat_map(|of_100| wake(callers, of_100)));
    }
    targets
}

/// Nobody is to be told of an append: it takes the lock, and that is all.
fn to_primary(threads: usize) -> Target {
    let name = format!("append 64 B, {threads} threads / to a locked primary");
    Target::ratio(name, 1.2, move || shared(threads, 0), move || locked_primary(threads))
}

fn to_floor(threads: usize, senders: usize) -> Target {
    let name = format!("append 64 B, {threads} threads, {senders} senders / to locked bytes");
    // A sender that has caught up sleeps, and waking it is a system call.
    let at_most = if senders == 0 { 8.0 } else { 40.0 * senders as f64 };
    Target::ratio(name, at_most, move || shared(threads, senders), move || locked_bytes(threads))
}

fn wake(callers: usize, of_100: usize) -> [Target; 2] {
    let name = format!("a wake, 1 of {callers}, p{of_100}");
    let gain = match callers {
        1 => 0.6,
        100 => 5.0,
        _ => 50.0,
    };
    // The slowest few are the scheduler's.
    let (at_most, at_least) = if of_100 == 50 { (100.0, gain) } else { (1000.0, gain / 5.0) };
    [
        Target::of(&name, at_most, "us", move || percentile::<Parked>(callers, of_100)),
        Target::at_least(format!("a condvar for all / {name}"), at_least, "x", move || {
            percentile::<WakesAll>(callers, of_100) / percentile::<Parked>(callers, of_100)
        }),
    ]
}
