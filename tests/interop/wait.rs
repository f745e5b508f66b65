use std::thread;
use std::time::{Duration, Instant};

/// Repeats `attempt` until it succeeds; panics with its last refusal after [`DEADLINE`].
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(refusal) if Instant::now() > deadline => panic!("no {what} after {DEADLINE:?}: {refusal}"),
            Err(_) => thread::sleep(POLL_INTERVAL),
        }
    }
}

/// Waits until `observe` gives `expected`.
#[track_caller]
pub(crate) fn wait_until_equal<T: PartialEq + std::fmt::Debug>(
    what: &str,
    expected: T,
    mut observe: impl FnMut() -> T,
) {
    wait_for(what, || {
        let seen = observe();
        if seen == expected { Ok(()) } else { Err(format!("{seen:?} instead of {expected:?}")) }
    });
}

/// Far above what any step takes, so that a slow machine fails nothing.
const DEADLINE: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
