use std::error::Error;
use std::{fs, process};

use bytes::BytesMut;
use headwater::info::Flavour;
use headwater::wire::{self, Command, CommandError, Psync, Replconf};
use headwater::{Answer as Decision, Counters, Peer, ReplicaKey, ReplicaState, Wanted};
use tracing::info;

use crate::commands::{self, Answer, Kind, SYNTAX, Spec, is};
use crate::config::Config;
use crate::reply::Reply::{self, Array, Integer};
use crate::server::{Client, Server, Stats};
use crate::store::glob_matches;

/// The command, unless this connection may not send it now.
pub fn admit(client: &Client, words: &[&[u8]]) -> Result<Spec, Box<dyn Error>> {
    let (name, kind) = commands::find(words)?;
    if !client.authenticated && !matches!(name, "auth" | "quit") {
        return Err("NOAUTH Authentication required.".into());
    }
    let at_once = matches!(name, "multi" | "exec" | "discard" | "quit");
    if client.transaction.is_some() && kind == Kind::Serve && !at_once {
        return Err("ERR Command not allowed inside a transaction".into());
    }
    Ok((name, kind))
}

pub fn serve(server: &mut Server, client: &mut Client, name: &str, args: &[&[u8]]) -> Answer {
    match name {
        "multi" if client.transaction.is_some() => return Err("ERR MULTI calls can not be nested".into()),
        "multi" => (client.transaction, client.is_refused) = (Some(Vec::new()), false),
        "exec" => return exec(server, client),
        "discard" => drop(client.transaction.take().ok_or("ERR DISCARD without MULTI")?),
        "quit" => client.is_closing = true,
        "auth" => auth(&server.config, client, args)?,
        "client" => return client_command(client, args),
        "command" => return Ok(Array(Vec::new())), // clients make do without descriptions
        "config" => return config_command(server, args),
        "info" => return Ok(info(server, args)),
        "role" => return Ok(role(server)),
        "replconf" if wire::replconf(args, &mut client.peer)? != Replconf::Ok => return Ok(Reply::NOTHING),
        "replconf" => {}
        "psync" => match wire::psync(args)? {
            Psync { failover: true, .. } => return Err(CommandError::FailoverToPrimary.into()), // R47
            Psync { wanted, .. } => return attach(server, client, wanted, client.peer.clone()),
        },
        "sync" => {
            let mut peer = client.peer.clone();
            (peer.acks, peer.takes_end_mark) = (false, false); // R62
            return attach(server, client, Wanted::Everything, peer);
        }
        "shutdown" if args.iter().all(|word| is(word, "nosave") || is(word, "now") || is(word, "force")) => {
            info!("ends by a client's SHUTDOWN");
            process::exit(0)
        }
        _ => return Err(SYNTAX.into()),
    }
    Ok(Reply::OK)
}

/// A replica acknowledges and sends empty lines: an answer to anything else would get into its stream (R94).
pub fn hear_replica(server: &mut Server, client: &mut Client, key: ReplicaKey, command: &Command) -> Answer {
    let words: Vec<&[u8]> = command.args().collect();
    let name = words.first().map(|name| name.to_ascii_lowercase()).unwrap_or_default();
    // What is wrong with an ack, or with a replica that is gone, comes as an event.
    match name.as_slice() {
        b"" => drop(server.primary.handle_alive(key, server.now)),
        b"psync" | b"sync" => {} // R46
        b"replconf" if words.len() > 2 => match wire::replconf(&words[1..], &mut client.peer) {
            Ok(Replconf::Ack(ack)) => drop(server.primary.handle_ack(key, ack, server.now)),
            Ok(Replconf::GetAck | Replconf::Ignored) => {}
            _ => client.is_closing = true,
        },
        _ => client.is_closing = true,
    }
    Ok(Reply::NOTHING)
}

fn attach(server: &mut Server, client: &mut Client, wanted: Wanted, peer: Peer) -> Answer {
    if client.has_unsent {
        return Err(CommandError::PendingOutput.into()); // R50
    }
    let attached = server.primary.attach(wanted, peer.clone(), server.now);
    let attached = attached.map_err(|refused| format!("NOMASTERLINK {refused}"))?; // R204: it comes again
    (client.replica, client.peer) = (Some(attached.replica), peer);
    info!("{} is {}:{}: {:?}", attached.replica, client.peer.address, client.peer.port, attached.answer);
    let Decision::Continue { id, .. } = attached.answer else { return Ok(Reply::NOTHING) };
    let mut line = BytesMut::new();
    wire::put_continue(&mut line, id, &client.peer);
    Ok(Reply::Raw(line.freeze()))
}

fn exec(server: &mut Server, client: &mut Client) -> Answer {
    let queued = client.transaction.take().ok_or("ERR EXEC without MULTI")?;
    if client.is_refused {
        return Err("EXECABORT Transaction discarded because of previous errors.".into());
    }
    Ok(Array(server.apply(&queued)?))
}

fn auth(config: &Config, client: &mut Client, args: &[&[u8]]) -> Result<(), &'static str> {
    let required = config.requirepass.as_bytes();
    match args {
        [_] if required.is_empty() => return Err(NO_PASSWORD),
        [password] | [b"default", password] if required.is_empty() || required == *password => {}
        [_] | [_, _] => return Err("WRONGPASS invalid username-password pair or user is disabled."),
        _ => return Err(SYNTAX),
    }
    client.authenticated = true;
    Ok(())
}

fn client_command(client: &mut Client, args: &[&[u8]]) -> Answer {
    match (args[0].to_ascii_lowercase().as_slice(), &args[1..]) {
        (b"id", []) => return Ok(Integer(client.peer.tag.0.cast_signed())),
        (b"getname", []) if client.name.is_empty() => return Ok(Reply::Null),
        (b"getname", []) => return Ok(Reply::text(client.name.as_str())),
        (b"setname", [name]) if !name.iter().all(u8::is_ascii_graphic) => {
            return Err("ERR Client names cannot contain spaces, newlines or special characters.".into());
        }
        (b"setname", [name]) => client.name = String::from_utf8_lossy(name).into_owned(),
        (b"setinfo", [_, _]) => {}
        _ => return Err(unknown_subcommand("CLIENT", args[0]).into()),
    }
    Ok(Reply::OK)
}

fn config_command(server: &mut Server, args: &[&[u8]]) -> Answer {
    match (args[0].to_ascii_lowercase().as_slice(), &args[1..]) {
        (b"get", patterns @ [_, ..]) => {
            let patterns: Vec<_> = patterns.iter().map(|pattern| pattern.to_ascii_lowercase()).collect();
            let is_wanted =
                |name: &str| patterns.iter().any(|pattern| glob_matches(pattern, name.as_bytes()));
            let found = server.config.directives().into_iter().filter(|(name, _)| is_wanted(name));
            let words = found.flat_map(|(name, value)| [name.to_owned(), value]);
            return Ok(Array(words.map(Reply::text).collect()));
        }
        (b"set", pairs @ [_, _, ..]) if pairs.len().is_multiple_of(2) => set_config(server, pairs)?,
        (b"resetstat", []) => {
            server.stats = Stats::default();
            server.primary.reset_counters();
        }
        _ => return Err(unknown_subcommand("CONFIG", args[0]).into()),
    }
    Ok(Reply::OK)
}

/// Sets all the pairs, or none.
fn set_config(server: &mut Server, pairs: &[&[u8]]) -> Result<(), Box<dyn Error>> {
    let mut config = server.config.clone();
    for pair in pairs.chunks_exact(2) {
        let [name, value] = [pair[0], pair[1]].map(String::from_utf8_lossy);
        config.set_at_run_time(&name, &value)?;
    }
    let reconfigured = server.primary.reconfigure(config.replication.clone(), server.now);
    reconfigured.map_err(|error| format!("ERR CONFIG SET failed - {error}"))?;
    server.config = config;
    Ok(())
}

fn role(server: &Server) -> Reply {
    let report = server.primary.report(server.now);
    let online = report.replicas.iter().filter(|replica| replica.state == ReplicaState::Online);
    let replicas = online.map(|replica| {
        let (peer, acked) = (&replica.peer, replica.acked.unwrap_or_default());
        Array([peer.address.clone(), peer.port.to_string(), acked.to_string()].map(Reply::text).into()) // R258
    });
    Array(vec![Reply::text("master"), Integer(report.end.get().cast_signed()), Array(replicas.collect())])
}

fn info(server: &Server, names: &[&[u8]]) -> Reply {
    let Server { primary, stats, now, config, clients, .. } = server;
    let (report, rss, up) = (primary.report(*now), resident_bytes(), now.since_origin().as_secs());
    let Counters { sync_full, sync_partial_ok, sync_partial_err, .. } = report.counters;
    let Stats { connections, commands, expired } = stats;
    let backlog = report.backlog.map_or(0, |backlog| backlog.memory);
    let clients = clients.len() + 1 - report.replicas.len(); // the one that asks is taken out
    let sections = [
        format!("# Server\r\nredis_version:{REDIS_VERSION}\r\nprocess_id:{}\r\n", process::id())
            + &format!("tcp_port:{}\r\nuptime_in_seconds:{up}\r\n", config.port),
        format!("# Clients\r\nconnected_clients:{clients}\r\n"),
        format!("# Memory\r\nused_memory:{rss}\r\nused_memory_rss:{rss}\r\n")
            + &format!("mem_replication_backlog:{backlog}\r\n"),
        format!("# Stats\r\ntotal_connections_received:{connections}\r\n")
            + &format!("total_commands_processed:{commands}\r\nexpired_keys:{expired}\r\n")
            + &format!("sync_full:{sync_full}\r\nsync_partial_ok:{sync_partial_ok}\r\n")
            + &format!("sync_partial_err:{sync_partial_err}\r\n"),
        headwater::info::replication(&report, Flavour::Redis).to_string(),
    ];
    let is_wanted = |section: &&String| {
        let title = section[2..].lines().next().unwrap_or_default();
        let known = [title, "all", "default", "everything"];
        names.is_empty() || names.iter().any(|name| known.iter().any(|known| is(name, known)))
    };
    let wanted: Vec<&str> = sections.iter().filter(is_wanted).map(String::as_str).collect();
    Reply::text(wanted.join("\r\n"))
}

fn unknown_subcommand(command: &str, name: &[u8]) -> String {
    format!("ERR unknown subcommand '{}'. Try {command} HELP.", String::from_utf8_lossy(name))
}

/// 0 where there is no /proc.
fn resident_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    rss.and_then(|kib| kib.parse().ok()).map_or(0, |kib: usize| kib * 1024)
}

/// What clients take for the version of Redis that this is compatible with.
const REDIS_VERSION: &str = "7.0.15";

const NO_PASSWORD: &str = "ERR AUTH <password> called without any password configured for the default user. \
    Are you sure your configuration is correct?";
