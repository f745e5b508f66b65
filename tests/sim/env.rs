use std::fmt;
use std::io;
use std::time::Duration;

use crate::fault::Fault;
use crate::journal::Journal;
use crate::model::Model;
use crate::network::{Connection, End, Network};
use crate::options::Options;
use crate::rng::Rng;
use crate::truth::Truth;

/// What all parts of a run share.
#[derive(Debug)]
pub(crate) struct Env {
    /// The true time, which the host's clock need not tell.
    pub(crate) now: Duration,
    pub(crate) rng: Rng,
    pub(crate) options: Options,
    pub(crate) network: Network,
    pub(crate) model: Model,
    pub(crate) truth: Truth,
    pub(crate) journal: Journal,
    /// Offsets at which the primary's answer to a PSYNC changes.
    pub(crate) edges: Vec<usize>,
    /// Faults have stopped.
    pub(crate) is_calm: bool,
}

impl Env {
    pub(crate) fn note(&mut self, text: fmt::Arguments<'_>) {
        self.journal.note(self.now, text);
    }

    /// Has a fault strike with this probability, if it may, and counts it.
    pub(crate) fn strikes(&mut self, fault: Fault, percent: usize) -> bool {
        let strikes = !self.is_calm && self.options.allows(fault) && self.rng.chance(percent);
        if strikes {
            self.journal.count(fault);
        }
        strikes
    }

    /// Some time from now.
    pub(crate) fn in_millis(&mut self, least: usize, most: usize) -> Duration {
        self.now + self.rng.millis(least..=most)
    }

    /// Writes to a connection, which may take less than there is room for.
    pub(crate) fn write(&mut self, to: Connection, writer: End, bytes: &[u8]) -> io::Result<usize> {
        let partly = bytes.len() > 1 && self.strikes(Fault::PartialWrite, 10);
        let most = if partly { self.rng.within(1..=bytes.len() - 1) } else { bytes.len() };
        self.network.write(to, writer, &bytes[..most], self.now)
    }
}
