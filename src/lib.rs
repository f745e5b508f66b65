//! The replication core of a datastore: backlog, offsets and histories, resume, snapshots, the write gate, WAIT,
//! output limits and changes of role, as sans-IO state machines that a host drives with bytes and clock ticks.
//!
//! A datastore that links headwater gets what a Redis server does as a primary and as a replica, without a socket, a thread or
//! a clock in it: the host hands in what happened and the time, and takes out bytes and events. One core serves a
//! single-threaded event loop, async tasks and plain threads.
//!
//! The contract in one sentence: **after each batch of inputs drain the events, then sleep until `poll_timeout()`.**
//!
//! ```
#![doc = include_str!("../examples/quickstart.rs")]
//! ```
//!
//! # What it is not
//!
//! It stores no data, speaks to no network, and elects nobody. It does not make writes durable or linearizable: a
//! primary that dies takes with it what no replica had acknowledged. [`wire`] knows the Redis dialect; nothing
//! else in here does, so a store with a protocol of its own uses all the rest.
//!
//! # A map of the types
//!
//! | | |
//! | --- | --- |
//! | [`Primary`] | feeds replicas: connects the parts below, and is what a host drives |
//! | [`Node`], [`Replica`] | a primary that can change its role; the replica's side alone |
//! | [`Unit`], [`Event`], [`Batch`] | what a host puts in, what it acts on, what it sends |
//! | [`shared::SharedNode`], [`shared::Sender`], [`shared::Events`] | the same node behind a lock, for threads |
//! | [`Config`], [`Report`] | every bound, with its default; every figure of one instant |
//! | [`wire`], [`info`] | the Redis dialect; text for people |
//! | [`Backlog`], [`History`] | the stream's bytes, and who may resume from them |
//! | [`Acks`], [`GoodReplicas`], [`Waiters`] | how far replicas are; the write gate; WAIT |
//! | [`OutputMeter`], [`Backoff`] | output limits, and how long to hold back who failed |
//! | [`Offset`], [`Timestamp`], [`ReplicationId`], [`ReplicaKey`] | values |
//!
#![cfg_attr(feature = "sync", doc = include_str!("embedding.md"))]
//!
//! # Features
//!
//! `std` (default): vectored I/O, [`Primary::write_to`]. `sync` (default): [`shared`], a handle for threads. Without
//! them the crate needs an allocator only.

#![no_std]

extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

mod acks;
mod backlog;
mod backoff;
mod good_replicas;
mod history;
mod id;
pub mod info;
mod key;
mod lag;
mod node;
mod offset;
mod output;
mod primary;
mod replica;
#[cfg(feature = "sync")]
pub mod shared;
mod sink;
mod slots;
mod snapshots;
mod time;
mod waiters;
pub mod wire;

pub use acks::{Ack, AckRefused, Acks, Level};
pub use backlog::{Backlog, Cursor, NotKept, Reader, StreamFull, ZeroCapacity};
pub use backoff::Backoff;
pub use good_replicas::{GoodReplicas, MinReplicas, NotEnoughReplicas};
pub use history::{FullReason, History, IdRefused, Kept, Resume, ResumePoint, Wanted};
pub use id::ReplicationId;
pub use key::{Gone, LinkKey, ReplicaKey, SnapshotKey, Tag, WaiterKey};
pub use lag::Lag;
pub use node::{
    Fence, FenceEnd, FenceError, FenceOutcome, Handover, HandoverError, Lost, Node, NodeEvent, Staleness,
    Start,
};
pub use offset::Offset;
pub use output::{OutputLimit, OutputMeter, OverLimit, SoftLimit};
#[cfg(feature = "std")]
pub use primary::SendError;
pub use primary::{
    AckError, Answer, AttachError, Attached, BacklogReport, Batch, Config, ConfigError, Context, Counters,
    Detach, DropReason, Event, Heartbeat, LocalFsyncError, Peer, PinBudget, Primary, ReplicaReport,
    ReplicaState, Report, Sent, SentError, SnapshotError, Unit, WriteRefused, Written,
};
pub use replica::{
    CloseReason, FollowError, LinkState, Replica, ReplicaConfig, UpstreamEvent, UpstreamReport, ZeroPeriod,
};
pub use sink::Sink;
pub use snapshots::{Cut, Framing, Image, SyncForecast};
pub use time::Timestamp;
pub use waiters::{FsyncWentBack, Timeout, Wait, WaitEnd, WaitEnded, WaitError, WaitOutcome, Waiters};
