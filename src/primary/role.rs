use bytes::Bytes;

use super::event::DropReason;
use super::{Primary, WriteRefused};
use crate::acks::Level;
use crate::backlog::{Backlog, Reader};
use crate::history::{IdRefused, ResumePoint};
use crate::id::ReplicationId;
use crate::key::ReplicaKey;
use crate::lag::LagSamples;
use crate::offset::Offset;
use crate::snapshots::WriteRate;
use crate::time::Timestamp;

/// Where the stream comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    /// From this node.
    Leading,
    /// From this node, but nothing new until a replica has all of it.
    HandingOver,
    /// From a primary that this node follows.
    Following {
        /// Whether it comes.
        in_step: bool,
    },
}

impl Role {
    /// Whether new units may begin.
    #[inline]
    pub(super) const fn admit_write(self) -> Result<(), WriteRefused> {
        match self {
            Self::Leading => Ok(()),
            Self::HandingOver => Err(WriteRefused::HandingOver),
            Self::Following { .. } => Err(WriteRefused::Following),
        }
    }

    pub(crate) const fn is_following(self) -> bool {
        matches!(self, Self::Following { .. })
    }
}

impl Primary {
    pub(crate) const fn role(&self) -> Role {
        self.role
    }

    pub(crate) const fn id(&self) -> ReplicationId {
        self.history.id()
    }

    pub(crate) const fn local_fsynced(&self) -> Option<Offset> {
        self.waiters.local_fsynced()
    }

    /// What its data is, by the name of its history. `None` if writes were not counted (R12).
    pub(crate) fn held(&self) -> Option<ResumePoint> {
        let held = ResumePoint { id: self.history.id(), offset: self.end() };
        self.stream.is_exact().then_some(held)
    }

    /// Starts over as the holder of `held`, which was stored with the data. Nobody is attached yet.
    pub(crate) fn restore(&mut self, held: ResumePoint) {
        self.history.follow(held.id);
        self.stream.restart(held.offset);
    }

    /// Goes on from what was restored as a primary: who held that before resumes, so the stream is kept from the start
    /// (R41).
    pub(crate) fn lead_restored(&mut self, fresh: ReplicationId) -> Result<(), IdRefused> {
        self.history.promote(fresh, self.end())?;
        self.lead();
        Ok(())
    }

    /// Stops new units, and what would get into the stream by itself.
    pub(crate) fn begin_handover(&mut self, now: Timestamp) {
        self.advance_clock(now);
        self.role = Role::HandingOver;
    }

    pub(crate) fn end_handover(&mut self) {
        self.role = Role::Leading;
    }

    /// The stream comes from another primary from now on. Replicas stay; waits end (R25, R169).
    pub(crate) fn follow(&mut self, now: Timestamp) {
        self.end_waits(now);
        self.outbox.acks_wanted = false; // nobody waits, and the stream is another's
        self.role = Role::Following { in_step: false };
        self.is_gate_open = true;
        self.timers.heartbeat_at = None;
    }

    /// The link to the primary is lost.
    pub(crate) fn lose_step(&mut self) {
        if self.role.is_following() {
            self.role = Role::Following { in_step: false };
        }
    }

    /// The primary goes on from the end of this stream. Under another id all replicas are to learn it (R32).
    pub(crate) fn resume_following(&mut self, id: ReplicationId, now: Timestamp) {
        self.advance_clock(now);
        if id != self.history.id() {
            self.history.rename(id, self.end());
            self.on_renamed();
        }
        self.keep_stream();
        self.role = Role::Following { in_step: true };
    }

    /// The data is another one: nobody resumes from before, and nothing of it is kept (R33, R36, R17).
    pub(crate) fn replace(&mut self, held: ResumePoint, now: Timestamp) {
        self.advance_clock(now);
        self.history.follow(held.id);
        self.on_renamed();
        self.keep_nothing();
        self.stream.restart(held.offset);
        self.keep_stream();
        // Offsets of two histories must not mix (R179). No offset at all is no step back.
        let _ = self.waiters.handle_local_fsync(None, &self.acks);
        self.role = Role::Following { in_step: true };
    }

    /// The data is on its way to be another one, and is none that any history knows until then (R36).
    pub(crate) fn begin_to_replace(&mut self, now: Timestamp) {
        self.advance_clock(now);
        self.send_all_away();
        self.keep_nothing();
    }

    /// Passes on a unit that this node has applied, byte for byte (R34). Its room was checked when it was received.
    pub(crate) fn relay(&mut self, unit: &Bytes, now: Timestamp) {
        self.advance_clock(now);
        let has_entered = self.append_own(unit.clone());
        debug_assert!(
            has_entered,
            "who is in step keeps the stream, and has received no more than it can hold"
        );
    }

    /// This node goes on alone, under a `fresh` id: siblings resume by the old one (R22).
    pub(crate) fn promote(&mut self, fresh: ReplicationId, now: Timestamp) -> Result<(), IdRefused> {
        self.advance_clock(now);
        self.history.promote(fresh, self.end())?;
        self.on_renamed();
        self.lead();
        Ok(())
    }

    fn lead(&mut self) {
        self.role = Role::Leading;
        if self.stream.is_exact() {
            self.keep_stream();
            self.timers.idle_since = Some(self.now);
        }
    }

    fn send_all_away(&mut self) {
        for replica in self.replicas_that(|_| true) {
            self.drop_replica(replica, DropReason::HistoryChanged);
        }
    }

    /// Of the stream so far. Nobody may be attached.
    fn keep_nothing(&mut self) {
        if let Some(backlog) = self.stream.backlog_mut() {
            self.pins.release_all(backlog);
        }
        self.stream.retire();
    }

    fn on_renamed(&mut self) {
        self.send_all_away();
        self.context.0 += 1;
        self.outbox.history_changed = true;
        // A host may have used the id that it had in stock elsewhere.
        if self.fresh_id.take_if(|id| self.history.check_fresh(*id).is_err()).is_some() {
            self.outbox.id_wanted = true;
        }
    }

    fn keep_stream(&mut self) {
        if self.stream.backlog().is_none() {
            let capacity = self.config.backlog_capacity;
            self.stream.keep(capacity).expect("a configuration is checked before it is in force");
            (self.lag, self.write_rate) = (LagSamples::new(), WriteRate::new(self.end(), self.now));
        }
    }

    /// Whether a replica has acknowledged all there is.
    pub(crate) fn has_all(&self, replica: ReplicaKey) -> bool {
        self.acks.of(replica).is_some_and(|ack| ack.applied == self.end())
    }

    /// The first replica to come of those online that have acknowledged all there is.
    pub(crate) fn first_with_all(&self) -> Option<ReplicaKey> {
        let with_all = self.acks.holders(self.end(), Level::Applied);
        with_all.min_by_key(|key| self.replicas.get(*key).map(|replica| replica.arrival))
    }

    pub(crate) fn is_attached(&self, replica: ReplicaKey) -> bool {
        self.replicas.get(replica).is_some()
    }

    pub(crate) fn has_replicas(&self) -> bool {
        self.replicas.len() > 0
    }

    /// Whether what is held may come to be `offset` of the history `id`. Past the end of who leads nobody has written, for
    /// nobody else does.
    pub(crate) fn may_reach(&self, id: ReplicationId, offset: Offset) -> bool {
        let may_be_written = self.role.is_following() || offset <= self.end();
        may_be_written && self.history.may_reach(id, offset)
    }

    /// From where on the stream is kept.
    pub(crate) fn kept_from(&self) -> Option<Offset> {
        self.stream.backlog().map(Backlog::start)
    }

    /// The stream from `from` on.
    pub(crate) fn read_kept(&self, from: Offset) -> Option<Reader<'_>> {
        self.stream.backlog()?.read_from(from)
    }
}
