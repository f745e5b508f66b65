use alloc::vec::Vec;
use core::{mem, ops::Range};

use bytes::Bytes;

use super::inline::{self, InlineArgs};
use super::integer;

/// Reads commands from a byte stream that comes in pieces: RESP arrays of bulks, and inline commands.
///
/// It takes no byte that belongs to the next command, keeps what belongs to a half one, and goes on where it
/// stopped, so the work is linear however the stream is cut. Memory grows with the bytes that came (to twice
/// as many, and 16 bytes for each argument), never with a count or a length that a peer announced. While no
/// command is under way it holds none.
///
/// ```
/// use headwater::wire::{CommandLimits, CommandReader};
///
/// let mut reader = CommandReader::new(CommandLimits::default());
/// assert!(reader.next(&mut &b"*2\r\n$3\r\nGET\r\n$3\r\nk"[..])?.is_none()); // half a command
///
/// let mut input = &b"ey\r\nPING\r\n"[..];
/// let get = reader.next(&mut input)?.expect("the other half came");
/// assert_eq!(get.args().collect::<Vec<_>>(), [b"GET", b"key"]);
/// assert_eq!(input, b"PING\r\n"); // the next one's bytes are left
/// # Ok::<(), headwater::wire::ProtocolError>(())
/// ```
#[derive(Debug)]
pub struct CommandReader {
    limits: CommandLimits,
    scan: Scan,
    /// The bytes so far of a command that came in pieces; those of a whole one never get here.
    partial: Vec<u8>,
    failed: Option<ProtocolError>,
}

/// What a peer may send as one command. The defaults are those of Redis.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct CommandLimits {
    /// Bytes in an inline command, or in the line that holds a count or a length; its line end is not
    /// counted. Default: 64 KiB.
    pub max_line: usize,
    /// Arguments in one command. Default: 1,048,576.
    pub max_args: usize,
    /// Bytes in one argument. Default: 512 MiB.
    pub max_bulk: usize,
    /// Bytes in one command as it came, and so the most that a reader keeps. Default: 1 GiB.
    pub max_command: usize,
    /// Whether the peer has authenticated, or need not. It only picks one of Redis's two texts for a count or
    /// a length above its bound. Default: true.
    pub authenticated: bool,
}

/// One command, with its bytes as they came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Command {
    raw: Bytes,
    /// Of an inline command: its arguments without quotes and escapes, one after the other.
    inline: Option<Bytes>,
    /// The arguments, in `inline` if there is one, else in `raw`.
    args: Vec<Range<usize>>,
}

/// Why the bytes are no command. Nothing that follows can be understood: answer `ERR` and this, then close.
///
/// The texts are those of Redis where it has one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// An inline command is longer than [`CommandLimits::max_line`].
    #[error("Protocol error: too big inline request")]
    InlineTooLong,
    /// Quotes that are not closed, or have something other than a blank behind them.
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
    /// The line with the number of arguments is longer than [`CommandLimits::max_line`].
    #[error("Protocol error: too big mbulk count string")]
    CountLineTooLong,
    /// The number of arguments is not one, or is negative, or above [`CommandLimits::max_args`].
    #[error("Protocol error: invalid multibulk length")]
    InvalidCount,
    /// As [`ProtocolError::InvalidCount`], above a bound that authentication would raise.
    #[error("Protocol error: unauthenticated multibulk length")]
    UnauthenticatedCount,
    /// The line with an argument's length is longer than [`CommandLimits::max_line`].
    #[error("Protocol error: too big bulk count string")]
    LengthLineTooLong,
    /// Something other than an argument's length where one must be.
    #[error("Protocol error: expected '$', got '{}'", got.escape_ascii())]
    NotABulk {
        /// Its first byte. The text shows one that is not printable as an escape.
        got: u8,
    },
    /// An argument's length is none, or is negative, or above [`CommandLimits::max_bulk`].
    #[error("Protocol error: invalid bulk length")]
    InvalidLength,
    /// As [`ProtocolError::InvalidLength`], above a bound that authentication would raise.
    #[error("Protocol error: unauthenticated bulk length")]
    UnauthenticatedLength,
    /// An argument is not followed by CRLF, so its length was wrong. (Redis skips two bytes unseen.)
    #[error("Protocol error: expected CRLF after bulk")]
    UnterminatedBulk,
    /// The command is longer than [`CommandLimits::max_command`]. (Redis closes without a word.)
    #[error("Protocol error: too big request")]
    CommandTooLong,
}

impl CommandReader {
    /// A reader for one connection.
    pub const fn new(limits: CommandLimits) -> Self {
        Self { limits, scan: Scan::new(), partial: Vec::new(), failed: None }
    }

    /// Changes what the peer may send, from the next line or length on: after it has authenticated.
    pub const fn set_limits(&mut self, limits: CommandLimits) {
        self.limits = limits;
    }

    /// Bytes kept of a command that has not come whole.
    pub const fn buffered(&self) -> usize {
        self.partial.len()
    }

    /// The next command, or `None` when more bytes are needed: then all of `input` was taken.
    ///
    /// Whatever of `input` belongs to later commands is left in it: call again until `None`. An empty line is
    /// a command without arguments, and takes exactly its own bytes (R145).
    ///
    /// # Errors
    ///
    /// [`ProtocolError`] as soon as the bytes can't become a command within the limits. It is final: each
    /// further call answers the same.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Command>, ProtocolError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let read = if self.partial.is_empty() { self.read_whole(input) } else { self.read_on(input) };
        read.inspect_err(|error| {
            self.failed = Some(*error);
            self.partial = Vec::new();
            self.scan = Scan::new();
        })
    }

    /// The usual case: the command is in `input` from its first byte to its last, and is copied once.
    fn read_whole(&mut self, input: &mut &[u8]) -> Result<Option<Command>, ProtocolError> {
        let Some(len) = self.scan.advance(input, &self.limits)? else {
            self.partial.extend_from_slice(mem::take(input));
            return Ok(None);
        };
        let raw = take_front(input, len);
        Ok(Some(self.scan.finish(Bytes::copy_from_slice(raw))))
    }

    /// Adds to a command that came in pieces: a line or an argument at a time, so that nothing of the next
    /// command gets into it.
    fn read_on(&mut self, input: &mut &[u8]) -> Result<Option<Command>, ProtocolError> {
        while !input.is_empty() {
            let len = self.scan.claim(self.partial.len(), input, &self.limits);
            self.partial.extend_from_slice(take_front(input, len));
            if self.scan.advance(&self.partial, &self.limits)?.is_some() {
                // Without spare room: a host may keep a command's bytes for as long as its backlog does.
                let raw = mem::take(&mut self.partial).into_boxed_slice();
                return Ok(Some(self.scan.finish(Bytes::from(raw))));
            }
        }
        Ok(None)
    }
}

impl CommandLimits {
    /// What one may send who has yet to authenticate: 10 arguments of 16 KiB.
    pub const fn unauthenticated() -> Self {
        Self { max_args: 10, max_bulk: 16 << 10, authenticated: false, ..Self::REDIS }
    }

    const REDIS: Self = Self {
        max_line: 64 << 10,
        max_args: 1 << 20,
        max_bulk: 512 << 20,
        max_command: 1 << 30,
        authenticated: true,
    };

    const fn too_many_args(&self) -> ProtocolError {
        if self.authenticated { ProtocolError::InvalidCount } else { ProtocolError::UnauthenticatedCount }
    }

    const fn bulk_too_long(&self) -> ProtocolError {
        if self.authenticated { ProtocolError::InvalidLength } else { ProtocolError::UnauthenticatedLength }
    }
}

impl Default for CommandLimits {
    fn default() -> Self {
        Self::REDIS
    }
}

impl Command {
    /// The arguments in order, the command's name first.
    pub fn args(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.args.iter().map(|range| &self.text()[range.clone()])
    }

    /// The argument at `index`; the command's name is at 0.
    pub fn arg(&self, index: usize) -> Option<&[u8]> {
        self.args.get(index).map(|range| &self.text()[range.clone()])
    }

    /// How many arguments there are, the command's name included.
    pub fn len(&self) -> usize {
        self.args.len()
    }

    /// Whether it is an empty line or `*0`: nothing to execute, and from a replica a sign of life (R144).
    pub fn is_empty(&self) -> bool {
        self.args.is_empty()
    }

    /// Its bytes as they came: what counts in a stream, and can be passed on.
    pub const fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// Whether it came as a line, and not as an array.
    pub const fn is_inline(&self) -> bool {
        self.inline.is_some()
    }

    fn text(&self) -> &Bytes {
        self.inline.as_ref().unwrap_or(&self.raw)
    }
}

/// How far the command under way is understood. It is shown the command's bytes from the first one on,
/// wherever they lie, and goes on where it stopped.
#[derive(Debug)]
struct Scan {
    expected: Token,
    /// Where that token begins.
    position: usize,
    /// No line end lies between `position` and here.
    searched: usize,
    missing_args: usize,
    args: Vec<Range<usize>>,
    inline: Option<Bytes>,
}

/// What a command is made of.
#[derive(Clone, Copy, Debug)]
enum Token {
    /// `*` and the number of arguments, or an inline command.
    FirstLine,
    /// `$` and the length of an argument.
    LengthLine,
    /// An argument of that many bytes, and CRLF.
    Bulk(usize),
}

impl Scan {
    const fn new() -> Self {
        Self {
            expected: Token::FirstLine,
            position: 0,
            searched: 0,
            missing_args: 0,
            args: Vec::new(),
            inline: None,
        }
    }

    fn finish(&mut self, raw: Bytes) -> Command {
        let scan = mem::replace(self, Self::new());
        Command { raw, inline: scan.inline, args: scan.args }
    }

    /// The length of the command, once `bytes` hold all of it.
    fn advance(&mut self, bytes: &[u8], limits: &CommandLimits) -> Result<Option<usize>, ProtocolError> {
        while let Some(end) = self.token_end(bytes, limits)? {
            self.read_token(&bytes[self.position..end], limits)?;
            self.position = end;
            self.searched = end;
            if self.missing_args == 0 {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    /// How much of `input` belongs to this command for certain, when `held` bytes of it came before.
    fn claim(&self, held: usize, input: &[u8], limits: &CommandLimits) -> usize {
        match self.expected {
            Token::Bulk(len) => input.len().min(self.position + len + CRLF.len() - held),
            Token::FirstLine | Token::LengthLine => {
                let most = input.len().min(limits.max_line.saturating_add(1));
                find_line_end(&input[..most]).unwrap_or(most)
            }
        }
    }

    fn token_end(&mut self, bytes: &[u8], limits: &CommandLimits) -> Result<Option<usize>, ProtocolError> {
        match self.expected {
            Token::FirstLine if bytes.first() == Some(&b'*') => {
                self.line_end(bytes, limits, ProtocolError::CountLineTooLong)
            }
            Token::FirstLine => self.line_end(bytes, limits, ProtocolError::InlineTooLong),
            Token::LengthLine => self.line_end(bytes, limits, ProtocolError::LengthLineTooLong),
            Token::Bulk(len) => {
                let end = self.position + len + CRLF.len();
                Ok((end <= bytes.len()).then_some(end))
            }
        }
    }

    /// The bounds hold whether or not the line end has come already: the same bytes are the same error.
    fn line_end(
        &mut self,
        bytes: &[u8],
        limits: &CommandLimits,
        too_long: ProtocolError,
    ) -> Result<Option<usize>, ProtocolError> {
        let left = limits.max_command.saturating_sub(self.position);
        let most = left.min(limits.max_line.saturating_add(1));
        let window = bytes.len().min(self.position + most);
        if let Some(len) = bytes.get(self.searched..window).and_then(find_line_end) {
            return Ok(Some(self.searched + len));
        }
        self.searched = window;
        if window < self.position + most {
            Ok(None)
        } else {
            Err(if most == left { ProtocolError::CommandTooLong } else { too_long })
        }
    }

    fn read_token(&mut self, token: &[u8], limits: &CommandLimits) -> Result<(), ProtocolError> {
        match self.expected {
            Token::FirstLine => match token.strip_prefix(b"*") {
                Some(count) => self.read_count(count, limits),
                None => self.read_inline(token, limits),
            },
            Token::LengthLine => self.read_length(token, limits),
            Token::Bulk(len) => self.read_bulk(len, token),
        }
    }

    fn read_count(&mut self, line: &[u8], limits: &CommandLimits) -> Result<(), ProtocolError> {
        self.missing_args = header_number(line).ok_or(ProtocolError::InvalidCount)?;
        if self.missing_args > limits.max_args {
            return Err(limits.too_many_args());
        }
        self.expected = Token::LengthLine;
        Ok(())
    }

    fn read_inline(&mut self, line: &[u8], limits: &CommandLimits) -> Result<(), ProtocolError> {
        let InlineArgs { text, args } = inline::split(line).ok_or(ProtocolError::UnbalancedQuotes)?;
        if args.len() > limits.max_args {
            return Err(limits.too_many_args());
        }
        if args.iter().any(|arg| arg.len() > limits.max_bulk) {
            return Err(limits.bulk_too_long());
        }
        self.inline = Some(Bytes::from(text));
        self.args = args;
        Ok(())
    }

    fn read_length(&mut self, token: &[u8], limits: &CommandLimits) -> Result<(), ProtocolError> {
        let line = token.strip_prefix(b"$").ok_or(ProtocolError::NotABulk { got: token[0] })?;
        let len = header_number(line).ok_or(ProtocolError::InvalidLength)?;
        if len > limits.max_bulk {
            return Err(limits.bulk_too_long());
        }
        let frame = self.position + token.len() + CRLF.len();
        if frame.saturating_add(len) > limits.max_command {
            return Err(ProtocolError::CommandTooLong);
        }
        self.expected = Token::Bulk(len);
        Ok(())
    }

    fn read_bulk(&mut self, len: usize, token: &[u8]) -> Result<(), ProtocolError> {
        if &token[len..] != CRLF {
            return Err(ProtocolError::UnterminatedBulk);
        }
        self.args.push(self.position..self.position + len);
        self.missing_args -= 1;
        self.expected = Token::LengthLine;
        Ok(())
    }
}

/// The number in a header line; its end must be CRLF.
fn header_number(line: &[u8]) -> Option<usize> {
    integer::strict(line.strip_suffix(CRLF)?)?.try_into().ok()
}

/// The length of the first line, its LF included.
fn find_line_end(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n').map(|index| index + 1)
}

fn take_front<'a>(input: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (front, rest) = input.split_at(len);
    *input = rest;
    front
}

const CRLF: &[u8] = b"\r\n";

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::{format, vec};

    use proptest::collection::vec as vec_of;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::super::put_command;
    use super::*;

    type Outcome = (Vec<Command>, Option<ProtocolError>);

    fn reader() -> CommandReader {
        CommandReader::new(CommandLimits::default())
    }

    /// Small enough for random input to meet every bound.
    fn tight() -> CommandLimits {
        CommandLimits { max_line: 8, max_args: 3, max_bulk: 6, max_command: 40, authenticated: true }
    }

    fn read_pieces<'a>(limits: CommandLimits, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
        let mut reader = CommandReader::new(limits);
        let mut commands = Vec::new();
        for mut input in pieces {
            loop {
                match reader.next(&mut input) {
                    Ok(Some(command)) => commands.push(command),
                    Ok(None) => break,
                    Err(error) => return (commands, Some(error)),
                }
            }
            assert!(input.is_empty(), "left {input:?} of a half command");
            assert!(reader.buffered() <= limits.max_command);
        }
        (commands, None)
    }

    fn read(bytes: &[u8]) -> Outcome {
        read_pieces(CommandLimits::default(), [bytes])
    }

    fn args(command: &Command) -> Vec<&[u8]> {
        command.args().collect()
    }

    #[test]
    fn reads_an_array_and_leaves_what_follows() {
        let mut input = &b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\n\r\n*1\r\nPING\r\n"[..];
        let command = reader().next(&mut input).unwrap().unwrap();
        assert_eq!(args(&command), [&b"SET"[..], b"k", b"\r\n*1"]);
        assert_eq!((command.arg(0), command.arg(3)), (Some(&b"SET"[..]), None));
        assert_eq!((command.len(), command.is_empty(), command.is_inline()), (3, false, false));
        assert_eq!(command.raw(), &b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\n\r\n*1\r\n"[..]);
        assert_eq!(input, b"PING\r\n");
    }

    #[test]
    fn reads_a_line_with_either_end() {
        for line in [&b"set  k 'a b' \r\n"[..], b"set k \"a b\"\n"] {
            let (commands, error) = read(line);
            assert_eq!((args(&commands[0]), error), (vec![&b"set"[..], b"k", b"a b"], None));
            assert!(commands[0].is_inline());
            assert_eq!(commands[0].raw(), line);
        }
    }

    /// d55598988, CVE-2026-27623, B22, R145: in front of a command, a line end takes its own bytes and no more.
    #[test]
    fn an_empty_line_or_array_is_an_empty_command_of_its_own_bytes() {
        for empty in [&b"\n"[..], b"\r\n", b"  \r\n", b"*0\r\n"] {
            let mut input = &[empty, b"*1\r\n$4\r\nPING\r\n"].concat()[..];
            let mut reader = reader();
            let command = reader.next(&mut input).unwrap().unwrap();
            assert!(command.is_empty() && command.raw() == empty, "{command:?}");
            let ping = reader.next(&mut input).unwrap().unwrap();
            assert_eq!((args(&ping), input), (vec![&b"PING"[..]], &b""[..]));
        }
    }

    /// valkey#2872: a bare LF was taken for CRLF.
    #[test]
    fn malformed_input_is_its_own_error() {
        use ProtocolError as E;
        for (input, expected) in [
            (&b"*-5\r\n"[..], E::InvalidCount),
            (b"*-1\r\n", E::InvalidCount),
            (b"*1048577\r\n", E::InvalidCount),
            (b"*1000000000\r\n", E::InvalidCount),
            (b"*99999999999999999999\r\n", E::InvalidCount),
            (b"*\r\n", E::InvalidCount),
            (b"*01\r\n", E::InvalidCount),
            (b"*+1\r\n", E::InvalidCount),
            (b"*1x\r\n", E::InvalidCount),
            (b"*\x001\r\n", E::InvalidCount),
            (b"*1\n$4\r\nPING\r\n", E::InvalidCount), // a bare LF ends no header
            (b"*1\r\r\n", E::InvalidCount),
            (b"*1\r\n$-7\r\n", E::InvalidLength),
            (b"*1\r\n$-1\r\n", E::InvalidLength),
            (b"*1\r\n$536870913\r\n", E::InvalidLength),
            (b"*1\r\n$18446744073709551616\r\n", E::InvalidLength),
            (b"*1\r\n$9000000000000000000\r\n", E::InvalidLength),
            (b"*1\r\n$\r\n", E::InvalidLength),
            (b"*1\r\n$4\nPING\r\n", E::InvalidLength),
            (b"*1\r\n:4\r\n", E::NotABulk { got: b':' }),
            (b"*1\r\n\r\n", E::NotABulk { got: b'\r' }),
            (b"*1\r\n\n", E::NotABulk { got: b'\n' }),
            (b"*2\r\n$4\r\nPING\r\n*1\r\n", E::NotABulk { got: b'*' }),
            (b"*1\r\n$4\r\nPINGPING\r\n", E::UnterminatedBulk),
            (b"*1\r\n$4\r\nPING\n\r", E::UnterminatedBulk),
            (b"*1\r\n$4\r\nPING\n\n", E::UnterminatedBulk),
            (b"*1\r\n$3\r\nPING\r\n", E::UnterminatedBulk),
            (b"set k \"v\r\n", E::UnbalancedQuotes),
        ] {
            assert_eq!(read(input), (vec![], Some(expected)), "{}", input.escape_ascii());
        }
    }

    #[test]
    fn a_line_without_an_end_is_an_error_one_byte_past_the_bound() {
        let endless = vec![b'1'; 70_000];
        for (before, expected) in [
            (&b""[..], ProtocolError::InlineTooLong),
            (b"*", ProtocolError::CountLineTooLong),
            (b"*1\r\n$", ProtocolError::LengthLineTooLong),
        ] {
            let line = if before.is_empty() { 0 } else { 1 };
            let most = &[before, &endless[..(64 << 10) - line]].concat();
            assert_eq!(read(most), (vec![], None), "{expected}");
            assert_eq!(read(&[most, &b"1"[..]].concat()), (vec![], Some(expected)));
            assert_eq!(read(&[before, &endless, b"\r\n"].concat()), (vec![], Some(expected)));
        }
    }

    #[test]
    fn each_bound_includes_its_last_value() {
        let limits = CommandLimits { max_command: 24, ..tight() };
        for (within, beyond, error) in [
            (&b"PING 678\n"[..], &b"PING 6789\n"[..], ProtocolError::InlineTooLong),
            (b"a b c\n", b"a b c d\n", ProtocolError::InvalidCount),
            (b"a 345678\n", b"a2345678\n", ProtocolError::InvalidLength),
            (b"*3\r\n", b"*4\r\n", ProtocolError::InvalidCount),
            (b"*1\r\n$6\r\n", b"*1\r\n$7\r\n", ProtocolError::InvalidLength),
            // 4 + (4 + 3 + 2) + (4 + n + 2) bytes
            (b"*2\r\n$3\r\nget\r\n$5\r\n", b"*2\r\n$3\r\nget\r\n$6\r\n", ProtocolError::CommandTooLong),
            // 4 + (4 + 6 + 2) + (4 + 0 + 2), and then one more line
            (
                b"*2\r\n$6\r\nappend\r\n$0\r\n\r\n",
                b"*3\r\n$6\r\nappend\r\n$0\r\n\r\n$1",
                ProtocolError::CommandTooLong,
            ),
        ] {
            assert_eq!(read_pieces(limits, [within]).1, None, "{}", within.escape_ascii());
            assert_eq!(read_pieces(limits, [beyond]).1, Some(error), "{}", beyond.escape_ascii());
        }
    }

    #[test]
    fn less_is_allowed_before_authentication() {
        let many = b"*11\r\n";
        let long = b"*1\r\n$16385\r\n";
        let limits = CommandLimits::unauthenticated();
        assert_eq!(read_pieces(limits, [&many[..]]).1, Some(ProtocolError::UnauthenticatedCount));
        assert_eq!(read_pieces(limits, [&long[..]]).1, Some(ProtocolError::UnauthenticatedLength));
        assert_eq!(read_pieces(limits, [&b"*10\r\n$16384\r\n"[..]]).1, None);

        let mut reader = CommandReader::new(limits);
        assert!(reader.next(&mut &b"AUTH secret\r\n"[..]).unwrap().is_some());
        reader.set_limits(CommandLimits::default());
        assert_eq!(reader.next(&mut &many[..]), Ok(None));
        assert_eq!(reader.next(&mut &long[4..]), Ok(None));
    }

    #[test]
    fn an_error_is_final_and_holds_no_memory() {
        let mut reader = reader();
        assert_eq!(reader.next(&mut &b"*2\r\n$1\r\nk\r\n$100\r\nabc"[..]), Ok(None));
        assert_eq!(reader.buffered(), 20);
        assert_eq!(reader.next(&mut &[b'x'; 97][..]), Ok(None)); // all but its end
        assert_eq!(reader.next(&mut &b"xx"[..]), Err(ProtocolError::UnterminatedBulk));
        assert_eq!((reader.buffered(), reader.partial.capacity()), (0, 0));
        assert_eq!(reader.scan.args.capacity(), 0);
        assert_eq!(reader.next(&mut &b"PING\r\n"[..]), Err(ProtocolError::UnterminatedBulk));
    }

    #[test]
    fn the_texts_are_those_of_redis() {
        for (error, text) in [
            (ProtocolError::InlineTooLong, "too big inline request"),
            (ProtocolError::UnbalancedQuotes, "unbalanced quotes in request"),
            (ProtocolError::CountLineTooLong, "too big mbulk count string"),
            (ProtocolError::InvalidCount, "invalid multibulk length"),
            (ProtocolError::UnauthenticatedCount, "unauthenticated multibulk length"),
            (ProtocolError::LengthLineTooLong, "too big bulk count string"),
            (ProtocolError::NotABulk { got: b'x' }, "expected '$', got 'x'"),
            (ProtocolError::NotABulk { got: b'\n' }, "expected '$', got '\\n'"),
            (ProtocolError::NotABulk { got: 0xff }, "expected '$', got '\\xff'"),
            (ProtocolError::InvalidLength, "invalid bulk length"),
            (ProtocolError::UnauthenticatedLength, "unauthenticated bulk length"),
        ] {
            assert_eq!(error.to_string(), format!("Protocol error: {text}"));
        }
    }

    #[test]
    fn an_announced_length_costs_nothing_until_the_bytes_come() {
        let mut reader = reader();
        let head = b"*1048576\r\n$536870912\r\n";
        assert_eq!(reader.next(&mut &head[..]), Ok(None));
        assert_eq!(reader.next(&mut &b"0123456789"[..]), Ok(None));
        assert_eq!(reader.buffered(), head.len() + 10);
        assert!(reader.partial.capacity() <= 2 * reader.buffered());
        assert_eq!(reader.scan.args.capacity(), 0);
    }

    #[test]
    fn a_megabyte_in_single_bytes_is_moved_only_as_its_buffer_doubles() {
        let mut bytes = Vec::new();
        put_command(&mut bytes, &[vec![b'\n'; 1 << 20]]);
        let (mut reader, mut moves) = (reader(), 0);
        for byte in bytes.chunks(1) {
            let capacity = reader.partial.capacity();
            if let Some(command) = reader.next(&mut &*byte).unwrap() {
                assert_eq!(command.raw(), &bytes);
                assert!(moves <= 20, "{moves}");
                assert_eq!(command.raw.try_into_mut().unwrap().capacity(), bytes.len(), "spare room");
                return;
            }
            moves += usize::from(reader.partial.capacity() != capacity);
        }
        panic!("no command");
    }

    #[test]
    fn no_byte_of_a_line_is_searched_twice() {
        let mut reader = reader();
        for searched in 1..=64 << 10 {
            assert_eq!(reader.next(&mut &b"x"[..]), Ok(None));
            assert_eq!(reader.scan.searched, searched);
        }
    }

    const FRAGMENTS: &[&str] = &[
        "*1\r\n",
        "*2\r\n",
        "*3\r\n",
        "*0\r\n",
        "*4\r\n",
        "*-1\r\n",
        "*",
        "$0\r\n\r\n",
        "$1\r\nx\r\n",
        "$3\r\nGET\r\n",
        "$6\r\n\r\n*1\r\n\r\n",
        "$7\r\n",
        "$",
        "\n",
        "\r\n",
        "\r",
        "PING\n",
        "a b\r\n",
        "'a b'\n",
        "\"\\x41\"\n",
        "\"",
        "'",
        " ",
        "12345678",
        "x",
    ];

    /// Whatever way a peer's bytes may look like commands, and not be them.
    fn almost_commands() -> impl Strategy<Value = Vec<u8>> {
        vec_of(select(FRAGMENTS), 0..12).prop_map(|parts| parts.concat().into_bytes())
    }

    fn cut<'a>(bytes: &'a [u8], lengths: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = bytes;
        let mut lengths = lengths.iter().cycle();
        core::iter::from_fn(move || {
            let len = rest.len().min(*lengths.next()?);
            (!rest.is_empty()).then(|| take_front(&mut rest, len))
        })
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_commands_and_the_same_error(
            bytes in prop_oneof![almost_commands(), vec_of(any::<u8>(), 0..60)],
            lengths in vec_of(1..9usize, 1..9),
        ) {
            let whole = read_pieces(tight(), [&bytes[..]]);
            prop_assert_eq!(&read_pieces(tight(), bytes.chunks(1)), &whole);
            prop_assert_eq!(&read_pieces(tight(), cut(&bytes, &lengths)), &whole);
        }

        #[test]
        fn commands_are_the_input_piece_by_piece_and_within_the_limits(
            bytes in prop_oneof![almost_commands(), vec_of(any::<u8>(), 0..60)],
        ) {
            let limits = tight();
            let mut rest = &bytes[..];
            for command in read_pieces(limits, [&bytes[..]]).0 {
                prop_assert_eq!(command.raw(), take_front(&mut rest, command.raw().len()));
                prop_assert!(!command.raw().is_empty() && command.raw().len() <= limits.max_command);
                prop_assert!(command.len() <= limits.max_args);
                prop_assert!(command.args().all(|arg| arg.len() <= limits.max_bulk));
            }
        }

        #[test]
        fn what_is_put_is_read(commands in vec_of(vec_of(vec_of(any::<u8>(), 0..40), 0..6), 0..6)) {
            let mut bytes = Vec::new();
            for command in &commands {
                put_command(&mut bytes, command);
            }
            let (read, error) = read_pieces(CommandLimits::default(), bytes.chunks(7));
            prop_assert_eq!(error, None);
            prop_assert_eq!(read.iter().map(args).collect::<Vec<_>>(), commands);
            prop_assert_eq!(read.iter().flat_map(Command::raw).copied().collect::<Vec<_>>(), bytes);
        }
    }
}
