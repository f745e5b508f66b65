use core::fmt;

/// A position in one replication stream: how many of its bytes come before this point; at most `i64::MAX`.
///
/// The Redis wire counts differently in one place (PSYNC names the *next byte wanted*, from 1): only
/// [`wire`](crate::wire) knows of that.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Offset(u64);

impl Offset {
    /// The beginning of a stream.
    pub const ZERO: Self = Self(0);

    /// The last position that the wire's signed 64 bits can name.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// The position after `bytes` bytes, or `None` above [`Offset::MAX`].
    pub const fn new(bytes: u64) -> Option<Self> {
        if bytes > Self::MAX.0 { None } else { Some(Self(bytes)) }
    }

    /// How many bytes come before this position.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position `bytes` further on, or `None` above [`Offset::MAX`].
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(sum) => Self::new(sum),
            None => None,
        }
    }

    /// Bytes from `earlier` to `self`, or `None` when `earlier` is the later one.
    pub const fn bytes_since(self, earlier: Self) -> Option<u64> {
        self.0.checked_sub(earlier.0)
    }

    /// The position `bytes` further on, or [`Offset::MAX`] if that is nearer.
    pub(crate) const fn saturating_add(self, bytes: u64) -> Self {
        match self.checked_add(bytes) {
            Some(sum) => sum,
            None => Self::MAX,
        }
    }

    /// Bytes from `earlier` to `self`, zero when `earlier` is the later one.
    pub(crate) const fn saturating_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_at_what_the_wire_can_name() {
        let limit = i64::MAX as u64;
        assert_eq!(Offset::new(limit), Some(Offset::MAX));
        assert_eq!(Offset::new(limit + 1), None);
        assert_eq!(Offset::MAX.checked_add(0), Some(Offset::MAX));
        assert_eq!(Offset::MAX.checked_add(1), None);
        assert_eq!(Offset::ZERO.checked_add(u64::MAX), None);
        assert_eq!(Offset::MAX.saturating_add(1), Offset::MAX);
    }

    #[test]
    fn does_not_go_backward() {
        let (earlier, later) = (Offset(100), Offset(250));
        assert_eq!(later.bytes_since(earlier), Some(150));
        assert_eq!(earlier.bytes_since(later), None);
        assert_eq!(earlier.saturating_since(later), 0);
    }
}
