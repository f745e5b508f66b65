use std::time::Duration;

use headwater::wire::{self, EndMark};
use headwater::{Cut, Framing, Image, ReplicaKey, SnapshotKey, Timestamp};

use super::Host;
use super::departures::Departure;
use crate::env::Env;
use crate::fault::Fault;
use crate::network::Connection;

/// A snapshot that the host makes, or has made and keeps as long as somebody needs it.
#[derive(Debug)]
pub(super) struct Making {
    cut: Cut,
    cut_at: Timestamp,
    image: Vec<u8>,
    framing: Framing,
    is_replayable: bool,
    pub(super) is_ready: bool,
    mark: EndMark,
    ready_at: Option<Duration>,
    fails_at: Option<Duration>,
}

/// An image on its way to one replica.
#[derive(Debug)]
pub(super) struct Transfer {
    framing: Framing,
    pub(super) has_acked: bool,
    /// Bytes of it that went out, about.
    sent: u64,
}

impl Making {
    pub(super) fn due(&self) -> Option<Duration> {
        [self.ready_at, self.fails_at].into_iter().flatten().min()
    }

    pub(super) fn key(&self) -> SnapshotKey {
        self.cut.snapshot
    }

    pub(super) fn cut_at(&self) -> Timestamp {
        self.cut_at
    }

    pub(super) fn is_late(&self, timeout: Duration, now: Timestamp) -> bool {
        !self.is_ready && now.saturating_since(self.cut_at) > timeout
    }

    /// R73: whether a newcomer may share it, and would go on from `at`.
    pub(super) fn is_joinable(&self, at: usize, takes_end_mark: bool) -> bool {
        let suits = self.framing == Framing::Sized || takes_end_mark;
        suits && self.cut.offset.get() == at as u64 && (!self.is_ready || self.is_replayable)
    }
}

impl Host {
    /// Begins the snapshot that was wanted. It may fail to suit anybody: the primary asks again.
    pub(super) fn begin_snapshot(&mut self, env: &mut Env) {
        if self.begins_at.take_if(|at| *at <= env.now).is_none() {
            return;
        }
        let framing = env.rng.pick(&[Framing::Sized, Framing::EndMarked]);
        let bytes = self.store.encode(env.options.padding);
        let size = env.rng.chance(50).then_some(bytes.len() as u64);
        let image = Image { size, framing, replayable: env.rng.chance(50) };
        let now = self.clock.read(env.now);
        let cut = match self.primary.begin_snapshot(image, now) {
            Ok(cut) => cut,
            Err(refused) => return self.check_begin_refused(refused, framing, env),
        };
        env.note(format_args!("begin {image:?}: {cut:?}"));
        let at = usize::try_from(cut.offset.get()).expect("runs are short");
        assert_eq!((cut.id, at), (env.model.id(), env.model.end()), "S3: the cut is at the end of now");
        self.start_syncs(cut.snapshot, framing, at, env);
        let mark = EndMark::from_random(env.rng.array());
        let (ready_at, fails_at) = fate(env);
        let (is_replayable, cut_at, is_ready) = (image.replayable, self.now(), false);
        let making =
            Making { cut, cut_at, image: bytes, framing, is_replayable, is_ready, mark, ready_at, fails_at };
        self.snapshots.insert(cut.snapshot, making);
    }

    pub(super) fn finish_snapshots(&mut self, env: &mut Env) {
        let is_past = |at: &mut Duration| *at <= env.now;
        let (mut ready, mut failed) = (Vec::new(), Vec::new());
        for (snapshot, making) in &mut self.snapshots {
            ready.extend(making.ready_at.take_if(is_past).map(|_| *snapshot));
            failed.extend(making.fails_at.take_if(is_past).map(|_| *snapshot));
        }
        for snapshot in ready {
            let now = self.clock.read(env.now);
            self.primary.handle_snapshot_ready(snapshot, now).expect("it is not over");
            self.on_ready(snapshot);
        }
        for snapshot in failed {
            env.journal.count(Fault::SnapshotFailed);
            let (now, end) = (self.clock.read(env.now), self.end());
            self.primary.handle_snapshot_failed(snapshot, now).expect("it is not over");
            self.fail_snapshot(snapshot, Departure::SnapshotFailed, end);
        }
    }

    fn on_ready(&mut self, snapshot: SnapshotKey) {
        let (now, making) = (self.now(), self.snapshots.get_mut(&snapshot));
        making.expect("it is not over").is_ready = true;
        for link in self.links.values_mut().filter(|link| link.is_live()) {
            if link.account.snapshot == Some(snapshot) && !link.account.is_online {
                (link.account.is_receiving, link.account.progress) = (true, now);
            }
        }
    }

    /// S3: the offset told with an image is the one at which it was taken.
    pub(super) fn send_snapshot(&mut self, replica: ReplicaKey, cut: Cut, framing: Framing) {
        let making = self.snapshots.get(&cut.snapshot).expect("it is not over while somebody needs it");
        assert_eq!((cut, framing), (making.cut, making.framing), "S3: the cut told is that of the image");
        let (image, mark) = (making.image.clone(), making.mark.clone());
        let link = self.named(replica);
        let at = Some(cut.offset.get());
        assert_eq!(link.account.sent.map(|sent| sent as u64), at, "S3: the stream follows the image");
        assert!(!link.has_begun_transfer, "an image is sent once");
        assert_eq!(link.account.snapshot, Some(cut.snapshot), "S3: it shares this one");
        assert!(framing == Framing::Sized || link.peer.takes_end_mark, "R85: it can't find a mark");
        wire::put_full_resync(&mut link.output, &cut);
        match framing {
            Framing::Sized => wire::put_snapshot_len(&mut link.output, image.len() as u64),
            _ => wire::put_end_mark_header(&mut link.output, &mark),
        }
        link.output.extend(image);
        if framing == Framing::EndMarked {
            wire::put_end_mark(&mut link.output, &mark);
        }
        link.has_begun_transfer = true;
        link.transfer = Some(Transfer { framing, has_acked: false, sent: 0 });
    }

    /// Some of an image has gone out.
    pub(super) fn note_progress(&mut self, connection: Connection, written: usize, env: &mut Env) {
        let Some(link) = self.links.get_mut(&connection) else { return };
        if let (Some(replica), Some(transfer)) = (link.replica, &mut link.transfer) {
            transfer.sent += written as u64;
            let now = self.clock.read(env.now);
            self.primary.handle_snapshot_progress(replica, transfer.sent, now).expect("it is attached");
            link.account.progress = self.clock.latest();
        }
    }

    /// The whole of an image has gone out.
    pub(super) fn end_transfer(&mut self, connection: Connection, env: &mut Env) {
        let end = self.end();
        let Some(link) = self.links.get_mut(&connection) else { return };
        if let (Some(replica), Some(transfer)) = (link.replica, link.transfer.take()) {
            let now = self.clock.read(env.now);
            self.primary.handle_snapshot_sent(replica, now).expect("it is attached");
            link.account.heard = self.clock.latest();
            (link.account.is_online, link.account.is_receiving) = (true, false);
            link.account.synced_at = Some(end);
            link.account.awaits_ack = transfer.framing == Framing::EndMarked && !transfer.has_acked;
            self.end_waits_by_acks(env);
            self.waits.acks_wanted |= self.waits.len() > 0;
        }
    }
}

/// When a snapshot is ready, and when it fails.
fn fate(env: &mut Env) -> (Option<Duration>, Option<Duration>) {
    let slowest = if env.is_calm { 10 } else { env.rng.scaled(1..=4000) };
    let ready_at = env.in_millis(0, slowest);
    if env.strikes(Fault::SnapshotNeverReady, 8) {
        return (None, None);
    }
    let fails =
        !env.is_calm && env.options.allows(Fault::SnapshotFailed) && env.rng.chance(env.options.failing);
    (Some(ready_at), fails.then(|| env.in_millis(0, 2 * slowest)))
}
