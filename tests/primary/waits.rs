use std::time::Duration;

use headwater::wire::{self, CommandError};
use headwater::{
    Ack, AckError, Detach, Event, Gone, Level, Offset, Peer, ReplicaKey, Tag, Timeout, Wait, WaitEnd,
    WaitEnded, WaitError, WaitOutcome, WaiterKey, Wanted,
};

use crate::host::{END_MARKED, Host, NANOSECOND, SIZED, at, seconds};

pub(crate) fn asking() -> Host {
    Host::new(|config| config.ack_request = Some(wire::get_ack()))
}

/// WAIT without a timeout.
pub(crate) const fn wait(target: Offset, replicas: usize) -> Wait {
    Wait { target, replicas, level: Level::Applied, local: false, timeout: Timeout::Never, tag: Tag(7) }
}

pub(crate) fn pending(host: &mut Host, wait: Wait) -> WaiterKey {
    let outcome = host.primary.wait(wait, host.now).unwrap();
    host.primary.check_invariants();
    let WaitOutcome::Pending(waiter) = outcome else { panic!("it is over at once: {outcome:?}") };
    waiter
}

pub(crate) fn over(host: &mut Host, wait: Wait) -> WaitEnd {
    let outcome = host.primary.wait(wait, host.now).unwrap();
    let WaitOutcome::Ended(end) = outcome else { panic!("it goes on: {outcome:?}") };
    end
}

pub(crate) fn ended(waiter: WaiterKey, acked: usize, how: WaitEnded) -> Event {
    Event::WaitEnded { waiter, end: WaitEnd { acked, local: false, how } }
}

/// Events without those that only say that there are bytes to send.
pub(crate) fn news(events: Vec<Event>) -> Vec<Event> {
    events.into_iter().filter(|event| !matches!(event, Event::Send(_))).collect()
}

fn replicas(host: &mut Host, count: usize) -> Vec<ReplicaKey> {
    (0..count).map(|_| host.online()).collect()
}

/// T24 and S7: not before the ack that holds the target, and with it.
#[test]
fn an_ack_ends_the_waits_that_it_satisfies_and_no_other() {
    let mut host = asking();
    let replica = host.online();
    let [first, second] = [b"a", b"b"].map(|bytes| host.append(bytes));
    let (early, late) = (pending(&mut host, wait(first, 1)), pending(&mut host, wait(second, 1)));
    host.flush(replica);
    host.ack(replica, at(0));
    assert_eq!(news(host.events()), []);
    host.ack(replica, first);
    assert_eq!(news(host.events()), [ended(early, 1, WaitEnded::Satisfied)]);
    host.ack(replica, first);
    assert_eq!(news(host.events()), [], "a wait ends once");
    host.ack(replica, second);
    assert_eq!(host.events()[0], ended(late, 1, WaitEnded::Satisfied));
    assert_eq!(host.report().waiters, 0);
}

/// T24, T25 and R170: the count of that moment, no error; and L1 to the nanosecond.
#[test]
fn a_wait_ends_exactly_at_its_deadline_with_the_count_of_that_moment() {
    let mut host = asking();
    let [quick, _stopped] = [(); 2].map(|()| host.online());
    let target = host.append(b"bytes");
    host.catch_up(quick);
    let span = Duration::from_millis(500);
    let waiter = pending(&mut host, Wait { timeout: Timeout::After(span), ..wait(target, 2) });
    assert_eq!(host.primary.poll_timeout(), host.now.checked_add(span));
    assert_eq!(news(host.pass(span - NANOSECOND)), []);
    assert_eq!(news(host.pass(NANOSECOND)), [ended(waiter, 1, WaitEnded::TimedOut)]);
    assert_eq!(host.report().waiters, 0);
    let mut out = Vec::new();
    wire::put_wait_end(&mut out, &WaitEnd { acked: 1, local: false, how: WaitEnded::TimedOut });
    assert_eq!(out, b":1\r\n");
}

/// T25: what comes late still serves the next wait.
#[test]
fn a_replica_that_was_stopped_counts_again_once_it_acknowledges() {
    let mut host = asking();
    let replica = host.online();
    let target = host.append(b"bytes");
    host.flush(replica);
    let timed = Wait { timeout: Timeout::After(seconds(1)), ..wait(target, 1) };
    let waiter = pending(&mut host, timed);
    assert_eq!(news(host.pass(seconds(1))), [ended(waiter, 0, WaitEnded::TimedOut)]);
    host.ack(replica, target);
    assert_eq!(news(host.events()), [], "its wait is over");
    assert_eq!(over(&mut host, timed).acked, 1);
}

/// Of the two, whichever the host hands in first; R175 has deadlines win always.
#[test]
fn of_an_ack_and_a_deadline_the_first_to_be_handed_in_wins() {
    for ack_first in [true, false] {
        let mut host = asking();
        let replica = host.online();
        let target = host.append(b"bytes");
        host.flush(replica);
        let waiter = pending(&mut host, Wait { timeout: Timeout::After(seconds(1)), ..wait(target, 1) });
        host.events();
        host.now = host.now.checked_add(seconds(1)).unwrap();
        if ack_first {
            host.ack(replica, target);
        }
        host.primary.handle_timeout(host.now);
        if !ack_first {
            host.ack(replica, target);
        }
        let expected = if ack_first {
            ended(waiter, 1, WaitEnded::Satisfied)
        } else {
            ended(waiter, 0, WaitEnded::TimedOut)
        };
        assert_eq!(news(host.events()), [expected]);
    }
}

/// valkey#776, R166, T28 and B25: a script's own target counts, so of two replicas the stopped one does not.
#[test]
fn one_that_may_not_block_gets_the_count_of_this_moment() {
    let mut host = asking();
    let [quick, _stopped] = [(); 2].map(|()| host.online());
    let target = host.append(b"bytes");
    host.catch_up(quick);
    let at_once = |target, replicas| Wait { timeout: Timeout::Immediate, ..wait(target, replicas) };
    let end = over(&mut host, at_once(target, 2));
    assert_eq!(end, WaitEnd { acked: 1, local: false, how: WaitEnded::TimedOut });
    let end = over(&mut host, at_once(at(0), 1));
    assert_eq!(
        end,
        WaitEnd { acked: 2, local: false, how: WaitEnded::Satisfied },
        "R167: more than asked for"
    );
    assert_eq!((news(host.events()), host.primary.end()), (vec![], target), "nobody is asked for an ack");
}

/// R170: a timeout of 0 is none.
#[test]
fn without_a_timeout_a_wait_lasts_until_it_is_satisfied() {
    let mut host = asking();
    let mute = host.attach(Wanted::Everything, |peer| peer.acks = false).replica;
    let cut = host.begin(SIZED);
    host.ready(&cut);
    host.sent(mute);
    host.events();
    let target = host.append(b"bytes");
    let waiter = pending(&mut host, wait(target, 1));
    host.pass(seconds(100));
    assert_eq!(host.primary.poll_timeout(), None);
    assert_eq!(news(host.pass(seconds(1_000_000))), []);
    host.catch_up(mute);
    assert_eq!(news(host.events()), [ended(waiter, 1, WaitEnded::Satisfied)]);
}

/// redis#6393, R161 and R166: zero replicas hold everything, and one that never wrote waits for the beginning.
#[test]
fn nobody_waits_for_no_replica_or_for_what_is_there() {
    let mut host = asking();
    let none = WaitEnd { acked: 0, local: false, how: WaitEnded::Satisfied };
    assert_eq!(over(&mut host, wait(at(0), 0)), none, "no replica was ever there");
    host.online();
    let target = host.append(b"bytes");
    assert_eq!(over(&mut host, wait(target, 0)), none);
    assert_eq!(over(&mut host, wait(at(0), 1)).acked, 1);
    assert_eq!(host.events().len(), 1, "what there is to send");
    assert_eq!(host.primary.end(), target, "nobody was asked for an ack");
}

/// T38, R160 and R174: what follows the caller's own write, the request for acks too, is not waited for.
#[test]
fn the_target_is_the_callers_own_write() {
    let mut host = asking();
    let replica = host.online();
    let own = host.append(b"own");
    host.append(b"another's");
    let waiter = pending(&mut host, wait(own, 1));
    host.flush(replica);
    host.ack(replica, own);
    assert_eq!(news(host.events()), [ended(waiter, 1, WaitEnded::Satisfied)]);
}

/// R162: online and acknowledged, both.
#[test]
fn a_replica_counts_once_it_is_online_and_then_at_once() {
    let mut host = asking();
    let replica = host.newcomer();
    let target = host.append(b"before the cut");
    let cut = host.begin(END_MARKED);
    host.ready(&cut);
    let waiter = pending(&mut host, wait(target, 1));
    host.events();
    host.ack(replica, target);
    assert_eq!(host.events(), [], "it may have told what it is loading");
    host.sent(replica);
    assert_eq!(host.events()[0], ended(waiter, 1, WaitEnded::Satisfied));
}

/// T36 and R172: it is asked, or it would be found only by its next ack.
#[test]
fn a_replica_that_comes_online_is_asked_for_those_who_wait() {
    let mut host = asking();
    let replica = host.newcomer();
    let target = host.append(b"bytes");
    let waiter = pending(&mut host, wait(target, 1));
    host.events();
    assert_eq!(host.primary.end(), target, "there is nobody to ask yet");
    let cut = host.begin(SIZED);
    host.ready(&cut);
    host.sent(replica);
    host.events();
    assert_eq!(host.flush(replica), wire::get_ack());
    host.ack(replica, target);
    assert_eq!(host.events(), [ended(waiter, 1, WaitEnded::Satisfied)]);
}

/// L3 and R176: no count of one is another's.
#[test]
fn more_replicas_than_are_online_are_waited_for_until_they_come() {
    let mut host = asking();
    let first = replicas(&mut host, 2);
    let target = host.append(b"bytes");
    let waiter = pending(&mut host, wait(target, 3));
    for replica in first {
        host.catch_up(replica);
    }
    assert_eq!(news(host.events()), []);
    let (third, _) = host.resume(at(0));
    host.flush(third);
    host.ack(third, target);
    assert_eq!(host.events()[0], ended(waiter, 3, WaitEnded::Satisfied));
}

/// R162: an ack is its connection's, and ends with it.
#[test]
fn a_replica_that_left_does_not_count() {
    let mut host = asking();
    let [stays, leaves] = [(); 2].map(|()| host.online());
    let target = host.append(b"bytes");
    host.catch_up(leaves);
    let waiter = pending(&mut host, wait(target, 2));
    host.primary.detach(leaves, Detach::Lost, host.now).unwrap();
    host.catch_up(stays);
    assert_eq!(news(host.events()), [], "the two were never there together");
    let (back, _) = host.resume(target);
    assert_eq!(news(host.events()), [], "before its first ack nothing is known of it");
    host.ack(back, target);
    assert_eq!(news(host.events()), [ended(waiter, 2, WaitEnded::Satisfied)]);
}

/// An address and a port name no node: behind one address may be many. What it has told over a dead connection it did
/// hold, so it counts there until silence ends that, and for no write that came later.
#[test]
fn a_node_counts_once_for_each_of_its_connections() {
    let mut host = asking();
    let port = |peer: &mut Peer| peer.port = 7001;
    let dead = host.attach(Wanted::Everything, port).replica;
    let cut = host.begin(SIZED);
    host.ready(&cut);
    host.sent(dead);
    let target = host.append(b"before the break");
    host.catch_up(dead);
    let wanted = Wanted::After { id: host.id(), offset: target };
    let back = host.attach(wanted, port).replica;
    host.ack(back, target);
    assert!(host.is_attached(dead));
    assert_eq!(over(&mut host, wait(target, 2)).acked, 2);
    let later = host.append(b"after it");
    host.catch_up(back);
    let waiter = pending(&mut host, wait(later, 2));
    host.primary.detach(dead, Detach::Lost, host.now).unwrap();
    assert_eq!(host.primary.cancel_wait(waiter).unwrap().acked, 1);
    assert_eq!(over(&mut host, Wait { timeout: Timeout::Immediate, ..wait(target, 2) }).acked, 1);
}

/// valkey#787, B26, R172, T27 and L3: one request however many wait, and one ack that ends them all.
#[test]
fn ten_thousand_waits_share_one_request_and_one_ack() {
    let mut host = asking();
    let replica = host.online();
    let target = host.append(b"bytes");
    let waiters: Vec<_> = (0..10_000)
        .map(|tag| pending_unchecked(&mut host, Wait { tag: Tag(tag), ..wait(target, 1) }))
        .collect();
    assert_eq!(host.primary.end(), target, "not before the host has drained");
    assert_eq!(host.events(), [Event::Send(replica)]);
    assert_eq!(host.primary.end(), target.checked_add(37).unwrap());
    host.flush(replica);
    assert_eq!(host.events(), []);
    assert_eq!(host.report().waiters, 10_000);
    host.primary.handle_ack(replica, Ack::applied(target), host.now).unwrap();
    for waiter in waiters {
        assert_eq!(host.primary.poll_event(), Some(ended(waiter, 1, WaitEnded::Satisfied)));
    }
    assert_eq!(host.events(), []);
    host.primary.check_invariants();
}

fn pending_unchecked(host: &mut Host, wait: Wait) -> WaiterKey {
    match host.primary.wait(wait, host.now).unwrap() {
        WaitOutcome::Pending(waiter) => waiter,
        other => panic!("it is over at once: {other:?}"),
    }
}

/// 4024bc7ee, B27: the write behind a WAIT comes while its end is being told, and is asked for without a tick in
/// between.
#[test]
fn a_client_that_pipelines_waits_for_round_trips_only() {
    let mut host = asking();
    let replica = host.online();
    for _ in 0..10 {
        let target = host.append(b"SET");
        let waiter = pending(&mut host, wait(target, 1));
        assert_eq!(news(host.events()), []);
        assert_eq!(host.flush(replica), [&b"SET"[..], &wire::get_ack()].concat());
        host.ack(replica, target);
        assert_eq!(host.primary.poll_event(), Some(ended(waiter, 1, WaitEnded::Satisfied)));
    }
    assert_eq!(host.primary.end(), at(10 * (3 + 37)));
}

/// R172: one request serves all that came before it, and each is told of its own write alone.
#[test]
fn pipelined_writes_and_waits_each_end_by_their_own_write() {
    let mut host = asking();
    let replica = host.online();
    let mut waits = Vec::new();
    for _ in 0..10 {
        let target = host.append(b"SET");
        waits.push((pending(&mut host, wait(target, 1)), target));
    }
    let end = host.primary.end();
    host.events();
    assert_eq!(host.primary.end(), end.checked_add(37).unwrap());
    host.flush(replica);
    let (first, rest) = waits.split_at(4);
    host.ack(replica, first[3].1);
    let expected: Vec<_> = first.iter().map(|(waiter, _)| ended(*waiter, 1, WaitEnded::Satisfied)).collect();
    assert_eq!(news(host.events()), expected);
    host.ack(replica, end);
    let expected: Vec<_> = rest.iter().map(|(waiter, _)| ended(*waiter, 1, WaitEnded::Satisfied)).collect();
    assert_eq!(news(host.events()), expected);
}

/// The order that `Event::WaitEnded` promises: by replicas, then by target, whenever they came.
#[test]
fn the_ends_of_one_ack_come_by_replicas_and_then_by_target() {
    let mut host = asking();
    let [first, second] = [(); 2].map(|()| host.online());
    let [low, high] = [b"a", b"b"].map(|bytes| host.append(bytes));
    let [two_high, one_high, two_low, one_low] =
        [(high, 2), (high, 1), (low, 2), (low, 1)].map(|(target, k)| pending(&mut host, wait(target, k)));
    host.flush(second);
    host.primary.handle_ack(second, Ack::applied(at(0)), host.now).unwrap();
    host.catch_up(first);
    assert_eq!(
        news(host.events()),
        [ended(one_low, 1, WaitEnded::Satisfied), ended(one_high, 1, WaitEnded::Satisfied)]
    );
    host.ack(second, high);
    assert_eq!(
        news(host.events()),
        [ended(two_low, 2, WaitEnded::Satisfied), ended(two_high, 2, WaitEnded::Satisfied)]
    );
}

/// CVE-2026-23479, L2, R171: for a client that is gone, or unblocked by another.
#[test]
fn a_cancelled_wait_is_heard_of_no_more() {
    let mut host = asking();
    let [replica, _stopped] = [(); 2].map(|()| host.online());
    let target = host.append(b"bytes");
    let [kept, gone] = [(); 2].map(|()| pending(&mut host, wait(target, 1)));
    let timed = pending(&mut host, Wait { timeout: Timeout::After(seconds(1)), ..wait(target, 2) });
    host.flush(replica);
    let cancelled = |acked| WaitEnd { acked, local: false, how: WaitEnded::Cancelled };
    assert_eq!(host.primary.cancel_wait(gone), Ok(cancelled(0)));
    assert_eq!(host.primary.cancel_wait(gone), Err(Gone(gone)));
    host.ack(replica, target);
    assert_eq!(host.primary.cancel_wait(timed), Ok(cancelled(1)), "with the count of this moment");
    assert_eq!(news(host.pass(seconds(2))), [ended(kept, 1, WaitEnded::Satisfied)]);
    assert_eq!(host.primary.cancel_wait(kept), Err(Gone(kept)), "its end was told");
    host.primary.check_invariants();
}

/// Each wait ends once: the call that takes an untold end back is its telling.
#[test]
fn a_wait_cancelled_after_its_end_tells_that_end_and_no_event_does() {
    let mut host = asking();
    let replica = host.online();
    let target = host.append(b"bytes");
    let waiter = pending(&mut host, wait(target, 1));
    host.catch_up(replica);
    let satisfied = WaitEnd { acked: 1, local: false, how: WaitEnded::Satisfied };
    assert_eq!(host.primary.cancel_wait(waiter), Ok(satisfied));
    assert_eq!(news(host.events()), []);
}

/// T32, R169 and L2: all at once, and none is left to a later ack or deadline.
#[test]
fn nobody_waits_on_a_node_that_gives_its_role_up() {
    let mut host = asking();
    let replica = host.online();
    let target = host.append(b"bytes");
    let first = pending(&mut host, wait(target, 1));
    let second = pending(&mut host, Wait { timeout: Timeout::After(seconds(1)), ..wait(target, 5) });
    host.flush(replica);
    host.primary.end_waits(host.now);
    let given_up = |waiter| ended(waiter, 0, WaitEnded::NoLongerPrimary);
    assert_eq!(news(host.events()), [given_up(first), given_up(second)]);
    host.ack(replica, target);
    assert_eq!(news(host.pass(seconds(5))), []);
    let mut out = Vec::new();
    wire::put_wait_end(&mut out, &WaitEnd { acked: 0, local: false, how: WaitEnded::NoLongerPrimary });
    assert!(out.starts_with(b"-UNBLOCKED force unblock from blocking operation"));
}

/// Bound B5: with an error of its own, and for those alone that would have to wait.
#[test]
fn as_many_wait_as_may_and_one_more_is_told_so() {
    let mut host = asking();
    host.reconfigure(|config| config.max_waiters = 2);
    let replica = host.online();
    let target = host.append(b"bytes");
    let [first, second] = [(); 2].map(|()| pending(&mut host, wait(target, 1)));
    let full = WaitError::TooManyWaiters { max: 2 };
    assert_eq!(host.primary.wait(wait(target, 1), host.now), Err(full));
    assert_eq!(CommandError::from(full).to_string(), "ERR 2 clients wait for replicas, the most allowed");
    assert_eq!(over(&mut host, wait(at(0), 1)).acked, 1, "it does not have to wait");
    over(&mut host, Wait { timeout: Timeout::Immediate, ..wait(target, 1) });

    host.catch_up(replica);
    let target = host.append(b"bytes");
    assert_eq!(host.primary.wait(wait(target, 1), host.now), Err(full), "their ends were not told yet");
    let ends = [first, second].map(|waiter| ended(waiter, 1, WaitEnded::Satisfied));
    assert_eq!(news(host.events()), ends);
    pending(&mut host, wait(target, 1));
    host.reconfigure(|config| config.max_waiters = 1);
    assert!(host.primary.wait(wait(target, 1), host.now).is_err());
    assert_eq!(host.report().waiters, 1);
}

/// S8: a lie is counted for nobody, and the liar goes.
#[test]
fn an_ack_of_what_was_never_sent_ends_no_wait() {
    let mut host = asking();
    let replica = host.online();
    let target = host.append(b"bytes");
    pending(&mut host, wait(target, 1));
    let lie = host.primary.handle_ack(replica, Ack::applied(target), host.now);
    assert!(matches!(lie, Err(AckError::Dropped { .. })));
    let events = news(host.events());
    assert!(matches!(events[..], [Event::Dropped { .. }]), "{events:?}");
    assert_eq!(host.report().waiters, 1);
}

/// Ends come before all else, for a host that stops draining after the first event of another kind.
#[test]
fn ends_of_waits_are_told_before_all_else() {
    let mut host = asking();
    let [first, second] = [(); 2].map(|()| host.online());
    let target = host.append(b"bytes");
    let waiter = pending(&mut host, wait(target, 1));
    host.primary.handle_ack(second, Ack::applied(at(99)), host.now).unwrap_err();
    host.catch_up(first);
    let events = host.events();
    assert_eq!(events[0], ended(waiter, 1, WaitEnded::Satisfied));
    assert!(matches!(events[1], Event::Dropped { replica, .. } if replica == second));
}

/// Without a request in the host's dialect waits end by what replicas say by themselves.
#[test]
fn without_a_request_the_stream_does_not_grow() {
    let mut host = Host::new(|_| ());
    let replica = host.online();
    let target = host.append(b"bytes");
    let waiter = pending(&mut host, wait(target, 1));
    host.events();
    assert_eq!(host.primary.end(), target);
    host.catch_up(replica);
    assert_eq!(host.events(), [ended(waiter, 1, WaitEnded::Satisfied)]);
}

/// T26 and R173: a host that pauses takes the request back, and those who wait are not forgotten.
#[test]
fn those_who_wait_without_a_request_are_asked_for_once_there_is_one() {
    let mut host = asking();
    let replica = host.online();
    host.reconfigure(|config| config.ack_request = None);
    let target = host.append(b"bytes");
    let timed = pending(&mut host, Wait { timeout: Timeout::After(seconds(1)), ..wait(target, 1) });
    let waiter = pending(&mut host, wait(target, 1));
    assert_eq!(host.flush(replica), b"bytes");
    assert_eq!(news(host.pass(seconds(1))), [ended(timed, 0, WaitEnded::TimedOut)]);

    host.reconfigure(|config| config.ack_request = Some(wire::get_ack()));
    host.events();
    assert_eq!(host.flush(replica), wire::get_ack());
    host.ack(replica, target);
    assert_eq!(host.events(), [ended(waiter, 1, WaitEnded::Satisfied)]);
    host.reconfigure(|config| config.ack_request = None);
    host.reconfigure(|config| config.ack_request = Some(wire::get_ack()));
    host.events();
    assert_eq!(host.flush(replica), b"", "nobody waits");
}

/// T81 and R241: a shutdown is a wait for every replica, for no longer than its time, and can be called off.
#[test]
fn a_host_that_shuts_down_waits_for_its_last_replica_and_not_for_ever() {
    let mut host = asking();
    let [quick, slow] = [(); 2].map(|()| host.online());
    let end = host.append(b"the last bytes");
    let all = host.report().replicas.len();
    let shutdown = Wait { timeout: Timeout::After(seconds(10)), ..wait(end, all) };

    let waiter = pending(&mut host, shutdown);
    host.catch_up(quick);
    assert_eq!(news(host.pass(seconds(10) - NANOSECOND)), []);
    assert_eq!(news(host.pass(NANOSECOND)), [ended(waiter, 1, WaitEnded::TimedOut)]);

    let waiter = pending(&mut host, shutdown);
    assert_eq!(host.primary.cancel_wait(waiter).unwrap().acked, 1);
    let waiter = pending(&mut host, shutdown);
    host.catch_up(slow);
    assert_eq!(news(host.events()), [ended(waiter, 2, WaitEnded::Satisfied)]);
}
