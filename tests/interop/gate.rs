//! Writes that are refused while too few replicas are good.

use std::time::{Duration, Instant};

use crate::image::{assert_equal_data, wait_in_step};
use crate::raw::RawClient;
use crate::server::{Program, Server};
use crate::wait::wait_until_equal;

mod with_replicas {
    use super::a_stopped_replica_closes_the_gate_and_its_first_ack_opens_it;

    of_both! { with replicas: a_stopped_replica_closes_the_gate_and_its_first_ack_opens_it }
}

of_both! {
    a_write_refused_in_a_transaction_discards_it,
    a_gate_that_closes_before_exec_discards_the_transaction,
    either_setting_of_zero_opens_the_gate,
}

/// T67, R146, R149.
fn a_stopped_replica_closes_the_gate_and_its_first_ack_opens_it(program: Program) {
    let options = ["--min-replicas-to-write", "1", "--min-replicas-max-lag", "2"];
    let primary = Server::primary(program, &options);
    let mut client = RawClient::connect(primary.port());
    assert_eq!(client.ask("SET key value"), REFUSED);
    let replica = Server::replica_of(primary.port(), &[]);
    wait_in_step(&primary, &replica);
    wait_until_equal("good replica", "+OK".to_owned(), || client.ask("SET key value"));
    assert_eq!(primary.info().number("min_slaves_good_slaves"), 1);

    replica.pause();
    let paused = Instant::now();
    wait_until_equal("refusal", REFUSED.to_owned(), || client.ask("SET key other"));
    assert!(paused.elapsed() < CLOSES_WITHIN, "writes were let in for {:?}", paused.elapsed());
    assert_eq!(primary.info().number("min_slaves_good_slaves"), 0);
    assert_eq!(client.ask("PING"), "+PONG");

    replica.resume();
    wait_until_equal("good replica", "+OK".to_owned(), || client.ask("SET key last"));
    assert_eq!(assert_equal_data(&primary, &replica), 1);
    if let Program::Kv = program {
        let settings = "(min-replicas-to-write 1, min-replicas-max-lag 2)";
        for told in ["writes are refused: 0 replicas", "writes are let in again, good replicas: 1"] {
            let log = primary.log();
            let line = log.lines().find(|line| line.contains(told));
            assert!(line.is_some_and(|line| line.ends_with(settings)), "{told}: {line:?}");
        }
    }
}

/// R150.
fn a_write_refused_in_a_transaction_discards_it(program: Program) {
    let primary = Server::primary(program, &["--min-replicas-to-write", "1"]);
    let mut client = RawClient::connect(primary.port());
    for (command, answer) in [
        ("MULTI", "+OK"),
        ("GET key", "+QUEUED"),
        ("SET key value", REFUSED),
        ("EXEC", "-EXECABORT Transaction discarded because of previous errors."),
        ("MULTI", "+OK"),
        ("DEL key", REFUSED),
        ("DISCARD", "+OK"),
        ("DBSIZE", ":0"),
    ] {
        assert_eq!(client.ask(command), answer, "{command}");
    }
}

/// R150.
fn a_gate_that_closes_before_exec_discards_the_transaction(program: Program) {
    let primary = Server::primary(program, &[]);
    let mut client = RawClient::connect(primary.port());
    for command in ["SET key value", "SET other value"] {
        assert_eq!(client.ask("MULTI"), "+OK");
        assert_eq!(client.ask(command), "+QUEUED");
        primary.set("min-replicas-to-write", "1");
        let refused = format!("-EXECABORT Transaction discarded because of: {}", &REFUSED[1..]);
        assert_eq!(client.ask("EXEC"), refused);
        primary.set("min-replicas-to-write", "0");
    }
    assert_eq!(client.ask("DBSIZE"), ":0");
    // Who only reads is not stopped.
    assert_eq!(client.ask("MULTI"), "+OK");
    assert_eq!(client.ask("DBSIZE"), "+QUEUED");
    primary.set("min-replicas-to-write", "1");
    assert_eq!((client.ask("EXEC"), client.line()), ("*1".to_owned(), ":0".to_owned()));
}

/// R149.
fn either_setting_of_zero_opens_the_gate(program: Program) {
    let primary = Server::primary(program, &["--min-replicas-to-write", "3"]);
    let mut client = RawClient::connect(primary.port());
    assert_eq!(client.ask("SET key value"), REFUSED);
    primary.set("min-replicas-max-lag", "0");
    assert_eq!(client.ask("SET key value"), "+OK");
    primary.set("min-replicas-max-lag", "10");
    assert_eq!(client.ask("SET key value"), REFUSED);
    primary.set("min-replicas-to-write", "0");
    assert_eq!(client.ask("SET key value"), "+OK");
}

const REFUSED: &str = "-NOREPLICAS Not enough good replicas to write.";
/// The lag of 2 s, the second that Redis rounds it up by, and another until its next look; doubled for a slow machine.
const CLOSES_WITHIN: Duration = Duration::from_secs(8);
