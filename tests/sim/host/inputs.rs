use headwater::wire::{self, Command, Replconf};
use headwater::{
    Ack, AckError, Answer, AttachError, DropReason, FullReason, ReplicaKey, ReplicaState, ReplicationId,
    Wanted,
};

use super::Host;
use super::departures::Departure;
use super::snapshots::Making;
use crate::env::Env;
use crate::fault::Fault;
use crate::network::{Connection, End, Read};

impl Host {
    /// Reads what has come, and acts on each command.
    pub(super) fn read(&mut self, connection: Connection, env: &mut Env) {
        let most = if env.rng.chance(20) { env.rng.within(1..=30) } else { 1 << 16 };
        match env.network.read(connection, End::Primary, most, env.now) {
            Read::Bytes(bytes) => self.take_input(connection, &bytes, env),
            Read::Nothing => {}
            Read::Closed => self.lose(connection, env),
        }
    }

    fn take_input(&mut self, connection: Connection, mut input: &[u8], env: &mut Env) {
        self.is_drained = false;
        while let Some(link) = self.links.get_mut(&connection) {
            let command = link.reader.next(&mut input).expect("replicas speak well");
            let Some(command) = command else { return };
            self.take_command(connection, &command, env);
        }
    }

    fn take_command(&mut self, connection: Connection, command: &Command, env: &mut Env) {
        let Some(link) = self.links.get_mut(&connection) else { return };
        let args: Vec<&[u8]> = command.args().collect();
        match (args.as_slice(), link.replica) {
            ([], Some(replica)) => {
                let now = self.clock.read(env.now);
                let is_alive = self.primary.handle_alive(replica, now).is_ok();
                assert_eq!(is_alive, link.is_live(), "S10: {replica} is gone exactly if it was dropped");
                link.account.heard = self.clock.latest();
            }
            ([b"REPLCONF", options @ ..], replica) => {
                match (wire::replconf(options, &mut link.peer).expect("replicas speak well"), replica) {
                    (Replconf::Ok, None) => wire::put_ok(&mut link.output),
                    (Replconf::Ack(ack), Some(replica)) => self.take_ack(connection, replica, ack, env),
                    _ => {}
                }
            }
            ([b"PSYNC", request @ ..], None) => {
                let wanted = wire::psync(request).expect("replicas speak well").wanted;
                self.attach(connection, wanted, env);
            }
            _ => panic!("{connection:?} says {command:?}"),
        }
    }

    /// S8: an ack counts exactly when it tells no more than was lent on this connection.
    fn take_ack(&mut self, connection: Connection, replica: ReplicaKey, ack: Ack, env: &mut Env) {
        let end = self.end();
        let Some(link) = self.links.get_mut(&connection) else { return };
        let now = self.clock.read(env.now);
        let applied = usize::try_from(ack.applied.get()).expect("replicas stay near the truth");
        let fsynced = ack.fsynced.map(|at| usize::try_from(at.get()).expect("replicas stay near the truth"));
        let (is_live, account) = (link.is_live(), &mut link.account);
        match self.primary.handle_ack(replica, ack, now) {
            Ok(()) => {
                account.heard = self.clock.latest();
                assert!(applied <= account.lent, "S8: {applied} was acknowledged, {} lent", account.lent);
                account.acked = account.acked.max(Some(applied));
                account.fsynced = account.fsynced.max(fsynced);
                assert!(account.fsynced <= account.acked, "S4: more is fsynced than applied");
                account.awaits_ack = false;
                if let Some(transfer) = &mut link.transfer {
                    transfer.has_acked = true;
                }
                let (has_synced, port) =
                    (account.synced_at.take_if(|end| account.acked >= Some(*end)).is_some(), link.peer.port);
                if has_synced {
                    self.forget_failures(port);
                }
                self.end_waits_by_acks(env);
            }
            Err(AckError::Dropped { reason: DropReason::AckBeyondLent { .. }, .. }) => {
                assert!(applied > account.lent, "S8: {applied} of {} was refused", account.lent);
                self.depart(connection, Departure::Lied, end);
            }
            Err(AckError::Dropped { reason: DropReason::FsyncedBeyondApplied { .. }, .. }) => {
                assert!(
                    fsynced > account.acked.max(Some(applied)),
                    "S4: {fsynced:?} of {applied} was refused"
                );
                self.depart(connection, Departure::LiedOfItsDisk, end);
            }
            // It was dropped, and its event is yet to be taken.
            Err(AckError::Gone(_)) if !is_live => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// Attaches a connection, and compares the answer with the one that the wire's rules demand (R54 to R56).
    fn attach(&mut self, connection: Connection, wanted: Wanted, env: &mut Env) {
        let now = self.clock.read(env.now);
        let expected = self.expected_answer(wanted);
        let (attached_before, surely_resumes) = (self.attached().count(), self.surely_resumes(wanted, env));
        let Some(link) = self.links.get_mut(&connection) else { return };
        let attached = match self.primary.attach(wanted, link.peer.clone(), now) {
            Ok(attached) => attached,
            Err(refused) => {
                self.check_refusal(refused, attached_before, env);
                return self.refuse(connection, &refused, env);
            }
        };
        assert!(attached_before < self.config().max_replicas, "B: more replicas than allowed");
        env.note(format_args!("attach {wanted:?}: {:?}", attached.answer));
        env.journal.output(format!("{attached:?}").as_bytes());
        assert_eq!(attached.replica.tag(), self.links[&connection].peer.tag, "the key bears the host's tag");
        self.observe(env);
        self.idle_since = None;
        self.note_arrival(connection);
        match (attached.answer, expected) {
            (Answer::Continue { from, id }, None) => {
                self.check_continue(wanted, env);
                let from = usize::try_from(from.get()).expect("runs are short");
                self.on_continue(connection, attached.replica, id, from, env);
            }
            (Answer::Full(reason), Some(expected)) => {
                assert_eq!(reason, expected, "a snapshot, but not for this reason");
                assert!(!surely_resumes, "L4 or L6: {wanted:?} was promised to be kept, and is not resumed");
                self.note_gap(reason);
                self.expected.sync_full += 1;
                self.expected.sync_partial_err += u64::from(wanted != Wanted::Everything);
                count_refusal(reason, env);
                self.on_full(connection, attached.replica, env);
            }
            (answer, expected) => {
                panic!("S2, L4 or L6: {answer:?} to {wanted:?}, where {expected:?} is right")
            }
        }
        self.judge_output(self.end());
    }

    fn note_arrival(&mut self, connection: Connection) {
        self.arrivals += 1;
        let Some(link) = self.links.get_mut(&connection) else { return };
        link.account.arrival = self.arrivals;
        let port = link.peer.port;
        self.release_pin(port);
    }

    fn on_continue(
        &mut self,
        connection: Connection,
        replica: ReplicaKey,
        id: ReplicationId,
        from: usize,
        env: &mut Env,
    ) {
        assert_eq!(id, env.model.id(), "S6: the id told is the current one");
        assert!(!env.model.has_parted(), "S6: nobody resumes a history that the data has left");
        env.journal.count(Fault::Resumed);
        self.expected.sync_partial_ok += 1;
        let end = self.end();
        let credited_to = (from + self.config().backlog_capacity).min(end);
        let Some(link) = self.links.get_mut(&connection) else { return };
        link.replica = Some(replica);
        link.account.is_online = true;
        link.account.heard = self.clock.latest();
        (link.account.credited_to, link.account.resumed_to) = (credited_to, end);
        link.start_at(from);
        self.waits.acks_wanted |= self.waits.len() > 0;
        wire::put_continue(&mut link.output, id, &link.peer);
    }

    /// It waits for a snapshot, or shares one that is under way.
    fn on_full(&mut self, connection: Connection, replica: ReplicaKey, env: &mut Env) {
        let report = self.primary.report(self.clock.latest());
        let joined = report.replicas.iter().find(|report| report.replica == replica);
        let joined = joined.expect("who was attached is reported");
        let Some(link) = self.links.get_mut(&connection) else { return };
        link.replica = Some(replica);
        self.note_held_back(connection, joined.held_back, env);
        if joined.state != ReplicaState::WaitingForSnapshot {
            env.journal.count(Fault::SnapshotJoinedLate);
            let unsent = usize::try_from(joined.unsent).expect("runs are short");
            let cut = env.model.end().checked_sub(unsent).expect("no more is unsent than was written");
            self.join(connection, cut, env);
        }
    }

    /// R73: it shares the latest snapshot of that cut which it can.
    fn join(&mut self, connection: Connection, cut: usize, env: &mut Env) {
        let takes_end_mark = self.links[&connection].peer.takes_end_mark;
        let is_joinable = |making: &&Making| {
            // One that nobody needs any more is over, though that may be yet to be told.
            making.is_joinable(cut, takes_end_mark) && self.is_shared(making.key())
        };
        let shared = self.snapshots.values().rev().find(is_joinable);
        let shared = shared.expect("R73: it shares a snapshot that it can receive");
        let (snapshot, is_ready, now) = (shared.key(), shared.is_ready, self.now());
        self.start_sync(connection, snapshot, cut, env);
        if let Some(link) = self.links.get_mut(&connection).filter(|_| is_ready) {
            (link.account.is_receiving, link.account.progress) = (true, now);
        }
    }

    fn refuse(&mut self, connection: Connection, refused: &AttachError, env: &mut Env) {
        if let Some(link) = self.links.get_mut(&connection) {
            wire::put_error(&mut link.output, &format_args!("ERR {refused}"));
            // What the network does not take is lost with the connection.
            let _ = link.write_output(env);
        }
        self.lose(connection, env);
    }
}

fn count_refusal(reason: FullReason, env: &mut Env) {
    env.journal.count(match reason {
        FullReason::FirstSync => return,
        FullReason::UnknownHistory => Fault::RefusedUnknownHistory,
        FullReason::TooOld { .. } => Fault::RefusedTooOld,
        FullReason::InFuture { .. } => Fault::RefusedInFuture,
        FullReason::NoBacklog => Fault::RefusedNoBacklog,
        FullReason::OverLimit { .. } => Fault::RefusedOverLimit,
        _ => panic!("{reason:?} needs a second history"),
    });
}
