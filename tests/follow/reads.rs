use headwater::{
    Fence, FenceEnd, FenceError, FenceOutcome, NodeEvent, ResumePoint, Staleness, Tag, Timeout, Timestamp,
};

use crate::cluster::{Cluster, id, seconds, set};

fn fence(ResumePoint { id, offset }: ResumePoint, timeout: Timeout) -> Fence {
    Fence { id, offset, timeout, tag: Tag(5) }
}

/// One that follows another, cut off from it, so that writes there are not applied here.
fn behind() -> (Cluster, ResumePoint) {
    let mut cluster = Cluster::new(2);
    cluster.follow(1, 0);
    cluster.pass(seconds(3));
    cluster.hosts[1].upstream = None;
    cluster.cut(1);
    cluster.write(0, &set("x"));
    let written = cluster.hosts[0].node.held().unwrap();
    (cluster, written)
}

fn told(cluster: &mut Cluster) -> Vec<FenceEnd> {
    let end = |event| match event {
        NodeEvent::FenceEnded { end, .. } => Some(end),
        _ => None,
    };
    cluster.hosts[1].told().into_iter().filter_map(end).collect()
}

#[test]
fn a_reader_sees_its_own_write_once_it_is_applied_here() {
    let (mut cluster, written) = behind();
    let now = cluster.now;
    let outcome = cluster.hosts[1].node.fence(fence(written, Timeout::Never), now).unwrap();
    let FenceOutcome::Pending(waiter) = outcome else { panic!("it is not applied") };
    assert_eq!(waiter.tag(), Tag(5));
    cluster.settle();
    assert_eq!(told(&mut cluster), []);
    cluster.hosts[1].upstream = Some(0);
    cluster.pass(seconds(70));
    assert_eq!(told(&mut cluster), [FenceEnd::Applied]);
    let now = cluster.now;
    let again = cluster.hosts[1].node.fence(fence(written, Timeout::Immediate), now);
    assert_eq!(again, Ok(FenceOutcome::Ended(FenceEnd::Applied)));
    let at_the_primary = cluster.hosts[0].node.fence(fence(written, Timeout::Immediate), now);
    assert_eq!(at_the_primary, Ok(FenceOutcome::Ended(FenceEnd::Applied)));
}

/// D3: no time passes for any part of a node while its clock goes back.
#[test]
fn a_fence_counts_from_the_latest_time_that_the_node_was_told() {
    let (mut cluster, written) = behind();
    let now = cluster.now;
    let latest = now.checked_add(seconds(10)).unwrap();
    let node = &mut cluster.hosts[1].node;
    node.primary().end_waits(latest);
    let _ = node.fence(fence(written, Timeout::After(seconds(2))), now).unwrap();
    let mut ends_at = |now| {
        node.handle_timeout(now);
        let events = std::iter::from_fn(|| node.poll_event());
        events.filter(|event| matches!(event, NodeEvent::FenceEnded { end: FenceEnd::TimedOut, .. })).count()
    };
    assert_eq!(ends_at(latest), 0);
    assert_eq!(ends_at(latest.checked_add(seconds(2)).unwrap()), 1);
}

#[test]
fn a_fence_ends_at_its_deadline() {
    let (mut cluster, written) = behind();
    let now = cluster.now;
    let immediate = cluster.hosts[1].node.fence(fence(written, Timeout::Immediate), now);
    assert_eq!(immediate, Ok(FenceOutcome::Ended(FenceEnd::TimedOut)));
    let _ = cluster.hosts[1].node.fence(fence(written, Timeout::After(seconds(2))), now).unwrap();
    cluster.pass(seconds(2) - std::time::Duration::from_nanos(1));
    assert_eq!(told(&mut cluster), []);
    cluster.pass(std::time::Duration::from_nanos(1));
    assert_eq!(told(&mut cluster), [FenceEnd::TimedOut]);
}

#[test]
fn a_cancelled_fence_is_told_once() {
    let (mut cluster, written) = behind();
    let now = cluster.now;
    let node = &mut cluster.hosts[1].node;
    let Ok(FenceOutcome::Pending(waiter)) = node.fence(fence(written, Timeout::Never), now) else { panic!() };
    assert_eq!(node.cancel_fence(waiter), Ok(FenceEnd::Cancelled));
    assert!(node.cancel_fence(waiter).is_err());
    cluster.settle();
    assert_eq!(told(&mut cluster), []);
}

/// Bytes that only the old primary ever had are waited for no longer than it takes to know that.
#[test]
fn a_fence_ends_when_the_history_changes() {
    let (mut cluster, written) = behind();
    let now = cluster.now;
    let _ = cluster.hosts[1].node.fence(fence(written, Timeout::Never), now).unwrap();
    cluster.promote(1);
    assert_eq!(told(&mut cluster), [FenceEnd::HistoryChanged]);
    let now = cluster.now;
    let ResumePoint { id, offset } = written;
    let refused = cluster.hosts[1].node.fence(fence(written, Timeout::Never), now);
    assert_eq!(refused, Err(FenceError::OtherHistory { id, offset }));
}

/// Nor for what another primary's snapshot took the place of, or what a new name may stand for.
#[test]
fn a_fence_ends_when_another_primary_goes_on_from_elsewhere() {
    let (mut cluster, written) = behind();
    let now = cluster.now;
    let _ = cluster.hosts[1].node.fence(fence(written, Timeout::Never), now).unwrap();
    cluster.restart(0, headwater::Start::Empty { id: id(77) });
    cluster.hosts[1].upstream = Some(0);
    cluster.pass(seconds(70));
    assert_eq!(told(&mut cluster), [FenceEnd::HistoryChanged]);

    let (mut cluster, written) = behind();
    let now = cluster.now;
    let beyond = ResumePoint { offset: written.offset.checked_add(1000).unwrap(), ..written };
    let _ = cluster.hosts[1].node.fence(fence(beyond, Timeout::Never), now).unwrap();
    cluster.hosts[1].upstream = Some(0);
    let held = cluster.hosts[1].node.held().unwrap();
    cluster.restart(0, headwater::Start::Primary { held, fresh: id(77) });
    cluster.pass(seconds(70));
    assert_eq!(cluster.report(0).counters.sync_partial_ok, 1, "it resumed under another name");
    assert_eq!(told(&mut cluster), [FenceEnd::HistoryChanged]);
}

#[test]
fn a_write_of_another_history_is_not_waited_for() {
    let (mut cluster, written) = behind();
    let now = cluster.now;
    let foreign = ResumePoint { id: id(99), ..written };
    let refused = cluster.hosts[1].node.fence(fence(foreign, Timeout::Never), now);
    assert_eq!(refused, Err(FenceError::OtherHistory { id: id(99), offset: written.offset }));
}

/// It would pass that place later without a word.
#[test]
fn what_a_primary_has_not_written_is_not_waited_for_there() {
    let (mut cluster, mut ahead) = behind();
    ahead.offset = ahead.offset.checked_add(1).unwrap();
    let now = cluster.now;
    let refused = FenceError::OtherHistory { id: ahead.id, offset: ahead.offset };
    assert_eq!(cluster.hosts[0].node.fence(fence(ahead, Timeout::Never), now), Err(refused));
}

#[test]
fn staleness_counts_from_when_all_that_had_come_was_applied() {
    let (mut cluster, _) = behind();
    let cut_at = cluster.now;
    cluster.pass(seconds(20));
    let age = cluster.now.saturating_since(cut_at);
    let stale = cluster.hosts[1].node.staleness(cluster.now).unwrap();
    assert!(stale.bytes == 0 && stale.age >= age && stale.age <= age + seconds(10), "{stale:?}");
    let fresh = Staleness { bytes: 0, age: seconds(0) };
    assert_eq!(
        cluster.hosts[0].node.staleness(cluster.now),
        Some(fresh),
        "a primary has the newest there is"
    );
    let mut lonely = Cluster::new(1);
    lonely.hosts[0].node.follow(headwater::ReplicaConfig::default(), None, Timestamp::default()).unwrap();
    assert_eq!(lonely.hosts[0].node.staleness(lonely.now), None);
}
