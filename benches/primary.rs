//! What a whole write costs in a `Primary` whose replicas are sent it and acknowledge it.
//!
//! `cargo bench --bench primary` measures everything with criterion. `cargo bench --bench primary -- ratios` runs
//! subject and yardstick in turn instead, and prints one table of what was promised. The yardstick of a primary with
//! limits, lag and gate is the same one without.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark reads the clock")]

#[path = "support/mod.rs"]
mod support;

use std::hint::black_box;
use std::time::Duration;
use std::{env, io};

use criterion::{Criterion, Throughput};
use headwater::{
    Ack, Config, Event, Framing, Image, MinReplicas, OutputLimit, Peer, Primary, ReplicaKey, ReplicationId,
    Sent, SoftLimit, Tag, Timestamp, Wanted, wire,
};

use support::{Target, Work, bench, timed};

fn main() {
    if env::args().any(|argument| argument == "ratios") {
        return support::print(&targets());
    }
    let mut criterion = support::criterion();
    bench_set(&mut criterion);
    criterion.final_summary();
}

fn bench_set(criterion: &mut Criterion) {
    for replicas in REPLICAS {
        let mut group =
            criterion.benchmark_group(format!("SET of 64 B, sent to and acknowledged by {replicas}"));
        for (name, guards) in [("limits, lag and gate", Guards::On), ("no limits, no gate", Guards::Off)] {
            bench(&mut group, name, Throughput::Elements(1), || set(guards, replicas));
        }
    }
}

fn targets() -> Vec<Target> {
    let guarded = |replicas| {
        let name = format!("SET with limits, lag and gate / without, {replicas} replicas");
        Target::ratio(name, 1.1, move || set(Guards::On, replicas), move || set(Guards::Off, replicas))
    };
    let mut targets: Vec<_> = REPLICAS.map(guarded).into();
    let name = "append 64 B with limits, lag and gate, 100 replicas / none";
    targets.push(Target::ratio(name, 1.1, || append(100), || append(0)));
    targets
}

/// Whether what a host can switch on is on.
#[derive(Clone, Copy)]
enum Guards {
    On,
    Off,
}

/// A round of pipelined commands, a flush of each replica, and an ack of each: the time of one command.
fn set(guards: Guards, replicas: usize) -> Work {
    let mut host = Host::new(guards, replicas);
    let values = [[b'x'; 64], [b'y'; 64]];
    Work::new(ROUNDS * PIPELINED, move || {
        timed(|| {
            for round in 0..ROUNDS {
                host.pass();
                for _ in 0..PIPELINED {
                    host.set(black_box(&values[round % 2]));
                }
                host.flush();
                host.acknowledge();
            }
        })
    })
}

/// Nothing but the append; what replicas are sent and acknowledge comes between two batches, untimed.
fn append(replicas: usize) -> Work {
    let mut host = Host::new(Guards::On, replicas);
    Work::new(APPENDS, move || {
        host.pass();
        host.flush();
        host.acknowledge();
        timed(|| {
            for _ in 0..APPENDS {
                host.primary.append(black_box(&[b'x'; 64]), host.now).expect("the stream has room");
            }
        })
    })
}

/// A primary whose replicas are online.
struct Host {
    primary: Primary,
    replicas: Vec<ReplicaKey>,
    now: Timestamp,
}

impl Host {
    fn new(guards: Guards, replicas: usize) -> Self {
        let now = Timestamp::from_origin(Duration::ZERO);
        let id = |byte| ReplicationId::from_random([byte; 20]);
        let mut primary = Primary::new(config(guards, replicas), id(1), now).expect("it can work");
        primary.supply_id(id(2)).expect("the id is fresh");
        let mut attach = |tag| {
            let attached = primary.attach(Wanted::Everything, Peer::new(Tag(tag), "replica"), now);
            attached.expect("there is room").replica
        };
        // The stream is kept from the first replica on, whoever stays.
        let first = attach(0);
        let replicas = (1..=replicas as u64).map(attach).collect();
        primary.detach(first, headwater::Detach::Clean, now).expect("it is attached");
        let mut host = Self { primary, replicas, now };
        host.flush();
        host
    }

    /// As long as a pass of a busy host's loop takes.
    fn pass(&mut self) {
        self.now = self.now.checked_add(Duration::from_micros(20)).expect("the clock has no end");
        self.primary.handle_timeout(self.now);
    }

    #[inline]
    fn set(&mut self, value: &[u8]) {
        let command: [&[u8]; 3] = [b"SET", b"key:000000000042", value];
        let written = self.primary.write(self.now, |unit| wire::put_command(unit, &command));
        black_box(written.expect("enough replicas are good"));
    }

    fn flush(&mut self) {
        while let Some(event) = self.primary.poll_event() {
            match event {
                Event::SnapshotWanted { .. } => {
                    let image = Image { framing: Framing::Sized, replayable: true, size: None };
                    let cut = self.primary.begin_snapshot(image, self.now).expect("somebody waits");
                    self.primary.handle_snapshot_ready(cut.snapshot, self.now).expect("it is not over");
                }
                Event::SendSnapshot { replica, .. } => {
                    self.primary.handle_snapshot_sent(replica, self.now).expect("it is attached");
                }
                Event::Send(replica) => {
                    let sent = self.primary.write_to(replica, &mut TakesAll, self.now);
                    assert_eq!(sent.expect("the writer never fails"), Sent::All);
                }
                _ => {}
            }
        }
    }

    fn acknowledge(&mut self) {
        let ack = Ack::applied(self.primary.end());
        for replica in &self.replicas {
            self.primary.handle_ack(*replica, ack, self.now).expect("it was sent that");
        }
    }
}

fn config(guards: Guards, replicas: usize) -> Config {
    let mut config = Config::default();
    config.max_transfers = 1000;
    match guards {
        Guards::On => {
            let soft = SoftLimit { bytes: 64 << 20, lasting: Duration::from_secs(60) };
            config.output_limit = OutputLimit { hard: Some(256 << 20), soft: Some(soft) };
            config.min_replicas = MinReplicas { to_write: replicas, max_lag: Duration::from_secs(10) };
        }
        Guards::Off => config.output_limit = OutputLimit { hard: None, soft: None },
    }
    config
}

/// A socket that takes everything and does nothing.
struct TakesAll;

impl io::Write for TakesAll {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(black_box(bytes).len())
    }

    #[inline]
    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        Ok(black_box(slices).iter().map(|slice| slice.len()).sum())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const REPLICAS: [usize; 4] = [0, 1, 8, 100];

/// Commands that one read of a client brings.
const PIPELINED: usize = 16;

const ROUNDS: usize = 64;

const APPENDS: usize = 4096;
