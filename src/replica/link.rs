use core::time::Duration;

use super::config::ReplicaConfig;
use super::event::CloseReason;
use crate::history::{ResumePoint, Wanted};
use crate::key::LinkKey;
use crate::offset::Offset;
use crate::time::{Timestamp, earliest};

/// One attempt to follow the primary.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) key: LinkKey,
    pub(super) stage: Stage,
    /// When the primary last said something, or the stage began.
    pub(super) heard: Timestamp,
}

/// How far it has come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
    /// The host has been told to open a connection, or is yet to be.
    Connecting { is_told: bool },
    /// Until the resume request is sent.
    Greeting,
    /// Until that is answered.
    Asked { wanted: Wanted },
    /// A snapshot comes.
    Receiving { point: ResumePoint },
    /// It has come, and the host loads it. The primary is to know that the link lives (R210), unless it is lost.
    Loading { point: ResumePoint, alive_at: Option<Timestamp>, is_lost: bool },
    /// The stream comes.
    InStep { received: Offset, ack_at: Option<Timestamp> },
}

/// What is said at intervals.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Beat {
    Ack,
    KeepAlive,
}

impl Link {
    pub(super) const fn new(key: LinkKey, now: Timestamp) -> Self {
        Self { key, stage: Stage::Connecting { is_told: false }, heard: now }
    }

    /// Whether the host knows of it.
    pub(super) const fn is_known(&self) -> bool {
        !matches!(self.stage, Stage::Connecting { is_told: false })
    }

    pub(super) fn deadline(&self, config: &ReplicaConfig) -> Option<Timestamp> {
        let beat = match self.stage {
            Stage::Loading { alive_at: at, .. } | Stage::InStep { ack_at: at, .. } => at,
            _ => None,
        };
        earliest(self.timeout(config), beat)
    }

    /// When it is given up if nothing comes. Loading takes as long as it takes.
    pub(super) fn timeout(&self, config: &ReplicaConfig) -> Option<Timestamp> {
        self.patience(config).and_then(|patience| self.heard.just_past(patience))
    }

    const fn patience(&self, config: &ReplicaConfig) -> Option<Duration> {
        match self.stage {
            Stage::Connecting { .. } | Stage::Greeting => Some(config.answer_timeout),
            Stage::Asked { .. } | Stage::Receiving { .. } | Stage::InStep { .. } => Some(config.timeout),
            Stage::Loading { .. } => None,
        }
    }

    /// Why it is given up at its timeout.
    pub(super) fn lateness(&self, config: &ReplicaConfig, now: Timestamp) -> CloseReason {
        let timeout = self.patience(config).unwrap_or_default();
        let silent = now.saturating_since(self.heard);
        match self.stage {
            Stage::Connecting { .. } => CloseReason::NotConnected { timeout },
            Stage::Greeting | Stage::Asked { .. } => CloseReason::NoAnswer { silent, timeout },
            _ => CloseReason::Silent { silent, timeout },
        }
    }

    /// What is due to be said, which is due again a `period` later.
    pub(super) fn beat(&mut self, period: Duration, now: Timestamp) -> Option<Beat> {
        let (at, beat) = match &mut self.stage {
            Stage::Loading { alive_at, .. } => (alive_at, Beat::KeepAlive),
            Stage::InStep { ack_at, .. } => (ack_at, Beat::Ack),
            _ => return None,
        };
        at.take_if(|at| *at <= now)?;
        *at = now.checked_add(period);
        Some(beat)
    }
}
