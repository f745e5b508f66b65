use alloc::collections::VecDeque;

use super::event::DropReason;
use crate::key::{ReplicaKey, SnapshotKey};
use crate::offset::Offset;
use crate::snapshots::SyncForecast;

/// What the host has yet to be told. Each object has at most one entry of a kind, so it is as bounded as they are.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) dropped: VecDeque<(ReplicaKey, DropReason)>,
    pub(crate) over: VecDeque<SnapshotKey>,
    pub(crate) history_changed: bool,
    pub(crate) id_wanted: bool,
    /// For [`Event::SyncUnlikely`](super::Event::SyncUnlikely).
    pub(crate) forecast: Option<SyncForecast>,
    pub(crate) snapshot_wanted: bool,
    /// Somebody waits for replicas: they are to be asked for acks, once for all.
    pub(crate) acks_wanted: bool,
    pub(crate) transfers: VecDeque<ReplicaKey>,
    pub(crate) keep_alives: VecDeque<ReplicaKey>,
    pub(crate) sends: Sends,
}

/// Which replicas have bytes that the host does not know of, found without a scan.
#[derive(Debug, Default)]
pub(crate) struct Sends {
    /// Those with bytes to be named at once.
    ready: VecDeque<ReplicaKey>,
    /// Those that had their share of this pass of the host's loop.
    deferred: VecDeque<ReplicaKey>,
    /// Those that had all when they came here, with how far that was: so, in the order of their cursors.
    caught_up: VecDeque<(ReplicaKey, Offset)>,
}

impl Outbox {
    /// Takes back all that names `replica`.
    pub(crate) fn forget(&mut self, replica: ReplicaKey) {
        self.transfers.retain(|key| *key != replica);
        self.keep_alives.retain(|key| *key != replica);
        self.sends.remove(replica);
    }

    /// Takes back the word that `replica` was dropped. Tells whether it was still to be said.
    pub(crate) fn forget_dropped(&mut self, replica: ReplicaKey) -> bool {
        let before = self.dropped.len();
        self.dropped.retain(|(key, _)| *key != replica);
        self.dropped.len() < before
    }

    pub(crate) fn keep_alive(&mut self, replica: ReplicaKey) {
        if !self.keep_alives.contains(&replica) {
            self.keep_alives.push_back(replica);
        }
    }

    /// A transfer begins: signs of life would fall into it.
    pub(crate) fn transfer(&mut self, replica: ReplicaKey) {
        self.keep_alives.retain(|key| *key != replica);
        self.transfers.push_back(replica);
    }
}

impl Sends {
    /// Enters a replica that has been sent the stream up to `at`; it is in no queue. One that is behind though it
    /// `had_its_turn` is named again after [`Sends::resume_deferred`].
    #[inline]
    pub(crate) fn push(&mut self, replica: ReplicaKey, at: Offset, end: Offset, had_its_turn: bool) {
        if at == end {
            self.caught_up.push_back((replica, at));
        } else if had_its_turn {
            self.deferred.push_back(replica);
        } else {
            self.ready.push_back(replica);
        }
    }

    pub(crate) fn has_deferred(&self) -> bool {
        !self.deferred.is_empty()
    }

    pub(crate) fn resume_deferred(&mut self) {
        self.ready.append(&mut self.deferred);
    }

    /// The next replica that has bytes to be sent.
    #[inline]
    pub(crate) fn pop(&mut self, end: Offset) -> Option<ReplicaKey> {
        self.ready.pop_front().or_else(|| {
            let (replica, _) = self.caught_up.pop_front_if(|(_, at)| *at < end)?;
            Some(replica)
        })
    }

    /// Takes a replica out, wherever it stands.
    pub(crate) fn remove(&mut self, replica: ReplicaKey) {
        self.ready.retain(|key| *key != replica);
        self.deferred.retain(|key| *key != replica);
        self.caught_up.retain(|(key, _)| *key != replica);
    }

    pub(crate) fn contains(&self, replica: ReplicaKey) -> bool {
        self.ready.contains(&replica)
            || self.deferred.contains(&replica)
            || self.caught_up.iter().any(|(key, _)| *key == replica)
    }

    pub(crate) fn check_invariants(&self) {
        assert!(self.caught_up.iter().is_sorted_by_key(|(_, at)| *at), "those caught up stand in order");
    }
}
