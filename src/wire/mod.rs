//! The Redis dialect: what a Redis or Valkey replica says to its primary, and what it is told.
//!
//! [`CommandReader`] turns a connection's bytes into commands; [`replconf`], [`psync`], [`sync`], [`wait()`] and
//! [`waitaof`] read the arguments of those that concern replication; the `put_` functions write answers, a
//! snapshot's frame and the stream's payloads into a [`Sink`](crate::Sink); [`ClientLimits`] is the setting
//! `client-output-buffer-limit`. Nothing here holds a connection or decides anything:
//! that is [`Primary`](crate::Primary)'s.
//!
//! On the wire PSYNC names the *next byte wanted*, from 1; an [`Offset`](crate::Offset) is how much somebody
//! holds. The difference of one is known here only.
//!
//! ```
//! use headwater::wire::{self, CommandLimits, CommandReader, Replconf};
//! use headwater::{Offset, Peer, Tag, Wanted};
//!
//! // What a replica sends before it may follow, once it has read the answer to the first line.
//! let mut input = &b"REPLCONF listening-port 6380 capa eof capa psync2\r\n\
//!     PSYNC 8ee4a1c9d0b35e7f26a4c8d1e3f50719b2d4c6e8 101\r\n"[..];
//!
//! let mut reader = CommandReader::new(CommandLimits::default());
//! let mut peer = Peer::new(Tag(1), "192.0.2.7");
//! let mut replies = Vec::new();
//! let mut wanted = None;
//! while let Some(command) = reader.next(&mut input)? {
//!     let args: Vec<&[u8]> = command.args().collect();
//!     match args.as_slice() {
//!         [b"REPLCONF", options @ ..] => match wire::replconf(options, &mut peer) {
//!             Ok(Replconf::Ok) => wire::put_ok(&mut replies),
//!             Ok(_) => {} // acks: no replica yet, and never answered
//!             Err(error) => wire::put_error(&mut replies, &error),
//!         },
//!         [b"PSYNC", request @ ..] => wanted = Some(wire::psync(request)?.wanted), // for `Primary::attach`
//!         _ => wire::put_error(&mut replies, &"ERR unknown command"),
//!     }
//! }
//!
//! assert_eq!(replies, b"+OK\r\n");
//! assert_eq!((peer.port, peer.takes_end_mark, peer.learns_ids), (6380, true, true));
//! let held = Offset::new(100); // it wants byte 101, so it holds 100
//! assert!(matches!(wanted, Some(Wanted::After { offset, .. }) if Some(offset) == held));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod args;
mod command;
mod handshake;
mod inline;
mod integer;
mod limits;
mod line;
mod link;
mod payload;
mod reply;
mod snapshot;
mod unit;
mod wait;

pub use args::{CommandError, Psync, Replconf, psync, replconf, sync};
pub use command::{Command, CommandLimits, CommandReader, ProtocolError};
pub use handshake::{Handshake, HandshakeError, HandshakeEvent, Introduction, Step};
pub use limits::{ClientLimits, LimitsError, memory_size};
pub(crate) use link::sealed::Sealed;
pub use link::{Follow, Inbound, Link, LinkError, put_ack};
pub use payload::{SelectedDb, get_ack, heartbeat, put_command, put_select};
pub use reply::{
    EndMark, put_array_header, put_bulk, put_continue, put_end_mark, put_end_mark_header, put_error,
    put_full_resync, put_integer, put_keep_alive, put_ok, put_snapshot_len,
};
pub use snapshot::{SnapshotPiece, SnapshotReadError, SnapshotReader};
pub use unit::{StreamError, StreamUnit};
pub use wait::{WaitArgs, put_wait_end, put_waitaof_end, wait, waitaof};
