use headwater::wire::{self, ClientLimits, LimitsError, Replconf, WaitArgs};
use headwater::{
    Ack, AckError, ConfigError, Detach, DropReason, Event, Gone, MinReplicas, OutputLimit, Peer, ReplicaKey,
    Report, SoftLimit, Tag,
};

use crate::host::{Host, at, seconds};

fn words(line: &str) -> Vec<&[u8]> {
    line.split(' ').map(str::as_bytes).collect()
}

/// What a connection's REPLCONF says, as a host reads it.
fn replconf(line: &str) -> Result<Replconf, wire::CommandError> {
    wire::replconf(&words(line), &mut Peer::new(Tag(1), "10.0.0.9"))
}

fn ack(host: &mut Host, replica: ReplicaKey, line: &str) -> Result<(), AckError> {
    match replconf(line).unwrap() {
        Replconf::Ack(ack) => host.primary.handle_ack(replica, ack, host.now),
        other => panic!("{line}: {other:?}"),
    }
}

/// A gate, somebody who waits, a replica in the stream: whatever an input could disturb.
fn busy() -> (Host, ReplicaKey) {
    let mut host = Host::new(|_| ());
    let replica = host.online();
    host.reconfigure(|config| config.min_replicas = MinReplicas { to_write: 1, max_lag: seconds(10) });
    let target = host.append(b"12345");
    host.flush(replica);
    host.append(b"67890");
    let args = wire::wait(&words("1 0")).unwrap();
    let _ = host.primary.wait(args.for_target(target, Tag(1)), host.now).unwrap();
    host.events();
    (host, replica)
}

fn unchanged(host: &mut Host, before: &Report) {
    host.primary.check_invariants();
    assert_eq!(host.report(), *before);
    assert_eq!(host.events(), []);
}

#[test]
fn an_ack_of_one_that_is_not_attached_is_an_error_and_changes_nothing() {
    let (mut host, _) = busy();
    let gone = host.online();
    host.primary.detach(gone, Detach::Clean, host.now).unwrap();
    host.events();
    let before = host.report();
    assert_eq!(ack(&mut host, gone, "ACK 5"), Err(AckError::Gone(Gone(gone))));
    let never = ReplicaKey::new(99, 1, Tag(1));
    assert_eq!(ack(&mut host, never, "ACK 5"), Err(AckError::Gone(Gone(never))));
    assert_eq!(host.primary.handle_alive(never, host.now), Err(Gone(never)));
    unchanged(&mut host, &before);
}

/// S8: counted for nothing, and the replica goes with the figures.
#[test]
fn an_ack_beyond_what_was_sent_drops_the_replica() {
    for (line, reason) in [
        ("ACK 6", DropReason::AckBeyondLent { acked: at(6), lent: at(5) }),
        ("ACK 9223372036854775807", DropReason::AckBeyondLent { acked: at(i64::MAX as u64), lent: at(5) }),
        ("ACK 4 FACK 5", DropReason::FsyncedBeyondApplied { fsynced: at(5), applied: at(4) }),
    ] {
        let (mut host, replica) = busy();
        let (bystander, _) = host.resume(at(0));
        host.events();
        assert_eq!(ack(&mut host, replica, line), Err(AckError::Dropped { replica, reason }), "{line}");
        host.primary.check_invariants();
        assert_eq!(host.events(), [Event::Dropped { replica, reason }], "{line}");
        let report = host.report();
        assert_eq!((report.waiters, report.good, report.replicas.len()), (1, 1, 1), "{line}");
        assert!(host.is_attached(bystander), "{line}");
    }
}

/// R184: an ack without a number says nothing, and is not answered; nobody is dropped for it.
#[test]
fn an_ack_that_is_no_number_or_below_zero_says_nothing() {
    for line in
        ["ACK x", "ACK -1", "ACK 1.5", "ACK 9223372036854775808", "ACK 99999999999999999999", "ACK +1"]
    {
        let (mut host, _) = busy();
        let before = host.report();
        assert_eq!(replconf(line), Ok(Replconf::Ignored), "{line}");
        unchanged(&mut host, &before);
    }
}

/// T23 and R164: in the words of Redis, before anybody waits.
#[test]
fn a_wait_that_makes_no_sense_is_answered_and_nobody_waits() {
    let (mut host, _) = busy();
    let before = host.report();
    for (line, text) in [
        ("a 0", "-ERR value is not an integer or out of range\r\n"),
        ("1.5 0", "-ERR value is not an integer or out of range\r\n"),
        ("1 x", "-ERR timeout is not an integer or out of range\r\n"),
        ("1 -1", "-ERR timeout is negative\r\n"),
        ("1 9223372036854775808", "-ERR timeout is not an integer or out of range\r\n"),
        ("1 9223372036854775807", "-ERR timeout is out of range\r\n"),
        ("1", "-ERR wrong number of arguments for 'wait' command\r\n"),
    ] {
        let mut out = Vec::new();
        wire::put_error(&mut out, &wire::wait(&words(line)).unwrap_err());
        assert_eq!(String::from_utf8(out).unwrap(), text, "{line}");
    }
    for (line, text) in [
        ("2 1 0", "-ERR value is out of range, value must between 0 and 1\r\n"),
        ("0 -1 0", "-ERR value is out of range, must be positive\r\n"),
        ("0 1 -1", "-ERR timeout is negative\r\n"),
    ] {
        let mut out = Vec::new();
        wire::put_error(&mut out, &wire::waitaof(&words(line)).unwrap_err());
        assert_eq!(String::from_utf8(out).unwrap(), text, "{line}");
    }
    unchanged(&mut host, &before);
}

/// valkey#3407: a count above 2^31 was taken for a negative one, and satisfied at once.
#[test]
fn a_wait_for_more_replicas_than_there_can_be_is_not_satisfied() {
    let (mut host, _) = busy();
    for count in ["2147483648", "4294967297", "9223372036854775807"] {
        let args: WaitArgs = wire::wait(&words(&format!("{count} 1000"))).unwrap();
        let outcome = host.primary.wait(args.for_target(at(5), Tag(1)), host.now);
        assert!(matches!(outcome, Ok(headwater::WaitOutcome::Pending(_))), "{count}: {outcome:?}");
    }
}

/// T41 and R119.
#[test]
fn limits_that_make_no_sense_are_refused_in_the_words_of_redis_and_change_nothing() {
    let setting = "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
    let class = "Invalid client class specified in buffer limit configuration.";
    let count = "Wrong number of arguments in buffer limit configuration.";
    for (value, text) in [
        ("replica 1mb 2mb 60", setting),
        ("replica 1xb 1mb 60", setting),
        ("replica 1mb 1mb -1", setting),
        ("master 1mb 1mb 60", class),
        ("nobody 1mb 1mb 60", class),
        ("replica 1mb 1mb", count),
    ] {
        let mut limits = ClientLimits::default();
        assert_eq!(limits.set(value).unwrap_err().to_string(), text, "{value}");
        assert_eq!(limits, ClientLimits::default(), "{value}");
    }
    let above = ClientLimits::default().set("replica 1mb 2mb 60");
    assert_eq!(above, Err(LimitsError::SoftAboveHard { soft: 2 << 20, hard: 1 << 20 }));
}

#[test]
fn a_configuration_that_makes_no_sense_changes_nothing() {
    let (mut host, _) = busy();
    let before = host.report();
    let attempt = |host: &mut Host, change: fn(&mut headwater::Config)| {
        let mut config = host.primary.config().clone();
        change(&mut config);
        host.primary.reconfigure(config, host.now)
    };
    let soft = |bytes| Some(SoftLimit { bytes, lasting: seconds(60) });
    let refused = attempt(&mut host, |config| {
        let soft = Some(SoftLimit { bytes: 2000, lasting: seconds(60) });
        config.output_limit = OutputLimit { hard: Some(1000), soft };
    });
    assert_eq!(refused, Err(ConfigError::SoftAboveHard { soft: 2000, hard: 1000 }));
    for (setting, change) in [
        ("output_limit.hard", (|config| config.output_limit.hard = Some(0)) as fn(&mut headwater::Config)),
        ("max_waiters", |config| config.max_waiters = 0),
        ("max_transfers", |config| config.max_transfers = 0),
        ("ack_request", |config| config.ack_request = Some(bytes::Bytes::new())),
    ] {
        assert_eq!(attempt(&mut host, change), Err(ConfigError::Zero { setting }));
    }
    unchanged(&mut host, &before);
    let limit = OutputLimit { hard: Some(2000), soft: soft(2000) };
    host.reconfigure(|config| config.output_limit = limit);
    assert_eq!(host.primary.config().output_limit, limit, "as high as the hard one is allowed");
}

/// R185 and S4: an old ack tells that the replica lives, and takes back nothing.
#[test]
fn an_ack_that_goes_back_takes_back_nothing() {
    let (mut host, replica) = busy();
    ack(&mut host, replica, "ACK 5").unwrap();
    host.events();
    host.pass(seconds(9));
    host.primary.handle_ack(replica, Ack::applied(at(2)), host.now).unwrap();
    let report = host.report_of(replica);
    assert_eq!((report.acked, report.last_ack), (Some(at(5)), Some(seconds(0))));
    assert_eq!(host.primary.good_at(at(5), host.now), 1);
}
