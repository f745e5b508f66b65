use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use crate::logs::{LockedBytes, LockedPrimary, Log};
use crate::replicas::Replicated;
use crate::support::Work;

/// Through a shared node, until the replicas hold it, each by a sender of its own.
pub(crate) fn shared(threads: usize, senders: usize) -> Work {
    let replicated = Replicated::new(senders);
    Work::new(UNITS, move || {
        let start = append(&replicated.node, threads);
        replicated.drain();
        start.elapsed()
    })
}

/// Into bytes behind a lock.
pub(crate) fn locked_bytes(threads: usize) -> Work {
    unsent(LockedBytes::new(), threads)
}

/// Into a primary behind a lock.
pub(crate) fn locked_primary(threads: usize) -> Work {
    unsent(LockedPrimary::new(), threads)
}

fn unsent(log: impl Log + 'static, threads: usize) -> Work {
    Work::new(UNITS, move || append(&log, threads).elapsed())
}

/// The threads begin together. Tells when, once all are done.
fn append(log: &impl Log, threads: usize) -> Instant {
    let barrier = Barrier::new(threads);
    let run = || {
        barrier.wait();
        let start = Instant::now();
        for _ in 0..UNITS / threads {
            log.append(black_box(&[b'x'; 64]));
        }
        start
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        let starts = threads.into_iter().map(|thread| thread.join().expect("it can append"));
        starts.min().expect("there is a thread")
    })
}

/// 4 MiB: some milliseconds, so that all threads are at it most of the time.
const UNITS: usize = 1 << 16;
