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
}

impl Truth {
    /// S4: no more is on its disk than it has applied.
    pub(crate) fn note(&mut self, connection: Connection, applied: usize, fsynced: Option<usize>) {
        assert!(fsynced <= Some(applied), "S4: more is fsynced than applied");
        let done = self.0.entry(connection).or_default();
        done.applied = done.applied.max(applied);
        done.fsynced = done.fsynced.max(fsynced);
    }

    pub(crate) fn holds(&self, connection: Connection, target: usize, level: Level) -> bool {
        self.0.get(&connection).is_some_and(|done| match level {
            Level::Applied => done.applied >= target,
            _ => done.fsynced >= Some(target),
        })
    }
}
