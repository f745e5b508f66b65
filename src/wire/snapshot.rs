use alloc::string::String;

use super::args::excerpt;
use super::integer;
use super::line::{LineReader, MAX_LINE};

/// Takes a snapshot's frame off, as a primary sends it: by its length, or up to an end mark (R207).
///
/// The image itself is opaque, and handed on in the pieces in which it comes, without a copy. Memory is bounded by one line,
/// whatever length is announced.
///
/// ```
/// use headwater::wire::{SnapshotPiece, SnapshotReader};
///
/// let mut reader = SnapshotReader::new();
/// let mut input = &b"\n$5\r\nimage*1\r\n"[..]; // a keep-alive, five bytes, and the stream
/// let mut pieces = Vec::new();
/// while let Some(piece) = reader.next(&mut input)? {
///     pieces.push(format!("{piece:?}"));
///     if piece == SnapshotPiece::End {
///         break;
///     }
/// }
/// assert_eq!(pieces, ["Start { len: Some(5) }", "Bytes([105, 109, 97, 103, 101])", "End"]);
/// assert_eq!(input, b"*1\r\n");
/// # Ok::<(), headwater::wire::SnapshotReadError>(())
/// ```
#[derive(Debug)]
pub struct SnapshotReader {
    state: State,
    is_over: bool,
}

/// A piece of a snapshot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SnapshotPiece<'a> {
    /// It begins.
    Start {
        /// Its length, if it was told beforehand. It is the primary's word: don't allocate by it.
        len: Option<u64>,
    },
    /// These bytes are next.
    Bytes(&'a [u8]),
    /// It has come whole.
    End,
}

/// Why what comes is no snapshot. It is final.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotReadError {
    /// The primary could not make it.
    #[error("the primary refused the snapshot: {text}")]
    Refused {
        /// Its words, shortened to 128 bytes and escaped.
        text: String,
    },
    /// Neither a length nor an end mark.
    #[error("no snapshot begins with {text}")]
    NoHeader {
        /// What came, shortened to 128 bytes and escaped.
        text: String,
    },
    /// The line before it does not end.
    #[error("the line before the snapshot is longer than {MAX_LINE} bytes")]
    TooLong,
}

#[derive(Debug)]
enum State {
    Header(LineReader),
    Sized {
        left: u64,
    },
    /// The last `matched` bytes that came are the mark's first ones, and have yet to be told. With all of them it is over.
    Marked {
        mark: Mark,
        matched: usize,
    },
}

type Mark = [u8; 40];

impl SnapshotReader {
    /// Begins before the header.
    pub fn new() -> Self {
        Self { state: State::Header(LineReader::default()), is_over: false }
    }

    /// Whether its end was told.
    pub const fn is_over(&self) -> bool {
        self.is_over
    }

    /// The next piece, or `None` when more bytes are needed: then all of `input` was taken. After
    /// [`SnapshotPiece::End`] what is left of it is the stream, and further calls tell the end again.
    ///
    /// # Errors
    ///
    /// [`SnapshotReadError`].
    pub fn next<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<SnapshotPiece<'a>>, SnapshotReadError> {
        if let State::Header(line) = &mut self.state {
            let Some((next, len)) = read_header(line, input)? else { return Ok(None) };
            self.state = next;
            return Ok(Some(SnapshotPiece::Start { len }));
        }
        let piece = match &mut self.state {
            State::Header(_) => None,
            State::Sized { left: 0 } => Some(SnapshotPiece::End),
            State::Sized { left } => {
                let len = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                *left -= len as u64;
                take(input, len)
            }
            State::Marked { mark, matched } => next_marked(mark, matched, input),
        };
        self.is_over |= piece == Some(SnapshotPiece::End);
        Ok(piece)
    }
}

impl Default for SnapshotReader {
    fn default() -> Self {
        Self::new()
    }
}

fn next_marked<'a, 'i: 'a>(
    mark: &'a Mark,
    matched: &mut usize,
    input: &mut &'i [u8],
) -> Option<SnapshotPiece<'a>> {
    while *matched > 0 && *matched < mark.len() {
        let (&next, rest) = input.split_first()?;
        let longest = longest_match(mark, *matched, next);
        let refuted = *matched + 1 - longest;
        if longest > 0 {
            *input = rest;
        }
        let told = refuted.min(*matched);
        *matched = longest;
        if told > 0 {
            return Some(SnapshotPiece::Bytes(&mark[..told]));
        }
    }
    if *matched == mark.len() {
        return Some(SnapshotPiece::End);
    }
    match memchr::memmem::find(input, mark) {
        Some(0) => {
            *input = &input[mark.len()..];
            *matched = mark.len();
            Some(SnapshotPiece::End)
        }
        Some(at) => take(input, at),
        None => {
            *matched = begun_at_end(mark, input);
            let piece = take(input, input.len() - *matched);
            *input = &[];
            piece
        }
    }
}

fn read_header(
    line: &mut LineReader,
    input: &mut &[u8],
) -> Result<Option<(State, Option<u64>)>, SnapshotReadError> {
    while let Some(header) = line.next(input).map_err(|_| SnapshotReadError::TooLong)? {
        return match &header[..] {
            [] => continue, // a keep-alive
            [b'-', error @ ..] => Err(SnapshotReadError::Refused { text: excerpt(error) }),
            [b'$', b'E', b'O', b'F', b':', mark @ ..] if mark.len() >= size_of::<Mark>() => {
                let (mark, _) = mark.split_first_chunk().expect("it is at least as long");
                Ok(Some((State::Marked { mark: *mark, matched: 0 }, None)))
            }
            [b'$', len @ ..]
                if let Some(len) = integer::strict(len).and_then(|len| u64::try_from(len).ok()) =>
            {
                Ok(Some((State::Sized { left: len }, Some(len))))
            }
            _ => Err(SnapshotReadError::NoHeader { text: excerpt(&header) }),
        };
    }
    Ok(None)
}

fn take<'i>(input: &mut &'i [u8], len: usize) -> Option<SnapshotPiece<'i>> {
    let (piece, rest) = input.split_at(len);
    *input = rest;
    (len > 0).then_some(SnapshotPiece::Bytes(piece))
}

/// How many of the mark's first bytes are the last ones of its first `matched` and `next`.
fn longest_match(mark: &Mark, matched: usize, next: u8) -> usize {
    let ends_so = |len: &usize| {
        mark[..*len]
            .split_last()
            .is_none_or(|(last, before)| *last == next && mark[..matched].ends_with(before))
    };
    (0..=matched + 1).rev().find(ends_so).unwrap_or(0)
}

/// How many of the mark's first bytes the end of `bytes` is.
fn begun_at_end(mark: &Mark, bytes: &[u8]) -> usize {
    (1..mark.len()).rev().find(|len| bytes.ends_with(&mark[..*len])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec::Vec;

    use proptest::collection::vec as vec_of;
    use proptest::prelude::*;

    use super::*;

    const MARK: &[u8; 40] = b"aabaabaabaabaabaabaabaabaabaabaabaabaaba";

    /// The announced length, the image, and how much of `input` was left.
    type Read = Result<(Option<u64>, Vec<u8>, usize), SnapshotReadError>;

    /// Reads in pieces of the given sizes, again and again, up to the end of the snapshot or of `input`.
    fn read(mut input: &[u8], sizes: &[usize]) -> Read {
        let (mut reader, mut len, mut image) = (SnapshotReader::new(), None, Vec::new());
        for size in sizes.iter().cycle() {
            let (mut piece, rest) = input.split_at((*size).min(input.len()));
            while let Some(read) = reader.next(&mut piece)? {
                match read {
                    SnapshotPiece::Start { len: announced } => len = announced,
                    SnapshotPiece::Bytes(bytes) => {
                        assert!(!bytes.is_empty(), "a piece is something");
                        image.extend_from_slice(bytes);
                    }
                    SnapshotPiece::End => return Ok((len, image, piece.len() + rest.len())),
                }
            }
            assert!(piece.is_empty(), "all of it was taken");
            input = rest;
            if input.is_empty() {
                break;
            }
        }
        assert!(!reader.is_over());
        Ok((len, image, usize::MAX))
    }

    fn marked(image: &[u8]) -> Vec<u8> {
        [b"\n$EOF:", &MARK[..], b"\r\n", image, MARK, b"*1"].concat()
    }

    /// R207.
    #[test]
    fn a_header_tells_a_length_or_a_mark() {
        assert_eq!(read(b"\n\r\n$0\r\nab", &[99]), Ok((Some(0), Vec::new(), 2)));
        assert_eq!(read(b"$3\nabcd", &[99]), Ok((Some(3), b"abc".to_vec(), 1)));
        assert_eq!(read(&marked(b"image"), &[99]), Ok((None, b"image".to_vec(), 2)));
        // What a header has behind a mark's forty characters means nothing.
        let longer = [b"$EOF:", &MARK[..], b"xyz\r\n", b"image", MARK].concat();
        assert_eq!(read(&longer, &[99]), Ok((None, b"image".to_vec(), 0)));
    }

    #[test]
    fn what_is_no_header_is_told_with_its_bytes() {
        for header in
            ["$-1", "$x", "$", "$01", "$99999999999999999999", "+OK", "*3", "$EOF:short", "REDIS0011"]
        {
            let refused = SnapshotReadError::NoHeader { text: header.into() };
            assert_eq!(read(format!("{header}\r\n").as_bytes(), &[99]), Err(refused));
        }
        let refused = SnapshotReadError::Refused { text: "BGSAVE failed".into() };
        assert_eq!(read(b"-BGSAVE failed\r\n", &[99]), Err(refused));
        assert_eq!(read(&[b'$'; 5000], &[99]), Err(SnapshotReadError::TooLong));
    }

    /// An announced length takes no memory.
    #[test]
    fn an_absurd_length_is_only_a_number() {
        let (len, image, _) = read(b"$9000000000000000000\r\nabc", &[99]).unwrap();
        assert_eq!((len, &image[..]), (Some(9_000_000_000_000_000_000), &b"abc"[..]));
    }

    /// Its own beginning within a mark, and beginnings of it within the image, end nothing early.
    #[test]
    fn what_only_begins_like_the_mark_belongs_to_the_image() {
        for image in
            [&MARK[..39], b"aab", b"a", b"", &[MARK[..39].to_vec(), b"x".to_vec()].concat(), &MARK[3..]]
        {
            // The mark that ends it is the first one, which may begin inside the image.
            let stream = [image, MARK].concat();
            let end = stream.windows(40).position(|window| window == MARK).unwrap();
            for size in 1..50 {
                let (_, read, _) = read(&marked(image), &[size]).unwrap();
                assert_eq!(read, stream[..end], "pieces of {size}");
            }
        }
    }

    proptest! {
        /// P2: how the bytes are cut makes no difference.
        #[test]
        fn any_pieces_give_the_same_image(
            parts in vec_of(prop_oneof![
                vec_of(any::<u8>(), 0..20),
                (0..40usize).prop_map(|len| MARK[..len].to_vec()),
                vec_of(proptest::sample::select(&b"ab"[..]), 0..60),
            ], 0..8),
            sizes in vec_of(1..90usize, 1..6),
        ) {
            let image = parts.concat();
            for stream in [marked(&image), [format!("${}\r\n", image.len()).as_bytes(), &image, b"*1"].concat()] {
                prop_assert_eq!(read(&stream, &sizes), read(&stream, &[usize::MAX]));
                prop_assert_eq!(read(&stream, &[1]), read(&stream, &[usize::MAX]));
            }
        }

        /// P1.
        #[test]
        fn no_bytes_are_too_much(bytes in vec_of(any::<u8>(), 0..200), sizes in vec_of(1..50usize, 1..4)) {
            prop_assert_eq!(read(&bytes, &sizes), read(&bytes, &[1]));
        }
    }
}
