use std::time::Duration;

use bytes::Bytes;
use headwater::{Level, Tag, Timeout, Timestamp, Wait, WaitEnd, WaitEnded, WaitOutcome};

use super::host::Host;
use super::unit;

/// Clients that write to one host at a steady rate: so many writes, spread evenly over a span, the last at its end.
#[derive(Clone, Debug)]
pub struct Load {
    pub host: usize,
    pub first_key: u64,
    pub from: Timestamp,
    pub span: Duration,
    pub writes: u64,
    /// Of one write. From 16 KiB on all writes are the same one: its key is overwritten, and nothing is copied.
    pub bytes: usize,
    /// Writes that are less than this apart, with nothing else in between, are made before their bytes are sent.
    pub burst: Duration,
    /// How many replicas each client waits for, if for any.
    pub wait: Option<usize>,
}

/// A [`Load`] under way, and what came of it.
#[derive(Debug)]
pub struct Writer {
    load: Load,
    shared: Option<Bytes>,
    tried: u64,
    pub accepted: u64,
    pub refused: u64,
    pub first_refused: Option<Timestamp>,
    pub last_refused: Option<Timestamp>,
}

impl Writer {
    pub fn new(load: Load) -> Self {
        let shared = (load.bytes >= SHARED_FROM).then(|| unit::shared(load.first_key, load.bytes));
        Self { load, shared, tried: 0, accepted: 0, refused: 0, first_refused: None, last_refused: None }
    }

    pub const fn host(&self) -> usize {
        self.load.host
    }

    /// When the next write is due.
    pub fn next_at(&self) -> Option<Timestamp> {
        let number = (self.tried < self.load.writes).then(|| self.tried + 1)?;
        let nanos = self.load.span.as_nanos() * u128::from(number) / u128::from(self.load.writes);
        let since = Duration::from_nanos(u64::try_from(nanos).ok()?);
        self.load.from.checked_add(since)
    }

    /// Makes the write that is due, and those of its burst that come before anything else happens at `others`. Tells
    /// when the last one was.
    pub fn write(&mut self, host: &mut Host, others: Option<Timestamp>) -> Option<Timestamp> {
        let first = self.next_at()?;
        let until = first.checked_add(self.load.burst)?;
        let until = others.map_or(until, |others| others.min(until));
        let mut last = first;
        self.write_one(host, first);
        while let Some(at) = self.next_at().filter(|at| *at < until) {
            self.write_one(host, at);
            last = at;
        }
        Some(last)
    }

    fn write_one(&mut self, host: &mut Host, now: Timestamp) {
        let Host { node, keys, .. } = host;
        let key = if self.shared.is_some() { self.load.first_key } else { self.load.first_key + self.tried };
        self.tried += 1;
        let written = node.primary().write(now, |unit| {
            keys.insert(key);
            match &self.shared {
                Some(shared) => headwater::Sink::put_shared(unit, shared.clone()),
                None => unit::put(unit, key, self.load.bytes),
            }
        });
        if written.is_err() {
            self.refused += 1;
            self.first_refused.get_or_insert(now);
            self.last_refused = Some(now);
            return;
        }
        self.accepted += 1;
        if let Some(replicas) = self.load.wait {
            wait_for(host, replicas, key, now);
        }
    }
}

/// The client is answered once so many replicas hold its write.
fn wait_for(host: &mut Host, replicas: usize, key: u64, now: Timestamp) {
    let primary = host.node.primary();
    let (target, timeout) = (primary.end(), Timeout::Never);
    let wait = Wait { target, replicas, level: Level::Applied, local: false, timeout, tag: Tag(key) };
    let outcome = primary.wait(wait, now).expect("it leads, and as many may wait as there are clients");
    if let WaitOutcome::Ended(WaitEnd { how: WaitEnded::Satisfied, .. }) = outcome {
        host.confirmed.insert(key);
    }
}

/// From here on the backlog keeps what it is handed without a copy.
const SHARED_FROM: usize = 16 << 10;
