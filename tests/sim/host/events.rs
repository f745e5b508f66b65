use std::time::Duration;

use headwater::{DropReason, Event, OverLimit, ReplicaKey, wire};

use super::Host;
use super::link::Link;
use crate::env::Env;
use crate::fault::Fault;
use crate::network::{Connection, End};

impl Host {
    /// Takes and acts on all events, as the contract asks after each batch of inputs.
    pub(crate) fn drain(&mut self, env: &mut Env) {
        while let Some(event) = self.poll_event(env) {
            env.note(format_args!("event {event:?}"));
            env.journal.output(format!("{event:?}").as_bytes());
            self.on_event(event, env);
        }
        (self.is_drained, self.batch_until) = (true, Duration::ZERO);
        for _ in 0..std::mem::take(&mut self.failed_behind) {
            env.journal.count(Fault::HeldBackAfterReturn);
        }
        self.check_all_told();
    }

    /// Whatever had to be told was told.
    fn check_all_told(&mut self) {
        let asks = self.config().ack_request.is_some() && self.live().any(|(link, _)| link.account.is_online);
        let is_wanted = std::mem::take(&mut self.waits.acks_wanted);
        assert!(!is_wanted || !asks, "R172: nobody asks for acks");
        assert!(
            self.waits.ended.is_empty(),
            "L1 or L3: nobody tells that it is over: {:?}",
            self.waits.ended
        );
        self.use_stale_waiters();
        if let Some(link) = self.links.values().find(|link| link.account.departure.is_some()) {
            panic!("B3, L4 or S8: nobody tells that it was dropped: {:?}", link.account);
        }
    }

    /// A request for acks may enter the stream before the event.
    fn poll_event(&mut self, env: &mut Env) -> Option<Event> {
        let before = self.end();
        let event = self.primary.poll_event();
        if self.end() > before {
            env.journal.count(Fault::AcksRequested);
            let is_wanted = std::mem::take(&mut self.waits.acks_wanted);
            assert!(is_wanted, "R172: acks are asked for, and nobody began to wait");
            let request = self.config().ack_request.clone().expect("nothing else grows by itself");
            self.enter(&request, env);
            self.observe(env);
        }
        event
    }

    fn on_event(&mut self, event: Event, env: &mut Env) {
        match event {
            Event::WaitEnded { waiter, end } => self.on_wait_ended(waiter, end, env),
            Event::Dropped { replica, reason } => self.on_dropped(replica, reason, env),
            Event::SnapshotOver { snapshot } => {
                assert!(self.snapshots.remove(&snapshot).is_some(), "{snapshot} is over twice");
                self.finished.push(snapshot);
            }
            Event::HistoryChanged { id } => {
                assert_eq!(id, env.model.id(), "S6: the id told is the current one")
            }
            Event::IdWanted => {
                let is_late = env.strikes(Fault::IdDelayed, 15);
                self.supplies_at = Some(if is_late { env.in_millis(1, 5000) } else { env.now });
            }
            Event::SnapshotWanted { .. } => {
                self.wanted_since = None;
                let is_late = env.strikes(Fault::SnapshotBegunLate, 15);
                self.begins_at = Some(if is_late { env.in_millis(1, 5000) } else { env.now });
            }
            Event::SendSnapshot { replica, cut, framing } => self.send_snapshot(replica, cut, framing),
            Event::KeepAlive(replica) => {
                let link = self.named(replica);
                assert!(
                    !link.has_begun_transfer && !link.account.is_online,
                    "R86: not after the transfer began"
                );
                wire::put_keep_alive(&mut link.output);
            }
            Event::Send(replica) => self.named(replica).is_ready = true,
            Event::SyncUnlikely(forecast) => self.on_sync_unlikely(&forecast, env),
            Event::GateClosed(refused) => {
                env.journal.count(Fault::GateClosed);
                self.on_gate(Err(refused), refused.good);
            }
            Event::GateOpened { good } => {
                env.journal.count(Fault::GateOpened);
                self.on_gate(Ok(()), good);
            }
            other => panic!("the simulator does not know {other:?}"),
        }
    }

    /// No event names a replica that is gone.
    pub(super) fn named(&mut self, replica: ReplicaKey) -> &mut Link {
        let link = self.links.get_mut(&Connection(replica.tag().0));
        let link = link.filter(|link| link.replica == Some(replica));
        link.unwrap_or_else(|| panic!("S10: an event names {replica}, which is gone"))
    }

    /// It had to be dropped, for this reason.
    fn on_dropped(&mut self, replica: ReplicaKey, reason: DropReason, env: &mut Env) {
        let limit = self.effective_limit();
        let link = self.named(replica);
        let departure = link.account.departure;
        let is_right = departure.is_some_and(|departure| departure.fits(reason));
        assert!(is_right, "{replica} was dropped without cause: {reason:?}, {:?}", link.account);
        let figures_fit = match reason {
            DropReason::AckBeyondLent { acked, lent } => acked > lent,
            DropReason::OverLimit(OverLimit::Hard { unsent, limit: told }) => {
                Some(told) == limit.hard && unsent >= told
            }
            DropReason::OverLimit(OverLimit::Soft { unsent, limit: told, lasted }) => {
                Some(told) == limit.soft && unsent >= told.bytes && lasted > told.lasting
            }
            _ => true,
        };
        assert!(figures_fit, "{replica} was dropped with other figures: {reason:?}, {limit:?}");
        env.journal.count(fault_of(reason));
        let connection = link.connection;
        let Some(link) = self.links.remove(&connection) else { return };
        env.network.close(connection, End::Primary, env.now);
        self.keep_stray(link, env);
        self.stale.push(replica);
    }
}

fn fault_of(reason: DropReason) -> Fault {
    match reason {
        DropReason::AckBeyondLent { .. } => Fault::DroppedForItsAck,
        DropReason::FsyncedBeyondApplied { .. } => Fault::DroppedForItsDisk,
        DropReason::OverLimit(OverLimit::Soft { .. }) => Fault::DroppedBySoftLimit,
        DropReason::OverLimit(_) => Fault::DroppedByLimit,
        DropReason::Silent { .. } => Fault::DroppedAsSilent,
        DropReason::TransferStalled { .. } => Fault::DroppedAsStalled,
        DropReason::SnapshotFailed => Fault::DroppedSnapshotFailed,
        DropReason::SnapshotTimedOut { .. } => Fault::DroppedSnapshotLate,
        _ => Fault::DroppedHistoryChanged,
    }
}
