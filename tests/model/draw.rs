//! What is drawn by chance, whatever chance is.

use std::time::Duration;

use crate::rng::Rng;

impl Rng {
    /// Of 0 to `most`, inclusive.
    pub(crate) fn upto(&mut self, most: u64) -> u64 {
        match most.checked_add(1) {
            Some(count) => self.below(count),
            None => self.next(),
        }
    }

    pub(crate) fn within(&mut self, least: u64, most: u64) -> u64 {
        least + self.upto(most - least)
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.upto(99) < percent
    }

    pub(crate) fn size(&mut self, least: usize, most: usize) -> usize {
        usize::try_from(self.within(least as u64, most as u64)).expect("between two sizes")
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        (!of.is_empty()).then(|| of[self.size(0, of.len() - 1)])
    }

    pub(crate) fn one_of<T: Copy, const N: usize>(&mut self, of: [T; N]) -> T {
        of[self.size(0, N - 1)]
    }

    pub(crate) fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.within(least, most))
    }
}
