use std::{io, vec};

use bytes::{Buf as _, Bytes, BytesMut};
use headwater::Batch;
use headwater::wire::{Command, CommandLimits, CommandReader, ProtocolError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

use crate::server::Message;
use crate::snapshot::Transfer;

pub type ToServer = mpsc::Sender<Message>;
pub type Outputs = mpsc::UnboundedReceiver<Output>;

/// All whole commands of one read, and perhaps that what follows is none.
pub type Commands = vec::IntoIter<Result<Command, ProtocolError>>;

/// What a connection's reader hands to the server.
pub struct Input {
    pub client: u64,
    pub commands: Commands,
    pub answered: oneshot::Sender<Answered>,
}

/// What the reader waits for, so that the replies of a client are bounded by one read of commands.
pub enum Answered {
    /// Go on.
    Done {
        /// Commands that are to be handed in again: the replies became too many.
        rest: Commands,
        authenticated: bool,
    },
    /// The client waits for replicas. Wait for this instead, and watch whether it goes away meanwhile.
    Later(oneshot::Receiver<Answered>),
}

/// What the server hands to a connection's writer.
pub enum Output {
    Replies { bytes: Bytes, answered: oneshot::Sender<Answered>, answer: Answered },
    Stream(Batch),
    Snapshot(Transfer),
    KeepAlive,
}

/// Serves one connection until its peer closes it, or the server drops `outputs` and all is written.
pub async fn serve(socket: TcpStream, client: u64, server: ToServer, outputs: Outputs, authenticated: bool) {
    let (read, write) = socket.into_split();
    tokio::select! {
        _ = read_commands(read, client, &server, authenticated) => {}
        _ = write_outputs(write, outputs, &server) => {}
    }
    let _ = server.send(Message::Closed(client)).await;
}

async fn read_commands(
    mut socket: OwnedReadHalf,
    client: u64,
    server: &ToServer,
    mut authenticated: bool,
) -> io::Result<()> {
    let (mut reader, mut buffer) = (CommandReader::new(limits(authenticated)), BytesMut::new());
    loop {
        let most = if authenticated { usize::MAX } else { 1 }; // what follows AUTH has other limits
        let mut commands = parse(&mut reader, &mut buffer, most);
        while commands.len() > 0 {
            let (answered, answer) = oneshot::channel();
            let _ = server.send(Message::Input(Input { client, commands, answered })).await;
            (commands, authenticated) = await_answer(answer, &mut socket, &mut buffer).await?;
            reader.set_limits(limits(authenticated));
        }
        if buffer.is_empty() {
            buffer.reserve(READ);
            if socket.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
    }
}

/// The commands that are left over, and whether the client is authenticated by now.
async fn await_answer(
    mut answer: oneshot::Receiver<Answered>,
    socket: &mut OwnedReadHalf,
    buffer: &mut BytesMut,
) -> io::Result<(Commands, bool)> {
    let mut is_blocked = false;
    loop {
        tokio::select! {
            answered = &mut answer => match answered.map_err(io::Error::other)? {
                Answered::Done { rest, authenticated } => return Ok((rest, authenticated)),
                Answered::Later(later) => (answer, is_blocked) = (later, true),
            },
            read = socket.read_buf(buffer), if is_blocked && buffer.len() < READ => {
                if read? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
    }
}

async fn write_outputs(
    mut socket: OwnedWriteHalf,
    mut outputs: Outputs,
    server: &ToServer,
) -> io::Result<()> {
    while let Some(output) = outputs.recv().await {
        match output {
            Output::Replies { bytes, answered, answer } => {
                socket.write_all(&bytes).await?;
                let _ = answered.send(answer);
            }
            Output::Stream(mut batch) => {
                socket.write_all_buf(&mut batch).await?;
                let _ = server.send(Message::Written(batch)).await;
            }
            Output::Snapshot(transfer) => transfer.send(&mut socket, server).await?,
            Output::KeepAlive => socket.write_all(b"\n").await?,
        }
    }
    socket.shutdown().await
}

/// Takes whole commands off the front of `buffer`, all or up to `most`.
fn parse(reader: &mut CommandReader, buffer: &mut BytesMut, most: usize) -> Commands {
    let mut input = &buffer[..];
    let mut commands = Vec::new();
    while commands.len() < most && !commands.last().is_some_and(Result::is_err) {
        let Some(command) = reader.next(&mut input).transpose() else { break };
        commands.push(command);
    }
    let taken = buffer.len() - input.len();
    buffer.advance(taken);
    commands.into_iter()
}

fn limits(authenticated: bool) -> CommandLimits {
    if authenticated { CommandLimits::default() } else { CommandLimits::unauthenticated() }
}

/// Bytes read at once. A command that is longer gathers in its reader.
const READ: usize = 16 << 10;
