//! What is no stream, or one that can't be followed: the link ends without a word, and the data stays.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use headwater::wire::{CommandLimits, CommandReader};

use crate::bad_primary::by_all_followers;
use crate::player::{FOLLOWERS, Follower, ID, Primary, command, key, read_to_end, send, set, wait_for_line};
use crate::server::{Program, Server};
use crate::wait::wait_until_equal;

/// R220, valkey#2872. A replica of redis 7.0.15 ends at the first: it allocates by the announced length.
#[test]
fn a_stream_that_can_not_be_read_costs_a_full_resync_and_no_memory() {
    let endless = "1".repeat(70_000);
    let [long_line, long_count, long_length] = ["", "*", "*1\r\n$"].map(|start| format!("{start}{endless}"));
    let cases = [
        ("*1\r\n$9000000000000000000\r\n", "Protocol error: invalid bulk length"),
        ("*1\r\n$18446744073709551616\r\n", "Protocol error: invalid bulk length"),
        ("*1\r\n$-7\r\n", "Protocol error: invalid bulk length"),
        ("*9000000000000000000\r\n", "Protocol error: invalid multibulk length"),
        ("*99999999999999999999\r\n", "Protocol error: invalid multibulk length"),
        ("*1000000000\r\n", "Protocol error: invalid multibulk length"),
        ("*-5\r\n", "Protocol error: invalid multibulk length"),
        ("*1\n$4\r\nPING\r\n", "Protocol error: invalid multibulk length"),
        ("*1\r\n:4\r\n", "Protocol error: expected '$', got ':'"),
        ("*1\r\n$4\r\nPINGxx", "Protocol error: expected CRLF after bulk"),
        ("SET \"key\r\n", "Protocol error: unbalanced quotes in request"),
        (&long_line, "Protocol error: too big inline request"),
        (&long_count, "Protocol error: too big mbulk count string"),
        (&long_length, "Protocol error: too big bulk count string"),
        ("\0\0\0\r\n", r"a line in the stream: \x00\x00\x00\r\n"),
        ("+OK\r\n", r"a line in the stream: +OK\r\n"),
        ("-ERR no\r\n", r"a line in the stream: -ERR no\r\n"),
        ("*1\r\n$4\r\nEXEC\r\n", "EXEC in the stream, out of place"),
        ("*1\r\n$5\r\nMULTI\r\n*1\r\n$5\r\nMULTI\r\n", "MULTI in the stream, out of place"),
    ];
    by_all_followers(&cases, expect_to_start_over);
}

/// After a write, that what comes is told of and not answered, and everything asked for: it would come again.
fn expect_to_start_over(follower: fn(&Primary) -> Follower, cases: &[(&str, &str)]) {
    let primary = Primary::start();
    let follower = follower(&primary);
    let mut link = primary.sync();
    for (number, (stream, line)) in cases.iter().enumerate() {
        let value = Some(number.to_string());
        send(&mut link, &set(&number.to_string()));
        wait_until_equal("write", value.clone(), || follower.value());
        let seen = follower.told().len();
        send(&mut link, stream.as_bytes());
        follower.wait_until_told(seen, line);
        assert_eq!(follower.value(), value, "{line}");
        assert_only_acks(&mut link);
        let asked = primary.asked();
        assert_eq!(asked.wanted, ["?", "-1"], "{line}");
        link = asked.sync();
    }
    assert!(follower.peak_mib() < 100, "{} MiB", follower.peak_mib());
}

/// acba2fc9b, d55598988: errors and other replies of a replica were taken for its offset's bytes.
#[track_caller]
fn assert_only_acks(link: &mut TcpStream) {
    let said = read_to_end(link);
    let (mut input, mut reader) = (&said[..], CommandReader::new(CommandLimits::default()));
    while let Some(command) = reader.next(&mut input).expect("it sends commands") {
        let words: Vec<&[u8]> = command.args().collect();
        let is_ack = matches!(words[..], [] | [b"REPLCONF", b"ACK", _]);
        assert!(is_ack, "it said {}", said.escape_ascii());
    }
}

/// R6, R218: it counts like all the rest, and a request for acks may stand anywhere.
#[test]
fn what_is_empty_in_a_stream_counts_and_a_transaction_may_ask_for_acks() {
    for follower in FOLLOWERS {
        let primary = Primary::start();
        let follower = follower(&primary);
        let mut link = primary.sync();
        let transaction =
            [&["MULTI"][..], &["SET", "key", "new"], &["REPLCONF", "GETACK", "*"], &["EXEC"]].map(command);
        let stream = [b"\n\r\n*0\r\n", &transaction.concat()[..]].concat();
        send(&mut link, &stream);
        wait_until_equal("write", Some("new".to_owned()), || follower.value());
        link.shutdown(std::net::Shutdown::Write).expect("the link is open");
        assert_only_acks(&mut link);
        assert_eq!(primary.asked().wanted, [ID, &(101 + stream.len()).to_string()]);
    }
}

/// KeyDB#80: what is about another database, or does nothing that is known here, is not applied as if it were ours.
#[test]
fn what_kv_does_not_know_stops_the_link_until_a_snapshot_comes() {
    let primary = Primary::start();
    let replica = Server::follower(Program::Kv, primary.port(), &[]);
    let mut link = primary.sync();
    for (words, line) in [
        (&["SELECT", "1"][..], "the stream is about another database than 0"),
        (&["SELECT", "-1"], "the stream is about another database than 0"),
        (&["GET", "key"], "the stream has a get, which changes nothing here"),
        (&["NOSUCH", "key"], "ERR unknown command 'NOSUCH'"),
    ] {
        send(&mut link, &[command(words), set("new")].concat());
        wait_for_line(&replica, line);
        assert_only_acks(&mut link);
        assert_eq!(key(&replica).as_deref(), Some("old"), "{line}");
        let asked = primary.asked();
        assert_eq!(asked.wanted, [ID, "101"], "the data is as good as it was");
        link = asked.sync();
    }
}

/// What only half happened is nothing to lead with.
#[test]
fn a_transaction_that_fails_half_way_keeps_kv_from_leading_until_it_starts_over() {
    let primary = Primary::start();
    let replica = Server::follower(Program::Kv, primary.port(), &[]);
    let mut link = primary.sync();
    let commands = [&["MULTI"][..], &["SET", "key", "new"], &["INCR", "key"], &["EXEC"]];
    send(&mut link, &commands.map(command).concat());
    wait_for_line(&replica, "a command of the stream failed: ERR value is not an integer or out of range");
    let lead = || redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec(&mut replica.client());
    let refused = lead().expect_err("it is refused").to_string();
    assert!(refused.contains("a transaction is half applied here"), "{refused}");
    drop(link);
    let _link = primary.sync();
    wait_until_equal("old data", Some("old".to_owned()), || key(&replica));
    lead().expect("it may lead again");
}

/// Acks that nobody reads must not gather.
#[test]
fn who_asks_for_acks_and_reads_none_is_read_no_further() {
    let primary = Primary::start();
    let replica = Server::follower(Program::Kv, primary.port(), &[]);
    let mut link = primary.sync();
    link.set_write_timeout(Some(Duration::from_secs(1))).expect("the timeout is not zero");
    let requests = b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n".repeat(1 << 13);
    let taken = (0..1000).take_while(|_| link.write_all(&requests).is_ok()).count();
    assert!(taken < 1000, "300 MB of requests were taken");
    assert!(replica.info().number("used_memory_rss") < 100 << 20);
    assert_eq!(key(&replica).as_deref(), Some("old"));
}
