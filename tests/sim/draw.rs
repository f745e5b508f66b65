//! What is drawn by chance, whatever chance is.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::rng::Rng;

impl Rng {
    /// Any number in `range`, all alike.
    pub(crate) fn within(&mut self, range: RangeInclusive<usize>) -> usize {
        let (least, most) = range.into_inner();
        let span = (most - least) as u64 + 1;
        least + usize::try_from(self.below(span)).expect("it is below a span of usize")
    }

    /// A number in `range` whose magnitude is drawn first: small ones are as frequent as large ones.
    pub(crate) fn scaled(&mut self, range: RangeInclusive<usize>) -> usize {
        let (least, most) = range.into_inner();
        let bits = self.within(0..=(most - least + 1).ilog2() as usize);
        least + self.within(0..=(1 << bits) - 1).min(most - least)
    }

    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.within(0..=99) < percent
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.within(0..=from.len() - 1)]
    }

    /// Some milliseconds, all alike, and a few nanoseconds so that few times coincide.
    pub(crate) fn millis(&mut self, range: RangeInclusive<usize>) -> Duration {
        Duration::from_millis(self.within(range) as u64) + Duration::from_nanos(self.below(1000))
    }

    /// As [`Rng::millis`], short ones as frequent as long ones.
    pub(crate) fn scaled_millis(&mut self, range: RangeInclusive<usize>) -> Duration {
        let most = self.scaled(range.clone());
        self.millis(*range.start()..=most)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.next().to_le_bytes()[0])
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let words = std::iter::repeat_with(|| self.next().to_le_bytes()).take(len.div_ceil(8));
        let mut bytes: Vec<u8> = words.flatten().collect();
        bytes.truncate(len);
        bytes
    }
}
