/// Reads an integer as Redis writes it (R187): an optional `-`, no `+`, no blanks, no leading zeros, 64 bits.
pub(super) fn strict(text: &[u8]) -> Option<i64> {
    let canonical = match text.strip_prefix(b"-").unwrap_or(text) {
        [b'1'..=b'9', ..] => true,
        _ => text == b"0",
    };
    if canonical { core::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::*;

    /// R187, and P7 of the numbers that a parser must hold.
    #[test]
    fn has_one_spelling_for_each_number() {
        for (text, expected) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("-7", Some(-7)),
            ("10", Some(10)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("99999999999999999999", None),
            ("", None),
            ("-", None),
            ("-0", None),
            ("00", None),
            ("01", None),
            ("-01", None),
            ("+1", None),
            ("--1", None),
            (" 1", None),
            ("1 ", None),
            ("1e3", None),
            ("0x10", None),
            ("1\0", None),
            ("\u{661}", None), // a digit, but not of ASCII
        ] {
            assert_eq!(strict(text.as_bytes()), expected, "{text:?}");
        }
        assert_eq!(strict(b"1\xff"), None);
    }

    proptest! {
        #[test]
        fn reads_what_it_would_write_and_nothing_else(text in "[-+0-9 ]{0,21}", number: i64) {
            prop_assert_eq!(strict(number.to_string().as_bytes()), Some(number));
            let read = strict(text.as_bytes());
            prop_assert!(read.is_none_or(|number| number.to_string() == text));
        }
    }
}
