use std::hint::black_box;
use std::time::Duration;

use headwater::Timestamp;

use crate::nodes::{Node, Ordered, Scanned};
use crate::support::{Random, Work, timed};

/// A case, given how many wait and how many replicas there are.
pub(crate) type Case = fn(usize, usize) -> Work;

/// A case by name, as this crate does it and as a scan of all waiters does it.
pub(crate) struct Pair {
    pub(crate) ordered: Case,
    pub(crate) scanned: Case,
}

/// An ack that ends nobody.
pub(crate) const ENDS_NOBODY: Pair =
    Pair { ordered: ends_nobody::<Ordered>, scanned: ends_nobody::<Scanned> };

/// An ack that ends the one who waits longest; somebody else comes.
pub(crate) const ENDS_ONE: Pair = Pair {
    ordered: |waiters, replicas| ends_one::<Ordered>(waiters, replicas, Timeouts::None),
    scanned: |waiters, replicas| ends_one::<Scanned>(waiters, replicas, Timeouts::None),
};

/// The same, where each has the same timeout, which never comes.
pub(crate) const ENDS_ONE_WITH_DEADLINE: Pair = Pair {
    ordered: |waiters, replicas| ends_one::<Ordered>(waiters, replicas, Timeouts::Equal),
    scanned: |waiters, replicas| ends_one::<Scanned>(waiters, replicas, Timeouts::Equal),
};

/// The same, where each has a timeout of its own.
pub(crate) const ENDS_ONE_WITH_RANDOM_DEADLINE: Pair = Pair {
    ordered: |waiters, replicas| ends_one::<Ordered>(waiters, replicas, Timeouts::Random),
    scanned: |waiters, replicas| ends_one::<Scanned>(waiters, replicas, Timeouts::Random),
};

/// An ack that ends everybody, per waiter.
pub(crate) const ENDS_ALL: Pair = Pair {
    ordered: |waiters, replicas| ends_all::<Ordered>(waiters, replicas, Telling::Apart),
    scanned: |waiters, replicas| ends_all::<Scanned>(waiters, replicas, Telling::Apart),
};

/// The same, and each is told of its end.
pub(crate) const ENDS_ALL_AND_TELLS: Pair = Pair {
    ordered: |waiters, replicas| ends_all::<Ordered>(waiters, replicas, Telling::Included),
    scanned: |waiters, replicas| ends_all::<Scanned>(waiters, replicas, Telling::Included),
};

/// All wait, then every replica acks the end of the stream, per round.
pub(crate) const ROUND: Pair = Pair { ordered: round::<Ordered>, scanned: round::<Scanned> };

/// Somebody gives up, whoever that is, and somebody else comes.
pub(crate) const CANCEL: Pair = Pair { ordered: cancel::<Ordered>, scanned: cancel::<Scanned> };

/// All wait, and in the end all time out, per waiter.
pub(crate) const EXPIRE: Pair = Pair {
    ordered: |waiters, replicas| expire::<Ordered>(waiters, replicas, Timeouts::Equal),
    scanned: |waiters, replicas| expire::<Scanned>(waiters, replicas, Timeouts::Equal),
};

/// The same, where each has a timeout of its own.
pub(crate) const EXPIRE_RANDOM: Pair = Pair {
    ordered: |waiters, replicas| expire::<Ordered>(waiters, replicas, Timeouts::Random),
    scanned: |waiters, replicas| expire::<Scanned>(waiters, replicas, Timeouts::Random),
};

/// Time passes, and nobody's is over.
pub(crate) const NOTHING_DUE: Pair =
    Pair { ordered: nothing_due::<Ordered>, scanned: nothing_due::<Scanned> };

#[derive(Clone, Copy)]
enum Timeouts {
    None,
    Equal,
    Random,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Telling {
    Included,
    Apart,
}

impl Timeouts {
    fn draw(self, random: &mut Random) -> Option<Duration> {
        match self {
            Self::None => None,
            Self::Equal => Some(Duration::from_secs(100)),
            Self::Random => Some(Duration::from_micros(100_000_000 + random.below(100_000_000))),
        }
    }
}

fn ends_nobody<N: Node + 'static>(waiters: usize, replicas: usize) -> Work {
    let mut node = N::new(replicas);
    for waiter in 0..waiters as u64 {
        node.wait(FAR + waiter, majority(replicas), None, START);
    }
    let (acks, mut end) = (N::acks_in_batch(waiters, replicas), 0);
    let mut turns = (0..replicas).cycle();
    Work::new(acks, move || {
        timed(|| {
            for replica in turns.by_ref().take(acks) {
                end += 1;
                node.ack(replica, black_box(end));
            }
        })
    })
}

fn ends_one<N: Node + 'static>(waiters: usize, replicas: usize, timeouts: Timeouts) -> Work {
    let (mut node, mut random) = (N::new(replicas), Random::new());
    for target in 1..=waiters as u64 {
        node.wait(target, 1, timeouts.draw(&mut random), START);
    }
    let (acks, mut oldest) = (N::acks_in_batch(waiters, replicas), 0);
    let mut turns = (0..replicas).cycle();
    Work::new(acks, move || {
        timed(|| {
            for replica in turns.by_ref().take(acks) {
                oldest += 1;
                node.ack(replica, black_box(oldest));
                assert_eq!(node.take_ended(), 1);
                let timeout = timeouts.draw(&mut random);
                node.wait(oldest + waiters as u64, 1, timeout, after(oldest));
            }
        })
    })
}

/// All but one of the replicas that are needed are there already.
fn ends_all<N: Node + 'static>(waiters: usize, replicas: usize, telling: Telling) -> Work {
    let (mut node, mut end) = (N::new(replicas), 0);
    let needed = majority(replicas);
    Work::new(waiters, move || {
        for _ in 0..waiters {
            end += 1;
            node.wait(end, needed, None, START);
        }
        for replica in 1..needed {
            node.ack(replica, end);
        }
        let mut ended = 0;
        let time = timed(|| {
            node.ack(0, black_box(end));
            if telling == Telling::Included {
                ended += node.take_ended();
            }
        });
        assert_eq!(ended + node.take_ended(), waiters);
        time
    })
}

fn round<N: Node + 'static>(waiters: usize, replicas: usize) -> Work {
    let (mut node, mut end) = (N::new(replicas), 0);
    Work::new(1, move || {
        timed(|| {
            for _ in 0..waiters {
                end += 1;
                node.wait(end, majority(replicas), None, START);
            }
            let mut ended = 0;
            for replica in 0..replicas {
                node.ack(replica, black_box(end));
                ended += node.take_ended();
            }
            assert_eq!(ended, waiters);
        })
    })
}

fn cancel<N: Node + 'static>(waiters: usize, replicas: usize) -> Work {
    let (mut node, mut random, mut end) = (N::new(replicas), Random::new(), FAR);
    let mut waiting: Vec<_> =
        (0..waiters as u64).map(|waiter| node.wait(FAR - waiter, 1, None, START)).collect();
    Work::new(100, move || {
        timed(|| {
            for _ in 0..100 {
                end += 1;
                let index = usize::try_from(random.below(waiters as u64)).expect("it is below a length");
                let waiter = &mut waiting[index];
                node.cancel(*waiter);
                *waiter = node.wait(end, 1, None, START);
            }
        })
    })
}

fn expire<N: Node + 'static>(waiters: usize, replicas: usize, timeouts: Timeouts) -> Work {
    let (mut node, mut random, mut now) = (N::new(replicas), Random::new(), 0);
    Work::new(waiters, move || {
        timed(|| {
            for _ in 0..waiters {
                now += 1;
                node.wait(FAR, 1, timeouts.draw(&mut random), after(now));
            }
            now += 1_000_000_000;
            node.expire(after(now));
            assert_eq!(node.take_ended(), waiters);
        })
    })
}

fn nothing_due<N: Node + 'static>(waiters: usize, replicas: usize) -> Work {
    let (mut node, mut random) = (N::new(replicas), Random::new());
    for _ in 0..waiters {
        node.wait(FAR, 1, Timeouts::Random.draw(&mut random), START);
    }
    let calls = N::acks_in_batch(waiters, 1);
    Work::new(calls, move || timed(|| (0..calls).for_each(|_| node.expire(black_box(START)))))
}

const fn majority(replicas: usize) -> usize {
    replicas / 2 + 1
}

const fn after(micros: u64) -> Timestamp {
    Timestamp::from_origin(Duration::from_micros(micros))
}

const START: Timestamp = after(0);

/// An offset that nobody reaches.
const FAR: u64 = 1 << 60;
