use headwater::{Ack, DropReason, Level};

use super::{AckFault, Failure, Life, Reference, Replica, at};

impl Reference {
    /// Any sign of life renews a replica's time (R144).
    pub(super) fn hear(&mut self, name: u64) -> bool {
        let now = self.now;
        let heard = self.find_mut(name).map(|replica| replica.heard = now);
        heard.is_some()
    }

    /// What is acknowledged never moves back, and is never believed past what was lent.
    pub(super) fn acknowledge(&mut self, name: u64, ack: Ack) -> Result<(), AckFault> {
        if !self.hear(name) {
            return Err(AckFault::Gone);
        }
        self.note_highest_age(name);
        let replica = self.find(name).ok_or(AckFault::Gone)?;
        let before = replica.ack;
        let applied = before.map_or(ack.applied, |before| before.applied.max(ack.applied));
        let lie = if ack.applied > at(replica.lent) {
            Some(DropReason::AckBeyondLent { acked: ack.applied, lent: at(replica.lent) })
        } else {
            let fsynced = ack.fsynced.filter(|fsynced| *fsynced > applied);
            fsynced.map(|fsynced| DropReason::FsyncedBeyondApplied { fsynced, applied })
        };
        if let Some(reason) = lie {
            self.drop_replica(name, reason);
            return Err(AckFault::Dropped(reason));
        }
        let fsynced = before.and_then(|before| before.fsynced).max(ack.fsynced);
        self.believe(name, Ack { applied, fsynced });
        Ok(())
    }

    fn believe(&mut self, name: u64, ack: Ack) {
        let now = self.now;
        let Some(replica) = self.find_mut(name) else { return };
        (replica.ack, replica.acked_at) = (Some(ack), Some(now));
        match &mut replica.life {
            Life::Receiving { acked, .. } => *acked = true, // R90
            Life::AwaitingAck => self.open_stream(name),    // R89
            _ => {}
        }
        self.end_sync(name, ack);
        self.end_satisfied();
    }

    /// Its sync has succeeded once it holds what was written meanwhile.
    fn end_sync(&mut self, name: u64, ack: Ack) {
        let Some(replica) = self.find_mut(name) else { return };
        if replica.synced_at.take_if(|(end, _)| ack.applied.get() >= *end).is_some() {
            let replica = replica.clone();
            self.failures.retain(|failure: &Failure| !failure.is_of(&replica));
        }
    }

    /// R162: replicas that are online and have acknowledged `target`.
    pub(super) fn holding(&self, target: headwater::Offset, level: Level) -> usize {
        let holds = |replica: &&Replica| {
            let held = replica.ack.and_then(|ack| match level {
                Level::Applied => Some(ack.applied),
                _ => ack.fsynced,
            });
            replica.is_online() && held.is_some_and(|held| held >= target)
        };
        self.replicas.iter().filter(holds).count()
    }
}
