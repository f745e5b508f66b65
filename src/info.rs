//! Text for people and monitors, in Redis's format, from a [`Report`].

use core::fmt::{self, Display};

use crate::id::ReplicationId;
use crate::primary::{ReplicaReport, ReplicaState, Report};

/// The section `# Replication` of INFO, as a Redis 7.0 primary prints it: the same lines in the same order,
/// each ended by CRLF.
///
/// Redis counts bytes from 1, so `second_repl_offset` and `repl_backlog_first_byte_offset` are one above the
/// report's offsets.
pub fn replication(report: &Report) -> impl Display + '_ {
    Replication(report)
}

struct Replication<'a>(&'a Report);

impl Display for Replication<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.0;
        write!(f, "# Replication\r\nrole:master\r\nconnected_slaves:{}\r\n", report.replicas.len())?;
        // Without an address a replica has no line, and takes no number (R251).
        let addressed = report.replicas.iter().filter(|replica| !replica.peer.address.is_empty());
        for (number, replica) in addressed.enumerate() {
            write!(f, "slave{number}:{}\r\n", Slave(replica))?;
        }
        write!(f, "master_failover_state:no-failover\r\n")?;
        self.fmt_history(f)?;
        self.fmt_backlog(f)
    }
}

impl Replication<'_> {
    fn fmt_history(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { id, previous, end, .. } = self.0;
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
        let backlog = self.0.backlog;
        let active = u8::from(backlog.is_some());
        let (first, len) = backlog.map_or((0, 0), |backlog| (backlog.start.get() + 1, backlog.len));
        write!(f, "repl_backlog_active:{active}\r\nrepl_backlog_size:{}\r\n", self.0.backlog_capacity)?;
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

/// A peer's own text without what could end the field or the line: nobody forges another's figures.
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
            waiters: 0,
            local_fsynced: None,
            lag_error: Duration::ZERO,
            replicas,
            counters: Counters::default(),
        }
    }

    fn slave_lines(replicas: Vec<ReplicaReport>) -> Vec<String> {
        let text = replication(&report(replicas)).to_string();
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
        assert_eq!(replication(&report).to_string(), expected.join("\r\n"));
    }

    /// R2, R16 and R252.
    #[test]
    fn tells_what_there_is_not_by_zeros_and_minus_one() {
        let text = replication(&report(vec![])).to_string();
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
        let text = replication(&report).to_string();
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
        assert!(replication(&report(replicas.clone())).to_string().contains("connected_slaves:3\r\n"));
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
