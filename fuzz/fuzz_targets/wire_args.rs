//! Arguments of any kind to the commands of a replica's handshake.
#![no_main]

use arbitrary::Arbitrary;
use headwater::wire::{self, CommandError, Replconf};
use headwater::{Offset, Peer, Tag, Wanted};
use libfuzzer_sys::fuzz_target;

/// Words that mean something are worth more tries than the dictionary gives them.
#[derive(Arbitrary, Debug)]
enum Argument {
    ListeningPort,
    IpAddress,
    Capa,
    Eof,
    Psync2,
    Version,
    Ack,
    Fack,
    GetAck,
    Failover,
    Id,
    Number(i64),
    Bytes(Vec<u8>),
}

impl Argument {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::ListeningPort => b"listening-port".to_vec(),
            Self::IpAddress => b"ip-address".to_vec(),
            Self::Capa => b"capa".to_vec(),
            Self::Eof => b"EOF".to_vec(),
            Self::Psync2 => b"psync2".to_vec(),
            Self::Version => b"version".to_vec(),
            Self::Ack => b"ACK".to_vec(),
            Self::Fack => b"fack".to_vec(),
            Self::GetAck => b"getack".to_vec(),
            Self::Failover => b"FAILOVER".to_vec(),
            Self::Id => b"8ee4a1c9d0b35e7f26a4c8d1e3f50719b2d4c6e8".to_vec(),
            Self::Number(number) => number.to_string().into_bytes(),
            Self::Bytes(bytes) => bytes.clone(),
        }
    }
}

fuzz_target!(|arguments: Vec<Argument>| {
    let arguments: Vec<Vec<u8>> = arguments.iter().map(Argument::bytes).collect();
    let args: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
    check_psync(&args);
    check_replconf(&args);
    assert_eq!(wire::sync(&args).is_ok(), args.is_empty());
});

fn check_psync(args: &[&[u8]]) {
    match wire::psync(args) {
        Ok(asked) => {
            let next = number(args[1]).expect("an offset that is none is an error");
            let everything = args[0].starts_with(b"?");
            assert_eq!(asked.wanted == Wanted::Everything, everything);
            if let Wanted::After { id, offset } = asked.wanted {
                assert_eq!(i64::try_from(offset.get()), Ok(next - 1));
                assert_eq!(id.to_string().as_bytes(), args[0].to_ascii_lowercase());
            }
            let failover = args.get(2).is_some_and(|arg| arg.eq_ignore_ascii_case(b"failover"));
            assert_eq!(asked.failover, failover);
        }
        Err(CommandError::WrongArity { .. }) => assert!(args.len() < 2),
        Err(CommandError::NotAnInteger) => assert_eq!(number(args[1]), None),
        Err(error) => panic!("{error}"),
    }
}

fn check_replconf(args: &[&[u8]]) {
    let before = Peer::new(Tag(1), "192.0.2.7");
    let mut peer = before.clone();
    match wire::replconf(args, &mut peer) {
        Ok(Replconf::Ack(ack)) => {
            let told = |offset: Offset| args.iter().any(|arg| *arg == offset.to_string().as_bytes());
            assert!(told(ack.applied) && ack.fsynced.is_none_or(told));
        }
        Ok(_) => {}
        Err(error) => {
            assert_eq!(peer, before, "an error changed the peer");
            check_error(&error);
        }
    }
    assert!(peer.address.len() <= 3 * 255, "three bytes stand for one that is no UTF-8");
    assert!(peer.version.is_none_or(|version| version.len() <= 32));
}

/// Whatever a peer sent, the reply is one printable line of bounded length.
fn check_error(error: &CommandError) {
    let mut reply = Vec::new();
    wire::put_error(&mut reply, error);
    let line = reply.strip_suffix(b"\r\n").expect("a line");
    assert!(line.len() < 1024 && line.iter().all(|byte| (b' '..=b'~').contains(byte)));
}

/// The one spelling that a number has (R187).
fn number(text: &[u8]) -> Option<i64> {
    let number: i64 = str::from_utf8(text).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == text).then_some(number)
}
