use std::time::Duration;

use headwater::info::{self, Flavour};
use headwater::wire::WaitArgs;
use headwater::{Detach, Level, MinReplicas, OutputLimit, Tag, Timeout, Wanted};

use crate::host::{END_MARKED, Host, at, id, seconds};

fn replication(host: &Host) -> String {
    info::replication(&host.report(), Flavour::Redis).to_string()
}

fn has(text: &str, line: &str) -> bool {
    text.split("\r\n").any(|other| other == line)
}

/// R64 to R67 and R254: three first syncs, nine refused, three resumed.
#[test]
fn stats_tell_12_full_3_resumed_and_9_refused() {
    let mut host = Host::new(|_| ());
    for _ in 0..3 {
        host.attach(Wanted::Everything, |_| ());
    }
    for _ in 0..9 {
        host.attach(Wanted::After { id: id(99), offset: at(0) }, |_| ());
    }
    for _ in 0..3 {
        host.resume(at(0));
    }
    let text = info::stats(&host.report()).to_string();
    assert!(text.contains("sync_full:12\r\nsync_partial_ok:3\r\nsync_partial_err:9\r\n"), "{text}");
    host.primary.reset_counters();
    let text = info::stats(&host.report()).to_string();
    assert!(text.contains("sync_full:0\r\nsync_partial_ok:0\r\nsync_partial_err:0\r\n"), "{text}");
}

/// R126 and R254.
#[test]
fn stats_tell_what_was_sent_and_who_was_dropped_by_a_limit() {
    let mut host = Host::new(|config| {
        config.backlog_capacity = 1000;
        config.output_limit = OutputLimit { hard: Some(5000), soft: None };
    });
    let [quick, _slow] = [(); 2].map(|()| host.online());
    host.append(&[1; 4000]);
    host.flush(quick);
    host.append(&[1; 1000]);
    let text = info::stats(&host.report()).to_string();
    assert!(has(&text, "total_net_repl_output_bytes:4000"), "{text}");
    assert!(has(&text, "client_output_buffer_limit_disconnections:1"), "{text}");
}

/// redis#327, T13 and R16: the history grows past its size for a slow replica, and INFO tells so.
#[test]
fn a_stuck_replica_shows_in_the_length_of_the_history_and_as_its_memory() {
    let mut host = Host::new(|config| config.backlog_capacity = 16_384);
    host.newcomer();
    host.begin(END_MARKED);
    for _ in 0..100 {
        host.append(&[1; 10_000]);
    }
    let text = replication(&host);
    assert!(has(&text, "repl_backlog_histlen:1000000"), "{text}");
    assert!(
        has(&text, "repl_backlog_size:16384") && has(&text, "repl_backlog_first_byte_offset:1"),
        "{text}"
    );
    let memory = info::memory(&host.report()).to_string();
    assert!(has(&memory, "mem_replication_backlog:16384"), "{memory}");
    let total = host.report().backlog.unwrap().memory;
    assert!(has(&memory, &format!("mem_total_replication_buffers:{total}")), "{memory}");
    assert!(has(&memory, &format!("mem_clients_slaves:{}", total - 16_384)), "{memory}");
}

/// Section 3.1 and T46: each step of a sync has the word that Redis has for it.
#[test]
fn a_replica_shows_how_far_its_sync_has_come() {
    let mut host = Host::new(|config| config.snapshot_delay = seconds(3600));
    let replica = host.newcomer();
    let state = |host: &Host, word: &str| replication(host).contains(&format!("state={word},offset=0,lag=0"));
    assert!(state(&host, "wait_bgsave"));
    let cut = host.begin(crate::host::SIZED);
    assert!(state(&host, "wait_bgsave"));
    host.ready(&cut);
    assert!(state(&host, "send_bulk"));
    host.sent(replica);
    assert!(state(&host, "online"));
    host.primary.detach(replica, Detach::Clean, host.now).unwrap();
    assert!(has(&replication(&host), "connected_slaves:0"));
}

#[test]
fn the_gate_shows_its_count_of_this_very_moment() {
    let mut host = Host::new(|_| ());
    host.online();
    assert!(!replication(&host).contains("min_slaves_good_slaves"));
    host.reconfigure(|config| config.min_replicas = MinReplicas { to_write: 2, max_lag: seconds(10) });
    assert!(has(&replication(&host), "min_slaves_good_slaves:1"));
    host.now = host.now.checked_add(seconds(10)).unwrap();
    assert!(has(&replication(&host), "min_slaves_good_slaves:1"));
    host.now = host.now.checked_add(Duration::from_nanos(1)).unwrap();
    assert!(has(&replication(&host), "min_slaves_good_slaves:0"), "though no timeout was handled");
}

/// R256.
#[test]
fn those_who_wait_are_blocked_clients() {
    let mut host = Host::new(|_| ());
    host.online();
    let target = host.append(b"bytes");
    let args = WaitArgs { replicas: 1, level: Level::Applied, local: false, timeout: Timeout::Never };
    for tag in 0..3 {
        let _ = host.primary.wait(args.for_target(target, Tag(tag)), host.now).unwrap();
    }
    assert_eq!(info::clients(&host.report()).to_string(), "blocked_clients:3\r\n");
    host.primary.end_waits(host.now);
    assert_eq!(info::clients(&host.report()).to_string(), "blocked_clients:0\r\n");
}

/// R257: the bytes that count against the limit, and none for one that was sent everything.
#[test]
fn what_waits_for_a_replica_is_its_omem() {
    let mut host = Host::new(|_| ());
    let replica = host.online();
    host.append(&[1; 300]);
    assert_eq!(info::client_output(&host.report_of(replica)).to_string(), "oll=1 omem=300");
    host.flush(replica);
    assert_eq!(info::client_output(&host.report_of(replica)).to_string(), "oll=0 omem=0");
}

/// T50 and R258.
#[test]
fn role_tells_the_replicas_online_with_their_offsets() {
    let mut host = Host::new(|_| ());
    let replica = host.online();
    host.newcomer();
    host.append(b"12345");
    host.flush(replica);
    host.ack(replica, at(3));
    let mut out = Vec::new();
    info::put_role(&mut out, &host.report());
    let expected = "*3\r\n$6\r\nmaster\r\n:5\r\n*1\r\n*3\r\n$8\r\n10.0.0.9\r\n$1\r\n0\r\n$1\r\n3\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}
