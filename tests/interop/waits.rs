//! Clients that wait until replicas hold their writes.

use std::time::{Duration, Instant};

use crate::image::wait_in_step;
use crate::raw::RawClient;
use crate::server::{Program, Server};
use crate::wait::{wait_for, wait_until_equal};

of_both! {
    with replicas:
    two_hundred_clients_wait_at_once_and_each_gets_its_answer,
    a_wait_that_times_out_tells_how_many_acknowledged,
    a_wait_inside_a_transaction_is_over_at_once,
    commands_after_a_wait_come_after_its_answer,
}

of_hosts! {
    small:
    a_wait_that_times_out_tells_how_many_acknowledged,
    commands_after_a_wait_come_after_its_answer,
}

/// T24, T25, T27, R162, R167, R171. While the replica is stopped nobody's write is acknowledged.
fn two_hundred_clients_wait_at_once_and_each_gets_its_answer(program: Program) {
    let (primary, replica) = pair(program);
    replica.pause();
    let mut clients: Vec<Waiting> = (0..CLIENTS).map(|number| Waiting::start(&primary, number)).collect();
    wait_until_equal("blocked clients", CLIENTS as u64, || primary.info().number("blocked_clients"));

    let mut others = clients.split_off(CLIENTS / 2);
    replica.resume();
    for client in &mut clients {
        assert_eq!(client.connection.line(), ":1");
    }
    // Those who wait for two replicas, which there are not, end by other means.
    wait_until_equal("blocked clients", others.len() as u64, || primary.info().number("blocked_clients"));
    let gone = others.split_off(50);
    drop(gone);
    wait_until_equal("blocked clients", 50, || primary.info().number("blocked_clients"));
    let mut admin = RawClient::connect(primary.port());
    for (number, client) in others.iter_mut().enumerate() {
        let (reason, answer) = UNBLOCKED[number % UNBLOCKED.len()];
        assert_eq!(admin.ask(&format!("CLIENT UNBLOCK {} {reason}", client.id)), ":1");
        assert_eq!(client.connection.line(), answer, "{reason}");
        assert_eq!(admin.ask(&format!("CLIENT UNBLOCK {}", client.id)), ":0", "it does not wait any more");
        assert_eq!(client.connection.ask("PING"), "+PONG");
    }
    assert_eq!(primary.info().number("blocked_clients"), 0);
}

/// R170. A real server's stream flows only from the replica's first ack on (R89), so that one is waited for.
fn a_wait_that_times_out_tells_how_many_acknowledged(program: Program) {
    let (primary, _replica) = pair(program);
    let mut client = RawClient::connect(primary.port());
    assert_eq!((client.ask("SET key value"), client.ask("WAIT 1 0")), ("+OK".to_owned(), ":1".to_owned()));
    let began = Instant::now();
    assert_eq!(client.ask("WAIT 2 300"), ":1");
    assert!(began.elapsed() >= Duration::from_millis(300), "over after {:?}", began.elapsed());
}

/// R166. A real server's MULTI moves the client's end on to that of the stream: past the request for acks too.
fn a_wait_inside_a_transaction_is_over_at_once(program: Program) {
    let (primary, _replica) = pair(program);
    let mut client = RawClient::connect(primary.port());
    assert_eq!(client.ask("SET key value"), "+OK");
    wait_until_equal("acknowledged end", true, || {
        let info = primary.info();
        info.text("slave0").contains(&format!(",offset={},", info.number("master_repl_offset")))
    });
    assert_eq!(client.ask("MULTI"), "+OK");
    for command in ["WAIT 5 0", "SET key other", "WAIT 1 x", "GET key"] {
        assert_eq!(client.ask(command), "+QUEUED");
    }
    assert_eq!(client.ask("EXEC"), "*4");
    assert_eq!(client.line(), ":1");
    assert_eq!(client.line(), "+OK");
    assert_eq!(client.line(), "-ERR timeout is not an integer or out of range");
    assert_eq!((client.line(), client.line()), ("$5".to_owned(), "other".to_owned()));
}

fn commands_after_a_wait_come_after_its_answer(program: Program) {
    let (primary, replica) = pair(program);
    replica.pause();
    let mut client = RawClient::connect(primary.port());
    client.send("SET key 1\r\nWAIT 1 0\r\nINCR key\r\nGET key\r\n");
    assert_eq!(client.line(), "+OK", "what was answered before does not wait");
    wait_until_equal("blocked clients", 1, || primary.info().number("blocked_clients"));
    client.send("INCR key\r\n");
    let mut other = RawClient::connect(primary.port());
    assert_eq!((other.ask("GET key"), other.line()), ("$1".to_owned(), "1".to_owned()));
    replica.resume();
    for answer in [":1", ":2", "$1", "2", ":3"] {
        assert_eq!(client.line(), answer);
    }
}

/// R172, B27: a request for acks is put into the stream for each wait, without waiting for a timer.
#[test]
#[ignore = "needs redis-server"]
fn ten_pipelined_writes_with_a_wait_each_take_round_trips_and_no_ticks() {
    let (primary, _replica) = pair(Program::Kv);
    let mut client = RawClient::connect(primary.port());
    wait_for("try of less than 100 ms", || {
        let began = Instant::now();
        client.send("SET key value\r\nWAIT 1 0\r\n".repeat(10));
        for _ in 0..10 {
            assert_eq!((client.line(), client.line()), ("+OK".to_owned(), ":1".to_owned()));
        }
        let took = began.elapsed();
        if took < Duration::from_millis(100) { Ok(()) } else { Err(format!("it took {took:?}")) }
    });
}

/// A client that has written, and waits.
struct Waiting {
    connection: RawClient,
    id: String,
}

impl Waiting {
    /// The first half waits for the one replica that there is, the others for two.
    fn start(primary: &Server, number: usize) -> Self {
        let mut connection = RawClient::connect(primary.port());
        let id = connection.ask("CLIENT ID")[1..].to_owned();
        assert_eq!(connection.ask(&format!("SET key:{number} value")), "+OK");
        let replicas = if number < CLIENTS / 2 { 1 } else { 2 };
        connection.send(format!("WAIT {replicas} 0\r\n"));
        Self { connection, id }
    }
}

/// A primary and its replica, in step and online. No pings move the end of the stream on.
fn pair(program: Program) -> (Server, Server) {
    let primary = Server::primary(program, &["--repl-ping-replica-period", "3600"]);
    let replica = Server::replica_of(primary.port(), &[]);
    wait_in_step(&primary, &replica);
    wait_until_equal("online replica", true, || primary.info().text("slave0").contains("state=online"));
    (primary, replica)
}

const CLIENTS: usize = 200;
const UNBLOCKED: [(&str, &str); 3] =
    [("", ":1"), ("TIMEOUT", ":1"), ("ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK")];
