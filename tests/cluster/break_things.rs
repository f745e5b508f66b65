use std::time::Duration;

use crate::config;
use crate::fault::Fault;
use crate::job::Job;
use crate::options::Options;
use crate::world::World;

impl World {
    pub(crate) fn break_something(&mut self) {
        let host = self.rng.within(0..=self.hosts.len() - 1);
        match self.rng.within(0..=19) {
            0..=4 => self.cut_a_link(),
            14 | 15 => self.disturb_clock(host),
            16 => self.meet_stranger(host),
            17 | 18 => self.say_something_wrong(),
            19 => self.clog_some(),
            5 => self.part(host),
            6 => self.part_one_way(host),
            7 => self.slow_a_link(),
            8 | 9 => {
                self.journal.count(Fault::Stalled);
                let span = self.rng.scaled_millis(1..=80_000);
                self.note(format_args!("{host} stalls for {span:?}"));
                self.stall(host, span);
            }
            10 => self.reconfigure(host),
            _ => self.crash(host),
        }
    }

    pub(crate) fn draw_link(&mut self) -> Option<usize> {
        let numbers: Vec<usize> = self.network.connections.keys().copied().collect();
        (!numbers.is_empty()).then(|| self.rng.pick(&numbers))
    }

    /// Both ends learn of it, at once or one of them late.
    fn cut_a_link(&mut self) {
        let Some(number) = self.draw_link() else { return };
        let (soon, late) = (self.now + self.rng.millis(0..=10), self.now + self.rng.millis(100..=90_000));
        let half_open = self.rng.chance(30);
        self.journal.count(if half_open { Fault::HalfOpen } else { Fault::Cut });
        self.note(format_args!("connection {number} is cut, half open: {half_open}"));
        let mut told_at = [soon, if half_open { late } else { soon }];
        if self.rng.chance(50) {
            told_at.swap(0, 1);
        }
        let rng = &mut self.rng;
        if let Some(connection) = self.network.connections.get_mut(&number) {
            connection.up.cut(rng, Some(told_at[0]));
            connection.down.cut(rng, Some(told_at[1]));
        }
    }

    fn part(&mut self, host: usize) {
        self.journal.count(Fault::Partition);
        let until = self.now + self.rng.scaled_millis(10..=90_000);
        self.cut_off(host, until);
    }

    /// Some lose the others one after the other, and come back in another order.
    fn clog_some(&mut self) {
        self.journal.count(Fault::CloggedInTurn);
        for host in 0..self.hosts.len() {
            if self.rng.chance(50) {
                let until = self.now + self.rng.millis(3000..=20_000);
                self.later(host, 0..=3000, Job::CutOff(until));
            }
        }
    }

    pub(crate) fn cut_off(&mut self, host: usize, until: Duration) {
        self.note(format_args!("{host} is cut off until {until:?}"));
        for other in 0..self.hosts.len() {
            self.network.block(host, other, until);
            self.network.block(other, host, until);
        }
    }

    fn part_one_way(&mut self, host: usize) {
        self.journal.count(Fault::OneWay);
        let until = self.now + self.rng.scaled_millis(10..=90_000);
        let is_deaf = self.rng.chance(50);
        self.note(format_args!("{host} is deaf ({is_deaf}) or mute until {until:?}"));
        for other in 0..self.hosts.len() {
            let (from, to) = if is_deaf { (other, host) } else { (host, other) };
            self.network.block(from, to, until);
        }
    }

    fn slow_a_link(&mut self) {
        let Some(number) = self.draw_link() else { return };
        self.journal.count(Fault::SlowLink);
        let latency = self.rng.millis(500..=5000);
        if let Some(connection) = self.network.connections.get_mut(&number) {
            (connection.up.latency, connection.down.latency) = (latency, latency);
        }
    }

    /// What a node keeps, and how long it waits, is another now.
    fn reconfigure(&mut self, host: usize) {
        self.journal.count(Fault::Reconfigured);
        let drawn = Options::draw(&mut self.rng);
        let options = Options {
            backlog: drawn.backlog,
            pinned: drawn.pinned,
            output_limit: drawn.output_limit,
            min_replicas: drawn.min_replicas,
            heartbeat: drawn.heartbeat,
            max_transfers: drawn.max_transfers,
            ..self.options.clone()
        };
        let now = self.timestamp(host);
        let primary = self.hosts[host].node.primary();
        primary.reconfigure(config::of_primary(&options), now).expect("the configuration can work");
        self.drain(host);
    }
}
