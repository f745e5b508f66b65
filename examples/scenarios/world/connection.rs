use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use headwater::{Ack, LinkKey, ReplicaKey, ReplicationId, ResumePoint, Sent, Tag, Timestamp};

use super::host::Host;
use super::keys::Keys;
use super::unit;

/// The way between a replica and its primary.
#[derive(Clone, Copy, Debug, Default)]
pub struct Network {
    /// How long what the primary sends is under way, be it in its own buffers.
    pub to_replica: Duration,
    /// How long an ack is.
    pub to_primary: Duration,
    /// Bytes a second that it carries to the replica, if that is bounded.
    pub rate: Option<u64>,
}

/// One connection of a replica to its primary, both ends of it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) follower: usize,
    pub(super) leader: usize,
    pub(super) tag: Tag,
    pub(super) link: LinkKey,
    pub(super) replica: ReplicaKey,
    pub(super) network: Network,
    to_replica: VecDeque<(Timestamp, Parcel)>,
    to_primary: VecDeque<(Timestamp, Ack)>,
    /// When it can carry more.
    free_at: Timestamp,
    /// There are bytes of the stream to be sent.
    pub(super) has_more: bool,
    transfer: Option<Transfer>,
    /// The beginning of a unit that has not come whole.
    partial: BytesMut,
    pub(super) is_closed_by_follower: bool,
    pub(super) is_closed_by_leader: bool,
}

/// What the primary sends.
#[derive(Debug)]
pub(super) enum Parcel {
    Resumed(ReplicationId),
    Full(ResumePoint),
    /// A piece of the image, or a sign of life.
    Alive,
    ImageEnd(Keys),
    Stream(Bytes),
}

/// An image on its way.
#[derive(Debug)]
pub(super) struct Transfer {
    keys: Keys,
    size: u64,
    sent: u64,
    /// What is being sent now.
    piece: u64,
}

impl Connection {
    pub(super) fn new(
        (follower, leader): (usize, usize),
        (tag, link, replica): (Tag, LinkKey, ReplicaKey),
        network: Network,
        now: Timestamp,
    ) -> Self {
        Self {
            follower,
            leader,
            tag,
            link,
            replica,
            network,
            to_replica: VecDeque::new(),
            to_primary: VecDeque::new(),
            free_at: now,
            has_more: false,
            transfer: None,
            partial: BytesMut::new(),
            is_closed_by_follower: false,
            is_closed_by_leader: false,
        }
    }

    /// When something moves on it next, if it is not blocked.
    pub(super) fn next_at(&self) -> Option<Timestamp> {
        let is_sending = (self.has_more || self.transfer.is_some()) && !self.is_closed_by_leader;
        let sends_at = is_sending.then_some(self.free_at);
        let comes_at = self.to_replica.front().map(|(at, _)| *at);
        let acked_at = self.to_primary.front().map(|(at, _)| *at);
        [sends_at, comes_at, acked_at].into_iter().flatten().min()
    }

    pub(super) fn send(&mut self, parcel: Parcel, now: Timestamp) {
        self.to_replica.push_back((after(now, self.network.to_replica), parcel));
    }

    pub(super) fn send_ack(&mut self, ack: Ack, now: Timestamp) {
        self.to_primary.push_back((after(now, self.network.to_primary), ack));
    }

    pub(super) fn begin_transfer(&mut self, keys: Keys, size: u64) {
        self.transfer = Some(Transfer { keys, size, sent: 0, piece: 0 });
    }

    /// Sends what there is for the replica, as fast as the network carries it. Tells whether it did something.
    pub(super) fn pump(&mut self, leader: &mut Host, now: Timestamp) -> bool {
        if self.free_at > now || self.is_closed_by_leader {
            return false;
        }
        match self.transfer.take() {
            Some(transfer) => self.pump_image(transfer, leader, now),
            None if self.has_more => self.pump_stream(leader, now),
            None => return false,
        }
        true
    }

    /// One piece has gone out, and the next goes.
    fn pump_image(&mut self, mut transfer: Transfer, leader: &mut Host, now: Timestamp) {
        transfer.sent += transfer.piece;
        leader.image_sent += transfer.piece;
        let primary = leader.node.primary();
        if transfer.sent == transfer.size {
            primary.handle_snapshot_sent(self.replica, now).expect("it is attached");
            return self.send(Parcel::ImageEnd(transfer.keys), now);
        }
        primary.handle_snapshot_progress(self.replica, transfer.sent, now).expect("it is attached");
        self.send(Parcel::Alive, now);
        transfer.piece = self.room(IMAGE_PIECE).min(transfer.size - transfer.sent);
        self.free_at = after(now, self.time_for(transfer.piece));
        self.transfer = Some(transfer);
    }

    fn pump_stream(&mut self, leader: &mut Host, now: Timestamp) {
        let (mut room, mut carried) = (self.room(STREAM_PIECE), 0);
        let mut pieces = Vec::new();
        self.has_more = loop {
            let unsent = leader.node.primary().unsent(self.replica).expect("it is attached");
            let Some(reader) = unsent.filter(Buf::has_remaining) else { break false };
            let piece = reader.to_bytes(usize::try_from(room).unwrap_or(usize::MAX));
            if piece.is_empty() {
                break true;
            }
            room -= piece.len() as u64;
            carried += piece.len() as u64;
            let sent = leader.node.primary().handle_sent(self.replica, piece.len(), now);
            pieces.push(piece);
            if sent.expect("it was lent") == Sent::All {
                break false;
            }
        };
        self.free_at = after(now, self.time_for(carried));
        let comes_at = after(self.free_at, self.network.to_replica);
        self.to_replica.extend(pieces.into_iter().map(|piece| (comes_at, Parcel::Stream(piece))));
    }

    /// Hands over one thing that has come in each direction, so that what follows of it is done before the next. Tells
    /// whether something has come.
    pub(super) fn deliver(&mut self, follower: &mut Host, leader: &mut Host, now: Timestamp) -> bool {
        let parcel = self.to_replica.pop_front_if(|(at, _)| *at <= now);
        let ack = self.to_primary.pop_front_if(|(at, _)| *at <= now);
        let has_come = parcel.is_some() || ack.is_some();
        if let Some((_, parcel)) = parcel.filter(|_| !self.is_closed_by_follower) {
            self.unpack(parcel, follower, now);
        }
        if let Some((_, ack)) = ack.filter(|_| !self.is_closed_by_leader) {
            let primary = leader.node.primary();
            primary.handle_ack(self.replica, ack, now).expect("it is attached, and no liar");
        }
        has_come
    }

    fn unpack(&mut self, parcel: Parcel, follower: &mut Host, now: Timestamp) {
        let (node, link) = (&mut follower.node, self.link);
        let done = match parcel {
            Parcel::Resumed(id) => node.handle_resumed(link, Some(id), now),
            Parcel::Full(point) => node.handle_full(link, point, now),
            Parcel::Alive => node.handle_heard(link, now),
            Parcel::ImageEnd(keys) => {
                follower.keys = keys;
                node.handle_snapshot_end(link, now).and_then(|()| node.handle_loaded(link, now))
            }
            Parcel::Stream(bytes) => {
                self.apply(bytes, follower, now);
                Ok(())
            }
        };
        done.expect("the link is open, and at this step");
    }

    /// Applies what has come whole. Units are not told apart: several at once are as good as one.
    fn apply(&mut self, bytes: Bytes, follower: &mut Host, now: Timestamp) {
        let received = follower.node.handle_received(self.link, bytes.len() as u64, now);
        received.expect("the link is in step");
        let mut bytes = bytes;
        if !self.partial.is_empty() {
            self.partial.extend_from_slice(&bytes);
            bytes = self.partial.split().freeze();
        }
        let whole = unit::read_whole(&bytes, |key| follower.keys.insert(key));
        let units = bytes.split_to(whole);
        self.partial.extend_from_slice(&bytes);
        if !units.is_empty() {
            let applied = follower.node.handle_applied(self.link, &units, now);
            applied.expect("no more than was received");
        }
        if follower.setup.acks_at_once {
            follower.node.acknowledge();
        }
    }

    /// Bytes that it carries in a span.
    fn room(&self, span: Duration) -> u64 {
        let carried = |rate: u64| u128::from(rate) * span.as_nanos() / NANOS;
        self.network.rate.map_or(u64::MAX, |rate| u64::try_from(carried(rate)).unwrap_or(u64::MAX).max(1))
    }

    fn time_for(&self, bytes: u64) -> Duration {
        let nanos = |rate: u64| (u128::from(bytes) * NANOS).div_ceil(u128::from(rate.max(1)));
        let span = |rate| u64::try_from(nanos(rate)).map_or(Duration::MAX, Duration::from_nanos);
        self.network.rate.map_or(Duration::ZERO, span)
    }
}

pub(super) fn after(now: Timestamp, span: Duration) -> Timestamp {
    now.checked_add(span).unwrap_or(Timestamp::from_origin(Duration::MAX))
}

/// What is sent at once of an image: so often is its progress told.
const IMAGE_PIECE: Duration = Duration::from_millis(100);

/// What is sent at once of the stream.
const STREAM_PIECE: Duration = Duration::from_millis(1);

/// In a second.
const NANOS: u128 = 1_000_000_000;
