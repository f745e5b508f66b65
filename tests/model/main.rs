//! The primary does what its specification does.
//!
//! `reference/` is the same primary written the obvious way: read it to know what is promised. `pair.rs` gives both
//! the same calls and compares every answer, event, deadline, byte and figure; `generate.rs` and `settings.rs` choose the
//! calls; `coverage.rs` counts what was seen.
//!
//! ```text
//! cargo test --test model                                              2,000 histories of 200 calls
//! HEADWATER_SEED=17 cargo test --test model                            one history
//! HEADWATER_HISTORIES=100000 cargo test --release --test model         many
//! ```
//!
//! A failure prints its seed, the shortest history found that fails so, and the first difference.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod coverage;
mod draw;
mod generate;
mod history;
mod pair;
mod reference;
mod rng;
mod settings;
mod translate;

use coverage::{Coverage, KINDS};
use settings::Family;

#[test]
fn agrees_where_little_is_allowed() {
    check(Family::Tight);
}

#[test]
fn agrees_where_replicas_live_long() {
    check(Family::Patient);
}

fn check(family: Family) {
    if let Some(seed) = variable("HEADWATER_SEED") {
        history::check(family, seed);
        return;
    }
    let histories = variable("HEADWATER_HISTORIES").unwrap_or(NORMAL_HISTORIES) / 2;
    let mut coverage = Coverage::default();
    for seed in 0..histories {
        coverage.add(history::check(family, seed));
    }
    println!("{coverage:#?}");
    // What can't happen any more is a gap in the test.
    let mut missing = coverage.rarer_than(LEAST, KINDS);
    let left_to_other = match family {
        Family::Tight => WHOLE,
        Family::Patient => SELDOM_IF_PATIENT,
    };
    missing.retain(|(kind, _)| !left_to_other.contains(kind));
    assert!(histories < NORMAL_HISTORIES / 2 || missing.is_empty(), "seen too seldom: {missing:?}");
    assert!(coverage.ambiguous * 100 <= histories, "{} histories were cut short", coverage.ambiguous);
}

fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

const NORMAL_HISTORIES: u64 = 2000;

/// Where little is allowed, a unit is never large enough to be kept without a copy.
const WHOLE: &[&str] = &["appended whole", "put whole"];

/// Where nobody is slow, little is kept that a limit forbids to send.
const SELDOM_IF_PATIENT: &[&str] = &["over the limit to resume"];

/// Each family sees each kind of answer and event so many times.
const LEAST: u64 = 10;
