use alloc::vec::Vec;

use crate::key::{Gone, ReplicaKey};
use crate::offset::Offset;

/// How far each replica says that it holds the stream, and how far all of them do together.
///
/// What it says never moves back, and is never believed past what it was lent. Before its first ack a
/// replica's offset is unknown, which is not zero. A replica counts once it is online.
///
/// ```
/// use headwater::{Ack, AckRefused, Acks, Level, Offset, ReplicaKey, Tag};
///
/// let at = |bytes| Offset::new(bytes).expect("a small number");
/// let mut acks = Acks::default();
/// let [first, second, third] = [0, 1, 2].map(|place| ReplicaKey::new(place, 1, Tag(7)));
/// for replica in [first, second, third] {
///     acks.insert(replica);
///     acks.set_online(replica);
/// }
/// acks.record(first, Ack::applied(at(40)), at(100))?;
/// acks.record(first, Ack::applied(at(30)), at(100))?; // an old one, late
/// acks.record(second, Ack::applied(at(70)), at(100))?;
/// assert_eq!((acks.of(first), acks.of(third)), (Some(Ack::applied(at(40))), None));
///
/// assert_eq!(acks.kth(2, Level::Applied), Some(at(40))); // two hold the stream up to here
/// assert_eq!(acks.kth(3, Level::Applied), None);
/// assert_eq!(acks.replicas_at(at(41), Level::Applied), 1);
///
/// let lie = acks.record(first, Ack::applied(at(101)), at(100));
/// assert_eq!(lie, Err(AckRefused::BeyondLent { acked: at(101), lent: at(100) }));
/// # Ok::<(), AckRefused>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Acks {
    /// By the place of the key.
    entries: Vec<Option<Entry>>,
    online: usize,
    applied: Order,
    fsynced: Order,
}

/// What it means to hold a byte of the stream.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Level {
    /// The data has it.
    Applied,
    /// The disk has it.
    Fsynced,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    replica: ReplicaKey,
    ack: Option<Ack>,
    is_online: bool,
}

/// The offsets that online replicas acknowledged, the highest first.
#[derive(Clone, Debug, Default)]
struct Order(Vec<Offset>);

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
    /// Adds a replica, which does not count yet and whose offset is unknown. One that was there under an earlier
    /// key is forgotten.
    pub fn insert(&mut self, replica: ReplicaKey) {
        if self.entries.len() <= replica.index() {
            self.entries.resize(replica.index() + 1, None);
        }
        self.vacate(replica.index());
        self.entries[replica.index()] = Some(Entry { replica, ack: None, is_online: false });
    }

    /// Counts a replica from now on, with what it has acknowledged before. A stale key changes nothing.
    pub fn set_online(&mut self, replica: ReplicaKey) {
        let Some(entry) = self.entry_mut(replica).filter(|entry| !entry.is_online) else { return };
        entry.is_online = true;
        let ack = entry.ack;
        self.online += 1;
        self.applied.insert(ack.map(|ack| ack.applied));
        self.fsynced.insert(ack.and_then(|ack| ack.fsynced));
    }

    /// Forgets a replica. A stale key changes nothing.
    pub fn remove(&mut self, replica: ReplicaKey) {
        if self.entry(replica).is_some() {
            self.vacate(replica.index());
        }
    }

    /// Takes a replica's word, given the highest offset that it was ever `lent`. Tells whether it is news: one that
    /// moves neither offset forward changes nothing.
    ///
    /// # Errors
    ///
    /// [`AckRefused`]; nothing has changed.
    pub fn record(&mut self, replica: ReplicaKey, ack: Ack, lent: Offset) -> Result<bool, AckRefused> {
        let entry = self.entry_mut(replica).ok_or(Gone(replica))?;
        if ack.applied > lent {
            return Err(AckRefused::BeyondLent { acked: ack.applied, lent });
        }
        let (before, is_online) = (entry.ack, entry.is_online);
        let after = before.map_or(ack, |before| before.joined_with(ack));
        if let Some(fsynced) = ack.fsynced.filter(|fsynced| *fsynced > after.applied) {
            return Err(AckRefused::FsyncedBeyondApplied { fsynced, applied: after.applied });
        }
        if before == Some(after) {
            return Ok(false);
        }
        entry.ack = Some(after);
        if is_online {
            self.applied.advance(before.map(|before| before.applied), Some(after.applied));
            self.fsynced.advance(before.and_then(|before| before.fsynced), after.fsynced);
        }
        Ok(true)
    }

    /// The furthest that a replica acknowledged; `None` before its first ack, and for a stale key.
    pub fn of(&self, replica: ReplicaKey) -> Option<Ack> {
        self.entry(replica)?.ack
    }

    /// How many replicas are online, whether they have acknowledged anything or not.
    pub const fn online(&self) -> usize {
        self.online
    }

    /// The highest offset that at least `k` online replicas hold; `None` while fewer have acknowledged anything.
    /// Zero replicas hold everything.
    #[inline]
    pub fn kth(&self, k: usize, level: Level) -> Option<Offset> {
        match k.checked_sub(1) {
            Some(rank) => self.order(level).0.get(rank).copied(),
            None => Some(Offset::MAX),
        }
    }

    /// How many online replicas hold the stream up to `offset`.
    #[inline]
    pub fn replicas_at(&self, offset: Offset, level: Level) -> usize {
        self.order(level).rank_after(offset)
    }

    /// Which online replicas hold the stream up to `offset`, in the order of their places.
    pub fn holders(&self, offset: Offset, level: Level) -> impl Iterator<Item = ReplicaKey> {
        let entries = self.entries.iter().flatten().filter(|entry| entry.is_online);
        let holding = entries.filter(move |entry| entry.at(level).is_some_and(|held| held >= offset));
        holding.map(|entry| entry.replica)
    }

    /// Panics when the bookkeeping is broken. For tests and fuzzing.
    #[doc(hidden)]
    pub fn check_invariants(&self) {
        let online = || self.entries.iter().flatten().filter(|entry| entry.is_online);
        assert_eq!(self.online, online().count(), "who is online is counted");
        for level in [Level::Applied, Level::Fsynced] {
            let mut offsets: Vec<_> = online().filter_map(|entry| entry.at(level)).collect();
            offsets.sort_unstable_by(|a, b| b.cmp(a));
            assert_eq!(self.order(level).0, offsets, "the order holds the offset of each that counts");
        }
    }

    const fn order(&self, level: Level) -> &Order {
        match level {
            Level::Applied => &self.applied,
            Level::Fsynced => &self.fsynced,
        }
    }

    fn vacate(&mut self, place: usize) {
        let Some(entry) = self.entries[place].take().filter(|entry| entry.is_online) else { return };
        self.online -= 1;
        self.applied.remove(entry.at(Level::Applied));
        self.fsynced.remove(entry.at(Level::Fsynced));
    }

    fn entry(&self, replica: ReplicaKey) -> Option<&Entry> {
        self.entries.get(replica.index())?.as_ref().filter(|entry| entry.replica == replica)
    }

    fn entry_mut(&mut self, replica: ReplicaKey) -> Option<&mut Entry> {
        self.entries.get_mut(replica.index())?.as_mut().filter(|entry| entry.replica == replica)
    }
}

impl Ack {
    /// The furthest of both, offset by offset.
    fn joined_with(self, other: Self) -> Self {
        Self { applied: self.applied.max(other.applied), fsynced: self.fsynced.max(other.fsynced) }
    }
}

impl Entry {
    fn at(&self, level: Level) -> Option<Offset> {
        match level {
            Level::Applied => self.ack.map(|ack| ack.applied),
            Level::Fsynced => self.ack?.fsynced,
        }
    }
}

impl Order {
    fn insert(&mut self, offset: Option<Offset>) {
        if let Some(offset) = offset {
            self.0.insert(self.rank_after(offset), offset);
        }
    }

    fn remove(&mut self, offset: Option<Offset>) {
        if let Some(offset) = offset {
            self.0.remove(self.first_rank(offset));
        }
    }

    /// Moves a replica's offset forward. Only those that it overtakes are touched.
    fn advance(&mut self, from: Option<Offset>, to: Option<Offset>) {
        match (from, to) {
            (Some(from), Some(to)) if from < to => {
                let (old, new) = (self.first_rank(from), self.rank_after(to));
                self.0.copy_within(new..old, new + 1);
                self.0[new] = to;
            }
            (None, to) => self.insert(to),
            _ => {}
        }
    }

    /// The rank of the first that is at `offset`, or would be.
    fn first_rank(&self, offset: Offset) -> usize {
        self.ranks_where(|held| held > offset)
    }

    /// How many are at `offset` or beyond.
    fn rank_after(&self, offset: Offset) -> usize {
        self.ranks_where(|held| held >= offset)
    }

    /// How many of the first `is_ahead` is true of. Few are counted faster than searched: no branch is mispredicted.
    #[inline]
    fn ranks_where(&self, is_ahead: impl Fn(Offset) -> bool) -> usize {
        if self.0.len() <= FEW {
            self.0.iter().filter(|held| is_ahead(**held)).count()
        } else {
            self.0.partition_point(|held| is_ahead(*held))
        }
    }
}

/// Up to so many replicas a scan is faster than a search.
const FEW: usize = 16;

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use proptest::collection::vec as vec_of;
    use proptest::prelude::*;

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

    #[test]
    fn a_disk_that_catches_up_is_news() {
        let (mut acks, replica) = one();
        acks.record(replica, Ack::applied(at(10)), at(10)).unwrap();
        let synced = Ack { applied: at(10), fsynced: Some(at(4)) };
        assert_eq!(acks.record(replica, synced, at(10)), Ok(true));
        assert_eq!(acks.record(replica, synced, at(10)), Ok(false));
    }

    /// R162: who is not online does not count, and what it said before counts from then on.
    #[test]
    fn a_replica_counts_once_it_is_online() {
        let (mut acks, replica) = one();
        acks.record(replica, Ack { applied: at(10), fsynced: Some(at(5)) }, at(10)).unwrap();
        assert_eq!((acks.replicas_at(at(0), Level::Applied), acks.kth(1, Level::Applied)), (0, None));
        acks.set_online(replica);
        acks.set_online(replica);
        assert_eq!((acks.online(), acks.kth(1, Level::Applied)), (1, Some(at(10))));
        assert_eq!(
            (acks.replicas_at(at(5), Level::Fsynced), acks.replicas_at(at(6), Level::Fsynced)),
            (1, 0)
        );
        acks.remove(replica);
        assert_eq!((acks.online(), acks.kth(1, Level::Applied)), (0, None));
    }

    #[test]
    fn no_replica_at_all_holds_everything() {
        assert_eq!(Acks::default().kth(0, Level::Fsynced), Some(Offset::MAX));
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
        acks.set_online(old);
        assert_eq!(acks.online(), 0);
        assert_eq!(acks.record(new, Ack::applied(at(1)), at(1)), Ok(true));
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Insert(u32),
        SetOnline(u32),
        Remove(u32),
        Record(u32, u64, Option<u64>),
    }

    /// What is known of each replica, and every question answered by looking at all of them.
    #[derive(Default)]
    struct Model(BTreeMap<u32, (bool, Option<Ack>)>);

    impl Model {
        fn offsets(&self, level: Level) -> Vec<Offset> {
            let acks = self.0.values().filter(|(is_online, _)| *is_online).filter_map(|(_, ack)| *ack);
            acks.filter_map(|ack| if level == Level::Applied { Some(ack.applied) } else { ack.fsynced })
                .collect()
        }

        fn record(&mut self, place: u32, ack: Ack) {
            let Some((_, known)) = self.0.get_mut(&place) else { return };
            let applied = known.map_or(ack.applied, |known| known.applied.max(ack.applied));
            let fsynced = known.and_then(|known| known.fsynced).max(ack.fsynced);
            if ack.applied <= at(LENT) && ack.fsynced.is_none_or(|fsynced| fsynced <= applied) {
                *known = Some(Ack { applied, fsynced });
            }
        }
    }

    const LENT: u64 = 20;
    /// Enough that both ways of searching are met.
    const PLACES: u32 = 24;

    fn step() -> impl Strategy<Value = Step> {
        let place = 0..PLACES;
        prop_oneof![
            2 => place.clone().prop_map(Step::Insert),
            3 => place.clone().prop_map(Step::SetOnline),
            1 => place.clone().prop_map(Step::Remove),
            8 => (place, 0..LENT + 3, proptest::option::of(0..LENT))
                .prop_map(|(place, applied, fsynced)| Step::Record(place, applied, fsynced)),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_a_look_at_every_replica(
            steps in vec_of((step(), 0..LENT + 3), 0..100),
        ) {
            let (mut acks, mut model) = (Acks::default(), Model::default());
            let key = |place| ReplicaKey::new(place, 1, Tag(0));
            for (step, probe) in steps {
                match step {
                    Step::Insert(place) => {
                        acks.insert(key(place));
                        model.0.insert(place, (false, None));
                    }
                    Step::SetOnline(place) => {
                        acks.set_online(key(place));
                        model.0.entry(place).and_modify(|(is_online, _)| *is_online = true);
                    }
                    Step::Remove(place) => {
                        acks.remove(key(place));
                        model.0.remove(&place);
                    }
                    Step::Record(place, applied, fsynced) => {
                        let ack = Ack { applied: at(applied), fsynced: fsynced.map(at) };
                        let _ = acks.record(key(place), ack, at(LENT));
                        model.record(place, ack);
                    }
                }
                acks.check_invariants();
                for level in [Level::Applied, Level::Fsynced] {
                    let mut offsets = model.offsets(level);
                    offsets.sort_unstable_by(|a, b| b.cmp(a));
                    for k in 1..=PLACES as usize {
                        prop_assert_eq!(acks.kth(k, level), offsets.get(k - 1).copied());
                    }
                    let expected = offsets.iter().filter(|held| **held >= at(probe)).count();
                    prop_assert_eq!(acks.replicas_at(at(probe), level), expected);
                    prop_assert_eq!(acks.holders(at(probe), level).count(), expected);
                }
            }
        }
    }
}
