use core::time::Duration;

use crate::acks::Ack;
use crate::key::LinkKey;
use crate::offset::Offset;

/// Something for the host to do at, or to know of, the link to the primary that it follows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum UpstreamEvent {
    /// Close this connection, or stop opening it: it is forgotten already.
    Close(CloseReason),
    /// Open a connection to the primary, then call [`Replica::handle_connected`](crate::Replica::handle_connected), or
    /// [`handle_disconnected`](crate::Replica::handle_disconnected) if that fails.
    Connect,
    /// Send a sign of life that is no ack (for Redis: [`wire::put_keep_alive`](crate::wire::put_keep_alive)): the host
    /// loads a snapshot for long.
    KeepAlive,
    /// From now on the stream is followed: it was resumed, or its snapshot was loaded.
    InStep,
    /// Send this over the link (for Redis: [`wire::put_ack`](crate::wire::put_ack)).
    Ack(Ack),
}

/// Why a link was given up by this side.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// No connection came about in time.
    #[error("no connection within {timeout:?}")]
    NotConnected {
        /// [`ReplicaConfig::answer_timeout`](crate::ReplicaConfig::answer_timeout).
        timeout: Duration,
    },
    /// The primary stopped in the middle of the handshake.
    #[error("no answer for {silent:?} before the resume request was answered, the timeout is {timeout:?}")]
    NoAnswer {
        /// Since its last word.
        silent: Duration,
        /// [`ReplicaConfig::answer_timeout`](crate::ReplicaConfig::answer_timeout), or
        /// [`ReplicaConfig::timeout`](crate::ReplicaConfig::timeout) once it was asked for the stream.
        timeout: Duration,
    },
    /// Nothing came of the snapshot or of the stream.
    #[error("nothing came from the primary for {silent:?}, the timeout is {timeout:?}")]
    Silent {
        /// Since its last byte.
        silent: Duration,
        /// [`ReplicaConfig::timeout`](crate::ReplicaConfig::timeout).
        timeout: Duration,
    },
    /// The node follows nobody any more, or another primary.
    #[error("the node does not follow this primary any more")]
    NotFollowing,
}

/// An input that does not fit the link's state. Nothing has changed, but where the primary is to blame the link is to be
/// closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// The link was given up, or is none of this replica's: what came late is of no use.
    #[error("{0} is gone")]
    Gone(LinkKey),
    /// The host skipped a step.
    #[error("{link} is not at this step")]
    OutOfStep {
        /// Of which link.
        link: LinkKey,
    },
    /// The primary's fault: it goes on, though nothing was asked for that could be gone on with.
    #[error("the primary continues a stream that it was not asked to continue")]
    NothingToResume,
    /// The primary's fault: forty zeros name no history.
    #[error("the primary names no history")]
    NoId,
    /// The host's fault: more was applied than was received.
    #[error("applying {applied} bytes would go past what was received, offset {received}")]
    BeyondReceived {
        /// Bytes of the unit.
        applied: usize,
        /// How far the stream was received.
        received: Offset,
    },
    /// The host's fault: more is on its disk than was applied.
    #[error("the own disk is said to hold offset {fsynced}, but only {applied} was applied")]
    FsyncedBeyondApplied {
        /// What the host told.
        fsynced: Offset,
        /// How far the stream was applied.
        applied: Offset,
    },
    /// The primary's fault: the stream goes past the last offset.
    #[error("{bytes} bytes after offset {received} go past the last offset")]
    StreamFull {
        /// How many came.
        bytes: u64,
        /// How far the stream was received.
        received: Offset,
    },
}
