//! Links that break: a replica resumes where it stopped, or starts over when its place is gone.

use std::env;
use std::io::Write;
use std::thread;
use std::time::{Duration, SystemTime};

use crate::image::{assert_equal_data, wait_in_step};
use crate::load::{Load, Random};
use crate::proxy::Proxy;
use crate::server::{Program, Server, Syncs};
use crate::wait::wait_until_equal;

of_hosts! {
    a_link_cut_inside_a_command_is_resumed,
    cuts_at_random_moments_under_load_cost_a_resume_each,
}

fn a_link_cut_inside_a_command_is_resumed(program: Program) {
    let primary = Server::primary(program, &["--repl-backlog-size", "4mb"]);
    let proxy = Proxy::start(primary.port());
    let replica = Server::replica_of(proxy.port(), &[]);
    wait_in_step(&primary, &replica);

    proxy.cut_after(500_000);
    let mut client = primary.client();
    redis::cmd("SET").arg("large").arg(vec![b'x'; 1 << 20]).exec(&mut client).expect("the write is taken");
    redis::cmd("INCR").arg("counter").exec(&mut client).expect("the write is taken");
    assert_eq!(assert_equal_data(&primary, &replica), 2);
    assert_eq!(primary.info().syncs(), Syncs { full: 1, resumed: 1, refused: 0 });
    assert_eq!(proxy.connections(), 2);
    assert!(replica.log().contains("Successful partial resynchronization with master"));
}

#[test]
#[ignore = "needs redis-server"]
fn a_transaction_whose_link_is_cut_is_applied_whole_or_not_at_all() {
    let primary = Server::primary(Program::Kv, &[]);
    let proxy = Proxy::start(primary.port());
    let replica = Server::replica_of(proxy.port(), &[]);
    let mut client = primary.client();
    redis::cmd("SET").arg("counter").arg(0).exec(&mut client).expect("the write is taken");
    wait_in_step(&primary, &replica);

    proxy.begin_outage_after(10_000);
    let mut transaction = redis::pipe();
    transaction.atomic();
    for _ in 0..1000 {
        transaction.cmd("INCR").arg("counter").ignore();
    }
    transaction.exec(&mut client).expect("the writes are taken");
    wait_until_equal("link", "down".to_owned(), || replica.info().text("master_link_status").to_owned());
    let counter: i64 =
        redis::cmd("GET").arg("counter").query(&mut replica.client()).expect("reads are answered");
    assert_eq!(counter, 0, "half of the transaction was applied");
    proxy.end_outage();
    assert_eq!(assert_equal_data(&primary, &replica), 1);
    assert_eq!(primary.info().syncs(), Syncs { full: 1, resumed: 1, refused: 0 });
}

/// The primary's part of a handshake that resumes: `+PONG`, two times `+OK`, `+CONTINUE <id>`; 69 bytes in all.
#[test]
#[ignore = "needs redis-server"]
fn a_handshake_cut_anywhere_is_repeated_and_resumed() {
    let primary = Server::primary(Program::Kv, &[]);
    let proxy = Proxy::start(primary.port());
    let replica = Server::replica_of(proxy.port(), &[]);
    wait_in_step(&primary, &replica);

    // Where the primary sends a byte of `+CONTINUE`, it has resumed that link as well.
    for (bytes, resumed) in [(3, 1), (12, 1), (40, 2), (69, 2)] {
        let before = primary.info().syncs();
        proxy.cut();
        proxy.cut_after(bytes);
        redis::cmd("INCR").arg("counter").exec(&mut primary.client()).expect("the write is taken");
        wait_in_step(&primary, &replica);
        assert_eq!(primary.info().syncs().resumed - before.resumed, resumed, "cut after {bytes} bytes");
    }
    assert_eq!(assert_equal_data(&primary, &replica), 1);
    assert_eq!(primary.info().syncs().full, 1);
}

#[test]
#[ignore = "needs redis-server"]
fn an_expiry_that_was_set_in_an_outage_is_the_same_after_it() {
    let primary = Server::primary(Program::Kv, &[]);
    let proxy = Proxy::start(primary.port());
    let replica = Server::replica_of(proxy.port(), &[]);
    wait_in_step(&primary, &replica);

    proxy.begin_outage();
    redis::cmd("SET")
        .arg("key")
        .arg("value")
        .arg("EX")
        .arg(100)
        .exec(&mut primary.client())
        .expect("it is taken");
    proxy.end_outage();
    // The replica tries again about a second after the outage began.
    assert_eq!(assert_equal_data(&primary, &replica), 1);
    assert_eq!(primary.info().syncs(), Syncs { full: 1, resumed: 1, refused: 0 });
}

#[test]
#[ignore = "needs redis-server"]
fn an_outage_longer_than_the_backlog_costs_one_full_resync_and_no_data() {
    let syncs = syncs_after_a_long_outage(&["--repl-resume-budget", "0"]);
    assert_eq!(syncs, Syncs { full: 2, resumed: 0, refused: 1 });
}

#[test]
#[ignore = "needs redis-server"]
fn an_outage_longer_than_the_backlog_costs_a_resume_within_the_resume_budget() {
    let syncs = syncs_after_a_long_outage(&["--repl-resume-budget", "64mb", "--repl-resume-time", "120"]);
    assert_eq!(syncs, Syncs { full: 1, resumed: 1, refused: 0 });
}

/// Writes many times the backlog while a replica is away, and compares the data once it is back.
fn syncs_after_a_long_outage(options: &[&str]) -> Syncs {
    let primary = Server::primary(Program::Kv, &[&["--repl-backlog-size", "64kb"], options].concat());
    let proxy = Proxy::start(primary.port());
    let replica = Server::replica_of(proxy.port(), &[]);
    wait_in_step(&primary, &replica);

    proxy.begin_outage();
    let load = Load::start(&primary, 20_000, 3);
    load.wait_for_keys(20_000);
    load.stop();
    proxy.end_outage();
    assert!(assert_equal_data(&primary, &replica) > 10_000);
    primary.info().syncs()
}

/// T4: `HEADWATER_CUTS` asks for more cuts than 20, `HEADWATER_SEED` for the seed of an earlier run.
fn cuts_at_random_moments_under_load_cost_a_resume_each(program: Program) {
    let cuts = number_from("HEADWATER_CUTS").unwrap_or(20);
    let seed = number_from("HEADWATER_SEED").unwrap_or_else(now);
    report(format_args!("{cuts} cuts, HEADWATER_SEED={seed}"));
    let mut random = Random::new(seed);
    let primary = Server::primary(program, &["--repl-backlog-size", "64mb"]);
    let proxy = Proxy::start(primary.port());
    let load = Load::start(&primary, 20_000, seed);
    let replica = Server::replica_of(proxy.port(), &[]);
    wait_until_equal("link", "up".to_owned(), || replica.info().text("master_link_status").to_owned());

    for cut in 1..=cuts {
        thread::sleep(Duration::from_micros(random.below(30_000)));
        assert_eq!(proxy.cut(), 1, "there was no link to cut");
        let resumed = Syncs { full: 1, resumed: cut, refused: 0 };
        wait_until_equal("resumed stream", resumed, || primary.info().syncs());
        if cut % 100 == 0 {
            report(format_args!("{cut} of {cuts} cuts"));
        }
    }
    load.wait_for_keys(20_000);
    load.stop();
    assert!(assert_equal_data(&primary, &replica) > 10_000);
    assert_eq!(primary.info().syncs(), Syncs { full: 1, resumed: cuts, refused: 0 });
}

fn number_from(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

fn now() -> u64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is past 1970");
    u64::from(since_epoch.subsec_nanos())
}

/// Prints past the test harness, which keeps the output of a test until it has failed.
fn report(line: std::fmt::Arguments<'_>) {
    writeln!(std::io::stderr(), "{line}").expect("stderr is open");
}
