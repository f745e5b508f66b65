//! A datastore's host around one real `Primary`, which it drives exactly by the contract: inputs, then all
//! events, then sleep until `poll_timeout`. Beside it keeps its own account of what must be true by then.

mod checks;
mod clients;
mod clock;
mod deadlines;
mod departures;
mod events;
mod failures;
mod gate;
mod inputs;
mod link;
mod pins;
mod reported;
mod resumes;
mod snapshots;
mod stale;
mod syncs;
mod waits;
mod wishes;
mod writes;

use std::collections::BTreeMap;
use std::time::Duration;

use headwater::{
    Batch, Config, Counters, Detach, Primary, ReplicaKey, ReplicationId, SnapshotKey, Timestamp, WaiterKey,
};

use crate::env::Env;
use crate::fault::Fault;
use crate::model::Store;
use crate::network::{Connection, End};
use crate::options::Options;
use clients::Client;
use clock::Clock;
use departures::Departure;
use failures::Failures;
use link::Link;
use pins::Pin;
use snapshots::Making;
use waits::Waits;

pub(crate) use resumes::Syncs;
pub(crate) use writes::Write;

#[derive(Debug)]
pub(crate) struct Host {
    primary: Primary,
    store: Store,
    clock: Clock,
    links: BTreeMap<Connection, Link>,
    snapshots: BTreeMap<SnapshotKey, Making>,
    /// When it begins the snapshot that is wanted.
    begins_at: Option<Duration>,
    /// When it supplies the id that is wanted.
    supplies_at: Option<Duration>,
    has_supplied: bool,
    /// Batches that came back after their replica had gone, and when they are handed in.
    strays: Vec<(Batch, Duration)>,
    expected: Counters,
    /// Since when nobody is attached, by the clock that the primary is told.
    idle_since: Option<Timestamp>,
    is_kept: bool,
    /// All events are taken. What came of a batch of inputs is looked at only then.
    is_drained: bool,
    /// Until when the inputs of a batch may come; zero between two.
    batch_until: Duration,
    pins: Vec<Pin>,
    failures: Failures,
    clients: Vec<Client>,
    waits: Waits,
    /// Numbers waits.
    client_tags: u64,
    /// When its own disk syncs next, if it has one.
    syncs_at: Option<Duration>,
    /// Keys that are nobody's any more.
    stale: Vec<ReplicaKey>,
    over: Vec<WaiterKey>,
    /// Snapshots that are over.
    finished: Vec<SnapshotKey>,
    /// Since when somebody may be given a snapshot, and the host was not asked for it.
    wanted_since: Option<Timestamp>,
    /// Syncs that were found to have failed when their replicas were back already.
    failed_behind: u64,
    /// Syncs that were cut short, and requests from before what the backlog covers.
    failed_syncs: u64,
    gaps: u64,
    /// When what follows an offset entered the stream.
    entered: Vec<(usize, Timestamp)>,
    /// How many have attached.
    arrivals: u64,
    /// As the host was told.
    is_gate_open: bool,
    /// Bytes before it may be gone from the backlog: at some time the capacity did not reach so far back.
    may_be_lost: usize,
    /// Of all capacities that the backlog has had.
    largest_chunk: usize,
    smallest_chunk: usize,
    most_kept: usize,
    /// The largest unit, whether it ended or was taken back.
    largest_unit: usize,
}

impl Host {
    pub(crate) fn new(options: &Options, id: ReplicationId) -> Self {
        let config = options.config.clone();
        let primary = Primary::new(config, id, Timestamp::default()).expect("options are drawn to be valid");
        Self {
            primary,
            store: Store::default(),
            clock: Clock::default(),
            links: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            begins_at: None,
            supplies_at: None,
            has_supplied: false,
            strays: Vec::new(),
            expected: Counters::default(),
            idle_since: None,
            is_kept: false,
            is_drained: false,
            batch_until: Duration::ZERO,
            pins: Vec::new(),
            failures: Failures::default(),
            clients: (0..options.clients).map(|_| Client::default()).collect(),
            waits: Waits::default(),
            client_tags: 0,
            syncs_at: options.has_disk.then_some(Duration::ZERO),
            stale: Vec::new(),
            over: Vec::new(),
            finished: Vec::new(),
            wanted_since: None,
            failed_behind: 0,
            failed_syncs: 0,
            gaps: 0,
            entered: Vec::new(),
            arrivals: 0,
            is_gate_open: true,
            may_be_lost: 0,
            largest_chunk: 0,
            smallest_chunk: 0,
            most_kept: 0,
            largest_unit: 0,
        }
    }

    /// When it has something to do by itself.
    pub(crate) fn due(&self) -> Option<Duration> {
        let wakes_at = self.primary.poll_timeout().map(|at| self.clock.true_time(at));
        let stray = self.strays.iter().map(|(_, at)| *at).min();
        let making = self.snapshots.values().filter_map(Making::due).min();
        let snapshot = [making, self.begins_at].into_iter().flatten().min().filter(|_| self.is_drained);
        [wakes_at, stray, snapshot, self.supplies_at, self.syncs_at].into_iter().flatten().min()
    }

    /// When each connection has something for it to do.
    pub(crate) fn due_links(&self, env: &Env) -> impl Iterator<Item = (Duration, Connection)> {
        self.links.values().filter_map(|link| {
            let readable = env.network.readable_at(link.connection, End::Primary);
            let writable = link.due(env).filter(|_| self.is_drained);
            let due = [readable, writable].into_iter().flatten().min()?;
            Some((due, link.connection))
        })
    }

    pub(crate) fn accept(&mut self, connection: Connection) {
        self.links.insert(connection, Link::new(connection));
    }

    /// Does what is due by itself.
    pub(crate) fn act(&mut self, env: &mut Env) {
        self.wake(env);
        self.supply_id(env);
        self.return_strays(env);
        self.sync_disk(env);
        if self.is_drained {
            self.begin_snapshot(env);
            self.finish_snapshots(env);
            self.end_batch(env);
        }
    }

    /// Serves one connection: reads what has come, and writes what it takes.
    pub(crate) fn serve(&mut self, connection: Connection, env: &mut Env) {
        self.read(connection, env);
        self.end_batch(env);
        if self.is_drained {
            self.send(connection, env);
            self.end_batch(env);
        }
    }

    /// Takes the events, unless the host is so slow that more inputs come into the same batch.
    pub(crate) fn end_batch(&mut self, env: &mut Env) {
        self.is_drained = false;
        self.lose_untold_client(env);
        if self.batch_until.is_zero() && !env.is_calm && env.rng.chance(10) {
            self.batch_until = env.now + env.rng.scaled_millis(0..=50);
        }
        if env.is_calm || env.now >= self.batch_until {
            self.drain(env);
        }
    }

    /// Until when events wait for the end of a batch, if they do.
    pub(crate) fn batch_until(&self) -> Option<Duration> {
        (!self.is_drained).then_some(self.batch_until)
    }

    pub(crate) fn reconfigure(&mut self, config: Config, env: &mut Env) {
        self.drain(env);
        let (now, before) = (self.clock.read(env.now), self.end());
        // Those who wait already were not asked for by this request.
        self.waits.acks_wanted |= config.ack_request != self.config().ack_request && self.waits.len() > 0;
        self.primary.reconfigure(config, now).expect("options are drawn to be valid");
        self.wanted_since = None;
        self.note_reach(before);
        if self.config().sync_backoff.is_none() {
            self.failures.clear();
        }
        self.judge_output(before);
        self.enforce_pins(before);
        self.on_woken(before, env);
        self.drain(env);
    }

    pub(crate) fn config(&self) -> &Config {
        self.primary.config()
    }

    pub(crate) fn clock_mut(&mut self) -> &mut Clock {
        &mut self.clock
    }

    pub(crate) fn full_syncs(&self) -> u64 {
        self.expected.sync_full
    }

    /// Whether exactly so many replicas are attached, all of them online and fully acknowledged.
    pub(crate) fn serves_only(&self, replicas: usize) -> bool {
        let end = self.end();
        let served =
            self.attached().filter(|(link, _)| link.account.is_online && link.account.acked == Some(end));
        self.waits.len() == 0
            && served.count() == replicas
            && self.attached().count() == replicas
            && self.snapshots.is_empty()
    }

    /// What a cut of this connection would be a cut of; `None` if the host is done with it.
    pub(crate) fn cut_of(&self, connection: Connection) -> Option<Fault> {
        let link = self.links.get(&connection)?;
        Some(match link.transfer {
            Some(_) => Fault::CutInSnapshot,
            None if link.account.is_online => Fault::CutInStream,
            None => Fault::CutInHandshake,
        })
    }

    pub(crate) fn digest(&self) -> u64 {
        self.store.digest()
    }

    /// Faults have stopped: nothing takes its time any more.
    pub(crate) fn calm(&mut self, env: &mut Env) {
        let now = env.now;
        self.dismiss_hopeless(env);
        self.clock.thaw();
        self.begins_at = self.begins_at.map(|_| now);
        self.supplies_at = self.supplies_at.map(|_| now);
    }

    /// Begins a snapshot though none may be wanted.
    pub(crate) fn begin_unasked(&mut self, now: Duration) {
        self.begins_at = Some(now);
    }

    fn end(&self) -> usize {
        usize::try_from(self.primary.end().get()).expect("runs are short")
    }

    fn wake(&mut self, env: &mut Env) {
        let (now, before) = (self.clock.read(env.now), self.end());
        let is_due = self.primary.poll_timeout().is_some_and(|due| due <= self.clock.latest());
        self.primary.handle_timeout(now);
        let next = self.primary.poll_timeout();
        if !is_due && self.is_drained {
            let event = self.primary.poll_event();
            assert!(event.is_none() && self.end() == before, "{event:?} comes before its time");
        }
        assert!(next.is_none_or(|next| next > now), "after handle_timeout({now:?}) comes {next:?}");
        self.on_woken(before, env);
        self.end_batch(env);
        if self.is_drained && now == self.clock.latest() {
            self.check_deadlines(now);
            self.check_wish(now);
        }
    }

    /// The primary was told the time, before which its stream ended at `before`. In this order it does what is due.
    fn on_woken(&mut self, before: usize, env: &mut Env) {
        self.end_waits_by_time(env);
        self.judge_snapshots(before);
        self.judge_silence(before);
        self.judge_output(before);
        self.enforce_pins(before);
        self.note_heartbeat(before, env);
        self.observe(env);
    }

    /// Between two units the primary puts at most one heartbeat at a time into the stream.
    fn note_heartbeat(&mut self, before: usize, env: &mut Env) {
        if self.end() > before {
            let heartbeat = self.config().heartbeat.clone().expect("nothing else grows by itself");
            self.enter(&heartbeat.payload, env);
        }
    }

    fn supply_id(&mut self, env: &mut Env) {
        if self.supplies_at.take_if(|at| *at <= env.now).is_some() {
            let id = ReplicationId::from_random(env.rng.array());
            self.primary.supply_id(id).expect("an id drawn at random is fresh");
            self.has_supplied = true;
        }
    }

    fn return_strays(&mut self, env: &mut Env) {
        for (batch, _) in self.strays.extract_if(.., |(_, at)| *at <= env.now) {
            self.primary.handle_batch_written(batch, self.clock.read(env.now));
        }
    }

    /// The connection is closed, or is to be: lets go of all that concerns it.
    fn lose(&mut self, connection: Connection, env: &mut Env) {
        let Some(link) = self.links.get(&connection) else { return };
        if let Some(replica) = link.replica {
            let now = self.clock.read(env.now);
            let (how, departure, count) = if env.rng.chance(50) {
                (Detach::Clean, Departure::Clean, &mut self.expected.detached_clean)
            } else {
                (Detach::Lost, Departure::Lost, &mut self.expected.detached_lost)
            };
            self.primary.detach(replica, how, now).expect("it is attached, or its end was not told yet");
            *count += 1;
            let end = self.end();
            self.depart(connection, departure, end);
        }
        let Some(link) = self.links.remove(&connection) else { return };
        self.stale.extend(link.replica);
        env.network.close(connection, End::Primary, env.now);
        self.keep_stray(link, env);
    }

    fn keep_stray(&mut self, link: Link, env: &mut Env) {
        if let Some(batch) = link.into_batch() {
            let at = env.in_millis(0, 1000);
            self.strays.push((batch, at));
        }
    }

    fn send(&mut self, connection: Connection, env: &mut Env) {
        let Some(link) = self.links.get_mut(&connection) else { return };
        let lost = match link.write_output(env) {
            Ok((written, is_done)) => {
                if written > 0 {
                    self.note_progress(connection, written, env);
                }
                is_done && self.send_stream(connection, env).is_err()
            }
            Err(_) => true,
        };
        if lost {
            self.lose(connection, env);
        }
    }

    fn send_stream(&mut self, connection: Connection, env: &mut Env) -> std::io::Result<()> {
        self.end_transfer(connection, env);
        let Some(link) = self.links.get_mut(&connection) else { return Ok(()) };
        let before = link.account.sent;
        let sent = link.send(&mut self.primary, &mut self.clock, env);
        self.expected.sent_bytes +=
            link.account.sent.zip(before).map_or(0, |(now, before)| now - before) as u64;
        self.judge_output(self.end());
        sent
    }

    /// The latest time that the primary was told.
    fn now(&self) -> Timestamp {
        self.clock.latest()
    }

    /// Those whom the host has not been told of as dropped.
    fn attached(&self) -> impl Iterator<Item = (&Link, ReplicaKey)> {
        self.links.values().filter_map(|link| Some((link, link.replica?)))
    }

    /// Those who are not dropped.
    fn live(&self) -> impl Iterator<Item = (&Link, ReplicaKey)> {
        self.attached().filter(|(link, _)| link.is_live())
    }
}
