//! Malformed input from a would-be replica: it gets its error, and nobody else notices.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use crate::memory::Memory;
use crate::raw::RawClient;
use crate::server::{Program, Server};
use crate::wait::wait_until_equal;

/// The stream then has what the bystander writes and nothing else.
pub(crate) const NO_PINGS: [&str; 2] = ["--repl-ping-replica-period", "3600"];
const PASSWORD: [&str; 2] = ["--requirepass", "secret"];

of_both! {
    a_malformed_command_is_answered_by_its_error_and_a_close,
    a_stranger_may_announce_only_a_little,
    an_empty_command_is_not_answered,
    replconf_is_answered_as_a_real_primary_does,
}

fn a_malformed_command_is_answered_by_its_error_and_a_close(program: Program) {
    let long = "1".repeat(65_537);
    assert_protocol_errors(
        &Server::primary(program, &NO_PINGS),
        &[
            ("*99999999999999999999\r\n", "invalid multibulk length"),
            ("*2147483648\r\n", "invalid multibulk length"),
            ("*x\r\n", "invalid multibulk length"),
            ("*1\r\n$-7\r\n", "invalid bulk length"),
            ("*1\r\n$18446744073709551616\r\n", "invalid bulk length"),
            ("*1\r\n$536870913\r\n", "invalid bulk length"),
            ("*1\r\n:4\r\n", "expected '$', got ':'"),
            ("SET \"key\r\n", "unbalanced quotes in request"),
            (&long, "too big inline request"),
            (&format!("*{long}"), "too big mbulk count string"),
            (&format!("*1\r\n${long}"), "too big bulk count string"),
        ],
    );
}

/// CVE-2021-32675: ten arguments of 16 KiB are all that is kept of who has yet to say who it is.
fn a_stranger_may_announce_only_a_little(program: Program) {
    assert_protocol_errors(
        &Server::primary(program, &[NO_PINGS, PASSWORD].concat()),
        &[
            ("*11\r\n", "unauthenticated multibulk length"),
            ("*1\r\n$16385\r\n", "unauthenticated bulk length"),
        ],
    );
}

/// A real primary takes the first for nothing, waits for the second, and skips any two bytes after the third.
#[test]
fn more_is_malformed_to_kv_than_to_a_real_primary() {
    assert_protocol_errors(
        &Server::primary(Program::Kv, &NO_PINGS),
        &[
            ("*-5\r\n", "invalid multibulk length"),
            ("*1000000000\r\n", "invalid multibulk length"),
            ("*2\r\n$4\r\nPINGxx", "expected CRLF after bulk"),
            ("*1\n$4\r\nPING\r\n", "invalid multibulk length"), // valkey#2872: a bare LF ends no header
        ],
    );
}

/// Expects for each input its error and the end of the connection, while others are served.
#[track_caller]
fn assert_protocol_errors(server: &Server, cases: &[(&str, &str)]) {
    let mut bystanders = Bystanders::attach(server);
    for (input, error) in cases {
        let mut client = RawClient::connect(server.port());
        client.send(input);
        let expected = format!("-ERR Protocol error: {error}\r\n");
        assert_eq!(client.rest(), Some(expected), "{}", &input[..input.len().min(40)]);
        bystanders.assert_served();
    }
}

/// A client, and a replica that reads what it writes.
pub(crate) struct Bystanders {
    client: RawClient,
    replica: RawClient,
    writes: u32,
}

impl Bystanders {
    pub(crate) fn attach(server: &Server) -> Self {
        let [client, mut replica] = [(), ()].map(|()| {
            let mut client = RawClient::connect(server.port());
            client.ask("AUTH secret"); // an error where nobody has to
            client
        });
        replica.send("SYNC\r\n");
        replica.snapshot();
        wait_until_equal("online replica", true, || server.info().text("slave0").contains("state=online"));
        Self { client, replica, writes: 0 }
    }

    #[track_caller]
    pub(crate) fn assert_served(&mut self) {
        self.writes += 1;
        let value = format!("write:{}", self.writes);
        assert_eq!(self.client.ask(&format!("SET key {value}")), "+OK");
        while self.replica.line() != value {}
    }
}

/// They are a word like any other, and no end of a line.
#[test]
fn nuls_are_a_command_that_nobody_knows() {
    let server = Server::primary(Program::Kv, &NO_PINGS);
    let mut bystanders = Bystanders::attach(&server);
    let mut client = RawClient::connect(server.port());
    for input in ["\0\0\0", "*1\r\n$2\r\n\0\0"] {
        let answer = client.ask(input);
        assert!(answer.starts_with("-ERR unknown command '\0\0"), "{answer:?}");
        assert_eq!(client.ask("PING"), "+PONG");
    }
    bystanders.assert_served();
}

/// CVE-2025-21605: errors that nobody reads must not gather.
#[test]
fn a_stranger_who_reads_nothing_is_read_no_further() {
    let server = Server::primary(Program::Kv, &[NO_PINGS, PASSWORD].concat());
    let mut bystanders = Bystanders::attach(&server);
    let mut stranger = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).expect("clients are taken");
    stranger.set_write_timeout(Some(Duration::from_secs(1))).expect("the timeout is not zero");
    let before = Memory::of(server.process_id());
    let commands = b"GET key\r\n".repeat(1 << 14);
    let taken = (0..1000).take_while(|_| stranger.write_all(&commands).is_ok()).count();
    assert!(taken < 1000, "commands with 500 MB of answers were taken");
    let resident = Memory::of(server.process_id()).resident_kib.saturating_sub(before.resident_kib);
    assert!(resident < 8 << 10, "a stranger took {resident} KiB");
    bystanders.assert_served();
}

fn an_empty_command_is_not_answered(program: Program) {
    let server = Server::primary(program, &[]);
    for input in ["\r\n", "\n", "*0\r\n", "  \r\n", "\n*0\r\n\r\n"] {
        assert_eq!(RawClient::connect(server.port()).ask(&format!("{input}PING")), "+PONG", "{input:?}");
    }
}

/// R180 to R193.
fn replconf_is_answered_as_a_real_primary_does(program: Program) {
    let server = Server::primary(program, &NO_PINGS);
    let mut bystanders = Bystanders::attach(&server);
    let long = "x".repeat(300);
    for (arguments, answer) in [
        ("", "+OK"),
        ("listening-port", "-ERR syntax error"),
        ("listening-port 999999", "+OK"),
        ("listening-port abc", "-ERR value is not an integer or out of range"),
        ("listening-port 1 capa", "-ERR syntax error"),
        ("no-such-option 1", "-ERR Unrecognized REPLCONF option: no-such-option"),
        ("CAPA EOF CAPA anything", "+OK"),
        (&format!("ip-address {}", &long[..255]), "+OK"),
        (
            &format!("ip-address {long}"),
            "-ERR REPLCONF ip-address provided by replica instance is too long: 300 bytes",
        ),
        // Never answered: what comes is the answer to the PING behind it.
        ("ACK 5\r\nPING", "+PONG"),
        ("ACK abc\r\nPING", "+PONG"),
        ("ACK -1\r\nPING", "+PONG"),
        ("ACK 5 FACK 6\r\nPING", "+PONG"),
        ("GETACK *\r\nPING", "+PONG"),
    ] {
        let mut client = RawClient::connect(server.port());
        assert_eq!(client.ask(&format!("REPLCONF {arguments}")), answer, "REPLCONF {arguments}");
    }
    for len in [0, 64 << 10] {
        let capability = format!("*3\r\n$8\r\nREPLCONF\r\n$4\r\ncapa\r\n${len}\r\n{}", "x".repeat(len));
        assert_eq!(RawClient::connect(server.port()).ask(&capability), "+OK", "capa of {len} bytes");
    }
    bystanders.assert_served();
    assert_eq!(server.info().number("connected_slaves"), 1);
}

/// CVE-2021-32675, CVE-2021-32762, CVE-2021-21309, CVE-2021-41099: large counts from a few bytes.
#[test]
fn an_announced_length_takes_no_memory() {
    let server = Server::primary(Program::Kv, &[]);
    let mut bystander = RawClient::connect(server.port());
    bystander.ask("PING");
    let before = Memory::of(server.process_id());
    let announcements =
        ["*1000000000\r\n", "*1048576\r\n$3\r\nSET\r\n", "*2\r\n$3\r\nGET\r\n$536870912\r\nx"];
    let clients: Vec<RawClient> = [announcements; 50]
        .into_iter()
        .flatten()
        .map(|input| {
            let mut client = RawClient::connect(server.port());
            client.send(input);
            client
        })
        .collect();
    // Connections are served in turns: after a few of its own, the bystander's turn has come after theirs.
    for _ in 0..10 {
        assert_eq!(bystander.ask("PING"), "+PONG");
    }
    let after = Memory::of(server.process_id());
    let resident = after.resident_kib.saturating_sub(before.resident_kib);
    assert!(resident < 4 << 10, "{} announcements took {resident} KiB", clients.len());
    let reserved = after.reserved_kib.saturating_sub(before.reserved_kib);
    assert!(reserved < 1 << 20, "{} announcements reserved {reserved} KiB", clients.len());
}
