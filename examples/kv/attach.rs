use bytes::BytesMut;
use headwater::wire::{self, Command, CommandError, Psync, Replconf};
use headwater::{Answer as Decision, Peer, ReplicaKey, Wanted};
use tracing::info;

use crate::client::Client;
use crate::commands::Answer;
use crate::reply::Reply;
use crate::server::Server;

/// A replica announces itself. From other connections an ack means nothing (R184).
pub fn replconf(client: &mut Client, args: &[&[u8]]) -> Answer {
    let asked = wire::replconf(args, &mut client.peer)?;
    Ok(if asked == Replconf::Ok { Reply::OK } else { Reply::NOTHING })
}

pub fn psync(server: &mut Server, client: &mut Client, args: &[&[u8]]) -> Answer {
    match wire::psync(args)? {
        Psync { failover: true, .. } if client.has_unsent => Err(CommandError::PendingOutput.into()),
        Psync { wanted, failover: true } => {
            take_over(server, wanted)?;
            attach(server, client, wanted, client.peer.clone())
        }
        Psync { wanted, .. } => attach(server, client, wanted, client.peer.clone()),
    }
}

/// The primary hands over to this node (R47).
fn take_over(server: &mut Server, wanted: Wanted) -> Result<(), CommandError> {
    if !server.node.is_following() {
        return Err(CommandError::FailoverToPrimary);
    }
    let current = server.node.report(server.now).id;
    if !matches!(wanted, Wanted::After { id, .. } if id == current) {
        return Err(CommandError::FailoverId);
    }
    if server.data.is_half_applied {
        return Err(CommandError::NotInStep);
    }
    info!("takes over from its primary");
    server.promote();
    Ok(())
}

pub fn sync(server: &mut Server, client: &mut Client) -> Answer {
    let mut peer = client.peer.clone();
    (peer.acks, peer.takes_end_mark) = (false, false); // R62
    attach(server, client, Wanted::Everything, peer)
}

/// A replica acknowledges and sends empty lines: an answer to anything else would get into its stream (R94).
pub fn hear_replica(server: &mut Server, client: &mut Client, key: ReplicaKey, command: &Command) -> Answer {
    let words: Vec<&[u8]> = command.args().collect();
    let name = words.first().map(|name| name.to_ascii_lowercase()).unwrap_or_default();
    client.last_heard = (server.now, "replconf");
    // What is wrong with an ack, or with a replica that is gone, comes as an event.
    match name.as_slice() {
        b"" => drop(server.node.primary().handle_alive(key, server.now)),
        b"psync" | b"sync" => {} // R46
        b"replconf" if words.len() > 2 => match wire::replconf(&words[1..], &mut client.peer) {
            Ok(Replconf::Ack(ack)) => drop(server.node.primary().handle_ack(key, ack, server.now)),
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
    let attached = server.node.primary().attach(wanted, peer.clone(), server.now);
    let attached = attached.map_err(CommandError::from)?;
    (client.replica, client.peer) = (Some(attached.replica), peer);
    info!("{} is {}:{}: {:?}", attached.replica, client.peer.address, client.peer.port, attached.answer);
    let Decision::Continue { id, .. } = attached.answer else { return Ok(Reply::NOTHING) };
    let mut line = BytesMut::new();
    wire::put_continue(&mut line, id, &client.peer);
    Ok(Reply::Raw(line.freeze()))
}
