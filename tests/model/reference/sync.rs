use headwater::{Framing, Image, SnapshotError, Timestamp};

use super::forecast::Progress;
use super::{Cut, Life, Reference, Replica, Snapshot, at, earlier};

impl Reference {
    /// Has the replica share a snapshot that is under way, or else wait for one.
    pub(super) fn enter_sync(&mut self, name: u64) {
        let not_before = self.find(name).and_then(|replica| self.held_back_until(replica));
        let shared = self.joinable(name).filter(|_| not_before.is_none());
        if let Some(replica) = self.find_mut(name) {
            replica.life = Life::Waiting { not_before };
        }
        let Some((snapshot, offset, is_in_the_making)) = shared else {
            return self.await_snapshot(not_before);
        };
        self.pin(name, offset, Life::Preparing { snapshot }, offset);
        if is_in_the_making {
            self.start_keep_alives();
        } else {
            self.start_transfer(name, snapshot);
        }
    }

    /// R73: the latest snapshot that the replica can receive, whose transfers have not begun or can begin anew. With
    /// less than half of its limit left it might be dropped before it has the image.
    fn joinable(&self, name: u64) -> Option<(u64, u64, bool)> {
        let takes_end_mark = self.find(name)?.takes_end_mark();
        let suits = |snapshot: &&Snapshot| {
            suits(snapshot.image.framing, takes_end_mark)
                && (snapshot.is_in_the_making || snapshot.image.replayable)
        };
        let latest = self.snapshots.iter().rfind(suits).filter(|_| self.free_transfers() > 0)?;
        let most = self.limit().hard.map_or(self.config.backlog_capacity as u64, |hard| hard / 2);
        let is_near = self.end() - latest.offset <= most;
        is_near.then_some((latest.number, latest.offset, latest.is_in_the_making))
    }

    /// The cut is fixed, and the stream after it is kept for all who share the snapshot.
    pub(super) fn begin_snapshot(&mut self, image: Image) -> Result<Cut, SnapshotError> {
        let max = self.config.max_replicas;
        if self.snapshots.len() + self.outbox.over.len() >= max {
            return Err(SnapshotError::TooManySnapshots { max });
        }
        let sharing = self.line(|replica| suits(image.framing, replica.takes_end_mark()));
        if sharing.is_empty() {
            return Err(self.why_nobody_shares());
        }
        self.snapshots_begun += 1;
        let (number, id, offset) = (self.snapshots_begun, self.id, self.end());
        let cut_at = self.now;
        self.snapshots.push(Snapshot { number, id, offset, image, cut_at, is_in_the_making: true });
        self.context += 1;
        for name in sharing {
            self.pin(name, offset, Life::Preparing { snapshot: number }, offset);
        }
        self.is_forecast_told = false;
        self.outbox.snapshot_wanted = false;
        // Those who were left over have waited long enough.
        self.timers.ask_at = Some(self.now);
        self.ask_for_snapshot();
        Ok(Cut { snapshot: number, id, offset: at(offset) })
    }

    pub(super) fn snapshot_ready(&mut self, number: u64) -> bool {
        let Some(snapshot) = self.snapshots.iter_mut().find(|snapshot| snapshot.number == number) else {
            return false;
        };
        if snapshot.is_in_the_making {
            snapshot.is_in_the_making = false;
            let making = self.now.saturating_since(snapshot.cut_at);
            self.record.note_made(making);
            for name in self.names(|replica| replica.life == Life::Preparing { snapshot: number }) {
                self.start_transfer(name, number);
            }
        }
        true
    }

    /// R82: its replicas are dropped, and come back.
    pub(super) fn snapshot_failed(&mut self, number: u64) -> bool {
        let is_alive = self.snapshots.iter().any(|snapshot| snapshot.number == number);
        self.fail_snapshot(number, headwater::DropReason::SnapshotFailed);
        is_alive
    }

    pub(super) fn fail_snapshot(&mut self, number: u64, reason: headwater::DropReason) {
        for name in self.names(|replica| replica.snapshot() == Some(number)) {
            self.drop_replica(name, reason);
        }
    }

    pub(super) fn snapshot_progress(&mut self, name: u64, bytes: u64) -> bool {
        let now = self.now;
        let Some(replica) = self.find_mut(name) else { return false };
        if let Life::Receiving { progress, sent, .. } = &mut replica.life {
            *progress = now;
            *sent = bytes.max(*sent);
        }
        true
    }

    /// R88, R89: the stream follows a sized image at once, and an end-marked one with the first ack, which may have come
    /// already (R90).
    pub(super) fn snapshot_sent(&mut self, name: u64) -> bool {
        let Some(replica) = self.find(name) else { return false };
        let Life::Receiving { snapshot, acked, .. } = replica.life else { return true };
        let progress = self.progress_of(replica).expect("it has a transfer");
        let framing = self.alive(snapshot).image.framing;
        self.record.note_success(progress);
        let (now, end, cut_at) = (self.now, self.end(), self.alive(snapshot).cut_at);
        if let Some(replica) = self.find_mut(name) {
            replica.heard = now;
            replica.life = Life::AwaitingAck;
            replica.synced_at = replica.peer.acks.then_some((end, cut_at));
        }
        self.outbox.transfers.retain(|transfer| *transfer != name);
        self.leave_snapshot(snapshot);
        self.come_online();
        if framing == Framing::Sized || acked {
            self.open_stream(name);
        }
        true
    }

    pub(super) fn open_stream(&mut self, name: u64) {
        if let Some(replica) = self.find_mut(name) {
            replica.life = Life::Online;
        }
        self.enqueue(name, false);
    }

    fn start_transfer(&mut self, name: u64, snapshot: u64) {
        let now = self.now;
        if let Some(replica) = self.find_mut(name) {
            replica.life = Life::Receiving { snapshot, begun: now, progress: now, sent: 0, acked: false };
        }
        // A sign of life would fall into the transfer.
        self.outbox.keep_alives.retain(|waiting| *waiting != name);
        self.outbox.transfers.push(name);
    }

    /// A snapshot is over with the last of its replicas. Its place in the transfers may be the one that was lacking.
    pub(super) fn leave_snapshot(&mut self, number: u64) {
        if self.names(|replica| replica.snapshot() == Some(number)).is_empty() {
            self.snapshots.retain(|snapshot| snapshot.number != number);
            self.outbox.over.push(number);
        }
        if self.free_transfers() == 1 {
            self.timers.ask_at = earlier(self.timers.ask_at, Some(self.now));
            self.ask_for_snapshot();
        }
    }

    /// The host is asked when others had time to come and share it, not before the replica may be given one.
    fn await_snapshot(&mut self, not_before: Option<Timestamp>) {
        self.start_keep_alives();
        let gathered = self.now.checked_add(self.config.snapshot_delay);
        self.timers.ask_at = earlier(self.timers.ask_at, gathered.max(not_before));
        self.ask_for_snapshot();
    }

    /// Asks if it is time, and again with the next keep-alive, for a host that failed to begin one.
    pub(super) fn ask_for_snapshot(&mut self) {
        if self.timers.ask_at.is_none_or(|at| at > self.now) {
            return;
        }
        if self.line(|_| true).is_empty() {
            self.timers.ask_at = self.next_return();
            return;
        }
        self.outbox.snapshot_wanted = true;
        self.timers.ask_at = self.now.checked_add(self.config.keep_alive);
        if !self.is_forecast_told {
            self.is_forecast_told = true;
            let write_rate = self.write_rate.at(self.end(), self.now);
            self.outbox.forecast = self.record.forecast(write_rate, self.limit());
        }
    }

    /// Somebody is gone: nothing is asked if nobody is left who could be given a snapshot.
    pub(super) fn forget_wish(&mut self) {
        if self.line(|_| true).is_empty() {
            (self.outbox.snapshot_wanted, self.outbox.forecast) = (false, None);
            self.is_forecast_told = false;
            self.timers.ask_at = self.next_return();
        }
    }

    fn next_return(&self) -> Option<Timestamp> {
        let held_back = self.replicas.iter().filter_map(|replica| match replica.life {
            Life::Waiting { not_before } => not_before,
            _ => None,
        });
        held_back.filter(|until| *until > self.now && self.free_transfers() > 0).min()
    }

    fn free_transfers(&self) -> usize {
        let busy = self.replicas.iter().filter(|replica| replica.snapshot().is_some()).count();
        self.config.max_transfers.saturating_sub(busy)
    }

    /// Those who would be given a snapshot now, as many as there are free transfers.
    pub(super) fn line(&self, suits: impl Fn(&Replica) -> bool) -> Vec<u64> {
        let mut line = self.names(|replica| self.may_sync(replica) && suits(replica));
        line.truncate(self.free_transfers());
        line
    }

    fn may_sync(&self, replica: &Replica) -> bool {
        match replica.life {
            Life::Waiting { not_before } => not_before.is_none_or(|until| until <= self.now),
            _ => false,
        }
    }

    fn why_nobody_shares(&self) -> SnapshotError {
        let somebody_waits = self.replicas.iter().any(|replica| self.may_sync(replica));
        if somebody_waits && self.free_transfers() == 0 {
            return SnapshotError::TooManyTransfers { max: self.config.max_transfers };
        }
        SnapshotError::NobodyWaits
    }

    /// When the sync that a replica is in had its cut.
    pub(super) fn sync_cut_at(&self, name: u64) -> Option<Timestamp> {
        let replica = self.find(name)?;
        match replica.snapshot() {
            Some(snapshot) => Some(self.alive(snapshot).cut_at),
            None => replica.synced_at.map(|(_, cut_at)| cut_at),
        }
    }

    pub(super) fn note_failed_transfer(&mut self, replica: &Replica) {
        if let Some(progress) = self.progress_of(replica) {
            self.record.note_failure(progress);
        }
    }

    fn progress_of(&self, replica: &Replica) -> Option<Progress> {
        let Life::Receiving { snapshot, begun, sent, .. } = replica.life else { return None };
        let snapshot = self.snapshots.iter().find(|alive| alive.number == snapshot)?;
        Some(Progress {
            elapsed: self.now.saturating_since(snapshot.cut_at),
            transferring: self.now.saturating_since(begun),
            sent,
            size: snapshot.image.size,
        })
    }

    pub(super) fn image_of(&self, number: u64) -> Image {
        self.alive(number).image
    }

    fn alive(&self, number: u64) -> &Snapshot {
        let snapshot = self.snapshots.iter().find(|snapshot| snapshot.number == number);
        snapshot.expect("a snapshot lives as long as a replica needs it")
    }
}

fn suits(framing: Framing, takes_end_mark: bool) -> bool {
    framing == Framing::Sized || takes_end_mark
}
