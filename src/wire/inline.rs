use alloc::vec::Vec;
use core::ops::Range;

/// The arguments of an inline command, without quotes and escapes.
pub(super) struct InlineArgs {
    /// One after the other.
    pub(super) text: Vec<u8>,
    /// Where each lies in `text`.
    pub(super) args: Vec<Range<usize>>,
}

/// Splits a line into arguments at blanks, as Redis does.
///
/// Double quotes keep blanks and know escapes, single quotes know `\'` alone; both end the argument. A NUL is
/// a byte like any other (Redis would drop what follows it). `None` if quotes are unbalanced.
pub(super) fn split(line: &[u8]) -> Option<InlineArgs> {
    let mut inline = InlineArgs { text: Vec::with_capacity(line.len()), args: Vec::new() };
    let mut rest = skip_blanks(line);
    while !rest.is_empty() {
        let start = inline.text.len();
        rest = skip_blanks(read_arg(rest, &mut inline.text)?);
        inline.args.push(start..inline.text.len());
    }
    Some(inline)
}

/// Puts the argument at the front of `rest` into `text`; what follows it is left.
fn read_arg<'a>(mut rest: &'a [u8], text: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [] => return Some(rest),
            [blank, ..] if is_blank(*blank) => return Some(rest),
            [b'"', quoted @ ..] => return at_blank(read_double_quoted(quoted, text)),
            [b'\'', quoted @ ..] => return at_blank(read_single_quoted(quoted, text)),
            [byte, after @ ..] => {
                text.push(*byte);
                after
            }
        }
    }
}

/// `None` if the quotes are not closed.
fn read_double_quoted<'a>(mut rest: &'a [u8], text: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, after) = match rest {
            [b'"', after @ ..] => return Some(after),
            [b'\\', escape @ ..] => unescape(escape)?,
            _ => split_first(rest)?,
        };
        text.push(byte);
        rest = after;
    }
}

/// `None` if the quotes are not closed.
fn read_single_quoted<'a>(mut rest: &'a [u8], text: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, after) = match rest {
            [b'\'', after @ ..] => return Some(after),
            [b'\\', b'\'', after @ ..] => (b'\'', after),
            _ => split_first(rest)?,
        };
        text.push(byte);
        rest = after;
    }
}

/// The byte that an escape stands for, and what follows it. Unknown ones stand for their character.
fn unescape(escape: &[u8]) -> Option<(u8, &[u8])> {
    if let [b'x', high, low, after @ ..] = escape
        && let Some(byte) = hex_pair(*high, *low)
    {
        return Some((byte, after));
    }
    let (character, after) = split_first(escape)?;
    let byte = match character {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    };
    Some((byte, after))
}

/// What follows closing quotes must be a blank, or nothing.
fn at_blank(rest: Option<&[u8]>) -> Option<&[u8]> {
    rest.filter(|rest| rest.first().is_none_or(|byte| is_blank(*byte)))
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| is_blank(**byte)).count();
    &text[blanks..]
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn hex_pair(high: u8, low: u8) -> Option<u8> {
    let digit = |character| char::from(character).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

fn split_first(bytes: &[u8]) -> Option<(u8, &[u8])> {
    bytes.split_first().map(|(first, rest)| (*first, rest))
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use super::*;

    fn split_text(line: &[u8]) -> Option<Vec<String>> {
        let inline = split(line)?;
        Some(inline.args.into_iter().map(|arg| inline.text[arg].escape_ascii().collect()).map(text).collect())
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn splits_at_blanks_and_takes_off_quotes_and_escapes() {
        for (line, expected) in [
            (&b""[..], &[][..]),
            (b" \t\r\n", &[]),
            (b"PING\r\n", &["PING"]),
            (b" set\tkey   value \n", &["set", "key", "value"]),
            (br#"set key "a b""#, &["set", "key", "a b"]),
            (br#""" '' x"#, &["", "", "x"]),
            (br#""\n\r\t\b\a\"\\\q""#, &[r#"\n\r\t\x08\x07\"\\q"#]),
            (br#""\x41\xfF\x00\xg1\x4""#, &[r"A\xff\x00xg1x4"]),
            (br"'a\'b\n\x41'", &[r"a\'b\\n\\x41"]),
            (br#"a"b c""#, &["ab c"]), // quotes may begin within an argument
            (br"a\nb", &[r"a\\nb"]),   // no escapes outside quotes
            (b"a\0b c\0", &[r"a\x00b", r"c\x00"]),
        ] {
            assert_eq!(split_text(line).unwrap(), expected, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn quotes_must_close_before_a_blank_or_the_end() {
        for line in
            [r#""abc"#, "'abc", r#""abc\"#, r#""abc\""#, r"'abc\'", r#""a"b"#, "'a'b", r#""a"'b'"#, r#"""""#]
        {
            assert_eq!(split_text(line.as_bytes()), None, "{line}");
        }
    }
}
