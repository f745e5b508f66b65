#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "the one place that has a clock")]

use alloc::boxed::Box;
use std::time::Instant;

use crate::time::Timestamp;

/// A clock that starts at this moment.
pub(super) fn since_now() -> Box<dyn Fn() -> Timestamp + Send + Sync> {
    let origin = Instant::now();
    Box::new(move || Timestamp::from_origin(origin.elapsed()))
}
