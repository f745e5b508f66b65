use headwater::Timestamp;

use super::Host;

/// A place in the stream that was left by a replica which was lost.
#[derive(Debug)]
pub(super) struct Pin {
    port: i64,
    at: usize,
    until: Timestamp,
    /// What follows was surely kept when it was left, and so it still is.
    is_certain: bool,
}

impl Host {
    pub(super) fn leave_pin(&mut self, port: i64, at: usize, end: usize) {
        self.release_pin(port);
        let (budget, most) = (self.config().resume_pins, self.config().max_replicas);
        let (true, Some(until)) = ((end - at) as u64 <= budget.bytes, self.now().checked_add(budget.lasting))
        else {
            return;
        };
        let is_certain = at >= self.surely_kept_from(end);
        self.pins.push(Pin { port, at, until, is_certain });
        if self.pins.len() > most {
            // Which of the deepest goes is not promised.
            self.pins.iter_mut().for_each(|pin| pin.is_certain = false);
        }
    }

    pub(super) fn release_pin(&mut self, port: i64) {
        self.pins.retain(|pin| pin.port != port);
    }

    /// Those that hold too much, or have held it for too long, are let go of.
    pub(super) fn enforce_pins(&mut self, end: usize) {
        let (budget, latest) = (self.config().resume_pins, self.now());
        self.pins.retain(|pin| (end - pin.at) as u64 <= budget.bytes && pin.until > latest);
    }

    pub(super) fn first_pin_deadline(&self) -> Option<Timestamp> {
        self.pins.iter().filter(|pin| pin.is_certain).map(|pin| pin.until).min()
    }

    /// From where the stream was promised to be kept: for the capacity, for who is attached, and for who was lost.
    pub(super) fn surely_kept_from(&self, end: usize) -> usize {
        let sent = self.live().filter_map(|(link, _)| link.account.sent);
        let pinned = self.pins.iter().filter(|pin| pin.is_certain).map(|pin| pin.at);
        sent.chain(pinned).chain([self.may_be_lost, end]).min().unwrap_or(end)
    }

    /// From where anybody may still want it, capacity apart.
    pub(super) fn needed_from(&self, end: usize) -> usize {
        let sent = self.live().filter_map(|(link, _)| link.account.sent);
        sent.chain(self.pins.iter().map(|pin| pin.at)).min().unwrap_or(end)
    }
}
