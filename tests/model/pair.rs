//! The primary beside its reference: one call to both, then all that can be seen is compared.

use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use bytes::Buf;
use headwater::{
    AckError, Batch, Config, Context, Event, Gone as Stale, Peer, Primary, ReplicaKey, ReplicationId, Report,
    SendError, SentError, Sink, SnapshotKey, Timestamp, WaitOutcome, WaiterKey, WriteRefused,
};

use crate::reference::{
    AckFault, Broken, Cut, Figures, Gone, Input, Observed, Output, Piece, Reference, SentFault, Told, Unit,
    Writer, Written,
};
use crate::translate::{figures, forecast};

pub(crate) struct Pair {
    primary: Primary,
    reference: Reference,
    replicas: Vec<(u64, ReplicaKey)>,
    waiters: Vec<(u64, WaiterKey)>,
    snapshots: Vec<SnapshotKey>,
    batches: Vec<(u64, Batch)>,
    /// Each context of units, and its number in the reference.
    contexts: Vec<(Context, u64)>,
    report: Report,
}

impl Pair {
    pub(crate) fn new(config: Config, id: ReplicationId, now: Timestamp) -> Self {
        let primary = Primary::new(config.clone(), id, now).expect("the first configuration works");
        let report = primary.report(now);
        Self {
            primary,
            reference: Reference::new(config, id, now),
            replicas: Vec::new(),
            waiters: Vec::new(),
            snapshots: Vec::new(),
            batches: Vec::new(),
            contexts: Vec::new(),
            report,
        }
    }

    pub(crate) const fn report(&self) -> &Report {
        &self.report
    }

    pub(crate) const fn config(&self) -> &Config {
        self.primary.config()
    }

    pub(crate) const fn snapshots_begun(&self) -> usize {
        self.snapshots.len()
    }

    /// Replicas whose batch is out, with what is in it.
    pub(crate) fn batches(&self) -> impl Iterator<Item = (u64, usize)> {
        self.batches.iter().map(|(name, batch)| (*name, batch.remaining()))
    }

    /// What may happen by itself, by both.
    pub(crate) fn deadlines(&self) -> Vec<Timestamp> {
        let mut deadlines = self.reference.deadlines();
        deadlines.extend(self.primary.poll_timeout());
        deadlines
    }

    pub(crate) fn poll_timeout(&self) -> Option<Timestamp> {
        self.primary.poll_timeout()
    }

    /// More than one thing would be right from here on.
    pub(crate) const fn is_ambiguous(&self) -> bool {
        self.reference.is_ambiguous
    }

    /// Does one call to both, and tells what came of it, or the first difference.
    pub(crate) fn apply(&mut self, input: &Input, now: Timestamp) -> Result<Output, String> {
        let answer = self.call(input, now);
        self.primary.check_invariants();
        self.report = self.primary.report(now);
        let observed = self.observe();
        let expected = self.reference.apply(input, now, &observed);
        let answer = self.number_context(answer, &expected)?;
        if answer != expected {
            return Err(format!("primary:   {answer:?}\nreference: {expected:?}"));
        }
        if !self.is_ambiguous() {
            self.reference.check_kept(&observed)?;
            self.compare_reports(now)?;
            self.compare_deadlines(input, now)?;
        }
        Ok(answer)
    }

    fn observe(&self) -> Observed {
        Observed {
            kept_from: self.report.backlog.map(|backlog| backlog.start.get()),
            attached: self.report.replicas.iter().map(|replica| replica.replica.tag().0).collect(),
            resume_pins: self.report.resume_pins,
        }
    }

    fn compare_reports(&mut self, now: Timestamp) -> Result<(), String> {
        let (told, expected) = (figures(&self.report), self.reference.figures(now));
        if told != expected {
            return Err(first_difference(&told, &expected));
        }
        let lag = |replica: &headwater::ReplicaReport| replica.lag.map(|lag| (lag.age, lag.highest_age));
        let ages: Vec<_> = self.report.replicas.iter().map(lag).collect();
        self.reference.check_ages(&ages, self.report.lag_error, now)
    }

    fn compare_deadlines(&mut self, input: &Input, now: Timestamp) -> Result<(), String> {
        let polled = self.primary.poll_timeout();
        if matches!(input, Input::Timeout) && polled.is_some_and(|polled| polled <= now) {
            return Err(format!("after the timeout of {now:?} the next is {polled:?}"));
        }
        self.reference.check_deadline(polled)
    }

    /// A context goes by the number that it has in the reference, so that a new one is seen as one.
    fn number_context(&mut self, answer: Output, expected: &Output) -> Result<Output, String> {
        let (Output::Written(Ok(mut written)), Output::Written(Ok(other))) = (answer.clone(), expected)
        else {
            return Ok(answer);
        };
        let (context, _) = *self.contexts.last().ok_or("a unit has a context")?;
        let known = self.contexts.iter().rev().skip(1).find(|(earlier, _)| *earlier == context);
        written.context = match known {
            Some((_, number)) => *number,
            None if self.contexts.iter().rev().skip(1).any(|(_, number)| *number == other.context) => {
                u64::MAX
            }
            None => other.context,
        };
        let last = self.contexts.len() - 1;
        self.contexts[last].1 = written.context;
        let first = last.saturating_sub(1);
        self.contexts.drain(..first);
        Ok(Output::Written(Ok(written)))
    }

    fn call(&mut self, input: &Input, now: Timestamp) -> Output {
        match input {
            Input::Attach { wanted, peer } => self.attach(*wanted, peer, now),
            Input::Detach { replica, how } => {
                let key = self.key(*replica);
                known(self.primary.detach(key, *how, now), key)
            }
            Input::Write(unit) => self.write(unit, true, now),
            Input::WriteUngated(unit) => self.write(unit, false, now),
            Input::Append(unit) => Output::Appended(self.primary.append(unit, now)),
            Input::AppendShared(unit) => {
                Output::Appended(self.primary.append_shared(unit.clone().into(), now))
            }
            Input::AdmitWrite => Output::Admitted(self.primary.admit_write(now)),
            Input::GoodAt(offset) => {
                Output::Good { good: self.primary.good(now), holding: self.primary.good_at(*offset, now) }
            }
            Input::Ack { replica, ack } => {
                let key = self.key(*replica);
                Output::Acked(self.primary.handle_ack(key, *ack, now).map_err(|error| fault(error, key)))
            }
            Input::Alive(replica) => {
                let key = self.key(*replica);
                known(self.primary.handle_alive(key, now), key)
            }
            Input::Timeout => {
                self.primary.handle_timeout(now);
                Output::Nothing
            }
            Input::PollEvent => {
                let event = self.primary.poll_event();
                Output::Event(event.map(|event| self.told(event)))
            }
            _ => self.call_rarer(input, now),
        }
    }

    fn call_rarer(&mut self, input: &Input, now: Timestamp) -> Output {
        match input {
            Input::Wait(wait) => self.wait(*wait, now),
            Input::CancelWait(waiter) => {
                let key = self.waiter(*waiter);
                let end = self.primary.cancel_wait(key);
                Output::Cancelled(end.map_err(|stale| gone(stale, key)))
            }
            Input::EndWaits => {
                self.primary.end_waits(now);
                Output::Nothing
            }
            Input::LocalFsync(upto) => Output::Fsynced(self.primary.handle_local_fsync(*upto, now)),
            Input::SupplyId(id) => Output::IdTaken(self.primary.supply_id(*id)),
            Input::Reconfigure(config) => {
                Output::Reconfigured(self.primary.reconfigure((**config).clone(), now))
            }
            Input::ResetCounters => {
                self.primary.reset_counters();
                Output::Nothing
            }
            Input::WriteTo { replica, writer } => self.write_to(*replica, *writer, now),
            Input::TakeBatch(replica) => self.take_batch(*replica, now),
            Input::BatchWritten { replica, written } => self.batch_written(*replica, *written, now),
            Input::Unsent(replica) => self.unsent(*replica),
            Input::Sent { replica, bytes } => {
                let key = self.key(*replica);
                Output::Sent(
                    self.primary.handle_sent(key, *bytes, now).map_err(|error| sent_fault(error, key)),
                )
            }
            _ => self.call_for_snapshots(input, now),
        }
    }

    fn call_for_snapshots(&mut self, input: &Input, now: Timestamp) -> Output {
        match input {
            Input::BeginSnapshot(image) => {
                let begun = self.primary.begin_snapshot(*image, now);
                Output::Begun(begun.map(|cut| {
                    assert!(!self.snapshots.contains(&cut.snapshot), "a key is not used again");
                    self.snapshots.push(cut.snapshot);
                    self.cut(cut)
                }))
            }
            Input::SnapshotReady(number) => {
                let key = self.snapshot(*number);
                known(self.primary.handle_snapshot_ready(key, now), key)
            }
            Input::SnapshotFailed(number) => {
                let key = self.snapshot(*number);
                known(self.primary.handle_snapshot_failed(key, now), key)
            }
            Input::SnapshotProgress { replica, sent } => {
                let key = self.key(*replica);
                known(self.primary.handle_snapshot_progress(key, *sent, now), key)
            }
            Input::SnapshotSent(replica) => {
                let key = self.key(*replica);
                known(self.primary.handle_snapshot_sent(key, now), key)
            }
            other => unreachable!("{other:?} was called"),
        }
    }

    fn attach(&mut self, wanted: headwater::Wanted, peer: &Peer, now: Timestamp) -> Output {
        Output::Attached(self.primary.attach(wanted, peer.clone(), now).map(|attached| {
            assert!(self.replicas.iter().all(|(_, key)| *key != attached.replica), "a key is not used again");
            assert_eq!(attached.replica.tag(), peer.tag);
            self.replicas.push((peer.tag.0, attached.replica));
            attached.answer
        }))
    }

    fn write(&mut self, unit: &Unit, is_gated: bool, now: Timestamp) -> Output {
        let mut seen = None;
        let apply = |open: &mut headwater::Unit<'_>| {
            seen = Some((open.is_wanted(), open.context()));
            for piece in &unit.pieces {
                match piece {
                    Piece::Put(bytes) => open.put(bytes),
                    Piece::PutShared(bytes) => open.put_shared(bytes.clone().into()),
                    Piece::Clear => open.clear(),
                }
            }
            if unit.panics {
                resume_unwind(Box::new(Thrown));
            }
        };
        let primary = &mut self.primary;
        let written = catch_unwind(AssertUnwindSafe(|| {
            if is_gated { primary.write(now, apply) } else { primary.write_ungated(now, apply) }
        }));
        let written: Result<_, WriteRefused> = match written {
            Ok(written) => written.map(|written| (written.end, false)),
            Err(thrown) if thrown.is::<Thrown>() => Ok((None, true)),
            Err(other) => resume_unwind(other),
        };
        Output::Written(written.map(|(end, panicked)| {
            let (is_wanted, context) = seen.expect("a write that is let in runs its closure");
            self.contexts.push((context, 0));
            Written { end, is_wanted, context: 0, panicked }
        }))
    }

    fn wait(&mut self, wait: headwater::Wait, now: Timestamp) -> Output {
        Output::Waited(self.primary.wait(wait, now).map(|outcome| match outcome {
            WaitOutcome::Ended(end) => Some(end),
            WaitOutcome::Pending(key) => {
                assert!(self.waiters.iter().all(|(_, other)| *other != key), "a key is not used again");
                assert_eq!(key.tag(), wait.tag);
                self.waiters.push((wait.tag.0, key));
                None
            }
            other => unreachable!("{other:?}"),
        }))
    }

    fn write_to(&mut self, name: u64, writer: Writer, now: Timestamp) -> Output {
        let key = self.key(name);
        let mut socket = Socket { taken: Vec::new(), writer, calls: 0 };
        let result = match self.primary.write_to(key, &mut socket, now) {
            Ok(sent) => Ok(sent),
            Err(SendError::Gone(stale)) => return Output::Wrote(Err(gone(stale, key))),
            Err(_) => Err(Broken),
        };
        Output::Wrote(Ok((socket.taken, result)))
    }

    fn take_batch(&mut self, name: u64, now: Timestamp) -> Output {
        let key = self.key(name);
        let batch = match self.primary.take_batch(key, now) {
            Ok(batch) => batch,
            Err(stale) => return Output::Lent(Err(gone(stale, key))),
        };
        Output::Lent(Ok(batch.map(|batch| {
            assert_eq!(batch.replica(), key);
            let bytes = bytes_of(&batch);
            self.batches.push((name, batch));
            bytes
        })))
    }

    fn batch_written(&mut self, name: u64, written: usize, now: Timestamp) -> Output {
        if let Some(index) = self.batches.iter().position(|(owner, _)| *owner == name) {
            let (_, mut batch) = self.batches.remove(index);
            batch.advance(written);
            self.primary.handle_batch_written(batch, now);
        }
        Output::Nothing
    }

    fn unsent(&mut self, name: u64) -> Output {
        let key = self.key(name);
        Output::Lent(match self.primary.unsent(key) {
            Ok(reader) => Ok(reader.map(|mut reader| {
                let mut bytes = vec![0; reader.remaining()];
                reader.copy_to_slice(&mut bytes);
                bytes
            })),
            Err(stale) => Err(gone(stale, key)),
        })
    }

    fn told(&self, event: Event) -> Told {
        match event {
            Event::WaitEnded { waiter, end } => {
                assert_eq!(self.waiter(waiter.tag().0), waiter);
                Told::WaitEnded { waiter: waiter.tag().0, end }
            }
            Event::Dropped { replica, reason } => Told::Dropped { replica: self.name(replica), reason },
            Event::SnapshotOver { snapshot } => Told::SnapshotOver(self.number(snapshot)),
            Event::HistoryChanged { id } => Told::HistoryChanged(id),
            Event::IdWanted => Told::IdWanted,
            Event::GateClosed(refused) => Told::GateClosed(refused),
            Event::GateOpened { good } => Told::GateOpened { good },
            Event::SyncUnlikely(told) => Told::SyncUnlikely(forecast(&told)),
            Event::SnapshotWanted { waiting, all_take_end_mark } => {
                Told::SnapshotWanted { waiting, all_take_end_mark }
            }
            Event::SendSnapshot { replica, cut, framing } => {
                Told::SendSnapshot { replica: self.name(replica), cut: self.cut(cut), framing }
            }
            Event::KeepAlive(replica) => Told::KeepAlive(self.name(replica)),
            Event::Send(replica) => Told::Send(self.name(replica)),
            other => unreachable!("{other:?}"),
        }
    }

    fn cut(&self, cut: headwater::Cut) -> Cut {
        Cut { snapshot: self.number(cut.snapshot), id: cut.id, offset: cut.offset }
    }

    fn key(&self, name: u64) -> ReplicaKey {
        find(&self.replicas, name)
    }

    fn waiter(&self, name: u64) -> WaiterKey {
        find(&self.waiters, name)
    }

    fn snapshot(&self, number: u64) -> SnapshotKey {
        self.snapshots[usize::try_from(number).expect("small") - 1]
    }

    fn number(&self, key: SnapshotKey) -> u64 {
        let index = self.snapshots.iter().position(|snapshot| *snapshot == key);
        index.expect("only what was begun is told of") as u64 + 1
    }

    fn name(&self, key: ReplicaKey) -> u64 {
        assert_eq!(self.key(key.tag().0), key);
        key.tag().0
    }
}

/// What a closure throws in a test.
struct Thrown;

/// Takes bytes as its writer says, interrupted now and then.
struct Socket {
    taken: Vec<u8>,
    writer: Writer,
    calls: usize,
}

impl io::Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.calls += 1;
        if self.calls % 5 == 2 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let room = self.writer.room - self.taken.len();
        if room == 0 {
            return match (self.writer.breaks, self.calls % 2) {
                (false, _) => Err(io::ErrorKind::WouldBlock.into()),
                (true, 0) => Ok(0),
                (true, _) => Err(io::ErrorKind::BrokenPipe.into()),
            };
        }
        let before = self.taken.len();
        let most = before + room.min(self.writer.piece);
        for slice in slices {
            self.taken.extend_from_slice(&slice[..slice.len().min(most - self.taken.len())]);
        }
        Ok(self.taken.len() - before)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn find<K: Copy>(names: &[(u64, K)], name: u64) -> K {
    let found = names.iter().rfind(|(other, _)| *other == name);
    found.expect("only those who were there once are named").1
}

fn known<K: std::fmt::Display + std::fmt::Debug + PartialEq>(result: Result<(), Stale<K>>, key: K) -> Output {
    if let Err(stale) = &result {
        assert_eq!(stale.0, key, "the error names whom the call named");
    }
    Output::Known(result.is_ok())
}

fn gone<K: std::fmt::Display + std::fmt::Debug + PartialEq>(stale: Stale<K>, key: K) -> Gone {
    assert_eq!(stale.0, key, "the error names whom the call named");
    Gone
}

fn fault(error: AckError, key: ReplicaKey) -> AckFault {
    match error {
        AckError::Gone(stale) => {
            gone(stale, key);
            AckFault::Gone
        }
        AckError::Dropped { replica, reason } => {
            assert_eq!(replica, key);
            AckFault::Dropped(reason)
        }
        other => unreachable!("{other:?}"),
    }
}

fn sent_fault(error: SentError, key: ReplicaKey) -> SentFault {
    match error {
        SentError::Gone(stale) => {
            gone(stale, key);
            SentFault::Gone
        }
        SentError::MoreThanLent { bytes, unsent } => SentFault::MoreThanLent { bytes, unsent },
        other => unreachable!("{other:?}"),
    }
}

fn bytes_of(batch: &Batch) -> Vec<u8> {
    let mut slices = vec![IoSlice::new(&[]); batch.remaining() + 1];
    let filled = batch.chunks_vectored(&mut slices);
    let bytes: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.iter().copied()).collect();
    assert_eq!(bytes.len(), batch.remaining());
    bytes
}

/// The first lines of two reports that differ.
fn first_difference(told: &Figures, expected: &Figures) -> String {
    let (told, expected) = (format!("{told:#?}"), format!("{expected:#?}"));
    let mut around = Vec::new();
    for (a, b) in told.lines().zip(expected.lines()) {
        if a != b {
            return format!("in the report, {}\nprimary:   {a}\nreference: {b}", around.join(" "));
        }
        around.push(a.trim());
        around.drain(..around.len().saturating_sub(6));
    }
    format!("the reports differ:\n{told}\n{expected}")
}
