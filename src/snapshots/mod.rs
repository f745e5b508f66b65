mod failures;
mod forecast;

pub(crate) use failures::{Failures, Identity};
pub use forecast::SyncForecast;
pub(crate) use forecast::{Progress, SyncRecord, WriteRate};

use alloc::vec::Vec;
use core::time::Duration;

use crate::id::ReplicationId;
use crate::key::{Gone, SnapshotKey};
use crate::offset::Offset;
use crate::time::{Timestamp, earliest};

/// The point of the stream of which a snapshot is an image: all bytes before `offset`, none after.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cut {
    /// Names the snapshot until [`Event::SnapshotOver`](crate::Event::SnapshotOver).
    pub snapshot: SnapshotKey,
    /// The history that it belongs to.
    pub id: ReplicationId,
    /// Where the stream goes on after it.
    pub offset: Offset,
}

/// How the receiver of a snapshot knows where it ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Framing {
    /// By a length ahead of it. The stream follows at once.
    Sized,
    /// By a mark after it, for an image whose size nobody knows beforehand. The receiver may find the mark
    /// only as the last thing that came, so the stream waits for its first ack (R89).
    EndMarked,
}

/// What the host tells of an image when it begins one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Image {
    /// How it is sent. Replicas that don't take an end mark are left waiting by [`Framing::EndMarked`].
    pub framing: Framing,
    /// Whether it can be sent again from its start once transfers have begun (a file, an immutable view), so
    /// that a replica that asks later may share it.
    pub replayable: bool,
    /// How many bytes it has, about, if the host knows: then a sync that fails on its way tells how long it would
    /// have taken ([`SyncForecast`]).
    pub size: Option<u64>,
}

/// The snapshots that replicas need, from their cut until the last of their replicas is done.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    alive: Vec<Snapshot>,
    begun: u64,
    /// When the host is to be asked for one; `None` while nobody waits.
    ask_at: Option<Timestamp>,
}

#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) cut: Cut,
    pub(crate) image: Image,
    pub(crate) cut_at: Timestamp,
    is_in_the_making: bool,
    replicas: usize,
}

impl Snapshots {
    pub(crate) fn len(&self) -> usize {
        self.alive.len()
    }

    /// Enters a snapshot at `offset`, to be shared by `replicas`.
    pub(crate) fn begin(
        &mut self,
        cut: impl FnOnce(SnapshotKey) -> Cut,
        image: Image,
        replicas: usize,
        now: Timestamp,
    ) -> Cut {
        self.begun += 1;
        let cut = cut(SnapshotKey(self.begun));
        self.alive.push(Snapshot { cut, image, cut_at: now, is_in_the_making: true, replicas });
        cut
    }

    pub(crate) fn get(&self, key: SnapshotKey) -> Result<&Snapshot, Gone<SnapshotKey>> {
        self.alive.iter().find(|snapshot| snapshot.cut.snapshot == key).ok_or(Gone(key))
    }

    /// Its transfers may begin. Tells whether that is news.
    pub(crate) fn set_ready(&mut self, key: SnapshotKey) -> Result<bool, Gone<SnapshotKey>> {
        let snapshot = self.get_mut(key)?;
        Ok(core::mem::take(&mut snapshot.is_in_the_making))
    }

    /// The latest one that a newcomer may share: one not older than `start`, that it can receive, and whose
    /// transfers have not begun or can begin anew (R73).
    pub(crate) fn joinable(&self, start: Offset, takes_end_mark: bool) -> Option<&Snapshot> {
        self.alive.iter().rev().find(|snapshot| {
            snapshot.cut.offset >= start
                && snapshot.image.framing.suits(takes_end_mark)
                && (snapshot.is_in_the_making() || snapshot.image.replayable)
        })
    }

    pub(crate) fn join(&mut self, key: SnapshotKey) {
        if let Ok(snapshot) = self.get_mut(key) {
            snapshot.replicas += 1;
        }
    }

    /// One of its replicas is done with it, or gone. Tells whether it was the last, and the snapshot is over.
    pub(crate) fn leave(&mut self, key: SnapshotKey) -> bool {
        let Ok(snapshot) = self.get_mut(key) else { return false };
        snapshot.replicas = snapshot.replicas.saturating_sub(1);
        let over = snapshot.replicas == 0;
        if over {
            self.alive.retain(|snapshot| snapshot.cut.snapshot != key);
        }
        over
    }

    /// Somebody waits for a snapshot: ask for one at `at`, or earlier if that was said before.
    pub(crate) fn ask_by(&mut self, at: Option<Timestamp>) {
        self.ask_at = earliest(self.ask_at, at);
    }

    /// The next question comes at `at`; never, once nobody waits.
    pub(crate) fn ask_at(&mut self, at: Option<Timestamp>) {
        self.ask_at = at;
    }

    pub(crate) fn must_ask(&self, now: Timestamp) -> bool {
        self.ask_at.is_some_and(|at| at <= now)
    }

    /// The first one that has been in the making for more than `timeout`.
    pub(crate) fn late(&self, timeout: Duration, now: Timestamp) -> Option<SnapshotKey> {
        let late = |snapshot: &&Snapshot| snapshot.deadline(timeout).is_some_and(|deadline| deadline <= now);
        self.alive.iter().find(late).map(|snapshot| snapshot.cut.snapshot)
    }

    pub(crate) fn deadline(&self, timeout: Duration) -> Option<Timestamp> {
        let late = self.alive.iter().filter_map(|snapshot| snapshot.deadline(timeout)).min();
        earliest(self.ask_at, late)
    }

    /// Given how many replicas share a snapshot.
    pub(crate) fn check_invariants(&self, sharing: impl Fn(SnapshotKey) -> usize) {
        for snapshot in &self.alive {
            assert!(snapshot.replicas > 0, "a snapshot ends with its last replica");
            assert_eq!(snapshot.replicas, sharing(snapshot.cut.snapshot), "a snapshot counts its replicas");
        }
        assert!(self.alive.is_sorted_by_key(|snapshot| snapshot.cut.offset), "snapshots are cut in order");
    }

    fn get_mut(&mut self, key: SnapshotKey) -> Result<&mut Snapshot, Gone<SnapshotKey>> {
        self.alive.iter_mut().find(|snapshot| snapshot.cut.snapshot == key).ok_or(Gone(key))
    }
}

impl Snapshot {
    pub(crate) const fn is_in_the_making(&self) -> bool {
        self.is_in_the_making
    }

    fn deadline(&self, timeout: Duration) -> Option<Timestamp> {
        if self.is_in_the_making { self.cut_at.just_past(timeout) } else { None }
    }
}

impl Framing {
    /// Whether a replica can receive it, given whether it takes an end mark.
    pub(crate) fn suits(self, takes_end_mark: bool) -> bool {
        match self {
            Self::Sized => true,
            Self::EndMarked => takes_end_mark,
        }
    }
}
