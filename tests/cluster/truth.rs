use std::collections::BTreeMap;

use headwater::{Offset, ReplicationId, ResumePoint};

/// What a node's data is: a hash over all units that it has applied, in order.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct State(pub(crate) u64);

/// All that ever was: which data came of which, and what was held at each place of each history.
#[derive(Debug)]
pub(crate) struct Truth {
    /// Each state that a leader made, with how many units it has and what it was before.
    made: BTreeMap<State, (u64, State)>,
    ledger: BTreeMap<(ReplicationId, Offset), State>,
}

impl State {
    /// With one unit more.
    pub(crate) fn after(self, commands: &[u8]) -> Self {
        let mixed =
            |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3).rotate_left(29);
        Self(commands.iter().fold(self.0 ^ 0xCBF2_9CE4_8422_2325, mixed))
    }
}

impl Truth {
    pub(crate) fn new() -> Self {
        Self { made: BTreeMap::from([(State::default(), (0, State::default()))]), ledger: BTreeMap::new() }
    }

    /// A leader has applied a unit.
    pub(crate) fn make(&mut self, before: State, after: State) {
        let units = self.made[&before].0;
        self.made.insert(after, (units + 1, before));
    }

    /// S5: whether that is what whole units made.
    pub(crate) fn is_made(&self, state: State) -> bool {
        self.made.contains_key(&state)
    }

    /// Whether `later` is `earlier`, and perhaps more.
    pub(crate) fn includes(&self, mut later: State, earlier: State) -> bool {
        let units = self.made[&earlier].0;
        while self.made[&later].0 > units {
            later = self.made[&later].1;
        }
        later == earlier
    }

    /// S2: whoever claims the same place holds the same.
    pub(crate) fn agree(&mut self, held: ResumePoint, state: State) {
        let known = *self.ledger.entry((held.id, held.offset)).or_insert(state);
        assert_eq!(known, state, "S2: two data at {} of history {}", held.offset, held.id);
    }

    /// What was held at a place, or at the last one before it that is known.
    pub(crate) fn at_most(&self, id: ReplicationId, offset: Offset) -> Option<State> {
        self.ledger.range((id, Offset::ZERO)..=(id, offset)).next_back().map(|(_, state)| *state)
    }

    /// The first known place there or behind, and what was held at it.
    pub(crate) fn at_least(&self, id: ReplicationId, offset: Offset) -> Option<(Offset, State)> {
        let (place, state) = self.ledger.range((id, offset)..=(id, Offset::MAX)).next()?;
        Some((place.1, *state))
    }

    /// What was held at a place.
    pub(crate) fn at(&self, id: ReplicationId, offset: Offset) -> Option<State> {
        self.ledger.get(&(id, offset)).copied()
    }
}
