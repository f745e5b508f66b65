use core::time::Duration;

use super::batch::Batch;
use super::event::DropReason;
use super::peer::Peer;
use super::report::ReplicaState;
use crate::backlog::Cursor;
use crate::key::SnapshotKey;
use crate::offset::Offset;
use crate::snapshots::Framing;
use crate::time::Timestamp;

/// One attached replica.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) peer: Peer,
    /// Replicas are told of in the order in which they came, which is not that of their places.
    pub(crate) arrival: u64,
    pub(crate) stage: Stage,
    /// From where the stream is still to be sent; `None` before its snapshot begins.
    pub(crate) cursor: Option<Cursor>,
    /// The highest offset that it can have received.
    pub(crate) lent: Offset,
    /// What it was handed at attach, by a resume, is not charged to it: it would be dropped again for ever.
    pub(crate) credited_to: Offset,
    /// When it was last heard from, or came online (R144).
    pub(crate) heard: Timestamp,
    pub(crate) batch: BatchPlace,
    /// Whether it stands among those whose next bytes are to be told of.
    pub(crate) queued: bool,
}

/// How far its life has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    /// Until a snapshot begins.
    Waiting,
    /// Until its snapshot is ready.
    Preparing(SnapshotKey),
    /// Until its snapshot is sent.
    Receiving {
        snapshot: SnapshotKey,
        framing: Framing,
        progress: Timestamp,
        /// An ack that comes early opens the stream all the same, later.
        acked: bool,
    },
    /// Until its first ack: a stream glued to an end mark would hide it (R89).
    AwaitingAck,
    Online,
}

/// At most one batch per replica is out, so that its buffers are used again.
#[derive(Debug)]
pub(crate) enum BatchPlace {
    Home(Batch),
    Out,
}

impl Replica {
    pub(crate) fn new(peer: Peer, arrival: u64, now: Timestamp) -> Self {
        Self {
            peer,
            arrival,
            stage: Stage::Waiting,
            cursor: None,
            lent: Offset::ZERO,
            credited_to: Offset::ZERO,
            heard: now,
            batch: BatchPlace::Home(Batch::default()),
            queued: false,
        }
    }

    /// Pins the stream for it: all before the cursor is with it, or comes in its snapshot.
    pub(crate) fn start_at(&mut self, cursor: Cursor) {
        self.lent = cursor.offset();
        self.cursor = Some(cursor);
    }

    /// From where unsent bytes count against the output limit.
    pub(crate) fn charged_from(&self) -> Option<Offset> {
        self.cursor.as_ref().map(|cursor| cursor.offset().max(self.credited_to))
    }

    /// Whether its stream may be sent, and none of it is out in a batch.
    pub(crate) const fn is_open(&self) -> bool {
        matches!((&self.stage, &self.batch), (Stage::Online, BatchPlace::Home(_)))
    }

    /// Whether a batch is the one that is out.
    pub(crate) fn has_lent(&self, batch: &Batch) -> bool {
        matches!(self.batch, BatchPlace::Out) && batch.start() == self.sent() && batch.end() <= self.lent
    }

    /// How far it has been sent the stream.
    pub(crate) fn sent(&self) -> Offset {
        self.cursor.as_ref().map_or(Offset::ZERO, Cursor::offset)
    }

    pub(crate) const fn snapshot(&self) -> Option<SnapshotKey> {
        match self.stage {
            Stage::Preparing(snapshot) | Stage::Receiving { snapshot, .. } => Some(snapshot),
            Stage::Waiting | Stage::AwaitingAck | Stage::Online => None,
        }
    }

    /// Whether it waits for a snapshot to begin.
    pub(crate) fn waits(&self) -> bool {
        self.stage == Stage::Waiting
    }

    /// Whether it is told that the link lives: before its transfer only (R86), and never inside the stream.
    pub(crate) const fn is_kept_alive(&self) -> bool {
        matches!(self.stage, Stage::Waiting | Stage::Preparing(_))
    }

    pub(crate) const fn takes_end_mark(&self) -> bool {
        takes_end_mark(&self.peer)
    }

    /// When it is dropped if nothing happens. A snapshot in the making has a deadline of its own, and one
    /// that does not acknowledge (SYNC) can't be told from a quiet one (R151).
    pub(crate) fn deadline(&self, timeout: Duration) -> Option<Timestamp> {
        match self.stage {
            Stage::Waiting | Stage::Preparing(_) => None,
            Stage::Receiving { progress, .. } => progress.just_past(timeout),
            Stage::AwaitingAck | Stage::Online if self.peer.acks => self.heard.just_past(timeout),
            Stage::AwaitingAck | Stage::Online => None,
        }
    }

    /// Why it is dropped at its deadline.
    pub(crate) fn lateness(&self, timeout: Duration, now: Timestamp) -> DropReason {
        match self.stage {
            Stage::Receiving { progress, .. } => {
                DropReason::TransferStalled { stalled: now.saturating_since(progress), timeout }
            }
            _ => DropReason::Silent { silent: now.saturating_since(self.heard), timeout },
        }
    }

    pub(crate) const fn state(&self) -> ReplicaState {
        match self.stage {
            Stage::Waiting => ReplicaState::WaitingForSnapshot,
            Stage::Preparing(_) => ReplicaState::PreparingSnapshot,
            Stage::Receiving { framing: Framing::Sized, .. } => ReplicaState::ReceivingSized,
            Stage::Receiving { framing: Framing::EndMarked, .. } => ReplicaState::ReceivingEndMarked,
            Stage::AwaitingAck | Stage::Online => ReplicaState::Online,
        }
    }
}

/// The stream behind an end mark waits for an ack, so one that never acknowledges can't have that.
pub(crate) const fn takes_end_mark(peer: &Peer) -> bool {
    peer.takes_end_mark && peer.acks
}
