use std::time::Duration;

use headwater::{ReplicationId, SoftLimit};

use crate::env::Env;
use crate::fault::Fault;
use crate::host::{Host, Syncs, Write};
use crate::journal::Journal;
use crate::model::{Model, Store};
use crate::network::{Connection, End, Network};
use crate::options::{self, GOOD_SHAPE, Options};
use crate::replica::{Replica, Trick};
use crate::rng::Rng;
use crate::truth::Truth;

/// One run: a host with its primary, the replicas, and the network between them.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) env: Env,
    host: Host,
    replicas: Vec<Replica>,
    next_write: Duration,
    next_client: Duration,
    next_fault: Duration,
    /// As they were drawn: peace changes some.
    first_options: Options,
}

/// Whose turn it is. At one time they come in this order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Turn {
    Host,
    Link(Connection),
    Replica(usize),
    Write,
    Client,
    Fault,
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

    pub(crate) fn with_options(seed: u64, options: Options) -> Self {
        Self::from_parts(Rng::new(seed), options, false)
    }

    fn from_parts(mut rng: Rng, options: Options, echo: bool) -> Self {
        let id = ReplicationId::from_random(rng.array());
        let host = Host::new(&options, id);
        let first_options = options.clone();
        let env = Env {
            now: Duration::ZERO,
            rng,
            network: Network::default(),
            model: Model::new(id, Store::default().digest()),
            truth: Truth::default(),
            journal: Journal::new(echo),
            edges: vec![0],
            is_calm: false,
            options,
        };
        let replicas = (0..env.options.replicas).map(Replica::new).collect();
        let [next_write, next_client, next_fault] = [Duration::ZERO; 3];
        Self { env, host, replicas, next_write, next_client, next_fault, first_options }
    }

    pub(crate) const fn journal(&self) -> &Journal {
        &self.env.journal
    }

    pub(crate) const fn options(&self) -> &Options {
        &self.first_options
    }

    /// How much time has passed.
    pub(crate) const fn simulated(&self) -> Duration {
        self.env.now
    }

    /// Faults, then peace, in which all must come right.
    pub(crate) fn run(&mut self) {
        for _ in 0..self.env.options.steps {
            self.step();
        }
        self.calm();
        self.settle();
        self.stay_settled();
    }

    pub(crate) fn syncs(&self) -> Syncs {
        self.host.syncs(self.replicas.len())
    }

    /// Does the earliest due thing, then checks.
    fn step(&mut self) {
        self.host.clock_mut().end_step();
        let (at, turn) = self.next_turn();
        if self.host.batch_until().is_some_and(|until| at > until) {
            // The contract: after each batch of inputs all events are taken.
            self.host.drain(&mut self.env);
            return self.host.check(&mut self.env);
        }
        self.env.now = self.env.now.max(at);
        match turn {
            Turn::Host => self.host.act(&mut self.env),
            Turn::Link(connection) => self.host.serve(connection, &mut self.env),
            Turn::Replica(index) => self.replicas[index].act(&mut self.env),
            Turn::Write => self.write(),
            Turn::Client => self.act_client(),
            Turn::Fault => self.strike(),
        }
        for connection in self.env.network.take_accepting() {
            self.host.accept(connection);
        }
        for connection in self.env.network.take_worn_out() {
            self.cut(connection, usize::MAX);
        }
        self.host.check(&mut self.env);
    }

    fn next_turn(&self) -> (Duration, Turn) {
        let replicas = self.replicas.iter().enumerate();
        let replicas = replicas.map(|(index, replica)| (replica.due(&self.env), Turn::Replica(index)));
        let links = self.host.due_links(&self.env).map(|(at, link)| (at, Turn::Link(link)));
        let host = self.host.due().map(|at| (at, Turn::Host));
        let own = [self.next_write, self.next_client, self.next_fault];
        let own = own.into_iter().zip([Turn::Write, Turn::Client, Turn::Fault]);
        let turns = replicas.chain(links).chain(host).chain(own);
        // What is overdue is due now: the order of turns decides.
        let turns = turns.map(|(at, turn)| (at.max(self.env.now), turn));
        turns.min().expect("the next fault is always due at some time")
    }

    fn act_client(&mut self) {
        let most = if self.env.is_calm { 60_000 } else { self.env.options.client_every };
        self.next_client = self.env.in_millis(1, most);
        self.host.act_client(&mut self.env);
    }

    fn write(&mut self) {
        self.next_write = self.env.in_millis(1, self.env.options.write_every);
        if self.env.is_calm {
            // Few and small: no limit is so low that they cross it.
            self.next_write = self.env.in_millis(1000, 3000);
            return self.host.write(&[Write::OneByte], &mut self.env);
        }
        let mut writes = vec![self.draw_write()];
        if self.env.strikes(Fault::Burst, 5) {
            let count = self.env.rng.scaled(1..=50);
            writes.extend((0..count).map(|_| self.draw_write()));
        }
        self.host.write(&writes, &mut self.env);
    }

    fn draw_write(&mut self) -> Write {
        let (write, fault) = match self.env.rng.within(0..=999) {
            0 => (Write::Panics, Fault::UnitPanicked),
            1..=2 => (Write::AboveBound, Fault::UnitAboveBound),
            3..=9 => (Write::AboveBacklog, Fault::UnitAboveBacklog),
            10..=49 => (Write::ToTheLimit, Fault::UnitToTheLimit),
            50..=119 => (Write::Cleared, Fault::UnitCleared),
            120..=169 => (Write::Rewritten, Fault::UnitCleared),
            170..=299 => (Write::Transaction, Fault::Transaction),
            300..=359 => (Write::OneByte, Fault::UnitOfOneByte),
            360..=419 => return Write::Lines,
            420..=519 => return Write::Append,
            _ => return Write::Small,
        };
        let config = self.host.config();
        let is_possible = write != Write::AboveBound || config.max_unit < 1 << 20;
        if self.env.options.allows(fault) && is_possible { write } else { Write::Small }
    }

    /// Cuts a connection, with so many of its bytes under way still to arrive.
    fn cut(&mut self, connection: Connection, kept: usize) {
        let Some(fault) = self.host.cut_of(connection) else { return };
        let half_open = self.env.strikes(Fault::HalfOpen, 30);
        let told: &[End] = if half_open { &[End::Replica] } else { &[End::Primary, End::Replica] };
        self.env.journal.count(fault);
        self.env.note(format_args!("{connection:?} is cut: {fault:?}, {told:?} are told"));
        self.env.network.cut(connection, kept, told, self.env.now);
    }

    fn strike(&mut self) {
        self.next_fault = self.env.in_millis(1, self.env.options.fault_every);
        if self.env.is_calm {
            self.next_fault = self.env.in_millis(60_000, 120_000);
            return;
        }
        let fault = self.env.rng.pick(&STRIKING);
        if !self.env.options.allows(fault) {
            return;
        }
        self.env.note(format_args!("fault {fault:?}"));
        match fault {
            Fault::ClockStoodStill
            | Fault::ClockJumped
            | Fault::ClockWentBack
            | Fault::Reconfigured
            | Fault::RoleGivenUp
            | Fault::SnapshotBegunUnasked
            | Fault::StaleKeyUsed => {
                self.env.journal.count(fault);
                self.strike_host(fault);
            }
            Fault::EveryoneAway => {
                self.env.journal.count(fault);
                let back_at = self.env.in_millis(1000, 40_000);
                for replica in &mut self.replicas {
                    replica.leave(back_at, &mut self.env);
                }
            }
            _ => {
                let index = self.env.rng.within(0..=self.replicas.len() - 1);
                self.strike_replica(index, fault);
            }
        }
    }

    fn strike_host(&mut self, fault: Fault) {
        let (now, until) = (self.env.now, self.env.now + self.env.rng.scaled_millis(10..=10_000));
        let by = self.env.rng.scaled_millis(1..=100_000);
        match fault {
            Fault::RoleGivenUp => return self.host.give_role_up(&mut self.env),
            Fault::SnapshotBegunUnasked => return self.host.begin_unasked(now),
            Fault::StaleKeyUsed => return self.host.use_stale_keys(&mut self.env),
            _ => {}
        }
        let clock = self.host.clock_mut();
        match fault {
            Fault::ClockStoodStill => clock.freeze(now, until),
            Fault::ClockJumped => clock.jump(by),
            Fault::ClockWentBack => clock.go_back(by),
            _ => self.reconfigure(),
        }
    }

    /// Another configuration altogether, or the same with less room.
    fn reconfigure(&mut self) {
        let mut config = self.host.config().clone();
        if self.env.rng.chance(50) {
            config = options::config(&mut self.env.rng, self.replicas.len());
        } else {
            config.backlog_capacity = config.backlog_capacity.div_ceil(3);
            let limit = &mut config.output_limit;
            limit.hard = limit.hard.map(|hard| hard.div_ceil(3));
            limit.soft = limit.soft.map(|soft| SoftLimit { bytes: soft.bytes.div_ceil(3), ..soft });
            config.max_transfers = config.max_transfers.div_ceil(3);
            config.resume_pins.bytes /= 3;
        }
        self.host.reconfigure(config, &mut self.env);
    }

    fn strike_replica(&mut self, index: usize, fault: Fault) {
        let env = &mut self.env;
        let replica = &mut self.replicas[index];
        let until = env.now + env.rng.scaled_millis(1..=20_000);
        match fault {
            Fault::AckLost => return replica.play(Trick::Lose),
            Fault::AckRepeated => return replica.play(Trick::Repeat),
            Fault::AckBackwards => return replica.play(Trick::GoBack),
            Fault::AckAhead => return replica.play(Trick::RunAhead),
            Fault::DiskAhead => return replica.play(Trick::DiskAhead),
            Fault::AskedAstray => return replica.ask_astray(env),
            Fault::StateOlder if !replica.has_saved() => return replica.save(),
            Fault::CutInStream => {
                if let Some(connection) = replica.connection() {
                    let kept = env.rng.scaled(0..=1000);
                    self.cut(connection, kept);
                }
                return;
            }
            _ => env.journal.count(fault),
        }
        match fault {
            Fault::Paused => replica.pause(until),
            Fault::Mute => replica.mute(until),
            Fault::DiskStuck => replica.stick_disk(until),
            Fault::StateLost => replica.lose_state(until, env),
            Fault::StateOlder => replica.restore_state(until, env),
            Fault::Clogged => {
                if let Some(connection) = replica.connection() {
                    env.network.clog(connection, until);
                }
            }
            _ => replica.abandon(until, env),
        }
    }

    fn calm(&mut self) {
        self.env.note(format_args!("faults stop"));
        self.env.is_calm = true;
        self.env.network.heal(GOOD_SHAPE, self.env.now);
        self.env.options.shape = GOOD_SHAPE;
        self.host.calm(&mut self.env);
        for replica in &mut self.replicas {
            replica.calm(self.env.now);
        }
        let mut config = self.host.config().clone();
        config.max_replicas = config.max_replicas.max(64);
        // Lower than a few heartbeats, it drops everyone with each of them.
        let limit = &mut config.output_limit;
        limit.hard = limit.hard.map(|hard| hard.max(500));
        limit.soft = limit.soft.map(|soft| SoftLimit { bytes: soft.bytes.max(500), ..soft });
        // A byte per round trip would take longer than anybody waits.
        config.max_send = config.max_send.max(10_000);
        // A quiet minute is to be a quick one.
        self.env.options.ack_every = 1000;
        if let Some(heartbeat) = &mut config.heartbeat {
            heartbeat.period = heartbeat.period.max(Duration::from_secs(3));
        }
        self.host.reconfigure(config, &mut self.env);
    }

    /// L7: within a bounded time everyone is online and in step.
    fn settle(&mut self) {
        let config = self.host.config();
        let longest = config.replica_timeout + config.snapshot_timeout + Duration::from_secs(30);
        let longest = longest + config.sync_backoff.map_or(Duration::ZERO, |backoff| backoff.most);
        let deadline = self.env.now + 3 * longest;
        // What connections that are gone still have to say is said within a second.
        let soonest = self.env.now + Duration::from_secs(1);
        while self.env.now < soonest || !self.is_settled() {
            assert!(self.env.now < deadline, "L7: not everyone is online after {:?}", 3 * longest);
            self.step();
        }
        self.env.note(format_args!("settled"));
    }

    /// L5: nobody needs a snapshot for a further minute, and all are in step once more (S11).
    fn stay_settled(&mut self) {
        let (full_syncs, until) = (self.host.full_syncs(), self.env.now + Duration::from_secs(60));
        while self.env.now < until || !self.is_settled() {
            assert!(self.env.now < 2 * until, "L7: not everyone is online again");
            self.step();
        }
        assert_eq!(self.host.full_syncs(), full_syncs, "L5: full resyncs recur");
    }

    fn is_settled(&self) -> bool {
        let (id, end, digest) = (self.env.model.id(), self.env.model.end(), self.host.digest());
        self.host.serves_only(self.replicas.len())
            && self.replicas.iter().all(|replica| {
                let held = replica.held().filter(|_| replica.is_streaming());
                held.is_some_and(|held| (held.id, held.end(), held.store.digest()) == (id, end, digest))
            })
    }
}

/// The faults that strike by themselves, from time to time.
const STRIKING: [Fault; 27] = [
    // More often than the others.
    Fault::CutInStream,
    Fault::CutInStream,
    Fault::CutInStream,
    Fault::AskedAstray,
    Fault::AskedAstray,
    Fault::AskedAstray,
    Fault::Clogged,
    Fault::Paused,
    Fault::Crashed,
    Fault::StateLost,
    Fault::StateOlder,
    Fault::EveryoneAway,
    Fault::Mute,
    Fault::AckLost,
    Fault::AckRepeated,
    Fault::AckBackwards,
    Fault::AckAhead,
    Fault::AskedAstray,
    Fault::ClockStoodStill,
    Fault::ClockJumped,
    Fault::ClockWentBack,
    Fault::Reconfigured,
    Fault::RoleGivenUp,
    Fault::SnapshotBegunUnasked,
    Fault::StaleKeyUsed,
    Fault::DiskAhead,
    Fault::DiskStuck,
];
