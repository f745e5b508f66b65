use super::{Primary, Role};
use crate::key::{Gone, WaiterKey};
use crate::offset::Offset;
use crate::time::Timestamp;
use crate::waiters::{FsyncWentBack, Wait, WaitEnd, WaitError, WaitOutcome};

/// Why what the host told of its own disk was refused. Nothing has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LocalFsyncError {
    /// What was on the disk is not any more.
    #[error(transparent)]
    WentBack(#[from] FsyncWentBack),
    /// More than there is.
    #[error("the own disk is said to hold offset {fsynced}, the stream ends at {end}")]
    BeyondEnd {
        /// What the host told.
        fsynced: Offset,
        /// The end of the stream.
        end: Offset,
    },
}

impl Primary {
    /// Waits until replicas hold the stream up to a target: over at once, or pending until [`Event::WaitEnded`].
    ///
    /// Replicas that are online and have acknowledged the target count, at [`Wait::level`]. One that becomes pending
    /// has all replicas asked to acknowledge, with the next [`Primary::poll_event`], once however many wait
    /// (R172). What is told is never more than what was acknowledged (and no proof against the loss of this node and
    /// those replicas).
    ///
    /// Connections count, as in Redis: a node that is back while its old one is half open counts twice for what it had
    /// acknowledged there, up to [`Config::replica_timeout`], unless a host that knows its nodes apart
    /// [detaches](Primary::detach) the old one first.
    ///
    /// # Errors
    ///
    /// [`WaitError`].
    ///
    /// [`Config::replica_timeout`]: crate::Config::replica_timeout
    /// [`Event::WaitEnded`]: crate::Event::WaitEnded
    pub fn wait(&mut self, wait: Wait, now: Timestamp) -> Result<WaitOutcome, WaitError> {
        self.advance_clock(now);
        if self.role.is_following() {
            return Err(WaitError::Following);
        }
        let outcome = self.waiters.wait(wait, &self.acks, self.now)?;
        self.outbox.acks_wanted |= wait.replicas > 0 && matches!(outcome, WaitOutcome::Pending(_));
        Ok(outcome)
    }

    /// Ends a pending wait now, with the counts of this moment, and takes back an event of its end that was not taken
    /// yet: then it tells how it had ended. For a caller that is gone or wants no more.
    ///
    /// # Errors
    ///
    /// [`Gone`] once its end was told.
    pub fn cancel_wait(&mut self, waiter: WaiterKey) -> Result<WaitEnd, Gone<WaiterKey>> {
        self.waiters.cancel(waiter, &self.acks)
    }

    /// Ends all waits as [`WaitEnded::NoLongerPrimary`](crate::WaitEnded::NoLongerPrimary): for a host that gives the
    /// role up.
    pub fn end_waits(&mut self, now: Timestamp) {
        self.advance_clock(now);
        self.waiters.end_all(&self.acks);
    }

    /// The host's own disk holds the stream up to `upto`; `None` once it does not sync any more. It is never
    /// inferred: bytes may be in the stream that no file ever holds.
    ///
    /// A write that nobody wants the stream of ([`Written::end`](crate::Written::end) is `None`) moves no offset, so what
    /// was told before would vouch for it. A host whose clients wait for its disk tells `None` with such a write, and the
    /// end again once all is synced.
    ///
    /// # Errors
    ///
    /// [`LocalFsyncError`].
    pub fn handle_local_fsync(
        &mut self,
        upto: Option<Offset>,
        now: Timestamp,
    ) -> Result<(), LocalFsyncError> {
        self.advance_clock(now);
        let end = self.end();
        if let Some(fsynced) = upto.filter(|fsynced| *fsynced > end) {
            return Err(LocalFsyncError::BeyondEnd { fsynced, end });
        }
        Ok(self.waiters.handle_local_fsync(upto, &self.acks)?)
    }

    /// Puts the one request for acks into the stream, if somebody waits. Tells whether it did.
    pub(super) fn request_acks(&mut self) -> bool {
        if self.role != Role::Leading {
            return false; // it would move the end that is waited for (R173), or that of another's stream (R9)
        }
        let is_wanted = core::mem::take(&mut self.outbox.acks_wanted);
        let request = self.config.ack_request.clone().filter(|_| is_wanted && self.acks.online() > 0);
        request.is_some_and(|request| self.append_own(request))
    }
}
