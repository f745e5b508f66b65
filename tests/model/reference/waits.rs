use headwater::{
    FsyncWentBack, Level, LocalFsyncError, Offset, Timeout, Wait, WaitEnd, WaitEnded, WaitError,
};

use super::{Gone, Output, Reference, Waiter, at};

impl Reference {
    /// R166: over at once if all is there or if it may not block, with the counts of this moment.
    pub(super) fn wait(&mut self, wait: Wait) -> Result<Option<WaitEnd>, WaitError> {
        if wait.local && self.local_fsynced.is_none() {
            return Err(WaitError::NoLocalFsync);
        }
        if self.is_satisfied(&wait) {
            return Ok(Some(self.end_of(&wait, WaitEnded::Satisfied)));
        }
        if wait.timeout == Timeout::Immediate {
            return Ok(Some(self.end_of(&wait, WaitEnded::TimedOut)));
        }
        let max = self.config.max_waiters;
        if self.waiters.len() + self.outbox.ended.len() >= max {
            return Err(WaitError::TooManyWaiters { max });
        }
        let deadline = match wait.timeout {
            Timeout::After(span) => self.now.checked_add(span),
            _ => None,
        };
        self.waiters.push(Waiter { wait, deadline });
        self.outbox.acks_wanted |= wait.replicas > 0;
        Ok(None)
    }

    /// One whose end was not told yet is told of it here.
    pub(super) fn cancel_wait(&mut self, name: u64) -> Result<WaitEnd, Gone> {
        if let Some(index) = self.outbox.ended.iter().position(|(ended, _)| *ended == name) {
            return Ok(self.outbox.ended.remove(index).1);
        }
        let index = self.waiters.iter().position(|waiter| waiter.wait.tag.0 == name).ok_or(Gone)?;
        let waiter = self.waiters.remove(index);
        Ok(self.end_of(&waiter.wait, WaitEnded::Cancelled))
    }

    /// R169: all, as they came.
    pub(super) fn end_waits(&mut self) -> Output {
        self.end_those(WaitEnded::NoLongerPrimary, |_, _| true, |_| 0);
        Output::Nothing
    }

    /// R178: only what the host tells. R177: all who asked for a disk that does not sync any more end, as they came.
    pub(super) fn fsync_locally(&mut self, upto: Option<Offset>) -> Result<(), LocalFsyncError> {
        let end = at(self.end());
        if let Some(fsynced) = upto.filter(|fsynced| *fsynced > end) {
            return Err(LocalFsyncError::BeyondEnd { fsynced, end });
        }
        if let (Some(told), Some(before)) = (upto, self.local_fsynced.map(at))
            && told < before
        {
            return Err(LocalFsyncError::WentBack(FsyncWentBack { told, before }));
        }
        self.local_fsynced = upto.map(Offset::get);
        if upto.is_some() {
            let satisfied = |reference: &Self, waiter: &Waiter| reference.is_satisfied(&waiter.wait);
            self.end_those(WaitEnded::Satisfied, satisfied, |waiter| waiter.wait.target);
        } else {
            self.end_those(WaitEnded::NoLocalFsync, |_, waiter| waiter.wait.local, |_| 0);
        }
        Ok(())
    }

    /// Those who wait for applied bytes first, then the fewest replicas, then the lowest target, then as they came.
    pub(super) fn end_satisfied(&mut self) {
        let satisfied = |reference: &Self, waiter: &Waiter| reference.is_satisfied(&waiter.wait);
        self.end_those(WaitEnded::Satisfied, satisfied, |Waiter { wait, .. }| {
            (wait.level != Level::Applied, wait.replicas, wait.target)
        });
    }

    /// A wait ends at its deadline, the earliest first.
    pub(super) fn end_overdue(&mut self) {
        let now = self.now;
        let is_over = |_: &Self, waiter: &Waiter| waiter.deadline.is_some_and(|deadline| deadline <= now);
        self.end_those(WaitEnded::TimedOut, is_over, |waiter| waiter.deadline);
    }

    fn end_those<K: Ord>(
        &mut self,
        how: WaitEnded,
        is_over: impl Fn(&Self, &Waiter) -> bool,
        order: impl Fn(&Waiter) -> K,
    ) {
        let (mut over, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiters).into_iter().partition(|waiter| is_over(self, waiter));
        self.waiters = others;
        over.sort_by_key(order);
        for Waiter { wait, .. } in over {
            let end = self.end_of(&wait, how);
            self.outbox.ended.push((wait.tag.0, end));
        }
    }

    fn is_satisfied(&self, wait: &Wait) -> bool {
        self.holding(wait.target, wait.level) >= wait.replicas
            && (!wait.local || self.is_on_disk(wait.target))
    }

    fn end_of(&self, wait: &Wait, how: WaitEnded) -> WaitEnd {
        WaitEnd { acked: self.holding(wait.target, wait.level), local: self.is_on_disk(wait.target), how }
    }

    fn is_on_disk(&self, target: Offset) -> bool {
        self.local_fsynced.is_some_and(|fsynced| at(fsynced) >= target)
    }
}
