//! What a [`Primary`](headwater::Primary) promises, through its public API.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod attach;
mod bad_input;
mod field_bugs;
mod gate;
mod host;
mod info;
mod lag;
mod limits;
mod pins;
mod send;
mod shared_buffer;
mod snapshots;
mod soft_limits;
mod stream;
mod syncs;
mod timers;
mod waitaof;
mod waits;
