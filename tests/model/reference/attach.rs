use std::time::Duration;

use headwater::{Answer, AttachError, Detach, DropReason, FullReason, OutputLimit, Peer, Timestamp, Wanted};

use super::{Failure, Life, Pin, Reference, Replica, at};

impl Reference {
    /// Registers, decides and pins in one step.
    pub(super) fn attach(&mut self, wanted: Wanted, peer: &Peer) -> Result<Answer, AttachError> {
        let max = self.config.max_replicas;
        if self.replicas.len() + self.outbox.dropped.len() >= max {
            return Err(AttachError::TooManyReplicas { max });
        }
        let refused = self.why_not_resume(wanted);
        if self.kept_from.is_none() {
            let Some(id) = self.fresh_id.take() else {
                self.outbox.id_wanted = true;
                return Err(AttachError::IdWanted);
            };
            self.start_stream(id);
        }
        let name = self.register(peer);
        let answer = match (refused, wanted) {
            (None, Wanted::After { offset, .. }) => {
                self.counts.sync_partial_ok += 1; // R65
                self.resume(name, offset.get());
                Answer::Continue { id: self.id, from: offset }
            }
            (refused, _) => {
                self.counts.sync_full += 1; // R64
                self.counts.sync_partial_err += u64::from(wanted != Wanted::Everything); // R66
                self.enter_sync(name);
                Answer::Full(refused.expect("who resumes names an offset"))
            }
        };
        self.release_pin_of(peer);
        Ok(answer)
    }

    /// R54, R55, with the offset held instead of the next byte wanted.
    fn why_not_resume(&self, wanted: Wanted) -> Option<FullReason> {
        let Wanted::After { id, offset } = wanted else {
            let is_first = wanted == Wanted::Everything;
            return Some(if is_first { FullReason::FirstSync } else { FullReason::UnknownHistory });
        };
        if id != self.id {
            return Some(FullReason::UnknownHistory);
        }
        let Some(from) = self.kept_from else { return Some(FullReason::NoBacklog) };
        let (end, offset) = (self.end(), offset.get());
        if offset > end {
            return Some(FullReason::InFuture { end: at(end) });
        }
        let needed = end - offset;
        if offset < from {
            return Some(FullReason::TooOld { needed, kept: end - from });
        }
        // As far behind as a replica may be, apart from its credit.
        let limit = at_once(self.limit())? - 1 + self.config.backlog_capacity as u64;
        (needed > limit).then_some(FullReason::OverLimit { needed, limit })
    }

    fn register(&mut self, peer: &Peer) -> u64 {
        let name = peer.tag.0;
        self.replicas.push(Replica {
            name,
            peer: peer.clone(),
            life: Life::Waiting { not_before: None },
            sent: 0,
            lent: 0,
            began_at: 0,
            credited_to: 0,
            over_since: None,
            heard: self.now,
            ack: None,
            acked_at: None,
            highest_age: std::time::Duration::ZERO,
            is_age_unsure: false,
            synced_at: None,
            has_batch_out: false,
        });
        if self.replicas.len() == 1 {
            self.restart_timers();
        }
        name
    }

    fn resume(&mut self, name: u64, from: u64) {
        let credit = self.config.backlog_capacity as u64;
        self.pin(name, from, Life::Online, (from + credit).min(self.end()));
        self.come_online();
        self.enqueue(name, false);
    }

    /// From now on the stream after `from` is kept for a replica.
    pub(super) fn pin(&mut self, name: u64, from: u64, life: Life, credited_to: u64) {
        let is_age_unsure = from < self.ages_from;
        if let Some(replica) = self.find_mut(name) {
            (replica.sent, replica.lent, replica.began_at) = (from, from, from);
            (replica.credited_to, replica.life) = (credited_to, life);
            replica.is_age_unsure = is_age_unsure;
        }
        let judged = self.judge(name);
        assert_eq!(judged, None, "nobody is pinned who is over the limit");
    }

    /// It has its snapshot, or resumed: it counts, with what it has acknowledged already.
    pub(super) fn come_online(&mut self) {
        self.end_satisfied();
        self.outbox.acks_wanted |= !self.waiters.is_empty();
    }

    pub(super) fn detach(&mut self, name: u64, how: Detach) -> bool {
        let is_untold = self.outbox.dropped.iter().any(|(dropped, _)| *dropped == name);
        if !is_untold && self.find(name).is_none() {
            return false;
        }
        self.outbox.dropped.retain(|(dropped, _)| *dropped != name);
        let is_lost = how == Detach::Lost;
        self.remove(name, is_lost, is_lost);
        *(if is_lost { &mut self.counts.detached_lost } else { &mut self.counts.detached_clean }) += 1;
        true
    }

    pub(super) fn drop_replica(&mut self, name: u64, reason: DropReason) {
        let leaves_pin = matches!(reason, DropReason::Silent { .. });
        let fails_sync = reason != DropReason::HistoryChanged;
        if let (DropReason::OverLimit(_), Some(cut_at)) = (reason, self.sync_cut_at(name)) {
            self.record.note_over_limit(self.now.saturating_since(cut_at));
        }
        if self.remove(name, leaves_pin, fails_sync) {
            self.counts.dropped_by_limit += u64::from(matches!(reason, DropReason::OverLimit(_)));
            self.outbox.dropped.push((name, reason));
        }
    }

    fn remove(&mut self, name: u64, leaves_pin: bool, fails_sync: bool) -> bool {
        let Some(index) = self.replicas.iter().position(|replica| replica.name == name) else { return false };
        let replica = self.replicas.remove(index);
        self.timers.know(self.deadlines_of(&replica));
        if leaves_pin && replica.is_online() {
            self.leave_pin(&replica);
        }
        if fails_sync && (replica.snapshot().is_some() || replica.synced_at.is_some()) {
            self.fail_sync(&replica);
        }
        self.has_released |= !replica.is_waiting();
        self.outbox.forget(name);
        match replica.snapshot() {
            Some(snapshot) => self.leave_snapshot(snapshot),
            None => self.forget_wish(),
        }
        if self.replicas.is_empty() {
            self.stop_timers();
        }
        true
    }

    /// What follows the last byte that a lost replica told to hold is kept for its return.
    fn leave_pin(&mut self, replica: &Replica) {
        let pins_before = self.pins.len();
        self.release_pin_of(&replica.peer);
        self.has_released |= self.pins.len() < pins_before;
        let (budget, held) = (self.config.resume_pins, replica.held());
        let Some(until) = self.now.checked_add(budget.lasting) else { return };
        self.timers.know([until]);
        if self.end() - held > budget.bytes || !self.is_kept(held, replica) {
            return;
        }
        self.pins.push(Pin {
            address: replica.peer.address.clone(),
            port: replica.peer.port,
            at: held,
            until,
        });
        self.is_ambiguous |= self.doubts > 0 && self.pins.len() + self.doubts > self.config.max_replicas;
        if self.pins.len() > self.config.max_replicas {
            let deepest = self.pins.iter().map(|pin| pin.at).min();
            self.pins.retain(|pin| Some(pin.at) != deepest);
        }
    }

    /// Whether there was anything left to pin. What was let go of earlier in the same call only the primary knows.
    fn is_kept(&mut self, at: u64, by: &Replica) -> bool {
        let holders = self.replicas.iter().filter(|replica| !replica.is_waiting()).chain([by]);
        let places = holders.map(|replica| replica.sent).chain(self.pins.iter().map(|pin| pin.at));
        let is_held = places.min() <= Some(at);
        let was_kept = self.kept_from.is_some_and(|from| at >= from);
        let is_kept_yet = self.observed.kept_from.is_none_or(|from| at >= from);
        if !was_kept || is_held || is_kept_yet || !self.has_released {
            return was_kept;
        }
        self.doubts += 1;
        self.is_ambiguous |= self.pins.len() + self.doubts > self.config.max_replicas;
        false
    }

    fn release_pin_of(&mut self, peer: &Peer) {
        self.pins.retain(|pin| (&pin.address, pin.port) != (&peer.address, peer.port));
    }

    /// The peer is held back the next time: twice as long as the last time, of which a part is left to chance.
    fn fail_sync(&mut self, replica: &Replica) {
        self.note_failed_transfer(replica);
        let Some(backoff) = self.config.sync_backoff else { return };
        let before = self.failures.iter().position(|failure| failure.is_of(replica));
        let before = before.map(|index| self.failures.remove(index));
        let is_recent = |failure: &Failure| self.now.saturating_since(failure.not_before) <= backoff.most;
        let count = before.filter(is_recent).map_or(0, |failure| failure.count) + 1;
        let longest =
            (1..count).fold(backoff.first, |longest, _| longest.saturating_mul(2).min(backoff.most));
        let longest = longest.min(backoff.most);
        let delay = backoff.delay(count, chance(self.id, replica.identity(), count));
        assert!(delay >= longest / 2 && delay <= longest, "{delay:?} after {count} failures, of {longest:?}");
        if self.failures.len() >= self.config.max_replicas {
            let soonest = (0..self.failures.len()).min_by_key(|index| self.failures[*index].not_before);
            soonest.map(|index| self.failures.remove(index));
        }
        let (address, port) = (replica.peer.address.clone(), replica.peer.port);
        let not_before = self.now.checked_add(delay).unwrap_or(self.now);
        self.failures.push(Failure { address, port, count, not_before });
        self.hold_back(replica, not_before);
    }

    /// The peer may be back already, on a connection that came before the old one was known to be gone.
    fn hold_back(&mut self, peer: &Replica, until: Timestamp) {
        for replica in self.replicas.iter_mut().filter(|replica| replica.identity() == peer.identity()) {
            if let Life::Waiting { not_before } = &mut replica.life {
                *not_before = Some(until);
            }
        }
        self.forget_wish();
    }

    pub(super) fn held_back_until(&self, replica: &Replica) -> Option<Timestamp> {
        let failed = self.failures.iter().find(|failure| failure.is_of(replica))?;
        Some(failed.not_before).filter(|until| *until > self.now)
    }
}

impl Failure {
    pub(super) fn is_of(&self, replica: &Replica) -> bool {
        (self.address.as_str(), self.port) == replica.identity()
    }
}

/// The bits that spread peers: not promised, but the same for the same id, peer and count.
fn chance(id: headwater::ReplicationId, (address, port): (&str, i64), count: u32) -> u64 {
    let text = id.to_string();
    let first = (0..8).map(|index| u8::from_str_radix(&text[2 * index..2 * index + 2], 16).expect("hex"));
    let seed = first.rev().fold(0, |seed: u64, byte| seed << 8 | u64::from(byte));
    let words = address.bytes().map(u64::from).chain([port.cast_unsigned(), u64::from(count)]);
    words.fold(mix(seed), |state, word| mix(state ^ word))
}

/// SplitMix64.
pub(crate) const fn mix(state: u64) -> u64 {
    let state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    state ^ (state >> 31)
}

/// Nobody is let in who would be dropped before anything is sent.
fn at_once(limit: OutputLimit) -> Option<u64> {
    match limit.soft {
        Some(soft) if soft.lasting == Duration::ZERO => Some(soft.bytes),
        _ => limit.hard,
    }
}
