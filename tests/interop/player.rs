//! Primaries that a test plays, and who follows them.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use headwater::wire;

use crate::memory::Memory;
use crate::server::{Program, Server};
use crate::tail::Tail;
use crate::wait::wait_for;

pub(crate) const ID: &str = "8ee4a1c9d0b35e7f26a4c8d1e3f50719b2d4c6e8";
/// Without a checksum: `key` is `old`.
pub(crate) const IMAGE: &[u8] = b"REDIS0009\xfe\x00\x00\x03key\x03old\xff\0\0\0\0\0\0\0\0";

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

    pub(crate) fn address(&self) -> String {
        format!("{}:{}", Ipv4Addr::LOCALHOST, self.port())
    }

    pub(crate) fn accept(&self) -> TcpStream {
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
        self.asked().sync()
    }
}

impl Asked {
    /// Full sync, after which `key` is `old` and the offset 100.
    pub(crate) fn sync(mut self) -> TcpStream {
        send(&mut self.stream, format!("+FULLRESYNC {ID} 100\r\n${}\r\n", IMAGE.len()).as_bytes());
        send(&mut self.stream, IMAGE);
        self.stream
    }
}

/// The command that gives `key` another value.
pub(crate) fn set(value: &str) -> Vec<u8> {
    command(&["SET", "key", value])
}

pub(crate) fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::put_command(&mut bytes, words);
    bytes
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

/// All that comes on `stream` until the peer ends it.
#[track_caller]
pub(crate) fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        // A peer that closes with input unread resets the connection.
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    bytes
}

/// Who follows a played primary.
pub(crate) enum Follower {
    Kv(Server),
    Tail(Tail),
}

pub(crate) const FOLLOWERS: [fn(&Primary) -> Follower; 2] = [
    |primary| Follower::Kv(Server::follower(Program::Kv, primary.port(), &[])),
    |primary| Follower::Tail(Tail::start(&[&primary.address()])),
];

impl Follower {
    pub(crate) fn told(&self) -> String {
        match self {
            Self::Kv(server) => server.log(),
            Self::Tail(tail) => tail.told(),
        }
    }

    /// Waits until it has told of something behind the first `seen` bytes.
    #[track_caller]
    pub(crate) fn wait_until_told(&self, seen: usize, line: &str) {
        wait_for("line in the log", || {
            let told = self.told().split_off(seen);
            if told.contains(line) { Ok(()) } else { Err(format!("no {line} in {told}")) }
        });
    }

    /// The value of `key`; of what is in a snapshot `tail` knows nothing.
    pub(crate) fn value(&self) -> Option<String> {
        match self {
            Self::Kv(server) => key(server),
            Self::Tail(tail) => tail.texts().last()?.strip_prefix("SET key ").map(str::to_owned),
        }
    }

    /// The most memory that it ever took.
    pub(crate) fn peak_mib(&self) -> u64 {
        let process = match self {
            Self::Kv(server) => server.process_id(),
            Self::Tail(tail) => tail.process_id(),
        };
        Memory::of(process).peak_kib >> 10
    }
}
