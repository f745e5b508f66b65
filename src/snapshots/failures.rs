use alloc::string::String;
use alloc::vec::Vec;

use crate::backoff::{Backoff, mix};
use crate::time::Timestamp;

/// Peers whose last sync failed, and until when they are held back. Known again by their address and port.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    peers: Vec<Failed>,
}

#[derive(Debug)]
struct Failed {
    address: String,
    port: i64,
    count: u32,
    not_before: Timestamp,
}

/// A peer's announced address and port.
pub(crate) type Identity<'a> = (&'a str, i64);

impl Failures {
    /// A peer's sync has failed: it is held back, and for longer if it has failed before. Of more than `most` peers
    /// the one that may come back first is forgotten.
    pub(crate) fn record(
        &mut self,
        peer: Identity<'_>,
        backoff: Backoff,
        seed: u64,
        now: Timestamp,
        most: usize,
    ) {
        let before = self.take(peer);
        // One that has left its failures behind for longer than any delay starts afresh.
        let recent = before.filter(|failed| now.saturating_since(failed.not_before) <= backoff.most);
        let count = recent.map_or(0, |failed| failed.count).saturating_add(1);
        let delay = backoff.delay(count, bits(seed, peer, count));
        // Past the end of time nobody is waited for.
        let not_before = now.checked_add(delay).unwrap_or(now);
        if self.peers.len() >= most {
            let soonest = self.peers.iter().enumerate().min_by_key(|(_, failed)| failed.not_before);
            if let Some((index, _)) = soonest {
                self.peers.remove(index);
            }
        }
        let (address, port) = (String::from(peer.0), peer.1);
        self.peers.push(Failed { address, port, count, not_before });
    }

    /// A peer's sync has succeeded.
    pub(crate) fn forget(&mut self, peer: Identity<'_>) {
        self.take(peer);
    }

    /// Until when a peer gets no snapshot.
    pub(crate) fn held_back_until(&self, peer: Identity<'_>) -> Option<Timestamp> {
        self.peers.iter().find(|failed| failed.identity() == peer).map(|failed| failed.not_before)
    }

    fn take(&mut self, peer: Identity<'_>) -> Option<Failed> {
        let index = self.peers.iter().position(|failed| failed.identity() == peer)?;
        Some(self.peers.remove(index))
    }
}

impl Failed {
    fn identity(&self) -> Identity<'_> {
        (&self.address, self.port)
    }
}

/// Bits that differ between peers, between a peer's failures, and, by the seed, between primaries.
fn bits(seed: u64, (address, port): Identity<'_>, count: u32) -> u64 {
    let words = [port.cast_unsigned(), u64::from(count)];
    let bytes = address.bytes().map(u64::from).chain(words);
    bytes.fold(mix(seed), |state, word| mix(state ^ word))
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(10) };

    fn second(count: u64) -> Timestamp {
        Timestamp::from_origin(Duration::from_secs(count))
    }

    fn delay(failures: &mut Failures, peer: Identity<'_>, now: Timestamp) -> Duration {
        failures.record(peer, BACKOFF, 7, now, 100);
        failures.held_back_until(peer).unwrap().saturating_since(now)
    }

    #[test]
    fn a_peer_that_fails_again_is_held_back_for_longer() {
        let (mut failures, peer) = (Failures::default(), ("10.0.0.9", 6380));
        assert!(delay(&mut failures, peer, second(0)) <= Duration::from_secs(1));
        let second_delay = delay(&mut failures, peer, second(1));
        assert!((Duration::from_secs(1)..=Duration::from_secs(2)).contains(&second_delay));
        failures.forget(peer);
        assert_eq!(failures.held_back_until(peer), None);
        assert!(delay(&mut failures, peer, second(2)) <= Duration::from_secs(1));
    }

    #[test]
    fn failures_of_long_ago_do_not_count() {
        let (mut failures, peer) = (Failures::default(), ("10.0.0.9", 6380));
        for _ in 0..5 {
            delay(&mut failures, peer, second(0));
        }
        assert!(delay(&mut failures, peer, second(100)) <= Duration::from_secs(1));
    }

    /// L5: the jitter differs between replicas, and between primaries.
    #[test]
    fn those_who_failed_together_do_not_come_back_together() {
        let mut failures = Failures::default();
        let first = delay(&mut failures, ("10.0.0.9", 6380), second(0));
        assert_ne!(first, delay(&mut failures, ("10.0.0.9", 6381), second(0)));
        assert_ne!(first, delay(&mut failures, ("10.0.0.8", 6380), second(0)));
        let mut elsewhere = Failures::default();
        elsewhere.record(("10.0.0.9", 6380), BACKOFF, 8, second(0), 100);
        assert_ne!(elsewhere.held_back_until(("10.0.0.9", 6380)), second(0).checked_add(first));
    }

    /// Nobody makes the table grow by failing under one name after the other.
    #[test]
    fn the_table_is_bounded() {
        let mut failures = Failures::default();
        for port in 0..50 {
            failures.record(("10.0.0.9", port), BACKOFF, 7, second(port.cast_unsigned()), 3);
        }
        assert_eq!(failures.peers.len(), 3);
        assert!(failures.held_back_until(("10.0.0.9", 49)).is_some());
    }
}
