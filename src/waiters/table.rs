use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::WaitEnd;
use crate::acks::Level;
use crate::key::{Tag, WaiterKey};
use crate::offset::Offset;

/// Who waits, and whose end was not told yet. A place is used again, its key is not.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
    pending: usize,
    arrivals: u64,
    /// Whose end was not told yet, in the order in which they ended; and some who left meanwhile.
    ended: VecDeque<Ticket>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    key: WaiterKey,
    arrival: u64,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Free,
    Pending(Pending),
    Ended(WaitEnd),
}

/// What is known of one who waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) target: Offset,
    pub(super) replicas: usize,
    pub(super) level: Level,
    pub(super) local: bool,
    /// Whether it is in the queue for the own disk still.
    pub(super) awaits_disk: bool,
    pub(super) has_deadline: bool,
}

/// Names a waiter inside, in the order of arrival. Unlike a key it never comes again, so a queue may hold one of
/// somebody who left long ago.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Ticket {
    arrival: u64,
    slot: u32,
}

#[cfg(test)]
impl Ticket {
    pub(super) const fn new(arrival: u64, slot: u32) -> Self {
        Self { arrival, slot }
    }
}

impl Table {
    /// How many there are, pending or ended.
    pub(super) const fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) const fn pending(&self) -> usize {
        self.pending
    }

    pub(super) fn is_full(&self, max: usize) -> bool {
        let nameable = u32::MAX as usize;
        self.len() >= max.min(nameable)
    }

    #[inline]
    pub(super) fn insert(&mut self, tag: Tag, pending: Pending) -> (WaiterKey, Ticket) {
        let slot = self.free.pop().unwrap_or_else(|| self.add_slot());
        let place = &mut self.slots[slot as usize];
        // A key comes again only after 2^32 waiters in one place.
        let key = WaiterKey::new(slot, place.key.generation().wrapping_add(1), tag);
        let arrival = self.arrivals;
        *place = Slot { key, arrival, state: State::Pending(pending) };
        self.arrivals += 1;
        self.pending += 1;
        (key, Ticket { arrival, slot })
    }

    pub(super) fn ticket(&self, key: WaiterKey) -> Option<Ticket> {
        let slot = self.slots.get(key.index()).filter(|slot| slot.key == key)?;
        let place = u32::try_from(key.index()).expect("a key's index has 32 bits");
        let is_there = !matches!(slot.state, State::Free);
        is_there.then_some(Ticket { arrival: slot.arrival, slot: place })
    }

    #[inline]
    pub(super) fn get_pending(&self, ticket: Ticket) -> Option<&Pending> {
        match &self.slots[ticket.slot as usize] {
            Slot { arrival, state: State::Pending(pending), .. } if *arrival == ticket.arrival => {
                Some(pending)
            }
            _ => None,
        }
    }

    #[inline]
    pub(super) fn is_pending(&self, ticket: Ticket) -> bool {
        self.get_pending(ticket).is_some()
    }

    /// Moves one who is pending out of the queue for the own disk.
    pub(super) fn set_on_disk(&mut self, ticket: Ticket) {
        if let State::Pending(pending) = &mut self.slots[ticket.slot as usize].state {
            pending.awaits_disk = false;
        }
    }

    /// Ends one who is pending; it keeps its place until its end was told.
    #[inline]
    pub(super) fn end(&mut self, ticket: Ticket, end: WaitEnd) {
        debug_assert!(self.is_pending(ticket), "a waiter ends once");
        self.slots[ticket.slot as usize].state = State::Ended(end);
        self.pending -= 1;
        self.ended.push_back(ticket);
    }

    /// The next whose end is to be told. Its place is free then.
    #[inline]
    pub(super) fn pop_ended(&mut self) -> Option<(WaiterKey, WaitEnd)> {
        while let Some(ticket) = self.ended.pop_front() {
            let Slot { key, state: State::Ended(end), .. } = *self.slot(ticket) else { continue };
            if self.slot(ticket).arrival == ticket.arrival {
                self.free(ticket);
                return Some((key, end));
            }
        }
        None
    }

    /// Takes out one whose end was not told yet, if it is over.
    pub(super) fn take_ended(&mut self, ticket: Ticket) -> Option<WaitEnd> {
        let State::Ended(end) = self.slot(ticket).state else { return None };
        self.free(ticket);
        if self.ended.len() > 2 * self.ended() + SLACK {
            let Self { slots, ended, .. } = self;
            ended.retain(|ticket| slots[ticket.slot as usize].is_ended(*ticket));
        }
        Some(end)
    }

    /// Takes out one who is pending.
    pub(super) fn take_pending(&mut self, ticket: Ticket) -> Option<Pending> {
        let pending = *self.get_pending(ticket)?;
        self.free(ticket);
        self.pending -= 1;
        Some(pending)
    }

    /// Everyone who is pending, in the order of arrival.
    pub(super) fn all_pending(&self) -> Vec<(Ticket, Pending)> {
        let of = |(slot, place): (&Slot, u32)| match slot.state {
            State::Pending(pending) => Some((Ticket { arrival: slot.arrival, slot: place }, pending)),
            State::Free | State::Ended(_) => None,
        };
        let mut all: Vec<_> = self.slots.iter().zip(0..).filter_map(of).collect();
        all.sort_unstable_by_key(|(ticket, _)| *ticket);
        all
    }

    pub(super) fn check_invariants(&self) {
        let free = self.slots.iter().filter(|slot| matches!(slot.state, State::Free)).count();
        assert_eq!(free, self.free.len(), "each free place is known once");
        assert_eq!(self.pending, self.all_pending().len(), "those who are pending are counted");
        let ended = self.ended.iter().filter(|ticket| self.slot(**ticket).is_ended(**ticket));
        assert_eq!(ended.count(), self.ended(), "each end is to be told once");
        assert!(self.ended.len() <= 2 * self.slots.len() + SLACK, "few have left meanwhile");
    }

    fn add_slot(&mut self) -> u32 {
        let slot = u32::try_from(self.slots.len()).expect("a table with so many is full");
        self.slots.push(Slot { key: WaiterKey::new(slot, 0, Tag(0)), arrival: 0, state: State::Free });
        slot
    }

    fn free(&mut self, ticket: Ticket) {
        self.slots[ticket.slot as usize].state = State::Free;
        self.free.push(ticket.slot);
    }

    /// How many are over.
    const fn ended(&self) -> usize {
        self.len() - self.pending
    }

    fn slot(&self, ticket: Ticket) -> &Slot {
        &self.slots[ticket.slot as usize]
    }
}

impl Slot {
    fn is_ended(&self, ticket: Ticket) -> bool {
        self.arrival == ticket.arrival && matches!(self.state, State::Ended(_))
    }
}

/// So few who have left are not worth a look at all.
pub(super) const SLACK: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waiters::WaitEnded;

    const END: WaitEnd = WaitEnd { acked: 0, local: false, how: WaitEnded::Cancelled };

    /// So many whose ends are to be told.
    fn ended(count: u64) -> (Table, Vec<Ticket>) {
        let mut table = Table::default();
        let pending = Pending {
            target: Offset::ZERO,
            replicas: 1,
            level: Level::Applied,
            local: false,
            awaits_disk: false,
            has_deadline: false,
        };
        let tickets: Vec<_> = (0..count).map(|tag| table.insert(Tag(tag), pending).1).collect();
        tickets.iter().for_each(|ticket| table.end(*ticket, END));
        (table, tickets)
    }

    /// Else each who is cancelled would cost a look at all.
    #[test]
    fn who_left_stays_on_the_list_of_ends_until_those_are_the_half() {
        let (mut table, tickets) = ended(100 + SLACK as u64);
        let (leaving, last) = (&tickets[..50 + SLACK], tickets[50 + SLACK]);
        for ticket in leaving {
            assert!(table.take_ended(*ticket).is_some());
            assert_eq!(table.ended.len(), 100 + SLACK);
        }
        assert!(table.take_ended(last).is_some());
        assert_eq!(table.ended.len(), 49);
        table.check_invariants();
    }
}
