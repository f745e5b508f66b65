mod config;
mod event;
mod link;
mod report;

pub use config::{ReplicaConfig, ZeroPeriod};
pub use event::{CloseReason, FollowError, UpstreamEvent};
pub use report::{LinkState, UpstreamReport};

use core::time::Duration;

use link::{Beat, Link, Stage};

use crate::acks::Ack;
use crate::backoff::mix;
use crate::history::{ResumePoint, Wanted};
use crate::id::ReplicationId;
use crate::key::LinkKey;
use crate::offset::Offset;
use crate::time::Timestamp;

/// Follows a primary: knows what to ask it for, when to acknowledge, and when to try again.
///
/// **After each batch of inputs drain the events, then sleep until [`poll_timeout`](Self::poll_timeout).**
///
/// It speaks no protocol. The host opens the connections, and says what comes of them: that the resume request was sent
/// and answered ([`handle_asked`](Self::handle_asked), [`handle_resumed`](Self::handle_resumed),
/// [`handle_full`](Self::handle_full)), that a snapshot was loaded, how much of the stream was received and applied. For
/// Redis [`wire::Link`](crate::wire::Link) says most of this from a connection's bytes.
///
/// What was received and not applied is void once the link ends: the next one asks from the last applied unit on. The
/// resume point outlives any number of failed attempts, until a snapshot has been loaded whole.
///
/// ```
/// use std::time::Duration;
/// use headwater::{
///     Ack, Offset, Replica, ReplicaConfig, ReplicationId, ResumePoint, Timestamp, UpstreamEvent, Wanted,
/// };
///
/// let second = |count| Timestamp::from_origin(Duration::from_secs(count));
/// let at = |bytes| Offset::new(bytes).expect("a small number");
/// let id = ReplicationId::from_random([1; 20]);
///
/// let mut replica = Replica::new(ReplicaConfig::default(), None, second(0))?;
/// let Some((link, UpstreamEvent::Connect)) = replica.poll_event() else { panic!("it connects at once") };
/// replica.handle_connected(link, second(0))?;
/// assert_eq!(replica.wanted(), Wanted::Everything);
///
/// replica.handle_asked(link, second(0))?;
/// replica.handle_full(link, ResumePoint { id, offset: at(100) }, second(1))?;
/// replica.handle_snapshot_end(link, second(2))?; // the image is here; load it, then:
/// replica.handle_loaded(link, second(3))?;
/// assert_eq!(replica.poll_event(), Some((link, UpstreamEvent::InStep)));
/// assert_eq!(replica.poll_event(), Some((link, UpstreamEvent::Ack(Ack::applied(at(100))))));
///
/// replica.handle_received(link, 30, second(4))?;
/// replica.handle_applied(link, b"SET x 1", second(4))?; // of the 30 bytes these 7 were a unit
/// replica.handle_disconnected(link, second(5));
/// assert_eq!(replica.wanted(), Wanted::After { id, offset: at(107) });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Replica {
    config: ReplicaConfig,
    /// The latest time that the host told.
    now: Timestamp,
    /// What its data is, if a primary may know of it.
    held: Option<ResumePoint>,
    /// The stream behind `held` could not be read, so it would not be the next time either (R220).
    is_spoiled: bool,
    /// All that the primary had sent by then is applied.
    fresh_at: Option<Timestamp>,
    /// When the link that was last in step ended, if another is not yet.
    lost_at: Option<Timestamp>,
    /// What the own disk holds of it.
    fsynced: Option<Offset>,
    /// `Err` is until when none is tried.
    link: Result<Link, Timestamp>,
    /// How many links there were.
    links: u64,
    /// Attempts since a link last held for a while; one at most since something was applied.
    attempts: u32,
    closing: Option<(LinkKey, CloseReason)>,
    has_come_in_step: bool,
    is_ack_wanted: bool,
    is_keep_alive_wanted: bool,
}

impl Replica {
    /// Follows from now on, from what was `held` before if there is something.
    ///
    /// # Errors
    ///
    /// [`ZeroPeriod`].
    pub fn new(config: ReplicaConfig, held: Option<ResumePoint>, now: Timestamp) -> Result<Self, ZeroPeriod> {
        config.check()?;
        let mut replica = Self {
            config,
            now,
            held,
            is_spoiled: false,
            fresh_at: None,
            lost_at: None,
            fsynced: None,
            link: Err(now),
            links: 0,
            attempts: 0,
            closing: None,
            has_come_in_step: false,
            is_ack_wanted: false,
            is_keep_alive_wanted: false,
        };
        replica.try_again();
        Ok(replica)
    }

    /// [`Replica::new`], with its first link the one after `links` others.
    pub(crate) fn after(
        links: u64,
        config: ReplicaConfig,
        held: Option<ResumePoint>,
        now: Timestamp,
    ) -> Result<Self, ZeroPeriod> {
        let mut replica = Self::new(config, held, now)?;
        replica.link = Ok(Link::new(LinkKey(links + 1), replica.now));
        replica.links = links + 1;
        Ok(replica)
    }

    /// How many links there were.
    pub(crate) const fn links(&self) -> u64 {
        self.links
    }

    /// What to ask the primary for.
    pub fn wanted(&self) -> Wanted {
        match self.held.filter(|_| !self.is_spoiled) {
            Some(ResumePoint { id, offset }) => Wanted::After { id, offset },
            None => Wanted::Everything,
        }
    }

    /// What its data is: a history, and how much of it was applied. `None` before the first snapshot was loaded.
    pub const fn held(&self) -> Option<ResumePoint> {
        self.held
    }

    /// What it would acknowledge now, once it holds something.
    pub fn ack(&self) -> Option<Ack> {
        self.held.map(|held| Ack { applied: held.offset, fsynced: self.fsynced })
    }

    /// The connection that [`UpstreamEvent::Connect`] asked for is there: the handshake begins.
    ///
    /// # Errors
    ///
    /// [`FollowError::Gone`]: close it.
    pub fn handle_connected(&mut self, link: LinkKey, now: Timestamp) -> Result<(), FollowError> {
        self.step(link, now, |stage| matches!(stage, Stage::Connecting { .. }).then_some(Stage::Greeting))
    }

    /// The connection has ended, or did not come about. What was received and not applied is void. A snapshot that is
    /// being loaded may still be.
    ///
    /// Of a link that was given up already this changes nothing.
    pub fn handle_disconnected(&mut self, link: LinkKey, now: Timestamp) {
        self.advance_clock(now);
        self.closing.take_if(|(closing, _)| *closing == link);
        match self.current(link).map(|current| &mut current.stage) {
            Ok(Stage::Loading { alive_at, is_lost, .. }) => (*alive_at, *is_lost) = (None, true),
            Ok(_) => self.give_up(None),
            Err(_) => {}
        }
    }

    /// The primary has said something that is no part of the stream.
    ///
    /// # Errors
    ///
    /// [`FollowError::Gone`].
    pub fn handle_heard(&mut self, link: LinkKey, now: Timestamp) -> Result<(), FollowError> {
        self.advance_clock(now);
        self.current(link)?.heard = self.now;
        Ok(())
    }

    /// The primary was asked for [`Replica::wanted`].
    ///
    /// # Errors
    ///
    /// [`FollowError::Gone`], [`FollowError::OutOfStep`].
    pub fn handle_asked(&mut self, link: LinkKey, now: Timestamp) -> Result<(), FollowError> {
        let wanted = self.wanted();
        self.step(link, now, |stage| matches!(stage, Stage::Greeting).then_some(Stage::Asked { wanted }))
    }

    /// The primary goes on from where it was asked to, under the same id or under a new one.
    ///
    /// # Errors
    ///
    /// [`FollowError::Gone`], [`FollowError::OutOfStep`], or [`FollowError::NothingToResume`] and [`FollowError::NoId`]:
    /// close the link.
    pub fn handle_resumed(
        &mut self,
        link: LinkKey,
        id: Option<ReplicationId>,
        now: Timestamp,
    ) -> Result<(), FollowError> {
        self.advance_clock(now);
        let Stage::Asked { wanted } = self.current(link)?.stage else {
            return Err(FollowError::OutOfStep { link });
        };
        if id == Some(ReplicationId::NONE) {
            return Err(FollowError::NoId);
        }
        let (Wanted::After { offset, .. }, Some(held)) = (wanted, &mut self.held) else {
            return Err(FollowError::NothingToResume);
        };
        held.id = id.unwrap_or(held.id);
        self.come_in_step(link, offset)
    }

    /// The primary sends a snapshot of exactly this place. Until it is loaded, what is held stays as it is.
    ///
    /// # Errors
    ///
    /// [`FollowError::Gone`], [`FollowError::OutOfStep`], or [`FollowError::NoId`]: close the link.
    pub fn handle_full(
        &mut self,
        link: LinkKey,
        point: ResumePoint,
        now: Timestamp,
    ) -> Result<(), FollowError> {
        if point.id == ReplicationId::NONE {
            return Err(FollowError::NoId);
        }
        self.step(link, now, |stage| {
            matches!(stage, Stage::Asked { .. }).then_some(Stage::Receiving { point })
        })
    }

    /// The snapshot has come whole: the host loads it now, however long that takes.
    ///
    /// # Errors
    ///
    /// [`FollowError::Gone`], [`FollowError::OutOfStep`].
    pub fn handle_snapshot_end(&mut self, link: LinkKey, now: Timestamp) -> Result<(), FollowError> {
        let (period, now_before) = (self.config.ack_period, self.now);
        let alive_at = now.max(now_before).checked_add(period);
        self.step(link, now, |stage| match stage {
            Stage::Receiving { point } => Some(Stage::Loading { point, alive_at, is_lost: false }),
            _ => None,
        })
    }

    /// The snapshot is loaded, and what was held before is gone. Should the link have ended meanwhile, the next one asks
    /// for what follows the snapshot.
    ///
    /// # Errors
    ///
    /// [`FollowError::Gone`], [`FollowError::OutOfStep`].
    pub fn handle_loaded(&mut self, link: LinkKey, now: Timestamp) -> Result<(), FollowError> {
        self.advance_clock(now);
        let Stage::Loading { point, is_lost, .. } = self.current(link)?.stage else {
            return Err(FollowError::OutOfStep { link });
        };
        self.held = Some(point);
        // Offsets of two histories must not mix (R179).
        (self.is_spoiled, self.fsynced) = (false, None);
        if is_lost {
            self.give_up(None);
            return Ok(());
        }
        self.come_in_step(link, point.offset)
    }

    /// The snapshot can't be loaded. What is held stays as it is, and another attempt follows. The host closes the link.
    ///
    /// # Errors
    ///
    /// [`FollowError::Gone`], [`FollowError::OutOfStep`].
    pub fn handle_load_failed(&mut self, link: LinkKey, now: Timestamp) -> Result<(), FollowError> {
        self.advance_clock(now);
        let (Stage::Receiving { .. } | Stage::Loading { .. }) = self.current(link)?.stage else {
            return Err(FollowError::OutOfStep { link });
        };
        self.give_up(None);
        Ok(())
    }

    /// Nothing is held any more: for a host that loads a snapshot in the place of its data, when it begins to (R36).
    ///
    /// # Errors
    ///
    /// [`FollowError::Gone`], [`FollowError::OutOfStep`].
    pub fn handle_replacing(&mut self, link: LinkKey, now: Timestamp) -> Result<(), FollowError> {
        self.step(link, now, |stage| {
            matches!(stage, Stage::Receiving { .. } | Stage::Loading { .. }).then_some(stage)
        })?;
        (self.held, self.fsynced) = (None, None);
        Ok(())
    }

    /// So many `bytes` of the stream have come.
    ///
    /// # Errors
    ///
    /// [`FollowError::Gone`], [`FollowError::OutOfStep`], or [`FollowError::StreamFull`]: close the link.
    pub fn handle_received(&mut self, link: LinkKey, bytes: u64, now: Timestamp) -> Result<(), FollowError> {
        self.advance_clock(now);
        let now = self.now;
        let current = self.current(link)?;
        let Stage::InStep { received, .. } = &mut current.stage else {
            return Err(FollowError::OutOfStep { link });
        };
        let full = FollowError::StreamFull { bytes, received: *received };
        *received = received.checked_add(bytes).ok_or(full)?;
        current.heard = now;
        Ok(())
    }

    /// What was received behind the last applied unit can't be read as one, and would not be the next time either: the
    /// next request is for everything (R220). The host closes the link.
    ///
    /// # Errors
    ///
    /// [`FollowError::Gone`].
    pub fn handle_unreadable(&mut self, link: LinkKey, now: Timestamp) -> Result<(), FollowError> {
        self.advance_clock(now);
        self.current(link)?;
        self.is_spoiled = true;
        Ok(())
    }

    /// A whole unit of the stream is applied. Say so before the data changes: after an error it must not.
    ///
    /// Tells up to where the stream is applied with it.
    ///
    /// # Errors
    ///
    /// [`FollowError::Gone`], [`FollowError::OutOfStep`], or [`FollowError::BeyondReceived`].
    pub fn handle_applied(
        &mut self,
        link: LinkKey,
        unit: &[u8],
        now: Timestamp,
    ) -> Result<Offset, FollowError> {
        self.advance_clock(now);
        let (Stage::InStep { received, .. }, Some(held)) = (self.current(link)?.stage, &mut self.held) else {
            return Err(FollowError::OutOfStep { link });
        };
        let end = held.offset.checked_add(unit.len() as u64).filter(|end| *end <= received);
        held.offset = end.ok_or(FollowError::BeyondReceived { applied: unit.len(), received })?;
        let offset = held.offset;
        self.attempts = self.attempts.min(1); // it gets on, however often the link breaks
        if offset == received {
            self.fresh_at = Some(self.current(link)?.heard);
        }
        Ok(offset)
    }

    /// The own disk holds the stream up to `upto`. What is told later is never less, until another history is held.
    ///
    /// # Errors
    ///
    /// [`FollowError::FsyncedBeyondApplied`].
    pub fn handle_fsynced(&mut self, upto: Offset) -> Result<(), FollowError> {
        let applied = self.held.map_or(Offset::ZERO, |held| held.offset);
        if upto > applied {
            return Err(FollowError::FsyncedBeyondApplied { fsynced: upto, applied });
        }
        self.fsynced = self.fsynced.max(Some(upto));
        Ok(())
    }

    /// Has an ack sent with the next events, if the link is in step: for a host that knows of somebody who waits.
    pub fn acknowledge(&mut self) {
        self.is_ack_wanted = true;
    }

    /// Takes the next thing to do, in the order of [`UpstreamEvent`]'s variants, with the link that it is about.
    pub fn poll_event(&mut self) -> Option<(LinkKey, UpstreamEvent)> {
        if let Some((link, reason)) = self.closing.take() {
            return Some((link, UpstreamEvent::Close(reason)));
        }
        let link = self.link.as_mut().ok()?;
        if let Stage::Connecting { is_told: is_told @ false } = &mut link.stage {
            *is_told = true;
            return Some((link.key, UpstreamEvent::Connect));
        }
        let key = link.key;
        let event = match link.stage {
            Stage::Loading { .. } => {
                core::mem::take(&mut self.is_keep_alive_wanted).then_some(UpstreamEvent::KeepAlive)
            }
            Stage::InStep { .. } if core::mem::take(&mut self.has_come_in_step) => {
                Some(UpstreamEvent::InStep)
            }
            Stage::InStep { .. } if core::mem::take(&mut self.is_ack_wanted) => {
                self.ack().map(UpstreamEvent::Ack)
            }
            _ => None,
        };
        event.map(|event| (key, event))
    }

    /// When [`Replica::handle_timeout`] has something to do, if nothing happens before. Never late.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        match &self.link {
            Ok(link) => link.deadline(&self.config),
            Err(until) => Some(*until),
        }
    }

    /// Does what has become due. Afterwards [`Replica::poll_timeout`] is later than `now`.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.advance_clock(now);
        match &mut self.link {
            Err(until) if *until <= self.now => self.try_again(),
            Err(_) => {}
            Ok(link) if link.timeout(&self.config).is_some_and(|at| at <= self.now) => {
                let reason = link.lateness(&self.config, self.now);
                self.give_up(Some(reason));
            }
            Ok(link) => {
                let Some(beat) = link.beat(self.config.ack_period, self.now) else { return };
                match beat {
                    Beat::Ack => {
                        self.is_ack_wanted = true;
                        self.attempts = 0; // the link has held for a while
                    }
                    Beat::KeepAlive => self.is_keep_alive_wanted = true,
                }
            }
        }
    }

    /// Panics when the bookkeeping is broken. For tests and fuzzing.
    #[doc(hidden)]
    pub fn check_invariants(&self) {
        let applied = self.held.map(|held| held.offset);
        assert!(self.fsynced.is_none() || self.fsynced <= applied, "more is fsynced than applied");
        if let Ok(Link { key, stage, .. }) = self.link {
            assert!(key.0 == self.links, "the current link is the last one");
            if let Stage::InStep { received, .. } = stage {
                assert!(applied.is_some_and(|applied| applied <= received), "more is applied than received");
            }
        }
    }

    fn step(
        &mut self,
        link: LinkKey,
        now: Timestamp,
        next: impl FnOnce(Stage) -> Option<Stage>,
    ) -> Result<(), FollowError> {
        self.advance_clock(now);
        let now = self.now;
        let current = self.current(link)?;
        current.stage = next(current.stage).ok_or(FollowError::OutOfStep { link })?;
        current.heard = now;
        Ok(())
    }

    fn come_in_step(&mut self, link: LinkKey, received: Offset) -> Result<(), FollowError> {
        let ack_at = self.now.checked_add(self.config.ack_period);
        let now = self.now;
        let current = self.current(link)?;
        current.stage = Stage::InStep { received, ack_at };
        current.heard = now;
        (self.fresh_at, self.lost_at) = (Some(now), None);
        (self.has_come_in_step, self.is_ack_wanted) = (true, true);
        Ok(())
    }

    fn current(&mut self, link: LinkKey) -> Result<&mut Link, FollowError> {
        self.link.as_mut().ok().filter(|current| current.key == link).ok_or(FollowError::Gone(link))
    }

    fn try_again(&mut self) {
        self.links += 1;
        self.attempts = self.attempts.saturating_add(1);
        self.link = Ok(Link::new(LinkKey(self.links), self.now));
    }

    /// Ends the link, and waits before the next unless this one held for a while. The host is told if it does not know,
    /// and knew of the link.
    fn give_up(&mut self, reason: Option<CloseReason>) {
        if self.is_in_step() {
            self.lost_at = Some(self.now);
        }
        let delay = self.config.backoff.delay(self.attempts, mix(self.config.seed ^ self.links));
        let until = self.now.checked_add(delay).unwrap_or(Timestamp::from_origin(Duration::MAX));
        if let Ok(link) = core::mem::replace(&mut self.link, Err(until)) {
            let closing = reason.filter(|_| link.is_known()).map(|reason| (link.key, reason));
            self.closing = closing.or(self.closing.take()); // the host may not have been told of the last one yet
        }
        (self.has_come_in_step, self.is_keep_alive_wanted) = (false, false);
        if self.attempts == 0 {
            self.try_again();
        }
    }

    /// Ends the link for good, as what is held is followed no more.
    pub(crate) fn close(mut self) -> Option<(LinkKey, CloseReason)> {
        if self.link.is_ok() {
            self.give_up(Some(CloseReason::NotFollowing));
        }
        self.closing
    }

    fn advance_clock(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }
}
