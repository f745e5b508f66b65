//! Clients that wait for disks while nodes change their roles.

use headwater::{
    Ack, Event, Level, NodeEvent, Offset, Tag, Timeout, UpstreamEvent, Wait, WaitEnd, WaitEnded, WaitOutcome,
    WaiterKey,
};

use crate::cluster::{Cluster, chain, seconds, set};

fn wait_for(target: Offset, replicas: usize, local: bool) -> Wait {
    let (level, timeout) = (Level::Fsynced, Timeout::Never);
    Wait { target, replicas, level, local, timeout, tag: Tag(1) }
}

fn fsync(cluster: &mut Cluster, host: usize) {
    let (end, now) = (cluster.hosts[host].node.held().unwrap().offset, cluster.now);
    cluster.hosts[host].node.handle_fsynced(end, now).unwrap();
}

/// T35: what its disk held as a replica it holds as a primary.
#[test]
fn a_promoted_replicas_disk_holds_what_it_held_before() {
    let mut cluster = chain(2);
    cluster.write(0, &set("x"));
    fsync(&mut cluster, 1);
    cluster.promote(1);
    let now = cluster.now;
    let node = &mut cluster.hosts[1].node;
    let target = node.held().unwrap().offset;
    let outcome = node.primary().wait(wait_for(target, 0, true), now);
    let end = WaitEnd { acked: 0, local: true, how: WaitEnded::Satisfied };
    assert_eq!(outcome, Ok(WaitOutcome::Ended(end)));
}

#[test]
fn a_demoted_primarys_disk_holds_what_it_held_before() {
    let mut cluster = chain(2);
    cluster.write(0, &set("x"));
    let (held, now) = (cluster.hosts[0].node.held().unwrap().offset, cluster.now);
    let node = &mut cluster.hosts[0].node;
    node.handle_fsynced(held, now).unwrap();
    node.follow(headwater::ReplicaConfig::default(), None, now).unwrap();
    assert_eq!(node.upstream(now).unwrap().fsynced, Some(held));
}

/// A place that the disk held lately is the same place behind the next primary, as long as that goes on from there.
#[test]
fn who_is_pointed_elsewhere_tells_what_its_disk_holds() {
    let mut cluster = chain(3);
    cluster.write(0, &set("x"));
    fsync(&mut cluster, 2);
    let held = cluster.hosts[2].node.held().unwrap().offset;
    cluster.follow(2, 0);
    let acked = |cluster: &mut Cluster| {
        let replicas = cluster.report(0).replicas;
        replicas.iter().find(|replica| replica.peer.tag == Tag(2)).and_then(|replica| replica.fsynced)
    };
    assert_eq!(acked(&mut cluster), Some(held));

    // Not so behind one that starts over.
    let mut other = Cluster::new(3);
    other.follow(2, 0);
    other.write(0, &set("long enough to be ahead of what comes"));
    fsync(&mut other, 2);
    other.follow(2, 1);
    other.pass(seconds(3));
    let upstream = other.hosts[2].node.upstream(other.now).unwrap();
    assert_eq!(upstream.fsynced, None);
    other.hosts[2].node.acknowledge();
    let acks = std::iter::from_fn(|| other.hosts[2].node.poll_event()).filter_map(|event| match event {
        NodeEvent::Upstream(_, UpstreamEvent::Ack(ack)) => Some(ack),
        _ => None,
    });
    assert_eq!(acks.collect::<Vec<_>>(), [Ack { applied: upstream.held.unwrap().offset, fsynced: None }]);
}

/// T39: acks of what was held behind one primary are nothing to the other.
#[test]
fn replicas_that_swap_their_primaries_release_those_who_wait_there() {
    let mut cluster = Cluster::new(4);
    for host in [0, 1] {
        cluster.follow(host + 2, host);
        cluster.write(host, &set(if host == 0 { "short" } else { "much longer than at the other one" }));
        fsync(&mut cluster, host);
        fsync(&mut cluster, host + 2);
        cluster.pass(seconds(3));
    }
    let waiters = [0, 1].map(|host| {
        cluster.write_quietly(host, &set("waited for"));
        let (now, node) = (cluster.now, &mut cluster.hosts[host].node);
        let target = node.held().unwrap().offset;
        let outcome = node.primary().wait(wait_for(target, 1, true), now).unwrap();
        let WaitOutcome::Pending(waiter) = outcome else { panic!("nobody has it") };
        waiter
    });
    cluster.follow(2, 1);
    cluster.follow(3, 0);
    cluster.pass(seconds(70));
    assert_eq!(ended(&mut cluster), [], "no disk holds it");
    (0..4).for_each(|host| fsync(&mut cluster, host));
    cluster.pass(seconds(3));
    let end = WaitEnd { acked: 1, local: true, how: WaitEnded::Satisfied };
    assert_eq!(ended(&mut cluster), waiters.map(|waiter| (waiter, end)));
    assert_eq!(cluster.hosts[2].data, cluster.hosts[1].data);
    assert_eq!(cluster.hosts[3].data, cluster.hosts[0].data);
}

fn ended(cluster: &mut Cluster) -> Vec<(WaiterKey, WaitEnd)> {
    let end = |event| match event {
        NodeEvent::Primary(Event::WaitEnded { waiter, end }) => Some((waiter, end)),
        _ => None,
    };
    cluster.hosts.iter_mut().flat_map(crate::cluster::Host::told).filter_map(end).collect()
}
