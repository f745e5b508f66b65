use alloc::vec::Vec;
use core::mem;

use crate::backlog::{Backlog, StreamFull, ZeroCapacity};
use crate::history::Kept;
use crate::offset::Offset;

/// The primary's stream: kept in a backlog while somebody wants it, else only its end is known.
#[derive(Debug)]
pub(crate) struct Stream {
    state: State,
    /// Backlogs that nobody wants any more, let go of in portions.
    retired: Vec<Backlog>,
}

#[derive(Debug)]
enum State {
    /// What is written now goes nowhere and is not counted.
    Idle {
        end: Offset,
        /// Nothing can have been written since it was at `end`.
        is_exact: bool,
    },
    Kept(Backlog),
}

impl Stream {
    pub(crate) const fn idle(end: Offset) -> Self {
        Self { state: State::Idle { end, is_exact: false }, retired: Vec::new() }
    }

    /// The end of what is readable.
    #[inline]
    pub(crate) const fn end(&self) -> Offset {
        match &self.state {
            State::Idle { end, .. } => *end,
            State::Kept(backlog) => backlog.end(),
        }
    }

    #[inline]
    pub(crate) const fn backlog(&self) -> Option<&Backlog> {
        match &self.state {
            State::Idle { .. } => None,
            State::Kept(backlog) => Some(backlog),
        }
    }

    #[inline]
    pub(crate) const fn backlog_mut(&mut self) -> Option<&mut Backlog> {
        match &mut self.state {
            State::Idle { .. } => None,
            State::Kept(backlog) => Some(backlog),
        }
    }

    /// Starts to keep, with nothing kept yet (R14).
    pub(crate) fn keep(&mut self, capacity: usize) -> Result<(), ZeroCapacity> {
        self.state = State::Kept(Backlog::new(capacity, self.end())?);
        Ok(())
    }

    /// Whether the data is what the stream up to its end makes of it.
    pub(crate) const fn is_exact(&self) -> bool {
        matches!(&self.state, State::Idle { is_exact: true, .. } | State::Kept(_))
    }

    /// The end is elsewhere: it is another stream, and the data is at its end. Nothing may be kept.
    pub(crate) fn restart(&mut self, end: Offset) {
        debug_assert!(self.backlog().is_none(), "what is kept has an end of its own");
        self.state = State::Idle { end, is_exact: true };
    }

    /// Keeps nothing any more. No cursor may be left.
    pub(crate) fn retire(&mut self) {
        let end = self.end();
        if let State::Kept(mut backlog) = mem::replace(&mut self.state, State::Idle { end, is_exact: false })
        {
            backlog.discard_staged();
            // The least that a backlog keeps: all but its last chunk is surplus from now on.
            if backlog.set_capacity(1).is_ok() && backlog.has_surplus() {
                self.retired.push(backlog);
            }
        }
    }

    pub(crate) fn set_capacity(&mut self, capacity: usize) -> Result<(), ZeroCapacity> {
        self.backlog_mut().map_or(Ok(()), |backlog| backlog.set_capacity(capacity))
    }

    /// Lets go of a portion of what nobody needs.
    pub(crate) fn trim(&mut self) {
        if let Some(backlog) = self.backlog_mut() {
            backlog.trim();
        }
        if self.retired.last_mut().is_some_and(|backlog| !backlog.trim()) {
            self.retired.pop();
        }
    }

    #[inline]
    pub(crate) fn has_surplus(&self) -> bool {
        !self.retired.is_empty() || self.backlog().is_some_and(Backlog::has_surplus)
    }

    pub(crate) fn retired_memory(&self) -> usize {
        self.retired.iter().map(Backlog::memory).sum()
    }

    /// Whether `bytes` more can be counted.
    pub(crate) fn check_room(&self, bytes: usize) -> Result<(), StreamFull> {
        match self.backlog() {
            Some(backlog) if backlog.end().checked_add(bytes as u64).is_none() => {
                Err(StreamFull { end: backlog.end(), bytes })
            }
            _ => Ok(()),
        }
    }

    /// What a replica may resume from, at most `most` bytes behind.
    pub(crate) fn kept(&self, most: Option<u64>) -> Option<Kept> {
        let backlog = self.backlog()?;
        Some(Kept { from: backlog.start(), to: backlog.end(), most })
    }
}
