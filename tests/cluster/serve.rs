//! The half of a host that is followed.

use headwater::wire::{self, Psync, Replconf};
use headwater::{Answer, Detach, DropReason, Event, Image, OverLimit, ReplicaKey, Sent, SnapshotKey, Wanted};

use crate::fault::Fault;
use crate::job::Job;
use crate::network::{UpstreamEnd, Writer};
use crate::waits::Seen;
use crate::world::World;

impl World {
    pub(crate) fn act_downstream(&mut self, host: usize, event: Event) {
        match event {
            Event::IdWanted => {
                if self.options.supply > 1000 {
                    self.journal.count(Fault::LateId);
                }
                self.later(host, 0..=self.options.supply, Job::SupplyId);
            }
            Event::SnapshotWanted { all_take_end_mark, .. } => self.begin_snapshot(host, all_take_end_mark),
            Event::SendSnapshot { replica, cut, framing } => {
                self.begin_transfer(host, replica, cut, framing);
            }
            Event::WaitEnded { waiter, end } => self.end_wait(host, waiter, end),
            Event::SnapshotOver { snapshot } => drop(self.hosts[host].images.remove(&snapshot)),
            Event::KeepAlive(replica) => {
                let mut out = Vec::new();
                wire::put_keep_alive(&mut out);
                self.push_down(host, replica, &out);
            }
            Event::Send(replica) => self.write_stream(host, replica),
            Event::Dropped { replica, reason } => {
                let number = self.connection_of_replica(host, replica);
                self.count_drop(number, reason);
                self.close_upstream(number, None);
            }
            Event::HistoryChanged { .. } => self.journal.count(Fault::Renamed),
            _ => {}
        }
    }

    fn count_drop(&mut self, number: usize, reason: DropReason) {
        let lied = self.network.connections[&number].lied;
        self.journal.count(match reason {
            DropReason::Silent { .. } => Fault::DropSilent,
            DropReason::OverLimit(OverLimit::Soft { .. }) => Fault::DropOverSoftLimit,
            DropReason::OverLimit(_) => Fault::DropOverLimit,
            DropReason::HistoryChanged => Fault::DropHistoryChanged,
            DropReason::SnapshotFailed | DropReason::SnapshotTimedOut { .. } => Fault::DropSnapshotFailed,
            DropReason::TransferStalled { .. } => Fault::DropStalled,
            DropReason::AckBeyondLent { .. } | DropReason::FsyncedBeyondApplied { .. } => {
                assert!(lied, "S8: connection {number} has told nothing but the truth: {reason}");
                Fault::DropLiar
            }
            reason => panic!("{reason} is news"),
        });
    }

    fn begin_snapshot(&mut self, host: usize, all_take_end_mark: bool) {
        let framing = if all_take_end_mark { self.options.framing } else { headwater::Framing::Sized };
        let image = Image { framing, replayable: self.rng.chance(50), size: None };
        let now = self.timestamp(host);
        let state = self.hosts[host].state;
        let cut = match self.hosts[host].node.primary().begin_snapshot(image, now) {
            Ok(cut) => cut,
            Err(refused) => panic!("S3: a snapshot was wanted, and is refused: {refused}"),
        };
        self.hosts[host].images.insert(cut.snapshot, state);
        self.truth.agree(headwater::ResumePoint { id: cut.id, offset: cut.offset }, state);
        let fails = self.strikes(Fault::SnapshotFailed, 10);
        let job = if fails { Job::SnapshotFailed } else { Job::SnapshotReady };
        self.later(host, 0..=self.options.loading, job(cut.snapshot));
    }

    pub(crate) fn ready_snapshot(&mut self, host: usize, snapshot: SnapshotKey) {
        let now = self.timestamp(host);
        let _ = self.hosts[host].node.primary().handle_snapshot_ready(snapshot, now);
    }

    pub(crate) fn fail_snapshot(&mut self, host: usize, snapshot: SnapshotKey) {
        let now = self.timestamp(host);
        let _ = self.hosts[host].node.primary().handle_snapshot_failed(snapshot, now);
    }

    /// S10: nothing is told of one that is gone.
    pub(crate) fn connection_of_replica(&self, host: usize, replica: ReplicaKey) -> usize {
        self.find_replica(host, replica)
            .unwrap_or_else(|| panic!("S10: {host} speaks of {replica}, which is gone"))
    }

    /// The connection's end, if the host still has it.
    pub(crate) fn upstream_end(&mut self, host: usize, replica: ReplicaKey) -> Option<&mut UpstreamEnd> {
        let number = self.find_replica(host, replica)?;
        self.network.connections.get_mut(&number)?.upstream.as_mut()
    }

    pub(crate) fn find_replica(&self, host: usize, replica: ReplicaKey) -> Option<usize> {
        let mut connections = self.network.connections.iter();
        let found = connections.find(|(_, connection)| {
            connection.hosts[1] == host
                && connection.upstream.as_ref().is_some_and(|end| end.replica == Some(replica))
        });
        found.map(|(number, _)| *number)
    }

    fn push_down(&mut self, host: usize, replica: ReplicaKey, bytes: &[u8]) {
        let number = self.connection_of_replica(host, replica);
        self.answer(number, bytes);
    }

    pub(crate) fn answer(&mut self, number: usize, bytes: &[u8]) {
        self.journal.output(bytes);
        let connection = self.network.connections.get_mut(&number).expect("it was found");
        connection.down.push(bytes, self.now);
    }

    fn write_stream(&mut self, host: usize, replica: ReplicaKey) {
        let number = self.connection_of_replica(host, replica);
        let now = self.timestamp(host);
        let connection = self.network.connections.get_mut(&number).expect("it was found");
        let mut written = Vec::new();
        let mut writer = Writer { pipe: &mut connection.down, now: self.now, written: &mut written };
        let sent = self.hosts[host].node.primary().write_to(replica, &mut writer, now);
        let sent = sent.expect("a pipe takes something or blocks");
        if let Some(end) = &mut connection.upstream {
            end.is_blocked = sent == Sent::Blocked;
        }
        self.journal.output(&written);
    }

    /// Writes where there is room again.
    pub(crate) fn resume_writing(&mut self, host: usize) {
        let ready: Vec<ReplicaKey> = self
            .network
            .connections
            .values()
            .filter(|connection| connection.hosts[1] == host && connection.down.has_room())
            .filter_map(|connection| connection.upstream.as_ref().filter(|end| end.is_blocked)?.replica)
            .collect();
        for replica in ready {
            self.write_if_attached(host, replica);
        }
    }

    /// The core may have dropped it, and the host not know yet.
    fn write_if_attached(&mut self, host: usize, replica: ReplicaKey) {
        if self.hosts[host].node.primary().unsent(replica).is_ok() {
            self.write_stream(host, replica);
        }
    }

    pub(crate) fn arrive_up(&mut self, number: usize) {
        let connection = self.network.connections.get_mut(&number).expect("something arrives over it");
        let host = connection.hosts[1];
        if connection.up.is_over() {
            let how = if self.rng.chance(70) { Detach::Lost } else { Detach::Clean };
            self.close_upstream(number, Some(how));
        } else {
            let bytes = connection.up.take(&mut self.rng, self.now);
            if self.serve(number, &bytes).is_none() {
                self.close_upstream(number, Some(Detach::Lost));
            }
        }
        self.drain(host);
    }

    /// Acts on what came from a follower; `None` is to close.
    fn serve(&mut self, number: usize, mut input: &[u8]) -> Option<()> {
        loop {
            let connection = self.network.connections.get_mut(&number)?;
            let end = connection.upstream.as_mut()?;
            let Some(command) = end.reader.next(&mut input).ok()? else { return Some(()) };
            let args: Vec<&[u8]> = command.args().collect();
            self.serve_one(number, &args)?;
        }
    }

    fn serve_one(&mut self, number: usize, args: &[&[u8]]) -> Option<()> {
        let host = self.network.connections.get(&number)?.hosts[1];
        let now = self.timestamp(host);
        let latest = self.hosts[host].clock.latest();
        let connection = self.network.connections.get_mut(&number)?;
        let node = &mut self.hosts[host].node;
        let end = connection.upstream.as_mut()?;
        let mut out = Vec::new();
        match (args, end.replica) {
            ([], Some(replica)) => {
                end.online_heard = end.online_heard.and(Some(latest));
                node.primary().handle_alive(replica, now).ok()?;
            }
            ([b"PING"], None) => out.extend_from_slice(b"+PONG\r\n"),
            ([b"REPLCONF", options @ ..], _) => match wire::replconf(options, &mut end.peer).ok()? {
                Replconf::Ok => wire::put_ok(&mut out),
                Replconf::Ack(ack) => {
                    end.online_heard = end.online_heard.and(Some(latest));
                    // What is wrong with it is told by an event too.
                    let _ = node.primary().handle_ack(end.replica?, ack, now);
                }
                _ => {}
            },
            ([b"PSYNC" | b"SYNC", ..], Some(_)) => {} // R46
            ([b"PSYNC", request @ ..], None) => {
                return self.answer_request(number, wire::psync(request).ok()?);
            }
            ([b"SYNC"], None) => {
                end.peer.acks = false;
                return self.attach(number, Wanted::Everything);
            }
            _ => return None,
        }
        self.answer(number, &out);
        Some(())
    }

    fn answer_request(&mut self, number: usize, asked: Psync) -> Option<()> {
        if self.deceive(number, asked) {
            return Some(());
        }
        if asked.failover
            && let Err(refused) = self.take_over_by_wire(number, asked)
        {
            self.journal.count(Fault::HandoverRefused);
            self.refuse(number, &refused);
            return Some(());
        }
        self.attach(number, asked.wanted)
    }

    fn attach(&mut self, number: usize, wanted: Wanted) -> Option<()> {
        let host = self.network.connections.get(&number)?.hosts[1];
        let now = self.timestamp(host);
        let latest = self.hosts[host].clock.latest();
        let says_no_id = self.rng.chance(10);
        let end = self.network.connections.get_mut(&number)?.upstream.as_mut()?;
        let attached = match self.hosts[host].node.primary().attach(wanted, end.peer.clone(), now) {
            Ok(attached) => attached,
            Err(refused) => {
                self.refuse(number, &wire::CommandError::from(refused));
                return Some(());
            }
        };
        end.replica = Some(attached.replica);
        let mut out = Vec::new();
        if let Answer::Continue { id, .. } = attached.answer {
            end.online_heard = Some(latest);
            let mut peer = end.peer.clone();
            if says_no_id && matches!(wanted, Wanted::After { id: asked, .. } if asked == id) {
                peer.learns_ids = false;
                self.journal.count(Fault::ContinuedWithoutId);
            }
            wire::put_continue(&mut out, id, &peer);
        }
        self.answer(number, &out);
        Some(())
    }

    fn refuse(&mut self, number: usize, refused: &wire::CommandError) {
        let mut out = Vec::new();
        wire::put_error(&mut out, refused);
        self.answer(number, &out);
    }

    /// The upstream closes its end, or has found it closed; `how` unless the core has forgotten the replica already.
    pub(crate) fn close_upstream(&mut self, number: usize, how: Option<Detach>) {
        let Some(connection) = self.network.connections.get_mut(&number) else { return };
        let seen = Seen::of(connection);
        let Some(end) = connection.upstream.take() else { return };
        connection.down.finish(self.now + connection.down.latency);
        let host = connection.hosts[1];
        self.hosts[host].departed.push(seen);
        let now = self.timestamp(host);
        if let (Some(replica), Some(how)) = (end.replica, how) {
            let _ = self.hosts[host].node.primary().detach(replica, how, now);
        }
    }
}
