//! SYNC and PSYNC by hand; as a control, `redis-server` is held to the same.

use crate::raw::RawClient;
use crate::server::{Info, Program, Server, Syncs};
use crate::wait::{wait_for, wait_until_equal};

of_both! {
    a_request_is_resumed_exactly_within_the_backlog,
    a_foreign_or_malformed_id_starts_over,
    a_request_for_a_full_resync_is_no_refusal,
    a_malformed_request_is_an_error_and_no_replica,
    sync_is_answered_by_the_snapshot_alone,
    nothing_follows_an_end_mark_before_an_ack,
    a_replica_that_names_no_capability_is_resumed_by_a_bare_continue,
    a_command_on_a_replicas_link_ends_it,
}

/// R55: a request names the next byte wanted, and is granted from `first` to `off + 1`.
fn a_request_is_resumed_exactly_within_the_backlog(program: Program) {
    let mut stream = Stream::start(program);
    stream.fill_backlog();
    type Wanted = fn(u64, u64) -> u64;
    let granted: [Wanted; 3] = [|first, _| first, |_, off| off, |_, off| off + 1];
    for wanted in granted {
        for spell in [str::to_lowercase, str::to_uppercase] {
            let info = stream.settled();
            let id = spell(info.text("master_replid"));
            stream.assert_resumed(&id, wanted(first(&info), off(&info)));
        }
    }
    let refused: [Wanted; 6] = [
        |first, _| first - 1,
        |_, off| off + 2,
        |_, _| 0,
        |_, _| 1,
        |_, _| 1 << 62,
        |_, _| i64::MAX.unsigned_abs(),
    ];
    for wanted in refused {
        let info = stream.settled();
        let wanted = wanted(first(&info), off(&info)).to_string();
        stream.assert_refused(&info, info.text("master_replid"), &wanted);
    }
}

fn a_foreign_or_malformed_id_starts_over(program: Program) {
    let stream = Stream::start(program);
    let info = stream.settled();
    let id = info.text("master_replid");
    let next = (off(&info) + 1).to_string();
    for foreign in [&"0".repeat(40), &id[1..], &format!("{id}0"), "x", ""] {
        stream.assert_refused(&info, foreign, &next);
    }
    stream.assert_refused(&info, id, "-5");
}

/// R56, R66.
fn a_request_for_a_full_resync_is_no_refusal(program: Program) {
    let stream = Stream::start(program);
    let before = stream.primary.info().syncs();
    for request in ["PSYNC ? -1", "PSYNC ?xyz 1", "PSYNC ? 1", "PSYNC ? -1 and more"] {
        let mut replica = stream.handshake();
        let answer = replica.ask(request);
        assert!(answer.starts_with("+FULLRESYNC "), "{request}: {answer}");
        replica.snapshot();
    }
    assert_eq!(stream.primary.info().syncs(), Syncs { full: before.full + 4, ..before });
}

/// T63, R52, R53, R187, and redis#8712 (B30): an error and a replica at once.
fn a_malformed_request_is_an_error_and_no_replica(program: Program) {
    let mut stream = Stream::start(program);
    let info = stream.settled();
    let id = info.text("master_replid");
    for (request, error) in [
        ("PSYNC".to_owned(), "-ERR wrong number of arguments for 'psync' command"),
        ("PSYNC ?".to_owned(), "-ERR wrong number of arguments for 'psync' command"),
        (format!("PSYNC {id} abc"), "-ERR value is not an integer or out of range"),
        (format!("PSYNC {id} 01"), "-ERR value is not an integer or out of range"),
        (format!("PSYNC {id} +1"), "-ERR value is not an integer or out of range"),
        (format!("PSYNC {id} 99999999999999999999"), "-ERR value is not an integer or out of range"),
        (format!("PSYNC {id} 1 FAILOVER"), "-ERR PSYNC FAILOVER can't be sent to a master."),
        ("SYNC now".to_owned(), "-ERR wrong number of arguments for 'sync' command"),
    ] {
        let mut client = stream.handshake();
        assert_eq!(client.ask(&request), error, "{request}");
        assert_eq!(client.ask("PING"), "+PONG", "after {request}");
        assert_eq!(stream.primary.info().number("connected_slaves"), 1, "{request}");
        stream.write("SET", "key", "value"); // the other replica reads it
    }
    // R50: what follows an unread answer would be taken for a part of it.
    let mut client = stream.handshake();
    assert_eq!(client.ask("PING\r\nPSYNC ? -1"), "+PONG");
    assert_eq!(client.line(), "-ERR SYNC and PSYNC are invalid with pending output");
    assert_eq!(stream.primary.info().syncs(), info.syncs());
}

/// R62.
fn sync_is_answered_by_the_snapshot_alone(program: Program) {
    let mut stream = Stream::start(program);
    let mut replica = RawClient::connect(stream.primary.port());
    replica.send("SYNC\r\n");
    assert!(replica.snapshot().starts_with(b"REDIS00"));
    // A full resync has begun, so that the next write selects its database (R7).
    stream.write("SET", "key", "value");
    assert_eq!(replica.bytes(SELECT.len()), SELECT);
    assert_eq!(replica.line(), "*3");
}

/// R89.
fn nothing_follows_an_end_mark_before_an_ack(program: Program) {
    let mut stream = Stream::start(program);
    let mut replica = RawClient::connect(stream.primary.port());
    assert_eq!(replica.ask("REPLCONF capa eof"), "+OK");
    assert!(replica.ask("PSYNC ? -1").starts_with("+FULLRESYNC "));
    assert!(replica.end_marked_snapshot().starts_with(b"REDIS00"));
    wait_until_equal("online replica", true, || {
        stream.primary.info().text("slave1").contains("state=online")
    });
    stream.write("SET", "key", "value");
    assert!(replica.has_nothing_to_read());
    replica.send("REPLCONF ACK 0\r\n");
    assert_eq!(replica.bytes(SELECT.len()), SELECT);
    assert_eq!(replica.line(), "*3");
}

/// R57.
fn a_replica_that_names_no_capability_is_resumed_by_a_bare_continue(program: Program) {
    let stream = Stream::start(program);
    let info = stream.settled();
    let request = format!("PSYNC {} {}", info.text("master_replid"), off(&info) + 1);
    assert_eq!(RawClient::connect(stream.primary.port()).ask(&request), "+CONTINUE");
}

/// R46, R94, T62, B31 and B32: an answer would get into the stream, and a replica has nothing to write.
fn a_command_on_a_replicas_link_ends_it(program: Program) {
    let mut stream = Stream::start(program);
    stream.write("SET", "key", "value");
    for command in ["PING", "GET key", "SET key value", "REPLCONF capa eof"] {
        let (mut replica, off) = stream.resume_at_end();
        // None of these is answered, so the link goes on.
        replica.send("REPLCONF ACK abc\r\nREPLCONF ACK -1\r\n");
        replica.send(format!("PSYNC ? -1\r\n\r\nREPLCONF ACK {off}\r\n"));
        stream.write("SET", "key", "value");
        assert_eq!(replica.line(), "*3", "{command}");
        replica.send(format!("{command}\r\n"));
        let rest = replica.rest().unwrap_or_else(|| panic!("{command} left the link open"));
        assert_eq!(rest, "$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n", "{command}");
    }
}

/// A real primary believes the first, and leaves an error in the stream of the last.
#[test]
fn an_ack_that_can_not_be_and_what_is_no_command_end_a_replicas_link() {
    let mut stream = Stream::start(Program::Kv);
    let cases: [fn(u64) -> String; 4] = [
        |off| format!("REPLCONF ACK {}\r\n", off + 1000),
        |off| format!("REPLCONF ACK {off} FACK {}\r\n", off + 1),
        |_| "*-5\r\n".to_owned(),
        |_| "x".repeat(70_000),
    ];
    for case in cases {
        let (mut replica, off) = stream.resume_at_end();
        replica.send(case(off));
        assert_eq!(replica.rest().as_deref(), Some(""), "{:.40}", case(off));
        wait_until_equal("count of replicas", 1, || stream.primary.info().number("connected_slaves"));
        stream.write("SET", "key", "value"); // the other replica reads it
    }
}

/// A primary with one replica that records the whole stream.
struct Stream {
    primary: Server,
    recorder: RawClient,
    /// The offset at which the record starts.
    start: u64,
    recorded: Vec<u8>,
    writes: u32,
}

impl Stream {
    fn start(program: Program) -> Self {
        // No ping comes between what a test writes and what it reads.
        let options = ["--repl-ping-replica-period", "3600", "--repl-backlog-size", "16kb"];
        // Replicas that come by hand leave before their sync has succeeded, and the next ones would be held back.
        let own: &[&str] = if let Program::Kv = program { &["--repl-sync-backoff", "0"] } else { &[] };
        let primary = Server::primary(program, &[&options, own].concat());
        let mut recorder = RawClient::connect(primary.port());
        let answer = recorder.ask("PSYNC ? -1");
        let start = answer.rsplit(' ').next().and_then(|offset| offset.parse().ok());
        let start = start.unwrap_or_else(|| panic!("no offset in {answer}"));
        recorder.snapshot();
        // Until then another replica could be given a share of this snapshot.
        wait_until_online(&primary, "slave0");
        Self { primary, recorder, start, recorded: Vec::new(), writes: 0 }
    }

    /// Writes until the backlog has lost its first bytes.
    fn fill_backlog(&mut self) {
        while first(&self.settled()) < 1000 {
            self.write("SET", "filler", &"x".repeat(1000));
        }
    }

    /// Writes one command and records what that added to the stream.
    fn write(&mut self, command: &str, key: &str, value: &str) {
        self.writes += 1;
        redis::cmd(command).arg(key).arg(value).exec(&mut self.primary.client()).expect("the write is taken");
        let end = off(&self.primary.info());
        let added = end - self.start - self.recorded.len() as u64;
        self.recorded.extend(self.recorder.bytes(usize::try_from(added).expect("it fits in memory")));
    }

    /// INFO once nobody but the recorder is attached and the backlog has let go of what nobody needs.
    fn settled(&self) -> Info {
        let mut earlier = None;
        wait_for("settled backlog", || {
            let info = self.primary.info();
            let seen = (info.number("connected_slaves"), first(&info));
            if seen.0 == 1 && earlier.replace(seen) == Some(seen) {
                Ok(info)
            } else {
                Err(format!("{seen:?}"))
            }
        })
    }

    fn handshake(&self) -> RawClient {
        let mut client = RawClient::connect(self.primary.port());
        assert_eq!(client.ask("REPLCONF listening-port 1 capa psync2"), "+OK");
        client
    }

    /// A second replica, in step with the stream's end, and that end.
    fn resume_at_end(&self) -> (RawClient, u64) {
        let info = self.settled();
        let mut replica = self.handshake();
        let answer = replica.ask(&format!("PSYNC {} {}", info.text("master_replid"), off(&info) + 1));
        assert!(answer.starts_with("+CONTINUE "), "{answer}");
        (replica, off(&info))
    }

    /// Expects `+CONTINUE`, the recorded bytes from `wanted` on, and right behind them the next write.
    fn assert_resumed(&mut self, id: &str, wanted: u64) {
        let before = self.primary.info().syncs();
        let mut replica = self.handshake();
        let answer = replica.ask(&format!("PSYNC {id} {wanted}"));
        assert_eq!(answer, format!("+CONTINUE {}", id.to_lowercase()), "from {wanted}");
        let text = self.writes.to_string();
        self.write("SET", "next", &text);
        let skipped = usize::try_from(wanted - 1 - self.start).expect("it fits in memory");
        let expected = &self.recorded[skipped..];
        assert_eq!(replica.bytes(expected.len()), expected, "from {wanted}");
        let after = Syncs { resumed: before.resumed + 1, ..before };
        assert_eq!(self.primary.info().syncs(), after, "from {wanted}");
    }

    /// Expects `+FULLRESYNC` with the primary's own id and offset.
    fn assert_refused(&self, info: &Info, id: &str, wanted: &str) {
        let before = self.primary.info().syncs();
        let mut replica = self.handshake();
        let request = [b"PSYNC", id.as_bytes(), wanted.as_bytes()];
        let request = request.map(|word| format!("${}\r\n{}\r\n", word.len(), word.escape_ascii()));
        replica.send(format!("*3\r\n{}", request.concat()));
        let expected = format!("+FULLRESYNC {} {}", info.text("master_replid"), off(info));
        assert_eq!(replica.line(), expected, "{id} {wanted}");
        let after = Syncs { full: before.full + 1, refused: before.refused + 1, ..before };
        assert_eq!(self.primary.info().syncs(), after, "{id} {wanted}");
        replica.snapshot();
    }
}

fn wait_until_online(primary: &Server, line: &str) {
    wait_until_equal("online replica", true, || primary.info().text(line).contains("state=online"));
}

fn first(info: &Info) -> u64 {
    info.number("repl_backlog_first_byte_offset")
}

fn off(info: &Info) -> u64 {
    info.number("master_repl_offset")
}

const SELECT: &[u8] = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n";
