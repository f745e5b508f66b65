use alloc::vec::Vec;

use bytes::Bytes;

use super::Primary;
use super::event::DropReason;
use crate::backlog::{Backlog, StreamFull};
use crate::key::ReplicaKey;
use crate::offset::Offset;
use crate::time::Timestamp;

impl Primary {
    /// Appends a whole unit of `len` bytes by `append`, or breaks the history.
    #[inline]
    pub(super) fn append_unit(
        &mut self,
        len: usize,
        now: Timestamp,
        append: impl FnOnce(&mut Backlog) -> Result<Offset, StreamFull>,
    ) -> Option<Offset> {
        self.advance_clock(now);
        let max_unit = self.config.max_unit;
        if self.role.is_following() {
            return None;
        }
        let backlog = self.stream.backlog_mut()?;
        let start = backlog.end();
        if len > max_unit || append(backlog).is_err() {
            self.break_history();
            return None;
        }
        self.on_grown(start);
        Some(self.stream.end())
    }

    /// Ends the staged unit.
    #[inline]
    pub(super) fn commit(&mut self) -> Offset {
        let start = self.stream.end();
        if let Some(backlog) = self.stream.backlog_mut() {
            backlog.commit();
            self.on_grown(start);
        }
        self.stream.end()
    }

    /// Puts a payload of the core's own into the stream. Tells whether it entered: a full stream ends by silence, since
    /// nothing can be said in it any more.
    pub(super) fn append_own(&mut self, payload: Bytes) -> bool {
        let start = self.stream.end();
        let has_entered =
            self.stream.backlog_mut().is_some_and(|backlog| backlog.append_shared(payload).is_ok());
        if has_entered {
            self.on_grown(start);
        }
        has_entered
    }

    /// The stream has grown from `start`. Whatever the number of replicas, this compares a few figures.
    #[inline]
    pub(super) fn on_grown(&mut self, start: Offset) {
        let end = self.stream.end();
        if self.lag.is_due(self.now) {
            self.take_sample(start);
        }
        if self.output.may_be_crossed(end) {
            self.judge_output();
        }
        if self.pins.may_be_over(end) {
            self.enforce_pins();
        }
    }

    /// Whether a write that enters is nobody's business.
    #[cfg(feature = "sync")]
    #[inline]
    pub(crate) fn is_alone(&self) -> bool {
        self.replicas.len() == 0 && !self.good.is_on()
    }

    /// Lets go, after a write, of what the stream does not need any more. Tells whether that leaves nothing to do to one
    /// who was alone before: nothing to be told, and nothing due earlier than it was.
    #[cfg(feature = "sync")]
    #[inline]
    pub(crate) fn tidy(&mut self) -> bool {
        if self.stream.has_surplus() {
            self.stream.trim();
        }
        !self.stream.has_surplus() && !self.outbox.history_changed
    }

    #[cold]
    fn take_sample(&mut self, start: Offset) {
        let held = |(key, replica)| self.held_by(key, replica);
        let needed_from = self.replicas.iter().map(held).min().unwrap_or(start);
        self.lag.take(start, needed_from, self.now);
        self.write_rate.note(start, self.now);
    }

    #[cold]
    pub(super) fn enforce_pins(&mut self) {
        if let Some(backlog) = self.stream.backlog_mut() {
            self.pins.enforce(backlog, self.config.resume_pins, self.now);
        }
    }

    /// Drops every replica over the output limit, and finds the nearest crossing of the others.
    #[cold]
    pub(super) fn judge_output(&mut self) {
        let (end, now) = (self.stream.end(), self.now);
        self.output.restart();
        let mut over = Vec::new();
        for (key, replica) in self.replicas.iter_mut() {
            let Some(from) = replica.charged_from() else { continue };
            if let Err(crossed) = self.output.judge(from, &mut replica.over_since, end, now) {
                over.push((replica.arrival, key, DropReason::OverLimit(crossed)));
            }
        }
        self.drop_all(over);
    }

    /// Drops replicas in order of arrival, which comes first of each.
    pub(super) fn drop_all(&mut self, mut replicas: Vec<(u64, ReplicaKey, DropReason)>) {
        replicas.sort_unstable_by_key(|(arrival, ..)| *arrival);
        for (_, key, reason) in replicas {
            self.drop_replica(key, reason);
        }
    }
}
