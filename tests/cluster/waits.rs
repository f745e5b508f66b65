//! Clients that wait for replicas, and for disks.

use headwater::{Level, Tag, Timestamp, Wait, WaitEnd, WaitEnded, WaitOutcome, WaiterKey};

use crate::disk::has_disk;
use crate::fault::Fault;
use crate::host::Host;
use crate::network::Connection;
use crate::truth::State;
use crate::world::World;

/// Who waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    wait: Wait,
    /// The data that is waited for.
    state: State,
    deadline: Option<[Timestamp; 2]>,
}

/// What was known of a replica when it went: an end that was not taken yet may have counted it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    reached: Option<State>,
    synced: Option<State>,
    lied: bool,
}

impl Seen {
    pub(crate) fn of(connection: &Connection) -> Self {
        let Connection { reached, synced, lied, .. } = *connection;
        Self { reached, synced, lied }
    }
}

impl World {
    /// A client waits for all that was written here.
    pub(crate) fn wait(&mut self, host: usize) {
        let wait = self.draw_wait(host);
        let now = self.timestamp(host);
        let deadline = self.hosts[host].deadline(wait.timeout, now);
        let Host { node, state, .. } = &mut self.hosts[host];
        let waiting = Waiting { wait, state: *state, deadline };
        self.journal.note(self.now, format_args!("{host}: {wait:?}"));
        match node.primary().wait(wait, now) {
            Ok(WaitOutcome::Ended(end)) => self.judge_wait(host, waiting, end),
            Ok(WaitOutcome::Pending(waiter)) => {
                assert!(self.hosts[host].leads_at_all(), "L2: node {host} follows, and somebody waits there");
                let known = self.hosts[host].waits.insert(waiter, waiting);
                assert!(known.is_none(), "S7: one who waits, one name");
            }
            Ok(outcome) => panic!("{outcome:?} is news"),
            Err(_) => self.journal.count(Fault::WaitRefused),
        }
    }

    fn draw_wait(&mut self, host: usize) -> Wait {
        let timeout = self.draw_timeout();
        let level = if self.rng.chance(30) { Level::Fsynced } else { Level::Applied };
        Wait {
            target: self.hosts[host].node.primary().end(),
            replicas: self.rng.within(0..=3),
            level,
            local: level == Level::Fsynced && self.rng.chance(50),
            timeout,
            tag: Tag(self.drawn),
        }
    }

    /// S7: each wait ends once.
    pub(crate) fn end_wait(&mut self, host: usize, waiter: WaiterKey, end: WaitEnd) {
        let waiting = self.hosts[host].waits.remove(&waiter).expect("S7: a wait ends once");
        let is_due = self.hosts[host].may_be_over(waiting.deadline);
        assert!(end.how != WaitEnded::TimedOut || is_due, "L1: node {host} ends {waiting:?} too early");
        self.judge_wait(host, waiting, end);
    }

    pub(crate) fn cancel_wait(&mut self, host: usize) {
        let Some(waiter) = self.hosts[host].waits.keys().next().copied() else { return };
        self.cancel_one(host, waiter);
    }

    fn cancel_one(&mut self, host: usize, waiter: WaiterKey) {
        let end = self.hosts[host].node.primary().cancel_wait(waiter);
        self.end_wait(host, waiter, end.expect("its end was not told"));
    }

    /// L2: once faults have stopped those go whom nothing ends.
    pub(crate) fn dismiss_hopeless(&mut self, host: usize) {
        let followers = || (0..self.hosts.len()).filter(|other| self.hosts[*other].target == Some(host));
        let (all, with_disk) = (followers().count(), followers().filter(|other| has_disk(*other)).count());
        let is_hopeless = |waiting: &Waiting| {
            let most = if waiting.wait.level == Level::Applied { all } else { with_disk };
            waiting.wait.replicas > most || waiting.wait.local && !has_disk(host)
        };
        let waits = self.hosts[host].waits.iter().filter(|(_, waiting)| is_hopeless(waiting));
        let hopeless: Vec<WaiterKey> = waits.map(|(waiter, _)| *waiter).collect();
        for waiter in hopeless {
            self.cancel_one(host, waiter);
        }
    }

    /// S7: no more are told than are connections to nodes whose data, or disk, has the write.
    fn judge_wait(&mut self, host: usize, waiting: Waiting, end: WaitEnd) {
        self.journal.count(match end.how {
            WaitEnded::Satisfied => Fault::WaitSatisfied,
            WaitEnded::TimedOut => Fault::WaitTimedOut,
            WaitEnded::Cancelled => Fault::WaitCancelled,
            WaitEnded::NoLongerPrimary => Fault::WaitEndedByRole,
            WaitEnded::NoLocalFsync => Fault::WaitEndedByDisk,
            how => panic!("{how:?} is news"),
        });
        let holders = self.holders(host, waiting);
        assert!(end.acked <= holders, "S7: {} of {holders} hold {waiting:?} of node {host}", end.acked);
        let on_disk =
            self.hosts[host].synced.is_some_and(|synced| self.truth.includes(synced, waiting.state));
        assert!(!end.local || on_disk, "S7: the disk of node {host} does not hold {waiting:?}");
        let enough = end.acked >= waiting.wait.replicas && (end.local || !waiting.wait.local);
        assert_eq!(end.how == WaitEnded::Satisfied, enough, "S7, L3: {end:?} of {waiting:?}");
    }

    fn holders(&self, host: usize, waiting: Waiting) -> usize {
        let connections = self.network.connections.values();
        let attached =
            connections.filter(|connection| connection.hosts[1] == host && connection.is_attached());
        let seen = attached.map(Seen::of).chain(self.hosts[host].departed.iter().copied());
        let holds = |seen: &Seen| {
            let held = if waiting.wait.level == Level::Applied { seen.reached } else { seen.synced };
            seen.lied || held.is_some_and(|held| self.truth.includes(held, waiting.state))
        };
        seen.filter(holds).count()
    }

    /// L1: nobody waits past the deadline. L2: nobody waits but those who are known to.
    pub(crate) fn check_waits(&self, host: usize, waiters: usize, catches_up: bool) {
        let waits = &self.hosts[host].waits;
        assert_eq!(waiters, waits.len(), "L2: those who wait at node {host} are those who are known to");
        let late = waits.values().find(|waiting| self.hosts[host].is_past(waiting.deadline) && !catches_up);
        assert!(late.is_none(), "L1: node {host} lets {late:?} wait for ever");
    }
}
