//! A link that nothing disturbs brings the stream.

use std::time::Duration;

use headwater::{LinkState, Offset, ReplicaState};

use crate::network::Connection;
use crate::world::World;

/// How far a replica has come over a link, and since when it is no further though there is more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    since: Duration,
    received: Offset,
    /// What there was then.
    end: Offset,
}

impl World {
    /// L4: who is online comes closer to what its primary has, as long as nothing disturbs that. Peace would bring it there
    /// at last, by a write or by another link.
    pub(crate) fn check_flow(&mut self, host: usize) {
        let Some(number) = self.link_in_step(host) else { return };
        let connection = &self.network.connections[&number];
        let now = self.flow_of(connection);
        let flows = self.is_sound(connection) && self.is_served(connection);
        let before = connection.flow.filter(|flow| {
            let waits = flow.received == now.received && flow.end > now.received;
            flows && waits && self.undisturbed_since(connection) <= flow.since
        });
        let is_stuck = before.is_some_and(|flow| now.since > flow.since + LONGEST_PAUSE);
        assert!(!is_stuck, "L4: node {host} gets nothing over connection {number}: {before:?}, {now:?}");
        let flow = flows.then_some(before.unwrap_or(now));
        self.network.connections.get_mut(&number).expect("it was found").flow = flow;
    }

    /// R32, S6: who gets the stream of a node knows the id that it has there.
    pub(crate) fn check_id(&self, host: usize) {
        let Some(number) = self.link_in_step(host) else { return };
        let [_, upstream] = self.network.connections[&number].hosts;
        let (held, id) = (self.hosts[host].node.held(), self.hosts[upstream].report().id);
        assert!(
            held.is_none_or(|held| held.id == id),
            "S6: node {host} holds {held:?} by the stream of {id}"
        );
    }

    fn link_in_step(&self, host: usize) -> Option<usize> {
        let mut connections = self.network.connections.iter();
        let (number, _) = connections.find(|(_, connection)| {
            connection.hosts[0] == host && connection.follower.is_some() && connection.is_attached()
        })?;
        (self.upstream_of(host)?.state == LinkState::InStep).then_some(*number)
    }

    /// What is sent over it arrives, and no later than it should; and it is known what arrived.
    fn is_sound(&self, connection: &Connection) -> bool {
        let latency = Duration::from_millis(self.options.latency as u64);
        !connection.lied && connection.down.is_sound(latency)
    }

    fn flow_of(&self, connection: &Connection) -> Flow {
        let [host, upstream] = connection.hosts;
        let received = self.upstream_of(host).and_then(|upstream| upstream.received);
        let received = received.expect("it is in step");
        Flow { since: self.now, received, end: self.hosts[upstream].report().end }
    }

    fn upstream_of(&self, host: usize) -> Option<headwater::UpstreamReport> {
        let host = &self.hosts[host];
        host.node.upstream(host.clock.latest())
    }

    /// Since when bytes get through from one end to the other, and both look for them.
    fn undisturbed_since(&self, connection: &Connection) -> Duration {
        let [host, upstream] = connection.hosts;
        let stalled = [host, upstream].map(|host| self.hosts[host].stalled_until);
        // With its clock its timers stand still.
        let thawed = self.hosts[upstream].clock.thaws_at();
        stalled.into_iter().fold(thawed.max(self.network.blocked_until(upstream, host)), Duration::max)
    }

    /// Whether the primary knows that it has its snapshot.
    fn is_served(&self, connection: &Connection) -> bool {
        let replica = connection.upstream.as_ref().and_then(|end| end.replica);
        let replicas = self.hosts[connection.hosts[1]].report().replicas;
        let served = replicas.iter().find(|attached| Some(attached.replica) == replica);
        served.is_some_and(|served| served.state == ReplicaState::Online && served.acked.is_some())
    }
}

/// Many times what the slowest link needs for its next byte.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
