use core::time::Duration;

use crate::acks::Level;
use crate::key::{Tag, WaiterKey};
use crate::offset::Offset;

/// What a caller waits for: that `replicas` replicas, and perhaps this node's own disk, hold the stream up to `target`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Wait {
    /// Up to where: the end of the caller's own last write, or the end of the stream.
    pub target: Offset,
    /// How many replicas at least. With 0 none are waited for.
    pub replicas: usize,
    /// What a replica must have done with it.
    pub level: Level,
    /// Whether this node's own disk must hold it too.
    pub local: bool,
    /// For how long.
    pub timeout: Timeout,
    /// The host's name for the caller; it comes back in the [`WaiterKey`].
    pub tag: Tag,
}

/// For how long a caller waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Timeout {
    /// Not at all: it gets the counts of this moment. For transactions, scripts, and whoever must not block (R166).
    Immediate,
    /// Until this much time has passed.
    After(Duration),
    /// Until it is satisfied, however long that takes.
    Never,
}

/// What came of a wait at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
#[non_exhaustive]
pub enum WaitOutcome {
    /// It is over.
    Ended(WaitEnd),
    /// It goes on: [`Event::WaitEnded`](crate::Event::WaitEnded) tells of its end.
    Pending(WaiterKey),
}

/// How a wait ended, with the counts of that moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WaitEnd {
    /// How many replicas held the target. May be more than was asked for.
    pub acked: usize,
    /// Whether this node's own disk held it.
    pub local: bool,
    /// Why it ended.
    pub how: WaitEnded,
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum WaitEnded {
    /// All that was asked for is there.
    Satisfied,
    /// Its time is over, or it had none.
    TimedOut,
    /// The host cancelled it.
    Cancelled,
    /// This node is no primary any more: whether the target is safe is not known.
    NoLongerPrimary,
    /// It waited for this node's own disk, and the host has stopped to sync.
    NoLocalFsync,
}

/// Why nobody waits. Nothing has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The table is full; a waiter counts until the event of its end is taken.
    #[error("{max} callers wait, the most allowed")]
    TooManyWaiters {
        /// [`Config::max_waiters`](crate::Config::max_waiters).
        max: usize,
    },
    /// This node's own disk is waited for, but the host has never told that it syncs anything.
    #[error("this node's own disk is waited for, and holds nothing of the stream")]
    NoLocalFsync,
}
