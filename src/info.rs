//! Text for people and monitors, in Redis's format, from a [`Report`].

use core::fmt::{self, Display};

use crate::id::ReplicationId;
use crate::primary::{ReplicaReport, ReplicaState, Report};

/// The section `# Replication` of INFO, as a Redis 7.0 primary prints it: the same lines in the same order, each
/// ended by CRLF.
///
/// The wire counts bytes from 1, so the two offsets that name a *next* byte are one above the report's.
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
