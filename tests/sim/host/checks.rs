use std::time::Duration;

use headwater::{AttachError, BacklogReport, FullReason, OutputLimit, SoftLimit, Timestamp, Wanted};

use super::Host;
use crate::env::Env;
use crate::fault::Fault;

impl Host {
    /// What holds after each step.
    pub(crate) fn check(&mut self, env: &mut Env) {
        self.primary.check_invariants();
        if !self.is_drained {
            return;
        }
        let report = self.primary.report(self.clock.latest());
        assert_eq!(report.end.get(), env.model.end() as u64, "the stream ends where the model's does");
        assert_eq!(report.id, env.model.id(), "S6: the id changes where it must");
        assert_eq!(report.counters, self.expected, "requests and bytes are counted");
        self.check_gate(env);
        assert_eq!(report.waiters, self.waits.len(), "L2: those who wait are those who are known to");
        self.check_wakes();
        self.note_wish();
        self.check_replicas(&report);
        match &report.backlog {
            Some(backlog) => self.check_backlog(backlog, env),
            None => env.edges = vec![self.end()],
        }
        assert!(
            report.backlog.is_none() || !env.model.has_parted(),
            "S6: kept under an id that is done with"
        );
        let wakes_at = self.primary.poll_timeout().map_or(u128::MAX, |at| at.since_origin().as_nanos());
        env.journal.output(&wakes_at.to_le_bytes());
    }

    /// Takes note of a change of history, and of a backlog that came or went.
    pub(super) fn observe(&mut self, env: &mut Env) {
        let report = self.primary.report(self.clock.latest());
        let was_kept = std::mem::replace(&mut self.is_kept, report.backlog.is_some());
        let was_left = was_kept && !self.is_kept && self.has_supplied;
        assert!(!was_left || report.id != env.model.id(), "R19: the id goes with its backlog");
        if report.id != env.model.id() {
            assert!(self.has_supplied, "S6: a new id is one that was supplied");
            self.has_supplied = false;
            env.model.begin(report.id, self.end(), self.store.digest());
        }
        if self.is_kept && !was_kept {
            self.may_be_lost = self.end();
            (self.largest_chunk, self.smallest_chunk) = (0, usize::MAX);
            (self.most_kept, self.largest_unit) = (0, 0);
        }
        self.note_reach(self.end());
        let kept = report.backlog.map_or(0, |backlog| backlog.len);
        self.most_kept = self.most_kept.max(usize::try_from(kept).expect("runs are short"));
        if was_kept && !self.is_kept && self.has_expired() {
            env.journal.count(Fault::BacklogExpired);
        }
        if !self.is_kept {
            self.pins.clear();
        }
        self.judge_output(self.end());
        self.enforce_pins(self.end());
    }

    /// At this end of the stream, what is before the capacity may go.
    pub(super) fn note_reach(&mut self, end: usize) {
        let reaches_to = end.saturating_sub(self.config().backlog_capacity);
        self.may_be_lost = self.may_be_lost.max(reaches_to);
    }

    /// Whoever is late is gone once the primary was told the time.
    pub(super) fn check_deadlines(&self, now: Timestamp) {
        let timeout = self.config().replica_timeout;
        for (link, replica) in self.attached() {
            let silent = link.silent_since().map(|since| now.saturating_since(since));
            assert!(silent.is_none_or(|silent| silent <= timeout), "L4: {replica} was silent for {silent:?}");
        }
        assert!(!self.is_kept || !self.has_expired(), "R18: the backlog outlives its time");
    }

    /// B3: the limits as they act, not lower than the capacity.
    pub(super) fn effective_limit(&self) -> OutputLimit {
        let (OutputLimit { hard, soft }, capacity) =
            (self.config().output_limit, self.config().backlog_capacity as u64);
        let soft = soft.map(|soft| SoftLimit { bytes: soft.bytes.max(capacity), ..soft });
        OutputLimit { hard: hard.map(|hard| hard.max(capacity)), soft }
    }

    /// L7: nobody may be so far behind that it is dropped before it is sent anything.
    pub(super) fn most_behind(&self) -> Option<u64> {
        let OutputLimit { hard, soft } = self.effective_limit();
        let at_once = soft.filter(|soft| soft.lasting == Duration::ZERO).map(|soft| soft.bytes);
        at_once.or(hard).map(|limit| self.config().backlog_capacity as u64 + limit - 1)
    }

    /// The reason for a snapshot, by the rules of the wire; `None` if it may resume.
    pub(super) fn expected_answer(&self, wanted: Wanted) -> Option<FullReason> {
        let report = self.primary.report(self.clock.latest());
        let (id, offset) = match wanted {
            Wanted::Everything => return Some(FullReason::FirstSync),
            Wanted::After { id, offset } => (id, offset),
            _ => return Some(FullReason::UnknownHistory),
        };
        if id != report.id {
            return Some(FullReason::UnknownHistory);
        }
        let Some(backlog) = report.backlog else { return Some(FullReason::NoBacklog) };
        // In the wire's numbers: the next byte wanted, and the first one that is there.
        let (next, first, past) = (offset.get() + 1, backlog.start.get() + 1, report.end.get() + 1);
        let limit = self.most_behind();
        if next > past {
            Some(FullReason::InFuture { end: report.end })
        } else if next < first {
            Some(FullReason::TooOld { needed: past - next, kept: backlog.len })
        } else {
            let limit = limit.filter(|limit| past - next > *limit);
            limit.map(|limit| FullReason::OverLimit { needed: past - next, limit })
        }
    }

    pub(super) fn check_refusal(&self, refused: AttachError, attached: usize, env: &mut Env) {
        match refused {
            AttachError::TooManyReplicas { max } => {
                assert!(attached >= max, "refused as one too many, {attached} of {max} are there");
                env.journal.count(Fault::TooManyReplicas);
            }
            AttachError::IdWanted => {
                assert!(!self.is_kept && !self.has_supplied, "refused for want of an id that is there");
                env.journal.count(Fault::IdMissing);
            }
            other => panic!("the simulator does not know {other:?}"),
        }
    }

    /// Offsets at which the answer to a PSYNC changes: the oldest byte kept, the end, and the furthest that anybody
    /// may be behind. The former two matter most.
    fn edges(&self, start: usize) -> Vec<usize> {
        let furthest = self.most_behind();
        let furthest = furthest.and_then(|furthest| usize::try_from(furthest).ok());
        let furthest = furthest.and_then(|furthest| self.end().checked_sub(furthest));
        let mut edges = vec![start, start, start, self.end()];
        edges.extend(furthest.filter(|furthest| *furthest >= start).into_iter().flat_map(|at| [at, at, at]));
        edges
    }

    fn has_expired(&self) -> bool {
        let idle = self.idle_since.map(|since| self.clock.latest().saturating_since(since));
        idle.zip(self.config().backlog_ttl).is_some_and(|(idle, ttl)| idle > ttl)
    }

    /// B1 and B2: no less is kept than was promised, and no more than is needed.
    fn check_backlog(&mut self, backlog: &BacklogReport, env: &mut Env) {
        let [start, len] = [backlog.start.get(), backlog.len];
        let [start, len] = [start, len].map(|figure| usize::try_from(figure).expect("runs are short"));
        let (end, capacity) = (self.end(), self.config().backlog_capacity);
        env.edges = self.edges(start);
        assert_eq!(start + len, end, "what is kept reaches to the end");
        assert!(start <= self.surely_kept_from(end), "S1, B2: less is kept than was promised");
        let slowest = self.needed_from(end);

        let chunk = (capacity / 16).clamp(64, 64 << 10);
        self.largest_chunk = self.largest_chunk.max(chunk);
        self.smallest_chunk = self.smallest_chunk.min(chunk);
        let needed = capacity.max(end - slowest) + 2 * self.largest_chunk;
        let is_trimming = self.primary.poll_timeout().is_some_and(|at| {
            at.saturating_since(self.clock.latest()) <= std::time::Duration::from_millis(1)
        });
        assert!(len <= needed || is_trimming, "B2: {len} bytes are kept, {needed} are needed");
        // The first chunk, the tail, and the spare ones; then the list of chunks, and that of what is staged.
        let bound = len + 6 * self.largest_chunk + self.list_memory() + STAGED_LIST;
        assert!(backlog.memory <= bound, "B1: {} bytes held for {len}, at most {bound}", backlog.memory);
    }

    /// What the list of chunks takes, at 64 bytes for each. It grows by an eighth, and does not shrink.
    fn list_memory(&self) -> usize {
        let chunks = (self.most_kept + self.largest_unit) / self.smallest_chunk + 2;
        64 * (chunks + chunks / 8 + 16)
    }
}

/// 64 pieces of 48 bytes.
const STAGED_LIST: usize = 64 * 48;
