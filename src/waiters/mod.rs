use core::time::Duration;

use crate::acks::{Acks, Level};
use crate::key::{Gone, Tag, WaiterKey};
use crate::offset::Offset;
use crate::time::Timestamp;

use deadlines::Deadlines;
use queue::{Queue, QueuesByLevel};
use table::{Pending, Table, Ticket};

mod deadlines;
mod queue;
mod table;

/// Who waits until replicas, and perhaps this node's own disk, hold the stream up to an offset: WAIT and WAITAOF.
///
/// Each waiter ends once: satisfied, timed out, cancelled, or given up for all. Its counts are those of the moment
/// at which it ended. It keeps its place until [`Waiters::poll_ended`] tells of its end. An ack that ends nobody
/// costs nothing per waiter, and one that ends some costs nothing for the others.
///
/// ```
/// use core::time::Duration;
/// use headwater::{
///     Ack, Acks, Level, Offset, ReplicaKey, Tag, Timeout, Timestamp, Wait, WaitEnded, WaitOutcome, Waiters,
/// };
///
/// let at = |bytes| Offset::new(bytes).expect("a small number");
/// let after = |millis| Timestamp::from_origin(Duration::from_millis(millis));
/// let (mut acks, replica) = (Acks::default(), ReplicaKey::new(0, 1, Tag(0)));
/// acks.insert(replica);
/// acks.set_online(replica);
///
/// let mut waiters = Waiters::new(1000);
/// let timeout = Timeout::After(Duration::from_millis(500));
/// let wait = Wait { target: at(40), replicas: 1, level: Level::Applied, local: false, timeout, tag: Tag(7) };
/// let WaitOutcome::Pending(waiter) = waiters.wait(wait, &acks, after(0))? else { panic!("nobody has it") };
/// assert_eq!(waiters.deadline(), Some(after(500)));
///
/// if acks.record(replica, Ack::applied(at(40)), at(40)).is_ok_and(|news| news) {
///     waiters.handle_acks(&acks);
/// }
/// let (ended, end) = waiters.poll_ended().expect("it is satisfied");
/// assert_eq!((ended, ended.tag()), (waiter, Tag(7)));
/// assert_eq!((end.acked, end.how), (1, WaitEnded::Satisfied));
/// # Ok::<(), headwater::WaitError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Waiters {
    max: usize,
    /// The latest time that was handed in.
    now: Timestamp,
    table: Table,
    queues: QueuesByLevel,
    /// Those whose target the own disk does not hold yet. They are in no other queue until it does.
    disk: Queue,
    local_fsynced: Option<Offset>,
    deadlines: Deadlines,
}

/// What a caller waits for: that `replicas` replicas, and perhaps this node's own disk, hold the stream up to `target`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Wait {
    /// Up to where: the end of the caller's own last write, or the end of the stream.
    pub target: Offset,
    /// How many replicas at least. With 0 none are waited for.
    pub replicas: usize,
    /// What a replica must have done with it.
    pub level: Level,
    /// Whether this node's own disk must hold it too.
    pub local: bool,
    /// For how long.
    pub timeout: Timeout,
    /// The host's name for the caller; it comes back in the [`WaiterKey`].
    pub tag: Tag,
}

/// For how long a caller waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Timeout {
    /// Not at all: it gets the counts of this moment. For transactions, scripts, and whoever must not block (R166).
    Immediate,
    /// Until this much time has passed.
    After(Duration),
    /// Until it is satisfied, however long that takes.
    Never,
}

/// What came of a wait at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
#[non_exhaustive]
pub enum WaitOutcome {
    /// It is over.
    Ended(WaitEnd),
    /// It goes on: [`Event::WaitEnded`](crate::Event::WaitEnded), or else [`Waiters::poll_ended`], tells of its
    /// end.
    Pending(WaiterKey),
}

/// How a wait ended, with the counts of that moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WaitEnd {
    /// How many replicas held the target. May be more than was asked for.
    pub acked: usize,
    /// Whether this node's own disk held it.
    pub local: bool,
    /// Why it ended.
    pub how: WaitEnded,
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum WaitEnded {
    /// All that was asked for is there.
    Satisfied,
    /// Its time is over, or it had none.
    TimedOut,
    /// The host cancelled it.
    Cancelled,
    /// This node is no primary any more: whether the target is safe is not known.
    NoLongerPrimary,
    /// It waited for this node's own disk, and the host has stopped to sync.
    NoLocalFsync,
}

/// Why nobody waits. Nothing has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The table is full; a waiter counts until the event of its end is taken.
    #[error("{max} callers wait, the most allowed")]
    TooManyWaiters {
        /// [`Config::max_waiters`](crate::Config::max_waiters).
        max: usize,
    },
    /// This node follows a primary, which alone can tell who holds what.
    #[error("this node follows another one")]
    Following,
    /// This node's own disk is waited for, but the host has never told that it syncs anything.
    #[error("this node's own disk is waited for, and holds nothing of the stream")]
    NoLocalFsync,
}

/// An own disk that claims to hold less than before. Nothing has changed.
///
/// If the stream is another one, tell `None` first.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{told} was told as fsynced, but {before} was before")]
pub struct FsyncWentBack {
    /// What was told now.
    pub told: Offset,
    /// What was told before.
    pub before: Offset,
}

impl Waiters {
    /// Nobody waits, and nothing was fsynced. At most `max` can wait at a time. Memory for those who were there at
    /// once is kept for the next.
    pub fn new(max: usize) -> Self {
        Self {
            max,
            now: Timestamp::default(),
            table: Table::default(),
            queues: QueuesByLevel::default(),
            disk: Queue::default(),
            local_fsynced: None,
            deadlines: Deadlines::default(),
        }
    }

    /// Changes how many can wait at a time. Those above it go on.
    pub fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    /// Starts a wait. It is over at once if all is there, or if it may not block (R166); else it is pending.
    ///
    /// A timeout that ends past the end of time is none.
    ///
    /// # Errors
    ///
    /// [`WaitError`]; nobody waits.
    pub fn wait(&mut self, wait: Wait, acks: &Acks, now: Timestamp) -> Result<WaitOutcome, WaitError> {
        if wait.local && self.local_fsynced.is_none() {
            return Err(WaitError::NoLocalFsync);
        }
        let acked = acks.replicas_at(wait.target, wait.level);
        let local = self.is_on_disk(wait.target);
        let is_satisfied = acked >= wait.replicas && (local || !wait.local);
        if is_satisfied || wait.timeout == Timeout::Immediate {
            let how = if is_satisfied { WaitEnded::Satisfied } else { WaitEnded::TimedOut };
            return Ok(WaitOutcome::Ended(WaitEnd { acked, local, how }));
        }
        if self.table.is_full(self.max) {
            return Err(WaitError::TooManyWaiters { max: self.max });
        }
        self.now = self.now.max(now);
        Ok(WaitOutcome::Pending(self.enter(wait)))
    }

    /// Takes a wait back, and tells how it ended. If it was over already but that was not told yet, this is its
    /// telling.
    ///
    /// # Errors
    ///
    /// [`Gone`] if its end was told.
    pub fn cancel(&mut self, waiter: WaiterKey, acks: &Acks) -> Result<WaitEnd, Gone<WaiterKey>> {
        let ticket = self.table.ticket(waiter).ok_or(Gone(waiter))?;
        if let Some(end) = self.table.take_ended(ticket) {
            return Ok(end);
        }
        let pending = self.table.take_pending(ticket).ok_or(Gone(waiter))?;
        self.leave_queues(pending);
        self.deadlines.tidy(&self.table);
        Ok(self.end_of(pending, WaitEnded::Cancelled, acks))
    }

    /// Ends those whom `acks` satisfies: call it after an ack that was news, or a few, and when a replica came
    /// online.
    ///
    /// They end in this order: those who wait for [`Level::Applied`] first, the fewest replicas first, the lowest
    /// target first, and then as they came.
    pub fn handle_acks(&mut self, acks: &Acks) {
        self.end_reached(Level::Applied, acks);
        self.end_reached(Level::Fsynced, acks);
        self.deadlines.tidy(&self.table);
    }

    /// Takes the host's word that this node's own disk holds the stream up to `upto`. It is never derived from
    /// anything else (R178).
    ///
    /// May end those who waited for it, in the order of their targets, and then as they came. `None` says that this
    /// node does not sync any more: all who asked for its disk end, as they came (R177).
    ///
    /// # Errors
    ///
    /// [`FsyncWentBack`] if it is less than before.
    pub fn handle_local_fsync(&mut self, upto: Option<Offset>, acks: &Acks) -> Result<(), FsyncWentBack> {
        if let (Some(told), Some(before)) = (upto, self.local_fsynced)
            && told < before
        {
            return Err(FsyncWentBack { told, before });
        }
        self.local_fsynced = upto;
        match upto {
            Some(upto) => self.on_disk_reached(upto, acks),
            None => self.end_each(WaitEnded::NoLocalFsync, |pending| pending.local, acks),
        }
        Ok(())
    }

    /// How far this node's own disk holds the stream, if it does.
    pub const fn local_fsynced(&self) -> Option<Offset> {
        self.local_fsynced
    }

    /// Ends those whose deadline has come, the earliest first, and then as they came.
    pub fn handle_timeout(&mut self, acks: &Acks, now: Timestamp) {
        self.now = self.now.max(now);
        while let Some((ticket, pending)) = self.deadlines.pop(self.now, &self.table) {
            self.table.end(ticket, self.end_of(pending, WaitEnded::TimedOut, acks));
            self.leave_queue(pending);
        }
        self.deadlines.tidy(&self.table);
    }

    /// When to call [`Waiters::handle_timeout`] next, if anybody has a deadline.
    #[inline]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.deadlines.first()
    }

    /// Ends all, as they came: this node is no primary any more (R169).
    pub fn end_all(&mut self, acks: &Acks) {
        self.end_each(WaitEnded::NoLongerPrimary, |_| true, acks);
    }

    /// The next wait that is over, in the order in which they ended. Its place is free then.
    pub fn poll_ended(&mut self) -> Option<(WaiterKey, WaitEnd)> {
        self.table.pop_ended()
    }

    /// How many wait, or have ended without that being told yet.
    pub const fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is nobody.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many wait.
    pub const fn pending(&self) -> usize {
        self.table.pending()
    }

    /// Panics when the bookkeeping is broken, or when somebody waits for what is there. For tests and fuzzing.
    #[doc(hidden)]
    pub fn check_invariants(&self, acks: &Acks) {
        self.table.check_invariants();
        self.deadlines.check_invariants(&self.table);
        let queued = self.disk.check_invariants(|ticket| self.table.is_pending(ticket)).len()
            + self.check_queues(Level::Applied)
            + self.check_queues(Level::Fsynced);
        assert_eq!(queued, self.pending(), "each waiter is in one queue");
        for (_, pending) in self.table.all_pending() {
            let is_acked = acks.replicas_at(pending.target, pending.level) >= pending.replicas;
            let on_disk = !pending.local || self.is_on_disk(pending.target);
            assert!(!is_acked || !on_disk, "nobody waits for what is there");
            assert_eq!(pending.awaits_disk, !on_disk, "the disk is waited for first");
        }
    }

    fn check_queues(&self, level: Level) -> usize {
        let queued = self.queues.of(level).check_invariants(|ticket| self.table.is_pending(ticket));
        for (replicas, ticket) in &queued {
            let pending = self.table.get_pending(*ticket).expect("it is live");
            assert_eq!((pending.replicas, pending.level, pending.awaits_disk), (*replicas, level, false));
        }
        queued.len()
    }

    #[inline]
    fn enter(&mut self, wait: Wait) -> WaiterKey {
        let Wait { target, replicas, level, local, timeout, tag } = wait;
        let deadline = match timeout {
            Timeout::After(span) => self.now.checked_add(span),
            Timeout::Immediate | Timeout::Never => None,
        };
        let awaits_disk = local && !self.is_on_disk(target);
        let has_deadline = deadline.is_some();
        let pending = Pending { target, replicas, level, local, awaits_disk, has_deadline };
        let (waiter, ticket) = self.table.insert(tag, pending);
        if let Some(deadline) = deadline {
            self.deadlines.insert(deadline, ticket);
        }
        if awaits_disk {
            self.disk.insert(target, ticket);
        } else {
            self.queues.of_mut(level).insert(replicas, target, ticket);
        }
        waiter
    }

    fn end_reached(&mut self, level: Level, acks: &Acks) {
        let Self { table, queues, deadlines, local_fsynced, .. } = self;
        let reached = |replicas| acks.kth(replicas, level);
        queues.of_mut(level).for_each_reached(reached, |queue, last| {
            let mut count = Count::of(level, acks);
            queue.take_up_to(last, |ticket| {
                let Some(&Pending { target, has_deadline, .. }) = table.get_pending(ticket) else {
                    return false;
                };
                let (acked, local) = (count.at(target), *local_fsynced >= Some(target));
                table.end(ticket, WaitEnd { acked, local, how: WaitEnded::Satisfied });
                if has_deadline {
                    deadlines.forget_one();
                }
                true
            });
            queue.tidy(|ticket| table.is_pending(ticket));
        });
    }

    /// Has those whose target the own disk holds now wait for replicas, if they are not there too.
    fn on_disk_reached(&mut self, upto: Offset, acks: &Acks) {
        let Self { table, queues, disk, deadlines, .. } = self;
        disk.take_up_to(upto, |ticket| {
            let Some(&pending) = table.get_pending(ticket) else { return false };
            let Pending { target, replicas, level, has_deadline, .. } = pending;
            let acked = acks.replicas_at(target, level);
            if acked >= replicas {
                table.end(ticket, WaitEnd { acked, local: true, how: WaitEnded::Satisfied });
                if has_deadline {
                    deadlines.forget_one();
                }
            } else {
                table.set_on_disk(ticket);
                queues.of_mut(level).insert(replicas, target, ticket);
            }
            true
        });
        self.disk.tidy(|ticket| self.table.is_pending(ticket));
        self.deadlines.tidy(&self.table);
    }

    fn end_each(&mut self, how: WaitEnded, is_meant: impl Fn(Pending) -> bool, acks: &Acks) {
        for (ticket, pending) in self.table.all_pending() {
            if is_meant(pending) {
                self.table.end(ticket, self.end_of(pending, how, acks));
                self.leave_queues(pending);
            }
        }
        self.deadlines.tidy(&self.table);
    }

    /// Counts one that is over out of all queues. The deadlines are to be tidied then.
    fn leave_queues(&mut self, pending: Pending) {
        self.leave_queue(pending);
        if pending.has_deadline {
            self.deadlines.forget_one();
        }
    }

    fn leave_queue(&mut self, pending: Pending) {
        let Pending { replicas, level, awaits_disk, .. } = pending;
        let is_live = |ticket: Ticket| self.table.is_pending(ticket);
        if awaits_disk {
            self.disk.forget_one(is_live);
        } else {
            self.queues.of_mut(level).forget_one(replicas, is_live);
        }
    }

    fn end_of(&self, pending: Pending, how: WaitEnded, acks: &Acks) -> WaitEnd {
        let acked = acks.replicas_at(pending.target, pending.level);
        WaitEnd { acked, local: self.is_on_disk(pending.target), how }
    }

    fn is_on_disk(&self, target: Offset) -> bool {
        self.local_fsynced >= Some(target)
    }
}

/// How many replicas hold targets that ascend: asked anew only where it may have changed.
struct Count<'a> {
    acks: &'a Acks,
    level: Level,
    acked: usize,
    /// The furthest that so many hold.
    upto: Option<Offset>,
}

impl<'a> Count<'a> {
    const fn of(level: Level, acks: &'a Acks) -> Self {
        Self { acks, level, acked: 0, upto: None }
    }

    #[inline]
    fn at(&mut self, target: Offset) -> usize {
        if self.upto < Some(target) {
            self.acked = self.acks.replicas_at(target, self.level);
            self.upto = self.acks.kth(self.acked, self.level);
        }
        self.acked
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::collection::vec as vec_of;
    use proptest::prelude::*;

    use super::*;
    use crate::acks::Ack;
    use crate::key::ReplicaKey;

    fn at(bytes: u64) -> Offset {
        Offset::new(bytes).unwrap()
    }

    fn millis(millis: u64) -> Timestamp {
        Timestamp::from_origin(Duration::from_millis(millis))
    }

    fn after(millis: u64) -> Timeout {
        Timeout::After(Duration::from_millis(millis))
    }

    fn wait_for(target: u64, replicas: usize) -> Wait {
        let timeout = Timeout::Never;
        Wait { target: at(target), replicas, level: Level::Applied, local: false, timeout, tag: Tag(0) }
    }

    fn replica(place: u32) -> ReplicaKey {
        ReplicaKey::new(place, 1, Tag(0))
    }

    /// Waiters, and replicas that are online and have told nothing.
    struct Node {
        waiters: Waiters,
        acks: Acks,
    }

    impl Node {
        fn new(replicas: u32) -> Self {
            let mut acks = Acks::default();
            for place in 0..replicas {
                acks.insert(replica(place));
                acks.set_online(replica(place));
            }
            Self { waiters: Waiters::new(100), acks }
        }

        fn wait(&mut self, wait: Wait) -> WaitOutcome {
            self.waiters.wait(wait, &self.acks, millis(0)).unwrap()
        }

        fn pending(&mut self, wait: Wait) -> WaiterKey {
            match self.wait(wait) {
                WaitOutcome::Pending(waiter) => waiter,
                WaitOutcome::Ended(end) => panic!("{end:?}"),
            }
        }

        fn ack(&mut self, place: u32, applied: u64, fsynced: u64) {
            let ack = Ack { applied: at(applied), fsynced: Some(at(fsynced)) };
            self.acks.record(replica(place), ack, Offset::MAX).unwrap();
            self.waiters.handle_acks(&self.acks);
            self.waiters.check_invariants(&self.acks);
        }

        fn fsync(&mut self, upto: u64) {
            self.waiters.handle_local_fsync(Some(at(upto)), &self.acks).unwrap();
            self.waiters.check_invariants(&self.acks);
        }

        fn ended(&mut self) -> Vec<(WaiterKey, WaitEnd)> {
            core::iter::from_fn(|| self.waiters.poll_ended()).collect()
        }
    }

    const fn end(acked: usize, local: bool, how: WaitEnded) -> WaitEnd {
        WaitEnd { acked, local, how }
    }

    const fn satisfied(acked: usize) -> WaitEnd {
        end(acked, false, WaitEnded::Satisfied)
    }

    /// R166 and T24: what is there needs no waiting, and the count may be more than was asked for.
    #[test]
    fn what_is_there_ends_a_wait_at_once() {
        let mut node = Node::new(2);
        node.ack(0, 10, 0);
        node.ack(1, 10, 0);
        assert_eq!(node.wait(wait_for(10, 1)), WaitOutcome::Ended(satisfied(2)));
        assert_eq!(node.wait(wait_for(11, 0)), WaitOutcome::Ended(satisfied(0)));
        assert!(node.waiters.is_empty());
    }

    #[test]
    fn who_is_told_of_an_end_is_somebody_until_then() {
        let mut node = Node::new(1);
        node.pending(wait_for(10, 1));
        assert!(!node.waiters.is_empty());
        node.ack(0, 10, 0);
        assert!(!node.waiters.is_empty());
        assert_eq!(node.ended().len(), 1);
        assert!(node.waiters.is_empty());
    }

    /// R166: in a transaction or a script nobody blocks.
    #[test]
    fn who_may_not_block_gets_the_counts_of_this_moment() {
        let mut node = Node::new(2);
        node.ack(0, 10, 0);
        let wait = Wait { timeout: Timeout::Immediate, ..wait_for(10, 2) };
        assert_eq!(node.wait(wait), WaitOutcome::Ended(end(1, false, WaitEnded::TimedOut)));
        assert!(node.waiters.is_empty());
    }

    /// R161 needs a replica that has told where it is: before its first ack it is not known to hold anything.
    #[test]
    fn a_replica_that_has_told_nothing_counts_for_nobody() {
        let mut node = Node::new(1);
        let waiter = node.pending(wait_for(0, 1));
        node.ack(0, 0, 0);
        assert_eq!(node.ended(), [(waiter, satisfied(1))]);
    }

    /// R162 and T36: one that comes online counts with what it has told before.
    #[test]
    fn a_replica_that_comes_online_ends_waits() {
        let mut node = Node::new(0);
        let waiter = node.pending(wait_for(10, 1));
        node.acks.insert(replica(0));
        node.ack(0, 10, 10);
        assert_eq!(node.ended(), []);
        node.acks.set_online(replica(0));
        node.waiters.handle_acks(&node.acks);
        assert_eq!(node.ended(), [(waiter, satisfied(1))]);
    }

    /// L3 and T27: one ack frees all whom it satisfies, and nobody else.
    #[test]
    fn an_ack_ends_all_that_it_satisfies_and_no_other() {
        let mut node = Node::new(2);
        let late = node.pending(wait_for(30, 1));
        let two = node.pending(wait_for(10, 2));
        let second = node.pending(wait_for(20, 1));
        let first = node.pending(wait_for(10, 1));
        node.ack(0, 20, 0);
        assert_eq!(node.ended(), [(first, satisfied(1)), (second, satisfied(1))]);
        node.ack(1, 40, 0);
        assert_eq!(node.ended(), [(late, satisfied(1)), (two, satisfied(2))]);
        assert!(node.waiters.is_empty());
    }

    /// Invariant 6: each is told of its own target, whatever came at once.
    #[test]
    fn each_count_is_that_of_its_own_target() {
        let mut node = Node::new(3);
        let [first, second, third] = [10, 20, 30].map(|target| node.pending(wait_for(target, 1)));
        for (place, applied) in [(0, 10), (1, 20), (2, 30)] {
            node.acks.record(replica(place), Ack::applied(at(applied)), Offset::MAX).unwrap();
        }
        node.waiters.handle_acks(&node.acks);
        assert_eq!(node.ended(), [(first, satisfied(3)), (second, satisfied(2)), (third, satisfied(1))]);
    }

    /// S7, T40 and B28: what is applied and what is fsynced never stand in for each other.
    #[test]
    fn levels_are_told_apart() {
        let mut node = Node::new(2);
        let fsynced = node.pending(Wait { level: Level::Fsynced, ..wait_for(10, 1) });
        let applied = node.pending(wait_for(20, 2));
        node.ack(0, 20, 0);
        node.ack(1, 20, 0);
        assert_eq!(node.ended(), [(applied, satisfied(2))]);
        node.ack(1, 20, 10);
        assert_eq!(node.ended(), [(fsynced, satisfied(1))]);
    }

    /// R177 and T37.
    #[test]
    fn a_wait_for_both_needs_both() {
        let mut node = Node::new(1);
        node.fsync(0);
        let disk_first = node.pending(Wait { local: true, ..wait_for(10, 1) });
        let replica_first = node.pending(Wait { local: true, ..wait_for(20, 1) });
        let no_replica = node.pending(Wait { local: true, ..wait_for(20, 0) });
        node.fsync(10);
        assert_eq!(node.ended(), []);
        node.ack(0, 20, 0);
        let both = end(1, true, WaitEnded::Satisfied);
        assert_eq!(node.ended(), [(disk_first, both)]);
        node.fsync(19);
        assert_eq!(node.ended(), []);
        node.fsync(20);
        assert_eq!(node.ended(), [(replica_first, both), (no_replica, both)]);
    }

    /// R167: whether asked for or not.
    #[test]
    fn a_result_tells_of_the_own_disk() {
        let mut node = Node::new(1);
        node.fsync(10);
        let near = node.pending(wait_for(10, 1));
        let far = node.pending(wait_for(11, 1));
        node.ack(0, 11, 11);
        assert_eq!(node.ended(), [(near, end(1, true, WaitEnded::Satisfied)), (far, satisfied(1))]);
    }

    /// R165, R177 and T30.
    #[test]
    fn nobody_waits_for_a_disk_that_is_not_synced() {
        let mut node = Node::new(1);
        let local = Wait { local: true, ..wait_for(10, 1) };
        let refused = node.waiters.wait(local, &node.acks, millis(0));
        assert_eq!(refused, Err(WaitError::NoLocalFsync));
        node.fsync(10);
        let for_replica = node.pending(local);
        let for_disk = node.pending(Wait { local: true, ..wait_for(20, 1) });
        let for_neither = node.pending(wait_for(10, 1));
        node.waiters.handle_local_fsync(None, &node.acks).unwrap();
        node.waiters.check_invariants(&node.acks);
        let given_up = end(0, false, WaitEnded::NoLocalFsync);
        assert_eq!(node.ended(), [(for_replica, given_up), (for_disk, given_up)]);
        node.fsync(5);
        node.ack(0, 10, 10);
        assert_eq!(node.ended(), [(for_neither, satisfied(1))]);
    }

    /// S7: the field let a wait end before its fsync.
    #[test]
    fn the_own_disk_does_not_lose_what_it_holds() {
        let mut node = Node::new(0);
        node.fsync(10);
        node.fsync(10);
        let back = FsyncWentBack { told: at(9), before: at(10) };
        assert_eq!(node.waiters.handle_local_fsync(Some(at(9)), &node.acks), Err(back));
        assert_eq!(node.waiters.local_fsynced(), Some(at(10)));
    }

    /// R170 and invariant 7: at its deadline, with the count of that moment.
    #[test]
    fn a_wait_ends_at_its_deadline() {
        let mut node = Node::new(2);
        let later = node.pending(Wait { timeout: after(20), ..wait_for(10, 2) });
        let sooner = node.pending(Wait { timeout: after(10), ..wait_for(20, 2) });
        assert_eq!(node.waiters.deadline(), Some(millis(10)));
        node.ack(0, 15, 0);
        node.waiters.handle_timeout(&node.acks, millis(9));
        assert_eq!(node.ended(), []);
        node.waiters.handle_timeout(&node.acks, millis(10));
        assert_eq!(node.waiters.deadline(), Some(millis(20)));
        assert_eq!(node.ended(), [(sooner, end(0, false, WaitEnded::TimedOut))]);
        node.waiters.handle_timeout(&node.acks, millis(20));
        assert_eq!(node.ended(), [(later, end(1, false, WaitEnded::TimedOut))]);
        assert_eq!(node.waiters.deadline(), None);
    }

    /// Of an ack and a deadline the one that is handed in first wins, and what comes later changes nothing.
    #[test]
    fn a_wait_ends_once_with_the_counts_of_that_moment() {
        let mut node = Node::new(2);
        let timed_out = node.pending(Wait { timeout: after(10), ..wait_for(10, 1) });
        node.waiters.handle_timeout(&node.acks, millis(10));
        node.ack(0, 10, 0);
        let acked = node.pending(Wait { timeout: after(10), ..wait_for(20, 1) });
        node.ack(0, 20, 0);
        node.ack(1, 20, 0);
        node.waiters.handle_timeout(&node.acks, millis(30));
        let ends = [(timed_out, end(0, false, WaitEnded::TimedOut)), (acked, satisfied(1))];
        assert_eq!(node.ended(), ends);
    }

    #[test]
    fn a_deadline_of_nobody_is_none() {
        let mut node = Node::new(1);
        let [first, second] = [5, 10].map(|timeout| {
            let wait = Wait { timeout: after(timeout), ..wait_for(timeout, 1) };
            node.pending(wait)
        });
        node.ack(0, 5, 0);
        assert_eq!(node.waiters.deadline(), Some(millis(10)));
        node.waiters.cancel(second, &node.acks).unwrap();
        assert_eq!(node.waiters.deadline(), None);
        assert_eq!(node.ended(), [(first, satisfied(1))]);
    }

    #[test]
    fn a_wait_past_the_end_of_time_has_no_deadline() {
        let mut node = Node::new(1);
        let wait = Wait { timeout: Timeout::After(Duration::MAX), ..wait_for(1, 1) };
        let outcome = node.waiters.wait(wait, &node.acks, millis(1)).unwrap();
        assert!(matches!(outcome, WaitOutcome::Pending(_)));
        assert_eq!(node.waiters.deadline(), None);
    }

    #[test]
    fn a_clock_that_goes_back_stands_still() {
        let mut node = Node::new(1);
        node.waiters.handle_timeout(&node.acks, millis(100));
        node.pending(Wait { timeout: after(10), ..wait_for(1, 1) });
        assert_eq!(node.waiters.deadline(), Some(millis(110)));
    }

    /// R171: a caller that went away is forgotten.
    #[test]
    fn a_cancelled_wait_is_told_to_nobody_else() {
        let mut node = Node::new(1);
        let pending = node.pending(wait_for(10, 1));
        let ended = node.pending(wait_for(5, 1));
        node.ack(0, 5, 0);
        let cancelled = node.waiters.cancel(pending, &node.acks);
        assert_eq!(cancelled, Ok(end(0, false, WaitEnded::Cancelled)));
        node.ack(0, 10, 0);
        assert_eq!(node.waiters.cancel(ended, &node.acks), Ok(satisfied(1)));
        assert_eq!(node.ended(), []);
        for gone in [pending, ended] {
            assert_eq!(node.waiters.cancel(gone, &node.acks), Err(Gone(gone)));
        }
    }

    /// S10: a new waiter in an old one's place is somebody else.
    #[test]
    fn a_stale_key_is_nobody() {
        let mut node = Node::new(1);
        let old = node.pending(wait_for(10, 1));
        node.waiters.cancel(old, &node.acks).unwrap();
        let new = node.pending(wait_for(10, 1));
        assert_eq!(new.index(), old.index());
        assert_eq!(node.waiters.cancel(old, &node.acks), Err(Gone(old)));
        assert_eq!(node.waiters.pending(), 1);
    }

    /// R169, L2 and T32.
    #[test]
    fn nobody_is_left_on_a_node_that_is_no_primary() {
        let mut node = Node::new(2);
        node.fsync(0);
        let first = node.pending(Wait { timeout: after(10), ..wait_for(20, 2) });
        let second = node.pending(Wait { local: true, ..wait_for(10, 1) });
        let third = node.pending(Wait { level: Level::Fsynced, ..wait_for(5, 1) });
        node.ack(0, 20, 0);
        node.waiters.end_all(&node.acks);
        node.waiters.check_invariants(&node.acks);
        let [one, none] = [1, 0].map(|acked| end(acked, false, WaitEnded::NoLongerPrimary));
        assert_eq!(node.ended(), [(first, one), (second, one), (third, none)]);
        assert_eq!((node.waiters.len(), node.waiters.deadline()), (0, None));
    }

    #[test]
    fn a_place_is_taken_until_the_end_was_told() {
        let mut node = Node::new(1);
        node.waiters.set_max(1);
        node.pending(wait_for(10, 1));
        let full = Err(WaitError::TooManyWaiters { max: 1 });
        assert_eq!(node.waiters.wait(wait_for(20, 1), &node.acks, millis(0)), full);
        assert!(matches!(node.wait(wait_for(20, 0)), WaitOutcome::Ended(_)));
        node.ack(0, 10, 0);
        assert_eq!((node.waiters.len(), node.waiters.pending()), (1, 0));
        assert_eq!(node.waiters.wait(wait_for(20, 1), &node.acks, millis(0)), full);
        node.ended();
        node.pending(wait_for(20, 1));
    }

    /// What leaves from the middle of a queue leaves nothing behind for long; the check bounds it.
    #[test]
    fn cancelled_waits_keep_no_memory() {
        let mut node = Node::new(1);
        node.pending(Wait { timeout: after(1), ..wait_for(1, 1) });
        for round in 0..500 {
            let wait = Wait { timeout: after(100 + round * 7919 % 1000), ..wait_for(10 + round % 3, 1) };
            let waiter = node.pending(wait);
            node.waiters.cancel(waiter, &node.acks).unwrap();
            node.waiters.check_invariants(&node.acks);
        }
        for round in 0..500 {
            node.ack(0, round, round);
            let waiter = node.pending(wait_for(round + 1, 1));
            node.ack(0, round + 1, 0);
            if round % 100 != 0 {
                node.waiters.cancel(waiter, &node.acks).unwrap();
            }
        }
        assert_eq!(node.waiters.len(), 6);
    }

    #[test]
    fn a_rush_leaves_no_memory_behind() {
        let mut node = Node::new(1);
        node.waiters.set_max(2000);
        let stays = node.pending(wait_for(5000, 1));
        for target in 1..2000 {
            node.pending(wait_for(target, 1));
        }
        node.ack(0, 2000, 0);
        assert_eq!(node.ended().len(), 1999);
        node.ack(0, 5000, 0);
        assert_eq!(node.ended(), [(stays, satisfied(1))]);
    }

    /// Everyone in one list, which is looked through at every turn.
    #[derive(Default)]
    struct Model {
        waiting: Vec<(WaiterKey, Wait, Option<Timestamp>)>,
        ended: Vec<(WaiterKey, WaitEnd)>,
        local_fsynced: Option<Offset>,
        now: Timestamp,
    }

    impl Model {
        fn end_of(&self, wait: &Wait, how: WaitEnded, acks: &Acks) -> WaitEnd {
            let local = self.local_fsynced.is_some_and(|fsynced| fsynced >= wait.target);
            let of = |place: &u32| acks.holders(wait.target, wait.level).any(|held| held == replica(*place));
            WaitEnd { acked: (0..PLACES).filter(of).count(), local, how }
        }

        fn is_satisfied(&self, wait: &Wait, acks: &Acks) -> bool {
            let end = self.end_of(wait, WaitEnded::Satisfied, acks);
            end.acked >= wait.replicas && (end.local || !wait.local)
        }

        /// What a wait must answer, given the key that it gave if it is pending.
        fn wait(
            &mut self,
            wait: Wait,
            acks: &Acks,
            waiter: Option<WaiterKey>,
        ) -> Result<WaitOutcome, WaitError> {
            if wait.local && self.local_fsynced.is_none() {
                return Err(WaitError::NoLocalFsync);
            }
            if self.is_satisfied(&wait, acks) {
                return Ok(WaitOutcome::Ended(self.end_of(&wait, WaitEnded::Satisfied, acks)));
            }
            let deadline = match wait.timeout {
                Timeout::Immediate => {
                    return Ok(WaitOutcome::Ended(self.end_of(&wait, WaitEnded::TimedOut, acks)));
                }
                Timeout::After(span) => self.now.checked_add(span),
                Timeout::Never => None,
            };
            if self.waiting.len() + self.ended.len() == MOST {
                return Err(WaitError::TooManyWaiters { max: MOST });
            }
            let waiter = waiter.expect("somebody is to wait");
            self.waiting.push((waiter, wait, deadline));
            Ok(WaitOutcome::Pending(waiter))
        }

        /// Ends those who are meant, in the order of what `rank` gives, and of arrival.
        fn end<R: Ord>(
            &mut self,
            how: WaitEnded,
            acks: &Acks,
            is_meant: impl Fn(&Self, &Wait, Option<Timestamp>) -> bool,
            rank: impl Fn(&Wait, Option<Timestamp>) -> R,
        ) {
            let waiting = core::mem::take(&mut self.waiting);
            let (mut over, waiting): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|(_, wait, deadline)| is_meant(self, wait, *deadline));
            over.sort_by_key(|(_, wait, deadline)| rank(wait, *deadline));
            self.waiting = waiting;
            for (waiter, wait, _) in over {
                self.ended.push((waiter, self.end_of(&wait, how, acks)));
            }
        }

        fn end_satisfied<R: Ord>(&mut self, acks: &Acks, rank: impl Fn(&Wait) -> R) {
            let is_meant = |model: &Self, wait: &Wait, _| model.is_satisfied(wait, acks);
            self.end(WaitEnded::Satisfied, acks, is_meant, |wait, _| rank(wait));
        }

        fn cancel(&mut self, waiter: WaiterKey, acks: &Acks) -> Result<WaitEnd, Gone<WaiterKey>> {
            if let Some(index) = self.waiting.iter().position(|(waiting, ..)| *waiting == waiter) {
                let (_, wait, _) = self.waiting.remove(index);
                return Ok(self.end_of(&wait, WaitEnded::Cancelled, acks));
            }
            let index = self.ended.iter().position(|(ended, _)| *ended == waiter).ok_or(Gone(waiter))?;
            Ok(self.ended.remove(index).1)
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Wait(Wait),
        Ack(u32, u64, Option<u64>),
        SetOnline(u32),
        Insert(u32),
        Fsync(Option<u64>),
        Cancel(usize),
        Advance(u64),
        EndAll,
        Poll,
    }

    const PLACES: u32 = 4;
    const MOST: usize = 12;

    fn wait() -> impl Strategy<Value = Wait> {
        let level = prop_oneof![Just(Level::Applied), Just(Level::Fsynced)];
        let timeout = prop_oneof![
            1 => Just(Timeout::Immediate),
            6 => Just(after(10)),
            6 => (0..40u64).prop_map(after),
            3 => Just(Timeout::Never),
        ];
        let local = proptest::bool::weighted(0.2);
        (0..20u64, 0..PLACES as usize + 2, level, local, timeout, 0..9u64).prop_map(
            |(target, replicas, level, local, timeout, tag)| Wait {
                target: at(target),
                replicas,
                level,
                local,
                timeout,
                tag: Tag(tag),
            },
        )
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            20 => wait().prop_map(Step::Wait),
            8 => (0..PLACES, 0..20u64, proptest::option::of(0..20u64))
                .prop_map(|(place, applied, fsynced)| Step::Ack(place, applied, fsynced)),
            3 => (0..PLACES).prop_map(Step::SetOnline),
            2 => (0..PLACES).prop_map(Step::Insert),
            4 => proptest::option::weighted(0.9, 0..20u64).prop_map(Step::Fsync),
            6 => any::<usize>().prop_map(Step::Cancel),
            4 => (0..8u64).prop_map(Step::Advance),
            1 => Just(Step::EndAll),
            6 => Just(Step::Poll),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_a_look_at_every_waiter(steps in vec_of(step(), 0..90)) {
            let (mut waiters, mut model) = (Waiters::new(MOST), Model::default());
            let (mut acks, mut keys) = (Acks::default(), Vec::new());
            for step in steps {
                match step {
                    Step::Wait(wait) => {
                        let outcome = waiters.wait(wait, &acks, model.now);
                        let waiter = match outcome {
                            Ok(WaitOutcome::Pending(waiter)) => Some(waiter),
                            _ => None,
                        };
                        prop_assert_eq!(outcome, model.wait(wait, &acks, waiter));
                        if let Some(waiter) = waiter {
                            prop_assert!(waiter.tag() == wait.tag && !keys.contains(&waiter));
                            keys.push(waiter);
                        }
                    }
                    Step::Ack(place, applied, fsynced) => {
                        let ack = Ack { applied: at(applied), fsynced: fsynced.map(at) };
                        let _ = acks.record(replica(place), ack, Offset::MAX);
                        waiters.handle_acks(&acks);
                        model.end_satisfied(&acks, |wait| (wait.level, wait.replicas, wait.target));
                    }
                    Step::SetOnline(place) => {
                        acks.set_online(replica(place));
                        waiters.handle_acks(&acks);
                        model.end_satisfied(&acks, |wait| (wait.level, wait.replicas, wait.target));
                    }
                    Step::Insert(place) => acks.insert(replica(place)),
                    Step::Fsync(upto) => {
                        let upto = upto.map(at);
                        let told = waiters.handle_local_fsync(upto, &acks);
                        if upto.is_some() && upto < model.local_fsynced {
                            let (told_now, before) = (upto.unwrap(), model.local_fsynced.unwrap());
                            prop_assert_eq!(told, Err(FsyncWentBack { told: told_now, before }));
                        } else {
                            prop_assert_eq!(told, Ok(()));
                            model.local_fsynced = upto;
                        }
                        match upto {
                            Some(_) => model.end_satisfied(&acks, |wait| wait.target),
                            None => model.end(WaitEnded::NoLocalFsync, &acks, |_, wait, _| wait.local, |_, _| ()),
                        }
                    }
                    Step::Cancel(index) if !keys.is_empty() => {
                        let waiter = keys[index % keys.len()];
                        prop_assert_eq!(waiters.cancel(waiter, &acks), model.cancel(waiter, &acks));
                    }
                    Step::Cancel(_) => {}
                    Step::Advance(span) => {
                        model.now = model.now.checked_add(Duration::from_millis(span)).unwrap();
                        waiters.handle_timeout(&acks, model.now);
                        let is_over = |model: &Model, _: &Wait, deadline: Option<Timestamp>| {
                            deadline.is_some_and(|deadline| deadline <= model.now)
                        };
                        model.end(WaitEnded::TimedOut, &acks, is_over, |_, deadline| deadline);
                    }
                    Step::EndAll => {
                        waiters.end_all(&acks);
                        model.end(WaitEnded::NoLongerPrimary, &acks, |_, _, _| true, |_, _| ());
                    }
                    Step::Poll => {
                        let expected = (!model.ended.is_empty()).then(|| model.ended.remove(0));
                        prop_assert_eq!(waiters.poll_ended(), expected);
                    }
                }
                waiters.check_invariants(&acks);
                prop_assert_eq!(waiters.local_fsynced(), model.local_fsynced);
                prop_assert_eq!(waiters.pending(), model.waiting.len());
                prop_assert_eq!(waiters.len(), model.waiting.len() + model.ended.len());
                let deadline = model.waiting.iter().filter_map(|(.., deadline)| *deadline).min();
                prop_assert_eq!(waiters.deadline(), deadline);
            }
            while let Some(ended) = waiters.poll_ended() {
                prop_assert_eq!(ended, model.ended.remove(0));
            }
            prop_assert!(model.ended.is_empty());
        }
    }
}
