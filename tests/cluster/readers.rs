use headwater::{Fence, FenceEnd, FenceOutcome, Tag, Timeout, WaiterKey};

use crate::fault::Fault;
use crate::host::{Host, Reader};
use crate::world::World;

impl World {
    /// A client that wrote somewhere reads here.
    pub(crate) fn fence(&mut self, host: usize, writer: usize) {
        let Host { node, state, .. } = &self.hosts[writer];
        let (Some(held), state) = (node.held(), *state) else { return };
        let timeout = self.draw_timeout();
        let fence = Fence { id: held.id, offset: held.offset, timeout, tag: Tag(self.drawn) };
        let now = self.timestamp(host);
        self.note(format_args!("{host}: {fence:?}"));
        match self.hosts[host].node.fence(fence, now) {
            Ok(FenceOutcome::Ended(end)) => self.judge_fence(host, fence, state, end),
            Ok(FenceOutcome::Pending(waiter)) => {
                let deadline = self.hosts[host].deadline(timeout, now);
                let known = self.hosts[host].fences.insert(waiter, Reader { fence, state, deadline });
                assert!(known.is_none(), "one reader, one name");
            }
            Ok(outcome) => panic!("{outcome:?} is news"),
            Err(_) => self.journal.count(Fault::FenceRefused),
        }
    }

    pub(crate) fn draw_timeout(&mut self) -> Timeout {
        match self.rng.within(0..=9) {
            0 => Timeout::Immediate,
            1..=4 => Timeout::Never,
            _ => Timeout::After(self.rng.scaled_millis(1..=30_000)),
        }
    }

    /// Each fence ends once.
    pub(crate) fn end_fence(&mut self, host: usize, waiter: WaiterKey, end: FenceEnd) {
        let ended = self.hosts[host].fences.remove(&waiter);
        let Reader { fence, state, deadline } = ended.expect("a fence ends once");
        let is_due = self.hosts[host].may_be_over(deadline);
        assert!(
            end != FenceEnd::TimedOut || is_due,
            "node {host} ends a fence at {:?}, before {deadline:?}",
            self.now
        );
        self.judge_fence(host, fence, state, end);
    }

    pub(crate) fn cancel_fence(&mut self, host: usize) {
        let Some(waiter) = self.hosts[host].fences.keys().next().copied() else { return };
        let end = self.hosts[host].node.cancel_fence(waiter).expect("its end was not told");
        self.end_fence(host, waiter, end);
    }

    /// It is applied only where the data has it.
    fn judge_fence(&mut self, host: usize, fence: Fence, state: crate::truth::State, end: FenceEnd) {
        let fault = match end {
            FenceEnd::Applied => Fault::FenceApplied,
            FenceEnd::TimedOut => Fault::FenceTimedOut,
            FenceEnd::Cancelled => Fault::FenceCancelled,
            FenceEnd::HistoryChanged => Fault::FenceHistoryChanged,
            end => panic!("{end:?} has no reason"),
        };
        self.journal.count(fault);
        let has_it = self.truth.includes(self.hosts[host].state, state);
        assert!(end != FenceEnd::Applied || has_it, "node {host} does not hold what {fence:?} waits for");
    }
}
