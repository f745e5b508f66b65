use alloc::vec::Vec;
use core::{mem, ops::Range};

use bytes::Bytes;

use super::inline::{self, InlineArgs};
use super::integer;

/// Reads commands from a byte stream that comes in pieces: RESP arrays of bulks, and inline commands.
///
/// It takes no byte that belongs to the next command, keeps what belongs to a half one, and goes on where it
/// stopped, so the work is linear however the stream is cut. Memory grows with the bytes that came, never with
/// a count or a length that a peer announced. While no command is under way it holds none.
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
    /// Bytes in an inline command, or in the line that holds a count or a length; its line end is not counted.
    /// Default: 64 KiB.
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

/// Why the bytes are no command. The connection can't be read any further: answer `ERR` and this, and close it.
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

    /// Whether it is an empty line or `*0`: nothing to execute, and on a replica's link a sign of life (R144).
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
            Token::Bulk(len) => {
                let end = self.position + len + CRLF.len();
                Ok((end <= bytes.len()).then_some(end))
            }
            Token::FirstLine | Token::LengthLine => self.line_end(bytes, limits),
        }
    }

    fn line_end(&mut self, bytes: &[u8], limits: &CommandLimits) -> Result<Option<usize>, ProtocolError> {
        let left = limits.max_command.saturating_sub(self.position);
        let most = left.min(limits.max_line.saturating_add(1));
        let window = bytes.len().min(self.position + most);
        if let Some(len) = bytes.get(self.searched..window).and_then(find_line_end) {
            return Ok(Some(self.searched + len));
        }
        self.searched = window.max(self.searched);
        match self.expected {
            _ if bytes.len() - self.position < most => Ok(None),
            _ if most == left => Err(ProtocolError::CommandTooLong),
            Token::FirstLine if bytes[self.position] == b'*' => Err(ProtocolError::CountLineTooLong),
            Token::FirstLine => Err(ProtocolError::InlineTooLong),
            Token::LengthLine | Token::Bulk(_) => Err(ProtocolError::LengthLineTooLong),
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
        let InlineArgs { text, args } = inline::split(line)?;
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
        let before = self.position + token.len() + CRLF.len();
        if len > limits.max_command.saturating_sub(before) {
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
