use headwater::{FullReason, Wanted};

use super::Host;
use crate::env::Env;
use crate::fault::Fault;

/// How a run's replicas came to be in step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Syncs {
    pub(crate) replicas: usize,
    pub(crate) full: u64,
    pub(crate) resumed: u64,
    /// Full ones that ended, or never began, before the replica had all of it.
    pub(crate) failed: u64,
    /// Requests from before what the backlog covers.
    pub(crate) gaps: u64,
    /// Replicas that were dropped by the output limit.
    pub(crate) over_limit: u64,
}

/// What the model alone says of a request, whatever the primary reports of its backlog.
impl Host {
    /// L4: what was promised to be kept is resumed from, unless that would cross the output limit.
    pub(super) fn surely_resumes(&self, wanted: Wanted, env: &Env) -> bool {
        let Wanted::After { id, offset } = wanted else { return false };
        let (end, is_current) = (self.end(), id == env.model.id() && self.is_kept && !env.model.has_parted());
        let at =
            usize::try_from(offset.get()).ok().filter(|at| (self.surely_kept_from(end)..=end).contains(at));
        is_current && at.is_some_and(|at| !self.is_too_far_behind(end - at))
    }

    /// S2: nobody goes on from an offset that no byte of this history has reached.
    pub(super) fn check_continue(&self, wanted: Wanted, env: &mut Env) {
        let Wanted::After { id, offset } = wanted else { panic!("S2: there is nothing to go on from") };
        assert_eq!(id, env.model.id(), "S2: it holds another history");
        assert!(offset.get() <= env.model.end() as u64, "S2: {offset} is yet to be written");
        let is_busy = self.busy_transfers() >= self.config().max_transfers;
        if is_busy {
            // L6: limits on full syncs are none of its business.
            env.journal.count(Fault::ResumedAmongTransfers);
        }
    }

    /// L5: only one that was away for longer than the backlog covers is resynced as too old.
    pub(super) fn note_gap(&mut self, reason: FullReason) {
        self.gaps += u64::from(matches!(reason, FullReason::TooOld { .. }));
    }

    pub(crate) fn syncs(&self, replicas: usize) -> Syncs {
        Syncs {
            replicas,
            full: self.expected.sync_full,
            resumed: self.expected.sync_partial_ok,
            failed: self.failed_syncs,
            gaps: self.gaps,
            over_limit: self.expected.dropped_by_limit,
        }
    }

    fn is_too_far_behind(&self, behind: usize) -> bool {
        self.most_behind().is_some_and(|most| behind as u64 > most)
    }
}
