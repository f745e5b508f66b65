//! Reports in the words of the reference.

use headwater::{ReplicaReport, Report, SyncForecast};

use crate::reference::{Counts, Figures, Forecast, ReplicaFigures};

pub(crate) fn figures(report: &Report) -> Figures {
    if let Some(backlog) = report.backlog {
        assert_eq!(backlog.len, report.end.get() - backlog.start.get());
        assert!(backlog.memory as u64 >= backlog.len, "what is kept takes memory");
    }
    Figures {
        id: report.id,
        previous: report.previous,
        end: report.end,
        is_kept: report.backlog.is_some(),
        backlog_capacity: report.backlog_capacity,
        resume_pins: report.resume_pins,
        pinned: report.pinned,
        min_replicas: report.min_replicas,
        good: report.good,
        waiters: report.waiters,
        local_fsynced: report.local_fsynced,
        replicas: report.replicas.iter().map(replica).collect(),
        counts: counts(report),
    }
}

fn replica(report: &ReplicaReport) -> ReplicaFigures {
    assert_eq!(report.replica.tag(), report.peer.tag);
    ReplicaFigures {
        peer: report.peer.clone(),
        state: report.state,
        acked: report.acked,
        fsynced: report.fsynced,
        unsent: report.unsent,
        lag_bytes: report.lag.map(|lag| lag.bytes),
        last_heard: report.last_heard,
        last_ack: report.last_ack,
        is_good: report.is_good,
        over_soft_limit: report.over_soft_limit,
        held_back: report.held_back,
    }
}

fn counts(report: &Report) -> Counts {
    let counters = &report.counters;
    Counts {
        sync_full: counters.sync_full,
        sync_partial_ok: counters.sync_partial_ok,
        sync_partial_err: counters.sync_partial_err,
        dropped_by_limit: counters.dropped_by_limit,
        sent_bytes: counters.sent_bytes,
        detached_clean: counters.detached_clean,
        detached_lost: counters.detached_lost,
    }
}

pub(crate) fn forecast(told: &SyncForecast) -> Forecast {
    Forecast {
        duration: told.duration,
        write_rate: told.write_rate,
        transfer_rate: told.transfer_rate,
        unsent: told.unsent,
        limit: told.limit,
        needed: told.needed,
    }
}
