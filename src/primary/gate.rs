use super::event::Event;
use super::{Primary, WriteRefused};
use crate::acks::Level;
use crate::offset::Offset;
use crate::time::Timestamp;

impl Primary {
    /// Whether [`Primary::write`] would be let in at `now`: for a host that has to know before, such as when a
    /// command is queued for a transaction.
    ///
    /// # Errors
    ///
    /// [`WriteRefused`].
    pub fn admit_write(&self, now: Timestamp) -> Result<(), WriteRefused> {
        self.role.admit_write()?;
        self.good.admit_write(now.max(self.now))?;
        Ok(self.stream.check_room(self.config.max_unit)?)
    }

    /// How many replicas are good at `now`: online, and heard from within
    /// [`MinReplicas::max_lag`](crate::MinReplicas::max_lag).
    pub fn good(&self, now: Timestamp) -> usize {
        self.good.good(now.max(self.now))
    }

    /// How many replicas are good at `now` and have acknowledged `offset`. Looks at each of them.
    pub fn good_at(&self, offset: Offset, now: Timestamp) -> usize {
        let now = now.max(self.now);
        self.acks.holders(offset, Level::Applied).filter(|replica| self.good.is_good(*replica, now)).count()
    }

    pub(super) fn poll_gate(&mut self) -> Option<Event> {
        if self.role.is_following() {
            return None; // it is no gate of a node that writes nothing (R149)
        }
        let verdict = self.good.admit_write(self.now);
        if core::mem::replace(&mut self.is_gate_open, verdict.is_ok()) == verdict.is_ok() {
            return None;
        }
        Some(match verdict {
            Ok(()) => Event::GateOpened { good: self.good(self.now) },
            Err(refused) => Event::GateClosed(refused),
        })
    }
}
