use std::hint::black_box;
use std::time::Duration;

use headwater::{
    Ack, Acks, Level, Offset, ReplicaKey, Tag, Timeout, Timestamp, Wait, WaitOutcome, WaiterKey, Waiters,
};

/// Whatever has callers wait for replicas.
pub(crate) trait Node {
    /// Names somebody who waits.
    type Waiter: Copy;

    /// A node with so many replicas, which have acknowledged nothing of the stream.
    fn new(replicas: usize) -> Self;

    /// Has somebody wait for so many replicas; nobody calls if it is there.
    fn wait(
        &mut self,
        target: u64,
        replicas: usize,
        timeout: Option<Duration>,
        now: Timestamp,
    ) -> Self::Waiter;

    fn cancel(&mut self, waiter: Self::Waiter);

    fn ack(&mut self, replica: usize, upto: u64);

    fn expire(&mut self, now: Timestamp);

    /// Takes out those who ended, and tells how many they were.
    fn take_ended(&mut self) -> usize;

    /// How many acks are worth a look at the clock.
    fn acks_in_batch(waiters: usize, replicas: usize) -> usize;
}

/// What this crate does.
pub(crate) struct Ordered {
    acks: Acks,
    waiters: Waiters,
    replicas: Vec<ReplicaKey>,
}

impl Node for Ordered {
    type Waiter = WaiterKey;

    fn new(replicas: usize) -> Self {
        let mut acks = Acks::default();
        let key = |place| ReplicaKey::new(u32::try_from(place).expect("they are few"), 1, Tag(0));
        let replicas: Vec<_> = (0..replicas).map(key).collect();
        for &replica in &replicas {
            acks.insert(replica);
            acks.set_online(replica);
            acks.record(replica, Ack::applied(at(0)), at(0)).expect("it is there");
        }
        Self { acks, waiters: Waiters::new(usize::MAX), replicas }
    }

    #[inline]
    fn wait(&mut self, target: u64, replicas: usize, timeout: Option<Duration>, now: Timestamp) -> WaiterKey {
        let timeout = timeout.map_or(Timeout::Never, Timeout::After);
        let (target, level, tag) = (at(target), Level::Applied, Tag(target));
        let wait = Wait { target, replicas, level, local: false, timeout, tag };
        match self.waiters.wait(wait, &self.acks, now) {
            Ok(WaitOutcome::Pending(waiter)) => waiter,
            outcome => unreachable!("{outcome:?}"),
        }
    }

    #[inline]
    fn cancel(&mut self, waiter: WaiterKey) {
        self.waiters.cancel(waiter, &self.acks).expect("it waits");
    }

    #[inline]
    fn ack(&mut self, replica: usize, upto: u64) {
        let news = self.acks.record(self.replicas[replica], Ack::applied(at(upto)), Offset::MAX);
        if news.expect("it is there") {
            self.waiters.handle_acks(&self.acks);
        }
    }

    #[inline]
    fn expire(&mut self, now: Timestamp) {
        self.waiters.handle_timeout(&self.acks, now);
    }

    #[inline]
    fn take_ended(&mut self) -> usize {
        let mut ended = 0;
        while let Some((waiter, end)) = self.waiters.poll_ended() {
            black_box((waiter.tag(), end.acked));
            ended += 1;
        }
        ended
    }

    fn acks_in_batch(_: usize, _: usize) -> usize {
        1000
    }
}

/// What one writes first: all waiters in a list, which is looked through at each ack, replica by replica.
pub(crate) struct Scanned {
    acked: Vec<u64>,
    waiting: Vec<Waiting>,
    ended: Vec<(u64, usize)>,
    waits: u64,
}

struct Waiting {
    name: u64,
    target: u64,
    replicas: usize,
    deadline: Option<Timestamp>,
}

impl Node for Scanned {
    type Waiter = u64;

    fn new(replicas: usize) -> Self {
        Self { acked: vec![0; replicas], waiting: Vec::new(), ended: Vec::new(), waits: 0 }
    }

    #[inline]
    fn wait(&mut self, target: u64, replicas: usize, timeout: Option<Duration>, now: Timestamp) -> u64 {
        self.waits += 1;
        let deadline = timeout.and_then(|timeout| now.checked_add(timeout));
        self.waiting.push(Waiting { name: self.waits, target, replicas, deadline });
        self.waits
    }

    #[inline]
    fn cancel(&mut self, waiter: u64) {
        let index = self.waiting.iter().position(|waiting| waiting.name == waiter);
        self.waiting.remove(index.expect("it waits"));
    }

    #[inline]
    fn ack(&mut self, replica: usize, upto: u64) {
        self.acked[replica] = self.acked[replica].max(upto);
        let Self { acked, waiting, ended, .. } = self;
        waiting.retain(|waiting| {
            let count = count(acked, waiting.target);
            if count >= waiting.replicas {
                ended.push((waiting.name, count));
            }
            count < waiting.replicas
        });
    }

    #[inline]
    fn expire(&mut self, now: Timestamp) {
        let Self { acked, waiting, ended, .. } = self;
        waiting.retain(|waiting| {
            let is_over = waiting.deadline.is_some_and(|deadline| deadline <= now);
            if is_over {
                ended.push((waiting.name, count(acked, waiting.target)));
            }
            !is_over
        });
    }

    #[inline]
    fn take_ended(&mut self) -> usize {
        let mut ended = 0;
        for (waiter, acked) in self.ended.drain(..) {
            black_box((waiter, acked));
            ended += 1;
        }
        ended
    }

    fn acks_in_batch(waiters: usize, replicas: usize) -> usize {
        (100_000 / (waiters * replicas)).clamp(1, 1000)
    }
}

#[inline]
fn count(acked: &[u64], target: u64) -> usize {
    acked.iter().filter(|acked| **acked >= target).count()
}

fn at(bytes: u64) -> Offset {
    Offset::new(bytes).expect("no stream is that long")
}
