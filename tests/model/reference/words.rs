//! What is said to a primary, and what it says.

use std::time::Duration;

use headwater::{
    Ack, Answer, AttachError, Config, ConfigError, Detach, DropReason, Framing, IdRefused, Image,
    LocalFsyncError, MinReplicas, NotEnoughReplicas, Offset, OutputLimit, Peer, ReplicaState, ReplicationId,
    Sent, SnapshotError, Wait, WaitEnd, WaitError, Wanted, WriteRefused,
};

/// One call. Replicas and waiters go by their tags, snapshots by their number, from 1.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    Attach {
        wanted: Wanted,
        peer: Peer,
    },
    Detach {
        replica: u64,
        how: Detach,
    },
    Write(Unit),
    WriteUngated(Unit),
    Append(Vec<u8>),
    /// A payload that is handed over, and may be kept without a copy.
    AppendShared(Vec<u8>),
    AdmitWrite,
    GoodAt(Offset),
    Ack {
        replica: u64,
        ack: Ack,
    },
    Alive(u64),
    WriteTo {
        replica: u64,
        writer: Writer,
    },
    TakeBatch(u64),
    BatchWritten {
        replica: u64,
        written: usize,
    },
    Unsent(u64),
    Sent {
        replica: u64,
        bytes: usize,
    },
    Wait(Wait),
    CancelWait(u64),
    EndWaits,
    LocalFsync(Option<Offset>),
    BeginSnapshot(Image),
    SnapshotReady(u64),
    SnapshotFailed(u64),
    SnapshotProgress {
        replica: u64,
        sent: u64,
    },
    SnapshotSent(u64),
    SupplyId(ReplicationId),
    Reconfigure(Box<Config>),
    ResetCounters,
    Timeout,
    PollEvent,
}

/// What a closure does with its unit.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) panics: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Put(Vec<u8>),
    PutShared(Vec<u8>),
    Clear,
}

/// A socket that takes `room` bytes, no more than `piece` at once, and then is full or breaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writer {
    pub(crate) room: usize,
    pub(crate) piece: usize,
    pub(crate) breaks: bool,
}

/// The answer to one call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Output {
    Nothing,
    Attached(Result<Answer, AttachError>),
    Appended(Option<Offset>),
    Written(Result<Written, WriteRefused>),
    Admitted(Result<(), WriteRefused>),
    Good {
        good: usize,
        holding: usize,
    },
    Acked(Result<(), AckFault>),
    /// Whether who or what was named is there.
    Known(bool),
    Wrote(Result<(Vec<u8>, Result<Sent, Broken>), Gone>),
    Lent(Result<Option<Vec<u8>>, Gone>),
    Sent(Result<Sent, SentFault>),
    Waited(Result<Option<WaitEnd>, WaitError>),
    Cancelled(Result<WaitEnd, Gone>),
    Fsynced(Result<(), LocalFsyncError>),
    Begun(Result<Cut, SnapshotError>),
    IdTaken(Result<(), IdRefused>),
    Reconfigured(Result<(), ConfigError>),
    Event(Option<Told>),
}

/// What came of a write that was let in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Written {
    pub(crate) end: Option<Offset>,
    pub(crate) is_wanted: bool,
    /// The context in which it was read, by its number.
    pub(crate) context: u64,
    pub(crate) panicked: bool,
}

/// The name in a call is nobody's any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Gone;

/// The writer broke.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Broken;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum AckFault {
    Gone,
    Dropped(DropReason),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SentFault {
    Gone,
    MoreThanLent { bytes: usize, unsent: u64 },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Cut {
    pub(crate) snapshot: u64,
    pub(crate) id: ReplicationId,
    pub(crate) offset: Offset,
}

/// An event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Told {
    WaitEnded { waiter: u64, end: WaitEnd },
    Dropped { replica: u64, reason: DropReason },
    SnapshotOver(u64),
    HistoryChanged(ReplicationId),
    IdWanted,
    GateClosed(NotEnoughReplicas),
    GateOpened { good: usize },
    SyncUnlikely(Forecast),
    SnapshotWanted { waiting: usize, all_take_end_mark: bool },
    SendSnapshot { replica: u64, cut: Cut, framing: Framing },
    KeepAlive(u64),
    Send(u64),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Forecast {
    pub(crate) duration: Duration,
    pub(crate) write_rate: u64,
    pub(crate) transfer_rate: Option<u64>,
    pub(crate) unsent: u64,
    pub(crate) limit: OutputLimit,
    pub(crate) needed: Option<OutputLimit>,
}

/// A report, apart from how much of the backlog is kept and from ages of bytes, which are bounded rather than exact.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figures {
    pub(crate) id: ReplicationId,
    pub(crate) previous: Option<(ReplicationId, Offset)>,
    pub(crate) end: Offset,
    pub(crate) is_kept: bool,
    pub(crate) backlog_capacity: usize,
    pub(crate) resume_pins: usize,
    pub(crate) pinned: u64,
    pub(crate) min_replicas: MinReplicas,
    pub(crate) good: usize,
    pub(crate) waiters: usize,
    pub(crate) local_fsynced: Option<Offset>,
    pub(crate) replicas: Vec<ReplicaFigures>,
    pub(crate) counts: Counts,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ReplicaFigures {
    pub(crate) peer: Peer,
    pub(crate) state: ReplicaState,
    pub(crate) acked: Option<Offset>,
    pub(crate) fsynced: Option<Offset>,
    pub(crate) unsent: u64,
    pub(crate) lag_bytes: Option<u64>,
    pub(crate) last_heard: Duration,
    pub(crate) last_ack: Option<Duration>,
    pub(crate) is_good: bool,
    pub(crate) over_soft_limit: Option<Duration>,
    pub(crate) held_back: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Counts {
    pub(crate) sync_full: u64,
    pub(crate) sync_partial_ok: u64,
    pub(crate) sync_partial_err: u64,
    pub(crate) dropped_by_limit: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) detached_clean: u64,
    pub(crate) detached_lost: u64,
}
