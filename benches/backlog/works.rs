//! What is measured, by criterion and in the table alike.

use std::env;
use std::hint::black_box;
use std::io::IoSlice;
use std::time::Duration;

use bytes::Buf;
use headwater::{Backlog, Offset};

use crate::host::Host;
use crate::payload::{KIB, MIB, Payload};
use crate::support::{Random, Work, timed};
use crate::yardsticks::{Broadcast, ByteDeque, BytesQueues, Cursors, FanOut, Keep, MemcpyRing, backlog};

/// Makes the work of appending, given a capacity and the size of units.
type MakeAppend = fn(usize, usize) -> Work;

/// Makes the work of feeding so many replicas.
type MakeFeed = fn(usize, Timed) -> Work;

/// Who keeps a stream, by name.
pub(crate) const KEEPERS: [(&str, MakeAppend); 5] = [
    ("backlog", |capacity, size| append(backlog(capacity), capacity, size)),
    ("memcpy ring", |capacity, size| append(MemcpyRing::new(capacity), capacity, size)),
    ("VecDeque of bytes", |capacity, size| append(ByteDeque::new(capacity), capacity, size)),
    ("queue of Bytes", |capacity, size| append(BytesQueues::new(capacity, 0), capacity, size)),
    ("broadcast of Bytes", |capacity, size| append(Broadcast::new(capacity, size, 0), capacity, size)),
];

/// Who feeds replicas, by name.
pub(crate) const FEEDERS: [(&str, MakeFeed); 4] = [
    ("cursors", |replicas, part| feed(Cursors::new(MIB, replicas), replicas, part)),
    ("primary", |replicas, part| feed(Host::new(MIB, replicas), replicas, part)),
    ("queues of Bytes", |replicas, part| feed(BytesQueues::new(MIB, replicas), replicas, part)),
    ("broadcast of Bytes", |replicas, part| feed(Broadcast::new(MIB, SMALL, replicas), replicas, part)),
];

/// Which part of a round, one append and a flush of each replica, is timed.
#[derive(Clone, Copy)]
pub(crate) enum Timed {
    /// All of it, as one operation.
    Round,
    /// The flushes, each an operation.
    Flushes,
}

/// One that fits into a core's cache, one that fits into none, and if `HEADWATER_BENCH_LARGE` is set a large one.
pub(crate) fn capacities() -> &'static [usize] {
    if is_large() { &[MIB, 64 * MIB, 1024 * MIB] } else { &[MIB, 64 * MIB] }
}

/// How much history a replica that is gone may have pinned.
pub(crate) fn most_pinned() -> usize {
    if is_large() { 1024 * MIB } else { 256 * MIB }
}

/// Steady state: filled twice round before, so that each append lets old bytes go.
pub(crate) fn append<K: Keep + 'static>(mut keeper: K, capacity: usize, size: usize) -> Work {
    let mut payload = Payload::new(size);
    for _ in 0..2 * capacity / size {
        keeper.append(payload.next());
    }
    let units = BATCH.div_ceil(size);
    Work::new(units, move || {
        timed(|| {
            for _ in 0..units {
                keeper.append(payload.next());
            }
        })
    })
}

/// Hands payloads over that the host shares with the backlog.
pub(crate) fn adopt(size: usize) -> Work {
    let mut backlog = backlog(MIB);
    let mut payload = Payload::new(size);
    Work::new(HAND_OVERS, move || {
        timed(|| {
            for _ in 0..HAND_OVERS {
                backlog.append_shared(payload.next_shared().clone()).expect("the stream has room");
            }
        })
    })
}

/// The first time that memory is touched: the kernel's page faults outweigh all else.
pub(crate) fn first_fill<K: Keep>(make: impl Fn() -> K + 'static) -> Work {
    let mut payload = Payload::new(SMALL);
    let units = FIRST_FILL / SMALL;
    Work::new(units, move || {
        let mut keeper = make();
        let time = timed(|| {
            for _ in 0..units {
                keeper.append(payload.next());
            }
        });
        // Bytes that nobody could read any more would not be written.
        black_box(&keeper);
        time
    })
}

/// Appends to a primary whose replicas catch up between the batches.
pub(crate) fn append_attached(replicas: usize) -> Work {
    let mut host = Host::new(MIB, replicas);
    let mut payload = Payload::new(SMALL);
    let units = MIB / SMALL;
    Work::new(units, move || {
        let time = timed(|| {
            for _ in 0..units {
                host.append(payload.next());
            }
        });
        host.flush();
        time
    })
}

/// A whole `SET`, 107 bytes in ten pieces: encoded into the stream, staged, committed.
pub(crate) fn write_command() -> Work {
    let mut host = Host::new(MIB, 0);
    let mut value = Payload::new(SMALL);
    Work::new(COMMANDS, move || {
        timed(|| {
            for _ in 0..COMMANDS {
                host.write(black_box(&[b"SET", b"key:000000000042", value.next()]));
            }
        })
    })
}

/// The same bytes, encoded already.
pub(crate) fn append_command() -> Work {
    append(Host::new(MIB, 0), MIB, 107)
}

/// Looks up where a replica that comes back goes on, and forgets it again.
pub(crate) fn resume(capacity: usize) -> Work {
    let mut backlog = filled(capacity);
    let mut random = Random::new();
    let kept = backlog.end().bytes_since(backlog.start()).expect("the end is behind the start");
    Work::new(LOOK_UPS, move || {
        timed(|| {
            for _ in 0..LOOK_UPS {
                let at = backlog.start().checked_add(random.below(kept)).expect("it is kept");
                let cursor = backlog.cursor(at).expect("it is kept");
                backlog.release(black_box(cursor));
            }
        })
    })
}

/// Gathers 16 chunks for one `writev`.
pub(crate) fn gather() -> Work {
    let mut backlog = filled(64 * MIB);
    let cursor = backlog.cursor(backlog.start()).expect("it is kept");
    Work::new(GATHERS, move || {
        let reader = backlog.read(&cursor);
        let mut slices = [IoSlice::new(&[]); 16];
        timed(|| {
            for _ in 0..GATHERS {
                assert_eq!(black_box(&reader).chunks_vectored(black_box(&mut slices)), 16);
            }
        })
    })
}

/// Portions of a surplus, as they are let go of when history that was pinned is not needed any more.
pub(crate) fn let_go(pinned: usize) -> Work {
    Work::new(pinned / MIB, move || let_go_times(pinned).iter().sum())
}

/// What the calls take, in order, by which much history, pinned until now, is let go of.
pub(crate) fn let_go_times(pinned: usize) -> Vec<Duration> {
    let bytes = vec![b'x'; MIB];
    let mut backlog = backlog(MIB);
    let cursor = backlog.cursor(Offset::ZERO).expect("nothing was let go of yet");
    for _ in 0..pinned / MIB {
        Keep::append(&mut backlog, &bytes);
    }
    let mut times = vec![timed(|| backlog.release(cursor))];
    while backlog.has_surplus() {
        times.push(timed(|| Keep::append(&mut backlog, &bytes[..64 * KIB])));
        times.push(timed(|| {
            backlog.trim();
        }));
    }
    times.sort_unstable();
    times
}

/// What single appends of 64 bytes take, in order, the clock's own 20 ns included.
pub(crate) fn append_latencies(capacity: usize) -> Vec<Duration> {
    let mut backlog = filled(capacity);
    let mut payload = Payload::new(SMALL);
    let mut times: Vec<_> =
        (0..1_000_000).map(|_| timed(|| Keep::append(&mut backlog, payload.next()))).collect();
    times.sort_unstable();
    times
}

fn feed<F: FanOut + 'static>(mut feeder: F, replicas: usize, part: Timed) -> Work {
    let mut payload = Payload::new(SMALL);
    for _ in 0..2 * MIB / SMALL {
        feeder.append(payload.next());
        feeder.flush();
    }
    match part {
        Timed::Round => Work::new(ROUNDS, move || {
            timed(|| {
                for _ in 0..ROUNDS {
                    feeder.append(payload.next());
                    feeder.flush();
                }
            })
        }),
        Timed::Flushes => Work::new(ROUNDS * replicas, move || {
            let flush = |_| {
                feeder.append(payload.next());
                timed(|| feeder.flush())
            };
            (0..ROUNDS).map(flush).sum()
        }),
    }
}

fn is_large() -> bool {
    env::var_os("HEADWATER_BENCH_LARGE").is_some_and(|value| value != "0")
}

fn filled(capacity: usize) -> Backlog {
    let mut backlog = backlog(capacity);
    let mut payload = Payload::new(4096);
    for _ in 0..2 * capacity / 4096 {
        Keep::append(&mut backlog, payload.next());
    }
    while backlog.trim() {}
    backlog
}

/// The size of a unit where nothing else is said.
pub(crate) const SMALL: usize = 64;
/// Bytes in a batch of appends.
const BATCH: usize = 64 * KIB;
const FIRST_FILL: usize = 16 * MIB;
const HAND_OVERS: usize = 1000;
const COMMANDS: usize = 1000;
const LOOK_UPS: usize = 1000;
const GATHERS: usize = 1000;
const ROUNDS: usize = 16;
