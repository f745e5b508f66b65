use core::mem;
#[cfg(feature = "std")]
use std::io::{self, IoSlice};

use bytes::Buf;

use super::Primary;
use super::batch::Batch;
use super::event::Event;
use super::replica::BatchPlace;
use crate::backlog::Reader;
use crate::key::{Gone, ReplicaKey};
use crate::time::Timestamp;

/// How far a call that sends has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
#[non_exhaustive]
pub enum Sent {
    /// To the end of what may be sent now: [`Event::Send`](crate::Event::Send) tells of more.
    All,
    /// To [`Config::max_send`](crate::Config::max_send): [`Event::Send`](crate::Event::Send) comes again with
    /// the next [`Primary::handle_timeout`], which is due at once, so that a loop gets round to its other
    /// sockets.
    More,
    /// Not that far: call again when the writer can take more.
    Blocked,
    /// Not that far, by [`Primary::handle_sent`]: lend the rest, now or when your writer can take it.
    Partly,
}

/// Why a report of what was sent was refused. Nothing has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SentError {
    /// The host named a replica that is not attached.
    #[error(transparent)]
    Gone(#[from] Gone<ReplicaKey>),
    /// The host reports more than it was lent.
    #[error("{bytes} bytes were reported as sent, only {unsent} were lent")]
    MoreThanLent {
        /// Bytes reported.
        bytes: usize,
        /// Bytes lent and not yet reported.
        unsent: u64,
    },
}

/// Why nothing more was sent.
#[cfg(feature = "std")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The host named a replica that is not attached.
    #[error(transparent)]
    Gone(#[from] Gone<ReplicaKey>),
    /// The writer failed: detach the replica.
    #[error("could not send to the replica: {0}")]
    Io(#[from] io::Error),
}

impl Primary {
    /// Writes what a replica has yet to be sent, straight from the backlog, until the writer blocks, all is sent,
    /// or [`Config::max_send`](crate::Config::max_send) is reached.
    ///
    /// Write what the host itself has for the connection (a reply, an image) first: before its image is sent,
    /// nothing of the stream is written.
    ///
    /// # Errors
    ///
    /// [`SendError`]; what was written before is accounted for.
    #[cfg(feature = "std")]
    pub fn write_to(
        &mut self,
        replica: ReplicaKey,
        writer: &mut impl io::Write,
        now: Timestamp,
    ) -> Result<Sent, SendError> {
        self.advance_clock(now);
        let mut quota = self.config.max_send;
        loop {
            let Some(mut reader) = self.lend(replica)? else { return Ok(Sent::All) };
            reader.truncate(quota);
            if !reader.has_remaining() {
                let caught_up = self.queue(replica, quota == 0);
                return Ok(if caught_up { Sent::All } else { Sent::More });
            }
            match write_some(&reader, writer) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(count) => {
                    let count = count.min(reader.remaining());
                    quota -= count;
                    self.advance_cursor(replica, count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Sent::Blocked),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Lends what a replica has yet to be sent to a writer elsewhere: at most
    /// [`Config::max_send`](crate::Config::max_send) bytes, and one batch at a time.
    ///
    /// `None` while there is nothing to send, nothing may be sent yet, or a batch is out. Until it is back its
    /// bytes count as unsent against the output limit.
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub fn take_batch(&mut self, key: ReplicaKey, now: Timestamp) -> Result<Option<Batch>, Gone<ReplicaKey>> {
        self.advance_clock(now);
        let replica = self.replicas.get_mut(key).ok_or(Gone(key))?;
        let open = replica.is_open();
        let (Some(cursor), Some(backlog)) = (&replica.cursor, self.stream.backlog()) else { return Ok(None) };
        let mut reader = backlog.read(cursor);
        reader.truncate(self.config.max_send);
        if !open || !reader.has_remaining() {
            return Ok(None);
        }
        let BatchPlace::Home(mut batch) = mem::replace(&mut replica.batch, BatchPlace::Out) else {
            return Ok(None);
        };
        batch.fill(key, cursor.offset(), reader);
        replica.lent = replica.lent.max(batch.end());
        if mem::take(&mut replica.queued) {
            self.outbox.sends.remove(key);
        }
        Ok(Some(batch))
    }

    /// Takes a batch back. What is left in it is lent again with the next one: [`Event::Send`] follows if there is
    /// more to send. One of a replica that is gone is just let go of.
    ///
    /// [`Event::Send`]: crate::Event::Send
    pub fn handle_batch_written(&mut self, mut batch: Batch, now: Timestamp) {
        self.advance_clock(now);
        let (key, written) = (batch.replica(), batch.written());
        let Some(replica) = self.replicas.get_mut(key) else { return };
        if !replica.has_lent(&batch) {
            return; // another primary's
        }
        batch.clear();
        replica.batch = BatchPlace::Home(batch);
        self.advance_cursor(key, written);
        self.queue(key, false);
    }

    /// Lends all that a replica has yet to be sent, to be sent by hand: report it with [`Primary::handle_sent`].
    ///
    /// `None` while nothing may be sent: before its snapshot is sent, and while a batch is out.
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub fn unsent(&mut self, key: ReplicaKey) -> Result<Option<Reader<'_>>, Gone<ReplicaKey>> {
        let end = self.end();
        let replica = self.replicas.get_mut(key).ok_or(Gone(key))?;
        if replica.is_open() {
            replica.lent = end;
        }
        self.lend(key)
    }

    /// Notes that `bytes` of what [`Primary::unsent`] lent have been sent.
    ///
    /// # Errors
    ///
    /// [`SentError`].
    pub fn handle_sent(&mut self, key: ReplicaKey, bytes: usize, now: Timestamp) -> Result<Sent, SentError> {
        self.advance_clock(now);
        let replica = self.replicas.get(key).ok_or(Gone(key))?;
        let unsent = if replica.is_open() { replica.lent.saturating_since(replica.sent()) } else { 0 };
        if bytes as u64 > unsent {
            return Err(SentError::MoreThanLent { bytes, unsent });
        }
        self.advance_cursor(key, bytes);
        let replica = self.replicas.get(key).ok_or(Gone(key))?;
        if !replica.is_open() {
            return Ok(Sent::All);
        }
        if replica.sent() < self.end() {
            return Ok(Sent::Partly);
        }
        self.queue(key, false);
        Ok(Sent::All)
    }

    fn lend(&self, key: ReplicaKey) -> Result<Option<Reader<'_>>, Gone<ReplicaKey>> {
        let replica = self.replicas.get(key).ok_or(Gone(key))?;
        let cursor = replica.cursor.as_ref().filter(|_| replica.is_open());
        Ok(cursor.and_then(|cursor| self.stream.backlog().map(|backlog| backlog.read(cursor))))
    }

    fn advance_cursor(&mut self, key: ReplicaKey, bytes: usize) {
        let Some(replica) = self.replicas.get_mut(key) else { return };
        let (Some(cursor), Some(backlog)) = (&mut replica.cursor, self.stream.backlog_mut()) else { return };
        backlog.advance(cursor, bytes).expect("no more is sent than was lent");
        replica.lent = replica.lent.max(cursor.offset());
        self.counters.sent_bytes += bytes as u64;
        if let (true, Some(from)) = (replica.over_since.is_some(), replica.charged_from()) {
            // Below its soft limit it is forgiven. If it is not, its deadline stands.
            let _ = self.output.judge(from, &mut replica.over_since, self.stream.end(), self.now);
        }
    }

    /// Enters an open replica among those whose next bytes are to be told of: after the next
    /// [`Primary::handle_timeout`] if it `had_its_turn`. Tells whether it has caught up.
    pub(super) fn queue(&mut self, key: ReplicaKey, had_its_turn: bool) -> bool {
        let end = self.stream.end();
        let Some(replica) = self.replicas.get_mut(key) else { return true };
        if mem::replace(&mut replica.queued, true) {
            self.outbox.sends.remove(key);
        }
        let sent = replica.sent();
        self.outbox.sends.push(key, sent, end, had_its_turn);
        sent == end
    }

    pub(super) fn poll_send(&mut self) -> Option<Event> {
        let key = self.outbox.sends.pop(self.stream.end())?;
        if let Some(replica) = self.replicas.get_mut(key) {
            replica.queued = false;
        }
        Some(Event::Send(key))
    }
}

/// One system call, of up to 16 slices.
#[cfg(feature = "std")]
fn write_some(reader: &Reader<'_>, writer: &mut impl io::Write) -> io::Result<usize> {
    if reader.chunk().len() == reader.remaining() {
        return writer.write(reader.chunk());
    }
    let mut slices = [IoSlice::new(&[]); 16];
    let filled = reader.chunks_vectored(&mut slices);
    writer.write_vectored(&slices[..filled])
}
