use alloc::collections::{BinaryHeap, VecDeque};
use core::cmp::Reverse;

use super::table::{Pending, SLACK, Table, Ticket};
use crate::time::Timestamp;

/// When waits time out.
///
/// Most callers use one of a few timeouts, and the deadlines of one timeout come in order: a lane holds such a run,
/// where the next is added and taken without a search. A heap holds those that fit no lane. One who left stays as a
/// dead entry, but is never the first of a lane or of the heap.
#[derive(Clone, Debug, Default)]
pub(super) struct Deadlines {
    lanes: [VecDeque<Due>; LANES],
    others: BinaryHeap<Reverse<Due>>,
    live: usize,
    /// Whether somebody left since all was tidy.
    is_untidy: bool,
}

/// Ordered by the moment, then by arrival.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Due {
    at: Timestamp,
    ticket: Ticket,
}

impl Deadlines {
    pub(super) fn insert(&mut self, at: Timestamp, ticket: Ticket) {
        let due = Due { at, ticket };
        let fitting = self.lanes.iter_mut().filter(|lane| lane.back().is_none_or(|last| *last < due));
        // The nearest before it: so each timeout finds its own lane again.
        match fitting.max_by_key(|lane| lane.back().copied()) {
            Some(lane) => lane.push_back(due),
            None => self.others.push(Reverse(due)),
        }
        self.live += 1;
    }

    /// The earliest.
    pub(super) fn first(&self) -> Option<Timestamp> {
        self.first_due().map(|due| due.at)
    }

    /// Takes out the earliest, if its moment has come. The caller ends it, and calls [`Deadlines::tidy`] when
    /// there are no more.
    pub(super) fn pop(&mut self, now: Timestamp, table: &Table) -> Option<(Ticket, Pending)> {
        let first = self.first_due().filter(|due| due.at <= now)?;
        match self.lanes.iter_mut().find(|lane| lane.front() == Some(&first)) {
            Some(lane) => drop(lane.pop_front()),
            None => drop(self.others.pop()),
        }
        self.live -= 1;
        self.is_untidy = true;
        self.purge(table);
        Some((first.ticket, *table.get_pending(first.ticket)?))
    }

    /// Counts one as dead. The caller makes it so, and calls [`Deadlines::tidy`] then.
    pub(super) const fn forget_one(&mut self) {
        self.live -= 1;
        self.is_untidy = true;
    }

    /// Gives up the dead ones at the front, and all of them once they are the half.
    #[inline]
    pub(super) fn tidy(&mut self, table: &Table) {
        if core::mem::take(&mut self.is_untidy) {
            self.give_up_dead(table);
        }
    }

    fn give_up_dead(&mut self, table: &Table) {
        self.purge(table);
        if self.len() > 2 * self.live + SLACK {
            for lane in &mut self.lanes {
                lane.retain(|due| table.is_pending(due.ticket));
            }
            self.others.retain(|Reverse(due)| table.is_pending(due.ticket));
        }
    }

    fn purge(&mut self, table: &Table) {
        for lane in &mut self.lanes {
            while lane.front().is_some_and(|due| !table.is_pending(due.ticket)) {
                lane.pop_front();
            }
        }
        while self.others.peek().is_some_and(|Reverse(due)| !table.is_pending(due.ticket)) {
            self.others.pop();
        }
    }

    fn first_due(&self) -> Option<Due> {
        let of_lanes = self.lanes.iter().filter_map(VecDeque::front);
        let of_others = self.others.peek().map(|Reverse(due)| due);
        of_lanes.chain(of_others).min().copied()
    }

    fn len(&self) -> usize {
        self.lanes.iter().map(VecDeque::len).sum::<usize>() + self.others.len()
    }

    pub(super) fn check_invariants(&self, table: &Table) {
        let others = self.others.iter().map(|Reverse(due)| due);
        let live = self.lanes.iter().flatten().chain(others).filter(|due| table.is_pending(due.ticket));
        assert_eq!(self.live, live.count(), "those who are live are counted");
        assert!(self.lanes.iter().all(|lane| lane.iter().is_sorted()), "a lane is in order");
        let mut firsts = self.lanes.iter().filter_map(VecDeque::front);
        assert!(firsts.all(|due| table.is_pending(due.ticket)), "the first of a lane is live");
        let first = self.others.peek().is_none_or(|Reverse(due)| table.is_pending(due.ticket));
        assert!(first, "the first of the heap is live");
        assert!(self.len() <= 2 * self.live + SLACK, "half are live");
    }
}

/// As many timeouts at a time cost next to nothing.
const LANES: usize = 4;
