use headwater::{
    Config, DropReason, NotEnoughReplicas, Offset, OutputLimit, OverLimit, SoftLimit, StreamFull,
};
use headwater::{ReplicationId, Timestamp, WriteRefused};
use std::time::Duration;

use super::{Observed, Output, Piece, Reference, Replica, Unit, WriteRate, Written, at};

impl Reference {
    pub(super) fn end(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The gate first, then room for the largest unit: all refusals come before the closure runs.
    pub(super) fn write(&mut self, unit: &Unit) -> Result<Written, WriteRefused> {
        self.admit_by_gate(self.now)?;
        self.write_ungated(unit)
    }

    pub(super) fn write_ungated(&mut self, unit: &Unit) -> Result<Written, WriteRefused> {
        self.check_room()?;
        let is_wanted = self.kept_from.is_some();
        let context = self.context;
        let put = self.collect(unit, is_wanted);
        let end = match put {
            _ if unit.panics => self.break_history(),
            None => self.break_history(),
            Some(put) if put.is_empty() => None,
            Some(put) => {
                self.grow(&put);
                Some(at(self.end()))
            }
        };
        Ok(Written { end: end.filter(|_| !unit.panics), is_wanted, context, panicked: unit.panics })
    }

    /// All that a unit holds at its end; `None` if it is too much. What nobody wants goes nowhere.
    fn collect(&mut self, unit: &Unit, is_wanted: bool) -> Option<Vec<u8>> {
        let mut put = Some(Vec::new());
        for piece in &unit.pieces {
            match piece {
                Piece::Clear => {
                    put = Some(Vec::new());
                    self.context += 1;
                }
                Piece::Put(bytes) | Piece::PutShared(bytes) if is_wanted => {
                    let fits = |all: &Vec<u8>| all.len() + bytes.len() <= self.config.max_unit;
                    put = put.filter(fits).map(|all| [&all[..], bytes].concat());
                    self.note_handed_over(piece);
                }
                Piece::Put(_) | Piece::PutShared(_) => {}
            }
        }
        put
    }

    pub(super) fn append(&mut self, unit: &[u8]) -> Option<Offset> {
        self.kept_from?;
        if unit.len() > self.config.max_unit {
            return self.break_history();
        }
        self.grow(unit);
        Some(at(self.end()))
    }

    pub(super) fn append_shared(&mut self, unit: &[u8]) -> Option<Offset> {
        self.note_handed_over(&Piece::PutShared(unit.to_vec()));
        self.append(unit)
    }

    fn note_handed_over(&mut self, piece: &Piece) {
        if let Piece::PutShared(bytes) = piece
            && bytes.len() >= KEPT_WHOLE_FROM
        {
            self.largest_piece = self.largest_piece.max(bytes.len() as u64);
        }
    }

    pub(super) fn admit_write(&self, now: Timestamp) -> Result<(), WriteRefused> {
        self.admit_by_gate(now)?;
        Ok(self.check_room()?)
    }

    /// R149: either setting being zero switches the gate off.
    pub(super) fn admit_by_gate(&self, now: Timestamp) -> Result<(), NotEnoughReplicas> {
        let (needed, max_lag) = (self.config.min_replicas.to_write, self.config.min_replicas.max_lag);
        let good = self.good(now);
        if needed == 0 || max_lag.is_zero() || good >= needed {
            return Ok(());
        }
        Err(NotEnoughReplicas { good, needed, max_lag })
    }

    pub(super) fn good(&self, now: Timestamp) -> usize {
        self.replicas.iter().filter(|replica| self.is_good(replica, now)).count()
    }

    /// R147: online, and heard from lately, inclusive.
    pub(super) fn is_good(&self, replica: &Replica, now: Timestamp) -> bool {
        let silent = now.max(self.now).saturating_since(replica.heard);
        replica.is_online() && silent <= self.config.min_replicas.max_lag
    }

    pub(super) fn good_at(&self, offset: Offset, now: Timestamp) -> Output {
        let holds = |replica: &&Replica| replica.ack.is_some_and(|ack| ack.applied >= offset);
        let good = self.replicas.iter().filter(|replica| self.is_good(replica, now));
        Output::Good { good: good.clone().count(), holding: good.filter(holds).count() }
    }

    fn check_room(&self) -> Result<(), StreamFull> {
        let (end, bytes) = (self.end(), self.config.max_unit);
        if self.kept_from.is_some() && end + bytes as u64 > Offset::MAX.get() {
            return Err(StreamFull { end: at(end), bytes });
        }
        Ok(())
    }

    /// One unit more is in the stream, and everybody is judged by it.
    pub(super) fn grow(&mut self, unit: &[u8]) {
        let start = self.end();
        self.note_growth(start);
        self.bytes.extend_from_slice(unit);
        self.judge_all(Overdue::MayStay);
        self.enforce_pins(Overdue::MayStay);
    }

    fn note_growth(&mut self, start: u64) {
        self.units.push((start, self.now));
        let needed = self.replicas.iter().map(Replica::held).min().unwrap_or(start);
        self.ages_from = self.ages_from.max(needed);
        if self.sampled_at.is_none_or(|at| self.now.saturating_since(at) >= SAMPLE_PERIOD) {
            self.sampled_at = Some(self.now);
            self.write_rate.note(start, self.now);
        }
    }

    /// The limit as it acts: none is lower than the backlog's capacity (R123).
    pub(super) fn limit(&self) -> OutputLimit {
        let least = self.config.backlog_capacity as u64;
        let OutputLimit { hard, soft } = self.config.output_limit;
        OutputLimit {
            hard: hard.map(|hard| hard.max(least)),
            soft: soft.map(|soft| SoftLimit { bytes: soft.bytes.max(least), ..soft }),
        }
    }

    /// Bytes that wait for a replica and count against its limit.
    pub(super) fn charged(&self, replica: &Replica) -> u64 {
        self.end().saturating_sub(replica.sent.max(replica.credited_to))
    }

    /// R123, R124: a limit is reached at it, a duration is over past it, and a moment below forgives everything.
    pub(super) fn judge_all(&mut self, overdue: Overdue) {
        let mut over = Vec::new();
        for name in self.names(|replica| !replica.is_waiting()) {
            if let Some(reason) = self.judge(name)
                && (overdue == Overdue::Goes || self.is_seen_to_go(name, reason))
            {
                over.push((name, reason));
            }
        }
        for (name, reason) in over {
            self.drop_replica(name, DropReason::OverLimit(reason));
        }
    }

    /// The replica's verdict now; since when it has been over its soft limit is noted.
    pub(super) fn judge(&mut self, name: u64) -> Option<OverLimit> {
        let (limit, now) = (self.limit(), self.now);
        let unsent = self.charged(self.find(name)?);
        let replica = self.find_mut(name)?;
        if let Some(limit) = limit.hard.filter(|hard| unsent >= *hard) {
            return Some(OverLimit::Hard { unsent, limit });
        }
        let Some(limit) = limit.soft.filter(|soft| unsent >= soft.bytes) else {
            replica.over_since = None;
            return None;
        };
        let since = *replica.over_since.get_or_insert(now);
        let lasted = now.saturating_since(since);
        (lasted > limit.lasting).then_some(OverLimit::Soft { unsent, limit, lasted })
    }

    /// One that has been over its soft limit for too long goes at the next timeout, or with a unit before it.
    fn is_seen_to_go(&self, name: u64, reason: OverLimit) -> bool {
        matches!(reason, OverLimit::Hard { .. }) || !self.observed.attached.contains(&name)
    }

    /// Lets go of pins that hold more than the budget, or whose time is over.
    pub(super) fn enforce_pins(&mut self, overdue: Overdue) {
        let (end, now, bytes) = (self.end(), self.now, self.config.resume_pins.bytes);
        let before = self.pins.len();
        self.pins.retain(|pin| end - pin.at <= bytes);
        let lasting = self.pins.iter().filter(|pin| pin.until > now).count();
        if overdue == Overdue::Goes || lasting == self.observed.resume_pins {
            self.pins.retain(|pin| pin.until > now);
        }
        self.has_released |= self.pins.len() < before;
    }

    /// What was applied and what is in the stream differ, so nobody may go on from it.
    pub(super) fn break_history(&mut self) -> Option<Offset> {
        for name in self.names(|_| true) {
            self.drop_replica(name, DropReason::HistoryChanged);
        }
        self.stop_stream();
        None
    }

    /// Keeps nothing any more. What is written from now on is not counted, hence the new id (R19).
    pub(super) fn stop_stream(&mut self) {
        self.pins.clear();
        self.kept_from = None;
        self.timers.idle_since = None;
        if let Some(id) = self.fresh_id.take() {
            self.change_history(id);
        }
    }

    /// R13, R14: an empty backlog from here on, under a new id.
    pub(super) fn start_stream(&mut self, id: ReplicationId) {
        self.kept_from = Some(self.end());
        self.change_history(id);
        self.units.clear();
        self.sampled_at = None;
        self.ages_from = self.end();
        self.write_rate = WriteRate::new(self.end(), self.now);
    }

    fn change_history(&mut self, id: ReplicationId) {
        self.id = id;
        self.context += 1;
        self.outbox.history_changed = true;
        self.outbox.id_wanted = true;
    }

    /// The oldest byte that somebody still needs, or that the capacity asks for.
    pub(super) fn needed_from(&self) -> u64 {
        let cursors =
            self.replicas.iter().filter(|replica| !replica.is_waiting()).map(|replica| replica.sent);
        let pins = self.pins.iter().map(|pin| pin.at);
        let by_capacity = self.end().saturating_sub(self.config.backlog_capacity as u64);
        cursors.chain(pins).fold(by_capacity, u64::min)
    }

    /// Nothing that is needed is ever let go of, and of the rest less than two chunks stay, or payloads handed over.
    pub(crate) fn check_kept(&mut self, observed: &Observed) -> Result<(), String> {
        let (Some(before), Some(from)) = (self.kept_from, observed.kept_from) else {
            return expect(self.kept_from.is_some() == observed.kept_from.is_some(), || {
                format!("the stream is kept from {:?}, expected {:?}", observed.kept_from, self.kept_from)
            });
        };
        let needed = self.needed_from();
        expect(from >= before, || format!("what is kept begins at {from}, and did at {before}"))?;
        expect(from == before || from <= needed, || format!("{needed} is needed, kept is only from {from}"))?;
        self.largest_piece = self.largest_piece.max(chunk_of(&self.config));
        let surplus = needed.saturating_sub(from);
        expect(surplus < 2 * self.largest_piece, || format!("{surplus} bytes more are kept than needed"))?;
        self.kept_from = Some(from);
        Ok(())
    }
}

/// What becomes of somebody whose time is over, when a unit is judged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Overdue {
    /// It may stay until the next timeout.
    MayStay,
    Goes,
}

pub(super) fn expect(is_so: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(otherwise()) }
}

/// The backlog lets go of a sixteenth of its capacity at once, or of 64 B to 64 KiB.
pub(super) fn chunk_of(config: &Config) -> u64 {
    (config.backlog_capacity as u64 / 16).clamp(64, 64 << 10)
}

/// A payload that is handed over is kept as it is from this length on.
pub(crate) const KEPT_WHOLE_FROM: usize = 16 << 10;

const SAMPLE_PERIOD: Duration = Duration::from_millis(1);
