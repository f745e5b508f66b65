//! What other replicas of Redis's protocol have got wrong, in the circumstances in which it showed.

use headwater::wire::{CommandLimits, Inbound, Introduction, Link};
use headwater::{
    Answer, AttachError, Config, Node, Peer, Replica, ReplicaConfig, Start, Tag, UpstreamEvent, Wanted,
};

use crate::changes::{ask, follow, moment, node, point};
use crate::cluster::{Cluster, at, chain, id, seconds, set, syncs};

/// redis#3899 (B15, B16): half a transaction in a relay's backlog, and below it, when its primary dies.
#[test]
fn half_a_transaction_is_gone_with_the_primary_that_sent_it() {
    let mut cluster = chain(3);
    cluster.write(0, &set("before"));
    for half in [b"*1\r\n$5\r\nMULTI\r\n".to_vec(), set("half")] {
        cluster.write(0, &half);
    }
    cluster.promote(1);
    cluster.write(1, &set("after"));
    cluster.pass(seconds(5));
    for host in 1..3 {
        assert_eq!(cluster.hosts[host].data, [set("before"), set("after")].concat(), "host {host}");
    }
    assert_eq!(syncs(&mut cluster, 1), (1, 1), "its replica resumed");
    cluster.follow(0, 1);
    cluster.pass(seconds(5));
    cluster.write(1, &set("later"));
    cluster.assert_equal();
}

/// redis#1271: after a full sync that nothing followed, the very next byte was refused.
#[test]
fn who_was_sent_nothing_behind_its_snapshot_resumes() {
    let mut cluster = chain(2);
    assert_eq!(cluster.hosts[0].node.held().unwrap().offset, at(0));
    for cuts in 1..=3 {
        cluster.cut(1);
        cluster.pass(seconds(1));
        assert_eq!(syncs(&mut cluster, 0), (1, cuts));
    }
    cluster.write(0, &set("x"));
    cluster.assert_equal();
}

/// redis#4268, and B13: whoever is promoted had no replica for long, and its time to live was over at once.
#[test]
fn a_backlog_lives_its_time_from_the_promotion_on() {
    let mut cluster = chain(2);
    let (mut config, now) = (Cluster::config(), cluster.now);
    config.backlog_ttl = Some(seconds(60));
    cluster.hosts[1].node.primary().reconfigure(config, now).unwrap();
    cluster.pass(seconds(600));
    cluster.write(0, &set("x"));
    cluster.promote(1);
    cluster.pass(seconds(59));
    cluster.follow(0, 1);
    cluster.write(1, &set("y"));
    cluster.assert_equal();
    assert_eq!(syncs(&mut cluster, 1), (0, 1), "nobody needed a snapshot");
}

/// B14: an offset of zero, or a load that took longer than the backlog lives, is no reason to forget the history.
#[test]
fn a_history_outlives_a_load_however_long_and_an_offset_of_zero() {
    for (offset, loaded) in [(0, moment(0)), (0, moment(36_000)), (100, moment(36_000))] {
        let (held, fresh) = (point(1, offset), id(2));
        let mut node = Node::new(Config::default(), Start::Primary { held, fresh }, loaded).unwrap();
        node.handle_timeout(loaded);
        let wanted = Wanted::After { id: held.id, offset: held.offset };
        let attached = node.primary().attach(wanted, Peer::new(Tag(1), "replica"), loaded).unwrap();
        assert_eq!(attached.answer, Answer::Continue { id: fresh, from: held.offset });
    }
}

/// kvrocks#462: two servers at one offset, with different data, told apart by nothing.
#[test]
fn the_same_offset_of_another_history_is_another_place() {
    let mut cluster = Cluster::new(4);
    cluster.follow(2, 0);
    cluster.follow(3, 1);
    cluster.write(0, &set("left"));
    cluster.write(1, &set("else"));
    let [left, other] = [0, 1].map(|host| cluster.hosts[host].node.held().unwrap());
    assert!(left.offset == other.offset && left.id != other.id);
    cluster.follow(2, 1);
    cluster.pass(seconds(5));
    assert_eq!(cluster.hosts[2].data, set("else"));
    assert_eq!(syncs(&mut cluster, 1), (2, 0));
}

/// valkey#885, B49: an offset of a history that was left ranked its holder above those who had the data.
#[test]
fn an_offset_is_never_told_under_another_history_than_its_own() {
    let mut node = node();
    follow(&mut node, None, moment(0));
    let link = ask(&mut node, moment(0));
    node.handle_full(link, point(2, 7), moment(0)).unwrap();
    node.handle_snapshot_end(link, moment(0)).unwrap();
    let place = |node: &mut Node| {
        let report = node.primary().report(moment(0));
        (node.held(), report.id, report.end)
    };
    assert_eq!(place(&mut node), (Some(point(1, 100)), id(1), at(100)));
    node.handle_loaded(link, moment(0)).unwrap();
    assert_eq!(place(&mut node), (Some(point(2, 7)), id(2), at(7)));
}

/// valkey#2983: a replica was fed by one whose own data was about to be replaced.
#[test]
fn nobody_attaches_below_while_the_snapshot_from_above_is_on_its_way() {
    let mut node = node();
    follow(&mut node, None, moment(0));
    let attach = |node: &mut Node| {
        let attached = node.primary().attach(Wanted::Everything, Peer::new(Tag(1), "replica"), moment(0));
        attached.map(|_| ())
    };
    let link = ask(&mut node, moment(0));
    node.handle_full(link, point(2, 7), moment(0)).unwrap();
    assert_eq!(attach(&mut node), Err(AttachError::NotInStep));
    node.handle_snapshot_end(link, moment(0)).unwrap();
    assert_eq!(attach(&mut node), Err(AttachError::NotInStep));
    node.handle_loaded(link, moment(0)).unwrap();
    assert_eq!(attach(&mut node), Ok(()));
}

/// redis#9340 (B43): what a primary let in was too large for its replica, again and again.
#[test]
fn the_largest_unit_that_a_primary_lets_in_is_read_by_its_replica() {
    assert_eq!(CommandLimits::default().max_command, Config::default().max_unit);
    let transaction = |len: usize| {
        [&b"*1\r\n$5\r\nMULTI\r\n"[..], &set(&"x".repeat(len)), b"*1\r\n$4\r\nEXEC\r\n"].concat()
    };
    let now = moment(0);
    for unit in [transaction(900), set(&"x".repeat(900))] {
        let mut replica = Replica::new(ReplicaConfig::default(), Some(point(1, 0)), now).unwrap();
        let Some((key, UpstreamEvent::Connect)) = replica.poll_event() else { panic!("it connects") };
        replica.handle_connected(key, now).unwrap();
        let mut limits = CommandLimits::default();
        limits.max_command = unit.len();
        let mut link = Link::new(key, Introduction::default(), limits, &mut Vec::new());
        let stream = [&b"+PONG\r\n+OK\r\n+CONTINUE\r\n"[..], &unit].concat();
        let inbound = link.next(&mut &stream[..], &mut Vec::new(), &mut replica, now).unwrap();
        assert!(matches!(inbound, Some(Inbound::Unit(read)) if read.bytes == unit));
    }
}
