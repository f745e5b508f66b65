use core::fmt;

/// The name of one history: 40 hexadecimal characters on the wire, compared without regard to case.
///
/// Two streams with one id are the same bytes at the same offsets, so an id is drawn at random, from the
/// host's source of randomness: the core has none.
///
/// ```
/// use headwater::ReplicationId;
///
/// let id = ReplicationId::parse(b"8ee4a1c9d0b35e7f26a4c8d1e3f50719b2d4c6e8").expect("40 hex characters");
/// assert_eq!(ReplicationId::parse(b"8EE4A1C9D0B35E7F26A4C8D1E3F50719B2D4C6E8"), Some(id));
/// assert_eq!(id.to_string(), "8ee4a1c9d0b35e7f26a4c8d1e3f50719b2d4c6e8");
/// assert_eq!(ReplicationId::parse(b"?"), None);
/// ```
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ReplicationId([u8; 20]);

impl ReplicationId {
    /// The id of no history: forty zeros on the wire, where Redis prints it for "none". [`History`] refuses it.
    ///
    /// [`History`]: crate::History
    pub const NONE: Self = Self([0; 20]);

    /// The id made of 20 random bytes.
    pub const fn from_random(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// Reads 40 hexadecimal characters of either case; `None` for anything else.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text: &[u8; 40] = text.try_into().ok()?;
        let mut bytes = [0; 20];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = hex_digit(pair[0])? * 16 + hex_digit(pair[1])?;
        }
        Some(Self(bytes))
    }

    /// Eight of its bytes: random as long as it is.
    pub(crate) fn bits(self) -> u64 {
        self.0.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

impl fmt::Display for ReplicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ReplicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplicationId({self})")
    }
}

fn hex_digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        b'A'..=b'F' => Some(character - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn takes_forty_hex_characters_of_either_case_and_nothing_else() {
        let lower = b"0123456789abcdef0123456789abcdef01234567";
        let id = ReplicationId::parse(lower).unwrap();
        assert_eq!(ReplicationId::parse(&lower.to_ascii_uppercase()), Some(id));
        assert_eq!(id.to_string().as_bytes(), lower);
        assert_eq!(format!("{id:?}"), format!("ReplicationId({id})"));
        for wrong in [&lower[..39], b"0123456789abcdef0123456789abcdef012345678", b"", b"?"] {
            assert_eq!(ReplicationId::parse(wrong), None, "{wrong:?}");
        }
        for position in 0..40 {
            let mut text = *lower;
            text[position] = b'g';
            assert_eq!(ReplicationId::parse(&text), None, "{text:?}");
        }
    }
}
