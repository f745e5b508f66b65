use alloc::vec::Vec;

use super::Primary;
use super::event::{DropReason, Event};
use super::replica::{Replica, Stage};
use crate::key::{Gone, ReplicaKey, SnapshotKey};
use crate::snapshots::{Cut, Framing, Image};
use crate::time::{Timestamp, earliest};

/// Why no snapshot was begun. Nothing has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// No replica waits for one, or none that takes its framing.
    #[error("no replica waits for such a snapshot")]
    NobodyWaits,
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
    /// All replicas that wait and can receive such an image share it; the stream after the cut is kept for them.
    /// The host says [`Primary::handle_snapshot_ready`] once it can send it, which may be at once.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`].
    pub fn begin_snapshot(&mut self, image: Image, now: Timestamp) -> Result<Cut, SnapshotError> {
        self.advance_clock(now);
        let max = self.config.max_replicas;
        if self.snapshots.len() + self.outbox.over.len() >= max {
            return Err(SnapshotError::TooManySnapshots { max });
        }
        let shares = |replica: &Replica| replica.waits() && image.framing.suits(replica.takes_end_mark());
        let sharing = self.replicas_that(shares);
        if sharing.is_empty() {
            return Err(SnapshotError::NobodyWaits);
        }
        let (id, offset) = (self.history.id(), self.end());
        let cut =
            self.snapshots.begin(|snapshot| Cut { snapshot, id, offset }, image, sharing.len(), self.now);
        self.context.0 += 1;
        for replica in sharing {
            self.pin(replica, offset, Stage::Preparing(cut.snapshot), offset);
        }
        if self.somebody_waits() {
            self.snapshots.ask_at(Some(self.now)); // those who were left over have waited long enough
            self.ask_for_snapshot();
        } else {
            self.forget_wish();
        }
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

    /// Some of the image has gone out to `replica`, which renews the deadline of its transfer.
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub fn handle_snapshot_progress(
        &mut self,
        replica: ReplicaKey,
        now: Timestamp,
    ) -> Result<(), Gone<ReplicaKey>> {
        self.advance_clock(now);
        if let Stage::Receiving { progress, .. } =
            &mut self.replicas.get_mut(replica).ok_or(Gone(replica))?.stage
        {
            *progress = self.now;
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
        let replica = self.replicas.get_mut(key).ok_or(Gone(key))?;
        let Stage::Receiving { snapshot, framing, acked, .. } = replica.stage else { return Ok(()) };
        replica.heard = self.now;
        replica.stage = Stage::AwaitingAck;
        self.outbox.transfers.retain(|transfer| *transfer != key);
        self.leave_snapshot(snapshot);
        self.watch_silence(key);
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
            Stage::Waiting | Stage::Preparing(_) | Stage::Online => {}
        }
    }

    pub(super) fn poll_snapshot_event(&mut self) -> Option<Event> {
        if core::mem::take(&mut self.outbox.snapshot_wanted) {
            let waiting = self.replicas_that(Replica::waits).len();
            let taking = self.replicas_that(|replica| replica.waits() && replica.takes_end_mark()).len();
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

    /// Has the host asked for a snapshot, at once or when others had time to come and share it.
    pub(super) fn await_snapshot(&mut self) {
        self.start_keep_alives();
        self.snapshots.ask_by(self.now.checked_add(self.config.snapshot_delay));
        self.ask_for_snapshot();
    }

    /// Asks now if it is time, and again with the next keep-alive: a host may have failed to begin one.
    pub(super) fn ask_for_snapshot(&mut self) {
        if self.snapshots.must_ask(self.now) {
            self.outbox.snapshot_wanted = true;
            self.snapshots.ask_at(self.now.checked_add(self.config.keep_alive));
        }
    }

    /// Asks no more if nobody waits.
    pub(super) fn forget_wish(&mut self) {
        if !self.somebody_waits() {
            self.outbox.snapshot_wanted = false;
            self.snapshots.ask_at(None);
        }
    }

    /// Brings forward what a shorter period or delay makes due earlier.
    pub(super) fn hasten_snapshots(&mut self) {
        if self.timers.keep_alive_at.is_some() {
            let next = self.now.checked_add(self.config.keep_alive);
            self.timers.keep_alive_at = earliest(self.timers.keep_alive_at, next);
        }
        if self.somebody_waits() {
            self.snapshots.ask_by(self.now.checked_add(self.config.snapshot_delay));
        }
    }

    fn somebody_waits(&self) -> bool {
        self.replicas.iter().any(|(_, replica)| replica.waits())
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
        replica.stage = Stage::Receiving { snapshot, framing, progress: self.now, acked: false };
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
    }

    /// The replicas that `wanted` picks, in the order of their places.
    fn replicas_that(&self, wanted: impl Fn(&Replica) -> bool) -> Vec<ReplicaKey> {
        let picked = self.replicas.iter().filter(|(_, replica)| wanted(replica));
        picked.map(|(key, _)| key).collect()
    }
}
