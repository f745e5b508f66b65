use std::time::Duration;

use headwater::wire::{self, EndMark};
use headwater::{Cut, Framing, Image, ReplicaKey};

use super::Host;
use crate::env::Env;
use crate::fault::Fault;
use crate::network::Connection;

/// A snapshot that the host makes, or has made and keeps as long as somebody needs it.
#[derive(Debug)]
pub(super) struct Making {
    cut: Cut,
    image: Vec<u8>,
    framing: Framing,
    mark: EndMark,
    ready_at: Option<Duration>,
    fails_at: Option<Duration>,
}

/// An image on its way to one replica.
#[derive(Debug)]
pub(super) struct Transfer {
    framing: Framing,
    pub(super) has_acked: bool,
}

impl Making {
    pub(super) fn due(&self) -> Option<Duration> {
        [self.ready_at, self.fails_at].into_iter().flatten().min()
    }
}

impl Host {
    /// Begins the snapshot that was wanted. It may fail to suit anybody: the primary asks again.
    pub(super) fn begin_snapshot(&mut self, env: &mut Env) {
        if self.begins_at.take_if(|at| *at <= env.now).is_none() {
            return;
        }
        let framing = env.rng.pick(&[Framing::Sized, Framing::EndMarked]);
        let image = Image { size: None, framing, replayable: env.rng.chance(50) };
        let now = self.clock.read(env.now);
        let Ok(cut) = self.primary.begin_snapshot(image, now) else { return };
        env.note(format_args!("begin {image:?}: {cut:?}"));
        let at = usize::try_from(cut.offset.get()).expect("runs are short");
        assert_eq!((cut.id, at), (env.model.id(), env.model.end()), "S3: the cut is at the end of now");
        for link in self.links.values_mut().filter(|link| link.replica.is_some()) {
            let suits = framing == Framing::Sized || link.peer.takes_end_mark;
            if suits && !link.account.is_online && link.account.sent.is_none() {
                link.start_at(at);
            }
        }
        let image = self.store.encode(env.options.padding);
        let mark = EndMark::from_random(env.rng.array());
        let (ready_at, fails_at) = fate(env);
        self.snapshots.insert(cut.snapshot, Making { cut, image, framing, mark, ready_at, fails_at });
    }

    pub(super) fn finish_snapshots(&mut self, env: &mut Env) {
        let now = self.clock.read(env.now);
        let is_past = |at: &mut Duration| *at <= env.now;
        let (mut ready, mut failed) = (Vec::new(), Vec::new());
        for (snapshot, making) in &mut self.snapshots {
            ready.extend(making.ready_at.take_if(is_past).map(|_| *snapshot));
            failed.extend(making.fails_at.take_if(is_past).map(|_| *snapshot));
        }
        for snapshot in ready {
            self.primary.handle_snapshot_ready(snapshot, now).expect("it is not over");
        }
        for snapshot in failed {
            env.journal.count(Fault::SnapshotFailed);
            self.primary.handle_snapshot_failed(snapshot, now).expect("it is not over");
        }
    }

    /// S3: the offset told with an image is the one at which it was taken.
    pub(super) fn send_snapshot(&mut self, replica: ReplicaKey, cut: Cut, framing: Framing) {
        let latest = self.clock.latest();
        let making = self.snapshots.get(&cut.snapshot).expect("it is not over while somebody needs it");
        assert_eq!((cut, framing), (making.cut, making.framing), "S3: the cut told is that of the image");
        let (image, mark) = (making.image.clone(), making.mark.clone());
        let link = self.named(replica);
        let at = Some(cut.offset.get());
        assert_eq!(link.account.sent.map(|sent| sent as u64), at, "S3: the stream follows the image");
        assert!(!link.has_begun_transfer, "an image is sent once");
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
        link.account.progress = latest;
        link.has_begun_transfer = true;
        link.transfer = Some(Transfer { framing, has_acked: false });
    }

    /// Some of an image has gone out.
    pub(super) fn note_progress(&mut self, connection: Connection, env: &mut Env) {
        let now = self.clock.read(env.now);
        let Some(link) = self.links.get_mut(&connection) else { return };
        if let (Some(replica), Some(_)) = (link.replica, &link.transfer) {
            self.primary.handle_snapshot_progress(replica, 0, now).expect("it is attached");
            link.account.progress = self.clock.latest();
        }
    }

    /// The whole of an image has gone out.
    pub(super) fn end_transfer(&mut self, connection: Connection, env: &mut Env) {
        let now = self.clock.read(env.now);
        let Some(link) = self.links.get_mut(&connection) else { return };
        if let (Some(replica), Some(transfer)) = (link.replica, link.transfer.take()) {
            self.primary.handle_snapshot_sent(replica, now).expect("it is attached");
            link.account.heard = self.clock.latest();
            link.account.is_online = true;
            link.account.awaits_ack = transfer.framing == Framing::EndMarked && !transfer.has_acked;
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
    let fails = !env.is_calm && env.options.allows(Fault::SnapshotFailed) && env.rng.chance(15);
    (Some(ready_at), fails.then(|| env.in_millis(0, 2 * slowest)))
}
