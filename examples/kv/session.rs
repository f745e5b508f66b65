use bytes::BytesMut;
use headwater::wire::{self, Command, CommandError, ProtocolError};
use headwater::{Detach, Sink as _};
use tokio::sync::oneshot;

use crate::client::Client;
use crate::commands::{Answer, Kind, Spec};
use crate::connection::{Answered, Commands, Output};
use crate::reply::Reply;
use crate::server::Server;
use crate::{admin, attach, wait};

impl Server {
    /// Executes a client's commands until one has to wait, and hands the replies to the connection's writer, which
    /// lets the reader go on.
    pub fn run_commands(
        &mut self,
        mut client: Client,
        mut replies: BytesMut,
        mut commands: Commands,
        answered: oneshot::Sender<Answered>,
    ) {
        while !client.is_closing && client.wait.is_none() && replies.len() < MAX_REPLIES {
            let Some(command) = commands.next() else { break };
            client.has_unsent = !replies.is_empty();
            self.answer(&mut client, command).put_into(&mut replies);
        }
        let answer = match &mut client.wait {
            None => Answered::Done { rest: commands, authenticated: client.authenticated },
            Some(wait) => {
                let (answered_later, later) = oneshot::channel();
                wait.held = Some((commands, answered_later));
                Answered::Later(later)
            }
        };
        // A reader or a writer that is gone says so itself.
        if replies.is_empty() {
            let _ = answered.send(answer);
        } else {
            let _ = client.link.outputs.send(Output::Replies { bytes: replies.freeze(), answered, answer });
        }
        if client.is_closing {
            self.close(client, Detach::Clean);
        } else {
            self.clients.insert(client.id(), client);
        }
    }

    fn answer(&mut self, client: &mut Client, command: Result<Command, ProtocolError>) -> Reply {
        let answer = match (command, client.replica) {
            (Ok(command), None) if command.is_empty() => Ok(Reply::NOTHING),
            (Ok(command), None) => self.execute(client, command),
            (Ok(command), Some(replica)) => attach::hear_replica(self, client, replica, &command),
            (Err(fault), replica) => {
                client.is_closing = true;
                if replica.is_some() { Ok(Reply::NOTHING) } else { Err(format!("ERR {fault}").into()) }
            }
        };
        answer.unwrap_or_else(|error| Reply::Error(error.to_string()))
    }

    fn execute(&mut self, client: &mut Client, command: Command) -> Answer {
        self.stats.commands += 1;
        let words: Vec<&[u8]> = command.args().collect();
        let admitted = admin::admit(self, client, &words);
        if let (Err(_), Some(transaction)) = (&admitted, &mut client.transaction) {
            transaction.is_refused = true;
        }
        let (name, kind) = admitted?;
        client.last_heard = (self.now, name);
        match (kind, &mut client.transaction) {
            (Kind::Serve, _) => admin::serve(self, client, name, &words[1..]),
            (_, Some(transaction)) => {
                transaction.queued.push(((name, kind), command));
                Ok(Reply::Simple("QUEUED"))
            }
            (Kind::Wait, None) => wait::begin(self, client, name, &words[1..]),
            (_, None) => Ok(self.apply(client, &[((name, kind), command)])?.remove(0)),
        }
    }

    /// Executes a transaction. What waits for replicas in it is about the writes before it (R166).
    pub fn exec(&mut self, client: &mut Client) -> Answer {
        let transaction = client.transaction.take().ok_or("ERR EXEC without MULTI")?;
        if transaction.is_refused {
            return Err("EXECABORT Transaction discarded because of previous errors.".into());
        }
        let mut queued = transaction.queued;
        let waits: Vec<Option<Reply>> =
            queued.iter().map(|queued| self.wait_at_once(client, queued)).collect();
        queued.retain(|((_, kind), _)| *kind != Kind::Wait);
        let replies = self.apply(client, &queued);
        let mut replies = replies
            .map_err(|error| format!("EXECABORT Transaction discarded because of: {error}"))?
            .into_iter();
        Ok(Reply::Array(waits.into_iter().filter_map(|wait| wait.or_else(|| replies.next())).collect()))
    }

    fn wait_at_once(&mut self, client: &Client, queued: &(Spec, Command)) -> Option<Reply> {
        let ((_, kind), _) = queued;
        let answer = (*kind == Kind::Wait).then(|| wait::answer_at_once(self, client, queued))?;
        Some(answer.unwrap_or_else(|error| Reply::Error(error.to_string())))
    }

    /// Runs commands on the data, as one unit of the stream if any of them can change it.
    fn apply(
        &mut self,
        client: &mut Client,
        commands: &[(Spec, Command)],
    ) -> Result<Vec<Reply>, CommandError> {
        let Self { primary, data, selected, .. } = self;
        if commands.iter().all(|((_, kind), _)| *kind == Kind::Read) {
            return Ok(data.run_all(commands));
        }
        let written = primary.write(self.now, |unit| {
            let replies = data.run_all(commands);
            let effects = data.effects.split().freeze();
            if !effects.is_empty() && unit.is_wanted() {
                selected.select(0, unit);
                let is_transaction = commands.len() > 1; // replicas apply all of it or nothing
                if is_transaction {
                    wire::put_command(unit, &["MULTI"]);
                }
                unit.put_shared(effects);
                if is_transaction {
                    wire::put_command(unit, &["EXEC"]);
                }
            }
            replies
        });
        let written = written?;
        client.write_end = written.end.unwrap_or(client.write_end);
        Ok(written.value)
    }
}

/// Replies to one read grow no further than by the reply that gets past this: the rest of the commands comes again.
const MAX_REPLIES: usize = 1 << 20;
