use super::command::CommandLimits;
use super::handshake::{Handshake, HandshakeError, HandshakeEvent, Introduction};
use super::payload::put_command;
use super::snapshot::{SnapshotPiece, SnapshotReadError, SnapshotReader};
use super::unit::{StreamError, StreamUnit, UnitReader};
use crate::acks::Ack;
use crate::history::ResumePoint;
use crate::id::ReplicationId;
use crate::key::LinkKey;
use crate::replica::{FollowError, Replica};
use crate::sink::Sink;
use crate::time::Timestamp;

/// One connection to a Redis or Valkey primary, from the handshake to the stream: turns its bytes into inputs of a
/// [`Replica`], and into what the host has to load and to apply.
///
/// It lives as long as its connection, so nothing half-read outlives that.
///
/// ```
/// use headwater::wire::{CommandLimits, Inbound, Introduction, Link};
/// use headwater::{Replica, ReplicaConfig, Timestamp, UpstreamEvent};
///
/// let now = Timestamp::default();
/// let mut replica = Replica::new(ReplicaConfig::default(), None, now)?;
/// let Some((key, UpstreamEvent::Connect)) = replica.poll_event() else { panic!("it connects at once") };
/// replica.handle_connected(key, now)?;
///
/// let mut out = Vec::new(); // for the connection
/// let mut link = Link::new(key, Introduction::default(), CommandLimits::default(), &mut out);
///
/// // What a primary answers, and its stream: two units.
/// let mut input = &b"+PONG\r\n+OK\r\n+FULLRESYNC 8ee4a1c9d0b35e7f26a4c8d1e3f50719b2d4c6e8 100\r\n$3\r\nabc\
///     *3\r\n$3\r\nSET\r\n$1\r\nx\r\n$1\r\n1\r\n*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n"[..];
/// let mut image = Vec::new();
/// while let Some(inbound) = link.next(&mut input, &mut out, &mut replica, now)? {
///     match inbound {
///         Inbound::SnapshotStart { .. } => image.clear(),
///         Inbound::Snapshot(bytes) => image.extend_from_slice(bytes),
///         Inbound::SnapshotEnd => replica.handle_loaded(key, now)?, // a host loads the image first
///         Inbound::Unit(unit) => {
///             replica.handle_applied(key, &unit.bytes, now)?; // then it applies `unit.commands`
///         }
///     }
/// }
/// assert_eq!(image, b"abc");
/// assert_eq!(replica.held().map(|held| held.offset.get()), Some(100 + 27 + 37));
/// assert!(out.ends_with(b"$3\r\nACK\r\n$3\r\n127\r\n")); // the offset before GETACK's own bytes (R218)
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Link {
    key: LinkKey,
    limits: CommandLimits,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Handshake(Handshake),
    Snapshot(SnapshotReader),
    Stream(UnitReader),
}

/// What came over a [`Link`], for the host to act on.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "each is for the host to act on")]
pub enum Inbound<'a> {
    /// A snapshot begins. Whatever there is of an earlier one is void; the data stays as it is.
    SnapshotStart {
        /// Its length, if it was told beforehand. It is the primary's word: don't allocate by it.
        len: Option<u64>,
    },
    /// These bytes of it are next.
    Snapshot(&'a [u8]),
    /// It has come whole: load it, then call [`Replica::handle_loaded`].
    SnapshotEnd,
    /// A unit of the stream: call [`Replica::handle_applied`], then apply it.
    Unit(StreamUnit),
}

/// Why a link can't go on: close the connection, and call [`Replica::handle_disconnected`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The handshake came to nothing.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// What came is no snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotReadError),
    /// What came is no stream.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// It does not fit what was asked for.
    #[error(transparent)]
    Follow(#[from] FollowError),
}

impl Link {
    /// Begins on a new connection, and puts the first word of the handshake. `limits` bound what is kept of a half
    /// command or transaction; real replicas have none of them (R219).
    pub fn new(key: LinkKey, introduction: Introduction, limits: CommandLimits, out: &mut impl Sink) -> Self {
        Self { key, limits, stage: Stage::Handshake(Handshake::new(introduction, out)) }
    }

    /// Which link it is.
    pub const fn key(&self) -> LinkKey {
        self.key
    }

    /// Bytes kept of what has not come whole.
    pub fn buffered(&self) -> usize {
        match &self.stage {
            Stage::Handshake(handshake) => handshake.buffered(),
            Stage::Snapshot(_) => 0,
            Stage::Stream(units) => units.buffered(),
        }
    }

    /// Reads on. What is to be sent is put into `out`, and what the replica has to know is told to `follower`. `None` when
    /// more bytes are needed: then all of `input` was taken. Load and apply what comes before the next call.
    ///
    /// # Errors
    ///
    /// [`LinkError`]. It is final.
    pub fn next<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
        out: &mut impl Sink,
        follower: &mut impl Follow,
        now: Timestamp,
    ) -> Result<Option<Inbound<'a>>, LinkError> {
        while let Stage::Handshake(handshake) = &mut self.stage {
            if input.is_empty() {
                return Ok(None);
            }
            let replica = follower.replica(self.key)?;
            replica.handle_heard(self.key, now)?;
            match handshake.next(input, replica.wanted(), out)? {
                None => return Ok(None),
                Some(HandshakeEvent::Asked) => replica.handle_asked(self.key, now)?,
                Some(HandshakeEvent::Full(point)) => {
                    follower.handle_full(self.key, point, now)?;
                    self.stage = Stage::Snapshot(SnapshotReader::new());
                }
                Some(HandshakeEvent::Continue(id)) => {
                    follower.handle_resumed(self.key, id, now)?;
                    self.stage = Stage::Stream(UnitReader::new(self.limits));
                }
            }
        }
        if matches!(&self.stage, Stage::Snapshot(reader) if reader.is_over()) {
            self.stage = Stage::Stream(UnitReader::new(self.limits));
        }
        let replica = follower.replica(self.key)?;
        match &mut self.stage {
            Stage::Handshake(_) => Ok(None),
            Stage::Snapshot(reader) => read_snapshot(self.key, reader, input, replica, now),
            Stage::Stream(units) => read_unit(self.key, units, input, out, replica, now),
        }
    }
}

fn read_snapshot<'a, 'i: 'a>(
    key: LinkKey,
    reader: &'a mut SnapshotReader,
    input: &mut &'i [u8],
    replica: &mut Replica,
    now: Timestamp,
) -> Result<Option<Inbound<'a>>, LinkError> {
    if !input.is_empty() {
        replica.handle_heard(key, now)?;
    }
    Ok(match reader.next(input)? {
        None => None,
        Some(SnapshotPiece::Start { len }) => Some(Inbound::SnapshotStart { len }),
        Some(SnapshotPiece::Bytes(bytes)) => Some(Inbound::Snapshot(bytes)),
        Some(SnapshotPiece::End) => {
            replica.handle_snapshot_end(key, now)?;
            Some(Inbound::SnapshotEnd)
        }
    })
}

fn read_unit<'a>(
    key: LinkKey,
    units: &mut UnitReader,
    input: &mut &[u8],
    out: &mut impl Sink,
    replica: &mut Replica,
    now: Timestamp,
) -> Result<Option<Inbound<'a>>, LinkError> {
    if input.is_empty() {
        return Ok(None);
    }
    let before = input.len();
    let unit = units.next(input).inspect_err(|_| {
        // The link is the current one: it was asked for above.
        let _ = replica.handle_unreadable(key, now);
    })?;
    replica.handle_received(key, (before - input.len()) as u64, now)?;
    if let Some(ack) = replica.ack().filter(|_| unit.as_ref().is_some_and(|unit| unit.asks_for_ack)) {
        put_ack(out, ack);
    }
    Ok(unit.map(Inbound::Unit))
}

/// Puts an ack: how far the stream is applied and, if the own disk's share is known, fsynced (R208).
pub fn put_ack(out: &mut impl Sink, ack: Ack) {
    let [mut applied, mut fsynced] = [itoa::Buffer::new(), itoa::Buffer::new()];
    let applied = applied.format(ack.applied.get());
    match ack.fsynced {
        None => put_command(out, &["REPLCONF", "ACK", applied]),
        Some(upto) => {
            put_command(out, &["REPLCONF", "ACK", applied, "FACK", fsynced.format(upto.get())]);
        }
    }
}

/// Who follows a primary: a [`Replica`] alone, or one that is a part of a larger whole.
pub trait Follow: sealed::Sealed {
    #[doc(hidden)]
    fn replica(&mut self, link: LinkKey) -> Result<&mut Replica, FollowError>;

    #[doc(hidden)]
    fn handle_resumed(
        &mut self,
        link: LinkKey,
        id: Option<ReplicationId>,
        now: Timestamp,
    ) -> Result<(), FollowError>;

    #[doc(hidden)]
    fn handle_full(&mut self, link: LinkKey, point: ResumePoint, now: Timestamp) -> Result<(), FollowError>;
}

impl Follow for Replica {
    fn replica(&mut self, _: LinkKey) -> Result<&mut Replica, FollowError> {
        Ok(self)
    }

    fn handle_resumed(
        &mut self,
        link: LinkKey,
        id: Option<ReplicationId>,
        now: Timestamp,
    ) -> Result<(), FollowError> {
        Self::handle_resumed(self, link, id, now)
    }

    fn handle_full(&mut self, link: LinkKey, point: ResumePoint, now: Timestamp) -> Result<(), FollowError> {
        Self::handle_full(self, link, point, now)
    }
}

pub(crate) mod sealed {
    #[expect(unnameable_types, reason = "so that nobody else follows")]
    pub trait Sealed {}

    impl Sealed for crate::replica::Replica {}
}
