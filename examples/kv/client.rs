use std::net::SocketAddr;

use headwater::wire::Command;
use headwater::{Level, Offset, Peer, ReplicaKey, Tag, Timestamp, WaiterKey};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::commands::Spec;
use crate::connection::{Answered, Commands, Output};

/// One connection, as the server knows it.
pub struct Client {
    pub peer: Peer,
    pub link: Link,
    pub name: String,
    pub authenticated: bool,
    pub replica: Option<ReplicaKey>,
    pub transaction: Option<Transaction>,
    /// Where its own last write ends: what its WAIT is about (R160).
    pub write_end: Offset,
    pub wait: Option<Wait>,
    /// When it last sent something, and which command.
    pub last_heard: (Timestamp, &'static str),
    /// Whether it has replies that were not sent yet.
    pub has_unsent: bool,
    pub is_closing: bool,
}

/// The connection itself.
pub struct Link {
    pub address: SocketAddr,
    pub local_address: SocketAddr,
    pub since: Timestamp,
    /// Once it is dropped, the connection ends when all before was written.
    pub outputs: mpsc::UnboundedSender<Output>,
    pub task: JoinHandle<()>,
}

/// What was queued since MULTI, and whether a command was refused.
#[derive(Default)]
pub struct Transaction {
    pub queued: Vec<(Spec, Command)>,
    pub is_refused: bool,
}

/// A WAIT or WAITAOF under way.
pub struct Wait {
    pub waiter: WaiterKey,
    pub level: Level,
    /// What the client sent after it, and what lets its reader go on then.
    pub held: Option<(Commands, oneshot::Sender<Answered>)>,
}

/// The types that CLIENT LIST and CLIENT KILL tell apart.
#[derive(Clone, Copy, PartialEq)]
pub enum Class {
    Normal,
    Replica,
    /// Those that there are none of here: a primary's link, and subscribers.
    Other,
}

impl Client {
    pub fn new(id: u64, link: Link, authenticated: bool) -> Self {
        Self {
            peer: Peer::new(Tag(id), link.address.ip().to_string()),
            name: String::new(),
            authenticated,
            replica: None,
            transaction: None,
            write_end: Offset::default(),
            wait: None,
            last_heard: (link.since, "NULL"),
            has_unsent: false,
            is_closing: false,
            link,
        }
    }

    pub fn id(&self) -> u64 {
        self.peer.tag.0
    }

    pub fn class(&self) -> Class {
        if self.replica.is_some() { Class::Replica } else { Class::Normal }
    }

    /// Its line in CLIENT LIST; `output` tells what waits to be sent to it.
    pub fn describe(&self, output: &str, now: Timestamp) -> String {
        let Link { address, local_address, since, .. } = self.link;
        let (heard, command) = self.last_heard;
        let [age, idle] = [since, heard].map(|then| now.saturating_since(then).as_secs());
        let queued =
            self.transaction.as_ref().map_or(-1, |transaction| transaction.queued.len().cast_signed());
        let flags = match () {
            () if self.replica.is_some() => "S",
            () if self.wait.is_some() => "b",
            () if self.transaction.is_some() => "x",
            () => "N",
        };
        format!("id={} addr={address} laddr={local_address} name={} ", self.id(), self.name)
            + &format!("age={age} idle={idle} flags={flags} db=0 multi={queued} ")
            + &format!("{output} cmd={command} user=default resp=2\n")
    }
}

impl Class {
    pub fn parse(word: &[u8]) -> Result<Self, String> {
        match word.to_ascii_lowercase().as_slice() {
            b"normal" => Ok(Self::Normal),
            b"replica" | b"slave" => Ok(Self::Replica),
            b"master" | b"pubsub" => Ok(Self::Other),
            _ => Err(format!("ERR Unknown client type '{}'", String::from_utf8_lossy(word))),
        }
    }
}
