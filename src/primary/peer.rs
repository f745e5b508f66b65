use alloc::string::String;

use crate::key::Tag;

/// What the host knows of a connection that asks for the stream.
///
/// For Redis, [`wire::replconf`](crate::wire::replconf) fills it during the handshake.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Peer {
    /// The host's name for the connection.
    pub tag: Tag,
    /// Where it can be reached: announced by itself, or else the address that the host sees. With `port` the
    /// identity by which it is known again when it comes back.
    pub address: String,
    /// The port that it announced, as it announced it; 0 if it did not. Nothing checks its range (R181).
    pub port: i64,
    /// Whether it can find the end of a snapshot by a mark ([`Framing::EndMarked`](crate::Framing)).
    pub takes_end_mark: bool,
    /// Whether it learns a changed history id when it resumes (PSYNC2).
    pub learns_ids: bool,
    /// Whether it acknowledges at all. One that does not (SYNC) is exempt from the timeout of silence (R151).
    pub acks: bool,
    /// The version of its software, if it told.
    pub version: Option<String>,
}

impl Peer {
    /// A peer that has announced nothing yet, and will acknowledge.
    pub fn new(tag: Tag, address: impl Into<String>) -> Self {
        Self {
            tag,
            address: address.into(),
            port: 0,
            takes_end_mark: false,
            learns_ids: false,
            acks: true,
            version: None,
        }
    }

    /// By what it is known when it comes back.
    pub(crate) fn identity(&self) -> (&str, i64) {
        (&self.address, self.port)
    }
}
