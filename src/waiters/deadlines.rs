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

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;
    use core::time::Duration;

    use super::*;
    use crate::acks::Level;
    use crate::key::Tag;
    use crate::offset::Offset;

    const PENDING: Pending = Pending {
        target: Offset::ZERO,
        replicas: 1,
        level: Level::Applied,
        local: false,
        awaits_disk: false,
        has_deadline: true,
    };

    fn millis(count: u64) -> Timestamp {
        Timestamp::from_origin(Duration::from_millis(count))
    }

    /// Waiters of these deadlines, in the order of arrival.
    fn waiting(deadlines: impl IntoIterator<Item = u64>) -> (Deadlines, Table, Vec<Ticket>) {
        let (mut all, mut table) = (Deadlines::default(), Table::default());
        let insert = |deadline| {
            let (_, ticket) = table.insert(Tag(deadline), PENDING);
            all.insert(millis(deadline), ticket);
            ticket
        };
        let tickets = deadlines.into_iter().map(insert).collect();
        all.check_invariants(&table);
        (all, table, tickets)
    }

    fn leave(all: &mut Deadlines, table: &mut Table, ticket: Ticket) {
        table.take_pending(ticket).unwrap();
        all.forget_one();
        all.tidy(table);
        all.check_invariants(table);
    }

    fn kept(all: &Deadlines) -> usize {
        all.lanes.iter().map(VecDeque::len).sum::<usize>() + all.others.len()
    }

    /// More runs than there are lanes.
    #[test]
    fn whatever_the_order_they_come_in_they_are_due_in_theirs() {
        let (mut all, mut table, _) = waiting((0..200).rev().chain(200..300));
        assert!(all.others.len() > 100, "most fit no lane");
        let mut due = Vec::new();
        while let Some(first) = all.first() {
            let (ticket, _) = all.pop(first, &table).unwrap();
            table.take_pending(ticket).unwrap();
            all.tidy(&table);
            all.check_invariants(&table);
            due.push(first);
        }
        assert_eq!(due, (0..300).map(millis).collect::<Vec<_>>());
    }

    #[test]
    fn a_run_needs_no_search() {
        let (all, ..) = waiting(0..100);
        assert_eq!(all.others.len(), 0);
        assert_eq!(all.lanes.iter().filter(|lane| !lane.is_empty()).count(), 1);
    }

    /// Else each who leaves would cost a look at all. Those who leave are never the first of theirs.
    fn assert_dead_ones_stay_until_they_are_the_half(deadlines: Vec<u64>, in_order_of_leaving: &[usize]) {
        let (mut all, mut table, tickets) = waiting(deadlines);
        let total = tickets.len();
        for (left, index) in (1..).zip(in_order_of_leaving) {
            leave(&mut all, &mut table, tickets[*index]);
            if total > 2 * (total - left) + SLACK {
                assert_eq!(kept(&all), total - left);
                return;
            }
            assert_eq!(kept(&all), total, "{left} have left");
        }
        panic!("they are kept for ever");
    }

    #[test]
    fn dead_entries_of_a_run_stay_until_they_are_the_half() {
        let latest_first: Vec<_> = (0..108).rev().collect();
        assert_dead_ones_stay_until_they_are_the_half((0..108).collect(), &latest_first);
    }

    #[test]
    fn dead_entries_out_of_order_stay_until_they_are_the_half() {
        let latest_first: Vec<_> = (LANES..112).collect();
        assert_dead_ones_stay_until_they_are_the_half((0..112).rev().collect(), &latest_first);
    }
}
