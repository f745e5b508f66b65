use alloc::vec::Vec;

use super::Primary;
use super::event::{DropReason, Event};
use super::replica::{CatchUp, Replica, Stage};
use crate::key::{Gone, ReplicaKey, SnapshotKey};
use crate::snapshots::{Cut, Failures, Framing, Identity, Image, Progress};
use crate::time::{Timestamp, earliest};

/// Why no snapshot was begun. Nothing has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// No replica waits for one, or none that takes its framing.
    #[error("no replica waits for such a snapshot")]
    NobodyWaits,
    /// Replicas wait for one, but as many as may be are being given theirs.
    #[error("{max} replicas are being given a snapshot, the most allowed")]
    TooManyTransfers {
        /// [`Config::max_transfers`](crate::Config::max_transfers).
        max: usize,
    },
    /// As many as there may be replicas; one that is over counts until its event is taken.
    #[error("{max} snapshots are under way, the most allowed")]
    TooManySnapshots {
        /// [`Config::max_replicas`](crate::Config::max_replicas).
        max: usize,
    },
}

impl Primary {
    /// Cuts the stream for a snapshot: the host takes its image now, of exactly what it has applied.
    ///
    /// All replicas that wait and can receive such an image share it, up to [`Config::max_transfers`]; the stream after
    /// the cut is kept for them.
    /// The host says [`Primary::handle_snapshot_ready`] once it can send it, which may be at once.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`].
    ///
    /// [`Config::max_transfers`]: crate::Config::max_transfers
    pub fn begin_snapshot(&mut self, image: Image, now: Timestamp) -> Result<Cut, SnapshotError> {
        self.advance_clock(now);
        let max = self.config.max_replicas;
        if self.snapshots.len() + self.outbox.over.len() >= max {
            return Err(SnapshotError::TooManySnapshots { max });
        }
        let sharing = self.next_in_line(|replica| image.framing.suits(replica.takes_end_mark()));
        if sharing.is_empty() {
            return Err(self.why_nobody_shares());
        }
        let (id, offset) = (self.history.id(), self.end());
        let cut =
            self.snapshots.begin(|snapshot| Cut { snapshot, id, offset }, image, sharing.len(), self.now);
        self.context.0 += 1;
        for replica in sharing {
            self.pin(replica, offset, Stage::Preparing(cut.snapshot), offset);
        }
        self.is_forecast_told = false;
        self.snapshots.ask_at(Some(self.now)); // those who were left over have waited long enough
        self.outbox.snapshot_wanted = false;
        self.ask_for_snapshot();
        Ok(cut)
    }

    /// The image can be sent: [`Event::SendSnapshot`] follows for each of its replicas. Said twice, it changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`Gone`] if it is over: its replicas left, or it took too long.
    pub fn handle_snapshot_ready(
        &mut self,
        snapshot: SnapshotKey,
        now: Timestamp,
    ) -> Result<(), Gone<SnapshotKey>> {
        self.advance_clock(now);
        if self.snapshots.set_ready(snapshot)? {
            let cut_at = self.snapshots.get(snapshot)?.cut_at;
            self.sync_record.note_made(self.now.saturating_since(cut_at));
            for replica in self.replicas_that(|replica| replica.stage == Stage::Preparing(snapshot)) {
                self.start_transfer(replica, snapshot);
            }
        }
        Ok(())
    }

    /// The image can't be made, or not be sent any more: its replicas are dropped, and come back (R82).
    /// [`Event::SnapshotOver`] follows.
    ///
    /// # Errors
    ///
    /// [`Gone`] if it is over already.
    pub fn handle_snapshot_failed(
        &mut self,
        snapshot: SnapshotKey,
        now: Timestamp,
    ) -> Result<(), Gone<SnapshotKey>> {
        self.advance_clock(now);
        self.snapshots.get(snapshot)?;
        self.fail_snapshot(snapshot, DropReason::SnapshotFailed);
        Ok(())
    }

    /// Of the image `sent` bytes have gone out to `replica` so far, which renews the deadline of its transfer.
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub fn handle_snapshot_progress(
        &mut self,
        replica: ReplicaKey,
        sent: u64,
        now: Timestamp,
    ) -> Result<(), Gone<ReplicaKey>> {
        self.advance_clock(now);
        if let Stage::Receiving { progress, sent: known, .. } =
            &mut self.replicas.get_mut(replica).ok_or(Gone(replica))?.stage
        {
            *progress = self.now;
            *known = sent.max(*known);
        }
        Ok(())
    }

    /// The whole image has gone out to `replica`, with its end mark if it has one: the replica is online.
    ///
    /// The stream follows at once, or behind an end mark with its first ack. Outside of a transfer this changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub fn handle_snapshot_sent(&mut self, key: ReplicaKey, now: Timestamp) -> Result<(), Gone<ReplicaKey>> {
        self.advance_clock(now);
        let replica = self.replicas.get(key).ok_or(Gone(key))?;
        let Stage::Receiving { snapshot, framing, acked, .. } = replica.stage else { return Ok(()) };
        if let Some(progress) = self.progress_of(replica) {
            self.sync_record.note_success(progress);
        }
        let cut_at = self.snapshots.get(snapshot).ok().map(|snapshot| snapshot.cut_at);
        let until = self.end();
        let replica = self.replicas.get_mut(key).ok_or(Gone(key))?;
        replica.heard = self.now;
        replica.stage = Stage::AwaitingAck;
        replica.catch_up = cut_at.filter(|_| replica.peer.acks).map(|cut_at| CatchUp { cut_at, until });
        self.outbox.transfers.retain(|transfer| *transfer != key);
        self.leave_snapshot(snapshot);
        self.watch_silence(key);
        self.come_online(key);
        if framing == Framing::Sized || acked {
            self.open_stream(key);
        }
        Ok(())
    }

    /// An ack opens the stream behind an end mark. One that comes during the transfer is remembered (R90).
    pub(super) fn on_acked(&mut self, key: ReplicaKey) {
        let Some(replica) = self.replicas.get_mut(key) else { return };
        match &mut replica.stage {
            Stage::Receiving { acked, .. } => *acked = true,
            Stage::AwaitingAck => self.open_stream(key),
            Stage::Waiting { .. } | Stage::Preparing(_) | Stage::Online => {}
        }
        self.end_sync(key);
    }

    /// A sync has succeeded once the replica holds what was written while it lasted: one that is dropped before is
    /// back for another.
    fn end_sync(&mut self, key: ReplicaKey) {
        let Some(acked) = self.acks.of(key) else { return };
        let Some(replica) = self.replicas.get_mut(key) else { return };
        if replica.catch_up.take_if(|catch_up| acked.applied >= catch_up.until).is_some() {
            self.failures.forget(replica.peer.identity());
        }
    }

    /// The peer of a replica that is gone is held back the next time.
    pub(super) fn note_failed_sync(&mut self, replica: &Replica) {
        if let Some(progress) = self.progress_of(replica) {
            self.sync_record.note_failure(progress);
        }
        if let Some(backoff) = self.config.sync_backoff {
            let (seed, most) = (self.history.id().bits(), self.config.max_replicas);
            self.failures.record(replica.peer.identity(), backoff, seed, self.now, most);
            self.hold_back(replica.peer.identity());
        }
    }

    /// The peer may be back already, on a connection that came before the old one was known to be gone.
    fn hold_back(&mut self, peer: Identity<'_>) {
        let until = self.failures.held_back_until(peer);
        for (_, replica) in self.replicas.iter_mut().filter(|(_, replica)| replica.peer.identity() == peer) {
            if let Stage::Waiting { not_before } = &mut replica.stage {
                *not_before = until;
            }
        }
        self.forget_wish();
    }

    /// The output limit is about to end the sync of a replica, if it has one under way.
    pub(super) fn note_sync_over_limit(&mut self, replica: ReplicaKey) {
        let Some(replica) = self.replicas.get(replica) else { return };
        let snapshot = replica.snapshot().and_then(|snapshot| self.snapshots.get(snapshot).ok());
        let cut_at =
            snapshot.map(|snapshot| snapshot.cut_at).or(replica.catch_up.map(|catch_up| catch_up.cut_at));
        if let Some(cut_at) = cut_at {
            self.sync_record.note_over_limit(self.now.saturating_since(cut_at));
        }
    }

    /// Forgets all failures, and holds nobody back any more.
    pub(super) fn forgive_failures(&mut self) {
        self.failures = Failures::default();
        for (_, replica) in self.replicas.iter_mut() {
            if let Stage::Waiting { not_before } = &mut replica.stage {
                *not_before = None;
            }
        }
    }

    fn progress_of(&self, replica: &Replica) -> Option<Progress> {
        let Stage::Receiving { snapshot, begun, sent, .. } = replica.stage else { return None };
        let snapshot = self.snapshots.get(snapshot).ok()?;
        let [elapsed, transferring] = [snapshot.cut_at, begun].map(|since| self.now.saturating_since(since));
        Some(Progress { elapsed, transferring, sent, size: snapshot.image.size })
    }

    pub(super) fn poll_snapshot_event(&mut self) -> Option<Event> {
        if let Some(forecast) = self.outbox.forecast.take() {
            return Some(Event::SyncUnlikely(forecast));
        }
        if core::mem::take(&mut self.outbox.snapshot_wanted) {
            let waiting = self.next_in_line(|_| true).len();
            let taking = self.next_in_line(Replica::takes_end_mark).len();
            return Some(Event::SnapshotWanted { waiting, all_take_end_mark: taking == waiting });
        }
        let replica = self.outbox.transfers.pop_front()?;
        let snapshot = self.replicas.get(replica).and_then(|replica| replica.snapshot());
        let snapshot = snapshot.and_then(|snapshot| self.snapshots.get(snapshot).ok());
        let snapshot =
            snapshot.expect("a transfer is taken back with its replica, and its replica keeps the snapshot");
        Some(Event::SendSnapshot { replica, cut: snapshot.cut, framing: snapshot.image.framing })
    }

    pub(super) fn join(&mut self, replica: ReplicaKey, snapshot: SnapshotKey) {
        let Ok(joined) = self.snapshots.get(snapshot) else { return };
        let (offset, in_the_making) = (joined.cut.offset, joined.is_in_the_making());
        self.snapshots.join(snapshot);
        self.pin(replica, offset, Stage::Preparing(snapshot), offset);
        if in_the_making {
            self.start_keep_alives();
        } else {
            self.start_transfer(replica, snapshot);
        }
    }

    /// Has the host asked for a snapshot, at once or when others had time to come and share it, but not before the
    /// replica may be given one.
    pub(super) fn await_snapshot(&mut self, not_before: Option<Timestamp>) {
        self.start_keep_alives();
        let gathered = self.now.checked_add(self.config.snapshot_delay);
        self.snapshots.ask_by(gathered.max(not_before));
        self.ask_for_snapshot();
    }

    /// Asks now if it is time, and again with the next keep-alive: a host may have failed to begin one.
    pub(super) fn ask_for_snapshot(&mut self) {
        if !self.snapshots.must_ask(self.now) {
            return;
        }
        if self.next_in_line(|_| true).is_empty() {
            return self.snapshots.ask_at(self.next_return());
        }
        self.outbox.snapshot_wanted = true;
        self.snapshots.ask_at(self.now.checked_add(self.config.keep_alive));
        if !core::mem::replace(&mut self.is_forecast_told, true) {
            let write_rate = self.write_rate.at(self.end(), self.now);
            self.outbox.forecast = self.sync_record.forecast(write_rate, self.output.limit());
        }
    }

    /// Asks no more if nobody waits that could be given a snapshot.
    pub(super) fn forget_wish(&mut self) {
        if self.next_in_line(|_| true).is_empty() {
            (self.outbox.snapshot_wanted, self.outbox.forecast) = (false, None);
            self.is_forecast_told = false;
            self.snapshots.ask_at(self.next_return());
        }
    }

    /// When the first replica may be given a snapshot, where none may now. Without a free transfer, the end of one
    /// comes first.
    fn next_return(&self) -> Option<Timestamp> {
        let held_back = self.replicas.iter().filter_map(|(_, replica)| replica.held_back_until().flatten());
        held_back.min().filter(|_| self.free_transfers() > 0)
    }

    /// How many replicas more may be given a snapshot.
    pub(super) fn free_transfers(&self) -> usize {
        let busy = self.replicas.iter().filter(|(_, replica)| replica.is_in_transfer()).count();
        self.config.max_transfers.saturating_sub(busy)
    }

    /// The replicas that `suits` picks of those that would be given a snapshot now, in order of arrival.
    fn next_in_line(&self, suits: impl Fn(&Replica) -> bool) -> Vec<ReplicaKey> {
        let mut line = self.replicas_that(|replica| replica.may_sync(self.now) && suits(replica));
        line.truncate(self.free_transfers());
        line
    }

    fn why_nobody_shares(&self) -> SnapshotError {
        let somebody_waits = self.replicas.iter().any(|(_, replica)| replica.may_sync(self.now));
        if somebody_waits && self.free_transfers() == 0 {
            return SnapshotError::TooManyTransfers { max: self.config.max_transfers };
        }
        SnapshotError::NobodyWaits
    }

    /// Brings forward what a shorter period or delay makes due earlier.
    pub(super) fn hasten_snapshots(&mut self) {
        if self.timers.keep_alive_at.is_some() {
            let next = self.now.checked_add(self.config.keep_alive);
            self.timers.keep_alive_at = earliest(self.timers.keep_alive_at, next);
        }
        if self.replicas.iter().any(|(_, replica)| replica.held_back_until().is_some()) {
            self.snapshots.ask_by(self.now.checked_add(self.config.snapshot_delay));
        }
    }

    pub(super) fn fail_late_snapshots(&mut self) {
        let timeout = self.config.snapshot_timeout;
        while let Some(late) = self.snapshots.late(timeout, self.now) {
            self.fail_snapshot(late, DropReason::SnapshotTimedOut { timeout });
        }
    }

    fn fail_snapshot(&mut self, snapshot: SnapshotKey, reason: DropReason) {
        for replica in self.replicas_that(|replica| replica.snapshot() == Some(snapshot)) {
            self.drop_replica(replica, reason);
        }
    }

    fn start_transfer(&mut self, key: ReplicaKey, snapshot: SnapshotKey) {
        let Ok(framing) = self.snapshots.get(snapshot).map(|snapshot| snapshot.image.framing) else { return };
        let Some(replica) = self.replicas.get_mut(key) else { return };
        replica.stage = Stage::Receiving {
            snapshot,
            framing,
            begun: self.now,
            progress: self.now,
            sent: 0,
            acked: false,
        };
        self.outbox.transfer(key);
        self.watch_silence(key);
    }

    fn open_stream(&mut self, key: ReplicaKey) {
        let Some(replica) = self.replicas.get_mut(key) else { return };
        replica.stage = Stage::Online;
        self.queue(key, false);
    }

    pub(super) fn leave_snapshot(&mut self, snapshot: SnapshotKey) {
        if self.snapshots.leave(snapshot) {
            self.outbox.over.push_back(snapshot);
        }
        if self.free_transfers() == 1 {
            // None was free before, so somebody may have waited for it.
            self.snapshots.ask_by(Some(self.now));
            self.ask_for_snapshot();
        }
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::{Config, Detach, Peer, ReplicationId, Tag, Wanted};

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_origin(Duration::from_millis(millis))
    }

    fn attach(primary: &mut Primary, tag: u64) -> ReplicaKey {
        primary.attach(Wanted::Everything, Peer::new(Tag(tag), "10.0.0.9"), at(0)).unwrap().replica
    }

    /// L5: whichever of a replica's two connections came first, a failed sync holds it back.
    #[test]
    fn a_replica_that_is_back_before_its_sync_is_known_to_have_failed_is_held_back() {
        let [first, second] = [[1; 20], [2; 20]].map(ReplicationId::from_random);
        let config = Config { max_transfers: 1, ..Config::default() };
        let mut primary = Primary::new(config, first, at(0)).unwrap();
        primary.supply_id(second).unwrap();
        let old = attach(&mut primary, 1);
        let image = Image { framing: Framing::Sized, replayable: false, size: None };
        primary.begin_snapshot(image, at(0)).unwrap();
        attach(&mut primary, 2);
        primary.detach(old, Detach::Lost, at(0)).unwrap();
        assert_eq!(primary.begin_snapshot(image, at(0)), Err(SnapshotError::NobodyWaits));
        while let Some(event) = primary.poll_event() {
            assert!(!matches!(event, Event::SnapshotWanted { .. }), "it is asked for too early");
        }
        primary.handle_timeout(at(1000));
        let asked = core::iter::from_fn(|| primary.poll_event());
        assert!(asked.into_iter().any(|event| matches!(event, Event::SnapshotWanted { waiting: 1, .. })));
        assert!(primary.begin_snapshot(image, at(1000)).is_ok());
    }
}
