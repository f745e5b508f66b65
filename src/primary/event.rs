use core::time::Duration;

use crate::good_replicas::NotEnoughReplicas;
use crate::id::ReplicationId;
use crate::key::{ReplicaKey, SnapshotKey, WaiterKey};
use crate::offset::Offset;
use crate::output::OverLimit;
use crate::snapshots::{Cut, Framing, SyncForecast};
use crate::waiters::WaitEnd;

/// Something for the host to act on. Drain with [`Primary::poll_event`](crate::Primary::poll_event).
///
/// They come in the order of the variants here; replicas of one variant in order of arrival if one input is the
/// reason, else in the order of the inputs. None
/// names a replica after its [`Event::Dropped`] or after [`Primary::detach`](crate::Primary::detach), nor a waiter
/// after [`Primary::cancel_wait`](crate::Primary::cancel_wait).
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A pending [`Primary::wait`](crate::Primary::wait) is over: answer its caller. Those of one ack come by the
    /// number of replicas asked for, then by target.
    WaitEnded {
        /// Whose.
        waiter: WaiterKey,
        /// How, with the counts of the moment at which it ended.
        end: WaitEnd,
    },
    /// Close this replica's connection: the core has forgotten it already.
    Dropped {
        /// Who.
        replica: ReplicaKey,
        /// Why, with the figures.
        reason: DropReason,
    },
    /// Let the image go, or stop making it: nobody needs it any more.
    SnapshotOver {
        /// Which.
        snapshot: SnapshotKey,
    },
    /// A new id has taken the place of the current one, and nobody resumes by an earlier one.
    HistoryChanged {
        /// The id from now on.
        id: ReplicationId,
    },
    /// Draw a random id and hand it to [`Primary::supply_id`](crate::Primary::supply_id): the next change of
    /// history takes it.
    IdWanted,
    /// Writes are refused from now on: too few replicas are good.
    GateClosed(NotEnoughReplicas),
    /// Writes are let in again.
    GateOpened {
        /// Replicas that are good now.
        good: usize,
    },
    /// The sync that is wanted next is expected to fail by the output limit. It is tried all the same; say to people
    /// which settings would let it succeed.
    SyncUnlikely(SyncForecast),
    /// Call [`Primary::begin_snapshot`](crate::Primary::begin_snapshot). Comes again with each keep-alive
    /// while it has not been called.
    SnapshotWanted {
        /// Replicas that would share it.
        waiting: usize,
        /// Whether all of them take an end mark, so that nobody is left over from
        /// [`Framing::EndMarked`].
        all_take_end_mark: bool,
    },
    /// Send this replica the answer to its request (for Redis: [`wire::put_full_resync`]), the header and the
    /// image, then call [`Primary::handle_snapshot_sent`]. The stream's bytes wait meanwhile.
    ///
    /// [`wire::put_full_resync`]: crate::wire::put_full_resync
    /// [`Primary::handle_snapshot_sent`]: crate::Primary::handle_snapshot_sent
    SendSnapshot {
        /// To whom.
        replica: ReplicaKey,
        /// What it is an image of.
        cut: Cut,
        /// How its end is told.
        framing: Framing,
    },
    /// Send this replica a sign of life that is no part of the stream (for Redis: a newline). It waits for a
    /// snapshot.
    KeepAlive(ReplicaKey),
    /// There are bytes for this replica: [`Primary::write_to`](crate::Primary::write_to) or
    /// [`Primary::take_batch`](crate::Primary::take_batch). Not raised again until it has caught up, or has
    /// taken [`Config::max_send`](crate::Config::max_send) and is to go on.
    Send(ReplicaKey),
}

/// Why a replica was dropped, with the figures.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DropReason {
    /// It acknowledged bytes that it was never sent: its fault.
    #[error("it acknowledged offset {acked}, but was sent the stream only up to {lent}")]
    AckBeyondLent {
        /// What it claims to hold.
        acked: Offset,
        /// What it can hold at most.
        lent: Offset,
    },
    /// It says that more of the stream is on its disk than it has applied: its fault.
    #[error("it acknowledged offset {fsynced} as fsynced, but only {applied} as applied")]
    FsyncedBeyondApplied {
        /// What it claims to have fsynced.
        fsynced: Offset,
        /// What it claims to have applied.
        applied: Offset,
    },
    /// It reads too slowly.
    #[error(transparent)]
    OverLimit(OverLimit),
    /// Nothing was heard from it.
    #[error("nothing was heard from it for {silent:?}, the timeout is {timeout:?}")]
    Silent {
        /// Since its last ack or sign of life.
        silent: Duration,
        /// [`Config::replica_timeout`](crate::Config::replica_timeout).
        timeout: Duration,
    },
    /// It takes none of its snapshot.
    #[error("its snapshot made no progress for {stalled:?}, the timeout is {timeout:?}")]
    TransferStalled {
        /// Since the last progress.
        stalled: Duration,
        /// [`Config::replica_timeout`](crate::Config::replica_timeout).
        timeout: Duration,
    },
    /// The snapshot that it waited for failed.
    #[error("its snapshot failed")]
    SnapshotFailed,
    /// The snapshot that it waited for was not ready in time.
    #[error("its snapshot was not ready within {timeout:?}")]
    SnapshotTimedOut {
        /// [`Config::snapshot_timeout`](crate::Config::snapshot_timeout).
        timeout: Duration,
    },
    /// The history broke: it must learn the new id and start over.
    #[error("the history changed")]
    HistoryChanged,
}
