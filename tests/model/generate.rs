//! What a host might call next: mostly what makes sense, near where an answer changes.
//!
//! A choice is a seed of its own, read against what is there at that moment. So any part of a history is a history,
//! and one that fails can be made shorter.

use std::time::Duration;

use headwater::{
    Ack, Detach, Framing, Image, Level, Offset, Peer, ReplicaReport, ReplicaState, ReplicationId, Tag,
    Timeout, Timestamp, Wait, Wanted,
};

use crate::pair::Pair;
use crate::reference::{Input, KEPT_WHOLE_FROM, Output, Piece, Told, Unit, Writer};
use crate::rng::Rng;
use crate::settings::{Family, vary};

/// What a host remembers.
pub(crate) struct Host {
    family: Family,
    pub(crate) now: Timestamp,
    names: u64,
    waits: u64,
    ids: Vec<ReplicationId>,
    /// Who was attached once.
    replicas: Vec<u64>,
    /// Who waits, or was waiting.
    waiters: Vec<u64>,
    /// Peers that left, and what they held.
    departed: Vec<(Peer, Offset)>,
    last: Vec<(Peer, Offset)>,
    is_id_wanted: bool,
    written: u8,
}

#[derive(Clone, Copy)]
enum Kind {
    Attach,
    Detach,
    Write,
    Append,
    Look,
    Ack,
    Alive,
    WriteTo,
    TakeBatch,
    BatchWritten,
    Unsent,
    Sent,
    Wait,
    CancelWait,
    EndWaits,
    LocalFsync,
    BeginSnapshot,
    SnapshotReady,
    SnapshotFailed,
    SnapshotProgress,
    SnapshotSent,
    SupplyId,
    Reconfigure,
    ResetCounters,
    Timeout,
}

impl Host {
    pub(crate) fn new(family: Family, first: ReplicationId) -> Self {
        Self {
            family,
            now: Timestamp::default(),
            names: 0,
            waits: 0,
            ids: vec![first],
            replicas: Vec::new(),
            waiters: Vec::new(),
            departed: Vec::new(),
            last: Vec::new(),
            is_id_wanted: false,
            written: 0,
        }
    }

    /// The next call, and when it is made.
    pub(crate) fn choose(&mut self, pair: &Pair, rng: &mut Rng) -> (Input, Timestamp) {
        self.note_departed(pair);
        let kind = self.kind(pair, rng);
        let at = self.moment(pair, kind, rng);
        (self.input(kind, pair, rng), at)
    }

    pub(crate) fn note(&mut self, input: &Input, output: &Output) {
        match (input, output) {
            (Input::Attach { peer, .. }, Output::Attached(Ok(_))) => self.replicas.push(peer.tag.0),
            (Input::Wait(wait), Output::Waited(Ok(None))) => self.waiters.push(wait.tag.0),
            (Input::SupplyId(_), Output::IdTaken(Ok(()))) => self.is_id_wanted = false,
            (_, Output::Event(Some(Told::IdWanted))) => self.is_id_wanted = true,
            _ => {}
        }
    }

    fn note_departed(&mut self, pair: &Pair) {
        let report = pair.report();
        let held = |replica: &ReplicaReport| replica.acked.unwrap_or(Offset::ZERO);
        let present: Vec<_> =
            report.replicas.iter().map(|replica| (replica.peer.clone(), held(replica))).collect();
        let gone =
            self.last.iter().filter(|(peer, _)| present.iter().all(|(other, _)| other.tag != peer.tag));
        self.departed.extend(gone.cloned());
        self.last = present;
    }

    fn kind(&self, pair: &Pair, rng: &mut Rng) -> Kind {
        let report = pair.report();
        let is_in = |state| report.replicas.iter().any(|replica| replica.state == state);
        let if_so = |is_so: bool, weight: u64| if is_so { weight } else { 1 };
        let some = !report.replicas.is_empty();
        let receiving = is_in(ReplicaState::ReceivingSized) || is_in(ReplicaState::ReceivingEndMarked);
        let menu = [
            (Kind::Attach, if report.replicas.len() < 3 { 24 } else { 6 }),
            (Kind::Detach, if_so(some, 5)),
            (Kind::Write, 16),
            (Kind::Append, 16),
            (Kind::Look, 6),
            (Kind::Ack, if_so(some, 28)),
            (Kind::Alive, if_so(some, 5)),
            (Kind::WriteTo, if_so(some, 14)),
            (Kind::TakeBatch, if_so(some, 5)),
            (Kind::BatchWritten, if_so(pair.batches().next().is_some(), 10)),
            (Kind::Unsent, if_so(some, 6)),
            (Kind::Sent, if_so(some, 8)),
            (Kind::Wait, 22),
            (Kind::CancelWait, 8),
            (Kind::EndWaits, 1),
            (Kind::LocalFsync, 6),
            (Kind::BeginSnapshot, if_so(is_in(ReplicaState::WaitingForSnapshot), 20)),
            (Kind::SnapshotReady, if_so(is_in(ReplicaState::PreparingSnapshot), 14)),
            (Kind::SnapshotFailed, 1),
            (Kind::SnapshotProgress, if_so(receiving, 6)),
            (Kind::SnapshotSent, if_so(receiving, 20)),
            (Kind::SupplyId, if_so(self.is_id_wanted, 40)),
            (Kind::Reconfigure, 5),
            (Kind::ResetCounters, 1),
            (Kind::Timeout, 22),
        ];
        let mut left = rng.upto(menu.iter().map(|(_, weight)| weight).sum::<u64>() - 1);
        for (kind, weight) in menu {
            if left < weight {
                return kind;
            }
            left -= weight;
        }
        Kind::Timeout
    }

    /// Mostly no time passes, or up to a deadline, or one nanosecond more or less. Clocks go back, too.
    fn moment(&mut self, pair: &Pair, kind: Kind, rng: &mut Rng) -> Timestamp {
        let is_timeout = matches!(kind, Kind::Timeout);
        let nanosecond = Duration::from_nanos(1);
        let past = |at: Timestamp| at.since_origin();
        let now = past(self.now);
        // A deadline at the end of time is not gone to.
        let is_near = |at: &Timestamp| past(*at) > now && past(*at) < now + Duration::from_secs(3600);
        let deadline = rng.pick(&pair.deadlines()).filter(is_near);
        let first = pair.poll_timeout().filter(is_near).map_or(now, past);
        let next = match rng.upto(99) {
            0..45 if !is_timeout => now,
            0..60 if is_timeout => first,
            45..60 => now + Duration::from_nanos(rng.within(1, 3_000_000)),
            60..78 => now + rng.millis(1, 600),
            78..84 => first,
            84..94 => {
                let near = [Duration::ZERO, nanosecond, nanosecond * 2];
                deadline.map_or(now, |at| past(at) + rng.one_of(near) - nanosecond)
            }
            94..97 => return Timestamp::from_origin(now.saturating_sub(rng.millis(0, 800))),
            _ => now + rng.millis(600, 4000),
        };
        let at = Timestamp::from_origin(next);
        if !matches!(kind, Kind::Look) {
            self.now = self.now.max(at);
        }
        at
    }

    fn input(&mut self, kind: Kind, pair: &Pair, rng: &mut Rng) -> Input {
        match kind {
            Kind::Attach => self.attach(pair, rng),
            Kind::Write if rng.chance(80) => Input::Write(self.unit(pair, rng)),
            Kind::Write => Input::WriteUngated(self.unit(pair, rng)),
            Kind::Append if rng.chance(60) => Input::Append(self.bytes(pair, rng)),
            Kind::Append => Input::AppendShared(self.bytes(pair, rng)),
            Kind::Look if rng.chance(50) => Input::AdmitWrite,
            Kind::Look => Input::GoodAt(self.offset(pair, rng)),
            Kind::Wait => self.wait(pair, rng),
            Kind::CancelWait => {
                let recent = self.waiters.len().saturating_sub(if rng.chance(80) { 2 } else { usize::MAX });
                rng.pick(&self.waiters[recent..]).map_or(Input::AdmitWrite, Input::CancelWait)
            }
            Kind::EndWaits => Input::EndWaits,
            Kind::LocalFsync => {
                let stops = rng.chance(15);
                Input::LocalFsync((!stops).then(|| self.offset(pair, rng)))
            }
            Kind::BeginSnapshot => Input::BeginSnapshot(image(rng)),
            Kind::SupplyId => Input::SupplyId(self.id(rng)),
            Kind::Reconfigure => Input::Reconfigure(Box::new(vary(pair.config(), self.family, rng))),
            Kind::ResetCounters => Input::ResetCounters,
            Kind::Timeout => Input::Timeout,
            Kind::SnapshotReady | Kind::SnapshotFailed => {
                let Some(number) = snapshot(pair, rng) else { return Input::BeginSnapshot(image(rng)) };
                let is_ready = matches!(kind, Kind::SnapshotReady);
                if is_ready { Input::SnapshotReady(number) } else { Input::SnapshotFailed(number) }
            }
            _ => match self.replica(kind, pair, rng) {
                Some(replica) => self.about(replica, kind, pair, rng),
                None => self.attach(pair, rng),
            },
        }
    }

    fn about(&self, replica: u64, kind: Kind, pair: &Pair, rng: &mut Rng) -> Input {
        let report = pair.report().replicas.iter().find(|report| report.replica.tag().0 == replica);
        let unsent = usize::try_from(report.map_or(0, |report| report.unsent)).expect("small");
        match kind {
            Kind::Detach => {
                Input::Detach { replica, how: rng.one_of([Detach::Clean, Detach::Lost, Detach::Lost]) }
            }
            Kind::Ack => Input::Ack { replica, ack: ack(report, pair, rng) },
            Kind::WriteTo => Input::WriteTo { replica, writer: writer(unsent, rng) },
            Kind::TakeBatch => Input::TakeBatch(replica),
            Kind::BatchWritten => batch_written(pair, rng).unwrap_or(Input::TakeBatch(replica)),
            Kind::Unsent => Input::Unsent(replica),
            Kind::Sent => {
                let bytes = rng.one_of([unsent, unsent, unsent / 2, unsent + 1, 0, 1]);
                Input::Sent { replica, bytes }
            }
            Kind::SnapshotProgress => Input::SnapshotProgress { replica, sent: rng.within(0, 2000) },
            Kind::SnapshotSent => Input::SnapshotSent(replica),
            _ => Input::Alive(replica),
        }
    }

    /// Mostly one that is there, and in the state that the call is about.
    fn replica(&self, kind: Kind, pair: &Pair, rng: &mut Rng) -> Option<u64> {
        if rng.chance(3) {
            return rng.pick(&self.replicas);
        }
        let of = |wanted: &dyn Fn(&ReplicaReport) -> bool| -> Vec<u64> {
            let replicas = pair.report().replicas.iter().filter(|replica| wanted(replica));
            replicas.map(|replica| replica.replica.tag().0).collect()
        };
        let receives = |replica: &ReplicaReport| {
            matches!(replica.state, ReplicaState::ReceivingSized | ReplicaState::ReceivingEndMarked)
        };
        let is_online = |replica: &ReplicaReport| replica.state == ReplicaState::Online;
        let suited = match kind {
            Kind::SnapshotProgress | Kind::SnapshotSent => of(&receives),
            Kind::WriteTo | Kind::TakeBatch | Kind::Unsent | Kind::Sent => of(&is_online),
            Kind::Ack if rng.chance(80) => of(&is_online),
            _ => Vec::new(),
        };
        rng.pick(&suited).or_else(|| rng.pick(&of(&|_| true)))
    }

    fn attach(&mut self, pair: &Pair, rng: &mut Rng) -> Input {
        let back = if rng.chance(60) { rng.size(0, 2) } else { usize::MAX };
        let returning = self.departed.iter().rev().nth(back).cloned();
        self.names += 1;
        let mut peer = Peer::new(Tag(self.names), rng.one_of(["a", "b", "c", "d"]));
        peer.port = rng.one_of([0, 7000]);
        peer.takes_end_mark = rng.chance(60);
        peer.acks = rng.chance(88);
        let mut offset = self.offset(pair, rng);
        if let Some((before, held)) = returning {
            (peer.address, peer.port) = (before.address, before.port);
            offset = if rng.chance(80) { held } else { offset };
        }
        if let Some(backlog) = pair.report().backlog.filter(|_| rng.chance(10)) {
            offset = backlog.start;
        }
        if rng.chance(20) {
            let furthest = most_behind(pair).saturating_sub(rng.upto(1));
            offset = Offset::new(pair.report().end.get().saturating_sub(furthest)).expect("small");
        }
        let wanted = match rng.upto(99) {
            0..30 => Wanted::Everything,
            30..33 => Wanted::Unrecognised,
            33..90 => Wanted::After { id: pair.report().id, offset },
            _ => Wanted::After { id: rng.pick(&self.ids).unwrap_or(ReplicationId::NONE), offset },
        };
        Input::Attach { wanted, peer }
    }

    fn wait(&mut self, pair: &Pair, rng: &mut Rng) -> Input {
        self.waits += 1;
        let most = rng.one_of([0, 50, 2000]);
        let after = rng.millis(0, most);
        let forever = if rng.chance(95) { Timeout::Never } else { Timeout::After(Duration::MAX) };
        Input::Wait(Wait {
            target: self.offset(pair, rng),
            replicas: rng.size(0, pair.report().replicas.len() + 1),
            level: rng.one_of([Level::Applied, Level::Applied, Level::Fsynced]),
            local: rng.chance(25),
            timeout: rng.one_of([Timeout::Immediate, forever, Timeout::After(after), Timeout::After(after)]),
            tag: Tag(self.waits),
        })
    }

    fn unit(&mut self, pair: &Pair, rng: &mut Rng) -> Unit {
        let mut pieces = vec![self.piece(pair, rng)];
        if rng.chance(10) {
            pieces.push(self.piece(pair, rng));
        }
        if rng.chance(6) {
            let index = rng.size(0, pieces.len());
            pieces.insert(index, Piece::Clear);
        }
        Unit { pieces, panics: rng.upto(999) < 4 }
    }

    fn piece(&mut self, pair: &Pair, rng: &mut Rng) -> Piece {
        let bytes = self.bytes(pair, rng);
        if rng.chance(60) { Piece::Put(bytes) } else { Piece::PutShared(bytes) }
    }

    /// Mostly a few, or as many as bring somebody to a limit, or one more or less.
    fn bytes(&mut self, pair: &Pair, rng: &mut Rng) -> Vec<u8> {
        let config = pair.config();
        let limits = [config.output_limit.hard, config.output_limit.soft.map(|soft| soft.bytes)];
        let near = rng.one_of(limits).unwrap_or(50).max(config.backlog_capacity as u64);
        let behind =
            rng.pick(&pair.report().replicas.iter().map(|replica| replica.unsent).collect::<Vec<_>>());
        let missing = (near + rng.upto(2)).saturating_sub(behind.unwrap_or(0) + 1);
        let len = match rng.upto(99) {
            0..70 => rng.size(0, 30),
            70..85 => rng.size(0, 200),
            90.. if config.max_unit >= KEPT_WHOLE_FROM => KEPT_WHOLE_FROM + rng.size(0, 600) - 200,
            85..97 if missing < 3000 => usize::try_from(missing).expect("small"),
            97 if config.max_unit < 3000 => config.max_unit + rng.size(0, 1),
            _ => rng.size(0, 60),
        };
        (0..len).map(|_| self.next_byte()).collect()
    }

    /// Bytes that differ from those a chunk's length before and after.
    fn next_byte(&mut self) -> u8 {
        self.written = if self.written == 250 { 0 } else { self.written + 1 };
        self.written
    }

    /// Near a place where answers change: the end, the start, what somebody has or had, how far behind one may be.
    fn offset(&self, pair: &Pair, rng: &mut Rng) -> Offset {
        let report = pair.report();
        let end = report.end.get();
        let start = report.backlog.map_or(end, |backlog| backlog.start.get());
        let replica = rng.size(0, report.replicas.len().max(1) - 1);
        let replica = report.replicas.get(replica);
        let acked = replica.and_then(|replica| replica.acked).map_or(end, Offset::get);
        let limit = end.saturating_sub(most_behind(pair));
        let fsynced = report.local_fsynced.map_or(0, Offset::get);
        let sent = end - replica.map_or(0, |replica| replica.unsent);
        let (kept, any) = (rng.within(start, end), rng.upto(end));
        let places = [end, end, start, start, acked, sent, limit, fsynced, kept, any];
        let near = rng.one_of([1, 1, 1, 0, 2]);
        Offset::new((rng.one_of(places) + near).saturating_sub(1)).expect("small")
    }

    fn id(&mut self, rng: &mut Rng) -> ReplicationId {
        if rng.chance(8) {
            return rng.pick(&[ReplicationId::NONE, self.ids[self.ids.len() - 1]]).expect("two");
        }
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&rng.next().to_le_bytes());
        // The same choice may be made twice, and an id is never used again.
        bytes[8..16].copy_from_slice(&self.ids.len().to_le_bytes());
        let id = ReplicationId::from_random(bytes);
        self.ids.push(id);
        id
    }
}

/// Who is one byte less behind may resume.
fn most_behind(pair: &Pair) -> u64 {
    let (credit, limit) = (pair.config().backlog_capacity as u64, pair.config().output_limit);
    let at_once = limit.soft.filter(|soft| soft.lasting == Duration::ZERO).map(|soft| soft.bytes);
    let most = at_once.or(limit.hard).unwrap_or_else(|| pair.report().end.get());
    most.max(credit).saturating_add(credit)
}

/// Mostly what a replica may say, and near what it said before or was sent.
fn ack(report: Option<&ReplicaReport>, pair: &Pair, rng: &mut Rng) -> Ack {
    let end = pair.report().end.get();
    let sent = report.map_or(end, |report| end - report.unsent);
    let acked = report.and_then(|report| report.acked).map_or(0, Offset::get);
    let is_lent = report.is_none_or(|report| report.unsent > 0 || report.state == ReplicaState::Online);
    let applied = match rng.upto(99) {
        // Without any of the stream.
        0..94 if !is_lent => acked,
        0..45 => sent,
        45..60 => acked + rng.upto(sent.saturating_sub(acked)),
        60..75 => acked,
        75..84 => (acked + rng.upto(2)).saturating_sub(1),
        84..94 => (sent + rng.upto(1)).saturating_sub(1),
        94..96 => sent + 1,
        96..98 => end,
        _ => end + 1,
    };
    let fsynced = match rng.upto(99) {
        0..50 => None,
        50..85 => Some(applied),
        85..97 => Some(rng.upto(applied)),
        _ => Some(applied + 1),
    };
    let at = |bytes| Offset::new(bytes).expect("small");
    Ack { applied: at(applied), fsynced: fsynced.map(at) }
}

fn writer(unsent: usize, rng: &mut Rng) -> Writer {
    let room = if rng.chance(60) { usize::MAX } else { rng.size(0, unsent) };
    Writer { room, piece: rng.one_of([usize::MAX, 1 + unsent / 2, 50]), breaks: rng.chance(10) }
}

fn batch_written(pair: &Pair, rng: &mut Rng) -> Option<Input> {
    let (replica, len) = rng.pick(&pair.batches().collect::<Vec<_>>())?;
    let written = if rng.chance(60) { len } else { rng.size(0, len) };
    Some(Input::BatchWritten { replica, written })
}

fn image(rng: &mut Rng) -> Image {
    Image {
        framing: rng.one_of([Framing::Sized, Framing::EndMarked]),
        replayable: rng.chance(60),
        size: rng.chance(50).then(|| rng.within(0, 5000)),
    }
}

/// Mostly one of the last.
fn snapshot(pair: &Pair, rng: &mut Rng) -> Option<u64> {
    let begun = pair.snapshots_begun() as u64;
    let back = if rng.chance(85) { rng.upto(1) } else { rng.upto(begun) };
    begun.checked_sub(back).filter(|number| *number > 0)
}
