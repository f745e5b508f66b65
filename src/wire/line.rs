use alloc::vec::Vec;

/// Reads lines from a byte stream that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct LineReader {
    /// The bytes so far of a line that came in pieces.
    partial: Vec<u8>,
}

/// A line is longer than it may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct LineTooLong;

impl LineReader {
    /// The next line without its end, LF or CRLF, or `None` when more bytes are needed: then all of `input` was taken.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, LineTooLong> {
        let end = memchr::memchr(b'\n', input);
        let (taken, rest) = input.split_at(end.map_or(input.len(), |end| end + 1));
        if self.partial.len() + taken.len() > MAX_LINE {
            return Err(LineTooLong);
        }
        self.partial.extend_from_slice(taken);
        *input = rest;
        Ok(end.map(|_| {
            let mut line = core::mem::take(&mut self.partial);
            line.pop();
            line.pop_if(|last| *last == b'\r');
            line
        }))
    }

    /// Bytes kept of a line that has not come whole.
    pub(super) const fn buffered(&self) -> usize {
        self.partial.len()
    }
}

/// Answers of a handshake and the headers of snapshots are far shorter.
pub(super) const MAX_LINE: usize = 4096;

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn a_line_may_be_so_long_and_no_longer_however_it_comes() {
        let line = [vec![b'x'; MAX_LINE - 2], b"\r\n".to_vec()].concat();
        let mut reader = LineReader::default();
        assert_eq!(reader.next(&mut &line[..]), Ok(Some(line[..MAX_LINE - 2].to_vec())));
        assert_eq!(reader.next(&mut &line[..1000]), Ok(None));
        assert_eq!(reader.buffered(), 1000);
        assert_eq!(reader.next(&mut &line[1000..]), Ok(Some(line[..MAX_LINE - 2].to_vec())));
        assert_eq!(reader.buffered(), 0);
        assert_eq!(reader.next(&mut &[b"x", &line[..]].concat()[..]), Err(LineTooLong));
    }
}
