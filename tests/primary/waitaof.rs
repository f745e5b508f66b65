use std::time::Duration;

use headwater::wire::{self, CommandError};
use headwater::{
    Ack, Detach, Event, FsyncWentBack, Level, LocalFsyncError, Offset, ReplicaKey, Timeout, Wait, WaitEnd,
    WaitEnded, WaitError, WaiterKey, Wanted,
};

use crate::host::{Host, SIZED, at, seconds};
use crate::waits::{asking, ended, news, over, pending, wait};

fn waitaof(target: Offset, local: bool, replicas: usize) -> Wait {
    Wait { level: Level::Fsynced, local, ..wait(target, replicas) }
}

fn fsync(host: &mut Host, replica: ReplicaKey, applied: Offset, fsynced: Offset) {
    let ack = Ack { applied, fsynced: Some(fsynced) };
    host.primary.handle_ack(replica, ack, host.now).unwrap();
    host.primary.check_invariants();
}

fn on_disk(host: &mut Host, upto: Offset) {
    host.primary.handle_local_fsync(Some(upto), host.now).unwrap();
    host.primary.check_invariants();
}

fn satisfied(waiter: WaiterKey, acked: usize) -> Event {
    Event::WaitEnded { waiter, end: WaitEnd { acked, local: true, how: WaitEnded::Satisfied } }
}

/// R177, T29 and T37: whichever of the two comes last ends it.
#[test]
fn a_wait_for_both_needs_the_own_disk_and_the_replicas() {
    for disk_first in [true, false] {
        let mut host = asking();
        let replica = host.online();
        on_disk(&mut host, at(0));
        let target = host.append(b"bytes");
        let waiter = pending(&mut host, waitaof(target, true, 1));
        host.flush(replica);
        let mut steps: [&dyn Fn(&mut Host); 2] =
            [&|host| on_disk(host, at(5)), &|host| fsync(host, replica, at(5), at(5))];
        if !disk_first {
            steps.reverse();
        }
        steps[0](&mut host);
        assert_eq!(news(host.events()), []);
        steps[1](&mut host);
        assert_eq!(news(host.events()), [satisfied(waiter, 1)]);
    }
}

/// R178, T33 and T34: a replica that tells nothing of its disk holds nothing on it, whatever it has applied.
#[test]
fn fsynced_is_never_taken_from_applied() {
    let mut host = asking();
    let replica = host.online();
    let target = host.append(b"bytes");
    let timed = Wait { timeout: Timeout::After(seconds(1)), ..waitaof(target, false, 1) };
    let waiter = pending(&mut host, timed);
    host.catch_up(replica);
    assert_eq!(news(host.events()), []);
    fsync(&mut host, replica, target, at(4));
    assert_eq!(news(host.pass(seconds(1))), [ended(waiter, 0, WaitEnded::TimedOut)]);
    assert_eq!(host.report_of(replica).fsynced, Some(at(4)));

    let [first, second] = [(); 2].map(|()| pending(&mut host, waitaof(target, false, 1)));
    fsync(&mut host, replica, target, target);
    let ends = [first, second].map(|waiter| ended(waiter, 1, WaitEnded::Satisfied));
    assert_eq!(news(host.events()), ends, "they share one ack");
}

/// redis#13793, R178 and T29: what no write ever put into a file is not on the disk before the host says so.
#[test]
fn the_own_disk_holds_what_the_host_told_and_no_more() {
    let mut host = asking();
    host.online();
    on_disk(&mut host, at(0));
    let target = host.append(b"bytes");
    on_disk(&mut host, at(4));
    let span = Duration::from_millis(100);
    let waiter = pending(&mut host, Wait { timeout: Timeout::After(span), ..waitaof(target, true, 0) });
    assert_eq!(news(host.pass(span)), [ended(waiter, 0, WaitEnded::TimedOut)], "{{0 0}}");
    on_disk(&mut host, target);
    let end = over(&mut host, waitaof(target, true, 0));
    assert_eq!(end, WaitEnd { acked: 0, local: true, how: WaitEnded::Satisfied }, "{{1 0}}");
    assert_eq!(host.report().local_fsynced, Some(target));
}

/// redis#11917, redis#11922, T40, B28 and R176: neither ends by the other's count.
#[test]
fn a_wait_and_a_waitaof_are_told_apart() {
    let mut host = asking();
    let [first, second] = [(); 2].map(|()| host.online());
    let older = host.append(b"older");
    let newer = host.append(b"newer");
    let aof = pending(&mut host, waitaof(older, false, 1));
    let same = pending(&mut host, wait(older, 1));
    let applied = pending(&mut host, wait(newer, 2));
    host.catch_up(first);
    assert_eq!(news(host.events()), [ended(same, 1, WaitEnded::Satisfied)]);
    host.catch_up(second);
    assert_eq!(news(host.events()), [ended(applied, 2, WaitEnded::Satisfied)]);
    fsync(&mut host, second, newer, older);
    assert_eq!(news(host.events()), [ended(aof, 1, WaitEnded::Satisfied)]);
}

/// T30, R165 and R177.
#[test]
fn who_waits_for_a_disk_that_syncs_no_more_is_told_so() {
    let mut host = asking();
    host.online();
    let target = host.append(b"bytes");
    let refused = host.primary.wait(waitaof(target, true, 1), host.now);
    assert_eq!(refused, Err(WaitError::NoLocalFsync), "it never did");

    on_disk(&mut host, at(0));
    let local = pending(&mut host, waitaof(target, true, 1));
    let other = pending(&mut host, waitaof(target, false, 1));
    host.primary.handle_local_fsync(None, host.now).unwrap();
    assert_eq!(news(host.events()), [ended(local, 0, WaitEnded::NoLocalFsync)]);
    assert_eq!(host.primary.wait(waitaof(target, true, 1), host.now), Err(WaitError::NoLocalFsync));
    let text = "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";
    assert_eq!(CommandError::from(WaitError::NoLocalFsync).to_string(), text);
    assert!(host.primary.cancel_wait(other).is_ok(), "it asked for no own disk");
}

/// B29, T31: from when the host syncs at all, a wait that begins before the disk has the target ends with it.
#[test]
fn a_wait_that_begins_while_the_file_is_made_ends_once_it_is_there() {
    let mut host = asking();
    host.online();
    let target = host.append(b"bytes");
    on_disk(&mut host, at(0));
    let waiter = pending(&mut host, waitaof(target, true, 0));
    assert_eq!(news(host.pass(seconds(30))), []);
    on_disk(&mut host, target);
    assert_eq!(news(host.events()), [satisfied(waiter, 0)]);
}

/// T32: WAITAOF's end is that of WAIT.
#[test]
fn a_waitaof_ends_with_the_role_too() {
    let mut host = asking();
    host.online();
    let target = host.append(b"bytes");
    let waiter = pending(&mut host, waitaof(target, false, 1));
    host.primary.end_waits(host.now);
    assert_eq!(news(host.events()), [ended(waiter, 0, WaitEnded::NoLongerPrimary)]);
    let mut out = Vec::new();
    wire::put_waitaof_end(&mut out, &WaitEnd { acked: 0, local: false, how: WaitEnded::NoLongerPrimary });
    assert!(out.starts_with(b"-UNBLOCKED "));
}

/// T35: neither replicas nor a backlog are needed for the own disk.
#[test]
fn the_own_disk_is_waited_for_without_replicas_and_backlog() {
    let mut host = Host::new(|config| config.backlog_ttl = Some(seconds(10)));
    let replica = host.online();
    let target = host.append(b"bytes");
    host.primary.detach(replica, Detach::Clean, host.now).unwrap();
    host.pass(seconds(11));
    assert_eq!(host.report().backlog, None);
    on_disk(&mut host, target);
    assert_eq!(over(&mut host, waitaof(target, true, 0)).how, WaitEnded::Satisfied);
}

/// redis#11713, T36: who waits before there is any replica is released by the first that has its image on its disk.
#[test]
fn a_wait_without_replicas_ends_with_the_first_that_comes() {
    let mut host = asking();
    let waiter = pending(&mut host, waitaof(at(0), false, 1));
    assert_eq!(news(host.events()), []);
    let replica = host.newcomer();
    let cut = host.begin(SIZED);
    host.ready(&cut);
    host.sent(replica);
    host.events();
    fsync(&mut host, replica, cut.offset, cut.offset);
    assert_eq!(news(host.events()), [ended(waiter, 1, WaitEnded::Satisfied)]);
}

/// T37: a file that one side does not have is not waited for unless it is asked for.
#[test]
fn each_side_may_be_without_a_file() {
    let mut host = asking();
    let replica = host.online();
    let target = host.append(b"bytes");
    host.catch_up(replica);
    on_disk(&mut host, target);
    let end = over(&mut host, waitaof(target, true, 0));
    assert_eq!((end.local, end.acked), (true, 0), "the replica has none");
    host.primary.handle_local_fsync(None, host.now).unwrap();
    fsync(&mut host, replica, target, target);
    let end = over(&mut host, waitaof(target, false, 1));
    assert_eq!((end.local, end.acked), (false, 1), "this node has none");
    on_disk(&mut host, target);
    let end = over(&mut host, waitaof(target, true, 1));
    assert_eq!((end.local, end.acked), (true, 1), "both have one");
}

/// T39 and R179: what a connection told before it was another's is not this one's.
#[test]
fn a_new_connection_has_told_nothing_of_its_disk() {
    let mut host = asking();
    let replica = host.online();
    let target = host.append(b"bytes");
    host.flush(replica);
    fsync(&mut host, replica, target, target);
    host.primary.detach(replica, Detach::Lost, host.now).unwrap();
    let (back, _) = host.resume(target);
    assert_eq!(host.report_of(back).fsynced, None);
    let waiter = pending(&mut host, waitaof(target, false, 1));
    host.ack(back, target);
    assert_eq!(news(host.events()), []);
    fsync(&mut host, back, target, target);
    assert_eq!(news(host.events()), [ended(waiter, 1, WaitEnded::Satisfied)]);
}

/// redis#12622, B29, T38: heartbeats and requests for acks are in no file, and nobody waits for them.
#[test]
fn what_no_client_wrote_is_not_waited_for() {
    let mut host = asking();
    let replica = host.online();
    on_disk(&mut host, at(0));
    let target = host.append(b"bytes");
    host.append(b"PING");
    let waiter = pending(&mut host, waitaof(target, true, 1));
    host.flush(replica);
    on_disk(&mut host, target);
    let end = host.primary.end();
    fsync(&mut host, replica, end, target);
    assert_eq!(news(host.events()), [satisfied(waiter, 1)]);
    assert_eq!(over(&mut host, waitaof(at(0), true, 1)).acked, 1, "one that never wrote");
}

/// What was fsynced can't be lost, and no disk holds what is not there: an error, and nothing changes.
#[test]
fn a_disk_that_goes_back_or_ahead_is_not_believed() {
    let mut host = asking();
    host.attach(Wanted::Everything, |_| ());
    host.append(b"bytes");
    on_disk(&mut host, at(3));
    let back = FsyncWentBack { told: at(2), before: at(3) };
    let told = |host: &mut Host, upto| host.primary.handle_local_fsync(Some(at(upto)), host.now);
    assert_eq!(told(&mut host, 2), Err(LocalFsyncError::WentBack(back)));
    assert_eq!(told(&mut host, 6), Err(LocalFsyncError::BeyondEnd { fsynced: at(6), end: at(5) }));
    assert_eq!(host.report().local_fsynced, Some(at(3)));
    assert_eq!(told(&mut host, 3), Ok(()));
}
