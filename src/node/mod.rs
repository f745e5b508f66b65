mod event;
mod fence;
mod handover;
mod lost;

pub use event::NodeEvent;
pub use fence::{Fence, FenceEnd, FenceError, FenceOutcome, Staleness};
pub use handover::{Handover, HandoverError};
pub use lost::Lost;

use bytes::Bytes;

use handover::UnderWay;
use lost::OwnStretch;

use crate::acks::Acks;
use crate::history::{IdRefused, ResumePoint, Wanted};
use crate::id::ReplicationId;
use crate::key::LinkKey;
use crate::offset::Offset;
use crate::primary::{Config, ConfigError, Primary, Report, Role};
use crate::replica::{
    Carried, FollowError, Replica, ReplicaConfig, UpstreamEvent, UpstreamReport, ZeroPeriod,
};
use crate::time::{Timestamp, earliest};
use crate::waiters::Waiters;
use crate::wire::{Follow, Sealed};

/// A node that can change its role: a [`Primary`] in both roles, and a [`Replica`] while it follows another node.
///
/// **After each batch of inputs drain the events of [`poll_event`](Self::poll_event), then sleep until
/// [`poll_timeout`](Self::poll_timeout).** They take the place of the primary's own.
///
/// The history is kept over each change. Promoted, it goes on under a new id, and who held the old one resumes up to that
/// place. Demoted, its stream becomes what it asks the new primary to go on from. While it follows it is a relay: its own
/// replicas get the very bytes that it has applied, unit by unit, under the same id and at the same offsets.
///
/// ```
/// use headwater::{
///     Config, Node, NodeEvent, ReplicaConfig, ReplicationId, ResumePoint, Start, Timestamp, UpstreamEvent,
///     WriteRefused,
/// };
///
/// let now = Timestamp::default();
/// let [first, second, third] = [[1; 20], [2; 20], [3; 20]].map(ReplicationId::from_random);
/// let mut node = Node::new(Config::default(), Start::Empty { id: first }, now)?;
///
/// node.follow(ReplicaConfig::default(), None, now)?;
/// let Some(NodeEvent::Upstream(link, UpstreamEvent::Connect)) = node.poll_event() else { panic!("it connects") };
/// assert!(matches!(node.primary().write(now, |_| ()), Err(WriteRefused::Following)));
///
/// // What `wire::Link` tells of the connection's bytes:
/// node.handle_connected(link, now)?;
/// node.handle_asked(link, now)?;
/// let snapshot = ResumePoint { id: second, offset: node.primary().end() };
/// node.handle_full(link, snapshot, now)?;
/// node.handle_snapshot_end(link, now)?;
/// node.handle_loaded(link, now)?;
/// assert_eq!(node.held(), Some(snapshot));
///
/// node.promote(third, now)?;
/// assert_eq!(node.primary().report(now).previous, Some((second, snapshot.offset)));
/// assert!(node.primary().write(now, |_| ()).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Node {
    primary: Primary,
    replica: Option<Replica>,
    /// How many links there were to the primaries that are followed no more.
    links: u64,
    /// A link to a primary that is followed no more, to be closed.
    closing: Option<(LinkKey, UpstreamEvent)>,
    handover: Option<UnderWay>,
    handover_failed: bool,
    /// Where the stretch of the stream began that it wrote itself.
    led_from: Offset,
    /// That stretch, until it is known what became of it.
    own: Option<OwnStretch>,
    diverged: Option<(LinkKey, Lost)>,
    /// Readers that wait for what is yet to be applied: to them that is what the own disk is to others.
    fences: Waiters,
    /// Fences wait for no replica.
    nobody: Acks,
}

/// What a node's data is when it starts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Start {
    /// Nothing, or data of which no history is known.
    Empty {
        /// The name of the history that begins here.
        id: ReplicationId,
    },
    /// An image with the place in its history at which it was taken. The node goes on as a primary, under a `fresh` id, and
    /// who held the same resumes (R41).
    Primary {
        /// What was stored inside the image.
        held: ResumePoint,
        /// Drawn at random.
        fresh: ReplicationId,
    },
    /// The same, of a node that is to [follow](Node::follow) another: it asks to resume there (R40).
    Replica {
        /// What was stored inside the image.
        held: ResumePoint,
    },
}

impl Node {
    /// A node without replicas. It leads, but for [`Start::Replica`].
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a configuration that can't work, [`ReplicationId::NONE`], or a `fresh` id that is the old one.
    pub fn new(config: Config, start: Start, now: Timestamp) -> Result<Self, ConfigError> {
        let max_waiters = config.max_waiters;
        let id = match start {
            Start::Empty { id } => id,
            Start::Primary { held, .. } | Start::Replica { held } => held.id,
        };
        let mut primary = Primary::new(config, id, now)?;
        match start {
            Start::Empty { .. } => {}
            Start::Replica { held } => {
                primary.restore(held);
                primary.follow(now);
            }
            Start::Primary { held, fresh } => {
                primary.restore(held);
                primary.lead_restored(fresh)?;
            }
        }
        Ok(Self {
            led_from: primary.end(),
            primary,
            replica: None,
            links: 0,
            closing: None,
            handover: None,
            handover_failed: false,
            own: None,
            diverged: None,
            fences: Waiters::new(max_waiters),
            nobody: Acks::default(),
        })
    }

    /// The stream and its replicas: writes, waits, attached connections, snapshots. While the node follows, it refuses
    /// writes and waits, and attaches replicas only while the link is in step.
    pub const fn primary(&mut self) -> &mut Primary {
        &mut self.primary
    }

    /// The place in its history that the data is at. Store it inside the image that is taken now, nowhere else. `None`
    /// while no replica wants the stream of a primary: what is written then is not counted (R12, R38). `None`, too, from
    /// [`Node::handle_unreadable`] until a snapshot is loaded or the node leads.
    pub fn held(&self) -> Option<ResumePoint> {
        self.primary.held().filter(|_| !self.is_spoiled())
    }

    /// Whether it follows another node, or is to.
    pub const fn is_following(&self) -> bool {
        self.primary.role().is_following()
    }

    /// As [`Primary::report`].
    pub fn report(&self, now: Timestamp) -> Report {
        self.primary.report(now)
    }

    /// Every figure of the link to the primary, while one is followed.
    pub fn upstream(&self, now: Timestamp) -> Option<UpstreamReport> {
        self.replica.as_ref().map(|replica| replica.report(now))
    }

    /// Follows a primary from now on, or another one than before. [`UpstreamEvent::Connect`] comes.
    ///
    /// The end of the stream is what it asks to go on from; replicas stay (R25, R28). Of a node that led, all waits end as
    /// [`WaitEnded::NoLongerPrimary`](crate::WaitEnded::NoLongerPrimary). `successor_held` is what the new primary
    /// acknowledged last, if it was a replica of this one: should it not go on from here, that bounds what it may
    /// never have had ([`NodeEvent::Diverged`]).
    ///
    /// # Errors
    ///
    /// [`ZeroPeriod`] for a configuration that can't work.
    pub fn follow(
        &mut self,
        config: ReplicaConfig,
        successor_held: Option<Offset>,
        now: Timestamp,
    ) -> Result<(), ZeroPeriod> {
        config.check()?;
        let now = self.clamped(now);
        let carried = self.carried();
        self.leave_upstream();
        let has_own = if self.primary.role().is_following() {
            self.own.is_some()
        } else {
            (self.handover, self.handover_failed) = (None, false);
            self.primary.follow(now);
            self.primary.end() > self.led_from
        };
        self.own = has_own.then_some(OwnStretch { held: successor_held });
        self.diverged = None;
        self.primary.lose_step();
        self.replica = Some(Replica::after(self.links, config, carried, now)?);
        Ok(())
    }

    /// Leads from now on, under a `fresh` id: replicas are dropped, to learn it, and resume (R22). A node that leads
    /// already stays as it is (R24).
    ///
    /// # Errors
    ///
    /// [`IdRefused`] for an id in use: draw another.
    pub fn promote(&mut self, fresh: ReplicationId, now: Timestamp) -> Result<(), IdRefused> {
        if !self.is_following() {
            return Ok(());
        }
        self.primary.promote(fresh, now)?;
        if let Some(fsynced) = self.replica.as_ref().and_then(|replica| replica.carried().fsynced) {
            // What it knew as a primary may be more already.
            let _ = self.primary.handle_local_fsync(Some(fsynced), now);
        }
        self.leave_upstream();
        self.led_from = self.primary.end();
        (self.own, self.diverged) = (None, None);
        self.end_fences();
        Ok(())
    }

    /// What to ask the primary for, while one is followed.
    pub fn wanted(&self) -> Option<Wanted> {
        self.replica.as_ref().map(Replica::wanted)
    }

    /// As [`Replica::handle_connected`].
    ///
    /// # Errors
    ///
    /// [`FollowError`].
    pub fn handle_connected(&mut self, link: LinkKey, now: Timestamp) -> Result<(), FollowError> {
        let now = self.clamped(now);
        self.followed(link)?.handle_connected(link, now)
    }

    /// As [`Replica::handle_heard`].
    ///
    /// # Errors
    ///
    /// [`FollowError`].
    pub fn handle_heard(&mut self, link: LinkKey, now: Timestamp) -> Result<(), FollowError> {
        let now = self.clamped(now);
        self.followed(link)?.handle_heard(link, now)
    }

    /// As [`Replica::handle_asked`].
    ///
    /// # Errors
    ///
    /// [`FollowError`].
    pub fn handle_asked(&mut self, link: LinkKey, now: Timestamp) -> Result<(), FollowError> {
        let now = self.clamped(now);
        self.followed(link)?.handle_asked(link, now)
    }

    /// As [`Replica::handle_resumed`]. Under another id this node's own replicas are dropped, to learn it (R32); those who
    /// wait at a [fence](Node::fence) end.
    ///
    /// # Errors
    ///
    /// [`FollowError`].
    pub fn handle_resumed(
        &mut self,
        link: LinkKey,
        id: Option<ReplicationId>,
        now: Timestamp,
    ) -> Result<(), FollowError> {
        let now = self.clamped(now);
        self.followed(link)?.handle_resumed(link, id, now)?;
        let current = self.primary.id();
        let id = id.unwrap_or(current);
        if id != current {
            self.end_fences();
        }
        self.primary.resume_following(id, now);
        (self.own, self.diverged) = (None, None);
        Ok(())
    }

    /// As [`Replica::handle_full`]. [`NodeEvent::Diverged`] may follow.
    ///
    /// # Errors
    ///
    /// [`FollowError`].
    pub fn handle_full(
        &mut self,
        link: LinkKey,
        point: ResumePoint,
        now: Timestamp,
    ) -> Result<(), FollowError> {
        let now = self.clamped(now);
        self.followed(link)?.handle_full(link, point, now)?;
        self.note_divergence(link);
        Ok(())
    }

    /// As [`Replica::handle_snapshot_end`].
    ///
    /// # Errors
    ///
    /// [`FollowError`].
    pub fn handle_snapshot_end(&mut self, link: LinkKey, now: Timestamp) -> Result<(), FollowError> {
        let now = self.clamped(now);
        self.followed(link)?.handle_snapshot_end(link, now)
    }

    /// As [`Replica::handle_received`].
    ///
    /// # Errors
    ///
    /// [`FollowError`].
    pub fn handle_received(&mut self, link: LinkKey, bytes: u64, now: Timestamp) -> Result<(), FollowError> {
        let now = self.clamped(now);
        self.followed(link)?.handle_received(link, bytes, now)
    }

    /// As [`Replica::handle_unreadable`], whichever primary is asked next.
    ///
    /// # Errors
    ///
    /// [`FollowError`].
    pub fn handle_unreadable(&mut self, link: LinkKey, now: Timestamp) -> Result<(), FollowError> {
        let now = self.clamped(now);
        self.followed(link)?.handle_unreadable(link, now)
    }

    /// As [`Replica::handle_disconnected`].
    pub fn handle_disconnected(&mut self, link: LinkKey, now: Timestamp) {
        self.closing.take_if(|(closing, _)| *closing == link);
        let now = self.clamped(now);
        if let Some(replica) = &mut self.replica {
            replica.handle_disconnected(link, now);
        }
        self.note_step();
    }

    /// As [`Replica::handle_replacing`]. Its own replicas are dropped, and start over; without it they are when the snapshot
    /// is loaded.
    ///
    /// # Errors
    ///
    /// [`FollowError`].
    pub fn handle_replacing(&mut self, link: LinkKey, now: Timestamp) -> Result<(), FollowError> {
        let now = self.clamped(now);
        self.followed(link)?.handle_replacing(link, now)?;
        self.primary.begin_to_replace(now);
        self.own = None;
        self.end_fences();
        Ok(())
    }

    /// The snapshot is loaded, and what was held before is gone: its own replicas are dropped, and start over (R36).
    ///
    /// # Errors
    ///
    /// [`FollowError`].
    pub fn handle_loaded(&mut self, link: LinkKey, now: Timestamp) -> Result<(), FollowError> {
        let now = self.clamped(now);
        let replica = self.followed(link)?;
        replica.handle_loaded(link, now)?;
        if let Some(held) = replica.held() {
            self.primary.replace(held, now);
        }
        self.own = None;
        self.end_fences();
        self.note_step();
        Ok(())
    }

    /// As [`Replica::handle_load_failed`].
    ///
    /// # Errors
    ///
    /// [`FollowError`].
    pub fn handle_load_failed(&mut self, link: LinkKey, now: Timestamp) -> Result<(), FollowError> {
        let now = self.clamped(now);
        self.followed(link)?.handle_load_failed(link, now)?;
        self.note_step();
        Ok(())
    }

    /// A unit of the stream is applied: say so before the data changes. Its very bytes go on to this node's own replicas, and
    /// those who waited for it read.
    ///
    /// # Errors
    ///
    /// [`FollowError`]: the unit must not be applied.
    pub fn handle_applied(
        &mut self,
        link: LinkKey,
        unit: &Bytes,
        now: Timestamp,
    ) -> Result<Offset, FollowError> {
        let now = self.clamped(now);
        let end = self.followed(link)?.handle_applied(link, unit, now)?;
        self.primary.relay(unit, now);
        self.reach_fences();
        Ok(end)
    }

    /// As [`Replica::handle_fsynced`] while the node follows, else as
    /// [`Primary::handle_local_fsync`]. It is known over a change of role, and at another primary that goes on from here.
    ///
    /// # Errors
    ///
    /// [`FollowError::FsyncedBeyondApplied`].
    pub fn handle_fsynced(&mut self, upto: Offset, now: Timestamp) -> Result<(), FollowError> {
        if let Some(replica) = &mut self.replica {
            return replica.handle_fsynced(upto);
        }
        let applied = self.primary.end();
        let refused = FollowError::FsyncedBeyondApplied { fsynced: upto, applied };
        self.primary.handle_local_fsync(Some(upto), now).map_err(|_| refused)
    }

    /// Has an ack sent to the primary with the next events.
    pub fn acknowledge(&mut self) {
        if let Some(replica) = &mut self.replica {
            replica.acknowledge();
        }
    }

    /// Takes the next thing for the host to act on: what concerns the upstream first, then as
    /// [`Primary::poll_event`].
    pub fn poll_event(&mut self) -> Option<NodeEvent> {
        if let Some((waiter, end)) = self.fences.poll_ended() {
            return Some(NodeEvent::FenceEnded { waiter, end: end.how.into() });
        }
        if let Some((link, event)) = self.closing.take() {
            return Some(NodeEvent::Upstream(link, event));
        }
        if let Some((link, lost)) = self.diverged.take() {
            return Some(NodeEvent::Diverged(link, lost));
        }
        if let Some((link, event)) = self.replica.as_mut().and_then(Replica::poll_event) {
            return Some(NodeEvent::Upstream(link, event));
        }
        self.poll_handover().or_else(|| self.primary.poll_event().map(NodeEvent::Primary))
    }

    /// When [`Node::handle_timeout`] has something to do, if nothing happens before. Never late.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let upstream = self.replica.as_ref().and_then(Replica::poll_timeout);
        let handover = self.handover.as_ref().and_then(|handover| handover.deadline);
        [upstream, handover, self.fences.deadline()].into_iter().fold(self.primary.poll_timeout(), earliest)
    }

    /// Does what has become due. Afterwards [`Node::poll_timeout`] is later than `now`.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let now = self.clamped(now);
        self.fences.handle_timeout(&self.nobody, now);
        if let Some(replica) = &mut self.replica {
            replica.handle_timeout(now);
        }
        self.note_step();
        self.handle_handover_timeout(now);
        self.primary.handle_timeout(now);
    }

    /// Panics when an invariant is broken. For tests and fuzzing.
    #[doc(hidden)]
    pub fn check_invariants(&self) {
        self.primary.check_invariants();
        self.fences.check_invariants(&self.nobody);
        let follows = self.is_following();
        assert!(follows || self.replica.is_none(), "who leads follows nobody");
        assert!(!follows || self.handover.is_none(), "who follows has handed over");
        if let Some(replica) = &self.replica {
            replica.check_invariants();
            let in_step = self.primary.role() == Role::Following { in_step: true };
            assert_eq!(replica.is_in_step(), in_step, "both sides know whether the stream comes");
            assert_eq!(replica.held(), self.primary.held(), "what is applied is passed on");
        }
    }

    /// The latest time that any part was told: for all of them a clock that goes back stands still.
    fn clamped(&mut self, now: Timestamp) -> Timestamp {
        self.primary.clamped(now)
    }

    fn followed(&mut self, link: LinkKey) -> Result<&mut Replica, FollowError> {
        self.replica.as_mut().ok_or(FollowError::Gone(link))
    }

    fn is_spoiled(&self) -> bool {
        self.replica.as_ref().is_some_and(|replica| replica.carried().is_spoiled)
    }

    fn carried(&self) -> Carried {
        let leading = || Carried {
            held: self.primary.held(),
            fsynced: self.primary.local_fsynced(),
            is_spoiled: false,
        };
        self.replica.as_ref().map_or_else(leading, Replica::carried)
    }

    fn leave_upstream(&mut self) {
        let left = self.replica.take();
        self.links = left.as_ref().map_or(self.links, Replica::links);
        let closed = left.and_then(Replica::close);
        let event = closed.map(|(link, reason)| (link, UpstreamEvent::Close(reason)));
        self.closing = event.or(self.closing.take());
    }

    /// The link may have been lost.
    fn note_step(&mut self) {
        if self.replica.as_ref().is_some_and(|replica| !replica.is_in_step()) {
            self.primary.lose_step();
        }
    }
}

impl Sealed for Node {}

impl Follow for Node {
    fn replica(&mut self, link: LinkKey) -> Result<&mut Replica, FollowError> {
        self.followed(link)
    }

    fn handle_resumed(
        &mut self,
        link: LinkKey,
        id: Option<ReplicationId>,
        now: Timestamp,
    ) -> Result<(), FollowError> {
        Self::handle_resumed(self, link, id, now)
    }

    fn handle_full(&mut self, link: LinkKey, point: ResumePoint, now: Timestamp) -> Result<(), FollowError> {
        Self::handle_full(self, link, point, now)
    }
}
