//! The file that a host keeps of what it applies, and how far it is synced.

use headwater::Offset;

use crate::fault::Fault;
use crate::host::Host;
use crate::job::Job;
use crate::truth::State;
use crate::world::World;

/// A sync that is under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Syncing {
    upto: Offset,
    state: State,
    /// The snapshot that its file began with.
    loads: u64,
    /// How many units had no place.
    uncounted: u64,
}

/// Every other node has one.
pub(crate) const fn has_disk(host: usize) -> bool {
    host.is_multiple_of(2)
}

impl World {
    pub(crate) fn begin_sync(&mut self, host: usize) {
        self.later(host, 20..=1500, Job::Sync);
        let Host { node, state, account, .. } = &self.hosts[host];
        let Some(held) = node.held() else { return };
        let (loads, uncounted) = (account.loads, account.uncounted);
        let syncing = Syncing { upto: held.offset, state: *state, loads, uncounted };
        if self.strikes(Fault::FsyncFailed, 10) {
            return;
        }
        let most = if self.strikes(Fault::FsyncLate, 10) { 20_000 } else { 50 };
        self.later(host, 0..=most, Job::Synced(syncing));
    }

    /// What is synced is what was held when that began, unless offsets mean other data since.
    pub(crate) fn end_sync(&mut self, host: usize, syncing: Syncing) {
        let Syncing { upto, state, loads, uncounted } = syncing;
        let account = &self.hosts[host].account;
        if (account.loads, account.uncounted) != (loads, uncounted) {
            return;
        }
        let now = self.timestamp(host);
        let before = self.hosts[host].synced;
        if before.is_none_or(|before| self.truth.includes(state, before)) {
            self.hosts[host].synced = Some(state);
        } else {
            self.journal.count(Fault::FsyncBackwards); // a later one was quicker
        }
        let _ = self.hosts[host].node.handle_fsynced(upto, now);
        self.note_synced(host);
        self.misreport(host);
    }

    /// No offset tells any more what is on the disk: a unit came that has no place.
    pub(crate) fn forget_disk(&mut self, host: usize) {
        let now = self.timestamp(host);
        self.hosts[host].account.uncounted += 1;
        let told = self.hosts[host].node.primary().handle_local_fsync(None, now);
        told.expect("a disk may be syncing no more");
    }

    /// Tells of a disk what can't be so, or that it syncs no more.
    fn misreport(&mut self, host: usize) {
        let now = self.timestamp(host);
        if self.strikes(Fault::FsyncAhead, 5) {
            let node = &mut self.hosts[host].node;
            let Some(ahead) = node.primary().end().checked_add(1) else { return };
            assert!(node.handle_fsynced(ahead, now).is_err(), "S7: the disk of node {host} is ahead");
        }
        if !self.hosts[host].account.follows && self.strikes(Fault::FsyncStopped, 5) {
            let told = self.hosts[host].node.primary().handle_local_fsync(None, now);
            told.expect("a disk may be syncing no more");
        }
    }

    /// Whatever the links of a node bring is on its disk as far as that is synced.
    pub(crate) fn note_synced(&mut self, host: usize) {
        let Host { synced, .. } = self.hosts[host];
        let links = self.network.connections.values_mut();
        let links = links.filter(|connection| connection.hosts[0] == host && connection.follower.is_some());
        links.for_each(|connection| connection.synced = synced);
    }

    /// What a node has applied is known of its link.
    pub(crate) fn note_reached(&mut self, host: usize) {
        let Host { state, .. } = self.hosts[host];
        let links = self.network.connections.values_mut();
        let links = links.filter(|connection| connection.hosts[0] == host && connection.follower.is_some());
        links.for_each(|connection| connection.reached = Some(state));
    }
}
