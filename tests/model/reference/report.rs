use std::time::Duration;

use headwater::{Framing, ReplicaState, Timestamp};

use super::stream::expect;
use super::{Figures, Life, Reference, Replica, ReplicaFigures, at};

impl Reference {
    /// Every figure at this instant that is exact.
    pub(crate) fn figures(&self, now: Timestamp) -> Figures {
        let now = now.max(self.now);
        let deepest = self.pins.iter().map(|pin| pin.at).min();
        Figures {
            id: self.id,
            // Nothing keeps the stream under another name yet.
            previous: None,
            end: at(self.end()),
            is_kept: self.kept_from.is_some(),
            backlog_capacity: self.config.backlog_capacity,
            resume_pins: self.pins.len(),
            pinned: deepest.map_or(0, |deepest| self.end() - deepest),
            min_replicas: self.config.min_replicas,
            good: self.good(now),
            waiters: self.waiters.len(),
            local_fsynced: self.local_fsynced.map(at),
            replicas: self.replicas.iter().map(|replica| self.figures_of(replica, now)).collect(),
            counts: self.counts,
        }
    }

    fn figures_of(&self, replica: &Replica, now: Timestamp) -> ReplicaFigures {
        let since = |at: Timestamp| now.saturating_since(at);
        let not_before = match replica.life {
            Life::Waiting { not_before } => not_before,
            _ => None,
        };
        ReplicaFigures {
            peer: replica.peer.clone(),
            state: self.state_of(replica),
            acked: replica.ack.map(|ack| ack.applied),
            fsynced: replica.ack.and_then(|ack| ack.fsynced),
            unsent: if replica.is_waiting() { 0 } else { self.end() - replica.sent },
            lag_bytes: replica.is_online().then(|| self.end() - replica.held()),
            last_heard: since(replica.heard),
            last_ack: replica.acked_at.map(since),
            is_good: self.is_good(replica, now),
            over_soft_limit: replica.over_since.map(since),
            held_back: not_before.filter(|until| *until > now).map(|until| until.saturating_since(now)),
        }
    }

    fn state_of(&self, replica: &Replica) -> ReplicaState {
        match replica.life {
            Life::Waiting { .. } => ReplicaState::WaitingForSnapshot,
            Life::Preparing { .. } => ReplicaState::PreparingSnapshot,
            Life::Receiving { snapshot, .. } => match self.image_of(snapshot).framing {
                Framing::Sized => ReplicaState::ReceivingSized,
                _ => ReplicaState::ReceivingEndMarked,
            },
            Life::AwaitingAck | Life::Online => ReplicaState::Online,
        }
    }

    /// For how long the oldest byte that a replica lacks has been in the stream.
    fn age(&self, replica: &Replica, now: Timestamp) -> Option<Duration> {
        let held = replica.held();
        let unit = self.units.iter().rfind(|(start, _)| *start <= held).filter(|_| held < self.end());
        unit.map(|(_, entered)| now.saturating_since(*entered))
    }

    pub(super) fn note_highest_age(&mut self, name: u64) {
        let Some(replica) = self.find(name).filter(|replica| replica.is_online()) else { return };
        let age = self.age(replica, self.now).unwrap_or_default();
        if let Some(replica) = self.find_mut(name) {
            replica.highest_age = replica.highest_age.max(age);
        }
    }

    /// An age is too high by less than its error, and too low only for one that resumed from further back than any other
    /// was. `told` are the ages, and the highest ages, of all who are online.
    pub(crate) fn check_ages(
        &mut self,
        told: &[Option<(Option<Duration>, Duration)>],
        error: Duration,
        now: Timestamp,
    ) -> Result<(), String> {
        self.largest_age_error = self.largest_age_error.max(error);
        expect(error == Duration::from_millis(1), || format!("{error:?} is the error of a few samples"))?;
        for (replica, told) in self.replicas.iter().zip(told) {
            let (true, Some((age, highest))) = (replica.is_online(), told) else { continue };
            let true_age = self.age(replica, now.max(self.now));
            let true_highest = replica.highest_age.max(true_age.unwrap_or_default());
            let is_right = age.is_some() == true_age.is_some()
                && is_within(age.unwrap_or_default(), true_age.unwrap_or_default(), error, replica)
                && is_within(*highest, true_highest, self.largest_age_error, replica);
            expect(is_right, || {
                let name = replica.name;
                format!(
                    "the ages of {name} are {age:?}, {highest:?}, they are {true_age:?}, {true_highest:?}"
                )
            })?;
        }
        Ok(())
    }
}

fn is_within(told: Duration, truth: Duration, error: Duration, replica: &Replica) -> bool {
    told < truth + error && (told >= truth || replica.is_age_unsure)
}
