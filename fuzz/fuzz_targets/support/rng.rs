//! Chance for the hosts of the tests, as a fuzzer decides it.

use std::collections::VecDeque;

#[path = "../../../tests/sim/rng.rs"]
mod seeded;

/// Each byte of a choice is one number, as far as they go, so that a changed byte changes one thing. What follows, and all
/// that has to look like chance, comes of the whole choice.
#[derive(Debug)]
pub(crate) struct Rng {
    choice: VecDeque<u8>,
    rest: seeded::Rng,
}

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self { choice: VecDeque::new(), rest: seeded::Rng::new(seed) }
    }

    pub(crate) fn of(choice: &[u8]) -> Self {
        let seed = choice.iter().fold(0, |seed, byte| seeded::Rng::new(seed ^ u64::from(*byte)).next());
        Self { choice: choice.iter().copied().collect(), ..Self::new(seed) }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.rest.next()
    }

    pub(crate) fn below(&mut self, count: u64) -> u64 {
        let bits = u64::BITS - (count - 1).leading_zeros();
        let bytes = bits.div_ceil(8) as usize;
        if bytes > self.choice.len() {
            return self.rest.below(count);
        }
        self.choice.drain(..bytes).fold(0, |number, byte| number << 8 | u64::from(byte)) % count
    }
}
