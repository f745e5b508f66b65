use std::fmt;
use std::time::Duration;

use headwater::{Event, LinkState, Node, NodeEvent, ReplicationId, ResumePoint, Start, Timestamp};

use crate::clock::Clock;
use crate::disk::has_disk;
use crate::fault::Fault;
use crate::host::{Host, Saved};
use crate::job::{Errand, Job, Jobs};
use crate::journal::Journal;
use crate::network::{Network, Way};
use crate::options::Options;
use crate::rng::Rng;
use crate::truth::{State, Truth};

/// A run: the cluster, and what is about to happen to it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) hosts: Vec<Host>,
    pub(crate) network: Network,
    pub(crate) jobs: Jobs,
    pub(crate) truth: Truth,
    pub(crate) journal: Journal,
    pub(crate) rng: Rng,
    pub(crate) options: Options,
    pub(crate) now: Duration,
    pub(crate) steps: u64,
    /// Faults have stopped.
    pub(crate) is_calm: bool,
    pub(crate) next_action: Duration,
    pub(crate) actions_left: u64,
    /// Ids and values drawn.
    pub(crate) drawn: u64,
}

#[derive(Clone, Copy, Debug)]
enum Next {
    Act,
    Job,
    Timer(usize),
    Arrive(usize, Way),
}

impl World {
    pub(crate) fn new(seed: u64, echo: bool) -> Self {
        let mut rng = Rng::new(seed);
        let options = Options::draw(&mut rng);
        Self::from_parts(rng, options, echo)
    }

    /// As this seed's, but for its options.
    pub(crate) fn varied(seed: u64, options: Options) -> Self {
        let mut rng = Rng::new(seed);
        Options::draw(&mut rng);
        Self::from_parts(rng, options, false)
    }

    pub(crate) fn from_parts(rng: Rng, options: Options, echo: bool) -> Self {
        let mut world = Self {
            hosts: Vec::new(),
            network: Network::default(),
            jobs: Jobs::default(),
            truth: Truth::new(),
            journal: Journal::new(echo),
            rng,
            now: Duration::ZERO,
            steps: 0,
            is_calm: false,
            next_action: Duration::ZERO,
            actions_left: options.actions,
            drawn: 0,
            options,
        };
        world.note(format_args!("{:?}", world.options.clone()));
        for _ in 0..world.options.nodes {
            world.start_first();
        }
        world
    }

    pub(crate) const fn journal(&self) -> &Journal {
        &self.journal
    }

    pub(crate) const fn options(&self) -> &Options {
        &self.options
    }

    /// How much time has passed.
    pub(crate) const fn simulated(&self) -> Duration {
        self.now
    }

    pub(crate) fn run(&mut self) {
        if self.options.is_near_the_end() {
            self.journal.count(Fault::NearTheEnd);
        }
        if self.options.backlog <= 32 {
            self.journal.count(Fault::BacklogOfNearlyNothing);
        }
        while self.actions_left > 0 {
            self.step();
        }
        self.finish();
    }

    /// Has the next thing happen, and judges what came of it.
    pub(crate) fn step(&mut self) {
        for host in &mut self.hosts {
            host.clock.end_step();
        }
        let (at, next) = self.next();
        self.now = self.now.max(at);
        self.steps += 1;
        match next {
            Next::Act => self.act(),
            Next::Job => self.do_job(),
            Next::Timer(host) => {
                let had_link = self.is_in_step(host);
                self.wake(host);
                if had_link && !self.is_in_step(host) {
                    self.act_at_once(host);
                }
                self.drain_soon(host);
            }
            Next::Arrive(connection, way) => self.arrive(connection, way),
        }
        self.network.tidy();
    }

    /// When the next thing happens.
    #[cfg(fuzzing)]
    pub(crate) fn next_at(&self) -> Duration {
        self.next().0
    }

    fn next(&self) -> (Duration, Next) {
        let job = self.jobs.next_at().map(|at| (at, Next::Job));
        let timers = self.hosts.iter().enumerate().filter_map(|(number, host)| {
            host.next_at().map(|at| (at.max(host.stalled_until), Next::Timer(number)))
        });
        let arrivals = self.network.arrivals().map(|(at, connection, way, at_whom)| {
            (at.max(self.hosts[at_whom].stalled_until), Next::Arrive(connection, way))
        });
        let others = job.into_iter().chain(timers).chain(arrivals);
        others
            .fold((self.next_action, Next::Act), |first, other| if other.0 < first.0 { other } else { first })
    }

    /// Wake contract: what was due is done.
    fn wake(&mut self, host: usize) {
        let now = self.timestamp(host);
        self.hosts[host].note_told(now);
        let node = &mut self.hosts[host].node;
        node.handle_timeout(now);
        let next = node.poll_timeout();
        assert!(next.is_none_or(|next| next > now), "wake contract: node {host} wants {next:?} at {now:?}");
    }

    /// In the batch in which a link ends something else is decided.
    fn act_at_once(&mut self, host: usize) {
        if self.strikes(Fault::FollowedAtOnce, 30) {
            let target = self.draw_other(host);
            self.follow(host, target);
        } else if self.strikes(Fault::PromotedAtOnce, 10) {
            self.promote(host);
        }
    }

    fn is_in_step(&self, host: usize) -> bool {
        let Host { node, clock, .. } = &self.hosts[host];
        let upstream = node.upstream(clock.latest());
        upstream.is_some_and(|upstream| upstream.state == LinkState::InStep)
    }

    /// Takes the events at once, or with those of the next input: a batch may be of several.
    fn drain_soon(&mut self, host: usize) {
        if self.rng.chance(80) {
            return self.drain(host);
        }
        self.later(host, 0..=5, Job::Wake);
    }

    /// Acts on all events of a node, and judges it.
    pub(crate) fn drain(&mut self, host: usize) {
        while let Some(event) = self.hosts[host].node.poll_event() {
            if !matches!(event, NodeEvent::Primary(Event::Send(_))) {
                self.note(format_args!("{host}: {event:?}"));
            }
            match event {
                NodeEvent::Upstream(link, event) => self.act_upstream(host, link, event),
                NodeEvent::Primary(event) => self.act_downstream(host, event),
                NodeEvent::FenceEnded { waiter, end } => self.end_fence(host, waiter, end),
                NodeEvent::Diverged(link, lost) => self.note_divergence(host, link, lost),
                NodeEvent::HandoverReady(replica) => self.hand_over(host, replica),
                NodeEvent::HandoverFailed => {
                    self.journal.count(Fault::HandoverFailed);
                    self.hosts[host].account.hands_over_at = None;
                }
                event => panic!("{event:?} is news"),
            }
        }
        self.hosts[host].departed.clear();
        self.check(host);
    }

    fn do_job(&mut self) {
        let errand = self.jobs.take().expect("there is one");
        let Errand { host, life, job } = errand;
        if self.hosts[host].life != life || self.is_calm && job.changes_roles() {
            return;
        }
        let stalled_until = self.hosts[host].stalled_until;
        if stalled_until > self.now {
            return self.jobs.add(stalled_until, errand);
        }
        match job {
            Job::Connected(link) => self.connect(host, link),
            Job::Loaded(link) => self.load(host, link),
            Job::LoadFailed(link) => self.fail_load(host, link),
            Job::SnapshotReady(snapshot) => self.ready_snapshot(host, snapshot),
            Job::SnapshotFailed(snapshot) => self.fail_snapshot(host, snapshot),
            Job::SendPiece(replica) => self.send_piece(host, replica),
            Job::SnapshotSent(replica) => self.finish_snapshot(host, replica),
            Job::Sync => self.begin_sync(host),
            Job::Synced(syncing) => self.end_sync(host, syncing),
            Job::CutOff(until) => self.cut_off(host, until),
            Job::SupplyId => {
                let id = self.draw_id();
                let _ = self.hosts[host].node.primary().supply_id(id);
            }
            Job::Follow(target) => self.follow(host, target),
            Job::HandOver(target) => self.take_over(host, target),
            Job::CancelHandover => self.cancel_handover(host),
            Job::Wake => {}
        }
        self.resume_writing(host);
        self.drain(host);
    }

    fn arrive(&mut self, connection: usize, way: Way) {
        match way {
            Way::Up => self.arrive_up(connection),
            Way::Down => self.arrive_down(connection),
        }
    }

    fn start_first(&mut self) {
        let held = self
            .options
            .is_near_the_end()
            .then(|| ResumePoint { id: self.draw_id(), offset: self.options.start });
        let start = match held {
            Some(held) => Start::Primary { held, fresh: self.draw_id() },
            None => Start::Empty { id: self.draw_id() },
        };
        let (node, clock) = self.new_node(start);
        if let Some(held) = held {
            self.truth.agree(held, State::default());
        }
        self.hosts.push(Host::new(node, clock, Saved { state: State::default(), held }, 0));
        let host = self.hosts.len() - 1;
        if has_disk(host) {
            self.later(host, 0..=1000, Job::Sync);
        }
        if host > 0 && self.rng.chance(80) {
            self.later(host, 0..=1000, Job::Follow(0));
        }
        self.drain(host);
    }

    /// With a clock that begins anew.
    pub(crate) fn new_node(&mut self, start: Start) -> (Node, Clock) {
        let config = crate::config::of_primary(&self.options);
        let mut clock = Clock::default();
        let node = Node::new(config, start, clock.read(self.now)).expect("the configuration can work");
        (node, clock)
    }

    pub(crate) fn later(&mut self, host: usize, millis: std::ops::RangeInclusive<usize>, job: Job) {
        let at = self.now + self.rng.millis(millis);
        self.jobs.add(at, Errand { host, life: self.hosts[host].life, job });
    }

    /// What a node's clock tells now.
    pub(crate) fn timestamp(&mut self, host: usize) -> Timestamp {
        self.hosts[host].clock.read(self.now)
    }

    pub(crate) fn draw_id(&mut self) -> ReplicationId {
        self.drawn += 1;
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&self.drawn.to_be_bytes());
        bytes[8..].copy_from_slice(&self.rng.array::<12>());
        ReplicationId::from_random(bytes)
    }

    pub(crate) fn note(&mut self, text: fmt::Arguments<'_>) {
        self.journal.note(self.now, text);
    }

    pub(crate) fn is_stalled(&self, host: usize) -> bool {
        self.hosts[host].stalled_until > self.now
    }

    /// Has a fault strike with this probability, if it may, and counts it.
    pub(crate) fn strikes(&mut self, fault: Fault, percent: usize) -> bool {
        let strikes = !self.is_calm && self.rng.chance(percent);
        if strikes {
            self.journal.count(fault);
        }
        strikes
    }
}
