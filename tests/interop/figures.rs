//! INFO, ROLE and CLIENT LIST: monitors find the figures where a real primary has them.

use std::process::Command;

use crate::image::wait_in_step;
use crate::server::{Program, Server};
use crate::wait::wait_until_equal;

#[test]
#[ignore = "needs redis-server"]
fn the_section_replication_has_the_fields_of_a_real_primary_in_their_order() {
    for options in [&[][..], &["--min-replicas-to-write", "1"]] {
        let [ours, theirs] = [Program::Kv, Program::Redis].map(|program| {
            let (primary, _replica) = pair(program, options);
            field_names(&redis_cli(&primary, &["INFO", "replication"]))
        });
        assert!(theirs.contains(&"slave0".to_owned()), "{theirs:?}");
        assert_eq!(ours, theirs);
    }
}

/// R253 to R257.
#[test]
#[ignore = "needs redis-server"]
fn other_figures_are_among_those_of_a_real_primary_in_their_order() {
    let servers = [Program::Kv, Program::Redis].map(|program| pair(program, &[]));
    for (command, newer) in [
        (&["INFO", "clients"][..], &[][..]),
        (&["INFO", "memory"], &[]),
        // Redis has it since 7.4.
        (&["INFO", "stats"], &["client_output_buffer_limit_disconnections"]),
    ] {
        let [ours, theirs] = servers.each_ref().map(|(primary, _)| field_names(&redis_cli(primary, command)));
        let ours: Vec<String> = ours.into_iter().filter(|name| !newer.contains(&name.as_str())).collect();
        assert!(ours.len() > 1, "{command:?}: {ours:?}");
        let common: Vec<String> = theirs.into_iter().filter(|name| ours.contains(name)).collect();
        assert_eq!(ours, common, "{command:?}");
    }
}

/// R257.
#[test]
#[ignore = "needs redis-server"]
fn client_list_has_the_fields_of_a_real_primary_but_for_those_of_its_buffers() {
    let servers = [Program::Kv, Program::Redis].map(|program| pair(program, &[]));
    for class in ["normal", "replica"] {
        let [ours, theirs] = servers.each_ref().map(|(primary, _)| {
            let list = redis_cli(primary, &["CLIENT", "LIST", "TYPE", class]);
            let line = list.lines().next().unwrap_or_else(|| panic!("no client is {class}"));
            assert!(line.contains(if class == "replica" { " flags=S " } else { " flags=N " }), "{line}");
            let names = line.split(' ').filter_map(|pair| pair.split_once('='));
            names.map(|(name, _)| name.to_owned()).collect::<Vec<String>>()
        });
        let kept: Vec<String> =
            theirs.into_iter().filter(|name| !NOT_IN_KV.contains(&name.as_str())).collect();
        assert_eq!(ours, kept, "{class}");
    }
}

/// R257: a stopped replica's line tells what waits for it, apart from what its socket took.
#[test]
#[ignore = "needs redis-server"]
fn client_list_tells_what_waits_for_a_stopped_replica() {
    let (primary, replica) = pair(Program::Kv, &[]);
    replica.pause();
    let mut client = primary.client();
    wait_until_equal("output memory", true, || {
        redis::cmd("SET").arg("key").arg(vec![b'x'; 1 << 20]).exec(&mut client).expect("the write is taken");
        let list = redis_cli(&primary, &["CLIENT", "LIST", "TYPE", "replica"]);
        let memory = list.split(' ').find_map(|pair| pair.strip_prefix("omem="));
        memory.is_some_and(|bytes| bytes.parse().is_ok_and(|bytes: u64| bytes > 1 << 20))
    });
    replica.resume();
    wait_in_step(&primary, &replica);
    wait_until_equal("empty output", true, || {
        redis_cli(&primary, &["CLIENT", "LIST", "TYPE", "replica"]).contains(" oll=0 omem=0 cmd=replconf ")
    });
}

/// R258.
#[test]
#[ignore = "needs redis-server"]
fn role_names_the_replica_and_what_it_acknowledged() {
    for program in [Program::Kv, Program::Redis] {
        // No ping moves the end on between an ack and the look at it.
        let (primary, replica) = pair(program, &["--repl-ping-replica-period", "3600"]);
        let mut client = primary.client();
        redis::cmd("SET").arg("key").arg("value").exec(&mut client).expect("the write is taken");
        let port = replica.port().to_string();
        wait_until_equal("acknowledged end in ROLE", true, || {
            let end = primary.info().number("master_repl_offset");
            let acked = ("127.0.0.1".to_owned(), port.clone(), end.to_string());
            let role: (String, u64, Vec<(String, String, String)>) =
                redis::cmd("ROLE").query(&mut client).expect("ROLE is answered");
            role == ("master".to_owned(), end, vec![acked])
        });
    }
}

/// A primary and its replica, in step and online.
fn pair(program: Program, options: &[&str]) -> (Server, Server) {
    let primary = Server::primary(program, options);
    let replica = Server::replica_of(primary.port(), &[]);
    wait_in_step(&primary, &replica);
    wait_until_equal("online replica", true, || primary.info().text("slave0").contains("state=online"));
    (primary, replica)
}

fn redis_cli(server: &Server, command: &[&str]) -> String {
    let output = Command::new("redis-cli").args(["-p", &server.port().to_string()]).args(command).output();
    let output = output.expect("redis-cli comes with redis-server");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn field_names(info: &str) -> Vec<String> {
    info.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.to_owned()).collect()
}

/// `kv` has no numbers of sockets, nobody subscribes to it, and it does not count the memory of single connections.
const NOT_IN_KV: [&str; 14] = [
    "fd",
    "sub",
    "psub",
    "ssub",
    "qbuf",
    "qbuf-free",
    "argv-mem",
    "multi-mem",
    "rbs",
    "rbp",
    "obl",
    "tot-mem",
    "events",
    "redir",
];
