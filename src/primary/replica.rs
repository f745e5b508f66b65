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
    /// Since when it has been over the soft output limit, without a break.
    pub(crate) over_since: Option<Timestamp>,
    /// When it was last heard from, or came online (R144).
    pub(crate) heard: Timestamp,
    /// When it last acknowledged.
    pub(crate) acked_at: Option<Timestamp>,
    /// The highest age that a byte had when it was acknowledged, or of one that is not yet.
    pub(crate) highest_age: Duration,
    /// Where its part of the stream began: what it holds at least, once it has its snapshot.
    pub(crate) began_at: Offset,
    /// `None` before it has its image and after its sync has succeeded, and for one that resumed.
    pub(crate) catch_up: Option<CatchUp>,
    pub(crate) batch: BatchPlace,
    /// Whether it stands among those whose next bytes are to be told of.
    pub(crate) queued: bool,
}

/// What is left of a sync when the image was sent: it has succeeded once what was written meanwhile is acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CatchUp {
    pub(crate) until: Offset,
    /// When the sync's cut was.
    pub(crate) cut_at: Timestamp,
}

/// How far its life has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    /// Until a snapshot begins, which is not before the given moment.
    Waiting {
        not_before: Option<Timestamp>,
    },
    /// Until its snapshot is ready.
    Preparing(SnapshotKey),
    /// Until its snapshot is sent.
    Receiving {
        snapshot: SnapshotKey,
        framing: Framing,
        begun: Timestamp,
        progress: Timestamp,
        /// Bytes of the image.
        sent: u64,
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
            stage: Stage::Waiting { not_before: None },
            cursor: None,
            lent: Offset::ZERO,
            credited_to: Offset::ZERO,
            over_since: None,
            heard: now,
            acked_at: None,
            highest_age: Duration::ZERO,
            began_at: Offset::ZERO,
            catch_up: None,
            batch: BatchPlace::Home(Batch::default()),
            queued: false,
        }
    }

    /// Pins the stream for it: all before the cursor is with it, or comes in its snapshot.
    pub(crate) fn start_at(&mut self, cursor: Cursor) {
        (self.lent, self.began_at) = (cursor.offset(), cursor.offset());
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
            Stage::Waiting { .. } | Stage::AwaitingAck | Stage::Online => None,
        }
    }

    /// Whether it waits for a snapshot, and may be given one now.
    pub(crate) fn may_sync(&self, now: Timestamp) -> bool {
        self.held_back_until().is_some_and(|until| until.is_none_or(|until| until <= now))
    }

    /// Of one that waits for a snapshot: until when it gets none.
    pub(crate) const fn held_back_until(&self) -> Option<Option<Timestamp>> {
        match self.stage {
            Stage::Waiting { not_before } => Some(not_before),
            _ => None,
        }
    }

    /// Whether its snapshot is being made or sent.
    pub(crate) const fn is_in_transfer(&self) -> bool {
        matches!(self.stage, Stage::Preparing(_) | Stage::Receiving { .. })
    }

    /// Whether its sync has begun, and may still fail.
    pub(crate) const fn is_syncing(&self) -> bool {
        self.is_in_transfer() || self.catch_up.is_some()
    }

    /// Whether it has its snapshot.
    pub(crate) const fn is_online(&self) -> bool {
        matches!(self.stage, Stage::AwaitingAck | Stage::Online)
    }

    /// Whether it is told that the link lives: before its transfer only (R86), and never inside the stream.
    pub(crate) const fn is_kept_alive(&self) -> bool {
        matches!(self.stage, Stage::Waiting { .. } | Stage::Preparing(_))
    }

    pub(crate) const fn takes_end_mark(&self) -> bool {
        takes_end_mark(&self.peer)
    }

    /// When it is dropped if nothing happens. A snapshot in the making has a deadline of its own, and one
    /// that does not acknowledge (SYNC) can't be told from a quiet one (R151).
    pub(crate) fn deadline(&self, timeout: Duration) -> Option<Timestamp> {
        match self.stage {
            Stage::Waiting { .. } | Stage::Preparing(_) => None,
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
            Stage::Waiting { .. } => ReplicaState::WaitingForSnapshot,
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
