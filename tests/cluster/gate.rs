//! How many replicas a node has that were heard from, as the simulator has seen it.

use crate::world::World;

impl World {
    /// S9: whether a write is to be let in.
    pub(crate) fn is_gate_open(&mut self, host: usize) -> bool {
        let limits = self.hosts[host].node.primary().config().min_replicas;
        let latest = self.hosts[host].clock.latest();
        let connections = self.network.connections.values();
        let ends = connections.filter(|connection| connection.hosts[1] == host);
        let ends = ends.filter_map(|connection| connection.upstream.as_ref());
        let is_good = |heard| latest.saturating_since(heard) <= limits.max_lag;
        let good = ends.filter(|end| end.replica.is_some() && end.online_heard.is_some_and(is_good)).count();
        limits.to_write == 0 || limits.max_lag.is_zero() || good >= limits.to_write
    }
}
