//! The half of a host that is followed.

use headwater::wire::{self, Replconf};
use headwater::{Answer, Detach, DropReason, Event, Image, ReplicaKey, Sent, SnapshotKey};

use crate::fault::Fault;
use crate::image;
use crate::job::Job;
use crate::network::{UpstreamEnd, Writer};
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
                let state = self.hosts[host].images[&cut.snapshot];
                let mut out = Vec::new();
                wire::put_full_resync(&mut out, &cut);
                image::put(&mut out, state, self.options.image, framing);
                self.push_down(host, replica, &out);
                self.later(host, 0..=self.options.latency, Job::SnapshotSent(replica));
            }
            Event::SnapshotOver { snapshot } => drop(self.hosts[host].images.remove(&snapshot)),
            Event::KeepAlive(replica) => {
                let mut out = Vec::new();
                wire::put_keep_alive(&mut out);
                self.push_down(host, replica, &out);
            }
            Event::Send(replica) => self.write_stream(host, replica),
            Event::Dropped { replica, reason } => {
                self.count_drop(reason);
                let number = self.connection_of_replica(host, replica);
                self.close_upstream(number, None);
            }
            Event::HistoryChanged { .. } => self.journal.count(Fault::Renamed),
            _ => {}
        }
    }

    fn count_drop(&mut self, reason: DropReason) {
        match reason {
            DropReason::Silent { .. } => self.journal.count(Fault::DropSilent),
            DropReason::OverLimit(_) => self.journal.count(Fault::DropOverLimit),
            DropReason::HistoryChanged => self.journal.count(Fault::DropHistoryChanged),
            DropReason::SnapshotFailed | DropReason::SnapshotTimedOut { .. } => {}
            // S8: in a cluster of honest nodes nobody claims what it was never sent.
            reason => assert!(matches!(reason, DropReason::TransferStalled { .. }), "S8: {reason}"),
        }
    }

    fn begin_snapshot(&mut self, host: usize, all_take_end_mark: bool) {
        let framing = if all_take_end_mark { self.options.framing } else { headwater::Framing::Sized };
        let image = Image { framing, replayable: self.rng.chance(50), size: None };
        let now = self.timestamp();
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
        let now = self.timestamp();
        let _ = self.hosts[host].node.primary().handle_snapshot_ready(snapshot, now);
    }

    pub(crate) fn fail_snapshot(&mut self, host: usize, snapshot: SnapshotKey) {
        let now = self.timestamp();
        let _ = self.hosts[host].node.primary().handle_snapshot_failed(snapshot, now);
    }

    pub(crate) fn finish_snapshot(&mut self, host: usize, replica: ReplicaKey) {
        let now = self.timestamp();
        let _ = self.hosts[host].node.primary().handle_snapshot_sent(replica, now);
    }

    /// S10: nothing is told of one that is gone.
    pub(crate) fn connection_of_replica(&self, host: usize, replica: ReplicaKey) -> usize {
        self.find_replica(host, replica)
            .unwrap_or_else(|| panic!("S10: {host} speaks of {replica}, which is gone"))
    }

    fn find_replica(&self, host: usize, replica: ReplicaKey) -> Option<usize> {
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

    fn answer(&mut self, number: usize, bytes: &[u8]) {
        self.journal.output(bytes);
        let connection = self.network.connections.get_mut(&number).expect("it was found");
        connection.down.push(bytes, self.now);
    }

    fn write_stream(&mut self, host: usize, replica: ReplicaKey) {
        let number = self.connection_of_replica(host, replica);
        let now = self.timestamp();
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
        let now = self.timestamp();
        let connection = self.network.connections.get_mut(&number)?;
        let node = &mut self.hosts[connection.hosts[1]].node;
        let end = connection.upstream.as_mut()?;
        let mut out = Vec::new();
        match (args, end.replica) {
            ([], Some(replica)) => node.primary().handle_alive(replica, now).ok()?,
            ([b"PING"], None) => out.extend_from_slice(b"+PONG\r\n"),
            ([b"REPLCONF", options @ ..], _) => match wire::replconf(options, &mut end.peer).ok()? {
                Replconf::Ok => wire::put_ok(&mut out),
                Replconf::Ack(ack) => node.primary().handle_ack(end.replica?, ack, now).ok()?,
                _ => {}
            },
            ([b"PSYNC", request @ ..], None) => {
                let wanted = wire::psync(request).ok()?.wanted;
                attach(end, wanted, node, &mut out, now);
            }
            _ => return None,
        }
        self.answer(number, &out);
        Some(())
    }

    /// The upstream closes its end, or has found it closed; `how` unless the core has forgotten the replica already.
    pub(crate) fn close_upstream(&mut self, number: usize, how: Option<Detach>) {
        let Some(connection) = self.network.connections.get_mut(&number) else { return };
        let Some(end) = connection.upstream.take() else { return };
        connection.down.finish(self.now + connection.down.latency);
        let (host, now) = (connection.hosts[1], self.timestamp());
        if let (Some(replica), Some(how)) = (end.replica, how) {
            let _ = self.hosts[host].node.primary().detach(replica, how, now);
        }
    }
}

fn attach(
    end: &mut UpstreamEnd,
    wanted: headwater::Wanted,
    node: &mut headwater::Node,
    out: &mut Vec<u8>,
    now: headwater::Timestamp,
) {
    match node.primary().attach(wanted, end.peer.clone(), now) {
        Ok(attached) => {
            end.replica = Some(attached.replica);
            if let Answer::Continue { id, .. } = attached.answer {
                wire::put_continue(out, id, &end.peer);
            }
        }
        Err(refused) => wire::put_error(out, &wire::CommandError::from(refused)),
    }
}
