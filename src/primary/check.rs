use super::Primary;
use super::replica::Replica;
use crate::backlog::Cursor;
use crate::key::ReplicaKey;

impl Primary {
    /// Panics when an invariant is broken. For tests and fuzzing.
    #[doc(hidden)]
    pub fn check_invariants(&self) {
        if let Some(backlog) = self.stream.backlog() {
            backlog.check_invariants();
        }
        self.snapshots.check_invariants(|key| {
            self.replicas.iter().filter(|(_, replica)| replica.snapshot() == Some(key)).count()
        });
        self.outbox.sends.check_invariants();
        self.acks.check_invariants();
        self.good.check_invariants();
        self.waiters.check_invariants(&self.acks);
        assert!(self.replicas.len() > 0 || self.acks.online() == 0, "who is gone does not count");
        assert!(
            self.stream.backlog().is_some() || self.pins.len() == 0,
            "nothing is pinned in a stream that is gone"
        );
        assert!(self.stream.backlog().is_some() || self.replicas.len() == 0, "who is attached has a stream");
        for (key, replica) in self.replicas.iter() {
            self.check_replica(key, replica);
        }
    }

    fn check_replica(&self, key: ReplicaKey, replica: &Replica) {
        let cursor = replica.cursor.as_ref().map(Cursor::offset);
        assert_eq!(
            cursor.is_none(),
            replica.held_back_until().is_some(),
            "who waits for no snapshot is pinned"
        );
        assert!(cursor.is_none_or(|cursor| cursor <= replica.lent), "what was sent was lent");
        assert!(replica.lent <= self.end(), "what was lent was there");
        let acked = self.acks.of(key).map(|ack| ack.applied);
        assert!(acked.is_none_or(|acked| acked <= replica.lent), "what was acknowledged was lent");
        let unsent = replica.charged_from().map_or(0, |from| self.end().saturating_since(from));
        let limit = self.output.limit();
        assert!(limit.hard.is_none_or(|hard| unsent < hard), "nobody is over the hard output limit");
        let is_over = limit.soft.is_some_and(|soft| unsent >= soft.bytes);
        assert_eq!(replica.over_since.is_some(), is_over, "who is over the soft output limit is known");
        if let Some(snapshot) = replica.snapshot() {
            assert!(self.snapshots.get(snapshot).is_ok(), "a snapshot lives as long as a replica needs it");
        }
        assert_eq!(self.outbox.sends.contains(key), replica.queued, "who is queued knows");
        assert!(!replica.queued || replica.is_open(), "only an open stream is sent");
    }
}
