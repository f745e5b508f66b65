//! Prints what is written to a Redis or Valkey server, command by command, as a replica of it that keeps nothing.
//!
//! It shows the replica's side alone: `Replica` says when to connect and to acknowledge, `wire::Link` reads what comes.
//! Try it next to a `redis-server`, and write to that with `redis-cli`:
//!
//! ```text
//! cargo run --release --example tail -- 127.0.0.1:6379
//! ```
//!
//! Each line has the offset behind the command (a transaction's commands share one), how many bytes had come after it
//! by then, how long ago it came, and the command. All else is told on stderr, with Ctrl-C how to go on from there. What
//! was printed is acknowledged, so WAIT and `min-replicas-to-write` count it as a replica: mind that where they guard data.

#![allow(clippy::disallowed_types, reason = "a program has sockets; the core has not")]

use std::convert::Infallible;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::process::ExitCode;
use std::time::Duration;
use std::{env, future};

use headwater::wire::{self, Command, CommandLimits, HandshakeError, Inbound, Introduction, Link, LinkError};
use headwater::{
    CloseReason, FollowError, LinkKey, Offset, Replica, ReplicaConfig, ReplicationId, ResumePoint, Timestamp,
    UpstreamEvent,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{self, Instant};
use tokio::{select, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = match Options::parse(env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("tail: {problem}; {USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut tail = Tail::new(options);
    let ended: Result<(), Failure> = select! {
        ended = tail.run() => ended.map(|never| match never {}),
        Ok(()) = signal::ctrl_c() => Ok(()),
    };
    if let Some(ResumePoint { id, offset }) = tail.printed.filter(|_| tail.has_followed) {
        say(&format!("to go on from here: tail {} --from {id}:{offset}", tail.options.address));
    }
    let Err(failure) = ended else { return ExitCode::SUCCESS };
    say(&format!("tail: {}: {failure}; {}", tail.options.address, failure.advice()));
    ExitCode::FAILURE
}

struct Options {
    address: String,
    from: Option<ResumePoint>,
    introduction: Introduction,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let address = "127.0.0.1:6379".to_owned();
        let mut options = Self { address, from: None, introduction: Introduction::default() };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--from" => options.from = Some(parse_point(&value()?)?),
                "--user" => options.introduction.user = Some(value()?),
                "--password" => options.introduction.password = Some(value()?),
                _ if word.starts_with('-') => return Err(format!("there is no option {word}")),
                _ if !word.contains(':') => return Err(format!("{word} has no port")),
                _ => options.address = word,
            }
        }
        match &options.introduction {
            Introduction { user: Some(_), password: None, .. } => Err("--user needs --password".into()),
            _ => Ok(options),
        }
    }
}

fn parse_point(text: &str) -> Result<ResumePoint, String> {
    let point = text.split_once(':').and_then(|(id, offset)| {
        let id = ReplicationId::parse(id.as_bytes())?;
        Some(ResumePoint { id, offset: Offset::new(offset.parse().ok()?)? })
    });
    point.ok_or_else(|| format!("--from {text} is no ID:OFFSET"))
}

struct Tail {
    options: Options,
    origin: Instant,
    replica: Replica,
    /// The last link that was asked for.
    attempt: Option<LinkKey>,
    connection: Option<Connection>,
    has_followed: bool,
    /// Up to where all is on stdout.
    printed: Option<ResumePoint>,
}

struct Connection {
    socket: TcpStream,
    link: Link,
    transfer: Transfer,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no connection: {0}")]
    Connect(io::Error),
    #[error("the link is closed: {0}")]
    Closed(#[from] io::Error),
    #[error(transparent)]
    Late(#[from] CloseReason),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Follow(#[from] FollowError),
    #[error("can't print: {0}")]
    Output(io::Error),
}

impl Failure {
    fn advice(&self) -> &'static str {
        let refusal = match self {
            Self::Connect(_) => return "is a server there? Name it as HOST:PORT",
            Self::Output(_) => return "does whoever reads this still run?",
            Self::Link(LinkError::Handshake(HandshakeError::Refused { text, .. })) => text.as_str(),
            Self::Link(LinkError::Handshake(_)) => "ERR",
            _ => "",
        };
        match refusal.split(' ').next().unwrap_or_default() {
            "NOAUTH" | "WRONGPASS" => "give the right --password, and --user if it is not the default one",
            "NOPERM" => "give a --user who may run PING, REPLCONF and PSYNC",
            "ERR" => "is it a Redis or Valkey server? With a --password only if it has one",
            _ => "try again",
        }
    }
}

impl Tail {
    fn new(options: Options) -> Self {
        let replica = Replica::new(ReplicaConfig::default(), options.from, Timestamp::default());
        Self {
            printed: options.from,
            options,
            origin: Instant::now(),
            replica: replica.expect("the default configuration works"),
            attempt: None,
            connection: None,
            has_followed: false,
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_origin(self.origin.elapsed())
    }

    /// Whoever never got to the stream is told why. Later the server may come back.
    async fn run(&mut self) -> Result<Infallible, Failure> {
        let mut buffer = Vec::with_capacity(READ);
        loop {
            let Err(failure) = self.step(&mut buffer).await else { continue };
            if !self.has_followed || matches!(failure, Failure::Output(_)) {
                return Err(failure);
            }
            say(&format!("{failure}; trying again"));
            self.connection = None;
            let now = self.now();
            self.attempt.inspect(|key| self.replica.handle_disconnected(*key, now));
        }
    }

    /// Does what is wanted, then takes what comes next.
    async fn step(&mut self, buffer: &mut Vec<u8>) -> Result<(), Failure> {
        while let Some((key, event)) = self.replica.poll_event() {
            self.act(key, event).await?;
        }
        let wake_at = self.replica.poll_timeout();
        let pause = wake_at.map_or(Duration::MAX, |at| at.saturating_since(self.now()));
        select! {
            received = receive(&mut self.connection, buffer) => {
                received?;
                self.take(buffer).await?;
            }
            () = time::sleep(pause) => {}
        }
        self.replica.handle_timeout(self.now());
        Ok(())
    }

    async fn act(&mut self, key: LinkKey, event: UpstreamEvent) -> Result<(), Failure> {
        let mut out = Vec::new();
        match event {
            UpstreamEvent::Connect => return self.connect(key).await,
            UpstreamEvent::Close(reason) => return Err(reason.into()),
            UpstreamEvent::KeepAlive => wire::put_keep_alive(&mut out),
            UpstreamEvent::Ack(ack) => wire::put_ack(&mut out, ack),
            UpstreamEvent::InStep => {
                self.has_followed = true;
                say(&format!("following {}", self.options.address));
            }
            _ => {}
        }
        self.send(&out).await
    }

    async fn connect(&mut self, key: LinkKey) -> Result<(), Failure> {
        self.attempt = Some(key);
        let connecting = TcpStream::connect(&self.options.address);
        let connected = time::timeout(CONNECT_TIMEOUT, connecting).await;
        let socket = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let socket = socket.map_err(Failure::Connect)?;
        self.replica.handle_connected(key, self.now())?;
        let mut greeting = Vec::new();
        let introduction = self.options.introduction.clone();
        let link = Link::new(key, introduction, CommandLimits::default(), &mut greeting);
        self.connection = Some(Connection { socket, link, transfer: Transfer::new(None, self.now()) });
        self.send(&greeting).await
    }

    async fn send(&mut self, out: &[u8]) -> Result<(), Failure> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        Ok(connection.socket.write_all(out).await?)
    }

    async fn take(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let (mut out, mut stdout) = (Vec::new(), BufWriter::new(io::stdout().lock()));
        let taken = self.read(bytes, &mut out, &mut stdout);
        stdout.flush().map_err(Failure::Output)?;
        drop(stdout);
        if !matches!(taken, Err(Failure::Output(_))) {
            self.printed = self.replica.held();
        }
        taken?;
        self.send(&out).await
    }

    /// Reads all that has come: passes over a snapshot, and prints the stream.
    fn read(&mut self, mut input: &[u8], out: &mut Vec<u8>, stdout: &mut impl Write) -> Result<(), Failure> {
        let now = self.now();
        let Self { replica, connection: Some(Connection { link, transfer, .. }), origin, .. } = self else {
            return Ok(());
        };
        let key = link.key();
        while let Some(inbound) = link.next(&mut input, out, replica, now)? {
            match inbound {
                Inbound::SnapshotStart { len } => {
                    *transfer = Transfer::new(len, now);
                    replica.held().inspect(tell_gap);
                }
                Inbound::Snapshot(bytes) => transfer.pass(bytes.len(), now),
                Inbound::SnapshotEnd => {
                    replica.handle_loaded(key, now)?;
                    say(&transfer.tell(now));
                }
                Inbound::Unit(unit) => {
                    let offset = replica.handle_applied(key, &unit.bytes, now)?;
                    let lag = (input.len(), origin.elapsed().saturating_sub(now.since_origin()));
                    let mut commands = unit.commands.iter();
                    let printed = commands.try_for_each(|command| print(stdout, offset, lag, command));
                    printed.map_err(Failure::Output)?;
                }
            }
        }
        Ok(())
    }
}

/// Waits until something comes; without a connection nothing does.
async fn receive(connection: &mut Option<Connection>, buffer: &mut Vec<u8>) -> Result<(), Failure> {
    let Some(connection) = connection else { return future::pending().await };
    buffer.clear();
    match connection.socket.read_buf(buffer).await? {
        0 => Err(io::Error::other("the server has ended it").into()),
        _ => Ok(()),
    }
}

fn print(
    out: &mut impl Write,
    offset: Offset,
    (bytes, age): (usize, Duration),
    command: &Command,
) -> io::Result<()> {
    write!(out, "{offset:>12} {bytes:>6} B {:>5} ms ", age.as_millis())?;
    for arg in command.args().take(MAX_ARGS) {
        write!(out, " {}", excerpt(arg))?;
    }
    match command.len().saturating_sub(MAX_ARGS) {
        0 => writeln!(out),
        more => writeln!(out, " ... and {more} more"),
    }
}

fn tell_gap(held: &ResumePoint) {
    let ResumePoint { id, offset } = held;
    say(&format!("a gap: the server can't go on from {id}:{offset}, so commands are missing"));
}

/// A word as it is, anything else escaped in quotes.
fn excerpt(arg: &[u8]) -> String {
    let begin = &arg[..arg.len().min(MAX_ARG)];
    let is_word = begin.iter().all(|byte| byte.is_ascii_graphic() && !b"\"'\\".contains(byte));
    let mut text = begin.escape_ascii().to_string();
    if !is_word || begin.is_empty() {
        text = format!("\"{text}\"");
    }
    if begin.len() < arg.len() {
        text += &format!("...({} bytes)", arg.len());
    }
    text
}

/// A snapshot that passes.
struct Transfer {
    total: Option<u64>,
    passed: u64,
    began: Timestamp,
    shown: Timestamp,
}

impl Transfer {
    const fn new(total: Option<u64>, now: Timestamp) -> Self {
        Self { total, passed: 0, began: now, shown: now }
    }

    fn pass(&mut self, bytes: usize, now: Timestamp) {
        self.passed += bytes as u64;
        let (period, end) = if io::stderr().is_terminal() { (100, "\x1b[K\r") } else { (5000, "\n") };
        if now.saturating_since(self.shown) >= Duration::from_millis(period) {
            self.shown = now;
            eprint!("{}{end}", self.tell(now));
        }
    }

    fn tell(&self, now: Timestamp) -> String {
        let of_total = self.total.map(|total| format!(" of {total}")).unwrap_or_default();
        let seconds = now.saturating_since(self.began).as_secs_f64().max(0.001);
        let rate = self.passed as f64 / 1e6 / seconds;
        format!("snapshot: {}{of_total} bytes passed over, {rate:.1} MB/s", self.passed)
    }
}

/// Tells a line, over the progress that may stand there.
fn say(line: &str) {
    let clear = if io::stderr().is_terminal() { "\x1b[K" } else { "" };
    eprintln!("{clear}{line}");
}

const USAGE: &str = "usage: tail [HOST:PORT] [--from ID:OFFSET] [--user NAME] [--password PASSWORD]";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes read at once.
const READ: usize = 64 << 10;
/// Arguments of a command, and bytes of an argument, that are printed.
const MAX_ARGS: usize = 16;
const MAX_ARG: usize = 64;
