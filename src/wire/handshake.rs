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

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec::Vec;

    use super::*;

    const ID: &str = "8ee4a1c9d0b35e7f26a4c8d1e3f50719b2d4c6e8";

    fn point(offset: u64) -> ResumePoint {
        let id = ReplicationId::parse(ID.as_bytes()).unwrap();
        ResumePoint { id, offset: Offset::new(offset).unwrap() }
    }

    fn wanted(offset: u64) -> Wanted {
        let ResumePoint { id, offset } = point(offset);
        Wanted::After { id, offset }
    }

    fn command(args: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        put_command(&mut out, args);
        out
    }

    fn introduced(introduction: Introduction) -> (Handshake, Vec<u8>) {
        let mut out = Vec::new();
        let handshake = Handshake::new(introduction, &mut out);
        assert_eq!(core::mem::take(&mut out), command(&["PING"]));
        (handshake, out)
    }

    /// What is answered to PSYNC by one who asked for what follows offset 99.
    fn answer(line: &str) -> Result<Option<HandshakeEvent>, HandshakeError> {
        let (mut handshake, mut out) = introduced(Introduction::default());
        let mut input = &b"+PONG\r\n+OK\r\n"[..];
        assert_eq!(handshake.next(&mut input, wanted(99), &mut out), Ok(Some(HandshakeEvent::Asked)));
        handshake.next(&mut line.as_bytes(), wanted(99), &mut out)
    }

    /// R195, R196 and R200: after the first answer all is told at once, and the request waits for all answers (R50).
    #[test]
    fn all_is_told_at_once_and_nothing_asked_before_it_is_answered() {
        let introduction = Introduction {
            user: Some("copy".into()),
            password: Some("secret".into()),
            port: 6380,
            address: Some("192.0.2.7".into()),
            version: Some("8.0.1".into()),
            failover: false,
        };
        let (mut handshake, mut out) = introduced(introduction);
        assert_eq!(handshake.next(&mut &b"+PONG\r\n"[..], wanted(99), &mut out), Ok(None));
        let told = [
            command(&["AUTH", "copy", "secret"]),
            command(&["REPLCONF", "listening-port", "6380"]),
            command(&["REPLCONF", "ip-address", "192.0.2.7"]),
            command(&["REPLCONF", "capa", "eof", "capa", "psync2"]),
            command(&["REPLCONF", "version", "8.0.1"]),
        ];
        assert_eq!(core::mem::take(&mut out), told.concat());
        let mut input = &b"+OK\r\n+OK\r\n-ERR Unrecognized REPLCONF option: ip-address\r\n+OK\r\n"[..];
        assert_eq!(handshake.next(&mut input, wanted(99), &mut out), Ok(None));
        assert_eq!(out, b"");
        let asked = handshake.next(&mut &b"-ERR unknown option\r\n"[..], wanted(99), &mut out);
        assert_eq!(asked, Ok(Some(HandshakeEvent::Asked)));
        assert_eq!(out, command(&["PSYNC", ID, "100"]));
    }

    /// R200, C8 and R27.
    #[test]
    fn the_request_names_the_next_byte() {
        let asked = |wanted: Wanted, failover| {
            let mut out = Vec::new();
            put_psync(wanted, failover, &mut out);
            out
        };
        assert_eq!(asked(wanted(0), false), command(&["PSYNC", ID, "1"]));
        assert_eq!(asked(wanted(99), true), command(&["PSYNC", ID, "100", "FAILOVER"]));
        assert_eq!(asked(Wanted::Everything, false), command(&["PSYNC", "?", "-1"]));
        let ResumePoint { id, .. } = point(0);
        let behind_all = Wanted::After { id, offset: Offset::MAX };
        assert_eq!(asked(behind_all, false), command(&["PSYNC", "?", "-1"]));
    }

    /// R195, B38: who has yet to authenticate is answered as well as anybody.
    #[test]
    fn a_password_may_be_wanted_before_anything_else() {
        for pong in
            ["+PONG", "+ANY", "-NOAUTH Authentication required.", "-NOPERM x", "-ERR operation not permitted"]
        {
            let (mut handshake, mut out) = introduced(Introduction::default());
            let read = handshake.next(&mut format!("{pong}\r\n").as_bytes(), wanted(9), &mut out);
            assert_eq!(read, Ok(None), "{pong}");
            assert!(out.starts_with(b"*5\r\n$8\r\nREPLCONF"), "{pong}");
        }
    }

    /// R195 and R198.
    #[test]
    fn a_refused_step_ends_the_attempt() {
        for (answers, step, text) in [
            ("-LOADING loading\r\n", Step::Ping, "LOADING loading"),
            ("-MASTERDOWN down\r\n", Step::Ping, "MASTERDOWN down"),
            ("-ERR no\r\n", Step::Ping, "ERR no"),
            ("+PONG\r\n-WRONGPASS no\r\n", Step::Auth, "WRONGPASS no"),
        ] {
            let introduction = Introduction { password: Some("x".into()), ..Introduction::default() };
            let (mut handshake, mut out) = introduced(introduction);
            let read = handshake.next(&mut answers.as_bytes(), wanted(9), &mut out);
            assert_eq!(read, Err(HandshakeError::Refused { step, text: text.into() }));
        }
    }

    #[test]
    fn a_step_has_the_name_of_its_command() {
        let names = [Step::Ping, Step::Auth, Step::Introduction, Step::Psync].map(|step| format!("{step}"));
        assert_eq!(names, ["PING", "AUTH", "REPLCONF", "PSYNC"]);
    }

    #[test]
    fn an_answer_that_has_not_come_whole_is_kept() {
        let (mut handshake, mut out) = introduced(Introduction::default());
        assert_eq!(handshake.next(&mut &b"+PON"[..], wanted(9), &mut out), Ok(None));
        assert_eq!((handshake.buffered(), &out[..]), (4, &b""[..]));
    }

    /// R201 to R203.
    #[test]
    fn the_answer_is_a_snapshot_or_the_stream() {
        assert_eq!(answer("\r\n\n"), Ok(None));
        assert_eq!(answer(&format!("\n+FULLRESYNC {ID} 0\r\n")), Ok(Some(HandshakeEvent::Full(point(0)))));
        assert_eq!(answer("+CONTINUE\r\n"), Ok(Some(HandshakeEvent::Continue(None))));
        let named = answer(&format!("+CONTINUE {ID}\r\n"));
        assert_eq!(named, Ok(Some(HandshakeEvent::Continue(Some(point(0).id)))));
    }

    /// R204, B36.
    #[test]
    fn a_primary_may_refuse_for_now() {
        for text in ["NOMASTERLINK x", "LOADING x", "MASTERDOWN x", "BUSY x", "ERR unknown command"] {
            let refused = HandshakeError::Refused { step: Step::Psync, text: text.into() };
            assert_eq!(answer(&format!("-{text}\r\n")), Err(refused));
        }
    }

    #[test]
    fn an_answer_that_fits_nothing_is_told_with_its_bytes() {
        let id = ID;
        for line in [
            "+FULLRESYNC".into(),
            format!("+FULLRESYNC {id}"),
            format!("+FULLRESYNC {id} -1"),
            format!("+FULLRESYNC {id} x"),
            format!("+FULLRESYNC {id} 99999999999999999999"),
            format!("+FULLRESYNC {id} 9 9"),
            format!("+FULLRESYNC {} 9", &id[1..]),
            format!("+CONTINUE {}", &id[1..]),
            format!("+CONTINUE {id} 9"),
            "+OK".into(),
            ":7".into(),
            "$5".into(),
            "HTTP/1.1 400 Bad Request".into(),
        ] {
            let nonsense = HandshakeError::NoAnswer { step: Step::Psync, text: line.clone() };
            assert_eq!(answer(&format!("{line}\r\n")), Err(nonsense));
        }
        let (mut handshake, mut out) = introduced(Introduction::default());
        let read = handshake.next(&mut &b"\x16\x03\x01\n"[..], wanted(9), &mut out);
        assert_eq!(read, Err(HandshakeError::NoAnswer { step: Step::Ping, text: r"\x16\x03\x01".into() }));
    }

    /// Bound B4: memory is bounded before and after the handshake.
    #[test]
    fn a_line_without_an_end_is_not_kept() {
        let (mut handshake, mut out) = introduced(Introduction::default());
        let endless = [b'x'; 1000];
        for _ in 0..4 {
            assert_eq!(handshake.next(&mut &endless[..], wanted(9), &mut out), Ok(None));
        }
        assert!(handshake.buffered() <= MAX_LINE);
        let read = handshake.next(&mut &endless[..], wanted(9), &mut out);
        assert_eq!(read, Err(HandshakeError::TooLong { step: Step::Ping }));
    }
}
