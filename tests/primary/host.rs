//! A host with a virtual clock, for one test.

use std::time::Duration;

use headwater::{
    Ack, Answer, Attached, Config, Cut, Event, Framing, Image, Offset, Peer, Primary, ReplicaKey,
    ReplicaReport, ReplicationId, Report, Sink, Tag, Timestamp, Wanted, WriteRefused,
};

pub(crate) struct Host {
    pub(crate) primary: Primary,
    pub(crate) now: Timestamp,
    tags: u64,
    ids: u8,
}

pub(crate) const SIZED: Image = Image { framing: Framing::Sized, replayable: true, size: None };
pub(crate) const END_MARKED: Image = Image { framing: Framing::EndMarked, replayable: true, size: None };

pub(crate) fn at(bytes: u64) -> Offset {
    Offset::new(bytes).unwrap()
}

pub(crate) fn id(number: u8) -> ReplicationId {
    ReplicationId::from_random([number; 20])
}

pub(crate) const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(crate) const NANOSECOND: Duration = Duration::from_nanos(1);

impl Host {
    pub(crate) fn new(configure: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.sync_backoff = None;
        configure(&mut config);
        let now = Timestamp::default();
        let mut host = Self { primary: Primary::new(config, id(1), now).unwrap(), now, tags: 0, ids: 1 };
        assert_eq!(host.events(), []);
        host
    }

    /// All events but those that only ask for ids, which are supplied.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.primary.poll_event() {
            self.primary.check_invariants();
            match event {
                Event::IdWanted => self.supply_id(),
                event => events.push(event),
            }
        }
        events
    }

    pub(crate) fn supply_id(&mut self) {
        self.ids += 1;
        self.primary.supply_id(id(self.ids)).unwrap();
    }

    /// Lets time pass, as a host does that sleeps until each deadline.
    pub(crate) fn pass(&mut self, span: Duration) -> Vec<Event> {
        let until = self.now.checked_add(span).unwrap();
        let mut events = self.events();
        while let Some(due) = self.primary.poll_timeout().filter(|due| *due <= until) {
            self.primary.handle_timeout(due);
            let next = self.primary.poll_timeout();
            assert!(next.is_none_or(|next| next > due), "asked for {due:?} again: {next:?}");
            events.extend(self.events());
        }
        self.now = until;
        self.primary.handle_timeout(until);
        events.extend(self.events());
        events
    }

    pub(crate) fn peer(&mut self) -> Peer {
        self.tags += 1;
        Peer::new(Tag(self.tags), "10.0.0.9")
    }

    pub(crate) fn attach(&mut self, wanted: Wanted, change: impl FnOnce(&mut Peer)) -> Attached {
        let mut peer = self.peer();
        change(&mut peer);
        let attached = self.primary.attach(wanted, peer, self.now).unwrap();
        self.primary.check_invariants();
        attached
    }

    /// A replica that asks for everything and takes an end mark.
    pub(crate) fn newcomer(&mut self) -> ReplicaKey {
        self.attach(Wanted::Everything, |peer| peer.takes_end_mark = true).replica
    }

    pub(crate) fn resume(&mut self, offset: Offset) -> (ReplicaKey, Answer) {
        let id = self.id();
        let attached = self.attach(Wanted::After { id, offset }, |_| ());
        (attached.replica, attached.answer)
    }

    /// A replica that has been through a full sync and has acknowledged it.
    pub(crate) fn online(&mut self) -> ReplicaKey {
        let replica = self.newcomer();
        let cut = self.begin(SIZED);
        self.ready(&cut);
        self.sent(replica);
        self.ack(replica, cut.offset);
        self.events();
        replica
    }

    pub(crate) fn begin(&mut self, image: Image) -> Cut {
        let cut = self.primary.begin_snapshot(image, self.now).unwrap();
        self.primary.check_invariants();
        cut
    }

    pub(crate) fn ready(&mut self, cut: &Cut) {
        self.primary.handle_snapshot_ready(cut.snapshot, self.now).unwrap();
    }

    pub(crate) fn sent(&mut self, replica: ReplicaKey) {
        self.primary.handle_snapshot_sent(replica, self.now).unwrap();
        self.primary.check_invariants();
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> Offset {
        let end = self.primary.append(bytes, self.now);
        self.primary.check_invariants();
        end.unwrap_or(self.primary.end())
    }

    pub(crate) fn ack(&mut self, replica: ReplicaKey, offset: Offset) {
        self.primary.handle_ack(replica, Ack::applied(offset), self.now).unwrap();
        self.primary.check_invariants();
    }

    /// Sends a replica all that may be sent to it.
    pub(crate) fn flush(&mut self, replica: ReplicaKey) -> Vec<u8> {
        let mut socket = Vec::new();
        while self.primary.write_to(replica, &mut socket, self.now).unwrap() == headwater::Sent::More {}
        self.primary.check_invariants();
        socket
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<Offset, WriteRefused> {
        let written = self.primary.write(self.now, |unit| unit.put(bytes))?;
        self.primary.check_invariants();
        Ok(written.end.unwrap_or(self.primary.end()))
    }

    /// Sends a replica all that may be sent to it, and has it acknowledge that.
    pub(crate) fn catch_up(&mut self, replica: ReplicaKey) {
        self.flush(replica);
        self.ack(replica, self.primary.end());
    }

    pub(crate) fn reconfigure(&mut self, change: impl FnOnce(&mut Config)) {
        let mut config = self.primary.config().clone();
        change(&mut config);
        self.primary.reconfigure(config, self.now).unwrap();
        self.primary.check_invariants();
    }

    pub(crate) fn report(&self) -> Report {
        self.primary.report(self.now)
    }

    pub(crate) fn report_of(&self, replica: ReplicaKey) -> ReplicaReport {
        let found = self.report().replicas.into_iter().find(|attached| attached.replica == replica);
        found.unwrap()
    }

    pub(crate) fn id(&self) -> ReplicationId {
        self.primary.report(self.now).id
    }

    pub(crate) fn is_attached(&self, replica: ReplicaKey) -> bool {
        self.primary.report(self.now).replicas.iter().any(|attached| attached.replica == replica)
    }
}
