use alloc::vec::Vec;
use core::time::Duration;

use crate::key::ReplicaKey;
use crate::time::Timestamp;

/// How many replicas have to be good for a write to be let in (min-replicas). Either of the two being zero switches
/// the gate off (R149).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MinReplicas {
    /// So many at least. Default: 0.
    pub to_write: usize,
    /// A replica is good until more than this has passed since it was heard from. Default: 10 s.
    pub max_lag: Duration,
}

/// A write that was refused, with the figures.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{good} replicas were heard from within {max_lag:?}, {needed} are needed to write")]
pub struct NotEnoughReplicas {
    /// How many are good.
    pub good: usize,
    /// [`MinReplicas::to_write`].
    pub needed: usize,
    /// [`MinReplicas::max_lag`].
    pub max_lag: Duration,
}

/// Counts the replicas that were heard from lately, and so tells whether a write may be let in.
///
/// The count is exact at any moment, at the cost of a comparison. It falls only when a replica goes or a deadline
/// passes, so it is kept with a bound: until then all that are counted stay good.
///
/// ```
/// use std::time::Duration;
/// use headwater::{GoodReplicas, MinReplicas, ReplicaKey, Tag, Timestamp};
///
/// let second = |count| Timestamp::from_origin(Duration::from_secs(count));
/// let mut replicas = GoodReplicas::new(MinReplicas { to_write: 1, max_lag: Duration::from_secs(10) });
/// assert!(replicas.admit_write(second(0)).is_err());
///
/// let replica = ReplicaKey::new(0, 1, Tag(7));
/// replicas.insert(replica, second(1));
/// assert_eq!(replicas.admit_write(second(11)), Ok(()));
/// assert_eq!(replicas.admit_write(second(12)).unwrap_err().good, 0);
///
/// replicas.heard(replica, second(20)); // open again, at once
/// assert_eq!(replicas.admit_write(second(20)), Ok(()));
/// ```
#[derive(Clone, Debug)]
pub struct GoodReplicas {
    limits: MinReplicas,
    /// By the place of the key.
    entries: Vec<Option<Entry>>,
    /// How many are counted.
    good: usize,
    /// All that are counted are good up to and including this moment. `None` is for ever.
    until: Option<Timestamp>,
    now: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    replica: ReplicaKey,
    heard: Timestamp,
    is_counted: bool,
}

impl Default for MinReplicas {
    fn default() -> Self {
        Self { to_write: 0, max_lag: Duration::from_secs(10) }
    }
}

impl MinReplicas {
    /// Whether there is a gate at all.
    #[inline]
    pub const fn is_on(self) -> bool {
        self.to_write > 0 && !self.max_lag.is_zero()
    }
}

impl GoodReplicas {
    /// Nobody is there yet.
    pub const fn new(limits: MinReplicas) -> Self {
        let now = Timestamp::from_origin(Duration::ZERO);
        Self { limits, entries: Vec::new(), good: 0, until: None, now }
    }

    /// The limits in force.
    pub const fn limits(&self) -> MinReplicas {
        self.limits
    }

    /// Puts other limits in force.
    pub fn set_limits(&mut self, limits: MinReplicas, now: Timestamp) {
        self.limits = limits;
        self.now = self.now.max(now);
        self.recount();
    }

    /// Adds a replica that came online, and so was heard from. One that was there under an earlier key is forgotten.
    pub fn insert(&mut self, replica: ReplicaKey, now: Timestamp) {
        self.advance(now);
        if self.entries.len() <= replica.index() {
            self.entries.resize(replica.index() + 1, None);
        }
        self.vacate(replica.index());
        self.entries[replica.index()] = Some(Entry { replica, heard: self.now, is_counted: true });
        self.count_one();
    }

    /// A replica was heard from. One that is not there changes nothing.
    #[inline]
    pub fn heard(&mut self, replica: ReplicaKey, now: Timestamp) {
        self.advance(now);
        let entry = self.entries.get_mut(replica.index()).and_then(Option::as_mut);
        let Some(entry) = entry.filter(|entry| entry.replica == replica) else { return };
        entry.heard = self.now;
        if !entry.is_counted {
            entry.is_counted = true;
            self.count_one();
        }
    }

    /// Forgets a replica. A stale key changes nothing.
    pub fn remove(&mut self, replica: ReplicaKey) {
        if self.entry(replica).is_some() {
            self.vacate(replica.index());
        }
    }

    /// How many are good at `now`.
    #[inline]
    pub fn good(&self, now: Timestamp) -> usize {
        if self.is_current(now) {
            return self.good;
        }
        self.entries.iter().flatten().filter(|entry| self.is_heard(entry, now)).count()
    }

    /// Whether a replica is good at `now`.
    pub fn is_good(&self, replica: ReplicaKey, now: Timestamp) -> bool {
        self.entry(replica).is_some_and(|entry| self.is_heard(entry, now))
    }

    /// Whether there is a gate at all.
    #[inline]
    pub const fn is_on(&self) -> bool {
        self.limits.is_on()
    }

    /// Whether a write may be let in at `now`.
    ///
    /// # Errors
    ///
    /// [`NotEnoughReplicas`].
    #[inline]
    pub fn admit_write(&self, now: Timestamp) -> Result<(), NotEnoughReplicas> {
        let MinReplicas { to_write: needed, max_lag } = self.limits;
        if !self.is_on() {
            return Ok(());
        }
        let good = self.good(now);
        if good >= needed { Ok(()) } else { Err(NotEnoughReplicas { good, needed, max_lag }) }
    }

    /// The first moment at which fewer may be good, if nobody is heard from: then call
    /// [`GoodReplicas::handle_timeout`].
    pub fn deadline(&self) -> Option<Timestamp> {
        self.until?.just_past(Duration::ZERO)
    }

    /// Counts anew if the deadline has come; afterwards it is later than `now`.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.advance(now);
    }

    /// Panics when the bookkeeping is broken. For tests and fuzzing.
    #[doc(hidden)]
    pub fn check_invariants(&self) {
        let counted = || self.entries.iter().flatten().filter(|entry| entry.is_counted);
        assert_eq!(self.good, counted().count(), "those who are good are counted");
        let until = self.until.unwrap_or(self.now);
        assert!(counted().all(|entry| self.is_heard(entry, until)), "the bound is not late");
        let mut others = self.entries.iter().flatten().filter(|entry| !entry.is_counted);
        assert!(others.all(|entry| !self.is_heard(entry, self.now)), "who is good is counted");
    }

    #[inline]
    fn advance(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        if !self.is_current(self.now) {
            self.recount();
        }
    }

    #[inline]
    fn is_current(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now <= until)
    }

    /// One more is counted that was heard from just now, and so stays good longest. The bound only matters if it is
    /// the first.
    fn count_one(&mut self) {
        self.good += 1;
        if self.good == 1 {
            self.until = self.now.checked_add(self.limits.max_lag);
        }
    }

    #[cold]
    fn recount(&mut self) {
        let (now, max_lag) = (self.now, self.limits.max_lag);
        let mut oldest: Option<Timestamp> = None;
        self.good = 0;
        for entry in self.entries.iter_mut().flatten() {
            entry.is_counted = now.saturating_since(entry.heard) <= max_lag;
            if entry.is_counted {
                self.good += 1;
                oldest = Some(oldest.map_or(entry.heard, |oldest| oldest.min(entry.heard)));
            }
        }
        self.until = oldest.and_then(|oldest| oldest.checked_add(max_lag));
    }

    fn vacate(&mut self, place: usize) {
        if self.entries[place].take().is_some_and(|entry| entry.is_counted) {
            self.good -= 1;
        }
        if self.good == 0 {
            self.until = None;
        }
    }

    /// Inclusive (R147).
    fn is_heard(&self, entry: &Entry, now: Timestamp) -> bool {
        now.max(self.now).saturating_since(entry.heard) <= self.limits.max_lag
    }

    fn entry(&self, replica: ReplicaKey) -> Option<&Entry> {
        self.entries.get(replica.index())?.as_ref().filter(|entry| entry.replica == replica)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec as vec_of;
    use proptest::prelude::*;

    use super::*;
    use crate::key::Tag;

    fn key(place: u32) -> ReplicaKey {
        ReplicaKey::new(place, 1, Tag(0))
    }

    fn nanosecond(count: u64) -> Timestamp {
        Timestamp::from_origin(Duration::from_nanos(count))
    }

    fn limits(to_write: usize, nanos: u64) -> MinReplicas {
        MinReplicas { to_write, max_lag: Duration::from_nanos(nanos) }
    }

    /// R147: inclusive, and exact.
    #[test]
    fn a_replica_is_good_for_as_long_as_the_lag_allows_and_not_a_nanosecond_longer() {
        let mut replicas = GoodReplicas::new(limits(1, 100));
        replicas.insert(key(0), nanosecond(50));
        assert_eq!((replicas.good(nanosecond(150)), replicas.good(nanosecond(151))), (1, 0));
        assert_eq!(replicas.deadline(), Some(nanosecond(151)));
        replicas.handle_timeout(nanosecond(150));
        assert_eq!(replicas.admit_write(nanosecond(150)), Ok(()));
        replicas.handle_timeout(nanosecond(151));
        let refused = NotEnoughReplicas { good: 0, needed: 1, max_lag: Duration::from_nanos(100) };
        assert_eq!(replicas.admit_write(nanosecond(151)), Err(refused));
        assert_eq!(replicas.deadline(), None);
    }

    /// With everybody expired the bound is "never": who revives must set it.
    #[test]
    fn whoever_is_heard_from_again_counts_at_once_and_not_for_ever() {
        let mut replicas = GoodReplicas::new(limits(1, 100));
        replicas.insert(key(0), nanosecond(0));
        replicas.handle_timeout(nanosecond(500));
        replicas.heard(key(0), nanosecond(600));
        assert_eq!((replicas.good(nanosecond(700)), replicas.good(nanosecond(701))), (1, 0));
        assert_eq!(replicas.deadline(), Some(nanosecond(701)));
    }

    /// R149.
    #[test]
    fn either_limit_being_zero_switches_the_gate_off() {
        for (off, on) in [(limits(0, 100), false), (limits(2, 0), false), (limits(2, 100), true)] {
            let replicas = GoodReplicas::new(off);
            assert_eq!((replicas.is_on(), replicas.admit_write(nanosecond(9)).is_err()), (on, on));
        }
    }

    #[test]
    fn a_stale_key_is_nobody() {
        let mut replicas = GoodReplicas::new(limits(1, 100));
        replicas.insert(key(0), nanosecond(0));
        let new = ReplicaKey::new(0, 2, Tag(0));
        replicas.insert(new, nanosecond(50));
        replicas.heard(key(0), nanosecond(140));
        replicas.remove(key(0));
        assert_eq!((replicas.good(nanosecond(150)), replicas.good(nanosecond(151))), (1, 0));
        assert!(replicas.is_good(new, nanosecond(150)) && !replicas.is_good(key(0), nanosecond(0)));
    }

    #[test]
    fn a_lag_without_end_is_never_over() {
        let mut replicas = GoodReplicas::new(MinReplicas { to_write: 1, max_lag: Duration::MAX });
        replicas.insert(key(0), nanosecond(7));
        assert_eq!(replicas.deadline(), None);
        assert_eq!(replicas.good(Timestamp::from_origin(Duration::MAX)), 1);
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Insert(u32),
        Heard(u32),
        Remove(u32),
        SetLimits(usize, u64),
        Pass(u64),
        GoBack(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            1 => (0..4u32).prop_map(Step::Insert),
            4 => (0..4u32).prop_map(Step::Heard),
            1 => (0..4u32).prop_map(Step::Remove),
            1 => (0..3usize, 0..40u64).prop_map(|(to_write, lag)| Step::SetLimits(to_write, lag)),
            4 => (0..30u64).prop_map(Step::Pass),
            1 => (0..30u64).prop_map(Step::GoBack),
        ]
    }

    proptest! {
        /// One is asked each time, one is told the time only at its deadlines, and both agree with a recount.
        #[test]
        fn agrees_with_a_recount(steps in vec_of(step(), 0..100), probe in 0..60u64) {
            let (mut told, mut model) = (GoodReplicas::new(limits(1, 20)), [None::<u64>; 4]);
            let (mut clock, mut latest) = (0u64, 0u64);
            for step in steps {
                match step {
                    Step::Insert(place) => {
                        told.insert(key(place), nanosecond(clock));
                        model[place as usize] = Some(latest);
                    }
                    Step::Heard(place) => {
                        told.heard(key(place), nanosecond(clock));
                        model[place as usize] = model[place as usize].map(|_| latest);
                    }
                    Step::Remove(place) => {
                        told.remove(key(place));
                        model[place as usize] = None;
                    }
                    Step::SetLimits(to_write, lag) => told.set_limits(limits(to_write, lag), nanosecond(clock)),
                    Step::Pass(span) => clock += span,
                    Step::GoBack(span) => clock = clock.saturating_sub(span),
                }
                latest = latest.max(clock);
                while let Some(due) = told.deadline().filter(|due| *due <= nanosecond(latest)) {
                    told.handle_timeout(due);
                    prop_assert!(told.deadline().is_none_or(|next| next > due));
                }
                told.handle_timeout(nanosecond(clock));
                told.check_invariants();
                let lag = told.limits().max_lag;
                for later in [latest, latest + probe] {
                    let is_good = |heard: &u64| Duration::from_nanos(later - heard) <= lag;
                    let good = model.iter().flatten().filter(|heard| is_good(heard)).count();
                    prop_assert_eq!(told.good(nanosecond(later)), good);
                    let lets_in = !told.is_on() || good >= told.limits().to_write;
                    prop_assert_eq!(told.admit_write(nanosecond(later)).is_ok(), lets_in);
                }
            }
        }
    }
}
