//! Arguments of any kind to the commands of a replica's handshake and of a client that waits, and to a setting.
#![no_main]

use arbitrary::Arbitrary;
use headwater::wire::{self, ClientLimits, CommandError, Replconf, WaitArgs};
use headwater::{Level, Offset, Peer, Tag, Timeout, Wanted};
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
    Normal,
    Replica,
    Pubsub,
    Size(u64, Unit),
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
            Self::Normal => b"normal".to_vec(),
            Self::Replica => b"Replica".to_vec(),
            Self::Pubsub => b"pubsub".to_vec(),
            Self::Size(number, unit) => format!("{number}{unit:?}").into_bytes(),
            Self::Bytes(bytes) => bytes.clone(),
        }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Unit {
    B,
    K,
    Kb,
    M,
    Mb,
    G,
    Gb,
}

impl Unit {
    fn bytes(self) -> u64 {
        match self {
            Self::B => 1,
            Self::K => 1000,
            Self::Kb => 1 << 10,
            Self::M => 1_000_000,
            Self::Mb => 1 << 20,
            Self::G => 1_000_000_000,
            Self::Gb => 1 << 30,
        }
    }
}

fuzz_target!(|arguments: Vec<Argument>| {
    arguments.iter().for_each(check_size);
    let arguments: Vec<Vec<u8>> = arguments.iter().map(Argument::bytes).collect();
    let args: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
    check_psync(&args);
    check_replconf(&args);
    assert_eq!(wire::sync(&args).is_ok(), args.is_empty());
    check_wait(&args);
    check_waitaof(&args);
    check_limits(&args.join(&b' '));
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

fn check_wait(args: &[&[u8]]) {
    match wire::wait(args) {
        Ok(asked) => {
            assert_eq!((asked.level, asked.local), (Level::Applied, false));
            check_asked(asked, args);
        }
        Err(CommandError::WrongArity { .. }) => assert_ne!(args.len(), 2),
        Err(CommandError::NotAnInteger) => assert_eq!(number(args[0]), None),
        Err(error) => check_timeout_error(&error, args[1]),
    }
}

fn check_waitaof(args: &[&[u8]]) {
    match wire::waitaof(args) {
        Ok(asked) => {
            assert_eq!((asked.level, i64::from(asked.local)), (Level::Fsynced, told(args[0])));
            assert!(told(args[1]) >= 0);
            check_asked(asked, &args[1..]);
        }
        Err(CommandError::WrongArity { .. }) => assert_ne!(args.len(), 3),
        Err(CommandError::NotAnInteger) => assert!(args[..2].iter().any(|arg| number(arg).is_none())),
        Err(CommandError::NeitherZeroNorOne) => assert!(!(0..=1).contains(&told(args[0]))),
        Err(CommandError::NotPositive) => assert!(told(args[1]) < 0),
        Err(error) => check_timeout_error(&error, args[2]),
    }
}

/// Replicas and timeout are the numbers that were given.
fn check_asked(asked: WaitArgs, args: &[&[u8]]) {
    assert_eq!(i64::try_from(asked.replicas), Ok(told(args[0]).max(0)));
    let millis = match asked.timeout {
        Timeout::After(time) => time.as_millis(),
        timeout => {
            assert_eq!(timeout, Timeout::Never);
            0
        }
    };
    assert_eq!(i64::try_from(millis), Ok(told(args[1])));
}

fn check_timeout_error(error: &CommandError, timeout: &[u8]) {
    match error {
        CommandError::TimeoutNotAnInteger => assert_eq!(number(timeout), None),
        CommandError::TimeoutNegative => assert!(told(timeout) < 0),
        CommandError::TimeoutOutOfRange => assert!(told(timeout) > i64::MAX - 1_000_000_000_000),
        error => panic!("{error}"),
    }
}

fn check_limits(text: &[u8]) {
    let text = &*String::from_utf8_lossy(text);
    let before = ClientLimits::default();
    let mut limits = before;
    if let Err(error) = limits.set(text) {
        assert_eq!(limits, before, "an error changed the limits");
        assert!(format!("{error:?}").len() < 1024);
        return;
    }
    let mut again = before;
    again.set(&limits.to_string()).expect("what is shown is read");
    assert_eq!(again, limits);
    for limit in [limits.normal, limits.replica, limits.pubsub] {
        let soft = limit.soft.map(|soft| soft.bytes);
        assert!(limit.hard != Some(0) && soft != Some(0), "0 is none");
        assert!(limit.hard.is_none_or(|hard| soft.is_none_or(|soft| soft <= hard)));
    }
}

fn check_size(argument: &Argument) {
    let bytes = argument.bytes();
    let text = &*String::from_utf8_lossy(&bytes);
    match argument {
        Argument::Size(number, unit) => {
            assert_eq!(wire::memory_size(text), number.checked_mul(unit.bytes()));
        }
        _ => assert!(wire::memory_size(text).is_none() || bytes[0].is_ascii_digit()),
    }
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

fn told(text: &[u8]) -> i64 {
    number(text).expect("what is no number is an error")
}
