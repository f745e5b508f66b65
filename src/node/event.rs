use super::fence::FenceEnd;
use super::lost::Lost;
use crate::key::{LinkKey, ReplicaKey, WaiterKey};
use crate::primary::Event;
use crate::replica::UpstreamEvent;

/// Something for the host of a [`Node`](crate::Node) to act on. They come in the order of the variants here.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum NodeEvent {
    /// A pending [`Node::fence`](crate::Node::fence) is over: let that reader read, or tell it why not.
    FenceEnded {
        /// Whose.
        waiter: WaiterKey,
        /// How.
        end: FenceEnd,
    },
    /// The primary that is followed now goes on from elsewhere. What it may never have had will be gone once its snapshot is
    /// loaded: save it, or tell somebody. Not told of what was not counted: if [`Node::held`](crate::Node::held) is `None`
    /// before it follows, all its data may be lost, and the host alone knows whether there is some.
    Diverged(LinkKey, Lost),
    /// Something about the link to the primary.
    Upstream(LinkKey, UpstreamEvent),
    /// The replica has everything, and units are held up: let it lead, and follow it.
    HandoverReady(ReplicaKey),
    /// No replica had everything in time, or the one that was to take over is gone. Units are let in again.
    HandoverFailed,
    /// Something about this node's own replicas and waiters.
    Primary(Event),
}
