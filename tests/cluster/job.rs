use std::collections::BTreeMap;
use std::time::Duration;

use headwater::{LinkKey, ReplicaKey, SnapshotKey};

use crate::disk::Syncing;

/// What a host does later.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Job {
    /// The connection is there.
    Connected(LinkKey),
    /// The snapshot that came is loaded.
    Loaded(LinkKey),
    LoadFailed(LinkKey),
    SnapshotReady(SnapshotKey),
    SnapshotFailed(SnapshotKey),
    /// More of the image can be written.
    SendPiece(ReplicaKey),
    /// The image has been written.
    SnapshotSent(ReplicaKey),
    Sync,
    Synced(Syncing),
    /// Nothing gets to it or from it until then.
    CutOff(Duration),
    SupplyId,
    Follow(usize),
    /// A replica has everything: it leads, and this node follows it.
    HandOver(usize),
    CancelHandover,
    /// It may have events, or could write.
    Wake,
}

impl Job {
    pub(crate) const fn changes_roles(self) -> bool {
        matches!(self, Self::Follow(_) | Self::HandOver(_) | Self::CancelHandover | Self::CutOff(_))
    }
}

/// All that is to be done, by time. A host that was restarted does nothing of what it had in mind before.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    waiting: BTreeMap<(Duration, u64), Errand>,
    count: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Errand {
    pub(crate) host: usize,
    /// Which of its lives.
    pub(crate) life: u64,
    pub(crate) job: Job,
}

impl Jobs {
    pub(crate) fn add(&mut self, at: Duration, errand: Errand) {
        self.count += 1;
        self.waiting.insert((at, self.count), errand);
    }

    pub(crate) fn next_at(&self) -> Option<Duration> {
        self.waiting.keys().next().map(|(at, _)| *at)
    }

    pub(crate) fn take(&mut self) -> Option<Errand> {
        self.waiting.pop_first().map(|(_, errand)| errand)
    }
}
