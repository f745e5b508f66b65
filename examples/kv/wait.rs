use headwater::wire::{self, Command, CommandError, WaitArgs};
use headwater::{Level, Timeout, WaitEnd, WaitOutcome};

use bytes::BytesMut;

use crate::client::{Client, Wait};
use crate::commands::{Answer, Spec};
use crate::reply::Reply;
use crate::server::Server;

/// Begins a WAIT or WAITAOF. One that goes on is answered by [`Server::end_wait`], and what the client sent
/// after it comes then.
pub fn begin(server: &mut Server, client: &mut Client, name: &str, args: &[&[u8]]) -> Answer {
    let asked = parse(name, args)?;
    match start(server, client, asked)? {
        WaitOutcome::Pending(waiter) => {
            client.wait = Some(Wait { waiter, level: asked.level, held: None });
            Ok(Reply::NOTHING)
        }
        WaitOutcome::Ended(end) => Ok(reply(asked.level, &end)),
        _ => Ok(Reply::NOTHING),
    }
}

/// Answers one inside a transaction, which never blocks (R166).
pub fn answer_at_once(
    server: &mut Server,
    client: &Client,
    ((name, _), command): &(Spec, Command),
) -> Answer {
    let args: Vec<&[u8]> = command.args().skip(1).collect();
    let asked = WaitArgs { timeout: Timeout::Immediate, ..parse(name, &args)? };
    match start(server, client, asked)? {
        WaitOutcome::Ended(end) => Ok(reply(asked.level, &end)),
        _ => Ok(Reply::NOTHING),
    }
}

/// The answer to a wait that is over.
fn reply(level: Level, end: &WaitEnd) -> Reply {
    let mut out = BytesMut::new();
    match level {
        Level::Fsynced => wire::put_waitaof_end(&mut out, end),
        _ => wire::put_wait_end(&mut out, end),
    }
    Reply::Raw(out.freeze())
}

fn parse(name: &str, args: &[&[u8]]) -> Result<WaitArgs, CommandError> {
    if name == "wait" { wire::wait(args) } else { wire::waitaof(args) }
}

fn start(server: &mut Server, client: &Client, asked: WaitArgs) -> Result<WaitOutcome, CommandError> {
    if server.node.is_following() && asked.level == Level::Fsynced {
        return Err(CommandError::WaitAofOnReplica);
    }
    let wait = asked.for_target(client.write_end, client.peer.tag);
    Ok(server.node.primary().wait(wait, server.now)?)
}

impl Server {
    /// Tells a client how its wait ended.
    pub fn finish_wait(&mut self, id: u64, end: &WaitEnd) {
        let level = self.clients.get(&id).and_then(|client| client.wait.as_ref()).map(|wait| wait.level);
        if let Some(level) = level {
            self.end_wait(id, &reply(level, end));
        }
    }

    /// Answers a client whose wait is over, and goes on with its commands.
    pub fn end_wait(&mut self, id: u64, reply: &Reply) {
        let Some(mut client) = self.clients.remove(&id) else { return };
        let Some((commands, answered)) = client.wait.take().and_then(|wait| wait.held) else { return };
        let mut replies = BytesMut::new();
        reply.put_into(&mut replies);
        self.run_commands(client, replies, commands, answered);
    }

    /// Ends another client's wait by CLIENT UNBLOCK. Tells whether it waited.
    ///
    /// Its next commands come later, or two clients that unblock each other would never come to an end.
    pub fn unblock(&mut self, id: u64, is_error: bool) -> bool {
        let waiting = self.clients.get(&id).and_then(|client| client.wait.as_ref());
        let Some((waiter, level)) = waiting.map(|wait| (wait.waiter, wait.level)) else { return false };
        let Ok(end) = self.node.primary().cancel_wait(waiter) else { return false };
        let unblocked = || Reply::Error(CommandError::Unblocked.to_string());
        self.unblocked.push((id, if is_error { unblocked() } else { reply(level, &end) }));
        true
    }
}
