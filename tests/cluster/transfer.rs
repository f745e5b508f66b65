//! How an image gets to a replica: whole, in pieces, or not at all.

use headwater::{Cut, Detach, Framing, ReplicaKey, SnapshotKey, Timestamp, wire};

use crate::fault::Fault;
use crate::image;
use crate::job::Job;
use crate::world::World;

/// What of an image has yet to be sent.
#[derive(Debug)]
pub(crate) struct Transfer {
    snapshot: SnapshotKey,
    rest: Vec<u8>,
    sent: u64,
    /// The last time that a piece went out.
    pub(crate) progress: Timestamp,
}

impl World {
    pub(crate) fn begin_transfer(&mut self, host: usize, replica: ReplicaKey, cut: Cut, framing: Framing) {
        let state = self.hosts[host].images[&cut.snapshot];
        let told = self.misplace(host, replica, cut);
        let mut rest = Vec::new();
        for _ in 0..self.draw_images() {
            wire::put_full_resync(&mut rest, &told);
            image::put(&mut rest, state, self.options.image, framing);
        }
        let progress = self.hosts[host].clock.latest();
        let transfer = Transfer { snapshot: cut.snapshot, rest, sent: 0, progress };
        if let Some(end) = self.upstream_end(host, replica) {
            end.transfer = Some(transfer);
        }
        self.send_piece(host, replica);
    }

    /// Sends one more piece, unless something happens to it.
    pub(crate) fn send_piece(&mut self, host: usize, replica: ReplicaKey) {
        let Some(number) = self.find_replica(host, replica) else { return };
        if self.strikes(Fault::TransferStalled, 4) {
            return;
        }
        if self.strikes(Fault::TransferCut, 4) {
            return self.close_upstream(number, Some(Detach::Lost));
        }
        let whole = self.is_calm || self.rng.chance(60);
        let count = if whole { usize::MAX } else { self.rng.scaled(1..=4000) };
        let now = self.timestamp(host);
        let Some(Transfer { snapshot, rest, sent, progress }) =
            self.upstream_end(host, replica).and_then(|end| end.transfer.as_mut())
        else {
            return;
        };
        let (snapshot, piece) = (*snapshot, rest.drain(..count.min(rest.len())).collect::<Vec<u8>>());
        let is_over = rest.is_empty();
        *sent += piece.len() as u64;
        let sent = *sent;
        *progress = now.max(*progress);
        self.answer(number, &piece);
        let node = &mut self.hosts[host].node;
        if node.primary().handle_snapshot_progress(replica, sent, now).is_err() {
            return; // it was dropped, and the host has yet to be told
        }
        if self.strikes(Fault::SnapshotLostInTransfer, 2) {
            return self.fail_snapshot(host, snapshot);
        }
        let job = if is_over { Job::SnapshotSent(replica) } else { Job::SendPiece(replica) };
        self.later(host, 0..=self.options.latency, job);
    }

    pub(crate) fn finish_snapshot(&mut self, host: usize, replica: ReplicaKey) {
        let now = self.timestamp(host);
        let latest = self.hosts[host].clock.latest();
        if self.hosts[host].node.primary().handle_snapshot_sent(replica, now).is_err() {
            return;
        }
        if let Some(end) = self.upstream_end(host, replica)
            && end.transfer.take().is_some()
        {
            end.online_heard = Some(latest);
        }
    }

    /// L4: no transfer stands still for longer than the timeout.
    pub(crate) fn check_transfers(&mut self, host: usize, catches_up: bool) {
        let timeout = self.hosts[host].node.primary().config().replica_timeout;
        let latest = self.hosts[host].clock.latest();
        let connections = self.network.connections.values();
        let ends = connections.filter(|connection| connection.hosts[1] == host);
        let mut transfers = ends.filter_map(|connection| connection.upstream.as_ref()?.transfer.as_ref());
        let stuck = transfers.find(|transfer| latest.saturating_since(transfer.progress) > timeout);
        assert!(stuck.is_none() || catches_up, "L4: node {host} has a transfer that stands still: {stuck:?}");
    }
}
