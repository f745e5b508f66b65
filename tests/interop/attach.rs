//! Replicas that attach to a primary under load, and start over from its snapshot.

use crate::image::{assert_equal_data, wait_in_step};
use crate::load::{Load, Random};
use crate::raw::RawClient;
use crate::server::{Program, Server};
use crate::wait::wait_until_equal;

of_hosts! {
    attach_under_load_ends_with_equal_data_after_an_end_marked_snapshot,
    three_replicas_end_equal_though_one_is_killed_and_starts_again,
}

/// T19.
fn attach_under_load_ends_with_equal_data_after_an_end_marked_snapshot(program: Program) {
    attaches_under_load(program, "yes", "streamed RDB from master with EOF");
}

#[test]
#[ignore = "needs redis-server"]
fn attach_under_load_ends_with_equal_data_after_a_sized_snapshot() {
    attaches_under_load(Program::Kv, "no", "bytes from master to disk");
}

/// `framing` is what the replica logs about the snapshot's transfer.
fn attaches_under_load(program: Program, diskless: &str, framing: &str) {
    let primary = Server::primary(program, &["--repl-diskless-sync", diskless]);
    let load = Load::start(&primary, 50_000, 1);
    load.wait_for_keys(20_000);
    let replica = Server::replica_of(primary.port(), &[]);
    wait_until_equal("link", "up".to_owned(), || replica.info().text("master_link_status").to_owned());
    load.wait_for_keys(50_000);
    load.stop();

    let keys = assert_equal_data(&primary, &replica);
    assert!(keys > 25_000, "only {keys} keys were compared");
    assert!(replica.log().contains(framing), "the snapshot came in the other framing");
    assert_eq!(primary.info().syncs().full, 1);
}

/// T70.
#[test]
#[ignore = "needs redis-server"]
fn a_value_of_64_mib_travels_in_the_snapshot_and_in_the_stream() {
    let primary = Server::primary(Program::Kv, &[]);
    let mut client = primary.client();
    let mut random = Random::new(4);
    let mut value: Vec<u8> = (0..64 << 20).map(|_| random.below(256).to_le_bytes()[0]).collect();
    redis::cmd("SET").arg("before").arg(&value).exec(&mut client).expect("the write is taken");
    let replica = Server::replica_of(primary.port(), &[]);
    wait_in_step(&primary, &replica);

    value.reverse();
    redis::cmd("SET").arg("attached").arg(&value).exec(&mut client).expect("the write is taken");
    assert_eq!(assert_equal_data(&primary, &replica), 2);
    assert_eq!(primary.info().syncs().full, 1, "the large value cost the link");
}

/// T51, under load.
fn three_replicas_end_equal_though_one_is_killed_and_starts_again(program: Program) {
    let primary = Server::primary(program, &["--repl-backlog-size", "1mb"]);
    let load = Load::start(&primary, 20_000, 5);
    load.wait_for_keys(20_000);
    let mut replicas = [(); 3].map(|()| Server::replica_of(primary.port(), &[]));
    wait_until_equal("count of replicas", 3, || primary.info().number("connected_slaves"));
    replicas[1].kill();
    wait_until_equal("count of replicas", 2, || primary.info().number("connected_slaves"));
    replicas[1].restart();
    wait_until_equal("count of replicas", 3, || primary.info().number("connected_slaves"));
    load.stop();

    for replica in &replicas {
        assert!(assert_equal_data(&primary, replica) > 10_000);
    }
}

#[test]
#[ignore = "needs redis-server"]
fn only_a_replica_with_the_password_attaches() {
    let primary = Server::primary(Program::Kv, &["--requirepass", "correct horse"]);
    redis::cmd("SET").arg("key").arg("value").exec(&mut primary.client()).expect("the write is taken");
    let stranger = Server::replica_of(primary.port(), &["--masterauth", "wrong"]);
    let replica = Server::replica_of(primary.port(), &["--masterauth", "correct horse"]);
    assert_eq!(assert_equal_data(&primary, &replica), 1);

    wait_until_equal("refusal of the wrong password", true, || stranger.log().contains("WRONGPASS"));
    let answer = RawClient::connect(primary.port()).ask("PSYNC ? -1");
    assert!(answer.starts_with("-NOAUTH"), "{answer}");
    assert_eq!(primary.info().number("connected_slaves"), 1);
}
