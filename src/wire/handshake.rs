use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use core::fmt;

use super::args::excerpt;
use super::integer;
use super::line::{LineReader, MAX_LINE};
use super::payload::put_command;
use crate::history::{ResumePoint, Wanted};
use crate::id::ReplicationId;
use crate::offset::Offset;
use crate::sink::Sink;

/// What a replica tells its primary of itself.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Introduction {
    /// By whom it authenticates; without it as the default user. Needs a password.
    pub user: Option<String>,
    /// By what it authenticates, if it has to.
    pub password: Option<String>,
    /// Where it listens itself. With 0 nobody is told.
    pub port: u16,
    /// Where it can be reached, if not at the address that the primary sees.
    pub address: Option<String>,
    /// The version of its software, as three numbers with dots between them. Only Valkey wants to know (R190).
    pub version: Option<String>,
    /// Whether it takes over from a primary that follows it from now on (R200): the request ends with `FAILOVER`.
    pub failover: bool,
}

/// Asks a Redis or Valkey primary for its stream: PING, AUTH, what is to be known of the replica, PSYNC (R194 to R206).
///
/// It owns no connection: bytes of the primary go in, in pieces of any size, and what is to be sent comes out.
///
/// ```
/// use headwater::wire::{Handshake, HandshakeEvent, Introduction};
/// use headwater::{ReplicationId, Wanted};
///
/// let mut sent = Vec::new();
/// let mut handshake = Handshake::new(Introduction::default(), &mut sent);
/// assert_eq!(sent, b"*1\r\n$4\r\nPING\r\n");
///
/// let mut input = &b"+PONG\r\n+OK\r\n"[..]; // to PING and to what it says of itself
/// let event = handshake.next(&mut input, Wanted::Everything, &mut sent)?;
/// assert_eq!(event, Some(HandshakeEvent::Asked));
/// assert!(sent.ends_with(b"*3\r\n$5\r\nPSYNC\r\n$1\r\n?\r\n$2\r\n-1\r\n"));
///
/// let mut input = &b"\n+FULLRESYNC 8ee4a1c9d0b35e7f26a4c8d1e3f50719b2d4c6e8 100\r\n$3\r\nabc"[..];
/// let event = handshake.next(&mut input, Wanted::Everything, &mut sent)?;
/// assert!(matches!(event, Some(HandshakeEvent::Full(point)) if point.offset.get() == 100));
/// assert_eq!(input, b"$3\r\nabc"); // for a `SnapshotReader`
/// # Ok::<(), headwater::wire::HandshakeError>(())
/// ```
#[derive(Debug)]
pub struct Handshake {
    introduction: Introduction,
    line: LineReader,
    /// What is yet to be answered, in order.
    unanswered: VecDeque<Step>,
}

/// What came of a handshake's step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum HandshakeEvent {
    /// The resume request was put.
    Asked,
    /// The primary goes on from where it was asked to. The id is not told by an older one.
    Continue(Option<ReplicationId>),
    /// A snapshot of this place follows.
    Full(ResumePoint),
}

/// A step of the handshake that the primary answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Step {
    /// Whether somebody is there.
    Ping,
    /// Who is asking.
    Auth,
    /// `REPLCONF`: what the replica tells of itself.
    Introduction,
    /// The resume request.
    Psync,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ping => "PING",
            Self::Auth => "AUTH",
            Self::Introduction => "REPLCONF",
            Self::Psync => "PSYNC",
        })
    }
}

/// Why a handshake came to nothing. The primary's words are shortened to 128 bytes, and escaped.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// It refused. `-NOMASTERLINK`, `-LOADING` and their like pass by themselves: the resume point stays, and the next
    /// attempt may succeed (R204).
    #[error("the primary refused {step}: {text}")]
    Refused {
        /// What.
        step: Step,
        /// Its words.
        text: String,
    },
    /// What came is none of the answers.
    #[error("the primary's answer to {step} makes no sense: {text}")]
    NoAnswer {
        /// To what.
        step: Step,
        /// Its words.
        text: String,
    },
    /// A line does not end.
    #[error("the primary's answer to {step} is longer than {MAX_LINE} bytes")]
    TooLong {
        /// To what.
        step: Step,
    },
}

impl Handshake {
    /// Begins on a new connection: puts PING.
    pub fn new(introduction: Introduction, out: &mut impl Sink) -> Self {
        put_command(out, &["PING"]);
        Self { introduction, line: LineReader::default(), unanswered: VecDeque::from([Step::Ping]) }
    }

    /// Reads on, and puts what is to be sent; `wanted` is what is asked for once it comes to that. `None` when more bytes
    /// are needed: then all of `input` was taken. After [`HandshakeEvent::Continue`] and [`HandshakeEvent::Full`] what is
    /// left of it belongs to what follows.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`]: close the connection.
    pub fn next(
        &mut self,
        input: &mut &[u8],
        wanted: Wanted,
        out: &mut impl Sink,
    ) -> Result<Option<HandshakeEvent>, HandshakeError> {
        while let Some(step) = self.unanswered.front().copied() {
            let line = self.line.next(input).map_err(|_| HandshakeError::TooLong { step })?;
            let Some(line) = line else { break };
            if step == Step::Psync {
                if line.is_empty() {
                    continue; // the primary is not ready yet, but alive (R201)
                }
                return read_answer(&line).map(Some);
            }
            check_reply(step, &line)?;
            self.unanswered.pop_front();
            if step == Step::Ping {
                self.introduce(out);
            }
            if self.unanswered.is_empty() {
                self.unanswered.push_back(Step::Psync);
                put_psync(wanted, self.introduction.failover, out);
                return Ok(Some(HandshakeEvent::Asked));
            }
        }
        Ok(None)
    }

    /// Bytes kept of an answer that has not come whole.
    pub const fn buffered(&self) -> usize {
        self.line.buffered()
    }

    /// All at once: their answers come in order (R196).
    fn introduce(&mut self, out: &mut impl Sink) {
        let Introduction { user, password, port, address, version, .. } = &self.introduction;
        match (user, password) {
            (Some(user), Some(password)) => {
                self.unanswered.push_back(put(Step::Auth, &["AUTH", user, password], out))
            }
            (None, Some(password)) => self.unanswered.push_back(put(Step::Auth, &["AUTH", password], out)),
            (_, None) => {}
        }
        let mut tell = |args: &[&str]| self.unanswered.push_back(put(Step::Introduction, args, out));
        if *port > 0 {
            tell(&["REPLCONF", "listening-port", &port.to_string()]);
        }
        if let Some(address) = address {
            tell(&["REPLCONF", "ip-address", address]);
        }
        tell(&["REPLCONF", "capa", "eof", "capa", "psync2"]);
        if let Some(version) = version {
            tell(&["REPLCONF", "version", version]);
        }
    }
}

fn put(step: Step, args: &[&str], out: &mut impl Sink) -> Step {
    put_command(out, args);
    step
}

/// The wire names the next byte, from 1. Behind the last offset there is none, so everything is asked for.
fn put_psync(wanted: Wanted, failover: bool, out: &mut impl Sink) {
    let (id, next) = match wanted {
        Wanted::After { id, offset } if offset < Offset::MAX => {
            (id.to_string(), (offset.get() + 1).to_string())
        }
        _ => ("?".into(), "-1".into()),
    };
    let args = ["PSYNC", &id, &next, "FAILOVER"];
    put_command(out, if failover { &args } else { &args[..3] });
}

fn check_reply(step: Step, line: &[u8]) -> Result<(), HandshakeError> {
    match (step, line) {
        (_, [b'+', ..]) => Ok(()),
        // It answers to more once it knows who asks (R195). What it does not know of a replica it can do without (R198).
        (Step::Ping, [b'-', error @ ..]) if is_about_rights(error) => Ok(()),
        (Step::Introduction, [b'-', ..]) => Ok(()),
        (_, [b'-', error @ ..]) => Err(HandshakeError::Refused { step, text: excerpt(error) }),
        _ => Err(HandshakeError::NoAnswer { step, text: excerpt(line) }),
    }
}

fn is_about_rights(error: &[u8]) -> bool {
    [&b"NOAUTH"[..], b"NOPERM", b"ERR operation not permitted"].iter().any(|code| error.starts_with(code))
}

fn read_answer(line: &[u8]) -> Result<HandshakeEvent, HandshakeError> {
    let step = Step::Psync;
    let mut words = line.split(|byte| *byte == b' ');
    let event = match (words.next(), words.next(), words.next(), words.next()) {
        (Some(b"+FULLRESYNC"), Some(id), Some(offset), None) => point(id, offset).map(HandshakeEvent::Full),
        (Some(b"+CONTINUE"), None, ..) => Some(HandshakeEvent::Continue(None)),
        (Some(b"+CONTINUE"), Some(id), None, _) => {
            ReplicationId::parse(id).map(|id| HandshakeEvent::Continue(Some(id)))
        }
        _ => None,
    };
    event.ok_or_else(|| match line {
        [b'-', error @ ..] => HandshakeError::Refused { step, text: excerpt(error) },
        _ => HandshakeError::NoAnswer { step, text: excerpt(line) },
    })
}

fn point(id: &[u8], offset: &[u8]) -> Option<ResumePoint> {
    let offset = u64::try_from(integer::strict(offset)?).ok().and_then(Offset::new)?;
    Some(ResumePoint { id: ReplicationId::parse(id)?, offset })
}
