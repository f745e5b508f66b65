use headwater::DropReason;

use super::{Cut, Forecast, Reference, Told, at};

/// What is yet to be told.
#[derive(Clone, Debug, Default)]
pub(super) struct Outbox {
    pub(super) ended: Vec<(u64, headwater::WaitEnd)>,
    pub(super) dropped: Vec<(u64, DropReason)>,
    pub(super) over: Vec<u64>,
    pub(super) history_changed: bool,
    pub(super) id_wanted: bool,
    pub(super) forecast: Option<Forecast>,
    pub(super) snapshot_wanted: bool,
    pub(super) transfers: Vec<u64>,
    pub(super) keep_alives: Vec<u64>,
    pub(super) acks_wanted: bool,
    /// Replicas with bytes to be told of, in the order in which they came to have them.
    pub(super) ready: Vec<u64>,
    /// Those that had their turn: after the next timeout.
    pub(super) deferred: Vec<u64>,
    /// Those that had all of the stream as it was, with its end then, in the order in which they caught up.
    pub(super) caught_up: Vec<(u64, u64)>,
}

impl Outbox {
    /// Nobody is told of who is gone.
    pub(super) fn forget(&mut self, name: u64) {
        self.transfers.retain(|other| *other != name);
        self.keep_alives.retain(|other| *other != name);
        self.dequeue(name);
    }

    pub(super) fn dequeue(&mut self, name: u64) {
        self.ready.retain(|other| *other != name);
        self.deferred.retain(|other| *other != name);
        self.caught_up.retain(|(other, _)| *other != name);
    }
}

impl Reference {
    /// What ended comes first, bytes to send last. The one request for acks enters the stream in between, once
    /// all else was told, and what it brings about is told before any bytes are.
    pub(super) fn poll_event(&mut self) -> Option<Told> {
        let event = self.poll_ends().or_else(|| self.poll_gate()).or_else(|| self.poll_sync());
        if event.is_some() {
            return event;
        }
        if self.request_acks() {
            return self.poll_event();
        }
        self.poll_send()
    }

    fn poll_ends(&mut self) -> Option<Told> {
        let outbox = &mut self.outbox;
        if let Some((waiter, end)) = take_first(&mut outbox.ended) {
            return Some(Told::WaitEnded { waiter, end });
        }
        if let Some((replica, reason)) = take_first(&mut outbox.dropped) {
            return Some(Told::Dropped { replica, reason });
        }
        if let Some(snapshot) = take_first(&mut outbox.over) {
            return Some(Told::SnapshotOver(snapshot));
        }
        if std::mem::take(&mut outbox.history_changed) {
            return Some(Told::HistoryChanged(self.id));
        }
        std::mem::take(&mut outbox.id_wanted).then_some(Told::IdWanted)
    }

    /// The gate is told of when it is not as the host takes it to be.
    fn poll_gate(&mut self) -> Option<Told> {
        let verdict = self.admit_by_gate(self.now);
        if verdict.is_ok() == self.is_gate_told_open {
            return None;
        }
        self.is_gate_told_open = verdict.is_ok();
        Some(match verdict {
            Ok(()) => Told::GateOpened { good: self.good(self.now) },
            Err(refused) => Told::GateClosed(refused),
        })
    }

    fn poll_sync(&mut self) -> Option<Told> {
        if let Some(forecast) = self.outbox.forecast.take() {
            return Some(Told::SyncUnlikely(forecast));
        }
        if std::mem::take(&mut self.outbox.snapshot_wanted) {
            let waiting = self.line(|_| true).len();
            let taking = self.line(super::Replica::takes_end_mark).len();
            return Some(Told::SnapshotWanted { waiting, all_take_end_mark: taking == waiting });
        }
        if let Some(replica) = take_first(&mut self.outbox.transfers) {
            return Some(self.transfer_to(replica));
        }
        take_first(&mut self.outbox.keep_alives).map(Told::KeepAlive)
    }

    fn transfer_to(&self, replica: u64) -> Told {
        let number = self.find(replica).and_then(super::Replica::snapshot);
        let snapshot = self.snapshots.iter().find(|snapshot| Some(snapshot.number) == number);
        let snapshot = snapshot.expect("a snapshot lives as long as a replica needs it");
        let cut = Cut { snapshot: snapshot.number, id: snapshot.id, offset: at(snapshot.offset) };
        Told::SendSnapshot { replica, cut, framing: snapshot.image.framing }
    }

    /// R172: once for all who began to wait.
    fn request_acks(&mut self) -> bool {
        let is_wanted = std::mem::take(&mut self.outbox.acks_wanted);
        let is_anybody_online = self.replicas.iter().any(super::Replica::is_online);
        let Some(request) = self.config.ack_request.clone().filter(|_| is_wanted && is_anybody_online) else {
            return false;
        };
        self.grow(&request);
        true
    }

    fn poll_send(&mut self) -> Option<Told> {
        let ready = take_first(&mut self.outbox.ready);
        ready.or_else(|| self.take_behind()).map(Told::Send)
    }

    fn take_behind(&mut self) -> Option<u64> {
        let end = self.end();
        let index = self.outbox.caught_up.iter().position(|(_, at)| *at < end)?;
        Some(self.outbox.caught_up.remove(index).0)
    }
}

fn take_first<T>(queue: &mut Vec<T>) -> Option<T> {
    (!queue.is_empty()).then(|| queue.remove(0))
}
