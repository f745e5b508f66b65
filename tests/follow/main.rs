//! Nodes that follow each other through the Redis dialect, in memory and in virtual time.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod chains;
mod changes;
mod cluster;
mod conversation;
mod disks;
mod field_bugs;
mod handover;
mod link;
mod model;
mod reads;
mod restarts;
mod roles;
