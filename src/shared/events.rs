use alloc::collections::VecDeque;
use alloc::sync::Arc;

use super::state::Inner;
use super::sync::{Receiver, Sender, TrySendError, bounded};
use crate::key::ReplicaKey;
use crate::node::NodeEvent;
use crate::primary::Event;
use crate::replica::UpstreamEvent;

/// What a node asks of its host, and tells it. One thread takes them.
///
/// They come in the order in which they came about. One that was not taken yet gives way to a newer one of its kind: the gate
/// opened takes the place of the gate closed, one wish for a snapshot that of another, an ack to be sent that of an older
/// one. What an object is told once is kept: that a snapshot is over, a replica dropped, a link closed.
#[derive(Debug)]
pub struct Events {
    inner: Arc<Inner>,
    bell: Receiver<()>,
}

impl Events {
    pub(super) const fn new(inner: Arc<Inner>, bell: Receiver<()>) -> Self {
        Self { inner, bell }
    }

    /// Parks the caller until there is an event. `None` once the node was [shut down](super::SharedNode::shutdown), and all
    /// events before are taken.
    pub fn recv(&mut self) -> Option<NodeEvent> {
        loop {
            let mut state = self.inner.lock();
            let event = state.events.queue.pop_front();
            if event.is_some() || state.events.bell.is_none() {
                return event;
            }
            drop(state);
            let _ = self.bell.recv(); // an error is the end, which the queue tells too
        }
    }

    /// Takes an event if there is one.
    pub fn try_recv(&mut self) -> Option<NodeEvent> {
        self.inner.lock().events.queue.pop_front()
    }
}

#[cfg(not(all(test, headwater_loom)))]
impl Events {
    /// Has something to receive when events may have come since, and no sender after the last one: for
    /// [`crossbeam_channel::select`], among the host's own channels. Then [take](Self::try_recv) all there are.
    pub const fn bell(&self) -> &Receiver<()> {
        &self.bell
    }
}

/// The events that the host has not taken.
#[derive(Debug)]
pub(super) struct Queue {
    queue: VecDeque<NodeEvent>,
    /// `None` after the last event.
    bell: Option<Sender<()>>,
}

impl Queue {
    pub(super) fn new() -> (Self, Receiver<()>) {
        let (bell, events) = bounded(1);
        (Self { queue: VecDeque::new(), bell: Some(bell) }, events)
    }

    pub(super) fn push(&mut self, event: NodeEvent) {
        let Some(bell) = &self.bell else { return };
        let mut is_void = false;
        self.queue.retain(|elder| match relation(&event, elder) {
            Relation::None => true,
            Relation::Replaces => false,
            Relation::Voids => {
                is_void = true;
                false
            }
        });
        if !is_void {
            self.queue.push_back(event);
            if matches!(bell.try_send(()), Err(TrySendError::Disconnected(()))) {
                self.queue.clear(); // nobody listens; else it rings already
            }
        }
    }

    /// The sender of `replica` knows that it was dropped.
    pub(super) fn forget_dropped(&mut self, replica: ReplicaKey) {
        self.queue.retain(|event| match event {
            NodeEvent::Primary(Event::Dropped { replica: dropped, .. }) => *dropped != replica,
            _ => true,
        });
    }

    pub(super) fn end(&mut self) {
        self.bell = None;
    }
}

/// What a new event means for one that was not taken.
enum Relation {
    None,
    /// It says the same of the same, and newer.
    Replaces,
    /// The host need not know of either.
    Voids,
}

fn relation(event: &NodeEvent, elder: &NodeEvent) -> Relation {
    use NodeEvent::{Diverged, HandoverFailed, HandoverReady, Primary, Upstream};
    match (event, elder) {
        (Primary(event), Primary(elder)) if replaces(event, elder) => Relation::Replaces,
        (Upstream(link, event), Upstream(elder_link, elder)) => match (event, elder) {
            (UpstreamEvent::Close(_), UpstreamEvent::Connect) if link == elder_link => Relation::Voids,
            (UpstreamEvent::Close(_), _) if link == elder_link => Relation::Replaces,
            (UpstreamEvent::Ack(_), UpstreamEvent::Ack(_)) => Relation::Replaces,
            (UpstreamEvent::KeepAlive, UpstreamEvent::KeepAlive) => Relation::Replaces,
            _ => Relation::None,
        },
        (Diverged(..), Diverged(..))
        | (HandoverReady(_) | HandoverFailed, HandoverReady(_) | HandoverFailed) => Relation::Replaces,
        _ => Relation::None,
    }
}

fn replaces(event: &Event, elder: &Event) -> bool {
    use Event::{Dropped, GateClosed, GateOpened, HistoryChanged, IdWanted, KeepAlive, Send, SendSnapshot};
    use Event::{SnapshotWanted, SyncUnlikely};
    match (event, elder) {
        (GateClosed(_) | GateOpened { .. }, GateClosed(_) | GateOpened { .. })
        | (HistoryChanged { .. }, HistoryChanged { .. })
        | (IdWanted, IdWanted)
        | (SyncUnlikely(_), SyncUnlikely(_))
        | (SnapshotWanted { .. }, SnapshotWanted { .. }) => true,
        (Send(replica), Send(elder)) | (KeepAlive(replica), KeepAlive(elder)) => replica == elder,
        (Dropped { replica, .. }, Send(elder) | KeepAlive(elder) | SendSnapshot { replica: elder, .. }) => {
            replica == elder
        }
        _ => false,
    }
}
