use headwater::{
    Config, Detach, FollowError, Framing, FullReason, LinkKey, LinkState, Lost, Node, NodeEvent, Offset,
    Peer, ReplicaConfig, ResumePoint, Sink as _, Start, Tag, Timestamp, UpstreamEvent, Wanted, WriteRefused,
};

use crate::cluster::{Cluster, at, chain, id, seconds, set, syncs};

/// T48, R34, R61: both framings, and what is written while the snapshot is under way and afterwards.
#[test]
fn a_follower_gets_the_snapshot_and_the_stream_after_it() {
    for framing in [Framing::Sized, Framing::EndMarked] {
        let mut cluster = Cluster::new(2);
        cluster.hosts[0].framing = framing;
        cluster.hosts[0].data = set("before");
        cluster.follow(1, 0);
        cluster.write(0, &set("after"));
        cluster.pass(seconds(2));
        cluster.assert_equal();
        assert_eq!(cluster.hosts[1].data, [set("before"), set("after")].concat());
        assert_eq!(syncs(&mut cluster, 0), (1, 0));
    }
}

/// R34: all members of a chain share id and offsets, heartbeats and requests for acks included.
#[test]
fn a_relay_passes_on_the_very_bytes_at_the_same_offsets() {
    let mut cluster = chain(4);
    for round in 0..5 {
        cluster.write(0, &set(&round.to_string()));
        cluster.pass(seconds(7));
    }
    cluster.assert_equal();
    for host in 0..3 {
        assert_eq!(syncs(&mut cluster, host).0, 1, "each has one replica, which came once");
    }
}

/// T73, R9, R149, R168: a follower originates nothing.
#[test]
fn who_follows_writes_nothing_and_waits_for_nobody() {
    let mut cluster = chain(2);
    let (now, end) = (cluster.now, cluster.hosts[1].node.held().unwrap().offset);
    let primary = cluster.hosts[1].node.primary();
    let refused = primary.write(now, |_| unreachable!("a refused write is not applied"));
    assert_eq!(refused, Err(WriteRefused::Following));
    assert_eq!(primary.write_ungated(now, |_| ()), Err(WriteRefused::Following));
    assert_eq!(primary.append(b"local", now), None);
    assert_eq!(primary.end(), end);
    let wait = headwater::Wait {
        target: end,
        replicas: 0,
        level: headwater::Level::Applied,
        local: false,
        timeout: headwater::Timeout::Immediate,
        tag: headwater::Tag(1),
    };
    assert_eq!(primary.wait(wait, now), Err(headwater::WaitError::Following));
    assert_eq!(cluster.hosts[1].told(), [], "no gate closes where nothing is written");
}

/// R49: what it would hand on might be old.
#[test]
fn a_follower_out_of_step_takes_no_replica() {
    let mut cluster = Cluster::new(3);
    cluster.hosts[1].upstream = None;
    let (config, now) = (headwater::ReplicaConfig::default(), cluster.now);
    cluster.hosts[1].node.follow(config, None, now).unwrap();
    cluster.follow(2, 1);
    assert_eq!(cluster.report(1).replicas.len(), 0);
    cluster.follow(1, 0);
    cluster.pass(seconds(130));
    cluster.write(0, &set("x"));
    cluster.assert_equal();
}

/// R221, R222, and B17: what was received and not applied is asked for again.
#[test]
fn a_link_cut_inside_a_transaction_is_resumed_at_its_begin() {
    let mut cluster = chain(3);
    let transaction =
        [b"*1\r\n$5\r\nMULTI\r\n".to_vec(), set("1"), set("2"), b"*1\r\n$4\r\nEXEC\r\n".to_vec()];
    let before = cluster.hosts[1].node.held().unwrap();
    for unit in &transaction[..3] {
        cluster.write(0, unit);
    }
    assert_eq!(cluster.hosts[1].node.held().unwrap(), before, "nothing of it is applied");
    assert_eq!(cluster.hosts[2].node.held().unwrap(), before, "nothing of it is passed on (R35)");
    cluster.cut(1);
    cluster.write(0, &transaction[3]);
    cluster.pass(seconds(5));
    let held = cluster.hosts[0].node.held().unwrap();
    assert!(cluster.hosts.iter().all(|host| host.node.held().unwrap() == held));
    assert_eq!(syncs(&mut cluster, 0), (1, 1));
}

/// T7, R31: who resumes under the same id disturbs nobody below.
#[test]
fn a_resume_under_the_same_id_keeps_the_replicas_below() {
    let mut cluster = chain(3);
    cluster.cut(0);
    cluster.write(0, &set("x"));
    cluster.pass(seconds(5));
    cluster.assert_equal();
    assert_eq!((syncs(&mut cluster, 0), syncs(&mut cluster, 1)), ((1, 1), (1, 0)));
}

/// R22, R23: the siblings of a promoted replica resume, and so do its own replicas.
#[test]
fn after_a_promotion_siblings_and_the_old_primary_resume() {
    let mut cluster = Cluster::new(4);
    for host in 1..4 {
        cluster.follow(host, if host == 3 { 1 } else { 0 }); // 3 behind 1; 1 and 2 behind 0
        cluster.pass(seconds(3));
    }
    cluster.write(0, &set("shared"));
    let shared = cluster.hosts[0].node.held().unwrap();
    cluster.promote(1);
    assert_eq!(cluster.report(1).previous, Some((shared.id, shared.offset)));
    cluster.write(1, &set("later"));
    cluster.follow(2, 1);
    cluster.follow(0, 1);
    cluster.pass(seconds(5));
    cluster.assert_equal();
    assert_eq!(syncs(&mut cluster, 1), (1, 3), "nobody needed a snapshot but 3 at first");
}

/// R24.
#[test]
fn promoting_a_primary_changes_nothing() {
    let mut cluster = chain(2);
    let held = cluster.hosts[0].node.held().unwrap();
    cluster.promote(0);
    assert_eq!(cluster.hosts[0].node.held().unwrap(), held);
    cluster.write(0, &set("x"));
    cluster.assert_equal();
}

/// redis#5770, T32, T47, R25, R169: who stops leading answers all who wait, and keeps its replicas.
#[test]
fn a_demoted_primary_ends_all_waits_and_keeps_its_replicas() {
    let mut cluster = Cluster::new(3);
    for host in 1..3 {
        cluster.follow(host, 0);
        cluster.pass(seconds(3));
    }
    let wait = headwater::Wait {
        target: at(1000),
        replicas: 1,
        level: headwater::Level::Applied,
        local: false,
        timeout: headwater::Timeout::Never,
        tag: headwater::Tag(7),
    };
    let now = cluster.now;
    let outcome = cluster.hosts[0].node.primary().wait(wait, now).unwrap();
    let headwater::WaitOutcome::Pending(waiter) = outcome else { panic!("nobody has that much") };
    cluster.settle(); // the request for acks is everywhere
    cluster.promote(1);
    cluster.follow(0, 1);
    cluster.pass(seconds(3));
    let ended = cluster.hosts[0].told().into_iter().find_map(|event| match event {
        NodeEvent::Primary(headwater::Event::WaitEnded { waiter, end }) => Some((waiter, end.how)),
        _ => None,
    });
    assert_eq!(ended, Some((waiter, headwater::WaitEnded::NoLongerPrimary)));
    cluster.write(1, &set("x"));
    cluster.pass(seconds(3));
    cluster.assert_equal();
    assert_eq!(syncs(&mut cluster, 0).0, 2, "2 stayed behind 0, and needed no other snapshot");
}

/// R9: who follows has no heart of its own, and does not wake for it.
#[test]
fn a_demoted_primary_wakes_for_no_heartbeat() {
    let mut cluster = Cluster::new(2);
    cluster.follow(1, 0);
    cluster.pass(seconds(3));
    let beat = Some(Timestamp::from_origin(seconds(10)));
    assert_eq!(cluster.hosts[0].node.primary().poll_timeout(), beat);
    let now = cluster.now;
    cluster.hosts[0].node.follow(ReplicaConfig::default(), None, now).unwrap();
    assert!(cluster.hosts[0].node.primary().poll_timeout() > beat);
}

/// B20, R32: a new id from above is passed on, and all below resume under it.
#[test]
fn a_changed_id_is_learnt_all_the_way_down() {
    let mut cluster = chain(4);
    cluster.write(0, &set("x"));
    cluster.promote(1);
    cluster.write(1, &set("y"));
    cluster.follow(0, 1);
    cluster.pass(seconds(5));
    cluster.assert_equal();
    for host in 0..4 {
        assert!(syncs(&mut cluster, host).0 <= 1, "host {host}");
    }
}

/// Host 1 leads after a cut, and lacks what 0 wrote behind the place that is told.
fn parted() -> (Cluster, Offset) {
    let mut cluster = chain(2);
    cluster.write(0, &set("shared"));
    let shared = cluster.hosts[0].node.held().unwrap().offset;
    cluster.hosts[1].upstream = None;
    cluster.cut(1);
    cluster.write(0, &set("lost"));
    cluster.promote(1);
    (cluster, shared)
}

/// What only the old primary ever had is gone, and it says what that was.
#[test]
fn who_wrote_on_alone_starts_over_and_tells_what_is_lost() {
    let (mut cluster, shared) = parted();
    cluster.write(1, &set("kept, and longer than what was lost"));

    let (config, now) = (headwater::ReplicaConfig::default(), cluster.now);
    let end = cluster.hosts[0].node.held().unwrap().offset;
    let Cluster { hosts, .. } = &mut cluster;
    hosts[0].upstream = Some(1);
    hosts[0].node.follow(config, Some(shared), now).unwrap();
    let before = hosts[0].node.read_kept(shared).map(|reader| reader.to_bytes(usize::MAX));
    assert_eq!(before.as_deref(), Some(&set("lost")[..]));
    cluster.pass(seconds(5));
    cluster.assert_equal();
    let lost = cluster.hosts[0].told().into_iter().find_map(|event| match event {
        NodeEvent::Diverged(_, lost) => Some(lost),
        _ => None,
    });
    assert_eq!(lost, Some(Lost { held: Some(shared), end, kept_from: Some(at(0)) }));
}

/// What the new primary itself tells of where it parted is exact.
#[test]
fn what_the_new_primary_tells_bounds_what_is_lost() {
    let (mut cluster, shared) = parted();
    let (now, end) = (cluster.now, cluster.hosts[0].node.held().unwrap().offset);
    cluster.hosts[0].upstream = Some(1);
    cluster.hosts[0].node.follow(ReplicaConfig::default(), None, now).unwrap();
    cluster.hosts[0].node.handle_parted(shared);
    cluster.pass(seconds(5));
    let lost = Lost { held: Some(shared), end, kept_from: Some(at(0)) };
    let told = cluster.hosts[0].told();
    assert!(
        told.iter().any(|event| matches!(event, NodeEvent::Diverged(_, told) if *told == lost)),
        "{told:?}"
    );
}

/// A primary that everybody had all of loses nothing, though it has to start over.
#[test]
fn nothing_is_lost_that_the_new_primary_had() {
    let mut cluster = chain(2);
    cluster.write(0, &set("shared"));
    let shared = cluster.hosts[0].node.held().unwrap().offset;
    let (config, now) = (headwater::ReplicaConfig::default(), cluster.now);
    cluster.restart(1, Start::Empty { id: id(77) });
    cluster.hosts[0].upstream = Some(1);
    cluster.hosts[0].node.follow(config, Some(shared), now).unwrap();
    cluster.pass(seconds(5));
    assert!(!cluster.hosts[0].told().iter().any(|event| matches!(event, NodeEvent::Diverged(..))));
}

/// What it wrote on its own is shared from the resume on, whatever the next primary goes on from.
#[test]
fn nothing_is_lost_later_that_was_shared_by_a_resume() {
    let mut cluster = chain(2);
    cluster.write(0, &set("shared"));
    cluster.promote(1);
    cluster.follow(0, 1);
    cluster.pass(seconds(3));
    assert_eq!(syncs(&mut cluster, 1), (0, 1));
    cluster.restart(1, Start::Empty { id: id(77) });
    cluster.pass(seconds(30));
    assert_eq!(syncs(&mut cluster, 1), (1, 0), "it started over");
    assert!(!cluster.hosts[0].told().iter().any(|event| matches!(event, NodeEvent::Diverged(..))));
}

/// c1c99e9f4, B19, T8, T9, R41: a primary that comes back from its image lets resume who held the same, and nobody
/// else.
#[test]
fn a_primary_restarted_from_its_image_lets_its_replicas_resume() {
    let mut cluster = chain(3);
    cluster.write(0, &set("x"));
    let held = cluster.hosts[0].node.held().unwrap();
    cluster.restart(0, Start::Primary { held, fresh: id(50) });
    let report = cluster.report(0);
    assert_eq!((report.id, report.previous, report.end), (id(50), Some((held.id, held.offset)), held.offset));
    cluster.pass(seconds(5));
    cluster.write(0, &set("y"));
    cluster.assert_equal();
    assert_eq!(syncs(&mut cluster, 0), (0, 1));
    assert_eq!(syncs(&mut cluster, 1), (1, 1), "2 learnt the new id by a resume");
}

/// valkey#2366, valkey#2904, R41: one byte more or less than the image, and it is another stream.
#[test]
fn an_older_image_lets_nobody_resume_who_is_ahead_of_it() {
    let mut cluster = chain(2);
    cluster.write(0, &set("x"));
    let ResumePoint { id: old, offset } = cluster.hosts[0].node.held().unwrap();
    cluster.write(0, &set("y"));
    cluster.hosts[0].data = set("x");
    cluster.restart(0, Start::Primary { held: ResumePoint { id: old, offset }, fresh: id(50) });
    cluster.pass(seconds(5));
    cluster.write(0, &set("z"));
    cluster.assert_equal();
    assert_eq!(syncs(&mut cluster, 0), (1, 0));
    let wanted = headwater::Wanted::After { id: old, offset: at(offset.get() + 1) };
    let peer = headwater::Peer::new(headwater::Tag(99), "x");
    let now = cluster.now;
    let answer = cluster.hosts[0].node.primary().attach(wanted, peer, now).unwrap().answer;
    assert_eq!(answer, headwater::Answer::Full(FullReason::Diverged { shared_until: offset }));
}

/// T3, R40, B18: a replica that comes back from its image asks to go on there, and its own replicas resume too.
#[test]
fn a_replica_restarted_from_its_image_resumes() {
    let mut cluster = chain(3);
    cluster.write(0, &set("x"));
    let held = cluster.hosts[1].node.held().unwrap();
    cluster.restart(1, Start::Replica { held });
    cluster.write(0, &set("y"));
    cluster.follow(1, 0);
    cluster.pass(seconds(130));
    cluster.assert_equal();
    assert_eq!(syncs(&mut cluster, 0), (1, 1));
    assert_eq!(syncs(&mut cluster, 1), (0, 1), "2 held no more than the image");
}

/// T9: all nodes come back from their images as replicas; whoever is promoted then lets the others resume.
#[test]
fn a_promoted_node_that_was_restarted_lets_its_siblings_resume() {
    let mut cluster = chain(3);
    cluster.write(0, &set("x"));
    let held = cluster.hosts[1].node.held().unwrap();
    cluster.restart(1, Start::Replica { held });
    cluster.restart(2, Start::Replica { held });
    cluster.promote(1);
    cluster.write(1, &set("y"));
    cluster.follow(2, 1);
    cluster.follow(0, 1);
    cluster.assert_equal();
    assert_eq!(syncs(&mut cluster, 1), (0, 2));
}

/// R12, R38, B19: what nobody wanted was not counted, so the data is at no place that could be stored or asked for.
#[test]
fn a_primary_whose_writes_were_not_counted_holds_no_place() {
    let mut cluster = Cluster::new(2);
    cluster.write(0, &set("alone"));
    assert_eq!(cluster.hosts[0].node.held(), None);
    cluster.follow(1, 0);
    assert!(cluster.hosts[0].node.held().is_some());
    cluster.assert_equal();
}

/// R12: once the backlog is let go of, what is written is in no history, though a successor may know the id.
#[test]
fn a_demoted_primary_with_uncounted_writes_asks_for_everything() {
    let (now, later) = (Timestamp::default(), Timestamp::from_origin(seconds(3601)));
    let mut node = Node::new(Config::default(), Start::Empty { id: id(1) }, now).unwrap();
    node.primary().supply_id(id(2)).unwrap(); // and none after it
    let attached = node.primary().attach(Wanted::Everything, Peer::new(Tag(1), "replica"), now).unwrap();
    node.primary().write(now, |unit| unit.put(b"counted")).unwrap();
    assert_eq!(node.held(), Some(ResumePoint { id: id(2), offset: at(7) }));
    node.primary().detach(attached.replica, Detach::Lost, now).unwrap();
    node.handle_timeout(later);
    node.primary().write(later, |unit| unit.put(b"uncounted")).unwrap();
    assert_eq!((node.primary().report(later).id, node.held()), (id(2), None));
    node.follow(ReplicaConfig::default(), None, later).unwrap();
    assert_eq!(node.wanted(), Some(Wanted::Everything));
}

/// KeyDB#56, KeyDB#389, R199: in a loop nobody writes, so all fall silent, and come back no more often than that.
#[test]
fn a_loop_of_followers_is_no_storm() {
    let mut cluster = chain(2);
    cluster.follow(0, 1);
    let before = [syncs(&mut cluster, 0), syncs(&mut cluster, 1)];
    cluster.pass(seconds(600));
    for (host, (full, partial)) in before.into_iter().enumerate() {
        let now = syncs(&mut cluster, host);
        assert_eq!(now.0, full);
        assert!(now.1 - partial <= 10, "{} in ten minutes", now.1 - partial);
    }
    cluster.promote(0);
    cluster.write(0, &set("x"));
    cluster.pass(seconds(130));
    cluster.assert_equal();
}

/// R204: who is refused comes ever more seldom, up to the cap.
#[test]
fn one_behind_a_follower_without_a_primary_is_no_storm() {
    let mut cluster = Cluster::new(3);
    cluster.follow(1, 0);
    cluster.hosts[1].upstream = None;
    cluster.cut(1);
    cluster.follow(2, 1);
    cluster.pass(seconds(600));
    let attempts = cluster.hosts[2].node.upstream(cluster.now).unwrap().attempts;
    assert!((60..=130).contains(&attempts), "{attempts} in ten minutes");
}

/// L4, and R28: pointed elsewhere, it offers what it holds.
#[test]
fn a_follower_pointed_at_a_sibling_resumes_there() {
    let mut cluster = Cluster::new(3);
    for host in 1..3 {
        cluster.follow(host, 0);
        cluster.pass(seconds(3));
    }
    cluster.follow(2, 1);
    cluster.write(0, &set("x"));
    cluster.pass(seconds(3));
    cluster.assert_equal();
    assert_eq!(syncs(&mut cluster, 1), (0, 1));
}

/// B34, R36, T60: a sync that fails leaves everything as it was.
#[test]
fn a_snapshot_that_never_comes_whole_changes_nothing() {
    let mut cluster = chain(3);
    cluster.write(0, &set("x"));
    let (held, data) = (cluster.hosts[1].node.held().unwrap(), cluster.hosts[1].data.clone());
    let now = cluster.now;
    // A primary of another history that sends half an image, then nothing.
    let node = &mut cluster.hosts[1].node;
    node.follow(headwater::ReplicaConfig::default(), None, now).unwrap();
    let mut link = None;
    while let Some(event) = node.poll_event() {
        if let NodeEvent::Upstream(key, UpstreamEvent::Connect) = event {
            link = Some(key);
        }
    }
    let key = link.unwrap();
    node.handle_connected(key, now).unwrap();
    let (mut out, limits) = (Vec::new(), headwater::wire::CommandLimits::default());
    let mut link =
        headwater::wire::Link::new(key, headwater::wire::Introduction::default(), limits, &mut out);
    let answer = format!("+PONG\r\n+OK\r\n+FULLRESYNC {} 7\r\n$100\r\nhalf", id(60));
    let mut input = answer.as_bytes();
    while link.next(&mut input, &mut out, node, now).unwrap().is_some() {}
    node.handle_disconnected(key, now);
    assert_eq!((node.held().unwrap(), &cluster.hosts[1].data), (held, &data));
    cluster.follow(1, 0);
    cluster.write(0, &set("y"));
    cluster.pass(seconds(5));
    cluster.assert_equal();
    assert_eq!(syncs(&mut cluster, 0), (1, 1), "it resumed");
    assert_eq!(syncs(&mut cluster, 1), (1, 0), "2 noticed nothing");
}

/// S10: what comes late of an old link is of no use to a newer one.
#[test]
fn no_link_has_the_name_of_an_earlier_one() {
    let now = Timestamp::default();
    let mut node = Node::new(Config::default(), Start::Empty { id: id(1) }, now).unwrap();
    let mut links = Vec::new();
    for round in 2..5 {
        node.follow(ReplicaConfig::default(), None, now).unwrap();
        for _ in 0..3 {
            let at = node.poll_timeout().unwrap();
            while let Some(event) = node.poll_event() {
                if let NodeEvent::Upstream(link, UpstreamEvent::Connect) = event {
                    links.push(link);
                    node.handle_disconnected(link, now);
                }
            }
            node.handle_timeout(node.poll_timeout().unwrap().max(at));
        }
        node.promote(id(round), now).unwrap();
    }
    assert!(links.len() > 6 && links.is_sorted_by(|earlier, later| earlier < later), "{links:?}");
}

/// R9, R173: the request for acks of somebody who waited through a handover does not get into the new primary's stream.
#[test]
fn who_has_handed_over_asks_nobody_for_acks_any_more() {
    let mut cluster = chain(3);
    let (now, held) = (cluster.now, cluster.hosts[0].node.held().unwrap());
    let handover = headwater::Handover { to: None, timeout: None };
    cluster.hosts[0].node.begin_handover(handover, now).unwrap();
    let wait = headwater::Wait {
        target: held.offset,
        replicas: 2,
        level: headwater::Level::Applied,
        local: false,
        timeout: headwater::Timeout::Never,
        tag: Tag(1),
    };
    let pending = cluster.hosts[0].node.primary().wait(wait, now).unwrap();
    assert!(matches!(pending, headwater::WaitOutcome::Pending(_)));
    cluster.hosts[0].node.follow(ReplicaConfig::default(), None, now).unwrap();
    cluster.settle();
    assert_eq!(cluster.hosts[0].node.held(), Some(held));
}

/// What one replica had says nothing of the next primary.
#[test]
fn a_loss_is_bounded_by_the_last_one_that_is_followed() {
    let now = Timestamp::default();
    let held = ResumePoint { id: id(1), offset: at(100) };
    let mut node = Node::new(Config::default(), Start::Primary { held, fresh: id(2) }, now).unwrap();
    node.primary().append(&set("own"), now).unwrap();
    let end = node.primary().end();
    node.follow(ReplicaConfig::default(), Some(end), now).unwrap();
    node.follow(ReplicaConfig::default(), None, now).unwrap();
    let link = std::iter::from_fn(|| node.poll_event()).find_map(|event| match event {
        NodeEvent::Upstream(link, UpstreamEvent::Connect) => Some(link),
        _ => None,
    });
    node.handle_connected(link.unwrap(), now).unwrap();
    node.handle_asked(link.unwrap(), now).unwrap();
    node.handle_full(link.unwrap(), ResumePoint { id: id(3), offset: at(7) }, now).unwrap();
    let lost = Lost { held: None, end, kept_from: Some(at(100)) };
    assert_eq!(node.poll_event(), Some(NodeEvent::Diverged(link.unwrap(), lost)));
}

/// S10: in one batch a link times out, and another primary is chosen.
#[test]
fn a_link_that_timed_out_is_closed_whatever_comes_next() {
    let mut cluster = chain(2);
    let node = &mut cluster.hosts[1].node;
    // One that heard nothing for its timeout, and is in the way of its next attempt already.
    let late = cluster.now.checked_add(seconds(61)).unwrap();
    node.handle_timeout(cluster.now.checked_add(seconds(2)).unwrap());
    while node.poll_event().is_some() {}
    node.handle_timeout(late);
    node.follow(ReplicaConfig::default(), None, late).unwrap();
    let events: Vec<_> = std::iter::from_fn(|| node.poll_event()).collect();
    let closes = |event: &NodeEvent| matches!(event, NodeEvent::Upstream(_, UpstreamEvent::Close(_)));
    assert_eq!(events.iter().filter(|event| closes(event)).count(), 1, "{events:?}");
}

/// A node that is being sent a snapshot, and its link.
fn receiving(now: Timestamp) -> (Node, LinkKey) {
    let mut node = Node::new(Config::default(), Start::Empty { id: id(1) }, now).unwrap();
    node.follow(ReplicaConfig::default(), None, now).unwrap();
    let Some(NodeEvent::Upstream(link, UpstreamEvent::Connect)) = node.poll_event() else {
        panic!("it connects at once");
    };
    node.handle_connected(link, now).unwrap();
    node.handle_asked(link, now).unwrap();
    node.handle_full(link, ResumePoint { id: id(3), offset: at(7) }, now).unwrap();
    (node, link)
}

#[test]
fn a_word_of_the_primary_is_a_sign_of_life() {
    let (mut node, link) = receiving(Timestamp::default());
    let later = Timestamp::from_origin(seconds(50));
    node.handle_heard(link, later).unwrap();
    assert_eq!(node.upstream(later).unwrap().last_heard, Some(seconds(0)));
    node.handle_timeout(Timestamp::from_origin(seconds(110)));
    assert_eq!(node.upstream(later).unwrap().state, LinkState::Syncing);
}

#[test]
fn after_a_load_that_failed_it_tries_again() {
    let now = Timestamp::default();
    let (mut node, link) = receiving(now);
    node.handle_snapshot_end(link, now).unwrap();
    node.handle_load_failed(link, now).unwrap();
    assert_eq!(node.handle_loaded(link, now), Err(FollowError::Gone(link)));
    assert_eq!(node.upstream(now).unwrap().attempts, 1);
    assert!(node.poll_timeout().is_some());
}

#[test]
fn a_link_that_ended_by_itself_is_not_to_be_closed() {
    let now = Timestamp::default();
    let (mut node, link) = receiving(now);
    node.follow(ReplicaConfig::default(), None, now).unwrap();
    node.handle_disconnected(link, now);
    let Some(NodeEvent::Upstream(next, UpstreamEvent::Connect)) = node.poll_event() else {
        panic!("there is nothing to close");
    };
    assert!(next > link);
}

/// R7: whoever resumes under the new id was told none of what the old primary's stream left selected.
#[test]
fn a_promotion_begins_a_context() {
    let mut cluster = chain(2);
    let (now, node) = (cluster.now, &mut cluster.hosts[1].node);
    let context = |node: &mut Node| {
        let mut seen = None;
        node.primary().write(now, |unit| seen = Some(unit.context())).map(|_| seen)
    };
    node.promote(id(50), now).unwrap();
    let first = context(node).unwrap();
    node.follow(ReplicaConfig::default(), None, now).unwrap();
    assert!(context(node).is_err());
    node.promote(id(51), now).unwrap();
    assert_ne!(context(node).unwrap(), first);
}
