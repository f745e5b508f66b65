//! What a primary that is broken, or is none, does to kv: a line in the log, an attempt later, and nothing else.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::server::{Program, Server};
use crate::wait::{wait_for, wait_until_equal};

pub(crate) const ID: &str = "8ee4a1c9d0b35e7f26a4c8d1e3f50719b2d4c6e8";
/// Without a checksum: `key` is `old`.
const IMAGE: &[u8] = b"REDIS0009\xfe\x00\x00\x03key\x03old\xff\0\0\0\0\0\0\0\0";
const SET_NEW: &[u8] = b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$3\r\nnew\r\n";

/// A listener that plays a primary's part.
pub(crate) struct Primary(TcpListener);

/// A link to it, whose handshake is over but for the answer to PSYNC.
pub(crate) struct Asked {
    pub(crate) stream: TcpStream,
    /// The arguments of PSYNC.
    pub(crate) wanted: Vec<String>,
}

impl Primary {
    pub(crate) fn start() -> Self {
        Self(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port is free"))
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.local_addr().expect("the listener is bound").port()
    }

    fn accept(&self) -> TcpStream {
        let (stream, _) = self.0.accept().expect("a link comes");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("the timeout is not zero");
        stream
    }

    pub(crate) fn asked(&self) -> Asked {
        let mut stream = self.accept();
        let mut commands = BufReader::new(stream.try_clone().expect("the process may open more files"));
        loop {
            let words = read_command(&mut commands);
            match words[0].as_str() {
                "PSYNC" => return Asked { stream, wanted: words[1..].to_vec() },
                "PING" => send(&mut stream, b"+PONG\r\n"),
                _ => send(&mut stream, b"+OK\r\n"),
            }
        }
    }

    /// Full sync, after which `key` is `old` and the offset 100.
    pub(crate) fn sync(&self) -> TcpStream {
        let Asked { mut stream, .. } = self.asked();
        send(&mut stream, format!("+FULLRESYNC {ID} 100\r\n${}\r\n", IMAGE.len()).as_bytes());
        send(&mut stream, IMAGE);
        stream
    }
}

fn read_command(commands: &mut BufReader<TcpStream>) -> Vec<String> {
    let mut line = || {
        let mut line = String::new();
        commands.read_line(&mut line).expect("a command comes");
        line.trim_end().to_owned()
    };
    let count: usize = line().trim_start_matches('*').parse().expect("it is an array");
    (0..count).map(|_| (line(), line()).1).collect()
}

/// A link that kv has closed by now shows elsewhere.
pub(crate) fn send(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes);
}

pub(crate) fn key(server: &Server) -> Option<String> {
    redis::cmd("GET").arg("key").query(&mut server.client()).expect("reads are answered")
}

#[track_caller]
pub(crate) fn wait_for_line(server: &Server, line: &str) {
    wait_for("line in the log", || if server.log().contains(line) { Ok(()) } else { Err(server.log()) });
}

/// Checks each case in a thread of its own: most of the time they wait.
fn at_once<T: Send>(cases: impl IntoIterator<Item = T>, check: impl Fn(T) + Sync) {
    thread::scope(|scope| {
        for case in cases {
            scope.spawn(|| check(case));
        }
    });
}

/// Whatever is answered to the second request: the data stays, and the third request is for the same again.
#[test]
fn an_answer_that_makes_no_sense_leaves_data_and_place_as_they_are() {
    let endless = "x".repeat(1 << 20);
    let cases: [(&str, &str); 9] = [
        ("HELLO\r\n", "the primary's answer to PSYNC makes no sense: HELLO"),
        (&endless, "the primary's answer to PSYNC is longer than"),
        (
            "+FULLRESYNC nobody 100\r\n",
            "the primary's answer to PSYNC makes no sense: +FULLRESYNC nobody 100",
        ),
        ("+FULLRESYNC 8ee4a1c9d0b35e7f26a4c8d1e3f50719b2d4c6e8 -5\r\n", "makes no sense"),
        ("+FULLRESYNC 8ee4a1c9d0b35e7f26a4c8d1e3f50719b2d4c6e8 9223372036854775808\r\n", "makes no sense"),
        ("+CONTINUE nobody\r\n", "the primary's answer to PSYNC makes no sense: +CONTINUE nobody"),
        ("-LOADING not yet\r\n", "the primary refused PSYNC: LOADING not yet"),
        ("+FULLRESYNC 8ee4a1c9d0b35e7f26a4c8d1e3f50719b2d4c6e8 5\r\n$-5\r\n", "no snapshot begins with $-5"),
        (
            "+FULLRESYNC 8ee4a1c9d0b35e7f26a4c8d1e3f50719b2d4c6e8 5\r\n$99999999999999999999\r\n",
            "no snapshot begins with $99999999999999999999",
        ),
    ];
    at_once(cases, |(answer, line)| {
        let primary = Primary::start();
        let replica = Server::follower(Program::Kv, primary.port(), &[]);
        drop(primary.sync());
        let mut asked = primary.asked();
        assert_eq!(asked.wanted, [ID, "101"], "{answer}");
        send(&mut asked.stream, answer.as_bytes());
        wait_for_line(&replica, line);
        assert_eq!(key(&replica).as_deref(), Some("old"), "{answer}");
        drop(asked);
        let mut asked = primary.asked();
        assert_eq!(asked.wanted, [ID, "101"], "{answer}");
        send(&mut asked.stream, b"+CONTINUE\r\n");
        send(&mut asked.stream, SET_NEW);
        wait_until_equal("write", Some("new".to_owned()), || key(&replica));
    });
}

#[test]
fn who_holds_nothing_is_not_continued() {
    let primary = Primary::start();
    let replica = Server::follower(Program::Kv, primary.port(), &[]);
    let mut asked = primary.asked();
    assert_eq!(asked.wanted, ["?", "-1"]);
    send(&mut asked.stream, format!("+CONTINUE {ID}\r\n").as_bytes());
    wait_for_line(&replica, "the primary continues a stream that it was not asked to continue");
    drop(asked);
    primary.sync();
    wait_until_equal("write", Some("old".to_owned()), || key(&replica));
}

/// T53, R36, R220: the old data serves until the new is whole, and a snapshot that is not is no reason to forget a place.
#[test]
fn a_snapshot_that_is_not_whole_or_not_sound_changes_nothing() {
    let other = &IMAGE[..IMAGE.len() - 8];
    let wrong = [other, &[1, 2, 3, 4, 5, 6, 7, 8]].concat();
    let [short, list] = [&IMAGE[..20], b"REDIS0009\xfe\x00\x01\x01l\x01\x01x\xff\0\0\0\0\0\0\0\0"];
    let unfinished = b"REDIS0009\xfe\x00\x00\x03key\x81\x7f\xff\xff\xff\xff\xff\xff\xffx".as_slice();
    let cases = [
        (short, IMAGE.len(), "is closed at offset 100: unexpected end of file"),
        (&wrong, IMAGE.len(), "its snapshot is not loaded: the checksum is 0807060504030201"),
        (list, list.len(), "its snapshot is not loaded: key l in db 0 is a list"),
        (
            unfinished,
            unfinished.len(),
            "its snapshot is not loaded: the file ends at byte 26, 9223372036854775806 more",
        ),
        (b"garbage", 7, "its snapshot is not loaded: no RDB file begins with garbage"),
    ];
    at_once(cases, |(image, len, line)| {
        let primary = Primary::start();
        let replica = Server::follower(Program::Kv, primary.port(), &[]);
        drop(primary.sync());
        let Asked { mut stream, wanted } = primary.asked();
        assert_eq!(wanted, [ID, "101"]);
        send(&mut stream, format!("+FULLRESYNC {} 7\r\n${len}\r\n", "b".repeat(40)).as_bytes());
        send(&mut stream, image);
        drop(stream);
        wait_for_line(&replica, line);
        assert_eq!(key(&replica).as_deref(), Some("old"));
        let Asked { mut stream, wanted } = primary.asked();
        assert_eq!(wanted, [ID, "101"]);
        send(&mut stream, b"+CONTINUE\r\n");
        send(&mut stream, SET_NEW);
        wait_until_equal("write", Some("new".to_owned()), || key(&replica));
    });
}

/// A replica of Redis's dies of the first: it takes the announced length for what it is to allocate.
#[test]
fn a_stream_that_can_not_be_read_costs_a_full_resync_and_no_memory() {
    let cases = [
        ("*1\r\n$9000000000000000000\r\n", "no command in the stream: Protocol error: invalid bulk length"),
        ("*9000000000000000000\r\n", "no command in the stream: Protocol error: invalid multibulk length"),
        ("*1\r\n$-7\r\n", "no command in the stream: Protocol error: invalid bulk length"),
        ("-ERR no\r\n", r"a line in the stream: -ERR no\r\n"),
        ("*1\r\n$4\r\nEXEC\r\n", "EXEC in the stream, out of place"),
    ];
    at_once(cases, |(stream, line)| {
        let primary = Primary::start();
        let replica = Server::follower(Program::Kv, primary.port(), &[]);
        let mut link = primary.sync();
        send(&mut link, stream.as_bytes());
        wait_for_line(&replica, line);
        assert_eq!(key(&replica).as_deref(), Some("old"));
        assert!(replica.info().number("used_memory_rss") < 100 << 20);
        drop(link);
        let asked = primary.asked();
        assert_eq!(asked.wanted, ["?", "-1"], "it would not be readable the next time either");
    });
}

/// What only half happened is nothing to lead with.
#[test]
fn a_transaction_that_fails_half_way_keeps_kv_from_leading_until_it_starts_over() {
    let primary = Primary::start();
    let replica = Server::follower(Program::Kv, primary.port(), &[]);
    let mut link = primary.sync();
    let commands = [&["MULTI"][..], &["SET", "key", "new"], &["INCR", "key"], &["EXEC"]];
    for words in commands {
        let mut command = Vec::new();
        headwater::wire::put_command(&mut command, words);
        send(&mut link, &command);
    }
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

/// T46, R154, R155: each state has its own patience.
#[test]
fn a_primary_that_falls_silent_is_given_up() {
    let primary = Primary::start();
    let replica = Server::follower(Program::Kv, primary.port(), &["--repl-timeout", "1"]);
    let _silent = primary.sync();
    wait_for_line(&replica, "nothing came from the primary for 1.");
    let Asked { stream: _silent, wanted } = primary.asked();
    assert_eq!(wanted, [ID, "101"]);
    wait_for_line(&replica, "before the resume request was answered, the timeout is 1s");
    let _silent = primary.accept();
    wait_for_line(&replica, "before the resume request was answered, the timeout is 5s");
    assert_eq!(key(&replica).as_deref(), Some("old"));
}
