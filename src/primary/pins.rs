use alloc::string::String;
use alloc::vec::Vec;

use super::config::PinBudget;
use super::peer::Peer;
use crate::backlog::{Backlog, Cursor};
use crate::offset::Offset;
use crate::time::Timestamp;

/// Places in the stream where replicas that were lost left off. What follows is kept for them, within one budget for
/// all, so that their return is a resume.
#[derive(Debug, Default)]
pub(crate) struct ResumePins {
    pins: Vec<Pin>,
    /// The end of the stream at which the first pin holds more than the budget, or less.
    nearest: Option<Offset>,
    /// When the first pin's time is over, or earlier.
    deadline: Option<Timestamp>,
}

#[derive(Debug)]
struct Pin {
    cursor: Cursor,
    address: String,
    port: i64,
    until: Timestamp,
}

impl ResumePins {
    /// Pins the stream from `at` on for a peer that was lost, in place of its earlier pin. Of more than `most` the
    /// one that holds most is let go of.
    pub(crate) fn leave(
        &mut self,
        backlog: &mut Backlog,
        (peer, at): (&Peer, Offset),
        budget: PinBudget,
        now: Timestamp,
        most: usize,
    ) {
        self.release_of(backlog, peer);
        let held = backlog.end().saturating_since(at);
        let (true, Some(until)) = (held <= budget.bytes, now.checked_add(budget.lasting)) else { return };
        // What is gone from the backlog can't be resumed from, so there is nothing to keep.
        let Ok(cursor) = backlog.cursor(at) else { return };
        self.pins.push(Pin { cursor, address: peer.address.clone(), port: peer.port, until });
        if self.pins.len() > most
            && let Some(deepest) = self.oldest()
        {
            self.release_where(backlog, |pin| pin.cursor.offset() == deepest);
        }
        self.watch(budget);
    }

    /// A peer is back, and needs its pin no more.
    pub(crate) fn release_of(&mut self, backlog: &mut Backlog, peer: &Peer) {
        self.release_where(backlog, |pin| (&pin.address, pin.port) == (&peer.address, peer.port));
    }

    /// Whether a pin may hold more than the budget at `end`: then [`ResumePins::enforce`] it.
    #[inline]
    pub(crate) fn may_be_over(&self, end: Offset) -> bool {
        self.nearest.is_some_and(|nearest| end >= nearest)
    }

    /// Lets go of the pins that hold more than the budget, or have held it for as long as it allows.
    pub(crate) fn enforce(&mut self, backlog: &mut Backlog, budget: PinBudget, now: Timestamp) {
        let end = backlog.end();
        self.release_where(backlog, |pin| {
            end.saturating_since(pin.cursor.offset()) > budget.bytes || pin.until <= now
        });
        self.watch(budget);
    }

    pub(crate) fn release_all(&mut self, backlog: &mut Backlog) {
        self.release_where(backlog, |_| true);
        (self.nearest, self.deadline) = (None, None);
    }

    /// When the first pin's time may be over: then [`ResumePins::enforce`] it.
    pub(crate) const fn deadline(&self) -> Option<Timestamp> {
        self.deadline
    }

    pub(crate) const fn len(&self) -> usize {
        self.pins.len()
    }

    /// Where the deepest pin stands.
    pub(crate) fn oldest(&self) -> Option<Offset> {
        self.pins.iter().map(|pin| pin.cursor.offset()).min()
    }

    fn watch(&mut self, budget: PinBudget) {
        let over = |oldest: Offset| oldest.checked_add(budget.bytes)?.checked_add(1);
        self.nearest = self.oldest().and_then(over);
        self.deadline = self.pins.iter().map(|pin| pin.until).min();
    }

    fn release_where(&mut self, backlog: &mut Backlog, is_over: impl Fn(&Pin) -> bool) {
        for pin in self.pins.extract_if(.., |pin| is_over(pin)) {
            backlog.release(pin.cursor);
        }
    }
}
