//! What `examples/tail.rs` prints of a server's stream.

use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use redis::Connection;

use crate::server::{Program, Server, Syncs, example};
use crate::wait::{wait_for, wait_until_equal};

/// The stream then has what clients write and nothing else.
const NO_PINGS: [&str; 2] = ["--repl-ping-replica-period", "3600"];

of_both!(
    commands_are_printed_in_order_with_the_offsets_behind_them,
    cuts_are_resumed_and_no_command_is_missed_or_printed_twice,
    an_interrupt_tells_where_to_go_on_and_that_is_no_full_sync,
    a_server_that_cannot_go_on_leaves_a_gap_that_is_told,
    a_wrong_password_is_one_line_that_names_the_option,
);

/// Both kinds of snapshots are passed over, however long.
fn commands_are_printed_in_order_with_the_offsets_behind_them(program: Program) {
    for diskless in ["yes", "no"] {
        let options = ["--repl-diskless-sync", diskless, "--requirepass", "secret"];
        let primary = Server::primary(program, &[&NO_PINGS[..], &options].concat());
        let mut client = primary.client();
        for key in 0..20 {
            run(&mut client, &["SET", &format!("before:{key}"), &"*1\r\n$4\r\nPING\r\n".repeat(10_000)]);
        }
        let tail = Tail::start(&[&address(&primary), "--password", "secret"]);
        tail.wait_until_following();
        let told = tail.told();
        let snapshot = told.lines().find(|line| line.starts_with("snapshot: "));
        let has_total = snapshot.unwrap_or_else(|| panic!("no snapshot in {told}")).contains(" of ");
        assert_eq!(has_total, diskless == "no", "{told}");

        let mut expected = Vec::new();
        for (command, text) in commands() {
            let words: Vec<&str> = command.iter().map(String::as_str).collect();
            run(&mut client, &words);
            expected.push((primary.info().number("master_repl_offset"), text));
        }
        wait_until_equal("printed lines", expected.clone(), || tail.printed());

        redis::pipe()
            .atomic()
            .cmd("INCR")
            .arg("n")
            .cmd("DEL")
            .arg("n")
            .exec(&mut client)
            .expect("it is taken");
        let end = primary.info().number("master_repl_offset");
        expected.extend([(end, "INCR n".to_owned()), (end, "DEL n".to_owned())]);
        wait_until_equal("printed lines", expected.clone(), || tail.printed());

        let acked: u64 = redis::cmd("WAIT").arg(1).arg(10_000).query(&mut client).expect("WAIT is answered");
        assert_eq!(acked, 1);
        wait_for("a lag of a second at most", || {
            let line = primary.info().text("slave0").to_owned();
            if line.ends_with("lag=0") || line.ends_with("lag=1") { Ok(()) } else { Err(line) }
        });
        assert_eq!(primary.info().syncs(), Syncs { full: 1, resumed: 0, refused: 0 });
    }
}

/// Commands, and how they are printed.
fn commands() -> [(Vec<String>, String); 5] {
    let command = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    let (long, many) = ("x".repeat(1000), vec!["y"; 40]);
    [
        (command(&["SET", "k", "1"]), "SET k 1".into()),
        (command(&["SET", "a b", "\0\r\n\""]), r#"SET "a b" "\x00\r\n\"""#.into()),
        (command(&["SET", "", &long]), format!("SET \"\" {}...(1000 bytes)", &long[..64])),
        (command(&[&["MSET"], &many[..]].concat()), format!("MSET {} ... and 25 more", many[..15].join(" "))),
        (command(&["DEL", "k", "none"]), "DEL k none".into()),
    ]
}

fn cuts_are_resumed_and_no_command_is_missed_or_printed_twice(program: Program) {
    let primary = Server::primary(program, &NO_PINGS);
    let mut client = primary.client();
    let tail = Tail::start(&[&address(&primary)]);
    tail.wait_until_following();
    for cuts in 1..=3 {
        for number in 0..500 {
            run(&mut client, &["SET", "key", &format!("{cuts}:{number}")]);
            if number == 250 {
                run(&mut client, &["CLIENT", "KILL", "TYPE", "replica"]);
            }
        }
        wait_until_equal("resume", cuts, || primary.info().syncs().resumed);
    }
    let numbers = |cuts: u64| (0..500).map(move |number| format!("SET key {cuts}:{number}"));
    let expected: Vec<String> = (1..=3).flat_map(numbers).collect();
    wait_until_equal("printed lines", expected, || tail.texts());
    assert_eq!(primary.info().syncs(), Syncs { full: 1, resumed: 3, refused: 0 });
    assert_eq!(tail.told().matches("the link is closed: ").count(), 3, "{}", tail.told());
}

fn an_interrupt_tells_where_to_go_on_and_that_is_no_full_sync(program: Program) {
    let primary = Server::primary(program, &NO_PINGS);
    let mut client = primary.client();
    let mut tail = Tail::start(&[&address(&primary)]);
    tail.wait_until_following();
    run(&mut client, &["SET", "k", "printed"]);
    wait_until_equal("printed line", vec!["SET k printed".to_owned()], || tail.texts());
    assert_eq!(tail.interrupt().code(), Some(0));
    run(&mut client, &["SET", "k", "missed"]);

    let told = tail.told();
    let hint = told.lines().find_map(|line| line.strip_prefix("to go on from here: tail "));
    let arguments: Vec<&str> = hint.unwrap_or_else(|| panic!("no hint in {told}")).split(' ').collect();
    let mut resumed = Tail::start(&arguments);
    resumed.wait_until_following();
    run(&mut client, &["SET", "k", "seen"]);
    let expected = ["SET k missed", "SET k seen"].map(str::to_owned);
    wait_until_equal("printed lines", expected.to_vec(), || resumed.texts());
    assert_eq!(primary.info().syncs(), Syncs { full: 1, resumed: 1, refused: 0 });
    resumed.interrupt();
    assert!(!resumed.told().contains("snapshot"), "{}", resumed.told());
}

fn a_server_that_cannot_go_on_leaves_a_gap_that_is_told(program: Program) {
    let primary = Server::primary(program, &NO_PINGS);
    let other = format!("{}:12", "ab".repeat(20));
    let mut tail = Tail::start(&[&address(&primary), "--from", &other]);
    tail.wait_until_following();
    run(&mut primary.client(), &["SET", "k", "v"]);
    wait_until_equal("printed line", vec!["SET k v".to_owned()], || tail.texts());
    tail.interrupt();
    let told = tail.told();
    assert!(told.contains(&format!("a gap: the server can't go on from {other}, so ")), "{told}");
    assert!(!told.contains(&format!("--from {other}")), "{told}");
}

fn a_wrong_password_is_one_line_that_names_the_option(program: Program) {
    let primary = Server::primary(program, &["--requirepass", "secret"]);
    let from = format!("{}:12", "ab".repeat(20));
    for arguments in
        [&[][..], &["--from", &from], &["--password", "guess"], &["--user", "nobody", "--password", "secret"]]
    {
        let address = address(&primary);
        let mut tail = Tail::start(&[&[address.as_str()], arguments].concat());
        let (status, told) = (tail.wait(), tail.told());
        assert_eq!((status.code(), told.lines().count()), (Some(1), 1), "{arguments:?}: {told}");
        assert!(told.contains("--password"), "{arguments:?}: {told}");
    }
}

#[test]
fn nobody_at_the_address_is_one_line() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port is free");
    let address = taken.local_addr().expect("the listener is bound").to_string();
    drop(taken);
    let mut tail = Tail::start(&[&address]);
    let (status, told) = (tail.wait(), tail.told());
    assert_eq!((status.code(), told.lines().count()), (Some(1), 1), "{told}");
    assert!(told.contains(&address) && told.contains("is a server there?"), "{told}");
}

#[test]
fn an_option_that_cannot_be_followed_is_one_line_and_exit_code_2() {
    for (arguments, named) in [
        (&["localhost"][..], "localhost has no port"),
        (&["--from"], "--from needs a value"),
        (&["--from", "here"], "--from here is no ID:OFFSET"),
        (&["--user", "me"], "--user needs --password"),
        (&["--verbose"], "there is no option --verbose"),
    ] {
        let mut tail = Tail::start(arguments);
        let (status, told) = (tail.wait(), tail.told());
        assert_eq!((status.code(), told.lines().count()), (Some(2), 1), "{arguments:?}: {told}");
        assert!(told.contains(named) && told.contains("usage: tail "), "{arguments:?}: {told}");
    }
}

/// `tail` in a process of its own; killed when dropped.
pub(crate) struct Tail {
    process: Child,
    stdout: Lines,
    stderr: Lines,
}

impl Tail {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(example("tail"));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("tail was built");
        let stdout = Lines::of(process.stdout.take().expect("it is piped"));
        let stderr = Lines::of(process.stderr.take().expect("it is piped"));
        Self { process, stdout, stderr }
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process.id()
    }

    #[track_caller]
    fn wait_until_following(&self) {
        wait_for("stream", || {
            let told = self.told();
            if told.contains("following ") { Ok(()) } else { Err(told) }
        });
    }

    /// What it told on stderr.
    pub(crate) fn told(&self) -> String {
        self.stderr.all().join("\n")
    }

    /// The commands on stdout with the offsets behind them, but for the choice of the database.
    #[track_caller]
    fn printed(&self) -> Vec<(u64, String)> {
        let lines = self.stdout.all();
        let mut printed: Vec<_> = lines.iter().map(|line| parse(line)).collect();
        printed.retain(|(_, text)| text != "SELECT 0");
        printed
    }

    #[track_caller]
    pub(crate) fn texts(&self) -> Vec<String> {
        self.printed().into_iter().map(|(_, text)| text).collect()
    }

    fn interrupt(&mut self) -> ExitStatus {
        let killed = Command::new("kill").args(["-INT", &self.process.id().to_string()]).status();
        assert!(killed.is_ok_and(|status| status.success()), "kill failed");
        self.wait()
    }

    /// Waits until it has ended, and all that it wrote is read.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let status = wait_for("end of tail", || {
            let status = self.process.try_wait().expect("the process is ours");
            status.ok_or_else(|| self.told())
        });
        for lines in [&mut self.stdout, &mut self.stderr] {
            if let Some(reader) = lines.reader.take() {
                reader.join().expect("it prints UTF-8");
            }
        }
        status
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        // Both fail only where the process has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() {
            eprintln!("--- tail:\n{}", self.told());
        }
    }
}

/// The lines of a pipe, read as they come.
struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Lines {
    fn of(pipe: impl io::Read + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let reader = thread::spawn({
            let lines = Arc::clone(&lines);
            move || {
                for line in BufReader::new(pipe).lines() {
                    lines.lock().expect("nothing panics under this lock").push(line.expect("it is UTF-8"));
                }
            }
        });
        Self { lines, reader: Some(reader) }
    }

    fn all(&self) -> Vec<String> {
        self.lines.lock().expect("nothing panics under this lock").clone()
    }
}

/// Offset, bytes behind, age, and the command: the figures are numbers with their units.
#[track_caller]
fn parse(line: &str) -> (u64, String) {
    let (figures, text) = line.split_once(" ms  ").unwrap_or_else(|| panic!("no age in {line}"));
    let figures: Vec<&str> = figures.split_whitespace().collect();
    let [offset, bytes, "B", age] = figures[..] else { panic!("no figures in {line}") };
    let [offset, _, _] = [offset, bytes, age].map(|figure| figure.parse().expect("a number"));
    (offset, text.to_owned())
}

fn address(server: &Server) -> String {
    format!("{}:{}", Ipv4Addr::LOCALHOST, server.port())
}

fn run(client: &mut Connection, words: &[&str]) {
    let mut command = redis::cmd(words[0]);
    words[1..].iter().fold(&mut command, |command, word| command.arg(word));
    command.exec(client).unwrap_or_else(|error| panic!("{}: {error}", words[0]));
}
