use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use super::table::{SLACK, Ticket};
use crate::acks::Level;
use crate::offset::Offset;

/// Waiters in the order of their targets, and of arrival within one target.
///
/// One who leaves from the middle stays in it as a dead entry, until those are the half. Who is dead the caller
/// knows.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    entries: VecDeque<Entry>,
    live: usize,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Entry {
    target: Offset,
    ticket: Ticket,
}

impl Queue {
    pub(super) const fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Adds a waiter: at the back if they come in order, as they mostly do, else by a search.
    #[inline]
    pub(super) fn insert(&mut self, target: Offset, ticket: Ticket) {
        let entry = Entry { target, ticket };
        if self.entries.back().is_none_or(|back| *back < entry) {
            self.entries.push_back(entry);
        } else {
            let index = self.entries.partition_point(|other| *other < entry);
            self.entries.insert(index, entry);
        }
        self.live += 1;
    }

    /// Takes out all who are at `last` or before it. `take` gets them in order, and tells who was not dead.
    #[inline]
    pub(super) fn take_up_to(&mut self, last: Offset, mut take: impl FnMut(Ticket) -> bool) {
        let taken = self.entries.iter().take_while(|entry| entry.target <= last);
        let (mut all, mut live) = (0, 0);
        for entry in taken {
            all += 1;
            live += usize::from(take(entry.ticket));
        }
        self.entries.drain(..all);
        self.live -= live;
    }

    /// Counts one as dead, which the caller has just made so.
    pub(super) fn forget_one(&mut self, is_live: impl Fn(Ticket) -> bool) {
        self.live -= 1;
        self.tidy(is_live);
    }

    /// Gives up dead entries once they are the half.
    pub(super) fn tidy(&mut self, is_live: impl Fn(Ticket) -> bool) {
        if self.live == 0 {
            return self.entries.clear();
        }
        if self.entries.len() > 2 * self.live + SLACK {
            self.entries.retain(|entry| is_live(entry.ticket));
        }
    }

    /// Gives up memory that is mostly unused.
    fn shrink(&mut self) {
        if self.is_too_large() {
            self.entries.shrink_to(2 * self.entries.len());
        }
    }

    fn is_too_large(&self) -> bool {
        self.entries.capacity() > KEPT_ENTRIES.max(8 * self.entries.len())
    }

    /// Those who are live, in order.
    pub(super) fn check_invariants(&self, is_live: impl Fn(Ticket) -> bool) -> Vec<Ticket> {
        let live = self.entries.iter().map(|entry| entry.ticket).filter(|ticket| is_live(*ticket));
        let live: Vec<_> = live.collect();
        assert_eq!(self.live, live.len(), "those who are live are counted");
        assert!(self.entries.iter().is_sorted(), "a queue is in order");
        assert!(self.entries.len() <= 2 * self.live + SLACK, "half are live");
        live
    }
}

/// The queues of those who wait for replicas to apply the stream, and to fsync it.
#[derive(Clone, Debug, Default)]
pub(super) struct QueuesByLevel {
    applied: Queues,
    fsynced: Queues,
}

impl QueuesByLevel {
    pub(super) const fn of(&self, level: Level) -> &Queues {
        match level {
            Level::Applied => &self.applied,
            Level::Fsynced => &self.fsynced,
        }
    }

    #[inline]
    pub(super) const fn of_mut(&mut self, level: Level) -> &mut Queues {
        match level {
            Level::Applied => &mut self.applied,
            Level::Fsynced => &mut self.fsynced,
        }
    }
}

/// Queues of waiters by the number of replicas that they wait for.
#[derive(Clone, Debug, Default)]
pub(super) struct Queues {
    by_replicas: BTreeMap<usize, Queue>,
    /// The last few that became empty. They keep their memory: a wait after a wait allocates nothing.
    empty: Vec<usize>,
}

impl Queues {
    #[inline]
    pub(super) fn insert(&mut self, replicas: usize, target: Offset, ticket: Ticket) {
        if let Some(index) = self.empty.iter().position(|empty| *empty == replicas) {
            self.empty.remove(index);
        }
        self.by_replicas.entry(replicas).or_default().insert(target, ticket);
    }

    /// Lets `take` empty each queue as far as it is `reached`, fewest replicas first.
    #[inline]
    pub(super) fn for_each_reached(
        &mut self,
        reached: impl Fn(usize) -> Option<Offset>,
        mut take: impl FnMut(&mut Queue, Offset),
    ) {
        for (&replicas, queue) in &mut self.by_replicas {
            let Some(last) = reached(replicas) else { break };
            if queue.entries.front().is_none_or(|first| first.target > last) {
                continue;
            }
            take(queue, last);
            if queue.is_empty() {
                self.empty.push(replicas);
            } else {
                queue.shrink();
            }
        }
        self.drop_empty();
    }

    /// Counts one of a queue as dead, which the caller has just made so.
    pub(super) fn forget_one(&mut self, replicas: usize, is_live: impl Fn(Ticket) -> bool) {
        let queue = self.by_replicas.get_mut(&replicas).expect("a queue with a live entry stays");
        queue.forget_one(is_live);
        if queue.is_empty() {
            self.empty.push(replicas);
            self.drop_empty();
        } else {
            queue.shrink();
        }
    }

    fn drop_empty(&mut self) {
        if let Some(too_many @ 1..) = self.empty.len().checked_sub(KEPT_EMPTY) {
            for replicas in self.empty.drain(..too_many) {
                self.by_replicas.remove(&replicas);
            }
        }
    }

    /// Those who are live, queue by queue.
    pub(super) fn check_invariants(&self, is_live: impl Fn(Ticket) -> bool) -> Vec<(usize, Ticket)> {
        let empty =
            self.by_replicas.iter().filter(|(_, queue)| queue.is_empty()).map(|(replicas, _)| *replicas);
        let mut known = self.empty.clone();
        known.sort_unstable();
        assert!(empty.eq(known) && self.empty.len() <= KEPT_EMPTY, "few queues are empty, and known");
        let mut in_use = self.by_replicas.values().filter(|queue| !queue.is_empty());
        assert!(in_use.all(|queue| !queue.is_too_large()), "no queue keeps memory without use");
        let of = |(replicas, queue): (&usize, &Queue)| {
            queue.check_invariants(&is_live).into_iter().map(|ticket| (*replicas, ticket)).collect::<Vec<_>>()
        };
        self.by_replicas.iter().flat_map(of).collect()
    }
}

/// Room for so many is not worth giving up, only to be asked for again.
const KEPT_ENTRIES: usize = 256;

/// More counts among waiters than these are rare: one, two, a majority, all.
const KEPT_EMPTY: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    /// The first so many tickets.
    fn tickets(count: u64) -> impl Iterator<Item = Ticket> {
        (0..count).map(|arrival| Ticket::new(arrival, 0))
    }

    fn filled(count: u64) -> Queue {
        let mut queue = Queue::default();
        tickets(count).for_each(|ticket| queue.insert(Offset::ZERO, ticket));
        queue
    }

    /// Else each who leaves would cost a look at all.
    #[test]
    fn dead_entries_stay_until_they_are_the_half() {
        let mut queue = filled(100 + SLACK as u64);
        let still_there = |left: u64| move |ticket| tickets(left).all(|gone| gone != ticket);
        for left in 1..=50 + SLACK as u64 {
            queue.forget_one(still_there(left));
            assert_eq!(queue.entries.len(), 100 + SLACK, "{left} have left");
        }
        queue.forget_one(still_there(51 + SLACK as u64));
        assert_eq!((queue.entries.len(), queue.live), (49, 49));
    }

    #[test]
    fn memory_that_is_mostly_unused_is_given_up() {
        let mut queue = filled(1000);
        queue.take_up_to(Offset::ZERO, |_| true);
        tickets(50).for_each(|ticket| queue.insert(Offset::ZERO, ticket));
        queue.shrink();
        assert!((100..200).contains(&queue.entries.capacity()), "{}", queue.entries.capacity());
    }

    #[test]
    fn room_for_few_is_kept() {
        let mut queue = Queue { entries: VecDeque::with_capacity(KEPT_ENTRIES), live: 0 };
        queue.shrink();
        assert_eq!(queue.entries.capacity(), KEPT_ENTRIES);
    }

    /// A count of replicas that nobody waits for any more costs nothing.
    #[test]
    fn few_empty_queues_are_kept() {
        let mut queues = Queues::default();
        for (replicas, ticket) in (1..=20).zip(tickets(20)) {
            queues.insert(replicas, Offset::ZERO, ticket);
        }
        queues.for_each_reached(|_| Some(Offset::ZERO), |queue, last| queue.take_up_to(last, |_| true));
        assert_eq!((queues.by_replicas.len(), queues.empty.len()), (KEPT_EMPTY, KEPT_EMPTY));
        queues.insert(20, Offset::ZERO, Ticket::new(20, 0));
        queues.for_each_reached(|_| Some(Offset::ZERO), |_, _| ());
        assert_eq!(queues.empty.len(), KEPT_EMPTY - 1, "one is in use");
    }
}
