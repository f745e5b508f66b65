use bytes::Buf;
use headwater::{
    Config, DropReason, Event, Framing, Image, Lost, Node, NodeEvent, ReplicaConfig, ReplicationId,
    SnapshotKey, Start, SyncForecast, Timestamp, UpstreamEvent, WaitEnded,
};

use super::connection::Network;
use super::keys::Keys;
use super::unit;

/// One store: a node, and the data that it replicates.
#[derive(Debug)]
pub struct Host {
    pub name: &'static str,
    pub node: Node,
    pub keys: Keys,
    /// Writes that the replicas asked for were said to hold.
    pub confirmed: Keys,
    /// What was read back of what a new primary had never had.
    pub saved: Keys,
    pub news: Vec<(Timestamp, News)>,
    /// Bytes of images that were sent, in vain or not.
    pub image_sent: u64,
    pub(super) condition: Condition,
    /// Cut off from all others.
    pub(super) is_isolated: bool,
    pub(super) upstream: Option<usize>,
    pub(super) setup: Setup,
    pub(super) images: Vec<(SnapshotKey, Keys)>,
}

/// What kind of a host it is.
#[derive(Clone, Debug)]
pub struct Setup {
    pub config: Config,
    pub replica: ReplicaConfig,
    /// Its way to the primary.
    pub network: Network,
    /// Bytes of an image of its data.
    pub image_bytes: u64,
    /// It acknowledges what it has applied at once, not only each second.
    pub acks_at_once: bool,
}

/// What happened to a host, for its operator to read.
#[derive(Clone, Debug)]
pub enum News {
    /// It follows from now on, and lets no write in.
    Follows,
    InStep,
    GateClosed,
    GateOpened,
    /// A snapshot was begun for a replica.
    SyncBegun,
    /// A replica was dropped.
    Dropped(DropReason),
    SyncUnlikely(SyncForecast),
    Lost(Lost),
    /// Somebody has waited long enough: for replicas to hold a write, or for a write to be applied here.
    Ended(u64),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Condition {
    Up,
    /// It stands still, and does not know it.
    Stalled,
    Down,
}

/// What an event asks of the world around a host.
#[derive(Debug)]
pub(super) enum Act {
    Upstream(headwater::LinkKey, UpstreamEvent),
    Downstream(Event),
}

impl Default for Setup {
    fn default() -> Self {
        let (config, replica, network) = Default::default();
        Self { config, replica, network, image_bytes: 0, acks_at_once: false }
    }
}

impl Host {
    pub(super) fn new(name: &'static str, setup: Setup, id: ReplicationId, now: Timestamp) -> Self {
        let node = Node::new(setup.config.clone(), Start::Empty { id }, now);
        Self {
            name,
            node: node.expect("the settings were checked"),
            keys: Keys::default(),
            confirmed: Keys::default(),
            saved: Keys::default(),
            news: Vec::new(),
            image_sent: 0,
            condition: Condition::Up,
            is_isolated: false,
            upstream: None,
            setup,
            images: Vec::new(),
        }
    }

    /// When something happened first, apart from the world's first moment, at which nobody has found each other yet.
    pub fn first_told(&self, is_it: impl Fn(&News) -> bool) -> Option<Timestamp> {
        let told = self.news.iter().find(|(at, news)| *at > Timestamp::default() && is_it(news));
        told.map(|(at, _)| *at)
    }

    /// Does what it can on its own. What concerns another host is left to do.
    pub(super) fn act(
        &mut self,
        event: NodeEvent,
        draw_id: impl FnOnce() -> ReplicationId,
        now: Timestamp,
    ) -> Option<Act> {
        let news = match event {
            NodeEvent::Primary(Event::IdWanted) => {
                let supplied = self.node.primary().supply_id(draw_id());
                supplied.expect("no id is drawn twice");
                return None;
            }
            NodeEvent::Primary(Event::SnapshotWanted { .. }) => self.begin_snapshot(now)?,
            NodeEvent::Primary(Event::SnapshotOver { snapshot }) => {
                self.images.retain(|(key, _)| *key != snapshot);
                return None;
            }
            NodeEvent::Primary(Event::WaitEnded { waiter, end }) => {
                if end.how == WaitEnded::Satisfied {
                    self.confirmed.insert(waiter.tag().0);
                }
                News::Ended(waiter.tag().0)
            }
            NodeEvent::FenceEnded { waiter, .. } => News::Ended(waiter.tag().0),
            NodeEvent::Primary(Event::GateClosed(_)) => News::GateClosed,
            NodeEvent::Primary(Event::GateOpened { .. }) => News::GateOpened,
            NodeEvent::Primary(Event::SyncUnlikely(forecast)) => News::SyncUnlikely(forecast),
            NodeEvent::Diverged(_, lost) => self.save(lost),
            NodeEvent::Upstream(link, event) => return Some(Act::Upstream(link, event)),
            NodeEvent::Primary(event) => return Some(Act::Downstream(event)),
            _ => return None,
        };
        self.news.push((now, news));
        None
    }

    /// An image of this moment is at hand at once; what takes its time is its way to the replica.
    fn begin_snapshot(&mut self, now: Timestamp) -> Option<News> {
        let size = Some(self.setup.image_bytes);
        let image = Image { framing: Framing::Sized, replayable: true, size };
        let primary = self.node.primary();
        let cut = primary.begin_snapshot(image, now).ok()?;
        primary.handle_snapshot_ready(cut.snapshot, now).ok()?;
        self.images.push((cut.snapshot, self.keys.clone()));
        Some(News::SyncBegun)
    }

    /// What the new primary never had is about to go: it is read back, for somebody to look at.
    fn save(&mut self, lost: Lost) -> News {
        let from = lost.held.or(lost.kept_from);
        if let Some(mut reader) = from.and_then(|from| self.node.read_kept(from)) {
            let mut bytes = Vec::new();
            while reader.has_remaining() {
                let piece = reader.chunk().len();
                bytes.extend_from_slice(reader.chunk());
                reader.advance(piece);
                let whole = unit::read_whole(&bytes, |key| self.saved.insert(key));
                bytes.drain(..whole);
            }
        }
        News::Lost(lost)
    }
}
