//! Primaries that come back from their image.

use headwater::{BacklogReport, Report, ResumePoint, Start};

use crate::cluster::{Cluster, at, chain, id, seconds, set, syncs};

/// Writes that the store makes while it loads its image, as for what has expired meanwhile.
fn restart_and_write(cluster: &mut Cluster, capacity: usize, writes: usize) -> ResumePoint {
    let held = cluster.hosts[0].node.held().unwrap();
    cluster.hosts[1].upstream = None;
    cluster.restart(0, Start::Primary { held, fresh: id(50) });
    let mut config = Cluster::config();
    config.backlog_capacity = capacity;
    let now = cluster.now;
    cluster.hosts[0].node.primary().reconfigure(config, now).unwrap();
    for number in 0..writes {
        cluster.write_quietly(0, &set(&number.to_string()));
    }
    cluster.hosts[1].upstream = Some(0);
    cluster.pass(seconds(70));
    held
}

/// B14, T8, R41: the very first byte is a place like any other.
#[test]
fn a_primary_restarted_before_the_first_byte_lets_its_replicas_resume() {
    let mut cluster = chain(3);
    let held = cluster.hosts[0].node.held().unwrap();
    assert_eq!(held.offset, at(0));
    cluster.restart(0, Start::Primary { held, fresh: id(50) });
    let Report { id: fresh, previous, end, backlog, .. } = cluster.report(0);
    assert_eq!((fresh, previous, end), (id(50), Some((held.id, at(0))), at(0)));
    assert!(matches!(backlog, Some(BacklogReport { start, .. }) if start == at(0)), "kept from there on");
    cluster.pass(seconds(5));
    cluster.assert_equal();
    assert_eq!((syncs(&mut cluster, 0), syncs(&mut cluster, 1)), ((0, 1), (1, 1)));
}

/// redis#8015, T10: what the store removes while it loads is in the stream behind the image.
#[test]
fn what_is_written_before_the_replicas_are_back_reaches_them_by_a_resume() {
    let mut cluster = chain(3);
    cluster.write(0, &set("x"));
    let held = restart_and_write(&mut cluster, 1 << 20, 1024);
    let Report { end, backlog, .. } = cluster.report(0);
    assert_eq!(backlog.unwrap().start, held.offset);
    assert!(end.bytes_since(held.offset) >= Some(1024 * set("0").len() as u64));
    cluster.assert_equal();
    assert_eq!((syncs(&mut cluster, 0), syncs(&mut cluster, 1)), ((0, 1), (1, 1)));
}

/// T11: more of it than is kept, and both replicas start over.
#[test]
fn more_than_is_kept_before_the_replicas_are_back_costs_each_a_snapshot() {
    let mut cluster = chain(3);
    cluster.write(0, &set("x"));
    let held = restart_and_write(&mut cluster, 16384, 2048);
    let Report { previous, backlog, .. } = cluster.report(0);
    assert!(backlog.unwrap().start > held.offset);
    assert_eq!(previous, Some((held.id, held.offset)));
    cluster.assert_equal();
    assert_eq!((syncs(&mut cluster, 0), syncs(&mut cluster, 1)), ((1, 0), (2, 0)));
}
