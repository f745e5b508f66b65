//! Text for people and monitors, in the formats of Redis and Valkey, from a [`Report`].
//!
//! Each function gives the lines that are replication's, each ended by CRLF; a host prints its own around them.

mod follower;

pub use follower::{Follower, Transfer, put_role_of_follower, replication_of_follower};

use core::fmt::{self, Display};

use crate::id::ReplicationId;
use crate::primary::{Counters, ReplicaReport, ReplicaState, Report};
use crate::sink::Sink;
use crate::wire;

/// Whose words are used. Field names are the same (R253).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Flavour {
    /// Redis 7.0.
    #[default]
    Redis,
    /// Valkey 8: each replica's line tells the type of its connection, and one line how many snapshots travel apart
    /// from their stream, which is none here (R305).
    Valkey,
}

/// The section `# Replication` of INFO, as a primary prints it: the same lines in the same order.
///
/// Redis counts bytes from 1, so `second_repl_offset` and `repl_backlog_first_byte_offset` are one above the
/// report's offsets.
pub fn replication(report: &Report, flavour: Flavour) -> impl Display + '_ {
    Replication { report, follower: None, flavour }
}

/// The fields of the section `# Stats` (R254).
///
/// `total_net_repl_output_bytes` has the bytes of the stream; those of images are the host's to add.
pub fn stats(report: &Report) -> impl Display + '_ {
    let Counters { sync_full, sync_partial_ok, sync_partial_err, dropped_by_limit, sent_bytes, .. } =
        report.counters;
    Lines([
        ("total_net_repl_output_bytes", sent_bytes),
        ("sync_full", sync_full),
        ("sync_partial_ok", sync_partial_ok),
        ("sync_partial_err", sync_partial_err),
        ("client_output_buffer_limit_disconnections", dropped_by_limit),
    ])
}

/// The fields of the section `# Memory` (R113 to R116, R255): what the stream takes, apart from the data.
///
/// It is counted once, however many replicas read it: up to the backlog's capacity as the backlog's, what is kept
/// beyond that for slow replicas as theirs. The figures are those of the memory held here, whose chunks have less
/// overhead than Redis's blocks.
pub fn memory(report: &Report) -> impl Display + '_ {
    let total = (report.backlog.map_or(0, |backlog| backlog.memory) + report.retired_memory) as u64;
    let capacity = report.backlog_capacity as u64;
    let surplus = total.saturating_sub(capacity);
    // Redis allows for its overhead: 64 bytes for each 16 KiB.
    let uncounted = total.saturating_sub(capacity.saturating_add((capacity / 16_384 + 1) * 64));
    Lines([
        ("mem_not_counted_for_evict", uncounted),
        ("mem_replication_backlog", total.min(capacity)),
        ("mem_total_replication_buffers", total),
        ("mem_clients_slaves", if report.replicas.is_empty() { 0 } else { surplus }),
    ])
}

/// The field of the section `# Clients` that tells who waits for replicas (R256). A host adds those whom it blocks
/// itself.
pub fn clients(report: &Report) -> impl Display + '_ {
    Lines([("blocked_clients", report.waiters as u64)])
}

/// The fields of a replica's line in CLIENT LIST that tell what waits to be sent to it: `oll=… omem=…`, between
/// `obl=` and `tot-mem=` (R257). Who has been sent everything has 0, where Redis counts the block it stands in.
pub fn client_output(replica: &ReplicaReport) -> impl Display + '_ {
    struct Output(u64);
    impl Display for Output {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "oll={} omem={}", u8::from(self.0 > 0), self.0)
        }
    }
    Output(replica.unsent)
}

/// Puts the reply to ROLE: this is a primary, how far its stream goes, and each replica online with the offset that it
/// acknowledged (R258).
pub fn put_role(out: &mut impl Sink, report: &Report) {
    let online = || report.replicas.iter().filter(|replica| replica.state == ReplicaState::Online);
    wire::put_array_header(out, 3);
    wire::put_bulk(out, &"master");
    wire::put_integer(out, report.end.get());
    wire::put_array_header(out, online().count());
    for ReplicaReport { peer, acked, .. } in online() {
        wire::put_array_header(out, 3);
        wire::put_bulk(out, &peer.address);
        wire::put_bulk(out, &peer.port);
        wire::put_bulk(out, &acked.unwrap_or_default());
    }
}

/// Names and figures, a line each.
struct Lines<const N: usize>([(&'static str, u64); N]);

impl<const N: usize> Display for Lines<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, figure)| write!(f, "{name}:{figure}\r\n"))
    }
}

struct Replication<'a> {
    report: &'a Report,
    follower: Option<Follower<'a>>,
    flavour: Flavour,
}

impl Display for Replication<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { report, follower, flavour } = self;
        match follower {
            None => f.write_str("# Replication\r\nrole:master\r\n")?,
            Some(follower) => {
                f.write_str("# Replication\r\nrole:slave\r\n")?;
                follower.fmt_lines(f, *flavour)?;
            }
        }
        write!(f, "connected_slaves:{}\r\n", report.replicas.len())?;
        if report.min_replicas.is_on() {
            write!(f, "min_slaves_good_slaves:{}\r\n", report.good)?;
        }
        // Without an address a replica has no line, and takes no number (R251).
        let addressed = report.replicas.iter().filter(|replica| !replica.peer.address.is_empty());
        let (kind, waiting) = match flavour {
            Flavour::Redis => ("", ""),
            Flavour::Valkey => (",type=replica", "replicas_waiting_psync:0\r\n"),
        };
        for (number, replica) in addressed.enumerate() {
            write!(f, "slave{number}:{}{kind}\r\n", Slave(replica))?;
        }
        write!(f, "{waiting}master_failover_state:{}\r\n", self.failover_state())?;
        self.fmt_history(f)?;
        self.fmt_backlog(f)
    }
}

impl Replication<'_> {
    /// R230.
    fn failover_state(&self) -> &'static str {
        match self.follower {
            None if self.report.is_handing_over => "waiting-for-sync",
            Some(Follower { is_handing_over: true, .. }) => "failover-in-progress",
            _ => "no-failover",
        }
    }

    fn fmt_history(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { id, previous, end, .. } = self.report;
        let previous_id = previous.map_or(ReplicationId::NONE, |(id, _)| id);
        write!(f, "master_replid:{id}\r\nmaster_replid2:{previous_id}\r\nmaster_repl_offset:{end}\r\n")?;
        match previous {
            // The highest *request* that is served under that id (R23).
            Some((_, shared_until)) => write!(f, "second_repl_offset:{}\r\n", shared_until.get() + 1),
            None => write!(f, "second_repl_offset:-1\r\n"),
        }
    }

    /// Both figures are 0 without a backlog (R16); its configured size stays (R252).
    fn fmt_backlog(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backlog = self.report.backlog;
        let active = u8::from(backlog.is_some());
        let (first, len) = backlog.map_or((0, 0), |backlog| (backlog.start.get() + 1, backlog.len));
        write!(f, "repl_backlog_active:{active}\r\nrepl_backlog_size:{}\r\n", self.report.backlog_capacity)?;
        write!(f, "repl_backlog_first_byte_offset:{first}\r\nrepl_backlog_histlen:{len}\r\n")
    }
}

struct Slave<'a>(&'a ReplicaReport);

impl Display for Slave<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ReplicaReport { peer, state, acked, last_heard, .. } = self.0;
        let acked = acked.unwrap_or_default();
        // Only of a replica online an ack is expected (R146).
        let lag = if *state == ReplicaState::Online { last_heard.as_secs() } else { 0 };
        write!(f, "ip={},port={},", OneField(&peer.address), peer.port)?;
        write!(f, "state={},offset={acked},lag={lag}", state_word(*state))
    }
}

/// A text of somebody else's without what could end the field or the line: nobody forges another's figures.
struct OneField<'a>(&'a str);

impl Display for OneField<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.split(|c: char| c == ',' || c.is_control()).try_for_each(|part| f.write_str(part))
    }
}

/// Redis's states by section 3.1 of its rules: one that receives up to a mark is still `wait_bgsave` (R91).
const fn state_word(state: ReplicaState) -> &'static str {
    match state {
        ReplicaState::WaitingForSnapshot
        | ReplicaState::PreparingSnapshot
        | ReplicaState::ReceivingEndMarked => "wait_bgsave",
        ReplicaState::ReceivingSized => "send_bulk",
        ReplicaState::Online => "online",
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec;
    use alloc::vec::Vec;
    use core::time::Duration;

    use super::*;
    use crate::good_replicas::MinReplicas;
    use crate::key::{ReplicaKey, Tag};
    use crate::offset::Offset;
    use crate::primary::{BacklogReport, Counters, Peer};

    const ID: ReplicationId = ReplicationId::from_random([0xa7; 20]);
    const OLD_ID: ReplicationId = ReplicationId::from_random([0xb8; 20]);

    fn at(bytes: u64) -> Offset {
        Offset::new(bytes).unwrap()
    }

    fn replica(address: &str, state: ReplicaState, acked: Option<u64>) -> ReplicaReport {
        let mut peer = Peer::new(Tag(1), address);
        peer.port = 6380;
        let last_heard = Duration::from_millis(2900);
        let replica = ReplicaKey::new(0, 1, Tag(1));
        ReplicaReport {
            replica,
            peer,
            state,
            acked: acked.map(at),
            fsynced: None,
            unsent: 5,
            lag: None,
            last_heard,
            last_ack: None,
            is_good: false,
            over_soft_limit: None,
            held_back: None,
        }
    }

    fn report(replicas: Vec<ReplicaReport>) -> Report {
        Report {
            id: ID,
            previous: None,
            end: at(1000),
            backlog: None,
            retired_memory: 0,
            backlog_capacity: 1 << 20,
            resume_pins: 0,
            pinned: 0,
            min_replicas: MinReplicas::default(),
            good: 0,
            is_handing_over: false,
            waiters: 0,
            local_fsynced: None,
            lag_error: Duration::ZERO,
            replicas,
            counters: Counters::default(),
        }
    }

    fn slave_lines(replicas: Vec<ReplicaReport>) -> Vec<String> {
        let text = replication(&report(replicas), Flavour::Redis).to_string();
        text.split("\r\n").filter(|line| line.starts_with("slave")).map(String::from).collect()
    }

    /// Section 11.1 of the rules, R23 and R250.
    #[test]
    fn prints_every_line_of_a_primary_in_order() {
        let mut report = report(vec![replica("192.0.2.7", ReplicaState::Online, Some(990))]);
        report.previous = Some((OLD_ID, at(50)));
        report.backlog = Some(BacklogReport { start: at(100), len: 900, memory: 4096 });
        let expected = [
            "# Replication",
            "role:master",
            "connected_slaves:1",
            "slave0:ip=192.0.2.7,port=6380,state=online,offset=990,lag=2",
            "master_failover_state:no-failover",
            "master_replid:a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7",
            "master_replid2:b8b8b8b8b8b8b8b8b8b8b8b8b8b8b8b8b8b8b8b8",
            "master_repl_offset:1000",
            "second_repl_offset:51",
            "repl_backlog_active:1",
            "repl_backlog_size:1048576",
            "repl_backlog_first_byte_offset:101",
            "repl_backlog_histlen:900",
            "",
        ];
        assert_eq!(replication(&report, Flavour::Redis).to_string(), expected.join("\r\n"));
    }

    /// Section 11.1: only with both limits set.
    #[test]
    fn tells_of_good_replicas_while_there_is_a_gate() {
        let mut report = report(vec![]);
        (report.min_replicas.to_write, report.good) = (2, 1);
        let text = replication(&report, Flavour::Redis).to_string();
        assert!(text.contains("connected_slaves:0\r\nmin_slaves_good_slaves:1\r\nmaster_"), "{text}");
        report.min_replicas.max_lag = Duration::ZERO;
        assert!(!replication(&report, Flavour::Redis).to_string().contains("good_slaves"));
    }

    /// R230, R233.
    #[test]
    fn tells_of_a_handover() {
        let mut report = report(vec![]);
        report.is_handing_over = true;
        let text = replication(&report, Flavour::Redis).to_string();
        assert!(text.contains("\r\nmaster_failover_state:waiting-for-sync\r\n"), "{text}");
    }

    #[test]
    fn valkey_tells_the_type_of_each_connection() {
        let report = report(vec![replica("::1", ReplicaState::Online, Some(7))]);
        let text = replication(&report, Flavour::Valkey).to_string();
        let expected = "slave0:ip=::1,port=6380,state=online,offset=7,lag=2,type=replica\r\n\
            replicas_waiting_psync:0\r\nmaster_failover_state:no-failover\r\n";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn counts_what_the_stream_did() {
        let mut report = report(vec![]);
        report.counters.sync_full = 12;
        (report.counters.sync_partial_ok, report.counters.sync_partial_err) = (3, 9);
        (report.counters.dropped_by_limit, report.counters.sent_bytes, report.waiters) = (2, 500, 4);
        let expected = "total_net_repl_output_bytes:500\r\nsync_full:12\r\nsync_partial_ok:3\r\n\
            sync_partial_err:9\r\nclient_output_buffer_limit_disconnections:2\r\n";
        assert_eq!(stats(&report).to_string(), expected);
        assert_eq!(clients(&report).to_string(), "blocked_clients:4\r\n");
    }

    /// R115, R116: one backlog for all, and what slow replicas hold beyond it.
    #[test]
    fn memory_beyond_the_capacity_is_that_of_slow_replicas() {
        let mut report = report(vec![replica("::1", ReplicaState::Online, None)]);
        report.backlog = Some(BacklogReport { start: at(0), len: 0, memory: 2 << 20 });
        report.retired_memory = 1000;
        let text = memory(&report).to_string();
        let expected = "mem_not_counted_for_evict:1045416\r\nmem_replication_backlog:1048576\r\n\
            mem_total_replication_buffers:2098152\r\nmem_clients_slaves:1049576\r\n";
        assert_eq!(text, expected);
        report.replicas.clear();
        assert!(memory(&report).to_string().ends_with("mem_clients_slaves:0\r\n"));
        (report.backlog, report.retired_memory) = (None, 0);
        assert!(memory(&report).to_string().contains("mem_total_replication_buffers:0\r\n"));
    }

    #[test]
    fn what_waits_for_a_replica_is_its_output_memory() {
        let mut replica = replica("::1", ReplicaState::Online, None);
        assert_eq!(client_output(&replica).to_string(), "oll=1 omem=5");
        replica.unsent = 0;
        assert_eq!(client_output(&replica).to_string(), "oll=0 omem=0");
    }

    /// R258.
    #[test]
    fn role_names_the_replicas_online() {
        let replicas = [ReplicaState::Online, ReplicaState::PreparingSnapshot, ReplicaState::Online];
        let replicas = replicas.map(|state| replica("::1", state, Some(990))).into();
        let mut out = Vec::new();
        put_role(&mut out, &report(replicas));
        let one = "*3\r\n$3\r\n::1\r\n$4\r\n6380\r\n$3\r\n990\r\n";
        let expected = String::from("*3\r\n$6\r\nmaster\r\n:1000\r\n*2\r\n") + one + one;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    /// R2, R16 and R252.
    #[test]
    fn tells_what_there_is_not_by_zeros_and_minus_one() {
        let text = replication(&report(vec![]), Flavour::Redis).to_string();
        for line in [
            "connected_slaves:0",
            "master_replid2:0000000000000000000000000000000000000000",
            "second_repl_offset:-1",
            "repl_backlog_active:0",
            "repl_backlog_size:1048576",
            "repl_backlog_first_byte_offset:0",
            "repl_backlog_histlen:0",
        ] {
            assert!(text.split("\r\n").any(|other| other == line), "{line} in {text}");
        }
        assert!(!text.contains("slave0"));
    }

    /// R15: an empty backlog begins behind the end.
    #[test]
    fn an_empty_backlog_begins_with_the_next_byte() {
        let mut report = report(vec![]);
        report.backlog = Some(BacklogReport { start: at(1000), len: 0, memory: 0 });
        let text = replication(&report, Flavour::Redis).to_string();
        assert!(text.contains("repl_backlog_active:1\r\n"));
        assert!(text.ends_with("first_byte_offset:1001\r\nrepl_backlog_histlen:0\r\n"), "{text}");
    }

    /// R146 and R250: no lag is told before a replica is online, and no offset before its first ack.
    #[test]
    fn a_replica_on_its_way_shows_how_far_it_has_come() {
        for (state, expected) in [
            (ReplicaState::WaitingForSnapshot, "state=wait_bgsave,offset=0,lag=0"),
            (ReplicaState::PreparingSnapshot, "state=wait_bgsave,offset=0,lag=0"),
            (ReplicaState::ReceivingEndMarked, "state=wait_bgsave,offset=0,lag=0"),
            (ReplicaState::ReceivingSized, "state=send_bulk,offset=0,lag=0"),
            (ReplicaState::Online, "state=online,offset=0,lag=2"),
        ] {
            let lines = slave_lines(vec![replica("::1", state, None)]);
            assert_eq!(lines, [String::from("slave0:ip=::1,port=6380,") + expected]);
        }
    }

    /// R69 and R251: it is counted, and the others' numbers stay dense.
    #[test]
    fn a_replica_without_an_address_has_no_line() {
        let [one, none, two] = ["a", "", "b"].map(|address| replica(address, ReplicaState::Online, None));
        let replicas = vec![one, none, two];
        assert!(
            replication(&report(replicas.clone()), Flavour::Redis)
                .to_string()
                .contains("connected_slaves:3\r\n")
        );
        let lines = slave_lines(replicas);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("slave0:ip=a,") && lines[1].starts_with("slave1:ip=b,"), "{lines:?}");
    }

    #[test]
    fn an_announced_address_can_not_forge_a_line_or_a_field() {
        let forged = replica("a,state=x\r\nrole:slave\r\n", ReplicaState::Online, None);
        let lines = slave_lines(vec![forged]);
        assert_eq!(lines, ["slave0:ip=astate=xrole:slave,port=6380,state=online,offset=0,lag=2"]);
    }
}
