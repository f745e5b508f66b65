//! What a [`SharedNode`](headwater::shared::SharedNode) promises to threads. The threads are real, the clock is mostly not, and
//! no test sleeps to have something happen: it waits until it has.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of threads and of a clock")]

mod ends;
mod events;
mod host;
mod senders;
mod stress;
mod waits;
