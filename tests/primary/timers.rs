use std::time::Duration;

use bytes::Bytes;
use headwater::{
    Ack, Backoff, DropReason, Event, Heartbeat, Level, MinReplicas, OutputLimit, PinBudget, ReplicaKey,
    ReplicaState, SoftLimit, Tag, Timeout, Timestamp, Wait, Wanted,
};
use proptest::prelude::*;

use crate::host::{END_MARKED, Host, NANOSECOND, SIZED, at, seconds};

/// R151: more than the timeout, not the timeout itself.
#[test]
fn a_silent_replica_is_dropped_just_past_its_timeout() {
    let mut host = Host::new(|_| ());
    let (silent, alive) = (host.online(), host.online());
    host.pass(seconds(30));
    host.primary.handle_alive(alive, host.now).unwrap();
    assert_eq!(host.pass(seconds(30)), []);
    let reason = DropReason::Silent { silent: seconds(60) + NANOSECOND, timeout: seconds(60) };
    assert_eq!(host.pass(NANOSECOND), [Event::Dropped { replica: silent, reason }]);
    host.pass(seconds(30) - NANOSECOND);
    assert!(host.is_attached(alive));
    host.pass(NANOSECOND);
    assert!(!host.is_attached(alive));
}

/// R144: an ack with an old offset is a sign of life too.
#[test]
fn any_ack_renews_the_timeout() {
    let mut host = Host::new(|_| ());
    let replica = host.online();
    host.append(b"bytes");
    host.flush(replica);
    host.ack(replica, at(5));
    for _ in 0..5 {
        host.pass(seconds(60));
        host.ack(replica, at(3));
    }
    assert!(host.is_attached(replica));
    assert_eq!(host.primary.report(host.now).replicas[0].acked, Some(at(5)));
}

#[test]
fn one_whose_first_ack_never_comes_is_dropped() {
    let mut host = Host::new(|_| ());
    let replica = host.newcomer();
    let cut = host.begin(END_MARKED);
    host.ready(&cut);
    host.pass(seconds(50));
    host.sent(replica);
    assert_eq!(host.pass(seconds(60)), [Event::SnapshotOver { snapshot: cut.snapshot }]);
    let reason = DropReason::Silent { silent: seconds(60) + NANOSECOND, timeout: seconds(60) };
    assert_eq!(host.pass(NANOSECOND), [Event::Dropped { replica, reason }]);
}

/// R151: it can't be told from a quiet one.
#[test]
fn one_that_never_acknowledges_is_exempt() {
    let mut host = Host::new(|_| ());
    let replica = host.attach(Wanted::Everything, |peer| peer.acks = false).replica;
    let cut = host.begin(SIZED);
    host.ready(&cut);
    host.sent(replica);
    host.pass(seconds(10_000));
    assert!(host.is_attached(replica));
}

/// R153: whoever waits for the host's snapshot is not at fault.
#[test]
fn one_that_waits_for_a_snapshot_is_not_dropped_for_silence() {
    let mut host = Host::new(|_| ());
    let replica = host.newcomer();
    host.pass(seconds(600));
    assert!(host.is_attached(replica));
    host.begin(SIZED);
    host.pass(seconds(600));
    assert!(host.is_attached(replica));
}

#[test]
fn a_shorter_timeout_takes_effect_at_once() {
    let mut host = Host::new(|_| ());
    let replica = host.online();
    host.pass(seconds(20));
    let mut config = host.primary.config().clone();
    config.replica_timeout = seconds(20);
    host.primary.reconfigure(config.clone(), host.now).unwrap();
    assert!(host.is_attached(replica));
    config.replica_timeout = seconds(19);
    host.primary.reconfigure(config, host.now).unwrap();
    assert!(!host.is_attached(replica));
}

/// D3: equal and backward times are taken as a clock that stands still.
#[test]
fn a_clock_that_goes_back_stands_still() {
    let mut host = Host::new(|_| ());
    host.pass(seconds(100));
    let replica = host.online();
    let early = Timestamp::from_origin(seconds(1));
    assert_eq!(host.primary.append(b"bytes", early), Some(at(5)));
    host.primary.handle_alive(replica, early).unwrap();
    host.primary.handle_timeout(early);
    assert_eq!(host.primary.report(early).replicas[0].last_heard, seconds(0));
    host.pass(seconds(60));
    assert!(host.is_attached(replica));
}

#[derive(Clone, Debug)]
enum Step {
    Attach { end_mark: bool },
    Begin,
    Ready,
    Sent(usize),
    Resume(u64),
    CatchUp(usize),
    Wait(u64),
    Alive(usize),
    Append(usize),
    Detach(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => any::<bool>().prop_map(|end_mark| Step::Attach { end_mark }),
        2 => Just(Step::Begin),
        2 => Just(Step::Ready),
        2 => (0..4usize).prop_map(Step::Sent),
        1 => (0..4usize).prop_map(Step::Alive),
        3 => (0..4096u64).prop_map(Step::Resume),
        2 => (0..4usize).prop_map(Step::CatchUp),
        2 => (0..20_000u64).prop_map(Step::Wait),
        2 => (0..3000usize).prop_map(Step::Append),
        1 => (0..4usize).prop_map(Step::Detach),
        6 => (0..4000u64).prop_map(Step::Pass),
    ]
}

/// A host and all that it was told, with the time in milliseconds.
struct Driven {
    host: Host,
    cuts: Vec<headwater::Cut>,
    told: Vec<(u64, Event)>,
}

impl Driven {
    fn new() -> Self {
        let mut host = Host::new(|config| {
            config.backlog_ttl = Some(seconds(70));
            config.backlog_capacity = 4096;
            let soft = SoftLimit { bytes: 4096, lasting: seconds(3) };
            config.output_limit = OutputLimit { hard: Some(20_000), soft: Some(soft) };
            config.resume_pins = PinBudget { bytes: 8000, lasting: seconds(5) };
            config.sync_backoff = Some(Backoff::default());
            config.ack_request = Some(Bytes::from_static(b"ack"));
            config.snapshot_delay = seconds(3);
            config.snapshot_timeout = seconds(20);
            config.heartbeat = Some(Heartbeat { payload: Bytes::from_static(b"beat"), period: seconds(7) });
        });
        host.reconfigure(|config| config.min_replicas = MinReplicas { to_write: 1, max_lag: seconds(10) });
        host.events();
        Self { host, cuts: Vec::new(), told: Vec::new() }
    }

    fn apply(&mut self, step: &Step, eager: bool) {
        let now = self.host.now;
        let attached: Vec<_> =
            self.host.primary.report(now).replicas.iter().map(|replica| replica.replica).collect();
        let pick = |index: usize| attached.get(index % attached.len().max(1)).copied();
        match *step {
            Step::Attach { end_mark } => {
                self.host.attach(Wanted::Everything, |peer| peer.takes_end_mark = end_mark);
            }
            Step::Begin => self.cuts.extend(self.host.primary.begin_snapshot(SIZED, now).ok()),
            Step::Ready => {
                if let Some(cut) = self.cuts.pop() {
                    let _ = self.host.primary.handle_snapshot_ready(cut.snapshot, now);
                }
            }
            Step::Sent(index) => {
                pick(index).map(|replica| self.host.primary.handle_snapshot_sent(replica, now));
            }
            Step::Resume(behind) => {
                let offset = at(self.host.primary.end().get().saturating_sub(behind));
                self.host.resume(offset);
            }
            Step::CatchUp(index) => {
                if let Some(replica) = pick(index) {
                    self.catch_up(replica);
                }
            }
            Step::Wait(millis) => {
                let timeout = Timeout::After(Duration::from_millis(millis));
                let target = self.host.primary.end();
                let wait =
                    Wait { target, replicas: 1, level: Level::Applied, local: false, timeout, tag: Tag(0) };
                let _ = self.host.primary.wait(wait, now).unwrap();
            }
            Step::Alive(index) => {
                pick(index).map(|replica| self.host.primary.handle_alive(replica, now));
            }
            Step::Append(len) => {
                self.host.append(&vec![1; len]);
            }
            Step::Detach(index) => {
                pick(index).map(|replica| self.host.primary.detach(replica, headwater::Detach::Lost, now));
            }
            Step::Pass(ticks) => self.pass(ticks, eager),
        }
        self.drain();
    }

    /// One that is online is sent what there is, and acknowledges it.
    fn catch_up(&mut self, replica: ReplicaKey) {
        if self.host.report_of(replica).state == ReplicaState::Online {
            self.host.flush(replica);
            let sent = self.host.primary.end().get() - self.host.report_of(replica).unsent;
            let _ = self.host.primary.handle_ack(replica, Ack::applied(at(sent)), self.host.now);
        }
    }

    /// A tick at a time, or from deadline to deadline.
    fn pass(&mut self, ticks: u64, eager: bool) {
        for _ in 0..ticks {
            let next = self.host.now.checked_add(Duration::from_millis(10)).unwrap();
            let due = self.host.primary.poll_timeout().is_some_and(|due| due <= next);
            self.host.now = next;
            if eager || due {
                self.host.primary.handle_timeout(next);
                self.drain();
            }
        }
    }

    fn drain(&mut self) {
        let now = self.host.now.since_origin().as_millis();
        let now = u64::try_from(now).unwrap();
        self.told.extend(self.host.events().into_iter().map(|event| (now, event)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whoever asks only when told to hears the same as one who asks at every tick: asking early changes nothing, and
    /// nothing depends on how often the time is told. That no deadline is missing, each deadline's own test shows.
    #[test]
    fn asking_at_deadlines_is_as_good_as_asking_at_every_tick(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let (mut lazy, mut eager) = (Driven::new(), Driven::new());
        for step in &steps {
            lazy.apply(step, false);
            eager.apply(step, true);
            prop_assert_eq!(lazy.host.report(), eager.host.report());
        }
        prop_assert_eq!(lazy.told, eager.told);
    }
}

#[test]
fn nobody_gets_no_heartbeat() {
    let heartbeat = Heartbeat { payload: Bytes::from_static(b"beat"), period: seconds(10) };
    let mut host = Host::new(|config| config.heartbeat = Some(heartbeat));
    let replica = host.online();
    host.pass(seconds(10));
    assert_eq!(host.primary.end(), at(4));
    host.primary.detach(replica, headwater::Detach::Lost, host.now).unwrap();
    host.pass(seconds(100));
    assert_eq!(host.primary.end(), at(4));
}
