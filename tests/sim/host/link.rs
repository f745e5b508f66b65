use std::io;
use std::time::Duration;

use bytes::Buf;
use headwater::wire::{CommandLimits, CommandReader};
use headwater::{Batch, Peer, Primary, ReplicaKey, Sent, SnapshotKey, Tag, Timestamp};

use super::clock::Clock;
use super::departures::Departure;
use super::snapshots::Transfer;
use crate::env::Env;
use crate::fault::Fault;
use crate::network::{Connection, End};
use crate::options::Sending;

/// The host's end of one connection: what it has to write, and what the primary must know of it by now.
#[derive(Debug)]
pub(crate) struct Link {
    pub(super) connection: Connection,
    pub(super) reader: CommandReader,
    pub(super) peer: Peer,
    /// Once it is attached.
    pub(super) replica: Option<ReplicaKey>,
    /// What the host itself has to say: answers, and an image with its frame. It goes ahead of the stream.
    pub(super) output: Vec<u8>,
    /// While an image is in the output.
    pub(super) transfer: Option<Transfer>,
    pub(super) has_begun_transfer: bool,
    pub(super) account: Account,
    /// The primary has told of bytes to be sent.
    pub(super) is_ready: bool,
    /// A batch that is out.
    batch: Option<Batch>,
    /// When a batch that is written goes back to the primary.
    return_at: Duration,
}

/// What is true of an attached replica, by the model's own reckoning.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// From where the primary has to keep the stream for it; `None` until its snapshot begins.
    pub(super) sent: Option<usize>,
    /// How much of the stream has gone out; ahead of `sent` while a batch is out.
    pub(super) handed_out: usize,
    pub(super) credited_to: usize,
    pub(super) lent: usize,
    pub(super) acked: Option<usize>,
    pub(super) fsynced: Option<usize>,
    /// Where its part of the stream began.
    pub(super) began_at: usize,
    /// Where the stream ended as it resumed: when what is before entered may be forgotten.
    pub(super) resumed_to: usize,
    /// Its place among all that ever attached.
    pub(super) arrival: u64,
    /// The snapshot that it shares, or shared.
    pub(super) snapshot: Option<SnapshotKey>,
    /// From when its snapshot is ready until it is sent.
    pub(super) is_receiving: bool,
    pub(super) is_online: bool,
    /// What it has to acknowledge for its sync to have succeeded, once it has its snapshot.
    pub(super) synced_at: Option<usize>,
    /// Since when it is over the soft limit.
    pub(super) over_since: Option<Timestamp>,
    /// The primary has dropped it, and the event is yet to be taken.
    pub(super) departure: Option<Departure>,
    /// It waits behind an end mark for the first ack.
    pub(super) awaits_ack: bool,
    /// The last word from it, or that it came online.
    pub(super) heard: Timestamp,
    /// The last that its transfer took.
    pub(super) progress: Timestamp,
}

impl Link {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection,
            reader: CommandReader::new(CommandLimits::default()),
            peer: Peer::new(Tag(connection.0), "replica"),
            replica: None,
            output: Vec::new(),
            transfer: None,
            has_begun_transfer: false,
            account: Account::default(),
            is_ready: false,
            batch: None,
            return_at: Duration::ZERO,
        }
    }

    /// When it can write, if it wants to.
    pub(crate) fn due(&self, env: &Env) -> Option<Duration> {
        if self.batch.as_ref().is_some_and(|batch| !batch.has_remaining()) {
            return Some(self.return_at);
        }
        let wants = !self.output.is_empty() || self.transfer.is_some() || self.is_ready;
        let wants = wants || self.batch.is_some();
        (wants && env.network.has_room(self.connection, End::Primary)).then_some(env.now)
    }

    /// What counts against the output limit at `end`.
    pub(super) fn charged(&self, end: usize) -> Option<usize> {
        let sent = self.account.sent?;
        Some(end.saturating_sub(sent.max(self.account.credited_to)))
    }

    /// Since when nothing came of it that counts in its stage.
    pub(super) fn silent_since(&self) -> Option<Timestamp> {
        if self.account.is_receiving {
            return Some(self.account.progress);
        }
        self.account.is_online.then_some(self.account.heard)
    }

    /// Whether it is attached, and not dropped.
    pub(super) fn is_live(&self) -> bool {
        self.replica.is_some() && self.account.departure.is_none()
    }

    /// The primary keeps the stream for it from `at` on.
    pub(super) fn start_at(&mut self, at: usize) {
        let account = &mut self.account;
        account.sent = Some(at);
        (account.handed_out, account.lent, account.began_at) = (at, at, at);
        account.credited_to = account.credited_to.max(at);
    }

    /// The batch that is out, if there is one: it outlives its link.
    pub(super) fn into_batch(self) -> Option<Batch> {
        self.batch
    }

    /// Writes what the host itself has to say. Tells whether all of it is out.
    pub(super) fn write_output(&mut self, env: &mut Env) -> io::Result<(usize, bool)> {
        if self.output.is_empty() {
            return Ok((0, true));
        }
        match env.write(self.connection, End::Primary, &self.output) {
            Ok(written) => {
                env.journal.output(&self.output[..written]);
                self.output.drain(..written);
                Ok((written, self.output.is_empty()))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok((0, false)),
            Err(error) => Err(error),
        }
    }

    /// Sends what the primary has for it, by the run's way.
    pub(super) fn send(&mut self, primary: &mut Primary, clock: &mut Clock, env: &mut Env) -> io::Result<()> {
        let Some(replica) = self.replica else { return Ok(()) };
        match env.options.sending {
            Sending::WriteTo => self.send_by_write_to(replica, primary, clock, env),
            Sending::Batches => self.send_by_batch(replica, primary, clock, env),
            Sending::ByHand => self.send_by_hand(replica, primary, clock, env),
        }
    }

    fn send_by_write_to(
        &mut self,
        replica: ReplicaKey,
        primary: &mut Primary,
        clock: &mut Clock,
        env: &mut Env,
    ) -> io::Result<()> {
        let now = clock.read(env.now);
        let mut socket = Socket { link: self, env, failed: None };
        let sent = primary.write_to(replica, &mut socket, now);
        let failed = socket.failed;
        self.account.sent = self.account.sent.map(|_| self.account.handed_out);
        self.account.lent = self.account.lent.max(self.account.handed_out);
        if let Some(kind) = failed {
            return Err(kind.into());
        }
        let sent = sent.expect("the writer failed, or the replica is attached");
        self.is_ready = sent == Sent::Blocked;
        Ok(())
    }

    fn send_by_batch(
        &mut self,
        replica: ReplicaKey,
        primary: &mut Primary,
        clock: &mut Clock,
        env: &mut Env,
    ) -> io::Result<()> {
        if self.batch.is_none() {
            self.is_ready = false;
            let now = clock.read(env.now);
            let Some(batch) = primary.take_batch(replica, now).expect("it is attached") else {
                return Ok(());
            };
            let sent = self.account.sent.expect("nothing is lent before the snapshot");
            self.account.lent = self.account.lent.max(sent + batch.remaining());
            self.return_at = env.now + env.rng.millis(0..=5);
            if env.strikes(Fault::BatchReturnedLate, 10) {
                self.return_at = env.in_millis(100, 3000);
            }
            self.batch = Some(batch);
        }
        let Some(mut batch) = self.batch.take() else { return Ok(()) };
        let written = self.write_from(&mut batch, env);
        let goes_back = env.now >= self.return_at && (!batch.has_remaining() || env.rng.chance(30));
        if !goes_back {
            self.batch = Some(batch);
            return written;
        }
        primary.handle_batch_written(batch, clock.read(env.now));
        self.account.sent = Some(self.account.handed_out);
        written
    }

    fn send_by_hand(
        &mut self,
        replica: ReplicaKey,
        primary: &mut Primary,
        clock: &mut Clock,
        env: &mut Env,
    ) -> io::Result<()> {
        self.is_ready = false;
        let end = env.model.end();
        let Some(mut reader) = primary.unsent(replica).expect("it is attached") else { return Ok(()) };
        self.account.lent = end;
        let before = self.account.handed_out;
        let written = self.write_from(&mut reader, env);
        let count = self.account.handed_out - before;
        let now = clock.read(env.now);
        let sent = primary.handle_sent(replica, count, now).expect("no more was sent than lent");
        self.is_ready = sent == Sent::Partly;
        self.account.sent = Some(self.account.handed_out);
        written
    }

    /// Writes what the network takes of a lent stretch of the stream.
    fn write_from(&mut self, lent: &mut impl Buf, env: &mut Env) -> io::Result<()> {
        while lent.has_remaining() {
            match self.hand_out(lent.chunk(), env) {
                Ok(count) => lent.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// S1: what goes out at each offset is what was appended there, without a gap or a repeat, and only when the
    /// stream is open.
    fn hand_out(&mut self, bytes: &[u8], env: &mut Env) -> io::Result<usize> {
        assert!(self.output.is_empty(), "the host's own words go first");
        assert!(self.account.is_online, "S3: the stream comes behind the snapshot");
        assert!(!self.account.awaits_ack, "R89: the stream behind an end mark waits for an ack");
        let count = env.write(self.connection, End::Primary, bytes)?;
        env.model.check_handed_out(self.account.handed_out, &bytes[..count]);
        env.journal.output(&bytes[..count]);
        self.account.handed_out += count;
        Ok(count)
    }
}

impl Account {
    /// Whether it waits for a snapshot to begin.
    pub(super) fn waits(&self) -> bool {
        self.sent.is_none()
    }

    /// Whether its snapshot is being made.
    pub(super) fn is_preparing(&self) -> bool {
        self.is_in_transfer() && !self.is_receiving
    }

    /// Whether its snapshot is being made or sent.
    pub(super) fn is_in_transfer(&self) -> bool {
        self.sent.is_some() && !self.is_online
    }

    /// Whether its sync has begun, and may still fail.
    pub(super) fn is_syncing(&self) -> bool {
        self.is_in_transfer() || self.synced_at.is_some()
    }
}

/// The connection as `Primary::write_to` sees it.
struct Socket<'a> {
    link: &'a mut Link,
    env: &'a mut Env,
    failed: Option<io::ErrorKind>,
}

impl io::Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.link.hand_out(bytes, self.env);
        if let Err(error) = &written
            && error.kind() != io::ErrorKind::WouldBlock
        {
            self.failed = Some(error.kind());
        }
        written
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let mut total = 0;
        for slice in slices {
            let written = self.write(slice);
            total += *written.as_ref().unwrap_or(&0);
            match written {
                Ok(count) if count == slice.len() => {}
                Err(error) if total == 0 => return Err(error),
                _ => break,
            }
        }
        Ok(total)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
