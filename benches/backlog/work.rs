use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;

/// A batch of equal operations that times itself, so that what it prepares is left out.
///
/// One look at the clock costs some 20 ns: a batch should hold enough for that not to count.
pub(crate) struct Work {
    /// In one batch.
    operations: usize,
    batch: Box<dyn FnMut() -> Duration>,
}

impl Work {
    pub(crate) fn new(operations: usize, batch: impl FnMut() -> Duration + 'static) -> Self {
        Self { operations, batch: Box::new(batch) }
    }

    /// The time that so many operations take, whole batches of them in proportion.
    pub(crate) fn run(&mut self, operations: u64) -> Duration {
        let batches = operations.div_ceil(self.operations as u64);
        let time: Duration = (0..batches).map(|_| (self.batch)()).sum();
        time.mul_f64(operations as f64 / (batches * self.operations as u64) as f64)
    }
}

pub(crate) fn timed(operation: impl FnOnce()) -> Duration {
    let start = Instant::now();
    operation();
    start.elapsed()
}

/// Payloads of one size, from places that differ in their offset within a page: how source and destination of a
/// copy lie to each other can double its time, so a single place would measure luck.
pub(crate) struct Payload {
    sources: [Bytes; 64],
    next: usize,
}

impl Payload {
    pub(crate) fn new(size: usize) -> Self {
        let bytes = Bytes::from(vec![b'x'; size + 64 * STEP]);
        let source = |index: usize| {
            let start = index * STEP;
            bytes.slice(start..start + size)
        };
        Self { sources: std::array::from_fn(source), next: 0 }
    }

    /// The next one; its length is a surprise to the compiler, as a host's would be.
    #[inline]
    pub(crate) fn next(&mut self) -> &[u8] {
        self.next = (self.next + 1) % self.sources.len();
        black_box(&self.sources[self.next])
    }
}

/// Bytes as people write them.
pub(crate) fn size_name(bytes: usize) -> String {
    match bytes {
        0..KIB => format!("{bytes} B"),
        KIB..MIB => format!("{} KiB", bytes / KIB),
        _ => format!("{} MiB", bytes / MIB),
    }
}

/// The numbers of a xorshift generator.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    /// A number below `bound`.
    #[inline]
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The high half of the product is spread as the number is, without a division.
        ((u128::from(self.0) * u128::from(bound)) >> 64) as u64
    }
}

pub(crate) const KIB: usize = 1 << 10;
pub(crate) const MIB: usize = 1 << 20;
/// From one source to the next: the sources spread over a page, and over a cache line.
const STEP: usize = 72;
