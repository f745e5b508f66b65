//! The end of a run: faults have stopped.

use std::time::Duration;

use headwater::{SoftLimit, WriteRefused};

use crate::config::BACKOFF_CAP;
use crate::world::World;

impl World {
    /// S11, L4, L7: all are in step at last, and stay so.
    pub(crate) fn finish(&mut self) {
        self.reach_agreement();
        self.stay_in_step();
        self.next_action = Duration::MAX; // so that what is on its way arrives
        let by = self.now + Duration::from_secs(60);
        while !self.all_agree() {
            assert!(self.now <= by, "S11: not all are in step again: {}", self.describe());
            self.step();
        }
        self.check_open();
    }

    /// Whoever leads has enough good replicas.
    fn check_open(&mut self) {
        for host in 0..self.hosts.len() {
            let now = self.timestamp(host);
            let admitted = self.hosts[host].node.primary().admit_write(now);
            assert!(
                !matches!(admitted, Err(WriteRefused::NotEnough(_))),
                "node {host}'s gate is closed: {admitted:?}"
            );
        }
    }

    pub(crate) fn reach_agreement(&mut self) {
        self.calm_down();
        let by = self.now + self.patience();
        while !self.all_agree() {
            assert!(self.now <= by, "S11, L7: not all are in step by {by:?}: {}", self.describe());
            self.step();
        }
    }

    fn calm_down(&mut self) {
        self.note(format_args!("faults stop"));
        self.is_calm = true;
        self.network.heal(Duration::from_millis(self.options.latency as u64));
        for host in 0..self.hosts.len() {
            self.hosts[host].stalled_until = self.now;
            self.hosts[host].clock.thaw();
            self.loosen(host);
            self.cancel_handover(host);
            self.resume_writing(host);
            self.drain(host);
        }
        let leader = self.rng.within(0..=self.hosts.len() - 1);
        self.promote(leader);
        let mut placed = vec![leader];
        for host in (0..self.hosts.len()).filter(|host| *host != leader) {
            let target = if self.rng.chance(60) { leader } else { self.rng.pick(&placed) };
            self.follow(host, target);
            placed.push(host);
            self.drain(host);
        }
        self.dismiss_hopeless(leader);
        self.drain(leader);
    }

    /// With limits below what is written during a sync, or more good replicas needed than there are, nobody would come into
    /// step.
    fn loosen(&mut self, host: usize) {
        let now = self.timestamp(host);
        let primary = self.hosts[host].node.primary();
        let mut config = primary.config().clone();
        let limit = &mut config.output_limit;
        let soft_bytes = 500 + self.options.loading as u64;
        limit.hard = limit.hard.map(|hard| hard.max(soft_bytes + 300));
        limit.soft = limit.soft.map(|soft| SoftLimit { bytes: soft.bytes.max(soft_bytes), ..soft });
        let gate = &mut config.min_replicas;
        (gate.to_write, gate.max_lag) = (gate.to_write.min(1), gate.max_lag.max(Duration::from_secs(5)));
        primary.reconfigure(config, now).expect("the configuration can work");
    }

    /// Three times what an attempt may take, for each that stands in a row.
    fn patience(&self) -> Duration {
        let timeout = self.options.replica_timeout.max(self.options.timeout);
        3 * (BACKOFF_CAP + timeout)
    }

    fn all_agree(&self) -> bool {
        let first = &self.hosts[0];
        let held = first.node.held();
        held.is_some()
            && self.hosts.iter().all(|host| host.waits.is_empty() && host.fences.is_empty())
            && self.hosts.iter().all(|host| {
                let upstream = host.node.upstream(host.clock.latest());
                let in_step = upstream.is_none_or(|upstream| upstream.state == headwater::LinkState::InStep);
                in_step && host.node.held() == held && host.state == first.state
            })
    }

    /// L5: without a fault nobody is synced anew.
    fn stay_in_step(&mut self) {
        let (before, until) = (self.full_syncs(), self.now + QUIET);
        while self.now < until {
            self.step();
        }
        assert_eq!(
            self.full_syncs(),
            before,
            "L5: somebody was synced anew without a fault: {}",
            self.describe()
        );
    }

    /// Those that somebody took: what a dead connection asked for is not given to anyone.
    fn full_syncs(&self) -> u64 {
        self.hosts.iter().map(|host| host.account.loads).sum()
    }

    fn describe(&self) -> String {
        let hosts = self.hosts.iter().enumerate().map(|(number, host)| {
            let state = host.node.upstream(host.clock.latest()).map(|upstream| upstream.state);
            format!(
                "\n{number} follows {:?}: {state:?}, {:?}, {:?}",
                host.target,
                host.node.held(),
                host.state
            )
        });
        hosts.collect()
    }
}

/// Longer than every timeout.
const QUIET: Duration = Duration::from_secs(80);
