//! What was seen in a run, so that the comparison can't go blind.

use std::collections::BTreeMap;

use headwater::{
    Answer, AttachError, ConfigError, DropReason, FullReason, LocalFsyncError, OverLimit, Sent,
    SnapshotError, WaitEnd, WaitEnded, WaitError, WriteRefused,
};

use crate::reference::{AckFault, Input, KEPT_WHOLE_FROM, Output, Piece, SentFault, Told};

#[derive(Debug, Default)]
pub(crate) struct Coverage {
    seen: BTreeMap<&'static str, u64>,
    pub(crate) calls: u64,
    pub(crate) ambiguous: u64,
}

impl Coverage {
    pub(crate) fn note(&mut self, input: &Input, output: &Output) {
        self.calls += 1;
        for kind in kind(output).into_iter().chain(handed_over(input, output)) {
            *self.seen.entry(kind).or_default() += 1;
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.ambiguous += other.ambiguous;
        for (kind, count) in other.seen {
            *self.seen.entry(kind).or_default() += count;
        }
    }

    /// Those of `kinds` that were seen fewer times than they should have been.
    pub(crate) fn rarer_than(&self, least: u64, kinds: &[&'static str]) -> Vec<(&'static str, u64)> {
        let seen = kinds.iter().map(|kind| (*kind, self.seen.get(kind).copied().unwrap_or(0)));
        seen.filter(|(_, count)| *count < least).collect()
    }
}

/// All that `kind` tells apart.
pub(crate) const KINDS: &[&str] = &[
    "continue",
    "first sync",
    "unknown history",
    "too old",
    "in future",
    "no backlog",
    "over the limit to resume",
    "too many replicas",
    "id wanted to attach",
    "appended",
    "not appended",
    "written",
    "appended whole",
    "put whole",
    "nothing written",
    "panicked",
    "not enough replicas",
    "stream full",
    "admitted",
    "good",
    "good and holding",
    "acked",
    "ack of the gone",
    "ack beyond lent",
    "fsync beyond applied",
    "known",
    "gone",
    "all written",
    "more to write",
    "blocked",
    "broken",
    "nothing lent",
    "lent",
    "lent of the gone",
    "all sent",
    "sent partly",
    "sent too much",
    "wait over at once",
    "wait without time",
    "waiting",
    "too many waiters",
    "no own disk",
    "wait cancelled",
    "wait was over",
    "wait is gone",
    "fsynced",
    "fsync went back",
    "fsync beyond the end",
    "snapshot begun",
    "nobody waits",
    "too many transfers",
    "too many snapshots",
    "id taken",
    "id refused",
    "reconfigured",
    "zero setting",
    "too large a setting",
    "soft above hard",
    "too large a payload",
    "wait satisfied",
    "wait timed out",
    "no longer primary",
    "own disk stopped",
    "dropped by its hard limit",
    "dropped by its soft limit",
    "dropped for an ack beyond lent",
    "dropped for an fsync beyond applied",
    "dropped as silent",
    "dropped as stalled",
    "dropped with its snapshot",
    "dropped with its late snapshot",
    "dropped with the history",
    "snapshot over",
    "history changed",
    "id wanted",
    "gate closed",
    "gate opened",
    "sync unlikely",
    "snapshot wanted",
    "snapshot wanted by all",
    "send a snapshot",
    "keep-alive",
    "send",
    "no event",
];

fn handed_over(input: &Input, output: &Output) -> Option<&'static str> {
    let is_whole = |bytes: &Vec<u8>| bytes.len() >= KEPT_WHOLE_FROM;
    let is_piece = |piece: &Piece| matches!(piece, Piece::PutShared(bytes) if is_whole(bytes));
    match (input, output) {
        (Input::AppendShared(unit), Output::Appended(Some(_))) if is_whole(unit) => Some("appended whole"),
        (Input::Write(unit) | Input::WriteUngated(unit), Output::Written(Ok(written)))
            if written.end.is_some() && unit.pieces.iter().any(is_piece) =>
        {
            Some("put whole")
        }
        _ => None,
    }
}

fn kind(output: &Output) -> Option<&'static str> {
    Some(match output {
        Output::Nothing => return None,
        Output::Attached(Ok(Answer::Continue { .. })) => "continue",
        Output::Attached(Ok(Answer::Full(reason))) => full(*reason),
        Output::Attached(Ok(_)) => return None,
        Output::Attached(Err(AttachError::IdWanted)) => "id wanted to attach",
        Output::Attached(Err(_)) => "too many replicas",
        Output::Appended(end) => {
            if end.is_some() {
                "appended"
            } else {
                "not appended"
            }
        }
        Output::Written(Ok(written)) if written.panicked => "panicked",
        Output::Written(Ok(written)) => {
            if written.end.is_some() {
                "written"
            } else {
                "nothing written"
            }
        }
        Output::Written(Err(WriteRefused::StreamFull(_))) => "stream full",
        Output::Written(Err(_)) | Output::Admitted(Err(_)) => "not enough replicas",
        Output::Admitted(Ok(())) => "admitted",
        Output::Good { holding, .. } => {
            if *holding > 0 {
                "good and holding"
            } else {
                "good"
            }
        }
        Output::Acked(Ok(())) => "acked",
        Output::Acked(Err(AckFault::Gone)) => "ack of the gone",
        Output::Acked(Err(AckFault::Dropped(DropReason::AckBeyondLent { .. }))) => "ack beyond lent",
        Output::Acked(Err(AckFault::Dropped(_))) => "fsync beyond applied",
        Output::Known(is_known) => {
            if *is_known {
                "known"
            } else {
                "gone"
            }
        }
        Output::Event(told) => event(told.as_ref()),
        _ => return sending(output).or_else(|| waiting(output)),
    })
}

fn full(reason: FullReason) -> &'static str {
    match reason {
        FullReason::FirstSync => "first sync",
        FullReason::UnknownHistory => "unknown history",
        FullReason::TooOld { .. } => "too old",
        FullReason::InFuture { .. } => "in future",
        FullReason::NoBacklog => "no backlog",
        FullReason::OverLimit { .. } => "over the limit to resume",
        other => unreachable!("{other:?}"),
    }
}

fn sending(output: &Output) -> Option<&'static str> {
    Some(match output {
        Output::Wrote(Ok((_, Ok(Sent::All)))) => "all written",
        Output::Wrote(Ok((_, Ok(Sent::More)))) => "more to write",
        Output::Wrote(Ok((_, Ok(_)))) => "blocked",
        Output::Wrote(Ok((_, Err(_)))) => "broken",
        Output::Lent(Ok(bytes)) => {
            if bytes.is_some() {
                "lent"
            } else {
                "nothing lent"
            }
        }
        Output::Wrote(Err(_)) | Output::Lent(Err(_)) | Output::Sent(Err(SentFault::Gone)) => {
            "lent of the gone"
        }
        Output::Sent(Ok(Sent::All)) => "all sent",
        Output::Sent(Ok(_)) => "sent partly",
        Output::Sent(Err(SentFault::MoreThanLent { .. })) => "sent too much",
        Output::Begun(Ok(_)) => "snapshot begun",
        Output::Begun(Err(SnapshotError::NobodyWaits)) => "nobody waits",
        Output::Begun(Err(SnapshotError::TooManyTransfers { .. })) => "too many transfers",
        Output::Begun(Err(_)) => "too many snapshots",
        Output::IdTaken(taken) => {
            if taken.is_ok() {
                "id taken"
            } else {
                "id refused"
            }
        }
        Output::Reconfigured(Ok(())) => "reconfigured",
        Output::Reconfigured(Err(ConfigError::Zero { .. })) => "zero setting",
        Output::Reconfigured(Err(ConfigError::TooLarge { .. })) => "too large a setting",
        Output::Reconfigured(Err(ConfigError::SoftAboveHard { .. })) => "soft above hard",
        Output::Reconfigured(Err(_)) => "too large a payload",
        _ => return None,
    })
}

fn waiting(output: &Output) -> Option<&'static str> {
    Some(match output {
        Output::Waited(Ok(Some(WaitEnd { how: WaitEnded::Satisfied, .. }))) => "wait over at once",
        Output::Waited(Ok(Some(_))) => "wait without time",
        Output::Waited(Ok(None)) => "waiting",
        Output::Waited(Err(WaitError::NoLocalFsync)) => "no own disk",
        Output::Waited(Err(_)) => "too many waiters",
        Output::Cancelled(Ok(WaitEnd { how: WaitEnded::Cancelled, .. })) => "wait cancelled",
        Output::Cancelled(Ok(_)) => "wait was over",
        Output::Cancelled(Err(_)) => "wait is gone",
        Output::Fsynced(Ok(())) => "fsynced",
        Output::Fsynced(Err(LocalFsyncError::WentBack(_))) => "fsync went back",
        Output::Fsynced(Err(_)) => "fsync beyond the end",
        _ => return None,
    })
}

fn event(told: Option<&Told>) -> &'static str {
    match told {
        None => "no event",
        Some(Told::WaitEnded { end, .. }) => match end.how {
            WaitEnded::Satisfied => "wait satisfied",
            WaitEnded::TimedOut => "wait timed out",
            WaitEnded::NoLongerPrimary => "no longer primary",
            _ => "own disk stopped",
        },
        Some(Told::Dropped { reason, .. }) => dropped(*reason),
        Some(Told::SnapshotOver(_)) => "snapshot over",
        Some(Told::HistoryChanged(_)) => "history changed",
        Some(Told::IdWanted) => "id wanted",
        Some(Told::GateClosed(_)) => "gate closed",
        Some(Told::GateOpened { .. }) => "gate opened",
        Some(Told::SyncUnlikely(_)) => "sync unlikely",
        Some(Told::SnapshotWanted { all_take_end_mark: true, .. }) => "snapshot wanted by all",
        Some(Told::SnapshotWanted { .. }) => "snapshot wanted",
        Some(Told::SendSnapshot { .. }) => "send a snapshot",
        Some(Told::KeepAlive(_)) => "keep-alive",
        Some(Told::Send(_)) => "send",
    }
}

fn dropped(reason: DropReason) -> &'static str {
    match reason {
        DropReason::AckBeyondLent { .. } => "dropped for an ack beyond lent",
        DropReason::FsyncedBeyondApplied { .. } => "dropped for an fsync beyond applied",
        DropReason::OverLimit(OverLimit::Hard { .. }) => "dropped by its hard limit",
        DropReason::OverLimit(_) => "dropped by its soft limit",
        DropReason::Silent { .. } => "dropped as silent",
        DropReason::TransferStalled { .. } => "dropped as stalled",
        DropReason::SnapshotFailed => "dropped with its snapshot",
        DropReason::SnapshotTimedOut { .. } => "dropped with its late snapshot",
        DropReason::HistoryChanged => "dropped with the history",
        other => unreachable!("{other:?}"),
    }
}
