//! `Replica` against a model that is written the obvious way: random inputs, whether they fit or not, from a host that
//! may be late to take events.

mod plain;

use std::collections::BTreeSet;
use std::time::Duration;

use headwater::{Backoff, LinkKey, Replica, ReplicaConfig, ResumePoint, Timestamp, UpstreamEvent};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::cluster::{at, id, seconds};
use plain::{Input, Link, Model, Stage, after, history};

const NANOSECOND: Duration = Duration::from_nanos(1);

#[derive(Clone, Debug)]
enum Step {
    /// What fits.
    Next,
    Current(Input),
    /// About any link that there ever was.
    Any(Index, Input),
    Fsynced(u64),
    Acknowledge,
    Pass(Duration),
    /// To the next deadline, or a moment before it.
    Due {
        early: bool,
    },
}

/// Both, and the host between them.
struct Pair {
    replica: Replica,
    model: Model,
    /// Every link that the host was told to open, in order.
    links: Vec<LinkKey>,
    /// The connections that the host has.
    open: BTreeSet<LinkKey>,
}

impl Pair {
    fn new(config: ReplicaConfig, held: Option<ResumePoint>) -> Self {
        let replica = Replica::new(config, held, Timestamp::default()).unwrap();
        Self { replica, model: Model::new(config, held), links: Vec::new(), open: BTreeSet::new() }
    }

    fn act(&mut self, step: &Step) {
        let now = self.model.now;
        match step {
            Step::Next => self.hear(self.links.last().copied(), self.model.fitting()),
            Step::Current(input) => self.hear(self.links.last().copied(), *input),
            Step::Any(index, input) if !self.links.is_empty() => {
                self.hear(Some(*index.get(&self.links)), *input);
            }
            Step::Any(..) => {}
            Step::Fsynced(offset) => {
                let upto = at(*offset);
                assert_eq!(self.replica.handle_fsynced(upto), self.model.handle_fsynced(upto));
            }
            Step::Acknowledge => {
                self.replica.acknowledge();
                self.model.is_ack_wanted = true;
            }
            Step::Pass(span) => self.pass_to(after(now, *span)),
            Step::Due { early } => {
                let early = if *early { NANOSECOND } else { Duration::ZERO };
                let due = self.replica.poll_timeout().unwrap_or(now).since_origin();
                self.pass_to(Timestamp::from_origin(due.saturating_sub(early)).max(now));
            }
        }
    }

    fn pass_to(&mut self, now: Timestamp) {
        self.model.handle_timeout(now, self.replica.poll_timeout());
        self.replica.handle_timeout(now);
        assert!(self.replica.poll_timeout().is_none_or(|due| due > now), "what was due is done");
    }

    fn hear(&mut self, link: Option<LinkKey>, input: Input) {
        let Some(link) = link else { return };
        let (replica, now) = (&mut self.replica, self.model.now);
        let told = match input {
            Input::Connected => replica.handle_connected(link, now),
            Input::Disconnected => {
                replica.handle_disconnected(link, now);
                Ok(())
            }
            Input::Heard => replica.handle_heard(link, now),
            Input::Asked => replica.handle_asked(link, now),
            Input::Resumed(number) => replica.handle_resumed(link, number.map(history), now),
            Input::Full(number, offset) => {
                replica.handle_full(link, ResumePoint { id: history(number), offset: at(offset) }, now)
            }
            Input::SnapshotEnd => replica.handle_snapshot_end(link, now),
            Input::Loaded => replica.handle_loaded(link, now),
            Input::LoadFailed => replica.handle_load_failed(link, now),
            Input::Replacing => replica.handle_replacing(link, now),
            Input::Received(bytes) => replica.handle_received(link, bytes, now),
            Input::Applied(bytes) => replica.handle_applied(link, &vec![0; bytes], now).map(drop),
            Input::Unreadable => replica.handle_unreadable(link, now),
        };
        assert_eq!(told, self.model.handle(link, input, now));
        if matches!(input, Input::Disconnected) || (matches!(input, Input::LoadFailed) && told.is_ok()) {
            self.open.remove(&link);
        }
    }

    /// The host takes all events: one Connect for each link, and one Close for each that it has and that is given up.
    fn drain(&mut self) {
        let events: Vec<_> = std::iter::from_fn(|| self.replica.poll_event()).collect();
        let connect = events.iter().find(|(_, event)| *event == UpstreamEvent::Connect).map(|(key, _)| *key);
        assert_eq!(events, self.model.events(connect));
        for (key, event) in events {
            match event {
                UpstreamEvent::Connect => {
                    assert!(self.links.last().is_none_or(|last| *last < key), "no key is used again");
                    self.links.push(key);
                    self.open.insert(key);
                }
                UpstreamEvent::Close(_) => assert!(self.open.remove(&key), "it is open"),
                _ => assert!(self.open.contains(&key), "{event:?} is about what is open"),
            }
        }
        assert!(self.open.len() <= 1, "no connection is forgotten: {:?}", self.open);
    }

    fn judge(&self) {
        let (replica, model) = (&self.replica, &self.model);
        replica.check_invariants();
        assert_eq!(
            (replica.held(), replica.wanted(), replica.ack()),
            (model.held, model.wanted(), model.ack())
        );
        let report = replica.report(model.now);
        assert_eq!((report.state, report.held), (model.state(), model.held));
        assert_eq!((report.fsynced, report.attempts), (model.fsynced, model.attempts));
        let since = |at: Option<Timestamp>| at.map(|at| model.now.saturating_since(at));
        assert_eq!((report.staleness, report.down_for), (since(model.fresh_at), since(model.lost_at)));
        let due = replica.poll_timeout();
        match model.link {
            Link::Waiting { least, most } => {
                assert!(
                    due.is_some_and(|due| due >= least && due <= most),
                    "{due:?} in {least:?} to {most:?}"
                );
                assert_eq!((report.received, report.last_heard), (None, None));
            }
            Link::Live(live) => {
                let deadlines = [live.gives_up_at(&model.config), live.beat_at];
                assert_eq!(due, deadlines.into_iter().flatten().min());
                assert_eq!(report.last_heard, since(Some(live.heard)));
                let received = if let Stage::InStep(received) = live.stage { Some(received) } else { None };
                assert_eq!(report.received, received);
            }
        }
    }
}

fn input() -> impl Strategy<Value = Input> {
    use Input::*;
    prop_oneof![
        1 => Just(Connected),
        2 => Just(Disconnected),
        1 => Just(Heard),
        1 => Just(Asked),
        2 => proptest::option::of(0..4u8).prop_map(Resumed),
        2 => (0..4u8, 0..300u64).prop_map(|(number, offset)| Full(number, offset)),
        1 => Just(SnapshotEnd),
        1 => Just(Loaded),
        1 => Just(LoadFailed),
        1 => Just(Replacing),
        2 => prop_oneof![9 => 0..50u64, 1 => Just(i64::MAX as u64), 1 => Just(u64::MAX)].prop_map(Received),
        2 => (0..60usize).prop_map(Applied),
        1 => Just(Unreadable),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let nanos = |longest: Duration| 0..=u64::try_from(longest.as_nanos()).unwrap();
    prop_oneof![
        8 => Just(Step::Next),
        4 => input().prop_map(Step::Current),
        1 => (any::<Index>(), input()).prop_map(|(index, input)| Step::Any(index, input)),
        1 => (0..200u64).prop_map(Step::Fsynced),
        1 => Just(Step::Acknowledge),
        2 => prop_oneof![nanos(seconds(2)), nanos(seconds(70))].prop_map(|span| Step::Pass(Duration::from_nanos(span))),
        3 => any::<bool>().prop_map(|early| Step::Due { early }),
    ]
}

proptest! {
    /// R36, R154, R155, R208, R210, R220, R221, S4.
    #[test]
    fn a_replica_does_what_its_model_does(
        holds in proptest::option::of(0..200u64),
        seed: u64,
        steps in vec((step(), proptest::bool::weighted(0.8)), 1..150),
    ) {
        let mut config = ReplicaConfig::default();
        config.backoff = Backoff { first: seconds(2), most: seconds(16) };
        config.seed = seed;
        let held = holds.map(|offset| ResumePoint { id: id(1), offset: at(offset) });
        let mut pair = Pair::new(config, held);
        for (step, takes_events) in &steps {
            pair.act(step);
            if *takes_events {
                pair.drain();
            }
            pair.judge();
        }
    }
}
