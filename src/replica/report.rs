use core::time::Duration;

use super::Replica;
use super::link::{Link, Stage};
use crate::history::ResumePoint;
use crate::offset::Offset;
use crate::time::Timestamp;

/// Every figure of a [`Replica`] at one instant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct UpstreamReport {
    /// How far the link has come.
    pub state: LinkState,
    /// What the data is, and how far the stream was applied.
    pub held: Option<ResumePoint>,
    /// How far the stream was received over this link.
    pub received: Option<Offset>,
    /// How far the own disk is known to hold it.
    pub fsynced: Option<Offset>,
    /// Since the primary last said something, while there is a link.
    pub last_heard: Option<Duration>,
    /// All that the primary had sent so long ago is applied. `None` if it was never in step.
    pub staleness: Option<Duration>,
    /// Since a link that was in step ended; `None` while one is, or none ever was.
    pub down_for: Option<Duration>,
    /// Attempts since a link last held for a while.
    pub attempts: u32,
}

/// How far a link has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum LinkState {
    /// There is none; the next attempt is due later.
    Waiting,
    /// A connection is being opened.
    Connecting,
    /// Introducing itself, and waiting for the answer to its request.
    Handshake,
    /// A snapshot comes, or is loaded.
    Syncing,
    /// The stream comes.
    InStep,
}

impl Replica {
    /// Whether the stream is being followed.
    pub fn is_in_step(&self) -> bool {
        matches!(self.link, Ok(Link { stage: Stage::InStep { .. }, .. }))
    }

    /// Every figure at `now`.
    pub fn report(&self, now: Timestamp) -> UpstreamReport {
        let link = self.link.as_ref().ok();
        UpstreamReport {
            state: link.map_or(LinkState::Waiting, |link| link.stage.into()),
            held: self.held,
            received: link.and_then(|link| match link.stage {
                Stage::InStep { received, .. } => Some(received),
                _ => None,
            }),
            fsynced: self.fsynced,
            last_heard: link.map(|link| now.max(self.now).saturating_since(link.heard)),
            staleness: self.fresh_at.map(|fresh_at| now.max(self.now).saturating_since(fresh_at)),
            down_for: self.lost_at.map(|lost_at| now.max(self.now).saturating_since(lost_at)),
            attempts: self.attempts,
        }
    }
}

impl From<Stage> for LinkState {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Connecting { .. } => Self::Connecting,
            Stage::Greeting | Stage::Asked { .. } => Self::Handshake,
            Stage::Receiving { .. } | Stage::Loading { .. } => Self::Syncing,
            Stage::InStep { .. } => Self::InStep,
        }
    }
}
