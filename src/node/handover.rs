use core::time::Duration;

use super::Node;
use super::event::NodeEvent;
use crate::key::{Gone, ReplicaKey};
use crate::primary::Role;
use crate::time::Timestamp;

/// How a primary hands over on purpose (FAILOVER).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Handover {
    /// To whom; `None` is to whoever has everything first.
    pub to: Option<ReplicaKey>,
    /// For how long units are held up at most; `None` is as long as it takes.
    pub timeout: Option<Duration>,
}

/// Why no handover began. Nothing has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HandoverError {
    /// It leads nobody.
    #[error("this node follows another one")]
    Following,
    /// One is under way.
    #[error("a handover is under way")]
    UnderWay,
    /// The host named a replica that is not attached.
    #[error(transparent)]
    Gone(#[from] Gone<ReplicaKey>),
    /// Nobody is attached.
    #[error("there is no replica to hand over to")]
    NoReplica,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct UnderWay {
    to: Option<ReplicaKey>,
    pub(super) deadline: Option<Timestamp>,
    /// The host was told, and is about to follow.
    is_ready: bool,
}

impl Node {
    /// Holds up new units, and what the core itself puts into the stream, until a replica has acknowledged the end:
    /// [`NodeEvent::HandoverReady`]. Then the host lets that one lead (for Redis: by
    /// [`Introduction::failover`](crate::wire::Introduction::failover)), and has this node [follow](Node::follow) it.
    ///
    /// Should that fail, [`Node::cancel_handover`] before `follow`, or [`Node::promote`] after it. If the deadline
    /// comes first, or the replica goes, units are let in again: [`NodeEvent::HandoverFailed`]. Of a failure that was not
    /// taken when the next handover begins nobody is told.
    ///
    /// Once the replica has answered, it leads, even if the link breaks at once: don't promote this node then. If the link
    /// breaks with the request sent and no answer there, it may lead or not; ask it before this node leads again.
    ///
    /// # Errors
    ///
    /// [`HandoverError`].
    pub fn begin_handover(&mut self, handover: Handover, now: Timestamp) -> Result<(), HandoverError> {
        let now = self.clamped(now);
        match self.primary.role() {
            Role::Leading => {}
            Role::HandingOver => return Err(HandoverError::UnderWay),
            Role::Following { .. } => return Err(HandoverError::Following),
        }
        if let Some(gone) = handover.to.filter(|to| !self.primary.is_attached(*to)) {
            return Err(Gone(gone).into());
        }
        if !self.primary.has_replicas() {
            return Err(HandoverError::NoReplica);
        }
        self.primary.begin_handover(now);
        self.handover_failed = false; // that was another one
        let deadline = handover.timeout.and_then(|timeout| now.checked_add(timeout));
        self.handover = Some(UnderWay { to: handover.to, deadline, is_ready: false });
        Ok(())
    }

    /// Lets units in again. Without a handover this changes nothing.
    pub fn cancel_handover(&mut self) {
        if self.handover.take().is_some() {
            self.primary.end_handover();
        }
    }

    pub(super) fn poll_handover(&mut self) -> Option<NodeEvent> {
        if core::mem::take(&mut self.handover_failed) {
            return Some(NodeEvent::HandoverFailed);
        }
        let UnderWay { to, is_ready: false, .. } = self.handover? else {
            return None;
        };
        if to.is_some_and(|to| !self.primary.is_attached(to)) || !self.primary.has_replicas() {
            self.handover = None;
            self.primary.end_handover();
            return Some(NodeEvent::HandoverFailed);
        }
        let ready = match to {
            Some(to) => self.primary.has_all(to).then_some(to),
            None => self.primary.first_with_all(),
        }?;
        // Whoever takes over has everything: the deadline was about that.
        self.handover = Some(UnderWay { to: Some(ready), deadline: None, is_ready: true });
        Some(NodeEvent::HandoverReady(ready))
    }

    /// R235.
    pub(super) fn handle_handover_timeout(&mut self, now: Timestamp) {
        let is_over = |handover: &mut UnderWay| handover.deadline.is_some_and(|deadline| deadline <= now);
        if self.handover.take_if(is_over).is_some() {
            self.primary.end_handover();
            self.handover_failed = true;
        }
    }
}
