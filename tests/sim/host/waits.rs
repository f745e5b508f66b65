use std::collections::VecDeque;

use headwater::{
    Level, Offset, Timeout, Timestamp, Wait, WaitEnd, WaitEnded, WaitError, WaitOutcome, WaiterKey,
};

use super::Host;
use crate::env::Env;
use crate::network::Connection;

/// Who waits, and who has ended without that being told yet, in the order in which it is to be told.
#[derive(Debug, Default)]
pub(super) struct Waits {
    pending: Vec<Pending>,
    pub(super) ended: VecDeque<(WaiterKey, WaitEnd)>,
    pub(super) on_disk: Option<usize>,
    /// Replicas are to be asked for acks.
    pub(super) acks_wanted: bool,
}

/// Those that wait stand as they came.
#[derive(Clone, Copy, Debug)]
struct Pending {
    waiter: WaiterKey,
    wait: Wait,
    deadline: Option<Timestamp>,
}

/// What the replicas that count have acknowledged.
#[derive(Debug)]
pub(super) struct Holders(Vec<Holder>);

#[derive(Debug)]
struct Holder {
    connection: Connection,
    applied: Option<usize>,
    fsynced: Option<usize>,
}

impl Holders {
    /// S7: never more than really hold it.
    fn count(&self, target: Offset, level: Level, env: &Env) -> usize {
        let target = usize::try_from(target.get()).expect("runs are short");
        let told = |holder: &&Holder| match level {
            Level::Applied => holder.applied >= Some(target),
            _ => holder.fsynced >= Some(target),
        };
        let holding = self.0.iter().filter(told);
        holding
            .inspect(|holder| {
                let holds = env.truth.holds(holder.connection, target, level);
                assert!(holds, "S7: {:?} is counted, and does not hold {target}", holder.connection);
            })
            .count()
    }
}

impl Waits {
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn first_deadline(&self) -> Option<Timestamp> {
        self.pending.iter().filter_map(|pending| pending.deadline).min()
    }

    fn end_of(&self, wait: &Wait, how: WaitEnded, holders: &Holders, env: &Env) -> WaitEnd {
        let acked = holders.count(wait.target, wait.level, env);
        WaitEnd { acked, local: self.holds(wait.target), how }
    }

    fn holds(&self, target: Offset) -> bool {
        self.on_disk.is_some_and(|on_disk| on_disk as u64 >= target.get())
    }

    fn is_satisfied(&self, wait: &Wait, holders: &Holders, env: &Env) -> bool {
        let acked = holders.count(wait.target, wait.level, env);
        acked >= wait.replicas && (!wait.local || self.holds(wait.target))
    }

    /// Ends those that `how` picks, in the order of `rank`, and of those alike as they came.
    fn end<K: Ord>(
        &mut self,
        how: WaitEnded,
        (holders, env): (&Holders, &Env),
        is_over: impl Fn(&Self, &Pending) -> bool,
        rank: impl Fn(&Pending) -> K,
    ) {
        let (mut over, pending): (Vec<_>, _) =
            self.pending.iter().copied().partition(|pending| is_over(self, pending));
        self.pending = pending;
        over.sort_by_key(rank);
        for pending in over {
            let end = self.end_of(&pending.wait, how, holders, env);
            self.ended.push_back((pending.waiter, end));
        }
    }
}

impl Host {
    pub(super) fn holders(&self) -> Holders {
        let online = self.live().map(|(link, _)| link).filter(|link| link.account.is_online);
        let holder = |link: &super::Link| {
            let account = &link.account;
            Holder { connection: link.connection, applied: account.acked, fsynced: account.fsynced }
        };
        Holders(online.map(holder).collect())
    }

    /// L3: an ack, or a replica that comes online, frees all that it satisfies.
    pub(super) fn end_waits_by_acks(&mut self, env: &Env) {
        let holders = self.holders();
        let is_over = |waits: &Waits, pending: &Pending| waits.is_satisfied(&pending.wait, &holders, env);
        let rank = |pending: &Pending| {
            let Wait { level, replicas, target, .. } = pending.wait;
            (level == Level::Fsynced, replicas, target)
        };
        self.waits.end(WaitEnded::Satisfied, (&holders, env), is_over, rank);
    }

    /// The own disk holds the stream up to an offset, or does not sync any more.
    pub(super) fn end_waits_by_disk(&mut self, upto: Option<usize>, env: &Env) {
        let holders = self.holders();
        self.waits.on_disk = upto;
        if upto.is_none() {
            let asks = |_: &Waits, pending: &Pending| pending.wait.local;
            return self.waits.end(WaitEnded::NoLocalFsync, (&holders, env), asks, |_| ());
        }
        let is_over = |waits: &Waits, pending: &Pending| waits.is_satisfied(&pending.wait, &holders, env);
        self.waits.end(WaitEnded::Satisfied, (&holders, env), is_over, |pending| pending.wait.target);
    }

    /// L1: at its deadline a wait is over.
    pub(super) fn end_waits_by_time(&mut self, env: &Env) {
        let (holders, now) = (self.holders(), self.now());
        let is_over = |_: &Waits, pending: &Pending| pending.deadline.is_some_and(|at| at <= now);
        self.waits.end(WaitEnded::TimedOut, (&holders, env), is_over, |pending| pending.deadline);
    }

    /// L2: nobody is left waiting when the role is given up.
    pub(super) fn end_all_waits(&mut self, env: &Env) {
        let holders = self.holders();
        self.waits.end(WaitEnded::NoLongerPrimary, (&holders, env), |_, _| true, |_| ());
    }

    /// Starts a wait, and compares what comes of it at once. Gives the key of one that is pending.
    pub(super) fn start_wait(&mut self, wait: Wait, env: &Env) -> Result<WaitOutcome, WaitError> {
        let now = self.clock.read(env.now);
        let outcome = self.primary.wait(wait, now);
        let holders = self.holders();
        if wait.local && self.waits.on_disk.is_none() {
            assert_eq!(outcome, Err(WaitError::NoLocalFsync), "S7: there is no disk to wait for");
            return outcome;
        }
        let is_satisfied = self.waits.is_satisfied(&wait, &holders, env);
        if is_satisfied || wait.timeout == Timeout::Immediate {
            let how = if is_satisfied { WaitEnded::Satisfied } else { WaitEnded::TimedOut };
            let end = self.waits.end_of(&wait, how, &holders, env);
            assert_eq!(outcome, Ok(WaitOutcome::Ended(end)), "S7: it is over at once");
            return outcome;
        }
        let max = self.config().max_waiters;
        if self.waits.pending.len() + self.waits.ended.len() >= max {
            assert_eq!(outcome, Err(WaitError::TooManyWaiters { max }), "B: more waiters than allowed");
            return outcome;
        }
        let Ok(WaitOutcome::Pending(waiter)) = outcome else { panic!("S7: {outcome:?} comes too early") };
        assert_eq!(waiter.tag(), wait.tag, "the key bears the host's tag");
        let deadline = match wait.timeout {
            Timeout::After(span) => self.now().checked_add(span),
            _ => None,
        };
        self.waits.acks_wanted |= wait.replicas > 0;
        self.waits.pending.push(Pending { waiter, wait, deadline });
        outcome
    }

    /// Takes a wait back: it ends now, or tells how it had ended.
    pub(super) fn cancel_wait(&mut self, waiter: WaiterKey, env: &Env) -> WaitEnd {
        let told = self.primary.cancel_wait(waiter).expect("S7: its end was not told");
        let untold = self.waits.ended.iter().position(|(ended, _)| *ended == waiter);
        let expected = if let Some((_, end)) = untold.and_then(|index| self.waits.ended.remove(index)) {
            end
        } else {
            let place = self.waits.pending.iter().position(|pending| pending.waiter == waiter);
            let pending = self.waits.pending.remove(place.expect("L2: the model knows who waits"));
            self.waits.end_of(&pending.wait, WaitEnded::Cancelled, &self.holders(), env)
        };
        assert_eq!(told, expected, "S7: a wait that is taken back tells how it ended");
        assert!(self.primary.cancel_wait(waiter).is_err(), "S10: {waiter:?} ends once");
        told
    }

    /// Who can never be satisfied by so many replicas, of which so many have a disk.
    pub(super) fn hopeless_waits(&self, replicas: usize, disks: usize) -> Vec<WaiterKey> {
        let most = |level| if level == Level::Applied { replicas } else { disks };
        let hopeless = |pending: &&Pending| pending.wait.replicas > most(pending.wait.level);
        self.waits.pending.iter().filter(hopeless).map(|pending| pending.waiter).collect()
    }
}
