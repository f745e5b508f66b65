//! What a replica tells of itself and of its primary.

use std::time::Duration;

use arbitrary::Arbitrary;
use headwater::info::{self, Follower, Transfer};
use headwater::{LinkState, Replica, ReplicaConfig, ReplicationId, ResumePoint, Timestamp, UpstreamReport};

use crate::primary::{self, at, check_stream, flavour, unfit};
use crate::read::{Lines, Reply};

#[derive(Arbitrary, Debug)]
pub(crate) struct Figures {
    stream: primary::Figures,
    host: String,
    port: u16,
    state: State,
    held: Option<u64>,
    received: Option<u64>,
    last_heard: Option<Duration>,
    down_for: Option<Duration>,
    transfer: Option<(Option<u64>, u64, Duration)>,
    is_read_only: bool,
    is_handing_over: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum State {
    Waiting,
    Connecting,
    Handshake,
    Syncing,
    InStep,
}

impl Figures {
    fn upstream(&self) -> UpstreamReport {
        let mut upstream = template();
        upstream.state = match self.state {
            State::Waiting => LinkState::Waiting,
            State::Connecting => LinkState::Connecting,
            State::Handshake => LinkState::Handshake,
            State::Syncing => LinkState::Syncing,
            State::InStep => LinkState::InStep,
        };
        let id = ReplicationId::from_random([1; 20]);
        upstream.held = self.held.map(|offset| ResumePoint { id, offset: at(offset) });
        upstream.received = self.received.map(at);
        (upstream.last_heard, upstream.down_for) = (self.last_heard, self.down_for);
        upstream
    }

    fn transfer(&self) -> Option<Transfer> {
        self.transfer.map(|(total, read, last_heard)| Transfer { total, read, last_heard })
    }
}

/// Reports can't be made of nothing.
fn template() -> UpstreamReport {
    let now = Timestamp::default();
    let replica = Replica::new(ReplicaConfig::default(), None, now);
    replica.expect("the default configuration works").report(now)
}

pub(crate) fn check(figures: &Figures, is_valkey: bool) {
    let (report, upstream) = (figures.stream.report(), figures.upstream());
    let follower = Follower {
        host: &figures.host,
        port: figures.port,
        upstream: &upstream,
        transfer: figures.transfer(),
        is_read_only: figures.is_read_only,
        is_handing_over: figures.is_handing_over,
    };
    let text = info::replication_of_follower(&report, follower, flavour(is_valkey)).to_string();
    let mut lines = Lines::of(&text);
    assert_eq!(lines.word("role"), "slave");
    check_link(&mut lines, figures);
    check_transfer(&mut lines, figures);
    if is_valkey {
        assert_eq!(lines.number("replicas_repl_buffer_size"), 0);
        assert_eq!(lines.number("replicas_repl_buffer_peak"), 0);
    }
    let failover = if figures.is_handing_over { "failover-in-progress" } else { "no-failover" };
    check_stream(&mut lines, &report, failover, is_valkey);
    lines.assert_over();
    check_role(figures, &follower);
}

fn check_link(lines: &mut Lines<'_>, figures: &Figures) {
    let host = lines.word("master_host");
    assert!(host.chars().eq(figures.host.chars().filter(|c| !unfit(*c))));
    assert_eq!(lines.number("master_port"), figures.port.into());
    let is_up = matches!(figures.state, State::InStep);
    assert_eq!(lines.word("master_link_status"), if is_up { "up" } else { "down" });
    let heard = figures.last_heard.filter(|_| is_up);
    assert_eq!(lines.number("master_last_io_seconds_ago"), seconds(heard));
    let is_syncing = matches!(figures.state, State::Syncing);
    assert_eq!(lines.number("master_sync_in_progress"), is_syncing.into());
    let applied = figures.held.map_or(1, |held| at(held).get());
    let received = figures.received.map_or(applied, |received| at(received).get());
    assert_eq!(lines.number("slave_read_repl_offset"), received.into());
    assert_eq!(lines.number("slave_repl_offset"), applied.into());
    if !is_up {
        assert_eq!(lines.number("master_link_down_since_seconds"), seconds(figures.down_for));
    }
    assert_eq!(lines.number("slave_priority"), 100);
    assert_eq!(lines.number("slave_read_only"), figures.is_read_only.into());
    assert_eq!(lines.number("replica_announced"), 1);
}

fn check_transfer(lines: &mut Lines<'_>, figures: &Figures) {
    let Some(Transfer { total, read, last_heard }) = figures.transfer() else { return };
    let total = total.unwrap_or(0);
    assert_eq!(lines.number("master_sync_total_bytes"), total.into());
    assert_eq!(lines.number("master_sync_read_bytes"), read.into());
    assert_eq!(lines.number("master_sync_left_bytes"), i128::from(total) - i128::from(read));
    assert_eq!(lines.number("master_sync_last_io_seconds_ago"), last_heard.as_secs().into());
    let told: f64 = lines.word("master_sync_perc").parse().expect("a number");
    let percent = if total == 0 { 0.0 } else { read as f64 / total as f64 * 100.0 };
    assert!((told - percent).abs() <= 0.005_001 + percent * 1e-12, "{told} for {percent}");
}

fn seconds(span: Option<Duration>) -> i128 {
    span.map_or(-1, |span| span.as_secs().into())
}

/// R258.
fn check_role(figures: &Figures, follower: &Follower<'_>) {
    let mut out = Vec::new();
    info::put_role_of_follower(&mut out, follower);
    let (state, offset) = match figures.state {
        State::Waiting => ("connect", None),
        State::Connecting => ("connecting", None),
        State::Handshake => ("handshake", None),
        State::Syncing => ("sync", None),
        State::InStep => ("connected", figures.held),
    };
    let offset = offset.map_or(-1, |offset| i128::from(at(offset).get()));
    let expected = Reply::Array(vec![
        Reply::bulk("slave"),
        Reply::bulk(&figures.host),
        Reply::Number(figures.port.into()),
        Reply::bulk(state),
        Reply::Number(offset),
    ]);
    assert_eq!(Reply::read(&out), expected);
}
