use core::time::Duration;

/// How long somebody waits after a failed attempt: longer after each, and not as long as another.
///
/// ```
/// use std::time::Duration;
/// use headwater::Backoff;
///
/// let backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(60) };
/// assert_eq!(backoff.delay(1, 0), Duration::from_millis(500));
/// assert_eq!(backoff.delay(3, 0), Duration::from_secs(2)); // of at most 4 s
/// assert_eq!(backoff.delay(99, 1 << 63), Duration::from_secs(45)); // of at most 60 s
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Backoff {
    /// At most this after the first failure; it doubles with each.
    pub first: Duration,
    /// At most this after any number of failures.
    pub most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), most: Duration::from_secs(60) }
    }
}

impl Backoff {
    /// The wait after so many `failures`, from 1: one half of it is certain, the other is drawn by random `bits`, so
    /// that those who failed together don't come back together.
    pub fn delay(&self, failures: u32, bits: u64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let longest = self.first.checked_mul(1 << doublings).map_or(self.most, |delay| delay.min(self.most));
        let half = longest / 2;
        half + part(half, bits)
    }
}

/// `bits` of 2^64 of a span.
fn part(span: Duration, bits: u64) -> Duration {
    let scaled = |amount: u64| (u128::from(amount) * u128::from(bits >> 32)) >> 32;
    let nanos = (u128::from(span.as_secs()) * u128::from(bits >> 32) * NANOS) >> 32;
    let nanos = nanos + scaled(u64::from(span.subsec_nanos()));
    let seconds = u64::try_from(nanos / NANOS).unwrap_or(u64::MAX);
    Duration::new(seconds, u32::try_from(nanos % NANOS).unwrap_or(0))
}

/// The finalizer of SplitMix64: each bit of the result depends on each bit of the state.
pub(crate) const fn mix(state: u64) -> u64 {
    let state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    state ^ (state >> 31)
}

/// In a second.
const NANOS: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// L5: the delay doubles to its cap.
    #[test]
    fn each_failure_doubles_the_delay_up_to_the_cap() {
        let backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(6) };
        let longest = |failures| backoff.delay(failures, u64::MAX).as_secs_f64();
        for (failures, seconds) in
            [(0, 1.0), (1, 1.0), (2, 2.0), (3, 4.0), (4, 6.0), (40, 6.0), (u32::MAX, 6.0)]
        {
            assert!((longest(failures) - seconds).abs() < 1e-6, "{failures}: {}", longest(failures));
        }
    }

    proptest! {
        #[test]
        fn half_of_it_is_certain(
            first in 0..u64::MAX / 2, most in 0..u64::MAX / 2, failures: u32, bits: u64
        ) {
            let backoff = Backoff { first: Duration::from_nanos(first), most: Duration::from_nanos(most) };
            let (least, delay) = (backoff.delay(failures, 0), backoff.delay(failures, bits));
            prop_assert!(least <= delay && delay <= least * 2, "{:?} of {:?}", delay, least);
            prop_assert!(delay <= backoff.most);
        }

        #[test]
        fn no_span_is_too_long(failures: u32, bits: u64) {
            let backoff = Backoff { first: Duration::MAX, most: Duration::MAX };
            prop_assert!(backoff.delay(failures, bits) >= Duration::MAX / 2);
        }
    }
}
