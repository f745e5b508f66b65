use std::ops::RangeInclusive;
use std::time::Duration;

/// The only source of chance: SplitMix64, so that a seed means the same run on every machine.
#[derive(Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Any number in `range`, all alike.
    pub(crate) fn within(&mut self, range: RangeInclusive<usize>) -> usize {
        let (least, most) = range.into_inner();
        let span = (most - least) as u64 + 1;
        least + usize::try_from(self.next() % span).expect("it is below a span of usize")
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
        Duration::from_millis(self.within(range) as u64) + Duration::from_nanos(self.next() % 1000)
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
