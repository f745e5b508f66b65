use std::time::Duration;

use headwater::{Handover, ReplicaKey};

use crate::fault::Fault;
use crate::job::Job;
use crate::world::World;

impl World {
    pub(crate) fn begin_handover(&mut self, host: usize) {
        let now = self.timestamp(host);
        let replicas = self.hosts[host].node.report(now).replicas;
        let named = self.rng.chance(70) && !replicas.is_empty();
        let to = named.then(|| replicas[self.rng.within(0..=replicas.len() - 1)].replica);
        let timeout = self.rng.pick(&[None, Some(100), Some(2000), Some(10_000)]).map(Duration::from_millis);
        let node = &mut self.hosts[host].node;
        if node.begin_handover(Handover { to, timeout }, now).is_err() {
            return;
        }
        let end = node.primary().end();
        let account = &mut self.hosts[host].account;
        (account.hands_over_at, account.hands_over_to) = (Some(end), to);
        self.note(format_args!("{host} hands over to {to:?}"));
        if timeout.is_none() || self.rng.chance(10) {
            self.later(host, 1000..=20_000, Job::CancelHandover);
        }
    }

    /// Who is to take over holds all that there is.
    pub(crate) fn hand_over(&mut self, host: usize, replica: ReplicaKey) {
        self.journal.count(Fault::HandoverReady);
        self.hosts[host].account.hands_over_to = None;
        let number = self.connection_of_replica(host, replica);
        let connection = &self.network.connections[&number];
        let target = connection.hosts[0];
        if connection.follower.is_some() && !connection.lied {
            let [leader, follower] = [host, target].map(|host| &self.hosts[host]);
            assert_eq!(leader.state, follower.state, "{host} hands over to {target}, which lacks something");
            assert_eq!(leader.node.held(), follower.node.held(), "{host} hands over to {target}");
        }
        let job = if self.rng.chance(20) { Job::CancelHandover } else { Job::HandOver(target) };
        self.later(host, 0..=100, job);
    }

    pub(crate) fn take_over(&mut self, host: usize, target: usize) {
        if self.hosts[host].account.hands_over_at.is_none() || self.is_stalled(target) {
            return self.cancel_handover(host);
        }
        self.journal.count(Fault::HandoverDone);
        let by_wire = self.rng.chance(50);
        if !by_wire {
            self.promote(target);
        }
        self.follow(host, target);
        self.hosts[host].asks_to_hand_over = by_wire;
    }

    pub(crate) fn cancel_handover(&mut self, host: usize) {
        if self.hosts[host].account.hands_over_at.take().is_some() {
            self.journal.count(Fault::HandoverCancelled);
        }
        self.hosts[host].node.cancel_handover();
    }

    pub(crate) fn promote(&mut self, host: usize) {
        self.note(format_args!("{host} is promoted"));
        let (fresh, now) = (self.draw_id(), self.timestamp(host));
        let node = &mut self.hosts[host].node;
        node.promote(fresh, now).expect("the id was never used");
        let end = node.primary().end();
        let account = &mut self.hosts[host].account;
        if account.follows {
            self.journal.count(Fault::Promoted);
            (account.follows, account.led_from) = (false, end);
            (account.own, account.told) = (None, None);
        }
        self.drain(host);
    }
}
