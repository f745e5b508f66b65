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
        while let Some(event) = self.primary.poll_event() {
            env.note(format_args!("event {event:?}"));
            env.journal.output(format!("{event:?}").as_bytes());
            self.on_event(event, env);
        }
        (self.has_broken, self.is_drained, self.batch_until) = (false, true, Duration::ZERO);
    }

    fn on_event(&mut self, event: Event, env: &mut Env) {
        match event {
            Event::Dropped { replica, reason } => self.on_dropped(replica, reason, env),
            Event::SnapshotOver { snapshot } => {
                assert!(self.snapshots.remove(&snapshot).is_some(), "{snapshot} is over twice");
            }
            Event::HistoryChanged { id } => {
                assert_eq!(id, env.model.id(), "S6: the id told is the current one")
            }
            Event::IdWanted => {
                let is_late = env.strikes(Fault::IdDelayed, 15);
                self.supplies_at = Some(if is_late { env.in_millis(1, 5000) } else { env.now });
            }
            Event::SnapshotWanted { .. } => {
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
            Event::SyncUnlikely(_) => {}
            other => panic!("the simulator does not know {other:?}"),
        }
    }

    /// No event names a replica that is gone.
    pub(super) fn named(&mut self, replica: ReplicaKey) -> &mut Link {
        let link = self.links.get_mut(&Connection(replica.tag().0));
        let link = link.filter(|link| link.replica == Some(replica));
        link.unwrap_or_else(|| panic!("S10: an event names {replica}, which is gone"))
    }

    fn on_dropped(&mut self, replica: ReplicaKey, reason: DropReason, env: &mut Env) {
        let (limit, end, latest) = (self.effective_limit(), self.end(), self.clock.latest());
        let timeout = self.config().replica_timeout;
        let has_broken = self.has_broken;
        let link = self.named(replica);
        let silent = link.silent_since().map(|since| latest.saturating_since(since));
        let is_late = silent.is_some_and(|silent| silent > timeout);
        let (is_right, fault) = match reason {
            DropReason::AckBeyondLent { acked, lent } => (acked > lent, Fault::DroppedForItsAck),
            DropReason::OverLimit(OverLimit::Hard { unsent, limit: told }) => {
                let charged = link.charged(end).map(|charged| charged as u64);
                let over = Some(told) == limit && unsent >= told && Some(unsent) <= charged;
                (over, Fault::DroppedByLimit)
            }
            DropReason::Silent { .. } => (link.account.is_online && is_late, Fault::DroppedAsSilent),
            DropReason::TransferStalled { .. } => {
                (link.transfer.is_some() && is_late, Fault::DroppedAsStalled)
            }
            DropReason::SnapshotFailed => (!link.account.is_online, Fault::DroppedSnapshotFailed),
            DropReason::SnapshotTimedOut { .. } => (!link.has_begun_transfer, Fault::DroppedSnapshotLate),
            DropReason::HistoryChanged => (has_broken, Fault::DroppedHistoryChanged),
            _ => (false, Fault::DroppedByLimit),
        };
        assert!(is_right, "{replica} was dropped without cause: {reason:?}, {:?}", link.account);
        env.journal.count(fault);
        let connection = link.connection;
        let Some(link) = self.links.remove(&connection) else { return };
        env.network.close(connection, End::Primary, env.now);
        self.keep_stray(link, env);
        self.note_departure();
    }
}
