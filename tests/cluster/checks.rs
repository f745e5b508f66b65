//! What must hold after each step.

use headwater::{LinkState, Offset, ReplicaKey, ReplicaReport, ReplicationId, ResumePoint, Wanted};

use crate::host::Host;
use crate::world::World;

impl World {
    /// Judges a node to which something has happened.
    pub(crate) fn check(&mut self, host: usize) {
        self.hosts[host].node.check_invariants();
        self.check_place(host);
        let report = self.hosts[host].report();
        self.check_previous(host, report.previous);
        self.check_end(host, report.id);
        self.check_fences(host, report.id);
        let catches_up = self.catches_up(host);
        self.check_waits(host, report.waiters, catches_up);
        self.check_transfers(host, catches_up);
        self.check_successor(host, &report.replicas);
        self.check_silence(host);
        self.check_links(host);
        self.check_request(host);
        self.check_staleness(host);
        self.check_id(host);
        self.check_flow(host);
        let Host { node, account, .. } = &self.hosts[host];
        assert_eq!(node.is_following(), account.follows, "node {host} has the role that it was given");
    }

    /// Who was stalled, or whose clock jumped, catches up with its timers in one step.
    fn catches_up(&self, host: usize) -> bool {
        let Host { node, clock, .. } = &self.hosts[host];
        self.is_stalled(host) || node.poll_timeout().is_some_and(|at| at <= clock.latest())
    }

    /// S2, S6: the place that a node claims is that of its data.
    pub(crate) fn check_place(&mut self, host: usize) {
        let Host { node, state, .. } = &self.hosts[host];
        if let Some(held) = node.held() {
            self.truth.agree(held, *state);
        }
    }

    /// S6: what a node says its history was before, when it comes to say so, is so. L4: it knows its last name, by
    /// which others may resume.
    fn check_previous(&mut self, host: usize, previous: Option<(ReplicationId, Offset)>) {
        let Host { node, state, account, .. } = &mut self.hosts[host];
        let (before, held) = (account.last_held, node.held());
        account.last_held = held;
        let Some(held) = held else { return };
        if let Some(before) = before.filter(|before| before.id != held.id) {
            assert_eq!(previous, Some((before.id, before.offset)), "L4: node {host} knows its last name");
        }
        if previous == account.previous {
            return;
        }
        account.previous = previous;
        let Some((id, end)) = previous else { return };
        let shared = self.truth.at(id, end);
        assert!(shared.is_some() || account.is_lost, "S6: a history ends where somebody was in it");
        assert!(
            shared.is_none_or(|shared| self.truth.includes(*state, shared)),
            "S6: node {host} says that it comes of {id} up to {end}"
        );
    }

    /// S12: under one name the end does not move back, but for another snapshot.
    fn check_end(&mut self, host: usize, id: ReplicationId) {
        let Host { node, account, .. } = &mut self.hosts[host];
        let end = node.primary().end();
        let last = account.last_end.replace((id, end));
        let before = last.filter(|(last, _)| *last == id).map(|(_, end)| end);
        assert!(
            before.is_none_or(|before| before <= end),
            "S12: node {host} went back from {before:?} to {end}"
        );
    }

    /// R235: a handover to nobody is over.
    fn check_successor(&self, host: usize, replicas: &[ReplicaReport]) {
        let account = &self.hosts[host].account;
        let is_there = |to: ReplicaKey| replicas.iter().any(|attached| attached.replica == to);
        assert!(
            account.hands_over_at.is_none() || account.hands_over_to.is_none_or(is_there),
            "node {host} hands over to one that is gone"
        );
    }

    /// R233: nothing gets into the stream while it is handed over.
    fn check_silence(&mut self, host: usize) {
        let Host { node, account, .. } = &mut self.hosts[host];
        let end = node.primary().end();
        assert!(
            account.hands_over_at.is_none_or(|at| at == end),
            "node {host} hands over, and its stream goes on to {end}"
        );
    }

    /// Each fence ends at its deadline at the latest, and as soon as its place is applied, or can't be any more.
    fn check_fences(&self, host: usize, id: ReplicationId) {
        let Host { node, fences, .. } = &self.hosts[host];
        let catches_up = self.catches_up(host);
        let end = node.held().map(|held| held.offset);
        for reader in fences.values() {
            let is_late = self.hosts[host].is_past(reader.deadline) && !catches_up;
            assert!(!is_late, "node {host} lets {reader:?} wait for ever");
            assert_eq!(reader.fence.id, id, "node {host} lets {reader:?} wait for what may never come");
            assert!(
                end.is_none_or(|end| end < reader.fence.offset),
                "node {host} lets {reader:?} wait at {end:?}"
            );
        }
    }

    /// S10: of each link that is given up the host is told, so that it holds one connection at most.
    fn check_links(&self, host: usize) {
        let connections = self.network.connections.values();
        let open =
            connections.filter(|connection| connection.hosts[0] == host && connection.follower.is_some());
        let is_connecting = usize::from(self.hosts[host].connecting.is_some());
        assert!(open.count() + is_connecting <= 1, "S10: node {host} has left a connection open");
    }

    /// L4: what it holds is what it asks to go on from, whatever has failed.
    fn check_request(&self, host: usize) {
        let Host { node, .. } = &self.hosts[host];
        let from_held =
            node.held().map_or(Wanted::Everything, |ResumePoint { id, offset }| Wanted::After { id, offset });
        let wanted = node.wanted();
        assert!(wanted.is_none_or(|wanted| wanted == from_held), "L4: node {host} asks for {wanted:?}");
    }

    /// What has come and is not applied is half a unit, and no more.
    fn check_staleness(&self, host: usize) {
        let Host { node, clock, .. } = &self.hosts[host];
        let now = clock.latest();
        let Some(upstream) = node.upstream(now).filter(|upstream| upstream.state == LinkState::InStep) else {
            return;
        };
        let ends = self.network.connections.values().filter(|connection| connection.hosts[0] == host);
        let link = ends.filter_map(|connection| connection.follower.as_ref()).next().map(|end| &end.link);
        let kept = link.map(|link| link.buffered() as u64);
        assert_eq!(node.staleness(now).map(|stale| stale.bytes), kept, "node {host} in step: {upstream:?}");
    }
}
