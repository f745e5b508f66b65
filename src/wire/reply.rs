use alloc::string::ToString;
use core::fmt::{self, Display, Write};

use super::payload::put_header;
use crate::id::ReplicationId;
use crate::primary::Peer;
use crate::sink::Sink;
use crate::snapshots::Cut;

/// Puts `+OK`.
pub fn put_ok(out: &mut impl Sink) {
    out.put(b"+OK\r\n");
}

/// Puts an error reply. A line end within the text becomes a blank, so that no text can be two replies.
///
/// Redis's texts begin with a code: those of [`CommandError`](super::CommandError) have it, a
/// [`ProtocolError`](super::ProtocolError) goes as `&format_args!("ERR {error}")`.
pub fn put_error(out: &mut impl Sink, error: &impl Display) {
    put_line(out, format_args!("-{error}"));
}

/// Puts a number.
pub fn put_integer(out: &mut impl Sink, number: u64) {
    put_header(out, b':', number);
}

/// Puts a text as a bulk.
pub fn put_bulk(out: &mut impl Sink, text: &impl Display) {
    let text = text.to_string();
    put_header(out, b'$', text.len() as u64);
    out.put(text.as_bytes());
    out.put(b"\r\n");
}

/// Puts what comes before the `len` replies of an array.
pub fn put_array_header(out: &mut impl Sink, len: usize) {
    put_header(out, b'*', len as u64);
}

/// Puts the answer to a PSYNC that is granted; the stream's bytes follow. The id is told to a peer that
/// learns ids, and would confuse an older one (R57).
pub fn put_continue(out: &mut impl Sink, id: ReplicationId, peer: &Peer) {
    if peer.learns_ids {
        put_line(out, format_args!("+CONTINUE {id}"));
    } else {
        put_line(out, format_args!("+CONTINUE"));
    }
}

/// Puts the answer to a PSYNC that gets a snapshot, once that has begun (R61). One who sent SYNC is not told.
pub fn put_full_resync(out: &mut impl Sink, cut: &Cut) {
    put_line(out, format_args!("+FULLRESYNC {} {}", cut.id, cut.offset));
}

/// Puts what tells a replica that waits for its snapshot that the link lives: an empty line (R86).
///
/// It must not get into a stream under way: the replica would count it (R6).
pub fn put_keep_alive(out: &mut impl Sink) {
    out.put(b"\n");
}

/// Puts what comes before a snapshot of `bytes` bytes (R84). Nothing comes after it but the stream.
pub fn put_snapshot_len(out: &mut impl Sink, bytes: u64) {
    put_header(out, b'$', bytes);
}

/// Puts what comes before a snapshot that ends with `mark` (R85).
pub fn put_end_mark_header(out: &mut impl Sink, mark: &EndMark) {
    out.put(b"$EOF:");
    out.put(&mark.0);
    out.put(b"\r\n");
}

/// Puts what comes after a snapshot that ends with `mark` (R85).
pub fn put_end_mark(out: &mut impl Sink, mark: &EndMark) {
    out.put(&mark.0);
}

/// Forty characters that end a snapshot whose length was not known beforehand.
///
/// Draw it at random for each snapshot: whoever can guess it can put it into the data, and cut the snapshot
/// short there. A replication id is no secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EndMark([u8; 40]);

impl EndMark {
    /// The mark made of 20 random bytes.
    pub fn from_random(bytes: [u8; 20]) -> Self {
        let mut text = [0; 40];
        for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
            pair[0] = HEX_DIGITS[usize::from(byte >> 4)];
            pair[1] = HEX_DIGITS[usize::from(byte & 15)];
        }
        Self(text)
    }
}

const HEX_DIGITS: [u8; 16] = *b"0123456789abcdef";

fn put_line(out: &mut impl Sink, text: fmt::Arguments<'_>) {
    // A `Display` of the host's may fail; the reply is one line all the same.
    let _ = OneLine(out).write_fmt(text);
    out.put(b"\r\n");
}

/// Writes text without its line ends.
struct OneLine<'a, S>(&'a mut S);

impl<S: Sink> Write for OneLine<'_, S> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (index, part) in text.split(['\r', '\n']).enumerate() {
            if index > 0 {
                self.0.put(b" ");
            }
            self.0.put(part.as_bytes());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec::Vec;

    use super::*;
    use crate::key::{SnapshotKey, Tag};
    use crate::offset::Offset;
    use crate::wire::ProtocolError;

    const ID: ReplicationId = ReplicationId::from_random([0xa7; 20]);

    fn written(put: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        put(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn hex() -> String {
        "a7".repeat(20)
    }

    /// R57 and R58.
    #[test]
    fn only_who_learns_ids_is_told_the_id() {
        let mut peer = Peer::new(Tag(1), "");
        assert_eq!(written(|out| put_continue(out, ID, &peer)), "+CONTINUE\r\n");
        peer.learns_ids = true;
        assert_eq!(written(|out| put_continue(out, ID, &peer)), String::from("+CONTINUE ") + &hex() + "\r\n");
    }

    /// R61: the offset is that of the snapshot's last byte, and so the count of the bytes before its cut.
    #[test]
    fn a_full_resync_tells_the_cut() {
        let cut = Cut { snapshot: SnapshotKey(1), id: ID, offset: Offset::new(1234).unwrap() };
        let expected = String::from("+FULLRESYNC ") + &hex() + " 1234\r\n";
        assert_eq!(written(|out| put_full_resync(out, &cut)), expected);
    }

    /// R84, R85 and R86.
    #[test]
    fn a_snapshot_is_framed_by_its_length_or_by_a_mark() {
        assert_eq!(written(|out| put_snapshot_len(out, 0)), "$0\r\n");
        assert_eq!(written(|out| put_snapshot_len(out, u64::MAX)), "$18446744073709551615\r\n");
        let mark = EndMark::from_random([0xa7; 20]);
        let header = String::from("$EOF:") + &hex() + "\r\n";
        assert_eq!(written(|out| put_end_mark_header(out, &mark)), header);
        assert_eq!(written(|out| put_end_mark(out, &mark)), hex());
        assert_eq!(written(put_keep_alive), "\n");
    }

    #[test]
    fn numbers_texts_and_arrays_have_their_lengths_before_them() {
        assert_eq!(written(|out| put_integer(out, 7)), ":7\r\n");
        assert_eq!(written(|out| put_bulk(out, &"a\r\nb")), "$4\r\na\r\nb\r\n");
        assert_eq!(written(|out| put_array_header(out, 0)), "*0\r\n");
    }

    #[test]
    fn an_error_is_one_line_whatever_its_text() {
        assert_eq!(written(put_ok), "+OK\r\n");
        assert_eq!(written(|out| put_error(out, &"ERR a\r\n+OK\nb")), "-ERR a  +OK b\r\n");
        assert_eq!(written(|out| put_error(out, &"\n")), "- \r\n");
        let error = ProtocolError::NotABulk { got: b'\n' };
        let expected = "-ERR Protocol error: expected '$', got '\\n'\r\n";
        assert_eq!(written(|out| put_error(out, &format_args!("ERR {error}"))), expected);
    }
}
