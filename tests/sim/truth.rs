use std::collections::BTreeMap;

use headwater::Level;

use crate::network::Connection;

/// What replicas have really done with the stream, by the connection that brought it to them, whatever they say and
/// whatever of that has arrived.
#[derive(Debug, Default)]
pub(crate) struct Truth(BTreeMap<Connection, Done>);

#[derive(Clone, Copy, Debug, Default)]
struct Done {
    applied: usize,
    fsynced: Option<usize>,
    /// What it told of though it was not so, and nobody could know better.
    claimed: (usize, Option<usize>),
}

impl Truth {
    /// S4: it never holds less than before, and no more is on its disk than it has applied.
    pub(crate) fn note(&mut self, connection: Connection, applied: usize, fsynced: Option<usize>) {
        let done = self.0.entry(connection).or_default();
        assert!(fsynced <= Some(applied), "S4: more is fsynced than applied");
        assert!(applied >= done.applied && fsynced >= done.fsynced, "S4: {connection:?} goes back");
        (done.applied, done.fsynced) = (applied, fsynced);
    }

    /// It lies, and is believed as far as it was sent that much.
    pub(crate) fn note_claim(&mut self, connection: Connection, applied: usize, fsynced: Option<usize>) {
        let (most_applied, most_fsynced) = &mut self.0.entry(connection).or_default().claimed;
        *most_applied = applied.max(*most_applied);
        *most_fsynced = fsynced.max(*most_fsynced);
    }

    pub(crate) fn holds(&self, connection: Connection, target: usize, level: Level) -> bool {
        self.0.get(&connection).is_some_and(|done| match level {
            Level::Applied => done.applied.max(done.claimed.0) >= target,
            _ => done.fsynced.max(done.claimed.1) >= Some(target),
        })
    }
}
