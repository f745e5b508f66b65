use crate::id::ReplicationId;
use crate::offset::Offset;

/// Which stream this is: the current id, and the previous one with the offset up to which it was the same stream.
///
/// The second id is what lets the siblings of a promoted replica resume: they know the stream by the name it
/// had before (PSYNC2).
///
/// ```
/// use headwater::{FullReason, History, Kept, Offset, ReplicationId, Resume, Wanted};
///
/// let [first, second] = [[1; 20], [2; 20]].map(ReplicationId::from_random);
/// let at = |bytes| Offset::new(bytes).expect("a small number");
/// let kept = Some(Kept { from: at(100), to: at(200), most: None });
///
/// let mut history = History::new(first)?;
/// history.promote(second, at(150))?; // what follows byte 150 goes by the second id
///
/// let wanted = |id, offset| Wanted::After { id, offset: at(offset) };
/// assert_eq!(history.resume(wanted(second, 180), kept), Resume::Continue { from: at(180) });
/// assert_eq!(history.resume(wanted(first, 150), kept), Resume::Continue { from: at(150) });
/// assert_eq!(
///     history.resume(wanted(first, 151), kept), // has a byte that only the old primary ever had
///     Resume::Full(FullReason::Diverged { shared_until: at(150) }),
/// );
/// # Ok::<(), headwater::IdRefused>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct History {
    id: ReplicationId,
    previous: Option<(ReplicationId, Offset)>,
}

/// What a replica asks for when it attaches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Wanted {
    /// A snapshot and the stream after it: it has nothing, or wants nothing of it.
    Everything,
    /// The stream after `offset` of the history `id`.
    After {
        /// The history that it holds.
        id: ReplicationId,
        /// How much of it.
        offset: Offset,
    },
    /// The stream after a place that can't exist: no id of ours looks so, or no offset.
    Unrecognised,
}

/// How much of which history somebody holds: what it may resume from.
///
/// Store it only inside the very image of the data that it belongs to: with an older or a newer one it is a lie.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ResumePoint {
    /// The history.
    pub id: ReplicationId,
    /// How much of it.
    pub offset: Offset,
}

/// The stretch of the stream that can be handed out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Kept {
    /// Bytes before this offset are gone.
    pub from: Offset,
    /// The end of the stream.
    pub to: Offset,
    /// The most bytes that one replica may be behind when it resumes; `None` is no bound.
    pub most: Option<u64>,
}

/// The answer to a replica that attaches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
#[non_exhaustive]
pub enum Resume {
    /// It holds a prefix of this stream, and all that follows is kept.
    Continue {
        /// Where it goes on: the offset that it asked for.
        from: Offset,
    },
    /// It starts over from a snapshot.
    Full(FullReason),
}

/// Why a replica can't resume, with the figures.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FullReason {
    /// It asked for everything.
    #[error("it asked for everything")]
    FirstSync,
    /// It holds another history.
    #[error("it holds another history")]
    UnknownHistory,
    /// It holds the previous history past the point where the current one parted from it.
    #[error("its history parted from ours after offset {shared_until}")]
    Diverged {
        /// The last offset that both have in common.
        shared_until: Offset,
    },
    /// Bytes that it needs have left the backlog.
    #[error("needed {needed} bytes of history, {kept} were kept")]
    TooOld {
        /// Bytes between the asked-for offset and the end.
        needed: u64,
        /// Bytes between the oldest kept one and the end.
        kept: u64,
    },
    /// It is ahead of this stream.
    #[error("it is ahead of our end, offset {end}")]
    InFuture {
        /// The end of this stream.
        end: Offset,
    },
    /// Nothing is kept, so nothing was counted either.
    #[error("no backlog is kept")]
    NoBacklog,
    /// All is kept, but it is further behind than a replica's output limit allows.
    #[error("it is {needed} bytes behind, its limit is {limit}")]
    OverLimit {
        /// Bytes between the asked-for offset and the end.
        needed: u64,
        /// The most that it may be behind.
        limit: u64,
    },
}

/// An id that was refused: it is the current one, the previous one, or [`ReplicationId::NONE`]. Nothing has
/// changed; draw another.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0} is in use or is no id: draw another")]
pub struct IdRefused(pub ReplicationId);

impl History {
    /// A history that starts with `id`.
    ///
    /// # Errors
    ///
    /// [`IdRefused`] for [`ReplicationId::NONE`].
    pub fn new(id: ReplicationId) -> Result<Self, IdRefused> {
        if id == ReplicationId::NONE {
            return Err(IdRefused(id));
        }
        Ok(Self { id, previous: None })
    }

    /// The name of the stream.
    pub const fn id(&self) -> ReplicationId {
        self.id
    }

    /// The name it had before, and the offset up to which that name is right.
    pub const fn previous(&self) -> Option<(ReplicationId, Offset)> {
        self.previous
    }

    /// Decides whether a replica may go on from `wanted`, given what is `kept`. Changes nothing.
    ///
    /// The previous id holds up to and including its end (R54, R55), and a replica that lacks nothing
    /// resumes with nothing to send.
    pub fn resume(&self, wanted: Wanted, kept: Option<Kept>) -> Resume {
        let (id, offset) = match wanted {
            Wanted::Everything => return Resume::Full(FullReason::FirstSync),
            Wanted::Unrecognised => return Resume::Full(FullReason::UnknownHistory),
            Wanted::After { id, offset } => (id, offset),
        };
        let refused = self.foreign(id, offset).or_else(|| match kept {
            None => Some(FullReason::NoBacklog),
            Some(kept) => kept.lacks(offset),
        });
        refused.map_or(Resume::Continue { from: offset }, Resume::Full)
    }

    /// Goes on under a new name at `at`: the current id becomes the previous one, right up to there.
    ///
    /// # Errors
    ///
    /// [`IdRefused`] if `fresh` is in use already.
    pub fn promote(&mut self, fresh: ReplicationId, at: Offset) -> Result<(), IdRefused> {
        self.check_fresh(fresh)?;
        self.previous = Some((self.id, at));
        self.id = fresh;
        Ok(())
    }

    /// Becomes another history altogether: nobody who holds an earlier one resumes.
    ///
    /// # Errors
    ///
    /// [`IdRefused`] if `id` is in use already.
    pub fn adopt(&mut self, id: ReplicationId) -> Result<(), IdRefused> {
        self.check_fresh(id)?;
        *self = Self { id, previous: None };
        Ok(())
    }

    /// Goes on as the holder of `id`, which somebody else gave to it: it may have been in use before.
    pub(crate) fn follow(&mut self, id: ReplicationId) {
        debug_assert!(id != ReplicationId::NONE, "a history has a name");
        *self = Self { id, previous: None };
    }

    /// Goes on at `at` under the name that its primary goes by now.
    pub(crate) fn rename(&mut self, id: ReplicationId, at: Offset) {
        debug_assert!(id != ReplicationId::NONE, "a history has a name");
        *self = Self { id, previous: Some((self.id, at)) };
    }

    /// Whether who holds it up to here may come to hold `offset` of the history `id`.
    pub(crate) fn may_reach(&self, id: ReplicationId, offset: Offset) -> bool {
        self.foreign(id, offset).is_none()
    }

    /// Whether `id` could name a new history beside this one.
    ///
    /// # Errors
    ///
    /// [`IdRefused`] if it is in use already.
    pub fn check_fresh(&self, id: ReplicationId) -> Result<(), IdRefused> {
        let used =
            id == self.id || id == ReplicationId::NONE || self.previous.is_some_and(|(old, _)| old == id);
        if used { Err(IdRefused(id)) } else { Ok(()) }
    }

    fn foreign(&self, id: ReplicationId, offset: Offset) -> Option<FullReason> {
        match self.previous {
            _ if id == self.id => None,
            Some((previous, end)) if id == previous => {
                (offset > end).then_some(FullReason::Diverged { shared_until: end })
            }
            _ => Some(FullReason::UnknownHistory),
        }
    }
}

impl Kept {
    fn lacks(self, offset: Offset) -> Option<FullReason> {
        let Some(needed) = self.to.bytes_since(offset) else {
            return Some(FullReason::InFuture { end: self.to });
        };
        if offset < self.from {
            return Some(FullReason::TooOld { needed, kept: self.to.saturating_since(self.from) });
        }
        self.most.filter(|most| needed > *most).map(|limit| FullReason::OverLimit { needed, limit })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIRST: ReplicationId = ReplicationId::from_random([1; 20]);
    const SECOND: ReplicationId = ReplicationId::from_random([2; 20]);
    const OTHER: ReplicationId = ReplicationId::from_random([3; 20]);

    fn at(bytes: u64) -> Offset {
        Offset::new(bytes).unwrap()
    }

    fn after(id: ReplicationId, offset: u64) -> Wanted {
        Wanted::After { id, offset: at(offset) }
    }

    /// R54 and R55, whose request is the next byte and so one more than the offset here.
    #[test]
    fn continues_only_inside_the_kept_window() {
        let history = History::new(FIRST).unwrap();
        let kept = Some(Kept { from: at(100), to: at(200), most: None });
        for (wanted, expected) in [
            (after(FIRST, 99), Resume::Full(FullReason::TooOld { needed: 101, kept: 100 })),
            (after(FIRST, 100), Resume::Continue { from: at(100) }),
            (after(FIRST, 199), Resume::Continue { from: at(199) }),
            (after(FIRST, 200), Resume::Continue { from: at(200) }),
            (after(FIRST, 201), Resume::Full(FullReason::InFuture { end: at(200) })),
            (after(OTHER, 150), Resume::Full(FullReason::UnknownHistory)),
            (Wanted::Unrecognised, Resume::Full(FullReason::UnknownHistory)),
            (Wanted::Everything, Resume::Full(FullReason::FirstSync)),
        ] {
            assert_eq!(history.resume(wanted, kept), expected, "{wanted:?}");
        }
        assert_eq!(history.resume(after(FIRST, 150), None), Resume::Full(FullReason::NoBacklog));
    }

    /// R23 and R55: the previous id is good up to its end, inclusive.
    #[test]
    fn the_previous_id_is_right_up_to_its_end() {
        let mut history = History::new(FIRST).unwrap();
        history.promote(SECOND, at(50)).unwrap();
        let kept = Some(Kept { from: at(0), to: at(90), most: None });
        assert_eq!(history.resume(after(FIRST, 50), kept), Resume::Continue { from: at(50) });
        let parted = Resume::Full(FullReason::Diverged { shared_until: at(50) });
        assert_eq!(history.resume(after(FIRST, 51), kept), parted);
        assert_eq!(history.resume(after(SECOND, 51), kept), Resume::Continue { from: at(51) });
    }

    #[test]
    fn a_window_of_no_bytes_still_resumes_whoever_has_all() {
        let history = History::new(FIRST).unwrap();
        let kept = Some(Kept { from: at(0), to: at(0), most: Some(0) });
        assert_eq!(history.resume(after(FIRST, 0), kept), Resume::Continue { from: at(0) });
        assert_eq!(history.resume(after(FIRST, 1), kept), Resume::Full(FullReason::InFuture { end: at(0) }));
    }

    #[test]
    fn nobody_resumes_further_behind_than_the_limit() {
        let history = History::new(FIRST).unwrap();
        let kept = Some(Kept { from: at(0), to: at(100), most: Some(60) });
        assert_eq!(history.resume(after(FIRST, 40), kept), Resume::Continue { from: at(40) });
        let over = Resume::Full(FullReason::OverLimit { needed: 61, limit: 60 });
        assert_eq!(history.resume(after(FIRST, 39), kept), over);
    }

    #[test]
    fn an_id_in_use_is_refused_and_changes_nothing() {
        assert_eq!(History::new(ReplicationId::NONE), Err(IdRefused(ReplicationId::NONE)));
        let mut history = History::new(FIRST).unwrap();
        history.promote(SECOND, at(7)).unwrap();
        let before = history.clone();
        for id in [FIRST, SECOND, ReplicationId::NONE] {
            assert_eq!(history.promote(id, at(9)), Err(IdRefused(id)));
            assert_eq!(history.adopt(id), Err(IdRefused(id)));
        }
        assert_eq!(history, before);
        history.adopt(OTHER).unwrap();
        assert_eq!((history.id(), history.previous()), (OTHER, None));
    }

    /// The rules R54 and R56 written out a second time, as a list of refusals in the wire's own numbers.
    fn resumes_by_the_table(wanted: Wanted, previous: Option<u64>, kept: Option<(u64, u64)>) -> bool {
        let Wanted::After { id, offset } = wanted else { return false };
        let Some((from, to)) = kept else { return false };
        let (request, first, histlen) = (offset.get() + 1, from + 1, to - from);
        let known = match previous {
            _ if id == SECOND => true,
            Some(end) if id == FIRST => request <= end + 1,
            _ => false,
        };
        known && first <= request && request <= first + histlen
    }

    proptest! {
        #[test]
        fn agrees_with_the_rules_as_a_table(
            parted in proptest::option::of(0..12u64),
            window in proptest::option::of((0..12u64, 0..12u64)),
            offset in 0..30u64,
            who in 0..3usize,
        ) {
            let mut history = History::new(if parted.is_some() { FIRST } else { SECOND }).unwrap();
            if let Some(end) = parted {
                history.promote(SECOND, at(end)).unwrap();
            }
            let window = window.map(|(from, len)| (from, from + len));
            let kept = window.map(|(from, to)| Kept { from: at(from), to: at(to), most: None });
            let wanted = after([FIRST, SECOND, OTHER][who], offset);
            let continues = history.resume(wanted, kept) == Resume::Continue { from: at(offset) };
            prop_assert_eq!(continues, resumes_by_the_table(wanted, parted, window));
        }
    }
}
