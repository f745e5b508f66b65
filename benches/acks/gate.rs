//! The write gate: an ack comes, then a write asks whether enough replicas are good.

use std::hint::black_box;
use std::time::Duration;

use headwater::{GoodReplicas, MinReplicas, ReplicaKey, Tag, Timestamp};

use crate::support::{Work, timed};

/// With the count that is kept.
pub(crate) fn kept(replicas: usize) -> Work {
    let mut good = GoodReplicas::new(LIMITS);
    let keys = keys(replicas);
    for key in &keys {
        good.insert(*key, Timestamp::default());
    }
    work(replicas, move |who, now| {
        good.heard(keys[who], now);
        good.good(now)
    })
}

/// With a look at each replica, as one writes it first.
pub(crate) fn recounted(replicas: usize) -> Work {
    let mut heard: Vec<_> = keys(replicas).into_iter().map(|key| (key, Timestamp::default())).collect();
    work(replicas, move |who, now| {
        heard[who].1 = now;
        heard.iter().filter(|(_, at)| now.saturating_since(*at) <= LIMITS.max_lag).count()
    })
}

/// The replicas acknowledge one after the other, a microsecond apart.
fn work(replicas: usize, mut ack_and_count: impl FnMut(usize, Timestamp) -> usize + 'static) -> Work {
    let (mut now, mut who) = (Duration::ZERO, 0);
    Work::new(ACKS, move || {
        timed(|| {
            for _ in 0..ACKS {
                now += Duration::from_micros(1);
                who = if who + 1 == replicas { 0 } else { who + 1 };
                black_box(ack_and_count(black_box(who), Timestamp::from_origin(now)));
            }
        })
    })
}

fn keys(replicas: usize) -> Vec<ReplicaKey> {
    (0..u32::try_from(replicas).expect("few")).map(|place| ReplicaKey::new(place, 1, Tag(0))).collect()
}

const LIMITS: MinReplicas = MinReplicas { to_write: 1, max_lag: Duration::from_secs(10) };

const ACKS: usize = 4096;
