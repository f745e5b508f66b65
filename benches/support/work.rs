use std::time::{Duration, Instant};

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
