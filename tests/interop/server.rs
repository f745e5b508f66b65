use std::env;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use redis::Connection;

use crate::wait::wait_for;

/// Which server to start.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Program {
    /// Our example store.
    Kv,
    /// The small one in a loop of its own. Its settings are in its source.
    EventLoop,
    /// The small one of plain threads, likewise.
    Threads,
    /// The real one: as a replica, and as the primary of a control that shows what `kv` is held to.
    Redis,
}

impl Program {
    const fn is_small(self) -> bool {
        matches!(self, Self::EventLoop | Self::Threads)
    }
}

/// A server process on a port and in a directory of its own; killed when dropped.
pub(crate) struct Server {
    program: Program,
    options: Vec<String>,
    port: u16,
    process: Child,
    directory: Directory,
}

impl Server {
    /// Starts a primary that takes a snapshot as soon as one is asked for.
    pub(crate) fn primary(program: Program, options: &[&str]) -> Self {
        Self::spawn(program, &[&["--repl-diskless-sync-delay", "0"], options].concat())
    }

    /// Starts a `redis-server` that replicates from `port`.
    pub(crate) fn replica_of(port: u16, options: &[&str]) -> Self {
        Self::follower(Program::Redis, port, options)
    }

    /// Starts a server that replicates from `port`.
    pub(crate) fn follower(program: Program, port: u16, options: &[&str]) -> Self {
        let upstream = format!("{} {port}", Ipv4Addr::LOCALHOST);
        let of_primary = ["--replicaof", &upstream, "--repl-diskless-sync-delay", "0"];
        Self::spawn(program, &[&of_primary, options].concat())
    }

    fn spawn(program: Program, options: &[&str]) -> Self {
        let port = free_port();
        let directory = Directory::create(port);
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        let process = start(program, port, &directory.0, &options);
        let mut server = Self { program, options, port, process, directory };
        server.wait_ready();
        server
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Whether it knows no other commands on data than SET, GET, DEL, INCR and DBSIZE.
    pub(crate) fn is_small(&self) -> bool {
        self.program.is_small()
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Opens a connection, with the server's password if it has one.
    pub(crate) fn client(&self) -> Connection {
        let password = self.options.iter().skip_while(|option| *option != "--requirepass").nth(1);
        let login = password.map(|password| format!(":{password}@")).unwrap_or_default();
        let client = redis::Client::open(format!("redis://{login}{}:{}/", Ipv4Addr::LOCALHOST, self.port))
            .expect("the address is well formed");
        let connection = client.get_connection().expect("the server accepts clients");
        connection.set_read_timeout(Some(REPLY_TIMEOUT)).expect("the timeout is not zero");
        connection
    }

    /// What INFO tells, read now.
    pub(crate) fn info(&self) -> Info {
        Info(redis::cmd("INFO").query(&mut self.client()).expect("INFO is answered"))
    }

    /// Changes a setting at run time.
    pub(crate) fn set(&self, name: &str, value: &str) {
        let mut config = redis::cmd("CONFIG");
        config.arg("SET").arg(name).arg(value).exec(&mut self.client()).expect("the value is taken");
    }

    /// All that the process has printed.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.directory.0.join(LOG_FILE)).unwrap_or_default()).into_owned()
    }

    /// Where it keeps what it saves.
    pub(crate) fn dump(&self) -> PathBuf {
        self.directory.0.join("dump.rdb")
    }

    /// Ends the process with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("the process is ours");
        self.process.wait().expect("the process is ours");
    }

    /// Has the process save its data, and end.
    pub(crate) fn shut_down(&mut self) {
        // The connection ends without an answer.
        let _ = redis::cmd("SHUTDOWN").arg("SAVE").exec(&mut self.client());
        wait_for("end of the process", || {
            let status = self.process.try_wait().expect("the process is ours");
            status.ok_or_else(|| "it still runs".to_owned())
        });
    }

    /// Has it follow the server on `port`.
    pub(crate) fn follow(&self, port: u16) {
        let mut replicaof = redis::cmd("REPLICAOF");
        replicaof.arg(Ipv4Addr::LOCALHOST.to_string()).arg(port);
        replicaof.exec(&mut self.client()).expect("another primary is taken");
    }

    /// Has it lead.
    pub(crate) fn promote(&self) {
        let mut replicaof = redis::cmd("REPLICAOF");
        replicaof.arg("NO").arg("ONE").exec(&mut self.client()).expect("a promotion is taken");
    }

    /// Starts the process again after it has ended, with the same port and options.
    pub(crate) fn restart(&mut self) {
        self.process = start(self.program, self.port, &self.directory.0, &self.options);
        self.wait_ready();
    }

    /// Stops the process with SIGSTOP: its sockets stay open, but nobody reads them.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.process_id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill {name} failed");
    }

    fn wait_ready(&mut self) {
        wait_for("answer to PING", || {
            if let Some(status) = self.process.try_wait().expect("the process is ours") {
                panic!("the server ended with {status}:\n{}", self.log());
            }
            answers_ping(self.port).map_err(|error| error.to_string())
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only where the process has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() {
            eprintln!("--- {} on port {}:\n{}", name(self.program), self.port, self.log());
        }
    }
}

/// A directory of one server's own; removed when dropped.
struct Directory(PathBuf);

impl Directory {
    fn create(port: u16) -> Self {
        let path = env::temp_dir().join(format!("headwater-interop-{}-{port}", std::process::id()));
        fs::create_dir_all(&path).expect("the temporary directory is writable");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What can't be removed is left to the system's own cleaning of temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The text of INFO.
pub(crate) struct Info(String);

impl Info {
    #[track_caller]
    pub(crate) fn text(&self, field: &str) -> &str {
        self.0
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
            .unwrap_or_else(|| panic!("INFO has no {field}:\n{}", self.0))
    }

    #[track_caller]
    pub(crate) fn number(&self, field: &str) -> u64 {
        let text = self.text(field);
        text.parse().unwrap_or_else(|_| panic!("{field} is no number: {text}"))
    }

    /// How often a replica asked for a full resync, was allowed to resume, and was refused to.
    pub(crate) fn syncs(&self) -> Syncs {
        Syncs {
            full: self.number("sync_full"),
            resumed: self.number("sync_partial_ok"),
            refused: self.number("sync_partial_err"),
        }
    }
}

/// A primary's three counters of resyncs (R64 to R66).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Syncs {
    pub(crate) full: u64,
    pub(crate) resumed: u64,
    pub(crate) refused: u64,
}

/// Runs `kv` with `arguments` until it ends: its exit status and what it printed to stderr.
pub(crate) fn run_kv(arguments: &[&str]) -> (ExitStatus, String) {
    let mut process = Command::new(example("kv"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kv was built");
    let ended = wait_for("end of kv", || {
        let status = process.try_wait().expect("the process is ours");
        status.ok_or_else(|| format!("kv {arguments:?} still runs"))
    });
    let mut printed = String::new();
    let mut stderr = process.stderr.take().expect("stderr is piped");
    stderr.read_to_string(&mut printed).expect("kv prints UTF-8");
    (ended, printed)
}

fn start(program: Program, port: u16, directory: &Path, options: &[String]) -> Child {
    let log = File::options().create(true).append(true).open(directory.join(LOG_FILE));
    let log = log.expect("the temporary directory is writable");
    let mut command = match program {
        Program::Redis => Command::new(name(program)),
        _ => Command::new(example(name(program))),
    };
    command.args(["--port", &port.to_string()]);
    if !program.is_small() {
        command.args(["--bind", &Ipv4Addr::LOCALHOST.to_string(), "--dir"]).arg(directory);
        command.args(if program == Program::Redis { &["--save", ""][..] } else { &[] }).args(options);
    }
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("the log is open")).stderr(log);
    command.spawn().unwrap_or_else(|error| match (program, error.kind()) {
        (Program::Redis, ErrorKind::NotFound) => {
            panic!("redis-server is not installed: `apt-get install redis-server`")
        }
        _ => panic!("{} does not start: {error}", name(program)),
    })
}

fn name(program: Program) -> &'static str {
    match program {
        Program::Kv => "kv",
        Program::EventLoop => "event_loop",
        Program::Threads => "threads",
        Program::Redis => "redis-server",
    }
}

/// An example's executable. Builds them once, in this test's own profile and target directory.
pub(crate) fn example(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| {
        let test = env::current_exe().expect("the system names this test's executable");
        let profile_directory = test.ancestors().nth(2).expect("tests lie in target/<profile>/deps");
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--examples", "--manifest-path"]);
        build.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        build.arg("--target-dir").arg(profile_directory.parent().expect("a profile lies in target"));
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        assert!(build.status().is_ok_and(|status| status.success()), "the examples do not build");
        profile_directory.join("examples")
    });
    directory.join(format!("{name}{}", env::consts::EXE_SUFFIX))
}

/// A port that nobody listens on, below those that the system gives to outgoing connections.
fn free_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    loop {
        let spread = std::process::id() % 200 * 100 + u32::from(TAKEN.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(10_000 + spread % 20_000).expect("the sum is below 30,000");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

fn answers_ping(port: u16) -> std::io::Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
    stream.write_all(b"PING\r\n")?;
    // Any answer will do: a server with a password says `-NOAUTH`.
    stream.read_exact(&mut [0])
}

const LOG_FILE: &str = "log";
/// A reply that takes longer fails the test rather than hanging it.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
