//! Trees of nodes that are built anew, while links break.

use headwater::{NodeEvent, ReplicaConfig, Timestamp};
use proptest::prelude::*;

use crate::cluster::{Cluster, at, chain, seconds, set, syncs};

fn all_full_syncs(cluster: &mut Cluster) -> u64 {
    (0..cluster.hosts.len()).map(|host| syncs(cluster, host).0).sum()
}

/// All behind the first, attached one after the other.
fn star(nodes: usize) -> Cluster {
    let mut cluster = Cluster::new(nodes);
    for host in 1..nodes {
        cluster.follow(host, 0);
        cluster.pass(seconds(3));
    }
    cluster
}

/// Time passes until nothing is behind.
fn come_to_rest(cluster: &mut Cluster, primary: usize) {
    cluster.pass(seconds(70));
    cluster.write(primary, &set("rest"));
    cluster.assert_equal();
}

/// What happens to a tree before it is built anew.
#[derive(Clone, Debug)]
struct Round {
    primary: prop::sample::Index,
    /// The order in which the others are told whom to follow, and whom.
    order: Vec<usize>,
    above: Vec<prop::sample::Index>,
    /// Whose links are cut while clients write.
    cuts: Vec<usize>,
}

fn round() -> impl Strategy<Value = Round> {
    let order = Just((0..5).collect::<Vec<usize>>()).prop_shuffle();
    let above = prop::collection::vec(any::<prop::sample::Index>(), 5);
    (any::<prop::sample::Index>(), order, above, prop::collection::vec(0..5usize, 0..6))
        .prop_map(|(primary, order, above, cuts)| Round { primary, order, above, cuts })
}

/// Another one leads, and all others are behind it or behind one that is.
fn rebuild(cluster: &mut Cluster, Round { primary, order, above, .. }: &Round) -> usize {
    let primary = primary.index(5);
    cluster.promote(primary);
    let mut placed = vec![primary];
    for host in order.iter().filter(|host| **host != primary) {
        cluster.follow(*host, above[*host].get(&placed).to_owned());
        placed.push(*host);
    }
    primary
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 4, ..ProptestConfig::default() })]

    /// T1, T2: whoever leads and whoever is behind whom, the four attachments at first were the only snapshots.
    #[test]
    fn trees_that_are_built_anew_under_cuts_need_no_snapshot(rounds in prop::collection::vec(round(), 1..5)) {
        let mut cluster = star(5);
        for round in &rounds {
            let primary = rebuild(&mut cluster, round);
            for (number, host) in round.cuts.iter().enumerate() {
                cluster.write_quietly(primary, &set(&number.to_string()));
                cluster.cut(*host);
                cluster.pass(seconds(number as u64));
            }
            come_to_rest(&mut cluster, primary);
            prop_assert_eq!(all_full_syncs(&mut cluster), 4);
        }
    }
}

/// redis#7306, redis#7320, B35, T5: what only the old primary has, heartbeats, is as good a reason for a full sync
/// as any.
#[test]
fn who_missed_heartbeats_and_is_promoted_is_followed_by_the_old_primary() {
    let mut cluster = star(2);
    cluster.hosts[1].upstream = None;
    cluster.cut(1);
    cluster.pass(seconds(0));
    let missed = |cluster: &Cluster| {
        let [old, new] = [0, 1].map(|host| cluster.hosts[host].node.held().unwrap().offset);
        old > new
    };
    let heartbeat = cluster.hosts[0].node.primary().append(&headwater::wire::heartbeat(), cluster.now);
    assert!(heartbeat.is_some() && missed(&cluster));
    cluster.promote(1);
    cluster.follow(0, 1);
    cluster.pass(seconds(3));
    cluster.write(1, &set("x"));
    cluster.assert_equal();
    assert_eq!(syncs(&mut cluster, 1), (1, 0), "it was ahead");
}

/// T6: a tree around one that lacks heartbeats costs as many snapshots as were ahead of it, and each of them one for each
/// of its own; cuts cost none.
#[test]
fn a_tree_around_one_that_missed_heartbeats_costs_exactly_those_who_were_ahead() {
    let mut cluster = star(5);
    cluster.hosts[1].upstream = None;
    cluster.cut(1);
    let heartbeat = headwater::wire::heartbeat();
    cluster.hosts[0].node.primary().append(&heartbeat, cluster.now).unwrap();
    cluster.settle();
    cluster.promote(1);
    cluster.follow(2, 1);
    cluster.follow(0, 1);
    cluster.pass(seconds(70));
    cluster.write(1, &set("x"));
    cluster.assert_equal();
    let full: Vec<u64> = (0..5).map(|host| syncs(&mut cluster, host).0).collect();
    assert_eq!(full, [6, 2, 0, 0, 0]);
    for host in [0, 2, 3, 4] {
        cluster.cut(host);
    }
    come_to_rest(&mut cluster, 1);
    assert_eq!((0..5).map(|host| syncs(&mut cluster, host).0).collect::<Vec<_>>(), full);
}

/// T58: the link ends and another primary is named before anybody hears of either.
#[test]
fn who_is_pointed_elsewhere_as_its_link_ends_resumes_there() {
    let mut cluster = star(3);
    cluster.write(0, &set("x"));
    cluster.cut(2);
    cluster.follow(2, 1);
    cluster.write(0, &set("y"));
    cluster.pass(seconds(3));
    cluster.assert_equal();
    assert_eq!(all_full_syncs(&mut cluster), 2);
    assert_eq!(syncs(&mut cluster, 1), (0, 1));
}

/// T58: whatever ended a link, its connection is closed.
#[test]
fn who_is_pointed_elsewhere_as_its_link_times_out_closes_the_old_connection() {
    let mut cluster = star(3);
    let (timeout, now) = (seconds(61), cluster.now);
    let late = now.checked_add(timeout).unwrap();
    let node = &mut cluster.hosts[2].node;
    node.handle_timeout(late);
    node.follow(ReplicaConfig::default(), None, late).unwrap();
    let events: Vec<_> = std::iter::from_fn(|| node.poll_event()).collect();
    let [NodeEvent::Upstream(old, close), NodeEvent::Upstream(new, headwater::UpstreamEvent::Connect)] =
        events[..]
    else {
        panic!("{events:?}")
    };
    assert!(
        matches!(close, headwater::UpstreamEvent::Close(headwater::CloseReason::Silent { .. })),
        "{close:?}"
    );
    assert_ne!(old, new);
}

/// What comes late of a link is never taken for the word of another one.
#[test]
fn no_two_links_have_the_same_key() {
    let mut cluster = star(2);
    cluster.hosts[1].upstream = None;
    let mut keys = Vec::new();
    for _ in 0..3 {
        let now = cluster.now;
        cluster.hosts[1].node.follow(ReplicaConfig::default(), None, now).unwrap();
        for _ in 0..3 {
            let (now, node) = (cluster.now, &mut cluster.hosts[1].node);
            let connects = std::iter::from_fn(|| node.poll_event()).filter_map(|event| match event {
                NodeEvent::Upstream(key, headwater::UpstreamEvent::Connect) => Some(key),
                _ => None,
            });
            let told: Vec<_> = connects.collect();
            for key in told {
                assert!(!keys.contains(&key), "{key:?} again after {keys:?}");
                keys.push(key);
                node.handle_disconnected(key, now);
            }
            cluster.now = now.checked_add(seconds(20)).unwrap(); // longer than any attempt is put off
            node.handle_timeout(cluster.now);
        }
    }
    assert_eq!(keys.len(), 9);
}

/// T53, T58, R36: what was loaded for a primary that is followed no more is not what this node holds.
#[test]
fn a_load_that_ends_once_another_primary_is_followed_changes_nothing() {
    let mut cluster = chain(2);
    cluster.write(0, &set("x"));
    let held = cluster.hosts[1].node.held().unwrap();
    let now = cluster.now;
    let node = &mut cluster.hosts[1].node;
    node.follow(ReplicaConfig::default(), None, now).unwrap();
    let key = loading(node, now);
    node.follow(ReplicaConfig::default(), None, now).unwrap();
    assert_eq!(node.handle_loaded(key, now), Err(headwater::FollowError::Gone(key)));
    assert_eq!(node.held(), Some(held));
    cluster.settle();
    cluster.assert_equal();
    assert_eq!(syncs(&mut cluster, 0), (1, 1));
}

/// Up to the load of a snapshot of another history.
fn loading(node: &mut headwater::Node, now: Timestamp) -> headwater::LinkKey {
    let is_connect = |event| match event {
        NodeEvent::Upstream(key, headwater::UpstreamEvent::Connect) => Some(key),
        _ => None,
    };
    let key = std::iter::from_fn(|| node.poll_event()).find_map(is_connect).unwrap();
    node.handle_connected(key, now).unwrap();
    node.handle_asked(key, now).unwrap();
    let other = headwater::ResumePoint { id: crate::cluster::id(60), offset: at(7) };
    node.handle_full(key, other, now).unwrap();
    node.handle_snapshot_end(key, now).unwrap();
    key
}

/// redis#1434, T68: the limits of a follower are about what its own clients write.
#[test]
fn a_follower_without_good_replicas_follows_all_the_same() {
    let mut cluster = chain(2);
    let mut config = Cluster::config();
    config.min_replicas.to_write = 1;
    let now = cluster.now;
    cluster.hosts[1].node.primary().reconfigure(config, now).unwrap();
    cluster.write(0, &set("x"));
    cluster.pass(seconds(30));
    cluster.assert_equal();
    assert_eq!(cluster.hosts[1].told(), [], "no gate closes where nothing is written");
    cluster.promote(1);
    let now = cluster.now;
    let refused = cluster.hosts[1].node.primary().write(now, |_| ());
    assert!(matches!(refused, Err(headwater::WriteRefused::NotEnough(_))), "{refused:?}");
}
