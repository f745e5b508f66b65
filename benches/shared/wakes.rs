use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Buf;
use headwater::shared::{self, SharedNode, Step};
use headwater::{Ack, Offset, WaitEnded};

use crate::logs;
use crate::replicas::{online, wait};
use crate::support::Work;

/// Whatever has threads sleep until a replica holds what they wait for.
pub(crate) trait Wakes: Send + Sync + 'static {
    fn new() -> Self;

    /// Parks the caller.
    fn wait(&self, target: u64);

    fn waiting(&self) -> usize;

    fn ack(&self, upto: u64);

    /// Wakes all, for good.
    fn end(&self);
}

/// What this crate does.
pub(crate) struct Parked {
    node: SharedNode,
    sender: shared::Sender,
    start: Offset,
}

impl Parked {
    fn at(&self, target: u64) -> Offset {
        self.start.checked_add(target).expect("no stream is that long")
    }
}

impl Wakes for Parked {
    fn new() -> Self {
        let node = logs::node();
        let mut sender = online(&node);
        let start = node.end();
        node.write(|unit| headwater::Sink::put(unit, &[b'x'; MOST_ROUNDS])).expect("the stream has room");
        let Step::Stream(batch) = sender.next() else { panic!("there is nothing else to do") };
        batch.advance(batch.remaining());
        Self { node, sender, start }
    }

    fn wait(&self, target: u64) {
        let end = self.node.wait(wait(self.at(target), 1)).expect("there is room");
        assert!(matches!(end.how, WaitEnded::Satisfied | WaitEnded::Cancelled));
    }

    fn waiting(&self) -> usize {
        self.node.report().waiters
    }

    fn ack(&self, upto: u64) {
        let ack = Ack::applied(self.at(upto));
        self.node.handle_ack(self.sender.replica(), ack).expect("it was sent that");
    }

    fn end(&self) {
        self.node.shutdown();
    }
}

/// What one writes first: all wake at each ack, and each looks whether it is done.
pub(crate) struct WakesAll {
    state: Mutex<State>,
    bell: Condvar,
}

struct State {
    acked: u64,
    waiting: usize,
}

impl Wakes for WakesAll {
    fn new() -> Self {
        Self { state: Mutex::new(State { acked: 0, waiting: 0 }), bell: Condvar::new() }
    }

    fn wait(&self, target: u64) {
        let mut state = self.state.lock().expect("nobody panics");
        while state.acked < target {
            state.waiting += 1;
            state = self.bell.wait(state).expect("nobody panics");
            state.waiting -= 1;
        }
    }

    fn waiting(&self) -> usize {
        self.state.lock().expect("nobody panics").waiting
    }

    fn ack(&self, upto: u64) {
        self.state.lock().expect("nobody panics").acked = upto;
        self.bell.notify_all();
    }

    fn end(&self) {
        self.ack(u64::MAX);
    }
}

/// Callers that sleep. One of them is done at the next ack, and the others never.
pub(crate) struct Sleepers<W: Wakes> {
    wakes: Arc<W>,
    threads: Vec<JoinHandle<()>>,
    /// What the one is to wait for, and when it has woken.
    targets: Sender<u64>,
    woken: Receiver<Instant>,
    acked: u64,
}

impl<W: Wakes> Sleepers<W> {
    pub(crate) fn new(callers: usize) -> Self {
        let wakes = Arc::new(W::new());
        let (targets, next_target) = mpsc::channel();
        let (wake, woken) = mpsc::channel();
        let one = Arc::clone(&wakes);
        let mut threads = vec![spawn(move || {
            for target in next_target {
                one.wait(target);
                let _ = wake.send(Instant::now()); // nobody hears of the end
            }
        })];
        threads.extend((1..callers).map(|_| {
            let wakes = Arc::clone(&wakes);
            spawn(move || wakes.wait(FAR))
        }));
        Self { wakes, threads, targets, woken, acked: 0 }
    }

    /// The time from an ack to the return of the one that it ends.
    pub(crate) fn wake_one(&mut self) -> Duration {
        self.acked += 1;
        self.targets.send(self.acked).expect("it sleeps or listens");
        while self.wakes.waiting() != self.threads.len() {
            thread::yield_now();
        }
        thread::sleep(SETTLING);
        let start = Instant::now();
        self.wakes.ack(self.acked);
        self.woken.recv().expect("it listens") - start
    }
}

impl<W: Wakes> Drop for Sleepers<W> {
    fn drop(&mut self) {
        self.targets = mpsc::channel().0;
        self.wakes.end();
        for thread in self.threads.drain(..) {
            thread.join().expect("it was woken");
        }
    }
}

pub(crate) fn work<W: Wakes>(callers: usize) -> Work {
    let mut sleepers = Sleepers::<W>::new(callers);
    Work::new(1, move || sleepers.wake_one())
}

/// The microseconds that so many of 100 wakes don't take longer than.
pub(crate) fn percentile<W: Wakes>(callers: usize, of_100: usize) -> f64 {
    let mut sleepers = Sleepers::<W>::new(callers);
    let mut times: Vec<_> = (0..ROUNDS).map(|_| sleepers.wake_one()).collect();
    times.sort_unstable();
    times[ROUNDS * of_100 / 100].as_secs_f64() * 1e6
}

fn spawn(run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::Builder::new().stack_size(STACK).spawn(run).expect("the system has threads left")
}

/// Who waits falls asleep a little later than it is counted.
const SETTLING: Duration = Duration::from_micros(100);

/// The 99th percentile is the second slowest.
const ROUNDS: usize = 200;

/// As many acks as there are bytes.
const MOST_ROUNDS: usize = 1 << 20;

/// Nobody acknowledges that.
const FAR: u64 = 1 << 60;

const STACK: usize = 64 << 10;
