use std::time::Duration;

use headwater::Start;

use crate::disk::has_disk;
use crate::fault::Fault;
use crate::host::{Host, Saved};
use crate::job::Job;
use crate::world::World;

impl World {
    /// An image of the data as it is, and of what is held with it.
    pub(crate) fn save(&mut self, host: usize) {
        let Host { node, state, saved, .. } = &mut self.hosts[host];
        saved.push(Saved { state: *state, held: node.held() });
    }

    /// It ends without a word, and is back later with what it saved, or without.
    pub(crate) fn crash(&mut self, host: usize) {
        self.journal.count(Fault::Crashed);
        self.break_links(host);
        let saved = self.draw_saved(host);
        let (start, fault) = self.draw_start(saved);
        self.journal.count(fault);
        let (node, clock) = self.new_node(start);
        let life = self.hosts[host].life + 1;
        let images = std::mem::take(&mut self.hosts[host].saved);
        self.hosts[host] = Host::new(node, clock, saved, life);
        self.hosts[host].saved = images;
        self.note(format_args!("{host} has crashed, and starts as {start:?} with {saved:?}"));
        let down = self.rng.scaled_millis(1..=20_000);
        self.stall(host, down);
        if has_disk(host) {
            self.later(host, 0..=1000, Job::Sync);
        }
        if self.hosts[host].account.follows || self.rng.chance(30) {
            let target = self.draw_other(host);
            self.later(host, 0..=3000, Job::Follow(target));
        }
        self.drain(host);
    }

    /// Whoever it was connected to learns of it soon, late, or never.
    fn break_links(&mut self, host: usize) {
        let told_at = match self.rng.within(0..=3) {
            0 => None,
            1 => Some(self.now + self.rng.millis(0..=30_000)),
            _ => Some(self.now + self.rng.millis(0..=100)),
        };
        let rng = &mut self.rng;
        for connection in self.network.connections.values_mut() {
            if connection.hosts[0] == host && connection.follower.take().is_some() {
                connection.up.cut(rng, told_at);
            }
            if connection.hosts[1] == host && connection.upstream.take().is_some() {
                connection.down.cut(rng, told_at);
            }
        }
    }

    fn draw_saved(&mut self, host: usize) -> Saved {
        if self.rng.chance(15) {
            self.journal.count(Fault::CopiedImage);
            let other = self.draw_other(host);
            let saved = &self.hosts[other].saved;
            return saved[saved.len() - 1];
        }
        let saved = &mut self.hosts[host].saved;
        match self.rng.within(0..=9) {
            0 | 1 => {
                self.journal.count(Fault::NothingLeft);
                saved.clear();
                saved.push(Saved::default());
                Saved::default()
            }
            2..=4 => {
                self.journal.count(Fault::OlderImage);
                saved[self.rng.within(0..=saved.len() - 1)]
            }
            _ => {
                self.journal.count(Fault::LastImage);
                saved[saved.len() - 1]
            }
        }
    }

    fn draw_start(&mut self, saved: Saved) -> (Start, Fault) {
        let id = self.draw_id();
        match saved.held {
            Some(held) if self.rng.chance(60) => (Start::Replica { held }, Fault::RestartedFollowing),
            Some(held) => (Start::Primary { held, fresh: id }, Fault::RestartedLeading),
            None => (Start::Empty { id }, Fault::RestartedEmpty),
        }
    }

    pub(crate) fn stall(&mut self, host: usize, span: Duration) {
        self.hosts[host].stalled_until = self.now + span;
        self.later(host, 0..=0, Job::Wake); // once it is awake
    }
}
