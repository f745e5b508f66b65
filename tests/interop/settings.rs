//! Settings that change while the server runs.

use std::collections::BTreeMap;

use redis::Connection;

use crate::raw::RawClient;
use crate::server::{Program, Server};

of_both! {
    a_setting_is_told_as_it_was_set,
    several_settings_are_set_together_or_not_at_all,
    a_refused_setting_changes_nothing,
}

fn a_setting_is_told_as_it_was_set(program: Program) {
    let primary = Server::primary(program, &[]);
    let mut client = RawClient::connect(primary.port());
    for (name, value, told) in [
        ("repl-backlog-size", "2mb", "2097152"),
        ("repl-backlog-size", "300K", "300000"),
        ("REPL-BACKLOG-SIZE", "300KB", "307200"),
        ("repl-backlog-ttl", "0", "0"),
        ("repl-backlog-ttl", "7200", "7200"),
        ("repl-ping-replica-period", "3", "3"),
        ("repl-timeout", "90", "90"),
        ("repl-diskless-sync", "NO", "no"),
        ("repl-diskless-sync-delay", "7", "7"),
        ("min-replicas-to-write", "2", "2"),
        ("min-replicas-max-lag", "20", "20"),
        (
            LIMITS,
            "Replica 2gb 1GB 30",
            "normal 0 0 0 slave 2147483648 1073741824 30 pubsub 33554432 8388608 60",
        ),
        (LIMITS, "replica 0 0 0", "normal 0 0 0 slave 0 0 0 pubsub 33554432 8388608 60"),
    ] {
        assert_eq!(client.ask(&format!("CONFIG SET {name} \"{value}\"")), "+OK", "{name} {value}");
        assert_eq!(client.setting(name), told, "{name} {value}");
    }
    assert_eq!(primary.info().number("repl_backlog_size"), 307_200, "it is in force");
}

fn several_settings_are_set_together_or_not_at_all(program: Program) {
    let primary = Server::primary(program, &[]);
    let mut client = RawClient::connect(primary.port());
    assert_eq!(client.ask("CONFIG SET repl-timeout 90 min-replicas-max-lag 20"), "+OK");
    let refused = client.ask("CONFIG SET repl-timeout 91 min-replicas-max-lag much");
    assert!(refused.contains("possibly related to argument 'min-replicas-max-lag'"), "{refused}");
    let settings = ["repl-timeout", "min-replicas-max-lag"].map(|name| client.setting(name));
    assert_eq!(settings, ["90", "20"]);
}

/// T41, R118 to R121.
fn a_refused_setting_changes_nothing(program: Program) {
    let primary = Server::primary(program, &[]);
    let mut client = RawClient::connect(primary.port());
    let bad_limit = "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
    let bad_class = "Invalid client class specified in buffer limit configuration.";
    let too_few = "Wrong number of arguments in buffer limit configuration.";
    for (name, value, why) in [
        (LIMITS, "replica 1mb 1mb", too_few),
        (LIMITS, "replica 1mb 1mb 1 pubsub", too_few),
        (LIMITS, "friend 1mb 1mb 1", bad_class),
        (LIMITS, "master 1mb 1mb 1", bad_class),
        (LIMITS, "replica 1tb 1mb 1", bad_limit),
        (LIMITS, "replica -1 0 0", bad_limit),
        (LIMITS, "replica 2mb 1mb 1s", bad_limit),
        (LIMITS, "replica 2mb 1mb 1 pubsub 1x 0 0", bad_limit),
        ("min-replicas-to-write", "-1", "argument must be between 0 and 2147483647 inclusive"),
        ("min-replicas-to-write", "all", "argument couldn't be parsed into an integer"),
        ("min-replicas-max-lag", "2147483648", "argument must be between 0 and 2147483647 inclusive"),
        ("repl-timeout", "0", "argument must be between 1 and 2147483647 inclusive"),
        ("repl-ping-replica-period", "0", "argument must be between 1 and 2147483647 inclusive"),
        ("repl-backlog-size", "0", "argument must be between 1 and 9223372036854775807 inclusive"),
        ("repl-backlog-size", "much", "argument must be a memory value"),
        ("repl-diskless-sync", "maybe", "argument must be 'yes' or 'no'"),
    ] {
        let before = client.setting(name);
        let answer = client.ask(&format!("CONFIG SET {name} \"{value}\""));
        let expected = format!("-ERR CONFIG SET failed (possibly related to argument '{name}') - {why}");
        assert_eq!(answer, expected, "{name} {value}");
        assert_eq!(client.setting(name), before, "{name} {value}");
    }
    assert_eq!(client.ask(&format!("CONFIG SET {LIMITS} \"slave 4mb 2MB 7 normal 0 0 0\"")), "+OK");
    let expected = "normal 0 0 0 slave 4194304 2097152 7 pubsub 33554432 8388608 60";
    assert_eq!(client.setting(LIMITS), expected);
}

#[test]
fn kv_takes_every_setting_as_it_tells_it() {
    let primary = Server::primary(Program::Kv, &["--repl-sync-backoff", "7", "--repl-max-transfers", "3"]);
    let mut client = primary.client();
    let told = settings(&mut client);
    assert_eq!((told["repl-sync-backoff"].as_str(), told["repl-max-transfers"].as_str()), ("7", "3"));
    for (name, value) in told.iter().filter(|(name, _)| !["port", "bind"].contains(&name.as_str())) {
        primary.set(name, value);
    }
    assert_eq!(settings(&mut client), told);
}

/// All that CONFIG GET tells.
fn settings(client: &mut Connection) -> BTreeMap<String, String> {
    redis::cmd("CONFIG").arg("GET").arg("*").query(client).expect("CONFIG GET is answered")
}

const LIMITS: &str = "client-output-buffer-limit";
