use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::state::{Guard, Inner};
use super::sync::Condvar;
use crate::key::ReplicaKey;
use crate::primary::{Batch, Detach, DropReason, Event};
use crate::snapshots::{Cut, Framing};

/// What sends to one replica, on a thread of its own. No lock is held between two calls.
///
/// Dropped, it [detaches](Detach::Lost) its replica. A thread that is stuck in writing to its socket does not come to call
/// [`Sender::next`]: set a timeout on the socket, or shut it down at [`Event::Dropped`], which the host's
/// [`Events`](super::Events) tell too while the sender has not.
#[derive(Debug)]
pub struct Sender {
    inner: Arc<Inner>,
    replica: ReplicaKey,
    bell: Arc<Condvar>,
    batch: Option<Batch>,
    how: Detach,
}

/// What to do for a replica.
#[derive(Debug)]
#[allow(clippy::exhaustive_enums, reason = "a step that a host passes over would leave its replica waiting")]
pub enum Step<'a> {
    /// Write these bytes of the stream out, with [`Batch::write_all_to`] or as the [`Buf`](bytes::Buf) that they are. What is
    /// left in it is lent again with the next one.
    Stream(&'a mut Batch),
    /// Write the answer, the header and the image, then call [`Sender::handle_snapshot_sent`]; see
    /// [`Event::SendSnapshot`].
    SendSnapshot {
        /// What it is an image of.
        cut: Cut,
        /// How its end is told.
        framing: Framing,
    },
    /// Write a sign of life, see [`Event::KeepAlive`].
    KeepAlive,
    /// Close the connection: the replica was dropped, for that reason, or somebody else detached it.
    Closed(Option<DropReason>),
}

impl Sender {
    pub(super) const fn new(inner: Arc<Inner>, replica: ReplicaKey, bell: Arc<Condvar>) -> Self {
        Self { inner, replica, bell, batch: None, how: Detach::Lost }
    }

    /// For whom it sends.
    pub const fn replica(&self) -> ReplicaKey {
        self.replica
    }

    /// Parks the caller until there is something to do. What the last step lent counts as written, as far as it was taken.
    #[allow(clippy::should_implement_trait, reason = "what it gives borrows from it")]
    pub fn next(&mut self) -> Step<'_> {
        let mut state = self.inner.lock();
        if let Some(batch) = self.batch.take() {
            let now = state.now();
            state.node.primary().handle_batch_written(batch, now);
            state.settle(); // nothing that comes of it may be overlooked before the sleep
        }
        loop {
            match take(&mut state, self.replica) {
                Some(Todo::Stream(batch)) => return Step::Stream(self.batch.insert(batch)),
                Some(Todo::SendSnapshot { cut, framing }) => return Step::SendSnapshot { cut, framing },
                Some(Todo::KeepAlive) => return Step::KeepAlive,
                Some(Todo::Close(reason)) => return Step::Closed(reason),
                None => state.wait(&self.bell),
            }
        }
    }

    /// Of the image `sent` bytes have gone out so far, as
    /// [`Primary::handle_snapshot_progress`](crate::Primary::handle_snapshot_progress).
    pub fn handle_snapshot_progress(&mut self, sent: u64) {
        let mut state = self.inner.lock();
        let now = state.now();
        // That it is gone is told by the next step.
        let _ = state.node.primary().handle_snapshot_progress(self.replica, sent, now);
    }

    /// The whole image has gone out, as [`Primary::handle_snapshot_sent`](crate::Primary::handle_snapshot_sent).
    pub fn handle_snapshot_sent(&mut self) {
        let mut state = self.inner.lock();
        let now = state.now();
        let _ = state.node.primary().handle_snapshot_sent(self.replica, now);
    }

    /// The connection has ended.
    pub fn detach(mut self, how: Detach) {
        self.how = how;
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let mut state = self.inner.lock();
        let now = state.now();
        if let Some(batch) = self.batch.take() {
            state.node.primary().handle_batch_written(batch, now);
        }
        if state.mail.remove(self.replica) {
            let _ = state.node.primary().detach(self.replica, self.how, now);
        }
        state.events.forget_dropped(self.replica);
    }
}

/// What comes first of what is to be done.
fn take(state: &mut Guard<'_>, replica: ReplicaKey) -> Option<Todo> {
    let now = state.now();
    let letters = state.mail.get_mut(replica)?;
    if let Some(reason) = letters.closed {
        state.events.forget_dropped(replica);
        return Some(Todo::Close(reason));
    }
    if let Some((cut, framing)) = letters.transfer.take() {
        return Some(Todo::SendSnapshot { cut, framing });
    }
    if core::mem::take(&mut letters.keep_alive) {
        return Some(Todo::KeepAlive);
    }
    let batch = state.node.primary().take_batch(replica, now);
    batch.ok().flatten().map(Todo::Stream)
}

enum Todo {
    Stream(Batch),
    SendSnapshot { cut: Cut, framing: Framing },
    KeepAlive,
    Close(Option<DropReason>),
}

/// What senders have yet to be told.
#[derive(Debug, Default)]
pub(super) struct Mail {
    boxes: BTreeMap<ReplicaKey, Letters>,
}

#[derive(Debug)]
pub(super) struct Letters {
    bell: Arc<Condvar>,
    transfer: Option<(Cut, Framing)>,
    keep_alive: bool,
    /// It is detached, and why if it was dropped.
    closed: Option<Option<DropReason>>,
}

impl Mail {
    pub(super) fn open(&mut self, replica: ReplicaKey) -> Arc<Condvar> {
        let bell = Arc::new(Condvar::new());
        let letters = Letters { bell: Arc::clone(&bell), transfer: None, keep_alive: false, closed: None };
        self.boxes.insert(replica, letters);
        bell
    }

    fn get_mut(&mut self, replica: ReplicaKey) -> Option<&mut Letters> {
        self.boxes.get_mut(&replica)
    }

    /// Tells whether it was attached still.
    fn remove(&mut self, replica: ReplicaKey) -> bool {
        self.boxes.remove(&replica).is_some_and(|letters| letters.closed.is_none())
    }

    /// Hands an event to the sender that it concerns, if there is one. What is left is for the host.
    pub(super) fn deliver(&mut self, event: Event) -> Option<Event> {
        let replica = match &event {
            Event::Send(replica) | Event::KeepAlive(replica) => *replica,
            Event::SendSnapshot { replica, .. } | Event::Dropped { replica, .. } => *replica,
            _ => return Some(event),
        };
        let Some(letters) = self.boxes.get_mut(&replica) else { return Some(event) };
        letters.bell.notify_one();
        match event {
            Event::SendSnapshot { cut, framing, .. } => letters.transfer = Some((cut, framing)),
            Event::KeepAlive(_) => letters.keep_alive = true,
            Event::Dropped { reason, .. } => {
                letters.closed = Some(Some(reason));
                return Some(event);
            }
            _ => {}
        }
        None
    }

    pub(super) fn close(&mut self, replica: ReplicaKey, reason: Option<DropReason>) {
        if let Some(letters) = self.boxes.get_mut(&replica) {
            letters.closed.get_or_insert(reason);
            letters.bell.notify_one();
        }
    }

    /// Closes all that are not, and tells whose.
    pub(super) fn close_all(&mut self) -> Vec<ReplicaKey> {
        let open = self.boxes.iter().filter(|(_, letters)| letters.closed.is_none());
        let open: Vec<_> = open.map(|(replica, _)| *replica).collect();
        for replica in &open {
            self.close(*replica, None);
        }
        open
    }
}
