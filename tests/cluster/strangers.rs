//! Peers that are no nodes of this cluster, or do not behave as one.

use std::time::Duration;

use headwater::{Peer, Tag, wire};

use crate::fault::Fault;
use crate::network::{Connection, Pipe, UpstreamEnd};
use crate::world::World;

impl World {
    /// Somebody connects who never reads: says nothing, wants all, or talks nonsense.
    pub(crate) fn meet_stranger(&mut self, host: usize) {
        let sync: &[&[u8]] = &[b"SYNC"];
        let psync: &[&[u8]] = &[b"PSYNC", b"?", b"-1"];
        let (fault, words) = self.rng.pick(&[
            (Fault::StrangerSilent, None),
            (Fault::StrangerSyncs, Some(sync)),
            (Fault::StrangerNeverAcks, Some(psync)),
            (Fault::StrangerTalksNonsense, None),
        ]);
        self.journal.count(fault);
        self.note(format_args!("{fault:?} at {host}"));
        let mut said = Vec::new();
        if let Some(words) = words {
            wire::put_command(&mut said, words);
        }
        if fault == Fault::StrangerTalksNonsense {
            said = self.draw_nonsense();
        }
        let upstream = UpstreamEnd::new(Peer::new(Tag(u64::MAX), "10.0.0.1"));
        let hosts = [self.draw_neighbour(host), host];
        let pipe = || Pipe::new(Duration::from_millis(self.options.latency as u64), self.options.window);
        let number = self.network.open(Connection::new(None, upstream, hosts, [pipe(), pipe()]));
        self.push_up(number, &said);
        if self.rng.chance(70) {
            let at = self.now + self.rng.scaled_millis(10..=60_000);
            if let Some(connection) = self.network.connections.get_mut(&number) {
                connection.up.finish(at);
            }
        }
    }

    fn draw_nonsense(&mut self) -> Vec<u8> {
        let nonsense: [&[u8]; 7] = [
            b"*-5\r\n*3\r\n$5\r\nPSYNC\r\n$-7\r\n",
            b"*1000000000\r\n",
            b"*3\r\n$5\r\nPSYNC\r\n$40\r\n0000000000000000000000000000000000000000\r\n$20\r\n99999999999999999999\r\n",
            b"PSYNC \"a\r\n",
            b"PSYNC abc\r\n",
            b"REPLCONF ACK\r\nREPLCONF listening-port 999999 x\r\n",
            b"\r\n\n\0\0\0PSYNC ? 12345\r\n",
        ];
        self.rng.pick(&nonsense).to_vec()
    }

    /// A replica says what it should not.
    pub(crate) fn say_something_wrong(&mut self) {
        let Some(number) = self.draw_link() else { return };
        let connection = &self.network.connections[&number];
        let [_, host] = connection.hosts;
        if connection.follower.is_none() || !connection.is_attached() {
            return;
        }
        let end = self.hosts[host].node.primary().end().get();
        let ahead = end.saturating_add(self.rng.scaled(1..=100_000) as u64).min(i64::MAX as u64);
        let behind = end - self.rng.scaled(0..=5000).min(usize::try_from(end).unwrap_or(usize::MAX)) as u64;
        let [ahead, behind, past] = [ahead, behind, behind.saturating_add(1)].map(|at| at.to_string());
        let wrong: [(Fault, &[&str]); 5] = [
            (Fault::AckAhead, &["REPLCONF", "ACK", &ahead]),
            (Fault::AckBackwards, &["REPLCONF", "ACK", "0"]),
            (Fault::DiskAhead, &["REPLCONF", "ACK", &behind, "FACK", &past]),
            (Fault::AskedTwice, &["PSYNC", "?", "-1"]),
            (Fault::AskedTwice, &["SYNC"]),
        ];
        let (fault, words) = self.rng.pick(&wrong);
        self.journal.count(fault);
        self.note(format_args!("over connection {number}: {words:?}"));
        let mut said = Vec::new();
        wire::put_command(&mut said, words);
        self.push_up(number, &said);
        let connection = self.network.connections.get_mut(&number).expect("it was drawn");
        // One that holds nothing yet claims to with any ack.
        connection.lied |=
            matches!(fault, Fault::AckAhead | Fault::DiskAhead) || connection.reached.is_none();
    }
}
