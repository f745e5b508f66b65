//! What is said to commands that make no sense.

use crate::malformed::{Bystanders, NO_PINGS};
use crate::raw::RawClient;
use crate::server::{Program, Server};
use crate::wait::wait_until_equal;

of_both! {
    a_malformed_command_gets_the_words_of_redis,
}

/// T23, R119, R120, R164.
fn a_malformed_command_gets_the_words_of_redis(program: Program) {
    let primary = Server::primary(program, &NO_PINGS);
    let mut client = RawClient::connect(primary.port());
    // A number below zero waits for nobody.
    assert_eq!(client.ask("WAIT -1 0"), ":0");
    let mut bystanders = Bystanders::attach(&primary);
    for (command, answer) in [
        ("WAIT", "ERR wrong number of arguments for 'wait' command"),
        ("WAIT 1", "ERR wrong number of arguments for 'wait' command"),
        ("WAIT 1 0 0", "ERR wrong number of arguments for 'wait' command"),
        ("WAIT many 0", "ERR value is not an integer or out of range"),
        ("WAIT 1.5 0", "ERR value is not an integer or out of range"),
        ("WAIT 9223372036854775808 0", "ERR value is not an integer or out of range"),
        ("WAIT 1 soon", "ERR timeout is not an integer or out of range"),
        ("WAIT 1 9223372036854775808", "ERR timeout is not an integer or out of range"),
        ("WAIT 1 -1", "ERR timeout is negative"),
        ("CLIENT KILL", "ERR wrong number of arguments for 'client|kill' command"),
        ("CLIENT KILL 127.0.0.1:1", "ERR No such client"),
        ("CLIENT KILL ID 0", "ERR client-id should be greater than 0"),
        ("CLIENT KILL ID me", "ERR client-id should be greater than 0"),
        ("CLIENT KILL TYPE friend", "ERR Unknown client type 'friend'"),
        ("CLIENT KILL SKIPME maybe", "ERR syntax error"),
        ("CLIENT KILL ID 7 ADDR", "ERR syntax error"),
        ("CLIENT UNBLOCK", "ERR wrong number of arguments for 'client|unblock' command"),
        ("CLIENT UNBLOCK me", "ERR value is not an integer or out of range"),
        ("CLIENT UNBLOCK 1 softly", "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"),
        ("CLIENT LIST TYPE friend", "ERR Unknown client type 'friend'"),
        ("CLIENT LIST ID me", "ERR Invalid client ID"),
        ("CLIENT LIST all", "ERR syntax error"),
        (
            "CONFIG SET no-such-thing 1",
            "ERR Unknown option or number of arguments for CONFIG SET - 'no-such-thing'",
        ),
    ] {
        assert_eq!(client.ask(command), format!("-{answer}"), "{command}");
    }
    bystanders.assert_served();
}

/// A limit that can never act, which a real server takes, and a time past the end of time, for which it waits.
#[test]
fn kv_refuses_more_than_a_real_server() {
    let primary = Server::primary(Program::Kv, &[]);
    let mut client = RawClient::connect(primary.port());
    let answer = client.ask("CONFIG SET client-output-buffer-limit \"replica 1mb 2mb 1\"");
    assert!(answer.ends_with("Error in hard, soft or soft_seconds setting in buffer limit configuration."));
    assert_eq!(client.ask("WAIT 1 9223372036854775807"), "-ERR timeout is out of range");
}

/// R165. The control is too old to know the command.
#[test]
fn waitaof_is_refused_without_an_append_only_file() {
    let primary = Server::primary(Program::Kv, &[]);
    let mut client = RawClient::connect(primary.port());
    for (command, answer) in [
        ("WAITAOF 1 0", "ERR wrong number of arguments for 'waitaof' command"),
        ("WAITAOF 2 0 0", "ERR value is out of range, value must between 0 and 1"),
        ("WAITAOF -1 0 0", "ERR value is out of range, value must between 0 and 1"),
        ("WAITAOF x 0 0", "ERR value is not an integer or out of range"),
        ("WAITAOF 0 -1 0", "ERR value is out of range, must be positive"),
        ("WAITAOF 0 0 -1", "ERR timeout is negative"),
        ("WAITAOF 1 0 0", "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."),
    ] {
        assert_eq!(client.ask(command), format!("-{answer}"), "{command}");
    }
    let both = (client.ask("WAITAOF 0 0 0"), client.line(), client.line());
    assert_eq!(both, ("*2".to_owned(), ":0".to_owned(), ":0".to_owned()));
    let mut acked = RawClient::connect(primary.port());
    assert_eq!(acked.ask("WAITAOF 0 1 1"), "*2", "without a replica it times out");
}

/// valkey#3407: taken for a number below zero, it is over at once.
#[test]
fn a_wait_for_two_to_the_31_replicas_is_not_over() {
    let primary = Server::primary(Program::Kv, &[]);
    let mut client = RawClient::connect(primary.port());
    let id = client.ask("CLIENT ID");
    client.send("WAIT 2147483648 0\r\n");
    wait_until_equal("client that waits", 1, || primary.info().number("blocked_clients"));
    let mut other = RawClient::connect(primary.port());
    assert_eq!(other.ask(&format!("CLIENT UNBLOCK {}", &id[1..])), ":1");
    assert_eq!(client.line(), ":0");
}
