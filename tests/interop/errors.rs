//! What is said to commands that make no sense.

use crate::raw::RawClient;
use crate::server::{Program, Server};

of_both! {
    a_malformed_command_gets_the_words_of_redis,
    a_refused_setting_changes_nothing,
}

/// R119, R120, R164.
fn a_malformed_command_gets_the_words_of_redis(program: Program) {
    let primary = Server::primary(program, &[]);
    let mut client = RawClient::connect(primary.port());
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
    // A number below zero waits for nobody.
    assert_eq!(client.ask("WAIT -1 0"), ":0");
}

/// R118 to R121.
fn a_refused_setting_changes_nothing(program: Program) {
    let primary = Server::primary(program, &[]);
    let mut client = RawClient::connect(primary.port());
    let limits = "client-output-buffer-limit";
    let bad_limit = "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
    let bad_class = "Invalid client class specified in buffer limit configuration.";
    let too_few = "Wrong number of arguments in buffer limit configuration.";
    for (name, value, why) in [
        (limits, "replica 1mb 1mb", too_few),
        (limits, "replica 1mb 1mb 1 pubsub", too_few),
        (limits, "friend 1mb 1mb 1", bad_class),
        (limits, "master 1mb 1mb 1", bad_class),
        (limits, "replica 1tb 1mb 1", bad_limit),
        (limits, "replica -1 0 0", bad_limit),
        (limits, "replica 2mb 1mb 1s", bad_limit),
        (limits, "replica 2mb 1mb 1 pubsub 1x 0 0", bad_limit),
        ("min-replicas-to-write", "-1", "argument must be between 0 and 2147483647 inclusive"),
        ("min-replicas-to-write", "all", "argument couldn't be parsed into an integer"),
        ("min-replicas-max-lag", "2147483648", "argument must be between 0 and 2147483647 inclusive"),
        ("repl-timeout", "0", "argument must be between 1 and 2147483647 inclusive"),
        ("repl-ping-replica-period", "0", "argument must be between 1 and 2147483647 inclusive"),
        ("repl-backlog-size", "0", "argument must be between 1 and 9223372036854775807 inclusive"),
        ("repl-backlog-size", "much", "argument must be a memory value"),
        ("repl-diskless-sync", "maybe", "argument must be 'yes' or 'no'"),
    ] {
        let before = setting(&mut client, name);
        let answer = client.ask(&format!("CONFIG SET {name} \"{value}\""));
        let expected = format!("-ERR CONFIG SET failed (possibly related to argument '{name}') - {why}");
        assert_eq!(answer, expected, "{name} {value}");
        assert_eq!(setting(&mut client, name), before, "{name} {value}");
    }
    assert_eq!(client.ask(&format!("CONFIG SET {limits} \"slave 4mb 2MB 7 normal 0 0 0\"")), "+OK");
    let expected = "normal 0 0 0 slave 4194304 2097152 7 pubsub 33554432 8388608 60";
    assert_eq!(setting(&mut client, limits), expected);
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

/// The value that CONFIG GET tells.
fn setting(client: &mut RawClient, name: &str) -> String {
    assert_eq!(client.ask(&format!("CONFIG GET {name}")), "*2");
    let words = [(); 4].map(|()| client.line());
    words[3].clone()
}
