use core::time::Duration;

use super::Node;
use crate::acks::Level;
use crate::id::ReplicationId;
use crate::key::{Gone, Tag, WaiterKey};
use crate::offset::Offset;
use crate::replica::UpstreamReport;
use crate::time::Timestamp;
use crate::waiters::{Timeout, Wait, WaitEnded, WaitOutcome};

/// What a reader waits for: that this node has applied what a client wrote at the primary. The client carries id and offset
/// from there, so it reads its own writes anywhere, and the primary is not asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fence {
    /// The history that the write is in.
    pub id: ReplicationId,
    /// Its end in that.
    pub offset: Offset,
    /// For how long to wait.
    pub timeout: Timeout,
    /// The host's name for the reader.
    pub tag: Tag,
}

/// What came of a fence at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
#[non_exhaustive]
pub enum FenceOutcome {
    /// It is over.
    Ended(FenceEnd),
    /// [`NodeEvent::FenceEnded`](crate::NodeEvent::FenceEnded) tells of its end.
    Pending(WaiterKey),
}

/// How a fence ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum FenceEnd {
    /// It is applied: read.
    Applied,
    /// Not in time.
    TimedOut,
    /// The host cancelled it.
    Cancelled,
    /// This node is in another history now, which may never have had it.
    HistoryChanged,
}

/// Why nobody waits. Nothing has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FenceError {
    /// This node may never get there: it is in another history, or it leads this one and has not written so much.
    #[error("offset {offset} of history {id} is not known here")]
    OtherHistory {
        /// The history asked for.
        id: ReplicationId,
        /// The offset in it.
        offset: Offset,
    },
    /// As many wait as may.
    #[error("{max} readers wait, the most allowed")]
    TooMany {
        /// [`Config::max_waiters`](crate::Config::max_waiters).
        max: usize,
    },
}

/// How old what is read here may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Staleness {
    /// Bytes that have come, and are not applied yet. What is still on its way is not known here.
    pub bytes: u64,
    /// All that the primary had sent so long ago is applied. With heartbeats it is about one period on a quiet link.
    pub age: Duration,
}

impl Node {
    /// Waits until a place in a history is applied here: over at once, or pending until
    /// [`NodeEvent::FenceEnded`](crate::NodeEvent::FenceEnded).
    ///
    /// # Errors
    ///
    /// [`FenceError`].
    pub fn fence(&mut self, fence: Fence, now: Timestamp) -> Result<FenceOutcome, FenceError> {
        let now = self.clamped(now);
        let Fence { id, offset, timeout, tag } = fence;
        if !self.primary.may_reach(id, offset) {
            return Err(FenceError::OtherHistory { id, offset });
        }
        self.reach_fences();
        let wait = Wait { target: offset, replicas: 0, level: Level::Applied, local: true, timeout, tag };
        let max = self.primary.config().max_waiters;
        match self.fences.wait(wait, &self.nobody, now).map_err(|_| FenceError::TooMany { max })? {
            WaitOutcome::Ended(end) => Ok(FenceOutcome::Ended(end.how.into())),
            WaitOutcome::Pending(waiter) => Ok(FenceOutcome::Pending(waiter)),
        }
    }

    /// Ends a pending fence now, and takes back an event of its end that was not taken yet: then it tells how it had ended.
    ///
    /// # Errors
    ///
    /// [`Gone`] once its end was told.
    pub fn cancel_fence(&mut self, waiter: WaiterKey) -> Result<FenceEnd, Gone<WaiterKey>> {
        Ok(self.fences.cancel(waiter, &self.nobody)?.how.into())
    }

    /// How old what is read here may be; `None` if nothing is known of it, since the node has not been in step yet. A node
    /// that leads has the newest there is.
    pub fn staleness(&self, now: Timestamp) -> Option<Staleness> {
        match &self.replica {
            None => Some(Staleness { bytes: 0, age: Duration::ZERO }),
            Some(replica) => {
                let UpstreamReport { received, staleness, .. } = replica.report(now);
                let bytes = received.map_or(0, |received| received.saturating_since(self.primary.end()));
                Some(Staleness { bytes, age: staleness? })
            }
        }
    }

    pub(super) fn reach_fences(&mut self) {
        let applied = self.primary.end();
        self.fences
            .handle_local_fsync(Some(applied), &self.nobody)
            .expect("the end moves back only with a change of history, which ends all fences before");
    }

    /// What pending fences wait for may never come.
    pub(super) fn end_fences(&mut self) {
        self.fences.handle_local_fsync(None, &self.nobody).expect("no end at all is no step back");
    }
}

impl From<WaitEnded> for FenceEnd {
    fn from(how: WaitEnded) -> Self {
        match how {
            WaitEnded::Satisfied => Self::Applied,
            WaitEnded::TimedOut => Self::TimedOut,
            WaitEnded::Cancelled => Self::Cancelled,
            WaitEnded::NoLongerPrimary | WaitEnded::NoLocalFsync => Self::HistoryChanged,
        }
    }
}
