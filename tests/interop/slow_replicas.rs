//! Replicas that take less than is written: what that costs the others, and what people are told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use redis::Connection;

use crate::image::{assert_equal_data, wait_in_step};
use crate::proxy::Proxy;
use crate::server::{Program, Server};
use crate::wait::{wait_for, wait_until_equal};

#[test]
#[ignore = "needs redis-server"]
fn a_stopped_replica_is_dropped_at_the_limit_and_the_others_keep_their_throughput() {
    let limit = "replica 8mb 0 0";
    let primary = Server::primary(Program::Kv, &["--client-output-buffer-limit", limit]);
    let [stopped, reading] = [(); 2].map(|()| Server::replica_of(primary.port(), &[]));
    wait_in_step(&primary, &stopped);
    wait_in_step(&primary, &reading);
    let mut client = primary.client();
    let usual = (0..3).map(|_| time_of_writes(&mut client, 2)).max().expect("there are three");

    stopped.pause();
    let mut fastest = Duration::MAX;
    wait_for("drop of the stopped replica", || {
        fastest = fastest.min(time_of_writes(&mut client, 1));
        let attached = primary.info().number("connected_slaves");
        if attached == 1 { Ok(()) } else { Err(format!("{attached} replicas are attached")) }
    });
    assert!(fastest < usual * 5 + Duration::from_millis(50), "{fastest:?} instead of {usual:?}");
    assert!(primary.log().contains("wait to be sent, the hard limit is 8388608"));
    stopped.resume();
    assert_equal_data(&primary, &stopped);
    assert_equal_data(&primary, &reading);
}

/// More is written than the link takes, until the replica is far behind; then it catches up.
#[test]
#[ignore = "needs redis-server"]
fn a_load_that_outruns_a_slow_snapshot_costs_no_second_one_within_the_limits() {
    let (primary, proxy) = slow_primary("replica 512mb 0 0");
    proxy.cap(Some(4e6));
    let replica = Server::replica_of(proxy.port(), &[]);
    wait_until_equal("snapshot", 1, || primary.info().syncs().full);
    let load = Trickle::start(&primary);
    wait_until_equal("lag of a snapshot", true, || primary.info().number("mem_clients_slaves") > 10 << 20);
    proxy.cap(None);
    load.stop();
    assert!(assert_equal_data(&primary, &replica) > IMAGE_KEYS);
    assert_eq!(primary.info().syncs().full, 1);
    assert!(!primary.log().contains("expected to fail"));
}

/// The limit holds less than is written meanwhile, so that the sync fails again and again; the log tells which setting
/// lets it succeed, and that one does.
#[test]
#[ignore = "needs redis-server"]
fn a_load_that_outruns_the_limits_is_told_with_the_setting_that_helps() {
    let (primary, proxy) = slow_primary("replica 3mb 0 0");
    proxy.cap(Some(12e6));
    let load = Trickle::start(&primary);
    let replica = Server::replica_of(proxy.port(), &[]);
    let line = wait_for("line about the settings", || {
        let log = primary.log();
        log.lines().find(|line| line.contains(FORECAST)).map(str::to_owned).ok_or(log)
    });
    assert!(line.contains("raise the hard output limit from 3145728 to "), "{line}");

    wait_for("sync by the setting that was told", || {
        let log = primary.log();
        let told = log.lines().rfind(|line| line.contains(FORECAST)).and_then(|line| line.split('"').nth(1));
        primary.set("client-output-buffer-limit", told.expect("the line has a setting"));
        let link = replica.info().text("master_link_status").to_owned();
        if link == "up" { Ok(()) } else { Err(format!("link {link}, {told:?}")) }
    });
    load.stop();
    assert!(assert_equal_data(&primary, &replica) > IMAGE_KEYS);
    let told = primary.log().matches(FORECAST).count() as u64;
    assert!(told < primary.info().syncs().full, "{told} lines for {:?}", primary.info().syncs());
}

/// A primary whose snapshot takes seconds on a slow link, and that link.
fn slow_primary(limit: &str) -> (Server, Proxy) {
    let options = ["--client-output-buffer-limit", limit, "--repl-sync-backoff", "1"];
    let primary = Server::primary(Program::Kv, &options);
    let mut client = primary.client();
    for key in 0..IMAGE_KEYS {
        let value = vec![b'x'; 1 << 20];
        redis::cmd("SET")
            .arg(format!("image:{key}"))
            .arg(value)
            .exec(&mut client)
            .expect("the write is taken");
    }
    let proxy = Proxy::start(primary.port());
    (primary, proxy)
}

/// How long it takes to write 1 MiB in 16 commands, and to have it acknowledged by so many replicas.
fn time_of_writes(client: &mut Connection, replicas: u64) -> Duration {
    let began = Instant::now();
    let mut pipe = redis::pipe();
    for key in 0..16 {
        pipe.cmd("SET").arg(key).arg(vec![b'x'; 64 << 10]).ignore();
    }
    pipe.cmd("WAIT").arg(replicas).arg(0);
    let [acked]: [u64; 1] = pipe.query(client).expect("the writes are taken");
    assert!(acked >= replicas);
    began.elapsed()
}

/// A client that writes some 5 MB a second until it is stopped.
struct Trickle {
    stopped: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Trickle {
    fn start(primary: &Server) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let mut client = primary.client();
        let thread = thread::spawn({
            let stopped = Arc::clone(&stopped);
            move || {
                while !stopped.load(Ordering::SeqCst) {
                    let value = vec![b'x'; 100_000];
                    redis::cmd("SET")
                        .arg("trickle")
                        .arg(value)
                        .exec(&mut client)
                        .expect("the write is taken");
                    thread::sleep(Duration::from_millis(20));
                }
            }
        });
        Self { stopped, thread }
    }

    fn stop(self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.thread.join().expect("every write was taken");
    }
}

const IMAGE_KEYS: usize = 36;
const FORECAST: &str = "the next sync is expected to fail: ";
