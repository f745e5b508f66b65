use alloc::string::{String, ToString};

use super::integer;
use crate::acks::Ack;
use crate::history::Wanted;
use crate::id::ReplicationId;
use crate::offset::Offset;
use crate::primary::Peer;

/// What a REPLCONF asks of the host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
#[non_exhaustive]
pub enum Replconf {
    /// Answer [`put_ok`](super::put_ok): it told of itself.
    Ok,
    /// Hand it to [`Primary::handle_ack`](crate::Primary::handle_ack) if it comes from an attached replica;
    /// from any other connection it means nothing (R184). Never answered.
    Ack(Ack),
    /// A primary has nothing to acknowledge (R186). Never answered.
    GetAck,
    /// An ack that says nothing. Never answered.
    Ignored,
}

/// What a PSYNC asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Psync {
    /// For [`Primary::attach`](crate::Primary::attach).
    pub wanted: Wanted,
    /// The asker is a primary that hands over to this node. A node that is primary itself answers
    /// [`CommandError::FailoverToPrimary`] (R47).
    pub failover: bool,
}

/// What is wrong with a command, in the words and with the code of Redis: [`put_error`](super::put_error)
/// takes it as it is. The connection goes on.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// REPLCONF takes names and values in pairs.
    #[error("ERR syntax error")]
    Syntax,
    /// A number was needed.
    #[error("ERR value is not an integer or out of range")]
    NotAnInteger,
    /// Too few arguments, or too many.
    #[error("ERR wrong number of arguments for '{command}' command")]
    WrongArity {
        /// Of which command, in lower case.
        command: &'static str,
    },
    /// No address is that long.
    #[error("ERR REPLCONF ip-address provided by replica instance is too long: {bytes} bytes")]
    AddressTooLong {
        /// Its length.
        bytes: usize,
    },
    /// An option that this side does not know or does not offer. Replicas tolerate it (R198).
    #[error("ERR Unrecognized REPLCONF option: {name}")]
    UnknownOption {
        /// Its name, shortened to 128 bytes; what is not printable is escaped.
        name: String,
    },
    /// Not three numbers with dots between them.
    #[error("ERR Unrecognized version format: {text}")]
    UnrecognizedVersion {
        /// What it is, shortened and escaped like a name.
        text: String,
    },
    /// For the host to answer when [`Psync::failover`] reaches a primary.
    #[error("ERR PSYNC FAILOVER can't be sent to a master.")]
    FailoverToPrimary,
    /// For the host to answer when the connection has replies that are not sent yet: they would get into the
    /// stream (R50).
    #[error("ERR SYNC and PSYNC are invalid with pending output")]
    PendingOutput,
}

/// Reads the arguments of REPLCONF, without the command's name, and notes in `peer` what it tells of itself.
///
/// Known are `listening-port`, `ip-address`, `capa`, `version`, `ack` with `fack`, and `getack`. Capabilities
/// other than `eof` and `psync2` are accepted and not used, those for a second connection among them (R305).
///
/// A snapshot without the stream after it (`rdb-only`), a part of one (`rdb-filter-only`) and a second
/// connection for it (`rdb-channel`) are not offered. So they are unknown options: whoever asks knows before
/// its PSYNC that it would get a whole snapshot and the stream, which "OK" would hide.
///
/// # Errors
///
/// [`CommandError`] for the first option that is wrong; `peer` is as it was.
pub fn replconf(args: &[&[u8]], peer: &mut Peer) -> Result<Replconf, CommandError> {
    let (pairs, []) = args.as_chunks() else {
        return Err(CommandError::Syntax);
    };
    // What follows an ack is not read, and what comes before it counts, but is not answered (R184).
    let announced = pairs.iter().take_while(|[name, _]| !is(name, "ack") && !is(name, "getack")).count();
    let (options, last) = pairs.split_at(announced);
    if !options.is_empty() {
        *peer = announce(peer.clone(), options)?;
    }
    Ok(match last {
        [] => Replconf::Ok,
        [[name, offset], after @ ..] if is(name, "ack") => read_ack(offset, after.first()),
        _ => Replconf::GetAck,
    })
}

/// Reads the arguments of PSYNC, without the command's name: what the asker holds, and the *next byte* that it
/// wants, counted from 1 (R54, C8).
///
/// An id that begins with `?` asks for everything (R56). An id of another form than ours, or an offset below 1,
/// is no error: it is [`Wanted::Unrecognised`], which gets a snapshot. Further arguments are ignored.
///
/// Before it attaches the connection, the host refuses one that is attached already (R46), and one with
/// [unsent replies](CommandError::PendingOutput).
///
/// # Errors
///
/// [`CommandError::WrongArity`] below two arguments; [`CommandError::NotAnInteger`] for the offset, whatever
/// the id (R52).
pub fn psync(args: &[&[u8]]) -> Result<Psync, CommandError> {
    let [id, next, others @ ..] = args else {
        return Err(CommandError::WrongArity { command: "psync" });
    };
    let next = integer::strict(next).ok_or(CommandError::NotAnInteger)?;
    let failover = others.first().is_some_and(|option| is(option, "failover"));
    Ok(Psync { wanted: wanted(id, next), failover })
}

/// Checks the arguments of SYNC, without the command's name: there are none.
///
/// Who sends it knows no offsets: it wants [`Wanted::Everything`], is not told
/// [the answer](super::put_full_resync), and never acknowledges, so clear [`Peer::acks`] (R62).
///
/// # Errors
///
/// [`CommandError::WrongArity`] if there are some.
pub fn sync(args: &[&[u8]]) -> Result<(), CommandError> {
    if args.is_empty() { Ok(()) } else { Err(CommandError::WrongArity { command: "sync" }) }
}

fn announce(mut peer: Peer, options: &[[&[u8]; 2]]) -> Result<Peer, CommandError> {
    for [name, value] in options {
        if is(name, "listening-port") {
            peer.port = integer::strict(value).ok_or(CommandError::NotAnInteger)?;
        } else if is(name, "ip-address") {
            peer.address = read_address(value)?;
        } else if is(name, "capa") {
            peer.takes_end_mark |= is(value, "eof");
            peer.learns_ids |= is(value, "psync2");
        } else if is(name, "version") {
            peer.version = Some(read_version(value)?);
        } else {
            return Err(CommandError::UnknownOption { name: excerpt(name) });
        }
    }
    Ok(peer)
}

fn read_address(text: &[u8]) -> Result<String, CommandError> {
    if text.len() > MAX_ADDRESS {
        return Err(CommandError::AddressTooLong { bytes: text.len() });
    }
    Ok(String::from_utf8_lossy(text).into_owned())
}

fn read_version(text: &[u8]) -> Result<String, CommandError> {
    let is_number =
        |part: &&[u8]| (1..=MAX_VERSION_DIGITS).contains(&part.len()) && part.iter().all(u8::is_ascii_digit);
    let mut parts = text.split(|byte| *byte == b'.');
    if parts.by_ref().take(3).filter(is_number).count() == 3 && parts.next().is_none() {
        Ok(String::from_utf8_lossy(text).into_owned())
    } else {
        Err(CommandError::UnrecognizedVersion { text: excerpt(text) })
    }
}

fn read_ack(applied: &[u8], next: Option<&[&[u8]; 2]>) -> Replconf {
    let Some(applied) = read_offset(applied) else {
        return Replconf::Ignored;
    };
    let fsynced = match next {
        Some([name, offset]) if is(name, "fack") => read_offset(offset),
        _ => None,
    };
    Replconf::Ack(Ack { applied, fsynced })
}

fn wanted(id: &[u8], next: i64) -> Wanted {
    if id.starts_with(b"?") {
        return Wanted::Everything;
    }
    let held = next.checked_sub(1).and_then(offset);
    match (ReplicationId::parse(id), held) {
        (Some(id), Some(offset)) => Wanted::After { id, offset },
        _ => Wanted::Unrecognised,
    }
}

fn read_offset(text: &[u8]) -> Option<Offset> {
    integer::strict(text).and_then(offset)
}

fn offset(bytes: i64) -> Option<Offset> {
    u64::try_from(bytes).ok().and_then(Offset::new)
}

fn is(name: &[u8], option: &str) -> bool {
    name.eq_ignore_ascii_case(option.as_bytes())
}

/// Enough of a peer's bytes to recognise them in a reply or a log, and nothing that could upset either.
fn excerpt(text: &[u8]) -> String {
    text[..text.len().min(MAX_EXCERPT)].escape_ascii().to_string()
}

/// R182.
const MAX_ADDRESS: usize = 255;
/// Of each of a version's three numbers.
const MAX_VERSION_DIGITS: usize = 9;
const MAX_EXCERPT: usize = 128;
