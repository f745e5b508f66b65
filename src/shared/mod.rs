//! A [`Node`] behind one lock, for stores of plain threads: writers, callers that wait, and one sender for each replica, each
//! on a thread of its own. (Feature `sync`.)
//!
//! ```
//! use std::time::Duration;
//!
//! use bytes::Buf;
//! use headwater::shared::{SharedNode, Step};
//! use headwater::{
//!     Ack, Config, Event, Framing, Image, Level, NodeEvent, Peer, ReplicationId, Sink, Start, Tag, Timeout, Wait,
//!     WaitEnded, Wanted,
//! };
//!
//! let [first, second] = [[1; 20], [2; 20]].map(ReplicationId::from_random);
//! let (node, mut events) = SharedNode::spawn(Config::default(), Start::Empty { id: first })?;
//! node.supply_id(second)?; // for the next change of history
//!
//! // One thread acts on what the node asks of its host.
//! let host = node.clone();
//! let acting = std::thread::spawn(move || {
//!     while let Some(event) = events.recv() {
//!         match event {
//!             NodeEvent::Primary(Event::SnapshotWanted { .. }) => {
//!                 let image = Image { framing: Framing::Sized, replayable: true, size: None };
//!                 // The closure takes the image: no write falls between it and its cut.
//!                 if let Ok(cut) = host.begin_snapshot(image, |cut| cut) {
//!                     let _ = host.handle_snapshot_ready(cut.snapshot);
//!                 }
//!             }
//!             _ => {}
//!         }
//!     }
//! });
//!
//! // One thread for each replica sends to it; another one, not shown, reads its acks.
//! let (mut sender, _answer) = node.attach(Wanted::Everything, Peer::new(Tag(7), "10.0.0.2"))?;
//! let (replica, reader) = (sender.replica(), node.clone());
//! let sending = std::thread::spawn(move || {
//!     let acks = |applied| reader.handle_ack(replica, Ack::applied(applied)).expect("it was sent that");
//!     loop {
//!         match sender.next() {
//!             Step::SendSnapshot { cut, .. } => {
//!                 sender.handle_snapshot_sent(); // having written it to the socket
//!                 acks(cut.offset); // the write below is in the image, or comes as a batch
//!             }
//!             Step::Stream(batch) => {
//!                 let bytes = batch.copy_to_bytes(batch.remaining()); // to the socket: no lock is held
//!                 assert_eq!(&bytes[..], b"SET key value\n");
//!                 acks(reader.end());
//!             }
//!             Step::KeepAlive => {}
//!             Step::Closed(_) => break,
//!         }
//!     }
//! });
//!
//! // Any thread writes: what the closure does to the data and what it puts into the stream have one order.
//! let written = node.write(|unit| unit.put(b"SET key value\n"))?;
//! let target = written.end.expect("a replica wants the stream");
//! let timeout = Timeout::After(Duration::from_secs(10));
//! let wait = Wait { target, replicas: 1, level: Level::Applied, local: false, timeout, tag: Tag(0) };
//! assert_eq!(node.wait(wait)?.how, WaitEnded::Satisfied); // parks this thread alone
//!
//! node.shutdown();
//! sending.join().expect("the sender was told");
//! acting.join().expect("the events have an end");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # One order
//!
//! The closure of [`SharedNode::write`] runs under the lock, so the order of the stream is the order in which the data changed.
//! That of [`SharedNode::begin_snapshot`] does too, so a view that it takes is exactly that of its cut. Keep both short.
//! Lock the node before the store, never the other way round. Readers of the store take the store's own lock alone.
//!
//! **A closure that calls the node again, or drops its [`Sender`] or its last handle, waits for itself for ever.**
//!
//! # Who waits for what
//!
//! [`SharedNode::wait`] and [`SharedNode::fence`] park their caller, on a parker of its own: an ack wakes those that it ends, and
//! nobody else. Each is parked until its own end, its client gone or not, so give a wait a deadline. [`Sender::next`] parks
//! until there is something for its replica. While there is none, a write looks at the clock, takes the lock once, and wakes
//! nobody.
//!
//! A wait that was satisfied, but whose caller had not come to know of it when the node gave its role up, ends as
//! [`WaitEnded::NoLongerPrimary`]: of a quorum and a demotion at once, the demotion counts.
//!
//! # Events
//!
//! What concerns one replica or one caller goes to its own thread; all else to [`Events`]. A host that is slow to take them
//! holds nobody up and loses no state: what is not taken yet is one event of a kind, or one of a kind for each object that the
//! host made (a replica without its [`Sender`], a snapshot, a wait, a link), and a newer one takes the place of its elder.
//!
//! # Time
//!
//! [`SharedNode::spawn`] starts the clock and one thread that does what is due, asleep until then; it ends with the last handle,
//! or by [`SharedNode::shutdown`]. With [`SharedNode::new`] the host has the clock, and calls [`SharedNode::handle_timeout`].

mod clock;
mod events;
#[cfg(all(test, headwater_loom))]
mod models;
mod parker;
mod sender;
mod state;
#[cfg_attr(all(test, headwater_loom), path = "looms.rs")]
mod sync;
mod timer;

pub use events::Events;
pub use sender::{Sender, Step};

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::{fmt, mem};
use std::io;

use state::Inner;
use sync::thread::JoinHandle;

use crate::acks::Ack;
use crate::history::{IdRefused, Wanted};
use crate::id::ReplicationId;
use crate::key::{Gone, ReplicaKey, SnapshotKey};
use crate::node::{Fence, FenceEnd, FenceError, FenceOutcome, Node, Start};
use crate::offset::Offset;
use crate::primary::{
    AckError, Answer, AttachError, Config, ConfigError, Detach, Peer, Primary, Report, SnapshotError, Unit,
    WriteRefused, Written,
};
use crate::snapshots::{Cut, Image};
use crate::time::Timestamp;
use crate::waiters::{Wait, WaitEnd, WaitEnded, WaitError, WaitOutcome};

/// A handle on a [`Node`] that threads share. Cloning it is cheap; with the last one the node [shuts
/// down](Self::shutdown).
#[derive(Clone, Debug)]
pub struct SharedNode {
    handle: Arc<Handle>,
}

struct Handle {
    inner: Arc<Inner>,
    timer: Option<JoinHandle<()>>,
}

/// Why no node was spawned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// The configuration can't work, or the id.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system has no thread left.
    #[error("could not start the thread of the timer: {0}")]
    Thread(#[from] io::Error),
}

impl SharedNode {
    /// A node with a clock, and a thread that does what is due.
    ///
    /// # Errors
    ///
    /// [`SpawnError`]; [`Node::new`] tells what is refused.
    pub fn spawn(config: Config, start: Start) -> Result<(Self, Events), SpawnError> {
        Self::spawn_with(config, start, clock::since_now())
    }

    fn spawn_with(
        config: Config,
        start: Start,
        clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
    ) -> Result<(Self, Events), SpawnError> {
        let (inner, events) = Inner::new(config, start, clock)?;
        let timer = Some(timer::spawn(Arc::clone(&inner))?);
        Ok((Self { handle: Arc::new(Handle { inner, timer }) }, events))
    }

    /// A node that looks at the host's `clock`, and has no thread: the host calls [`SharedNode::handle_timeout`].
    ///
    /// # Errors
    ///
    /// As [`Node::new`].
    pub fn new(
        config: Config,
        start: Start,
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Result<(Self, Events), ConfigError> {
        let (inner, events) = Inner::new(config, start, Box::new(clock))?;
        Ok((Self { handle: Arc::new(Handle { inner, timer: None }) }, events))
    }

    /// Runs `apply` under the lock, and lets what it puts into its [`Unit`] enter the stream, as
    /// [`Primary::write`](crate::Primary::write).
    ///
    /// Apply the write to the data in there. Should `apply` panic the history breaks, and the lock is free again.
    ///
    /// # Errors
    ///
    /// [`WriteRefused`]; `apply` was not run.
    #[inline]
    pub fn write<R>(&self, apply: impl FnOnce(&mut Unit<'_>) -> R) -> Result<Written<R>, WriteRefused> {
        self.write_by(|primary, now| primary.write(now, apply))
    }

    /// As [`Primary::write_ungated`](crate::Primary::write_ungated): for an expiry, or an eviction.
    ///
    /// # Errors
    ///
    /// [`WriteRefused`], but for [`WriteRefused::NotEnough`]; `apply` was not run.
    #[inline]
    pub fn write_ungated<R>(
        &self,
        apply: impl FnOnce(&mut Unit<'_>) -> R,
    ) -> Result<Written<R>, WriteRefused> {
        self.write_by(|primary, now| primary.write_ungated(now, apply))
    }

    #[inline]
    fn write_by<R>(&self, write: impl FnOnce(&mut Primary, Timestamp) -> R) -> R {
        let mut state = self.handle.inner.lock();
        let now = state.now();
        let primary = state.node.primary();
        let is_alone = primary.is_alone();
        let written = write(primary, now);
        if is_alone && primary.tidy() {
            state.leave();
        }
        written
    }

    /// Whether a write would be let in at this moment, as [`Primary::admit_write`](crate::Primary::admit_write).
    ///
    /// # Errors
    ///
    /// [`WriteRefused`].
    pub fn admit_write(&self) -> Result<(), WriteRefused> {
        self.with(|node, now| node.primary().admit_write(now))
    }

    /// Parks the caller until replicas hold the stream up to a target, or until its deadline, as
    /// [`Primary::wait`](crate::Primary::wait). [`Wait::tag`] says nothing here.
    ///
    /// [`WaitEnded::NoLongerPrimary`] if the node gave its role up before the caller came to know of its end;
    /// [`WaitEnded::Cancelled`] by [`SharedNode::shutdown`].
    ///
    /// # Errors
    ///
    /// [`WaitError`].
    pub fn wait(&self, wait: Wait) -> Result<WaitEnd, WaitError> {
        let inner = &self.handle.inner;
        let (parker, demotions) = {
            let mut state = inner.lock();
            let now = state.now();
            match state.node.primary().wait(wait, now)? {
                WaitOutcome::Ended(end) => return Ok(end),
                WaitOutcome::Pending(waiter) => (state.waits.park(waiter), state.node.demotions()),
            }
        };
        let end = parker.wait();
        let how = if inner.demotions() == demotions { end.how } else { WaitEnded::NoLongerPrimary };
        Ok(WaitEnd { how, ..end })
    }

    /// Parks the caller until a place in a history is applied here, or until its deadline, as [`Node::fence`].
    /// [`Fence::tag`] says nothing here.
    ///
    /// # Errors
    ///
    /// [`FenceError`].
    pub fn fence(&self, fence: Fence) -> Result<FenceEnd, FenceError> {
        let parker = {
            let mut state = self.handle.inner.lock();
            let now = state.now();
            match state.node.fence(fence, now)? {
                FenceOutcome::Ended(end) => return Ok(end),
                FenceOutcome::Pending(waiter) => state.fences.park(waiter),
            }
        };
        Ok(parker.wait())
    }

    /// Attaches a connection that asks for the stream, as [`Primary::attach`](crate::Primary::attach), and gives what sends to
    /// it. Send the answer first.
    ///
    /// # Errors
    ///
    /// [`AttachError`].
    pub fn attach(&self, wanted: Wanted, peer: Peer) -> Result<(Sender, Answer), AttachError> {
        let inner = &self.handle.inner;
        let mut state = inner.lock();
        let now = state.now();
        let attached = state.node.primary().attach(wanted, peer, now)?;
        let bell = state.mail.open(attached.replica);
        Ok((Sender::new(Arc::clone(inner), attached.replica, bell), attached.answer))
    }

    /// As [`Primary::handle_ack`](crate::Primary::handle_ack): for whoever reads from the replica's connection.
    ///
    /// # Errors
    ///
    /// [`AckError`].
    pub fn handle_ack(&self, replica: ReplicaKey, ack: Ack) -> Result<(), AckError> {
        self.with(|node, now| node.primary().handle_ack(replica, ack, now))
    }

    /// As [`Primary::handle_alive`](crate::Primary::handle_alive).
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub fn handle_alive(&self, replica: ReplicaKey) -> Result<(), Gone<ReplicaKey>> {
        self.with(|node, now| node.primary().handle_alive(replica, now))
    }

    /// The connection of `replica` has ended, as [`Primary::detach`](crate::Primary::detach). Its [`Sender`] is told.
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub fn detach(&self, replica: ReplicaKey, how: Detach) -> Result<(), Gone<ReplicaKey>> {
        self.handle.inner.lock().detach(replica, how)
    }

    /// Cuts the stream for a snapshot, as [`Primary::begin_snapshot`](crate::Primary::begin_snapshot), and runs `take` under
    /// the lock: the view of the data that it takes is that of the cut. Should `take` panic the snapshot has failed.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`]; `take` was not run.
    pub fn begin_snapshot<R>(&self, image: Image, take: impl FnOnce(Cut) -> R) -> Result<R, SnapshotError> {
        self.with(|node, now| {
            let primary = node.primary();
            let cut = primary.begin_snapshot(image, now)?;
            let unless_it_panics = FailSnapshot { primary, snapshot: cut.snapshot, now };
            let taken = take(cut);
            mem::forget(unless_it_panics);
            Ok(taken)
        })
    }

    /// The image can be sent, as [`Primary::handle_snapshot_ready`](crate::Primary::handle_snapshot_ready).
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub fn handle_snapshot_ready(&self, snapshot: SnapshotKey) -> Result<(), Gone<SnapshotKey>> {
        self.with(|node, now| node.primary().handle_snapshot_ready(snapshot, now))
    }

    /// The image can't be made, as [`Primary::handle_snapshot_failed`](crate::Primary::handle_snapshot_failed).
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub fn handle_snapshot_failed(&self, snapshot: SnapshotKey) -> Result<(), Gone<SnapshotKey>> {
        self.with(|node, now| node.primary().handle_snapshot_failed(snapshot, now))
    }

    /// The answer to [`Event::IdWanted`](crate::Event::IdWanted), as
    /// [`Primary::supply_id`](crate::Primary::supply_id).
    ///
    /// # Errors
    ///
    /// [`IdRefused`].
    pub fn supply_id(&self, id: ReplicationId) -> Result<(), IdRefused> {
        self.with(|node, _| node.primary().supply_id(id))
    }

    /// The end of the stream.
    pub fn end(&self) -> Offset {
        self.with(|node, _| node.primary().end())
    }

    /// As [`Node::report`].
    pub fn report(&self) -> Report {
        self.with(|node, now| node.report(now))
    }

    /// Runs `act` on the node, under the lock, at this moment: for all the rest, such as a change of role, or the connection
    /// to a primary. What comes of it is told to whom it concerns when `act` is done.
    ///
    /// Whom `act` attaches has no [`Sender`], and a wait that it begins has no caller: [`Events`] has what concerns them.
    #[inline]
    pub fn with<R>(&self, act: impl FnOnce(&mut Node, Timestamp) -> R) -> R {
        let mut state = self.handle.inner.lock();
        let now = state.now();
        act(&mut state.node, now)
    }

    /// When [`SharedNode::handle_timeout`] has something to do, if nothing happens before; for a host with a clock of its
    /// own.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.with(|node, _| node.poll_timeout())
    }

    /// Does what is due by the host's clock. Whoever waits returns at its deadline as exactly as this is called.
    pub fn handle_timeout(&self) {
        self.with(Node::handle_timeout);
    }

    /// Ends the service: who waits is [cancelled](WaitEnded::Cancelled), now and from now on; each [`Sender`] is
    /// [closed](Step::Closed), [`Events`] have an end once they are taken, and the timer's thread ends. What is in the stream
    /// and was not sent is not sent: [wait](Self::wait) for replicas before, if they are to have all.
    pub fn shutdown(&self) {
        self.handle.inner.shut_down();
    }
}

/// Else nobody would know whom to tell that there is no image.
struct FailSnapshot<'a> {
    primary: &'a mut Primary,
    snapshot: SnapshotKey,
    now: Timestamp,
}

impl Drop for FailSnapshot<'_> {
    fn drop(&mut self) {
        let _ = self.primary.handle_snapshot_failed(self.snapshot, self.now); // it has just begun
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.inner.shut_down();
        if let Some(timer) = self.timer.take() {
            let _ = timer.join(); // one that panicked has told so
        }
    }
}

impl fmt::Debug for Handle {
    /// Without the lock: a host may print a handle inside a closure.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}
