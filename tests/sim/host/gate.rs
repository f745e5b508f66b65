use headwater::NotEnoughReplicas;

use super::Host;
use crate::env::Env;

/// S9: a write is let in exactly when enough replicas are good.
impl Host {
    /// Those that are online and were heard from within the lag allowed.
    pub(super) fn good(&self) -> usize {
        self.live().filter(|(link, _)| self.is_good(link)).count()
    }

    pub(super) fn is_good(&self, link: &super::Link) -> bool {
        let silent = self.now().saturating_since(link.account.heard);
        link.account.is_online && silent <= self.config().min_replicas.max_lag
    }

    /// What a write has to be told now.
    pub(super) fn expected_verdict(&self) -> Result<(), NotEnoughReplicas> {
        let limits = self.config().min_replicas;
        let (good, needed, max_lag) = (self.good(), limits.to_write, limits.max_lag);
        let is_open = needed == 0 || max_lag.is_zero() || good >= needed;
        if is_open { Ok(()) } else { Err(NotEnoughReplicas { good, needed, max_lag }) }
    }

    /// The host was told of each closing and opening, once.
    pub(super) fn on_gate(&mut self, told: Result<(), NotEnoughReplicas>, good: usize) {
        assert_ne!(self.is_gate_open, told.is_ok(), "S9: the gate is told twice to be the same");
        assert_eq!(told, self.expected_verdict(), "S9: the gate is told to be what it is");
        assert_eq!(good, self.good(), "S9: the gate tells how many are good");
        self.is_gate_open = told.is_ok();
    }

    pub(super) fn check_gate(&self, env: &Env) {
        let (now, expected) = (self.now(), self.expected_verdict());
        assert_eq!(self.primary.good(now), self.good(), "S9: those who are good are counted");
        assert_eq!(self.primary.admit_write(now).is_ok(), expected.is_ok(), "S9: a look at the gate");
        assert_eq!(self.is_gate_open, expected.is_ok(), "S9: the host knows of the gate what is so");
        let holds = |link: &super::Link| self.is_good(link) && link.account.acked >= Some(env.model.end());
        let holding = self.live().filter(|(link, _)| holds(link)).count();
        assert_eq!(self.primary.good_at(self.primary.end(), now), holding, "S9: those who hold all");
    }
}
