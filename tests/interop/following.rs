//! kv follows a real `redis-server`, passes its stream on, and takes over from it.

use std::env;

use crate::image::{assert_equal_data, wait_in_step};
use crate::load::Load;
use crate::proxy::Proxy;
use crate::server::{Program, Server, Syncs};
use crate::wait::{wait_for, wait_until_equal};

/// The stream then has what clients write and nothing else, so that who stops writing stands still.
const NO_PINGS: [&str; 2] = ["--repl-ping-replica-period", "3600"];

fn write(server: &Server, value: &str) {
    redis::cmd("SET").arg("written").arg(value).exec(&mut server.client()).expect("the write is taken");
}

/// Offset and data are the same at both ends.
#[track_caller]
fn assert_same(primary: &Server, replica: &Server) {
    assert_equal_data(primary, replica);
    let [ours, theirs] = [primary.info(), replica.info()].map(|info| info.number("master_repl_offset"));
    assert_eq!(ours, theirs);
}

/// T48.
#[test]
#[ignore = "needs redis-server"]
fn a_redis_primary_is_followed_under_load_however_its_snapshot_comes() {
    for (diskless, key_count) in [("yes", 2000), ("no", 1000)] {
        let primary =
            Server::primary(Program::Redis, &["--repl-diskless-sync", diskless, "--requirepass", "secret"]);
        let load = Load::start(&primary, key_count, 1);
        load.wait_for_keys(key_count);
        let replica = Server::follower(Program::Kv, primary.port(), &["--masterauth", "secret"]);
        wait_until_equal("link", "up".to_owned(), || replica.info().text("master_link_status").to_owned());
        load.wait_for_keys(3 * key_count);
        let acked: u64 =
            redis::cmd("WAIT").arg(1).arg(1000).query(&mut primary.client()).expect("WAIT is answered");
        assert_eq!(acked, 1);
        wait_for("a lag of a second at most", || {
            let line = primary.info().text("slave0").to_owned();
            if line.ends_with("lag=0") || line.ends_with("lag=1") { Ok(()) } else { Err(line) }
        });
        load.stop();
        assert_same(&primary, &replica);
        assert_eq!(primary.info().syncs(), Syncs { full: 1, resumed: 0, refused: 0 });
    }
}

#[test]
#[ignore = "needs redis-server"]
fn cuts_of_the_link_to_a_redis_primary_are_resumed() {
    let primary = Server::primary(Program::Redis, &["--repl-backlog-size", "64mb"]);
    let proxy = Proxy::start(primary.port());
    let replica = Server::follower(Program::Kv, proxy.port(), &[]);
    wait_in_step(&primary, &replica);
    let load = Load::start(&primary, 1000, 2);
    for cuts in 1..=10 {
        proxy.cut_after(10_007);
        wait_until_equal("resume", cuts, || primary.info().syncs().resumed);
    }
    load.stop();
    assert_same(&primary, &replica);
    assert_eq!(primary.info().syncs(), Syncs { full: 1, resumed: 10, refused: 0 });
}

#[test]
#[ignore = "needs redis-server"]
fn a_chain_holds_the_same_at_each_end() {
    for programs in
        [[Program::Redis, Program::Kv, Program::Redis], [Program::Kv, Program::Redis, Program::Kv]]
    {
        let [first, middle, last] = programs;
        let first = Server::primary(first, &[]);
        let load = Load::start(&first, 1000, 3);
        load.wait_for_keys(500);
        let middle = Server::follower(middle, first.port(), &[]);
        let last = Server::follower(last, middle.port(), &[]);
        load.wait_for_keys(5000);
        load.stop();
        assert_same(&first, &middle);
        assert_same(&first, &last);
        let ids = [&first, &middle, &last].map(|server| server.info().text("master_replid").to_owned());
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }
}

/// R22, R23: the leaf goes on with the middle, and so does the old primary once it comes back.
#[test]
#[ignore = "needs redis-server"]
fn after_the_middle_is_promoted_both_ends_resume() {
    for programs in
        [[Program::Redis, Program::Kv, Program::Redis], [Program::Kv, Program::Redis, Program::Kv]]
    {
        let [first, middle, last] = programs;
        let first = Server::primary(first, &NO_PINGS);
        let middle = Server::follower(middle, first.port(), &NO_PINGS);
        wait_in_step(&first, &middle);
        let last = Server::follower(last, middle.port(), &NO_PINGS);
        wait_in_step(&middle, &last);
        write(&first, "before");
        wait_in_step(&first, &middle);
        wait_in_step(&middle, &last);
        middle.promote();
        first.follow(middle.port());
        write(&middle, "after");
        assert_same(&middle, &last);
        assert_same(&middle, &first);
        assert_eq!(middle.info().syncs(), Syncs { full: 1, resumed: 2, refused: 0 });
    }
}

/// T3, T8, T9: a place in a history is stored with the data that it belongs to, and with nothing else.
#[test]
#[ignore = "needs redis-server"]
fn who_restarts_from_what_it_saved_goes_on_where_it_was() {
    for (above, below) in
        [(Program::Redis, Program::Kv), (Program::Kv, Program::Redis), (Program::Kv, Program::Kv)]
    {
        let mut primary = Server::primary(above, &NO_PINGS);
        let mut replica = Server::follower(below, primary.port(), &NO_PINGS);
        write(&primary, "first");
        wait_in_step(&primary, &replica);
        replica.shut_down();
        write(&primary, "second");
        replica.restart();
        assert_same(&primary, &replica);
        assert_eq!(primary.info().syncs(), Syncs { full: 1, resumed: 1, refused: 0 });

        primary.shut_down();
        primary.restart();
        write(&primary, "third");
        assert_same(&primary, &replica);
        assert_eq!(primary.info().syncs(), Syncs { full: 0, resumed: 1, refused: 0 });
    }
}

/// Who has written on alone is no more in the history that the others share.
#[test]
#[ignore = "needs redis-server"]
fn a_killed_primary_that_comes_back_with_an_older_image_starts_over() {
    let mut primary = Server::primary(Program::Kv, &NO_PINGS);
    let replica = Server::follower(Program::Redis, primary.port(), &NO_PINGS);
    write(&primary, "saved");
    redis::cmd("SAVE").exec(&mut primary.client()).expect("it is saved");
    write(&primary, "not saved");
    wait_in_step(&primary, &replica);
    primary.kill();
    primary.restart();
    assert_same(&primary, &replica);
    assert_eq!(primary.info().syncs(), Syncs { full: 1, resumed: 0, refused: 1 });
    let value: String = redis::cmd("GET").arg("written").query(&mut replica.client()).expect("it is there");
    assert_eq!(value, "saved");
}

/// Each in turn leads two others: whoever led follows first, so that it writes nothing that the next one lacks.
#[test]
#[ignore = "needs redis-server"]
fn roles_rotate_without_a_full_resync() {
    let rounds = env::var("HEADWATER_ROTATIONS").map_or(10, |rounds| rounds.parse().expect("it is a number"));
    let first = Server::primary(Program::Kv, &NO_PINGS);
    let [second, third] =
        [Program::Kv, Program::Redis].map(|program| Server::follower(program, first.port(), &NO_PINGS));
    let servers = [first, second, third];
    for server in &servers[1..] {
        wait_in_step(&servers[0], server);
    }
    let full = |servers: &[Server]| servers.iter().map(|server| server.info().syncs().full).sum::<u64>();
    let before = full(&servers);
    for round in 0..rounds {
        let [leader, next, other] = [0, 1, 2].map(|place| &servers[(round + place) % 3]);
        let load = Load::start(leader, 500, round as u64);
        load.wait_for_keys(500);
        load.stop();
        leader.follow(next.port());
        let end = leader.info().number("master_repl_offset");
        wait_until_equal("end", end, || next.info().number("master_repl_offset"));
        next.promote();
        other.follow(next.port());
        wait_in_step(next, leader);
        wait_in_step(next, other);
    }
    let leader = &servers[rounds % 3];
    for server in &servers {
        if server.port() != leader.port() {
            assert_same(leader, server);
        }
    }
    assert_eq!(full(&servers), before);
}

/// T76, R230 to R237: nothing is lost, and nobody starts over.
#[test]
#[ignore = "needs redis-server"]
fn a_primary_hands_over_to_its_replica() {
    for (old, new) in
        [(Program::Kv, Program::Redis), (Program::Redis, Program::Kv), (Program::Kv, Program::Kv)]
    {
        let old = Server::primary(old, &NO_PINGS);
        let new = Server::follower(new, old.port(), &NO_PINGS);
        wait_in_step(&old, &new);
        write(&old, "before");
        redis::cmd("FAILOVER").arg("TIMEOUT").arg(30_000).exec(&mut old.client()).expect("it begins");
        wait_until_equal("role", "master".to_owned(), || new.info().text("role").to_owned());
        write(&new, "after");
        assert_same(&new, &old);
        assert_eq!(old.info().text("master_failover_state"), "no-failover");
        assert_eq!(new.info().syncs(), Syncs { full: 0, resumed: 1, refused: 0 });
    }
}

/// What Redis makes of INCRBYFLOAT. Each would cost a full resync if it were not understood.
#[test]
#[ignore = "needs redis-server"]
fn a_number_with_a_fraction_that_keeps_its_expiry_is_followed() {
    let primary = Server::primary(Program::Redis, &NO_PINGS);
    let replica = Server::follower(Program::Kv, primary.port(), &[]);
    wait_in_step(&primary, &replica);
    let mut client = primary.client();
    redis::cmd("SET").arg("x").arg(1).arg("PX").arg(1_000_000).exec(&mut client).expect("the write is taken");
    redis::cmd("INCRBYFLOAT").arg("x").arg("1.5").exec(&mut client).expect("the write is taken");
    write(&primary, "after");
    assert_same(&primary, &replica);
    let left: u64 = redis::cmd("PTTL").arg("x").query(&mut replica.client()).expect("reads are answered");
    assert!((1..=1_000_000).contains(&left), "{left}");
    assert_eq!(primary.info().syncs(), Syncs { full: 1, resumed: 0, refused: 0 });
}

/// T73.
#[test]
#[ignore = "needs redis-server"]
fn what_is_not_known_here_stops_the_link_and_not_the_data() {
    let primary = Server::primary(Program::Redis, &[]);
    let replica = Server::follower(Program::Kv, primary.port(), &[]);
    write(&primary, "kept");
    wait_in_step(&primary, &replica);
    redis::cmd("RPUSH").arg("list").arg("x").exec(&mut primary.client()).expect("the write is taken");
    wait_for("line in the log", || {
        let log = replica.log();
        if log.contains("unknown command 'RPUSH'") { Ok(()) } else { Err(log) }
    });
    let value: String = redis::cmd("GET").arg("written").query(&mut replica.client()).expect("reads go on");
    assert_eq!(value, "kept");

    let late = Server::follower(Program::Kv, primary.port(), &[]);
    wait_for("line in the log", || {
        let log = late.log();
        let line = "key list in db 0 is a list; only strings in db 0 can be loaded";
        if log.contains(line) { Ok(()) } else { Err(log) }
    });
}
