//! What happens to the clock of a node.

use std::time::Duration;

use crate::fault::Fault;
use crate::world::World;

impl World {
    pub(crate) fn disturb_clock(&mut self, host: usize) {
        let fault = self.rng.pick(&[
            Fault::ClockStoodStill,
            Fault::ClockJumped,
            Fault::ClockJumpedByDays,
            Fault::ClockWentBack,
        ]);
        self.journal.count(fault);
        self.note(format_args!("{host}: {fault:?}"));
        let (now, until) = (self.now, self.now + self.rng.scaled_millis(10..=20_000));
        let by = self.rng.scaled_millis(1..=100_000);
        let days = Duration::from_secs(86_400 * self.rng.within(1..=30) as u64);
        let clock = &mut self.hosts[host].clock;
        match fault {
            Fault::ClockStoodStill => clock.freeze(now, until),
            Fault::ClockJumped => clock.jump(by),
            Fault::ClockJumpedByDays => clock.jump(days),
            _ => clock.go_back(by + days),
        }
    }
}
