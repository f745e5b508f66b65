use alloc::string::{String, ToString};

use super::integer;
use crate::acks::Ack;
use crate::history::Wanted;
use crate::id::ReplicationId;
use crate::offset::Offset;
use crate::primary::{AttachError, Peer};

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
    /// The asker is a primary that hands over to this node: if its id is the current one here, promote the node, then
    /// attach. Else answer [`CommandError::FailoverId`], or [`CommandError::FailoverToPrimary`] if the node is
    /// primary itself (R47).
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
    /// A timeout that is no number of milliseconds.
    #[error("ERR timeout is not an integer or out of range")]
    TimeoutNotAnInteger,
    /// A timeout below zero.
    #[error("ERR timeout is negative")]
    TimeoutNegative,
    /// A timeout that ends past the end of time.
    #[error("ERR timeout is out of range")]
    TimeoutOutOfRange,
    /// A flag that is neither 0 nor 1.
    #[error("ERR value is out of range, value must between 0 and 1")]
    NeitherZeroNorOne,
    /// A count below zero.
    #[error("ERR value is out of range, must be positive")]
    NotPositive,
    /// WAITAOF asks for an append-only file that is not there (R165, R177).
    #[error("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.")]
    NoAppendOnlyFile,
    /// For the host to answer to WAIT while it follows another node (R168).
    #[error(
        "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is \
         configured to be writable (which is not the default) writes to replicas are just local and are not propagated."
    )]
    WaitOnReplica,
    /// For the host to answer to WAITAOF while it follows another node (R168).
    #[error(
        "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local \
         and are not propagated."
    )]
    WaitAofOnReplica,
    /// As many clients wait as may.
    #[error("ERR {max} clients wait for replicas, the most allowed")]
    TooManyWaiters {
        /// [`Config::max_waiters`](crate::Config::max_waiters).
        max: usize,
    },
    /// This node stopped being a primary while a client waited (R169). Close the connection afterwards.
    #[error("UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)")]
    NoLongerPrimary,
    /// For the host to answer to a client whose wait another one ended by `CLIENT UNBLOCK id ERROR` (R171).
    #[error("UNBLOCKED client unblocked via CLIENT UNBLOCK")]
    Unblocked,
    /// The write gate is closed (R149).
    #[error("NOREPLICAS Not enough good replicas to write.")]
    NotEnoughReplicas,
    /// This node follows a primary, which alone takes writes.
    #[error("READONLY You can't write against a read only replica.")]
    ReadOnly,
    /// A replica is about to take over. Redis lets writes wait meanwhile (R233); a host may, too.
    #[error("TRYAGAIN writes are paused until a replica has taken over")]
    WritesPaused,
    /// A replica is about to take over, so none more is attached (R48).
    #[error("NOMASTERLINK Can't SYNC while failing over")]
    HandingOver,
    /// This node follows a primary, and has no link to it (R49).
    #[error("NOMASTERLINK Can't SYNC while not connected with my master")]
    NotInStep,
    /// As many replicas are attached as may be.
    #[error("ERR {max} replicas are attached, the most allowed")]
    TooManyReplicas {
        /// [`Config::max_replicas`](crate::Config::max_replicas).
        max: usize,
    },
    /// The host has yet to draw an id: ask again a little later.
    #[error("ERR no id for a new history was supplied")]
    IdWanted,
    /// The stream has reached its last offset.
    #[error("ERR the replication stream is full")]
    StreamFull,
    /// For the host to answer when [`Psync::failover`] reaches a primary.
    #[error("ERR PSYNC FAILOVER can't be sent to a master.")]
    FailoverToPrimary,
    /// For the host to answer when [`Psync::failover`] comes with an id that is not this node's current one (R47).
    #[error("ERR PSYNC FAILOVER replid must match my replid.")]
    FailoverId,
    /// For the host to answer when the connection has replies that are not sent yet: they would get into the
    /// stream (R50).
    #[error("ERR SYNC and PSYNC are invalid with pending output")]
    PendingOutput,
}

impl From<AttachError> for CommandError {
    fn from(refused: AttachError) -> Self {
        match refused {
            AttachError::TooManyReplicas { max } => Self::TooManyReplicas { max },
            AttachError::IdWanted => Self::IdWanted,
            AttachError::NotInStep => Self::NotInStep,
            AttachError::HandingOver => Self::HandingOver,
        }
    }
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

/// Reads the arguments of PSYNC, without the command's name: the history that the asker holds, and the *next
/// byte* that it wants, counted from 1 (R54, C8).
///
/// An id that begins with `?` asks for everything (R56). An id of another form than ours, or an offset below
/// 1, is no error: it is [`Wanted::Unrecognised`], which gets a snapshot. Further arguments are ignored.
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
pub(super) fn excerpt(text: &[u8]) -> String {
    text[..text.len().min(MAX_EXCERPT)].escape_ascii().to_string()
}

/// R182.
const MAX_ADDRESS: usize = 255;
/// Of each of a version's three numbers.
const MAX_VERSION_DIGITS: usize = 9;
const MAX_EXCERPT: usize = 128;

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec;
    use alloc::vec::Vec;

    use proptest::collection::vec as vec_of;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::key::Tag;

    const ID: &str = "8ee4a1c9d0b35e7f26a4c8d1e3f50719b2d4c6e8";

    fn words(line: &str) -> Vec<&[u8]> {
        line.split_whitespace().map(str::as_bytes).collect()
    }

    fn peer() -> Peer {
        Peer::new(Tag(1), "192.0.2.7")
    }

    fn replconf_of(line: &str) -> (Result<Replconf, CommandError>, Peer) {
        let mut peer = peer();
        (replconf(&words(line), &mut peer), peer)
    }

    fn ack(applied: u64, fsynced: Option<u64>) -> Replconf {
        let at = |bytes| Offset::new(bytes).unwrap();
        Replconf::Ack(Ack { applied: at(applied), fsynced: fsynced.map(at) })
    }

    fn after(offset: u64) -> Wanted {
        let id = ReplicationId::parse(ID.as_bytes()).unwrap();
        Wanted::After { id, offset: Offset::new(offset).unwrap() }
    }

    fn unknown(name: &str) -> CommandError {
        CommandError::UnknownOption { name: name.into() }
    }

    /// R54, R56 and C8: the wire names the next byte, from 1.
    #[test]
    fn psync_asks_for_what_follows_the_byte_before() {
        let wanted = |id: &str, next: &str| psync(&[id.as_bytes(), next.as_bytes()]).unwrap().wanted;
        for (id, next, expected) in [
            (ID, "1", after(0)),
            (ID, "101", after(100)),
            (ID, "9223372036854775807", after(i64::MAX as u64 - 1)),
            (&ID.to_uppercase(), "101", after(100)),
            ("?", "-1", Wanted::Everything),
            ("?xyz", "101", Wanted::Everything),
            (ID, "0", Wanted::Unrecognised),
            (ID, "-1", Wanted::Unrecognised),
            (ID, "-5", Wanted::Unrecognised),
            (ID, "-9223372036854775808", Wanted::Unrecognised),
            (&ID[..39], "101", Wanted::Unrecognised),
            (&format!("{ID}0"), "101", Wanted::Unrecognised),
            (&ID.replace('8', "g"), "101", Wanted::Unrecognised),
            ("", "101", Wanted::Unrecognised),
        ] {
            assert_eq!(wanted(id, next), expected, "{id} {next}");
        }
    }

    /// R45, R52 and T63: one outcome each, and none of them is to go on.
    #[test]
    fn psync_refuses_what_is_no_request() {
        let arity = Err(CommandError::WrongArity { command: "psync" });
        assert_eq!(psync(&[]), arity);
        assert_eq!(psync(&words(ID)), arity);
        for next in ["abc", "", "+1", "01", "1.0", "9223372036854775808", "99999999999999999999"] {
            for id in [ID, "?"] {
                assert_eq!(
                    psync(&[id.as_bytes(), next.as_bytes()]),
                    Err(CommandError::NotAnInteger),
                    "{next}"
                );
            }
        }
    }

    /// R47.
    #[test]
    fn psync_tells_of_a_handover() {
        let asked = |rest: &str| psync(&words(&format!("{ID} 7 {rest}"))).unwrap();
        for (rest, failover) in
            [("", false), ("FAILOVER", true), ("failover x", true), ("x FAILOVER", false), ("a b c", false)]
        {
            assert_eq!(asked(rest), Psync { wanted: after(6), failover }, "{rest}");
        }
    }

    /// R45.
    #[test]
    fn sync_takes_no_arguments() {
        assert_eq!(sync(&[]), Ok(()));
        assert_eq!(sync(&[b""]), Err(CommandError::WrongArity { command: "sync" }));
    }

    /// R180 to R183, R190 and R305.
    #[test]
    fn replconf_notes_what_a_peer_tells_of_itself() {
        let (answer, told) = replconf_of("Listening-Port 6380 IP-ADDRESS 198.51.100.4 CAPA EOF capa psync2");
        assert_eq!(answer, Ok(Replconf::Ok));
        assert_eq!((&*told.address, told.port), ("198.51.100.4", 6380));
        assert!(told.takes_end_mark && told.learns_ids);
        assert_eq!(replconf_of(""), (Ok(Replconf::Ok), peer()));
        assert_eq!(replconf_of("listening-port 999999").1.port, 999_999);
        assert_eq!(replconf_of("listening-port -1").1.port, -1);
        assert_eq!(replconf_of("version 8.0.1").1.version.as_deref(), Some("8.0.1"));
        for ignored in ["capa dual-channel", "capa rdb-channel-repl", "capa anything"] {
            assert_eq!(replconf_of(ignored), (Ok(Replconf::Ok), peer()));
        }
        let long = vec![b'c'; 64 << 10];
        assert_eq!(replconf(&[b"capa", &long], &mut peer()), Ok(Replconf::Ok));
        assert_eq!(replconf(&[b"capa", b""], &mut peer()), Ok(Replconf::Ok));
    }

    /// R183: there is no way to take a capability back.
    #[test]
    fn a_capability_stays() {
        let mut peer = peer();
        for line in ["capa eof", "capa psync2", "capa x"] {
            assert_eq!(replconf(&words(line), &mut peer), Ok(Replconf::Ok));
        }
        assert!(peer.takes_end_mark && peer.learns_ids);
    }

    /// R180 to R182, R188 to R193.
    #[test]
    fn replconf_refuses_what_it_does_not_understand_or_offer() {
        for (line, expected) in [
            ("capa", CommandError::Syntax),
            ("capa eof ack", CommandError::Syntax),
            ("listening-port abc", CommandError::NotAnInteger),
            ("rdb-only 1", unknown("rdb-only")),
            ("rdb-filter-only functions", unknown("rdb-filter-only")),
            ("rdb-channel 1", unknown("rdb-channel")),
            ("set-rdb-client-id 7", unknown("set-rdb-client-id")),
            ("fack 7", unknown("fack")),
            ("version 8.0", CommandError::UnrecognizedVersion { text: "8.0".into() }),
        ] {
            let before_it = format!("listening-port 1 capa eof {line}");
            assert_eq!(replconf_of(&before_it), (Err(expected), peer()), "{line}");
        }
    }

    /// B48, R182.
    #[test]
    fn an_address_has_at_most_255_bytes() {
        let (text, mut peer) = (vec![b'1'; 256], peer());
        let refused = replconf(&[b"ip-address", &text], &mut peer);
        assert_eq!(refused, Err(CommandError::AddressTooLong { bytes: 256 }));
        assert_eq!(replconf(&[b"ip-address", &text[1..]], &mut peer), Ok(Replconf::Ok));
        assert_eq!(peer.address.as_bytes(), &text[1..]);
    }

    /// R190.
    #[test]
    fn a_version_is_three_numbers() {
        for version in ["0.0.0", "7.2.6", "255.255.255", "7.002.999999999"] {
            assert_eq!(read_version(version.as_bytes()).unwrap(), version);
        }
        for text in [
            "",
            "7",
            "7.2",
            "7.2.",
            ".7.2",
            "7..2",
            "7.2.6.1",
            "7.2.6-rc1",
            "a.b.c",
            "7.2.-1",
            "1.1.1234567890",
        ] {
            assert!(read_version(text.as_bytes()).is_err(), "{text}");
        }
    }

    /// R184 to R187.
    #[test]
    fn an_ack_is_read_and_ends_the_command() {
        for (line, expected) in [
            ("ack 0", ack(0, None)),
            ("ACK 100", ack(100, None)),
            ("ack 100 fack 90", ack(100, Some(90))),
            ("ack 100 FACK 0", ack(100, Some(0))),
            ("ack 100 fack 200", ack(100, Some(200))), // for the core to judge
            ("ack 100 fack -1", ack(100, None)),
            ("ack 100 fack x", ack(100, None)),
            ("ack 100 capa eof fack 90", ack(100, None)),
            ("ack 100 unknown 1", ack(100, None)),
            ("ack 9223372036854775807", ack(i64::MAX as u64, None)),
            ("ack 9223372036854775808", Replconf::Ignored),
            ("ack -1", Replconf::Ignored),
            ("ack abc", Replconf::Ignored),
            ("ack 01", Replconf::Ignored),
            ("ack abc fack 90", Replconf::Ignored),
            ("getack *", Replconf::GetAck),
            ("GETACK x unknown 1", Replconf::GetAck),
        ] {
            assert_eq!(replconf_of(line), (Ok(expected), peer()), "{line}");
        }
        let (answer, told) = replconf_of("capa eof ack 5 capa psync2");
        assert_eq!((answer, told.takes_end_mark, told.learns_ids), (Ok(ack(5, None)), true, false));
    }

    #[test]
    fn errors_read_as_redis_writes_them() {
        for (error, text) in [
            (CommandError::Syntax, "ERR syntax error"),
            (CommandError::NotAnInteger, "ERR value is not an integer or out of range"),
            (
                CommandError::WrongArity { command: "psync" },
                "ERR wrong number of arguments for 'psync' command",
            ),
            (
                CommandError::AddressTooLong { bytes: 300 },
                "ERR REPLCONF ip-address provided by replica instance is too long: 300 bytes",
            ),
            (unknown("x"), "ERR Unrecognized REPLCONF option: x"),
            (CommandError::UnrecognizedVersion { text: "x".into() }, "ERR Unrecognized version format: x"),
            (CommandError::FailoverToPrimary, "ERR PSYNC FAILOVER can't be sent to a master."),
            (CommandError::FailoverId, "ERR PSYNC FAILOVER replid must match my replid."),
            (CommandError::PendingOutput, "ERR SYNC and PSYNC are invalid with pending output"),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn a_peers_bytes_come_back_short_and_printable() {
        let name = [&b"a\r\n\x1b\xff"[..], &[b'x'; 1000]].concat();
        let Err(CommandError::UnknownOption { name }) = replconf(&[&name, b""], &mut peer()) else {
            panic!("no such option is known");
        };
        assert_eq!(name, String::from(r"a\r\n\x1b\xff") + &"x".repeat(123));
    }

    const WORDS: &[&str] = &[
        "capa",
        "eof",
        "psync2",
        "listening-port",
        "6380",
        "ip-address",
        "version",
        "7.2.6",
        "ack",
        "fack",
        "getack",
        "rdb-only",
        "x",
        "",
    ];

    proptest! {
        #[test]
        fn an_error_leaves_the_peer_as_it_was(
            args in vec_of(select(WORDS), 0..8),
        ) {
            let args: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
            let mut peer = peer();
            if replconf(&args, &mut peer).is_err() {
                prop_assert_eq!(peer, self::peer());
            }
        }
    }
}
