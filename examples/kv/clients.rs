use std::error::Error;
use std::iter;

use headwater::info;

use crate::client::{Class, Client};
use crate::commands::{Answer, SYNTAX, integer, is, wrong_arity};
use crate::reply::Reply::{self, Integer};
use crate::server::Server;

/// Serves CLIENT.
pub fn serve(server: &mut Server, client: &mut Client, args: &[&[u8]]) -> Answer {
    match (args[0].to_ascii_lowercase().as_slice(), &args[1..]) {
        (b"id", []) => return Ok(Integer(client.id().cast_signed())),
        (b"getname", []) if client.name.is_empty() => return Ok(Reply::Null),
        (b"getname", []) => return Ok(Reply::text(client.name.as_str())),
        (b"setname", [name]) if !name.iter().all(u8::is_ascii_graphic) => {
            return Err("ERR Client names cannot contain spaces, newlines or special characters.".into());
        }
        (b"setname", [name]) => client.name = String::from_utf8_lossy(name).into_owned(),
        (b"setinfo", [_, _]) => {}
        (b"info", []) => return Ok(list(server, client, |other| other.id() == client.id())),
        (b"list", []) => return Ok(list(server, client, |_| true)),
        (b"list", [option, class]) if is(option, "type") => {
            let class = Class::parse(class)?;
            return Ok(list(server, client, |client| client.class() == class));
        }
        (b"list", [option, ids @ ..]) if is(option, "id") && !ids.is_empty() => {
            let ids: Result<Vec<u64>, _> = ids.iter().map(|id| client_id(id)).collect();
            let ids = ids.map_err(|_| "ERR Invalid client ID")?;
            return Ok(list(server, client, |client| ids.contains(&client.id())));
        }
        (b"list", _) => return Err(SYNTAX.into()),
        (b"kill", [address]) => return kill_one(server, client, address),
        (b"kill", options @ [_, ..]) => return kill_all(server, client, &Filter::parse(options)?),
        (b"unblock", [id]) => return unblock(server, id, b"timeout"),
        (b"unblock", [id, reason]) => return unblock(server, id, reason),
        (b"kill", _) => return Err(wrong_arity("client|kill")),
        (b"unblock", _) => return Err(wrong_arity("client|unblock")),
        _ => return Err(unknown(args[0]).into()),
    }
    Ok(Reply::OK)
}

/// The lines of all clients that are wanted, the one that asks among them.
fn list(server: &Server, me: &Client, is_wanted: impl Fn(&Client) -> bool) -> Reply {
    let report = server.primary.report(server.now);
    let output_of = |client: &Client| {
        let replica = report.replicas.iter().find(|replica| Some(replica.replica) == client.replica);
        replica.map_or_else(|| "oll=0 omem=0".to_owned(), |replica| info::client_output(replica).to_string())
    };
    let mut clients: Vec<&Client> = server.clients.values().chain(iter::once(me)).collect();
    clients.retain(|client| is_wanted(client));
    clients.sort_unstable_by_key(|client| client.id());
    let lines = clients.into_iter().map(|client| client.describe(&output_of(client), server.now));
    Reply::text(lines.collect::<String>())
}

/// The old form, by which a client may close itself.
fn kill_one(server: &mut Server, me: &mut Client, address: &[u8]) -> Answer {
    let address = String::from_utf8_lossy(address).into_owned();
    let filter = Filter { address: Some(address), spares_me: false, ..Filter::default() };
    if kill(server, me, &filter) == 0 {
        return Err("ERR No such client".into());
    }
    Ok(Reply::OK)
}

fn kill_all(server: &mut Server, me: &mut Client, filter: &Filter) -> Answer {
    Ok(Reply::count(kill(server, me, filter)))
}

fn kill(server: &mut Server, me: &mut Client, filter: &Filter) -> usize {
    let others = server.clients.values().filter(|client| filter.takes(client)).map(Client::id);
    let others: Vec<u64> = others.collect();
    for id in &others {
        server.cut(*id);
    }
    let takes_me = !filter.spares_me && filter.takes(me);
    me.is_closing |= takes_me; // once it has its reply
    others.len() + usize::from(takes_me)
}

fn unblock(server: &mut Server, id: &[u8], reason: &[u8]) -> Answer {
    let is_error = is(reason, "error");
    if !is_error && !is(reason, "timeout") {
        return Err("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR".into());
    }
    let unblocked = u64::try_from(integer(id)?).is_ok_and(|id| server.unblock(id, is_error));
    Ok(Integer(unblocked.into()))
}

/// Which connections CLIENT KILL closes.
struct Filter {
    id: Option<u64>,
    address: Option<String>,
    local_address: Option<String>,
    class: Option<Class>,
    spares_me: bool,
}

impl Default for Filter {
    fn default() -> Self {
        Self { id: None, address: None, local_address: None, class: None, spares_me: true }
    }
}

impl Filter {
    fn parse(options: &[&[u8]]) -> Result<Self, Box<dyn Error>> {
        let (options, []) = options.as_chunks() else { return Err(SYNTAX.into()) };
        let mut filter = Self::default();
        for [name, value] in options {
            let text = String::from_utf8_lossy(value);
            match name.to_ascii_lowercase().as_slice() {
                b"id" => filter.id = Some(client_id(value)?),
                b"addr" => filter.address = Some(text.into_owned()),
                b"laddr" => filter.local_address = Some(text.into_owned()),
                b"type" => filter.class = Some(Class::parse(value)?),
                b"skipme" if is(value, "yes") => filter.spares_me = true,
                b"skipme" if is(value, "no") => filter.spares_me = false,
                _ => return Err(SYNTAX.into()),
            }
        }
        Ok(filter)
    }

    fn takes(&self, client: &Client) -> bool {
        self.id.is_none_or(|id| id == client.id())
            && self.address.as_ref().is_none_or(|address| *address == client.link.address.to_string())
            && self.local_address.as_ref().is_none_or(|local| *local == client.link.local_address.to_string())
            && self.class.is_none_or(|class| class == client.class())
    }
}

fn client_id(text: &[u8]) -> Result<u64, &'static str> {
    let id = integer(text).ok().filter(|id| *id > 0);
    id.map(i64::unsigned_abs).ok_or("ERR client-id should be greater than 0")
}

fn unknown(name: &[u8]) -> String {
    format!("ERR unknown subcommand '{}'. Try CLIENT HELP.", String::from_utf8_lossy(name))
}
