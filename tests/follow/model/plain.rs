//! What a replica does, each rule in its place, and nothing kept that could be worked out.

use std::time::Duration;

use headwater::{
    Ack, Backoff, CloseReason, FollowError, LinkKey, LinkState, Offset, ReplicaConfig, ReplicationId,
    ResumePoint, Timestamp, UpstreamEvent, Wanted,
};

use super::NANOSECOND;
use crate::cluster::{at, id};

/// About a link. The histories are numbered; 0 is none.
#[derive(Clone, Copy, Debug)]
pub(super) enum Input {
    Connected,
    Disconnected,
    Heard,
    Asked,
    Resumed(Option<u8>),
    Full(u8, u64),
    SnapshotEnd,
    Loaded,
    LoadFailed,
    Replacing,
    Received(u64),
    Applied(usize),
    Unreadable,
}

pub(super) struct Model {
    pub(super) config: ReplicaConfig,
    pub(super) now: Timestamp,
    pub(super) held: Option<ResumePoint>,
    pub(super) is_spoiled: bool,
    pub(super) fsynced: Option<Offset>,
    pub(super) fresh_at: Option<Timestamp>,
    pub(super) lost_at: Option<Timestamp>,
    pub(super) attempts: u32,
    pub(super) link: Link,
    pub(super) closing: Option<(LinkKey, CloseReason)>,
    pub(super) has_come_in_step: bool,
    pub(super) is_ack_wanted: bool,
    pub(super) is_keep_alive_wanted: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Link {
    Waiting { least: Timestamp, most: Timestamp },
    Live(Live),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Live {
    /// Once the host knows it.
    pub(super) key: Option<LinkKey>,
    pub(super) stage: Stage,
    pub(super) heard: Timestamp,
    pub(super) beat_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
    Opening,
    Greeting,
    Asked(Wanted),
    Receiving(ResumePoint),
    Loading(ResumePoint),
    /// The link is lost, the load goes on.
    LoadingAlone(ResumePoint),
    InStep(Offset),
}

pub(super) fn history(number: u8) -> ReplicationId {
    if number == 0 { ReplicationId::NONE } else { id(number) }
}

pub(super) fn after(moment: Timestamp, span: Duration) -> Timestamp {
    moment.checked_add(span).unwrap()
}

impl Live {
    fn enter(&mut self, stage: Stage, now: Timestamp) {
        (self.stage, self.heard) = (stage, now);
    }

    fn patience(&self, config: &ReplicaConfig) -> Option<Duration> {
        match self.stage {
            Stage::Opening | Stage::Greeting => Some(config.answer_timeout),
            Stage::Asked(_) | Stage::Receiving(_) | Stage::InStep(_) => Some(config.timeout),
            Stage::Loading(_) | Stage::LoadingAlone(_) => None,
        }
    }

    pub(super) fn gives_up_at(&self, config: &ReplicaConfig) -> Option<Timestamp> {
        self.patience(config).map(|patience| after(self.heard, patience + NANOSECOND))
    }
}

impl Model {
    pub(super) fn new(config: ReplicaConfig, held: Option<ResumePoint>) -> Self {
        let now = Timestamp::default();
        let mut model = Self {
            config,
            now,
            held,
            is_spoiled: false,
            fsynced: None,
            fresh_at: None,
            lost_at: None,
            attempts: 0,
            link: Link::Waiting { least: now, most: now },
            closing: None,
            has_come_in_step: false,
            is_ack_wanted: false,
            is_keep_alive_wanted: false,
        };
        model.try_again();
        model
    }

    fn try_again(&mut self) {
        self.attempts += 1;
        self.link = Link::Live(Live { key: None, stage: Stage::Opening, heard: self.now, beat_at: None });
    }

    pub(super) fn wanted(&self) -> Wanted {
        match self.held {
            Some(ResumePoint { id, offset }) if !self.is_spoiled => Wanted::After { id, offset },
            _ => Wanted::Everything,
        }
    }

    pub(super) fn ack(&self) -> Option<Ack> {
        self.held.map(|held| Ack { applied: held.offset, fsynced: self.fsynced })
    }

    fn live(&mut self) -> Option<&mut Live> {
        match &mut self.link {
            Link::Live(live) => Some(live),
            Link::Waiting { .. } => None,
        }
    }

    fn end_link(&mut self, reason: Option<CloseReason>) {
        let Link::Live(live) = self.link else { return };
        if let Stage::InStep(_) = live.stage {
            self.lost_at = Some(self.now);
        }
        if let Some(key) = live.key {
            self.closing = reason.map(|reason| (key, reason));
        }
        (self.has_come_in_step, self.is_keep_alive_wanted) = (false, false);
        if self.attempts == 0 {
            return self.try_again();
        }
        let Backoff { first, most } = self.config.backoff;
        let most = (first * 2u32.pow((self.attempts - 1).min(10))).min(most);
        self.link = Link::Waiting { least: after(self.now, most / 2), most: after(self.now, most) };
    }

    fn come_in_step(&mut self, place: Offset) {
        let (now, beat_at) = (self.now, Some(after(self.now, self.config.ack_period)));
        let live = self.live().unwrap();
        let heard = live.heard;
        live.enter(Stage::InStep(place), now);
        live.beat_at = beat_at;
        // Nothing was read while a snapshot was loaded.
        (self.fresh_at, self.lost_at) = (Some(heard), None);
        (self.has_come_in_step, self.is_ack_wanted) = (true, true);
    }

    pub(super) fn handle(&mut self, key: LinkKey, input: Input, now: Timestamp) -> Result<(), FollowError> {
        if let Input::Full(0, _) = input {
            return Err(FollowError::NoId);
        }
        self.now = now;
        if let Input::Disconnected = input {
            self.handle_disconnected(key);
            return Ok(());
        }
        let wanted = self.wanted();
        let Some(live) = self.live().filter(|live| live.key == Some(key)) else {
            return Err(FollowError::Gone(key));
        };
        match (input, live.stage) {
            (Input::Heard, _) => live.heard = now,
            (Input::Unreadable, _) => self.is_spoiled = true,
            (Input::Connected, Stage::Opening) => live.enter(Stage::Greeting, now),
            (Input::Asked, Stage::Greeting) => live.enter(Stage::Asked(wanted), now),
            (Input::Resumed(number), Stage::Asked(wanted)) => return self.handle_resumed(number, wanted),
            (Input::Full(number, offset), Stage::Asked(_)) => {
                let point = ResumePoint { id: history(number), offset: at(offset) };
                live.enter(Stage::Receiving(point), now);
            }
            (Input::Received(bytes), Stage::InStep(received)) => {
                let end = Offset::new(received.get().saturating_add(bytes));
                live.stage = Stage::InStep(end.ok_or(FollowError::StreamFull { bytes, received })?);
                live.heard = now;
            }
            (Input::Applied(bytes), Stage::InStep(received)) => return self.handle_applied(bytes, received),
            (input, _) => return self.handle_snapshot(key, input),
        }
        Ok(())
    }

    fn handle_snapshot(&mut self, key: LinkKey, input: Input) -> Result<(), FollowError> {
        let (now, period) = (self.now, self.config.ack_period);
        let live = self.live().unwrap();
        match (input, live.stage) {
            (Input::SnapshotEnd, Stage::Receiving(point)) => {
                live.enter(Stage::Loading(point), now);
                live.beat_at = Some(after(now, period));
            }
            (Input::Loaded, stage @ (Stage::Loading(point) | Stage::LoadingAlone(point))) => {
                (self.held, self.is_spoiled, self.fsynced) = (Some(point), false, None);
                match stage {
                    Stage::Loading(_) => self.come_in_step(point.offset),
                    _ => self.end_link(None),
                }
            }
            (Input::LoadFailed, Stage::Receiving(_) | Stage::Loading(_) | Stage::LoadingAlone(_)) => {
                self.end_link(None);
            }
            (Input::Replacing, Stage::Receiving(_) | Stage::Loading(_) | Stage::LoadingAlone(_)) => {
                (self.held, self.fsynced) = (None, None);
            }
            _ => return Err(FollowError::OutOfStep { link: key }),
        }
        Ok(())
    }

    fn handle_resumed(&mut self, number: Option<u8>, wanted: Wanted) -> Result<(), FollowError> {
        if number == Some(0) {
            return Err(FollowError::NoId);
        }
        let Wanted::After { id, offset } = wanted else { return Err(FollowError::NothingToResume) };
        self.held = Some(ResumePoint { id: number.map_or(id, history), offset });
        let now = self.now;
        self.live().unwrap().heard = now;
        self.come_in_step(offset);
        Ok(())
    }

    fn handle_applied(&mut self, bytes: usize, received: Offset) -> Result<(), FollowError> {
        let held = self.held.as_mut().unwrap();
        let end = held.offset.get() + bytes as u64;
        if end > received.get() {
            return Err(FollowError::BeyondReceived { applied: bytes, received });
        }
        held.offset = at(end);
        self.attempts = self.attempts.min(1);
        if end == received.get() {
            self.fresh_at = self.live().map(|live| live.heard);
        }
        Ok(())
    }

    fn handle_disconnected(&mut self, key: LinkKey) {
        self.closing = self.closing.filter(|(closing, _)| *closing != key);
        let Some(live) = self.live().filter(|live| live.key == Some(key)) else { return };
        match live.stage {
            Stage::Loading(point) | Stage::LoadingAlone(point) => {
                (live.stage, live.beat_at) = (Stage::LoadingAlone(point), None);
                self.is_keep_alive_wanted = false;
            }
            _ => self.end_link(None),
        }
    }

    pub(super) fn handle_fsynced(&mut self, upto: Offset) -> Result<(), FollowError> {
        let applied = self.held.map_or(at(0), |held| held.offset);
        if upto > applied {
            return Err(FollowError::FsyncedBeyondApplied { fsynced: upto, applied });
        }
        if self.held.is_some() {
            self.fsynced = Some(self.fsynced.map_or(upto, |before| before.max(upto)));
        }
        Ok(())
    }

    /// The deadline of an attempt to come is drawn, so it is `due` that tells it.
    pub(super) fn handle_timeout(&mut self, now: Timestamp, due: Option<Timestamp>) {
        self.now = now;
        let (config, is_due) = (self.config, due.is_some_and(|due| due <= now));
        let Link::Live(live) = &mut self.link else {
            return if is_due {
                self.try_again()
            };
        };
        if live.gives_up_at(&config).is_some_and(|at| at <= now) {
            let (timeout, silent) = (live.patience(&config).unwrap(), now.saturating_since(live.heard));
            let reason = match live.stage {
                Stage::Opening => CloseReason::NotConnected { timeout },
                Stage::Greeting | Stage::Asked(_) => CloseReason::NoAnswer { silent, timeout },
                _ => CloseReason::Silent { silent, timeout },
            };
            return self.end_link(Some(reason));
        }
        if live.beat_at.is_some_and(|at| at <= now) {
            live.beat_at = Some(after(now, config.ack_period));
            match live.stage {
                Stage::InStep(_) => (self.is_ack_wanted, self.attempts) = (true, 0),
                _ => self.is_keep_alive_wanted = true,
            }
        }
    }

    /// What the host is told, where a link that it does not know yet has `next` as its key.
    pub(super) fn events(&mut self, next: Option<LinkKey>) -> Vec<(LinkKey, UpstreamEvent)> {
        let mut events = Vec::new();
        events.extend(self.closing.take().map(|(key, reason)| (key, UpstreamEvent::Close(reason))));
        let (ack, Some(live)) = (self.ack(), self.live()) else { return events };
        if live.key.is_none() {
            live.key = next;
            events.extend(next.map(|key| (key, UpstreamEvent::Connect)));
        }
        let (Some(key), stage) = (live.key, live.stage) else { return events };
        match stage {
            Stage::Loading(_) if std::mem::take(&mut self.is_keep_alive_wanted) => {
                events.push((key, UpstreamEvent::KeepAlive));
            }
            Stage::InStep(_) => {
                if std::mem::take(&mut self.has_come_in_step) {
                    events.push((key, UpstreamEvent::InStep));
                }
                if std::mem::take(&mut self.is_ack_wanted) {
                    events.extend(ack.map(|ack| (key, UpstreamEvent::Ack(ack))));
                }
            }
            _ => {}
        }
        events
    }

    pub(super) fn state(&self) -> LinkState {
        match self.link {
            Link::Waiting { .. } => LinkState::Waiting,
            Link::Live(Live { stage, .. }) => match stage {
                Stage::Opening => LinkState::Connecting,
                Stage::Greeting | Stage::Asked(_) => LinkState::Handshake,
                Stage::Receiving(_) | Stage::Loading(_) | Stage::LoadingAlone(_) => LinkState::Syncing,
                Stage::InStep(_) => LinkState::InStep,
            },
        }
    }

    /// What would come next if all went well.
    pub(super) fn fitting(&self) -> Input {
        let Link::Live(live) = self.link else { return Input::Heard };
        match live.stage {
            Stage::Opening => Input::Connected,
            Stage::Greeting => Input::Asked,
            Stage::Asked(Wanted::After { .. }) => Input::Resumed(None),
            Stage::Asked(_) => Input::Full(1, 50),
            Stage::Receiving(_) => Input::SnapshotEnd,
            Stage::Loading(_) | Stage::LoadingAlone(_) => Input::Loaded,
            Stage::InStep(received) => match received.get() - self.held.unwrap().offset.get() {
                0 => Input::Received(20),
                behind => Input::Applied(usize::try_from(behind.min(13)).unwrap()),
            },
        }
    }
}
