use core::fmt::{self, Display};
use core::time::Duration;

use crate::primary::Report;
use crate::replica::{LinkState, UpstreamReport};
use crate::sink::Sink;
use crate::wire;

use super::{Flavour, OneField, Replication};

/// What INFO and ROLE tell of a node that follows another.
#[derive(Clone, Copy, Debug)]
pub struct Follower<'a> {
    /// Where its primary is.
    pub host: &'a str,
    /// The port there.
    pub port: u16,
    /// The link.
    pub upstream: &'a UpstreamReport,
    /// The snapshot that is under way.
    pub transfer: Option<Transfer>,
    /// Whether clients are refused writes.
    pub is_read_only: bool,
    /// Whether that primary is a replica of before, which this node has asked to take over.
    pub is_handing_over: bool,
}

/// How much of a snapshot has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Transfer {
    /// Its length, if it was told beforehand.
    pub total: Option<u64>,
    /// Bytes that have come.
    pub read: u64,
    /// Since the last of them.
    pub last_heard: Duration,
}

/// The section `# Replication` of INFO, as a replica prints it.
pub fn replication_of_follower<'a>(
    report: &'a Report,
    follower: Follower<'a>,
    flavour: Flavour,
) -> impl Display + 'a {
    Replication { report, follower: Some(follower), flavour }
}

/// Puts the reply to ROLE: this is a replica, of whom, how far the link has come, and the offset that is applied, or -1
/// while there is no link in step (R258).
pub fn put_role_of_follower(out: &mut impl Sink, follower: &Follower<'_>) {
    let Follower { host, port, upstream, .. } = follower;
    wire::put_array_header(out, 5);
    wire::put_bulk(out, &"slave");
    wire::put_bulk(out, host);
    wire::put_integer(out, u64::from(*port));
    wire::put_bulk(out, &state_word(upstream.state));
    match upstream.held.filter(|_| upstream.state == LinkState::InStep) {
        Some(held) => wire::put_integer(out, held.offset.get()),
        None => out.put(b":-1\r\n"),
    }
}

impl Follower<'_> {
    /// The lines from `master_host` to `replica_announced`, in order (11.1).
    pub(super) fn fmt_lines(&self, f: &mut fmt::Formatter<'_>, flavour: Flavour) -> fmt::Result {
        let Self { host, port, upstream, transfer, .. } = self;
        let is_up = upstream.state == LinkState::InStep;
        // Redis prints 1 where nothing is held.
        let applied = upstream.held.map_or(1, |held| held.offset.get());
        let received = upstream.received.map_or(applied, |received| received.get());
        let heard = upstream.last_heard.filter(|_| is_up);
        write!(f, "master_host:{}\r\nmaster_port:{port}\r\n", OneField(host))?;
        write!(f, "master_link_status:{}\r\n", if is_up { "up" } else { "down" })?;
        write!(f, "master_last_io_seconds_ago:{}\r\n", Seconds(heard))?;
        write!(f, "master_sync_in_progress:{}\r\n", u8::from(upstream.state == LinkState::Syncing))?;
        write!(f, "slave_read_repl_offset:{received}\r\nslave_repl_offset:{applied}\r\n")?;
        if flavour == Flavour::Valkey {
            // Of a second connection for the snapshot, which is not used here (R305).
            f.write_str("replicas_repl_buffer_size:0\r\nreplicas_repl_buffer_peak:0\r\n")?;
        }
        if let Some(transfer) = transfer {
            write!(f, "{transfer}")?;
        }
        if !is_up {
            write!(f, "master_link_down_since_seconds:{}\r\n", Seconds(upstream.down_for))?;
        }
        let read_only = u8::from(self.is_read_only);
        write!(f, "slave_priority:100\r\nslave_read_only:{read_only}\r\nreplica_announced:1\r\n")
    }
}

impl Display for Transfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { total, read, last_heard } = *self;
        let expected = total.unwrap_or(0);
        let left = i128::from(expected) - i128::from(read);
        let percent = if expected > 0 { read as f64 / expected as f64 * 100.0 } else { 0.0 };
        write!(f, "master_sync_total_bytes:{expected}\r\nmaster_sync_read_bytes:{read}\r\n")?;
        write!(f, "master_sync_left_bytes:{left}\r\nmaster_sync_perc:{percent:.2}\r\n")?;
        write!(f, "master_sync_last_io_seconds_ago:{}\r\n", last_heard.as_secs())
    }
}

/// Whole seconds, or -1 for none.
struct Seconds(Option<Duration>);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(span) => write!(f, "{}", span.as_secs()),
            None => f.write_str("-1"),
        }
    }
}

/// R194.
const fn state_word(state: LinkState) -> &'static str {
    match state {
        LinkState::Waiting => "connect",
        LinkState::Connecting => "connecting",
        LinkState::Handshake => "handshake",
        LinkState::Syncing => "sync",
        LinkState::InStep => "connected",
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use super::*;
    use crate::history::ResumePoint;
    use crate::id::ReplicationId;
    use crate::offset::Offset;

    fn at(bytes: u64) -> Offset {
        Offset::new(bytes).unwrap()
    }

    fn upstream(state: LinkState) -> UpstreamReport {
        let held = ResumePoint { id: ReplicationId::from_random([1; 20]), offset: at(1000) };
        UpstreamReport {
            state,
            held: Some(held),
            received: (state == LinkState::InStep).then(|| at(1010)),
            fsynced: None,
            last_heard: Some(Duration::from_millis(2900)),
            staleness: None,
            down_for: Some(Duration::from_secs(7)),
            attempts: 0,
        }
    }

    fn lines(follower: Follower<'_>, flavour: Flavour) -> String {
        struct Lines<'a>(Follower<'a>, Flavour);
        impl Display for Lines<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt_lines(f, self.1)
            }
        }
        Lines(follower, flavour).to_string()
    }

    fn follower(upstream: &UpstreamReport) -> Follower<'_> {
        Follower {
            host: "192.0.2.7",
            port: 6379,
            upstream,
            transfer: None,
            is_read_only: true,
            is_handing_over: false,
        }
    }

    /// Section 11.1 of the rules.
    #[test]
    fn prints_every_line_of_a_follower_in_order() {
        let upstream = upstream(LinkState::InStep);
        let expected = [
            "master_host:192.0.2.7",
            "master_port:6379",
            "master_link_status:up",
            "master_last_io_seconds_ago:2",
            "master_sync_in_progress:0",
            "slave_read_repl_offset:1010",
            "slave_repl_offset:1000",
            "slave_priority:100",
            "slave_read_only:1",
            "replica_announced:1",
            "",
        ];
        assert_eq!(lines(follower(&upstream), Flavour::Redis), expected.join("\r\n"));
        let text = lines(follower(&upstream), Flavour::Valkey);
        let more =
            "slave_repl_offset:1000\r\nreplicas_repl_buffer_size:0\r\nreplicas_repl_buffer_peak:0\r\nslave_p";
        assert!(text.contains(more), "{text}");
    }

    /// A client names the primary, by any text.
    #[test]
    fn the_name_of_the_primary_is_one_line() {
        let upstream = upstream(LinkState::InStep);
        let told = Follower { host: "h\r\nmaster_link_status:down\u{6}", ..follower(&upstream) };
        let text = lines(told, Flavour::Redis);
        assert!(text.starts_with("master_host:hmaster_link_status:down\r\nmaster_port:6379\r\n"), "{text}");
    }

    #[test]
    fn a_transfer_tells_how_far_it_is() {
        let upstream = upstream(LinkState::Syncing);
        let transfer = |total| Transfer { total, read: 250, last_heard: Duration::from_secs(1) };
        let told = Follower { transfer: Some(transfer(Some(1000))), ..follower(&upstream) };
        let text = lines(told, Flavour::Redis);
        let expected = "slave_repl_offset:1000\r\nmaster_sync_total_bytes:1000\r\nmaster_sync_read_bytes:250\r\n\
            master_sync_left_bytes:750\r\nmaster_sync_perc:25.00\r\nmaster_sync_last_io_seconds_ago:1\r\n\
            master_link_down_since_seconds:7\r\nslave_priority:100\r\n";
        assert!(text.contains(expected), "{text}");
        // Up to a mark: nothing is known beforehand, and less than nothing is left.
        let told = Follower { transfer: Some(transfer(None)), ..follower(&upstream) };
        let text = lines(told, Flavour::Redis);
        assert!(
            text.contains("total_bytes:0\r\nmaster_sync_read_bytes:250\r\nmaster_sync_left_bytes:-250\r\nmaster_sync_perc:0.00\r\n")
        );
        assert!(text.contains(
            "master_link_status:down\r\nmaster_last_io_seconds_ago:-1\r\nmaster_sync_in_progress:1"
        ));
    }

    /// R236.
    #[test]
    fn tells_of_a_handover() {
        let upstream = upstream(LinkState::Handshake);
        let report = crate::Primary::new(
            crate::Config::default(),
            crate::ReplicationId::from_random([1; 20]),
            crate::Timestamp::default(),
        );
        let report = report.unwrap().report(crate::Timestamp::default());
        let told = |is_handing_over| {
            let follower = Follower { is_handing_over, ..follower(&upstream) };
            replication_of_follower(&report, follower, Flavour::Redis).to_string()
        };
        assert!(told(true).contains("\r\nmaster_failover_state:failover-in-progress\r\n"));
        assert!(told(false).contains("\r\nmaster_failover_state:no-failover\r\n"));
    }

    /// B47.
    #[test]
    fn who_was_never_connected_has_no_time_of_being_down() {
        let mut upstream = upstream(LinkState::Waiting);
        (upstream.down_for, upstream.held) = (None, None);
        let text = lines(follower(&upstream), Flavour::Redis);
        assert!(text.contains(
            "slave_read_repl_offset:1\r\nslave_repl_offset:1\r\nmaster_link_down_since_seconds:-1"
        ));
    }

    /// T46, T50, R258: the offset is that of a live link.
    #[test]
    fn role_tells_how_far_the_link_has_come() {
        for (state, word, offset) in [
            (LinkState::Waiting, "$7\r\nconnect", ":-1"),
            (LinkState::Connecting, "$10\r\nconnecting", ":-1"),
            (LinkState::Handshake, "$9\r\nhandshake", ":-1"),
            (LinkState::Syncing, "$4\r\nsync", ":-1"),
            (LinkState::InStep, "$9\r\nconnected", ":1000"),
        ] {
            let mut out = Vec::new();
            put_role_of_follower(&mut out, &follower(&upstream(state)));
            let expected =
                ["*5\r\n$5\r\nslave\r\n$9\r\n192.0.2.7\r\n:6379\r\n", word, "\r\n", offset, "\r\n"].concat();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
