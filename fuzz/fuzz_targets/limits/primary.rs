//! What a primary tells of itself.

use std::time::Duration;

use arbitrary::Arbitrary;
use headwater::info::{self, Flavour};
use headwater::{
    Config, Offset, Peer, Primary, ReplicaReport, ReplicaState, ReplicationId, Report, Tag, Timestamp, Wanted,
};

use crate::read::{Lines, Reply, fields, number};

#[derive(Arbitrary, Debug)]
pub(crate) struct Figures {
    id: [u8; 20],
    previous: Option<([u8; 20], u64)>,
    end: u64,
    backlog: Option<(u64, u64, u32)>,
    retired_memory: u32,
    backlog_capacity: u32,
    to_write: u8,
    max_lag: Duration,
    good: u16,
    is_handing_over: bool,
    waiters: u32,
    counts: [u64; 5],
    replicas: Vec<Replica>,
}

#[derive(Arbitrary, Debug)]
struct Replica {
    address: String,
    port: i64,
    state: State,
    acked: Option<u64>,
    unsent: u64,
    last_heard: Duration,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum State {
    Waiting,
    Preparing,
    ReceivingSized,
    ReceivingEndMarked,
    Online,
}

impl Figures {
    pub(crate) fn report(&self) -> Report {
        let mut report = template();
        report.id = ReplicationId::from_random(self.id);
        report.previous = self.previous.map(|(id, end)| (ReplicationId::from_random(id), at(end)));
        report.end = at(self.end);
        let backlog = report.backlog.take();
        report.backlog = self.backlog.zip(backlog).map(|((start, len, memory), mut backlog)| {
            (backlog.start, backlog.len, backlog.memory) = (at(start), len, memory as usize);
            backlog
        });
        report.retired_memory = self.retired_memory as usize;
        report.backlog_capacity = self.backlog_capacity as usize;
        report.min_replicas.to_write = usize::from(self.to_write);
        report.min_replicas.max_lag = self.max_lag;
        report.good = usize::from(self.good);
        report.is_handing_over = self.is_handing_over;
        report.waiters = self.waiters as usize;
        let counters = &mut report.counters;
        [counters.sync_full, counters.sync_partial_ok, counters.sync_partial_err, ..] = self.counts;
        [.., counters.dropped_by_limit, counters.sent_bytes] = self.counts;
        let replica = report.replicas.remove(0);
        report.replicas = self.replicas.iter().map(|figures| figures.report(replica.clone())).collect();
        report
    }
}

impl Replica {
    fn report(&self, mut report: ReplicaReport) -> ReplicaReport {
        report.peer.address.clone_from(&self.address);
        report.peer.port = self.port;
        report.state = match self.state {
            State::Waiting => ReplicaState::WaitingForSnapshot,
            State::Preparing => ReplicaState::PreparingSnapshot,
            State::ReceivingSized => ReplicaState::ReceivingSized,
            State::ReceivingEndMarked => ReplicaState::ReceivingEndMarked,
            State::Online => ReplicaState::Online,
        };
        report.acked = self.acked.map(at);
        report.unsent = self.unsent;
        report.last_heard = self.last_heard;
        report
    }
}

/// Reports can't be made of nothing.
fn template() -> Report {
    let (now, ids) = (Timestamp::default(), [1, 2].map(|byte| ReplicationId::from_random([byte; 20])));
    let mut primary = Primary::new(Config::default(), ids[0], now).expect("the default configuration works");
    primary.supply_id(ids[1]).expect("it is a new one");
    primary.attach(Wanted::Everything, Peer::new(Tag(1), ""), now).expect("there is room for one");
    primary.report(now)
}

pub(crate) fn at(bytes: u64) -> Offset {
    Offset::new(bytes >> 1).expect("an offset has 63 bits")
}

pub(crate) fn check(figures: &Figures, is_valkey: bool) {
    let report = figures.report();
    let text = info::replication(&report, flavour(is_valkey)).to_string();
    let mut lines = Lines::of(&text);
    assert_eq!(lines.word("role"), "master");
    let failover = if report.is_handing_over { "waiting-for-sync" } else { "no-failover" };
    check_stream(&mut lines, &report, failover, is_valkey);
    lines.assert_over();
    check_others(&report, figures);
    check_role(&report);
    for replica in &report.replicas {
        let text = info::client_output(replica).to_string();
        let [("oll", blocks), ("omem", bytes)] = fields(&text, ' ')[..] else { panic!("{text}") };
        assert_eq!((number(blocks) != 0, number(bytes)), (replica.unsent != 0, replica.unsent.into()));
    }
}

pub(crate) fn flavour(is_valkey: bool) -> Flavour {
    if is_valkey { Flavour::Valkey } else { Flavour::Redis }
}

/// The lines that those who follow have too.
pub(crate) fn check_stream(lines: &mut Lines<'_>, report: &Report, failover: &str, is_valkey: bool) {
    assert_eq!(lines.word("master_failover_state"), failover);
    assert_eq!(lines.number("connected_slaves"), report.replicas.len() as i128);
    if report.min_replicas.to_write > 0 && !report.min_replicas.max_lag.is_zero() {
        assert_eq!(lines.number("min_slaves_good_slaves"), report.good as i128);
    }
    let addressed = report.replicas.iter().filter(|replica| !replica.peer.address.is_empty());
    for (index, replica) in addressed.enumerate() {
        check_replica(lines.word(&format!("slave{index}")), replica, is_valkey);
    }
    if is_valkey {
        assert_eq!(lines.number("replicas_waiting_psync"), 0);
    }
    assert_eq!(lines.word("master_replid"), report.id.to_string());
    let (id, next) = report.previous.map_or((ReplicationId::NONE, -1), |(id, end)| (id, from_1(end)));
    assert_eq!(lines.word("master_replid2"), id.to_string());
    assert_eq!(lines.number("master_repl_offset"), report.end.get().into());
    assert_eq!(lines.number("second_repl_offset"), next);
    let (start, len) = report.backlog.map_or((0, 0), |backlog| (from_1(backlog.start), backlog.len));
    assert_eq!(lines.number("repl_backlog_active"), report.backlog.is_some().into());
    assert_eq!(lines.number("repl_backlog_size"), report.backlog_capacity as i128);
    assert_eq!(lines.number("repl_backlog_first_byte_offset"), start);
    assert_eq!(lines.number("repl_backlog_histlen"), len.into());
}

/// As Redis counts (R23).
fn from_1(offset: Offset) -> i128 {
    i128::from(offset.get()) + 1
}

/// Whatever its address is, it has one line with its own figures.
fn check_replica(line: &str, replica: &ReplicaReport, is_valkey: bool) {
    let mut fields = fields(line, ',');
    if is_valkey {
        assert_eq!(fields.pop(), Some(("type", "replica")));
    }
    let [("ip", ip), ("port", port), ("state", state), ("offset", offset), ("lag", lag)] = fields[..] else {
        panic!("{line}");
    };
    assert!(ip.chars().eq(replica.peer.address.chars().filter(|c| !unfit(*c))));
    assert_eq!(number(port), replica.peer.port.into());
    let is_online = replica.state == ReplicaState::Online;
    assert_eq!(state == "online", is_online);
    assert!(["online", "send_bulk", "wait_bgsave"].contains(&state));
    assert_eq!(number(offset), replica.acked.map_or(0, |acked| acked.get().into()));
    assert_eq!(number(lag), if is_online { replica.last_heard.as_secs().into() } else { 0 });
}

/// What a field can't have.
pub(crate) fn unfit(c: char) -> bool {
    c == ',' || c.is_control()
}

fn check_others(report: &Report, figures: &Figures) {
    let text = [info::stats(report).to_string(), info::memory(report).to_string()].concat();
    let text = text + &info::clients(report).to_string();
    let mut lines = Lines::of(&text);
    let names = [
        "sync_full",
        "sync_partial_ok",
        "sync_partial_err",
        "client_output_buffer_limit_disconnections",
        "total_net_repl_output_bytes",
    ];
    assert_eq!(names.map(|name| lines.number(name)), figures.counts.map(i128::from));
    assert_eq!(lines.number("blocked_clients"), figures.waiters.into());
    let memory = figures.backlog.map_or(0, |(_, _, memory)| memory);
    let total = i128::from(memory) + i128::from(figures.retired_memory);
    let capacity = i128::from(figures.backlog_capacity);
    assert_eq!(lines.number("mem_total_replication_buffers"), total);
    assert_eq!(lines.number("mem_replication_backlog"), total.min(capacity));
    let of_replicas = if figures.replicas.is_empty() { 0 } else { (total - capacity).max(0) };
    assert_eq!(lines.number("mem_clients_slaves"), of_replicas);
    let uncounted = lines.number("mem_not_counted_for_evict");
    assert!((0..=(total - capacity).max(0)).contains(&uncounted));
    lines.assert_over();
}

/// R258.
fn check_role(report: &Report) {
    let mut out = Vec::new();
    info::put_role(&mut out, report);
    let online = report.replicas.iter().filter(|replica| replica.state == ReplicaState::Online);
    let replicas = online.map(|replica| {
        let acked = replica.acked.map_or(0, Offset::get);
        Reply::Array(vec![
            Reply::bulk(&replica.peer.address),
            Reply::bulk(replica.peer.port),
            Reply::bulk(acked),
        ])
    });
    let end = Reply::Number(report.end.get().into());
    let expected = Reply::Array(vec![Reply::bulk("master"), end, Reply::Array(replicas.collect())]);
    assert_eq!(Reply::read(&out), expected);
}
