use alloc::vec::Vec;

use crate::key::{Gone, ReplicaKey};
use crate::offset::Offset;

/// How far each replica says that it holds the stream.
///
/// What it says never moves back, and is never believed past what it was lent. Before its first ack a
/// replica's offset is unknown, which is not zero.
///
/// ```
/// use headwater::{Ack, AckRefused, Acks, Offset, ReplicaKey, Tag};
///
/// let at = |bytes| Offset::new(bytes).expect("a small number");
/// let replica = ReplicaKey::new(0, 1, Tag(7));
/// let mut acks = Acks::default();
/// acks.insert(replica);
/// assert_eq!(acks.of(replica), None);
///
/// acks.record(replica, Ack::applied(at(40)), at(100))?;
/// acks.record(replica, Ack::applied(at(30)), at(100))?; // an old one, late
/// assert_eq!(acks.of(replica), Some(Ack::applied(at(40))));
///
/// let lie = acks.record(replica, Ack::applied(at(101)), at(100));
/// assert_eq!(lie, Err(AckRefused::BeyondLent { acked: at(101), lent: at(100) }));
/// # Ok::<(), AckRefused>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Acks {
    /// By the place of the key.
    entries: Vec<Option<(ReplicaKey, Option<Ack>)>>,
}

/// A replica's word on how far it holds the stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ack {
    /// Applied up to here.
    pub applied: Offset,
    /// On its disk up to here, if it tells.
    pub fsynced: Option<Offset>,
}

/// An ack that can't be true, or of nobody. It counts for nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AckRefused {
    /// The host named a replica that is not in the table.
    #[error(transparent)]
    Gone(#[from] Gone<ReplicaKey>),
    /// More than the replica was ever lent: its fault.
    #[error("offset {acked} was acknowledged, but only {lent} was sent")]
    BeyondLent {
        /// What it claims to hold.
        acked: Offset,
        /// What it can hold at most.
        lent: Offset,
    },
    /// More on its disk than it has applied: its fault.
    #[error("offset {fsynced} was acknowledged as fsynced, but only {applied} as applied")]
    FsyncedBeyondApplied {
        /// What it claims to have fsynced.
        fsynced: Offset,
        /// What it has applied.
        applied: Offset,
    },
}

impl Ack {
    /// An ack of a replica that tells nothing of its disk.
    pub const fn applied(applied: Offset) -> Self {
        Self { applied, fsynced: None }
    }
}

impl Acks {
    /// Adds a replica, whose offset is unknown. One that was there under an earlier key is forgotten.
    pub fn insert(&mut self, replica: ReplicaKey) {
        if self.entries.len() <= replica.index() {
            self.entries.resize(replica.index() + 1, None);
        }
        self.entries[replica.index()] = Some((replica, None));
    }

    /// Forgets a replica. A stale key changes nothing.
    pub fn remove(&mut self, replica: ReplicaKey) {
        if self.entry(replica).is_some() {
            self.entries[replica.index()] = None;
        }
    }

    /// Takes a replica's word, given the highest offset that it was ever `lent`. Tells whether its applied
    /// offset is news: an old one changes nothing.
    ///
    /// # Errors
    ///
    /// [`AckRefused`]; nothing has changed.
    pub fn record(&mut self, replica: ReplicaKey, ack: Ack, lent: Offset) -> Result<bool, AckRefused> {
        let Some((_, known)) =
            self.entries.get_mut(replica.index()).and_then(Option::as_mut).filter(|e| e.0 == replica)
        else {
            return Err(Gone(replica).into());
        };
        if ack.applied > lent {
            return Err(AckRefused::BeyondLent { acked: ack.applied, lent });
        }
        let applied = known.map_or(ack.applied, |known| known.applied.max(ack.applied));
        if let Some(fsynced) = ack.fsynced.filter(|fsynced| *fsynced > applied) {
            return Err(AckRefused::FsyncedBeyondApplied { fsynced, applied });
        }
        let news = known.is_none_or(|known| known.applied < applied);
        *known = Some(Ack { applied, fsynced: known.and_then(|known| known.fsynced).max(ack.fsynced) });
        Ok(news)
    }

    /// The furthest that a replica acknowledged; `None` before its first ack, and for a stale key.
    pub fn of(&self, replica: ReplicaKey) -> Option<Ack> {
        self.entry(replica)?.1
    }

    fn entry(&self, replica: ReplicaKey) -> Option<&(ReplicaKey, Option<Ack>)> {
        self.entries.get(replica.index())?.as_ref().filter(|(owner, _)| *owner == replica)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Tag;

    fn at(bytes: u64) -> Offset {
        Offset::new(bytes).unwrap()
    }

    fn one() -> (Acks, ReplicaKey) {
        let replica = ReplicaKey::new(0, 1, Tag(1));
        let mut acks = Acks::default();
        acks.insert(replica);
        (acks, replica)
    }

    /// S8: the field believes an ack past the end of the stream.
    #[test]
    fn an_ack_past_what_was_lent_counts_for_nothing() {
        let (mut acks, replica) = one();
        assert_eq!(acks.record(replica, Ack::applied(at(10)), at(10)), Ok(true));
        let lie = AckRefused::BeyondLent { acked: at(11), lent: at(10) };
        assert_eq!(acks.record(replica, Ack::applied(at(11)), at(10)), Err(lie));
        assert_eq!(acks.of(replica), Some(Ack::applied(at(10))));
    }

    /// R185: a smaller offset is no news, and takes nothing back.
    #[test]
    fn what_was_acknowledged_never_moves_back() {
        let (mut acks, replica) = one();
        let ack = Ack { applied: at(10), fsynced: Some(at(8)) };
        assert_eq!(acks.record(replica, ack, at(99)), Ok(true));
        let older = Ack { applied: at(9), fsynced: Some(at(7)) };
        assert_eq!(acks.record(replica, older, at(99)), Ok(false));
        assert_eq!(acks.record(replica, Ack::applied(at(10)), at(99)), Ok(false));
        assert_eq!(acks.of(replica), Some(ack));
    }

    #[test]
    fn nothing_is_fsynced_before_it_is_applied() {
        let (mut acks, replica) = one();
        let lie = Ack { applied: at(5), fsynced: Some(at(6)) };
        let refused = AckRefused::FsyncedBeyondApplied { fsynced: at(6), applied: at(5) };
        assert_eq!(acks.record(replica, lie, at(10)), Err(refused));
        assert_eq!(acks.of(replica), None);
    }

    #[test]
    fn an_offset_is_unknown_before_the_first_ack_even_of_zero() {
        let (mut acks, replica) = one();
        assert_eq!(acks.of(replica), None);
        assert_eq!(acks.record(replica, Ack::applied(at(0)), at(0)), Ok(true));
        assert_eq!(acks.of(replica), Some(Ack::applied(at(0))));
    }

    /// S10: a new replica in an old one's place starts from nothing.
    #[test]
    fn a_stale_key_is_nobody() {
        let (mut acks, old) = one();
        acks.record(old, Ack::applied(at(10)), at(10)).unwrap();
        let new = ReplicaKey::new(0, 2, Tag(1));
        acks.insert(new);
        assert_eq!((acks.of(old), acks.of(new)), (None, None));
        assert_eq!(acks.record(old, Ack::applied(at(1)), at(1)), Err(Gone(old).into()));
        acks.remove(old);
        assert_eq!(acks.record(new, Ack::applied(at(1)), at(1)), Ok(true));
    }
}
