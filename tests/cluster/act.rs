//! What is done to a cluster, one thing at a time.

use bytes::Bytes;
use headwater::{Sink as _, WriteRefused, wire};

use crate::fault::Fault;
use crate::host::Host;
use crate::options::MAX_UNIT;
use crate::world::World;

impl World {
    pub(crate) fn act(&mut self) {
        self.actions_left = self.actions_left.saturating_sub(1);
        let pause = if self.is_calm { CALM_PAUSE } else { self.options.pause };
        self.next_action = self.now + self.rng.millis(0..=pause);
        let drawn = self.rng.within(0..=99);
        if self.is_calm {
            let host = self.draw_leader();
            self.write(host);
        } else if drawn < self.options.faults {
            self.break_something();
        } else if drawn < self.options.faults + self.options.roles {
            self.change_roles();
        } else {
            self.use_it();
        }
    }

    fn use_it(&mut self) {
        let host = self.rng.within(0..=self.hosts.len() - 1);
        if self.is_stalled(host) {
            return;
        }
        match self.rng.within(0..=19) {
            0 | 6 => self.save(host),
            1 | 7 | 10 | 11 => {
                let writer = self.draw_leader();
                self.fence(host, writer);
            }
            2 => {
                let writer = self.rng.within(0..=self.hosts.len() - 1);
                self.fence(host, writer);
            }
            3 | 8 | 9 => self.cancel_fence(host),
            4 => {
                let leader = self.draw_leader();
                self.wait(leader);
                self.cancel_wait(host);
            }
            5 => self.write(host),
            12..=14 => self.write_and_wait(),
            _ => {
                let leader = self.draw_leader();
                if !self.is_stalled(leader) {
                    self.write(leader);
                    self.drain(leader);
                }
            }
        }
        self.drain(host);
    }

    fn write_and_wait(&mut self) {
        let leader = self.draw_leader();
        if !self.is_stalled(leader) {
            self.write(leader);
            self.wait(leader);
            self.drain(leader);
        }
    }

    /// S9: it is let in by a leader only, and by one that has enough good replicas.
    pub(crate) fn write(&mut self, host: usize) {
        self.drain(host); // it may have been told whether it may
        let len = self.draw_len();
        let (unit, commands) = self.draw_unit(len);
        let (now, size) = (self.timestamp(host), unit.len());
        let (leads, is_open) = (self.hosts[host].leads(), self.is_gate_open(host));
        let Host { node, state, .. } = &mut self.hosts[host];
        let before = *state;
        let written = node.primary().write(now, |put| {
            if unit.len() < SHARED {
                put.put(&unit);
            } else {
                put.put_shared(unit);
            }
            *state = before.after(&commands);
        });
        let after = *state;
        let told = written.as_ref().map(|written| written.end).map_err(ToString::to_string);
        self.journal.note(self.now, format_args!("{host}: writes {size} bytes: {told:?}"));
        match written {
            Ok(written) => {
                assert!(leads, "S9: node {host} has let in a unit that it can't");
                assert!(is_open, "S9: node {host} lets a unit in, and has too few good replicas");
                self.truth.make(before, after);
                if written.end.is_none() {
                    self.forget_disk(host);
                }
            }
            Err(refused) => {
                assert_eq!(before, after, "S9: what is refused is not applied");
                let (fault, is_right) = match refused {
                    WriteRefused::StreamFull(_) => (Fault::StreamFull, leads),
                    WriteRefused::NotEnough(_) => (Fault::GateClosed, leads && !is_open),
                    _ => (Fault::WriteRefused, !leads),
                };
                assert!(is_right, "S9: node {host} refuses a write: {refused}");
                self.journal.count(fault);
            }
        }
    }

    fn draw_len(&mut self) -> usize {
        if self.rng.within(0..=599) == 0 && self.strikes(Fault::UnitTooLarge, 100) {
            return MAX_UNIT + 1;
        }
        if self.options.shares && self.strikes(Fault::UnitShared, 2) {
            return SHARED;
        }
        let most = if self.is_calm { 200 } else { self.options.largest_write };
        self.rng.scaled(0..=most)
    }

    /// A command or a transaction as it is sent, and as it is applied.
    fn draw_unit(&mut self, len: usize) -> (Bytes, Vec<u8>) {
        self.drawn += 1;
        let number = self.drawn.to_string();
        let mut commands = Vec::new();
        let is_transaction = self.rng.chance(20);
        wire::put_command(&mut commands, &[b"SET", number.as_bytes(), &self.rng.bytes(len)]);
        if !is_transaction {
            return (commands.clone().into(), commands);
        }
        wire::put_command(&mut commands, &["INCR", &number]);
        let mut unit = b"*1\r\n$5\r\nMULTI\r\n".to_vec();
        unit.extend_from_slice(&commands);
        unit.extend_from_slice(b"*1\r\n$4\r\nEXEC\r\n");
        (unit.into(), commands)
    }

    fn change_roles(&mut self) {
        let host = self.rng.within(0..=self.hosts.len() - 1);
        if self.is_stalled(host) {
            return;
        }
        match self.rng.within(0..=9) {
            0 | 1 => {
                if self.hosts.iter().any(Host::leads) {
                    self.journal.count(Fault::TwoLeaders);
                }
                self.promote(host);
                if self.strikes(Fault::PromotedTogether, 10) {
                    let other = self.draw_neighbour(host);
                    self.promote(other);
                }
            }
            2..=4 => {
                let leader = self.draw_leader();
                if !self.is_stalled(leader) {
                    self.begin_handover(leader);
                    self.drain(leader);
                }
            }
            _ => {
                let target = self.draw_other(host);
                self.count_follow(host, target);
                self.follow(host, target);
                // Nobody has agreed to that.
                self.hosts[host].asks_to_hand_over = self.rng.chance(5);
            }
        }
        self.drain(host);
    }

    fn count_follow(&mut self, host: usize, target: usize) {
        self.journal.count(Fault::Followed);
        if self.hosts[target].account.follows {
            self.journal.count(match self.way_up(target, host) {
                None => Fault::Chain,
                Some(1) => Fault::Loop,
                Some(_) => Fault::LongLoop,
            });
        }
    }

    /// How many links there are from one node up to another.
    fn way_up(&self, from: usize, to: usize) -> Option<usize> {
        let up = |host: &usize| self.hosts[*host].target.filter(|_| self.hosts[*host].account.follows);
        std::iter::successors(Some(from), up).take(self.hosts.len()).position(|host| host == to)
    }

    /// Mostly a node that leads.
    pub(crate) fn draw_other(&mut self, host: usize) -> usize {
        let leader = self.draw_leader();
        if leader != host && self.rng.chance(70) {
            return leader;
        }
        self.draw_neighbour(host)
    }

    /// Any but this one.
    pub(crate) fn draw_neighbour(&mut self, host: usize) -> usize {
        (host + self.rng.within(1..=self.hosts.len() - 1)) % self.hosts.len()
    }

    /// One that leads, if any does.
    pub(crate) fn draw_leader(&mut self) -> usize {
        let leaders: Vec<usize> = (0..self.hosts.len()).filter(|host| self.hosts[*host].leads()).collect();
        if leaders.is_empty() { self.rng.within(0..=self.hosts.len() - 1) } else { self.rng.pick(&leaders) }
    }
}

/// Milliseconds between writes once faults have stopped.
const CALM_PAUSE: usize = 1000;

/// From this length on a unit is adopted, not copied.
const SHARED: usize = 16 << 10;
