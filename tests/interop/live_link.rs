//! Links that stay up while nothing happens, and those that are given up.

use crate::image::{assert_equal_data, wait_in_step};
use crate::proxy::Proxy;
use crate::server::{Program, Server, Syncs};
use crate::wait::wait_until_equal;

#[test]
#[ignore = "needs redis-server"]
fn a_replica_that_stops_reading_is_dropped_and_others_go_on() {
    let limits = ["--repl-backlog-size", "1mb", "--client-output-buffer-limit", "replica 1mb 0 0"];
    let primary = Server::primary(Program::Kv, &limits);
    let stalled = Server::replica_of(primary.port(), &[]);
    let reading = Server::replica_of(primary.port(), &[]);
    let mut client = primary.client();
    let mut written = 0;
    let mut write = |replica: &Server| {
        let value = vec![b'x'; VALUE_BYTES];
        redis::cmd("SET").arg(written).arg(&value).exec(&mut client).expect("the write is taken");
        written += 1;
        wait_in_step(&primary, replica);
        written * VALUE_BYTES
    };
    write(&reading);
    write(&stalled);

    stalled.pause();
    while primary.info().number("connected_slaves") == 2 {
        let written = write(&reading);
        assert!(written < MOST_THAT_SOCKETS_HOLD, "a replica that does not read was sent {written} bytes");
    }
    // What the dropped replica has not seen is now more than the backlog holds.
    let written = (0..8).map(|_| write(&reading)).max();
    stalled.resume();
    assert_eq!(Some(assert_equal_data(&primary, &stalled) * VALUE_BYTES), written);
    assert_equal_data(&primary, &reading);
    assert_eq!(primary.info().syncs(), Syncs { full: 3, resumed: 0, refused: 1 });
}

#[test]
#[ignore = "needs redis-server"]
fn an_idle_link_outlives_the_timeout_of_both_sides() {
    let timeout = ["--repl-ping-replica-period", "1", "--repl-timeout", "3"];
    let primary = Server::primary(Program::Kv, &timeout);
    let proxy = Proxy::start(primary.port());
    let replica = Server::replica_of(proxy.port(), &timeout);
    wait_in_step(&primary, &replica);

    // A timeout of 3 s is over in the fifth second at the latest, and in the sixth there is a ping.
    let start = primary.info().number("master_repl_offset");
    wait_until_equal("sixth ping", true, || {
        primary.info().number("master_repl_offset") >= start + 6 * PING_BYTES
    });
    wait_in_step(&primary, &replica);
    assert_eq!(proxy.connections(), 1, "the link was given up");
    assert_eq!(primary.info().number("connected_slaves"), 1);
}

/// Above the sum of the limit and of all that the kernel buffers of one connection.
const MOST_THAT_SOCKETS_HOLD: usize = 64 << 20;
const VALUE_BYTES: usize = 256 << 10;
const PING_BYTES: u64 = 14;
