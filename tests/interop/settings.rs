//! CONFIG SET and CONFIG GET, while all runs.

use std::collections::BTreeMap;

use redis::Connection;

use crate::raw::RawClient;
use crate::server::{Program, Server};

of_both! {
    a_setting_is_told_as_it_was_set,
    of_several_settings_all_are_set_or_none,
}

fn a_setting_is_told_as_it_was_set(program: Program) {
    let primary = Server::primary(program, &[]);
    let mut client = RawClient::connect(primary.port());
    for (name, value, told) in [
        ("repl-backlog-size", "4mb", "4194304"),
        ("repl-backlog-size", "64K", "64000"),
        ("REPL-BACKLOG-SIZE", "131072", "131072"),
        ("repl-backlog-ttl", "0", "0"),
        ("repl-timeout", "7", "7"),
        ("repl-ping-replica-period", "2", "2"),
        ("repl-diskless-sync", "No", "no"),
        ("repl-diskless-sync-delay", "3", "3"),
        ("min-replicas-to-write", "2", "2"),
        ("min-replicas-max-lag", "0", "0"),
    ] {
        assert_eq!(client.ask(&format!("CONFIG SET {name} {value}")), "+OK", "{name} {value}");
        assert_eq!(client.setting(name), told, "{name} {value}");
    }
    assert_eq!(primary.info().number("repl_backlog_size"), 131_072);
}

fn of_several_settings_all_are_set_or_none(program: Program) {
    let primary = Server::primary(program, &[]);
    let mut client = RawClient::connect(primary.port());
    assert_eq!(client.ask("CONFIG SET repl-timeout 30 min-replicas-max-lag 4"), "+OK");
    let refused = client.ask("CONFIG SET repl-timeout 20 min-replicas-max-lag soon");
    assert!(refused.starts_with("-ERR CONFIG SET failed"), "{refused}");
    assert_eq!(client.setting("repl-timeout"), "30");
    assert_eq!(client.setting("min-replicas-max-lag"), "4");
}

#[test]
fn kv_takes_every_setting_as_it_tells_it() {
    let primary = Server::primary(Program::Kv, &["--repl-sync-backoff", "7", "--repl-max-transfers", "3"]);
    let mut client = primary.client();
    let told = settings(&mut client);
    assert_eq!(told["repl-sync-backoff"], "7");
    assert_eq!(told["repl-max-transfers"], "3");
    for (name, value) in told.iter().filter(|(name, _)| !["port", "bind"].contains(&name.as_str())) {
        primary.set(name, value);
    }
    assert_eq!(settings(&mut client), told);
}

fn settings(client: &mut Connection) -> BTreeMap<String, String> {
    redis::cmd("CONFIG").arg("GET").arg("*").query(client).expect("CONFIG GET is answered")
}
