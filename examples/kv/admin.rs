use std::error::Error;
use std::process;

use bytes::BytesMut;
use headwater::info::put_role;
use headwater::wire::CommandError;
use tracing::info;

use crate::client::{Client, Transaction};
use crate::commands::{self, Answer, Kind, SYNTAX, Spec, is};
use crate::config::Config;
use crate::reply::Reply::{self, Array};
use crate::server::{Server, Stats};
use crate::store::glob_matches;
use crate::{attach, clients, figures};

/// The command, unless this connection may not send it now.
pub fn admit(server: &Server, client: &Client, words: &[&[u8]]) -> Result<Spec, Box<dyn Error>> {
    let (name, kind) = commands::find(words)?;
    if !client.authenticated && !matches!(name, "auth" | "quit") {
        return Err("NOAUTH Authentication required.".into());
    }
    let at_once = matches!(name, "multi" | "exec" | "discard" | "quit");
    if client.transaction.is_some() && kind == Kind::Serve && !at_once {
        return Err("ERR Command not allowed inside a transaction".into());
    }
    if kind == Kind::Write {
        server.primary.admit_write(server.now).map_err(CommandError::from)?; // R150: before it is queued, too
    }
    Ok((name, kind))
}

pub fn serve(server: &mut Server, client: &mut Client, name: &str, args: &[&[u8]]) -> Answer {
    match name {
        "multi" if client.transaction.is_some() => return Err("ERR MULTI calls can not be nested".into()),
        "multi" => client.transaction = Some(Transaction::default()),
        "exec" => return server.exec(client),
        "discard" => drop(client.transaction.take().ok_or("ERR DISCARD without MULTI")?),
        "quit" => client.is_closing = true,
        "auth" => auth(&server.config, client, args)?,
        "client" => return clients::serve(server, client, args),
        "command" => return Ok(Array(Vec::new())), // clients make do without descriptions
        "config" => return config(server, args),
        "info" => return Ok(figures::info(server, args)),
        "role" => {
            let mut role = BytesMut::new();
            put_role(&mut role, &server.primary.report(server.now));
            return Ok(Reply::Raw(role.freeze()));
        }
        "replconf" => return attach::replconf(client, args),
        "psync" => return attach::psync(server, client, args),
        "sync" => return attach::sync(server, client),
        "shutdown" if args.iter().all(|word| is(word, "nosave") || is(word, "now") || is(word, "force")) => {
            info!("ends by a client's SHUTDOWN");
            process::exit(0)
        }
        _ => return Err(SYNTAX.into()),
    }
    Ok(Reply::OK)
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

fn config(server: &mut Server, args: &[&[u8]]) -> Answer {
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
        (b"set", [_, ..]) => return Err(SYNTAX.into()),
        (b"resetstat", []) => {
            server.stats = Stats::default();
            server.primary.reset_counters();
        }
        _ => return Err(unknown_subcommand(args[0]).into()),
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

fn unknown_subcommand(name: &[u8]) -> String {
    format!("ERR unknown subcommand '{}'. Try CONFIG HELP.", String::from_utf8_lossy(name))
}

const NO_PASSWORD: &str = "ERR AUTH <password> called without any password configured for the default user. \
    Are you sure your configuration is correct?";
