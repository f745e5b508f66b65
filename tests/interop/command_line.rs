//! What `kv` says to options that it can't follow.

use std::net::{Ipv4Addr, TcpListener};

use crate::server::run_kv;

#[test]
fn an_option_that_cannot_be_followed_is_one_line_and_exit_code_2() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port is free");
    let taken = taken.local_addr().expect("the listener is bound").port().to_string();
    for (option, value, named) in [
        ("--port", taken.as_str(), taken.as_str()),
        ("--port", "70000", "port"),
        ("--no-such-option", "1", "no-such-option"),
        ("--repl-backlog-size", "12 apples", "repl-backlog-size"),
        ("--repl-backlog-size", "-1", "repl-backlog-size"),
        ("--repl-timeout", "soon", "repl-timeout"),
        ("--repl-diskless-sync", "maybe", "repl-diskless-sync"),
        ("--client-output-buffer-limit", "replica 1mb", "client-output-buffer-limit"),
    ] {
        let (status, printed) = run_kv(&[option, value]);
        assert_eq!(status.code(), Some(2), "{option} {value}: {printed}");
        assert_eq!(printed.lines().count(), 1, "{option} {value}: {printed}");
        assert!(printed.contains(named), "{option} {value}: {printed}");
    }
}
