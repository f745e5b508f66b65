use std::hint::black_box;
use std::io;

use headwater::{
    Config, Event, Framing, Image, Peer, Primary, ReplicationId, Sent, Tag, Timestamp, Wanted, wire,
};

use crate::yardsticks::{FanOut, Keep};

/// A primary whose replicas are online.
pub(crate) struct Host {
    primary: Primary,
}

impl Host {
    pub(crate) fn new(capacity: usize, replicas: usize) -> Self {
        let mut config = Config::default();
        config.backlog_capacity = capacity;
        let mut primary =
            Primary::new(config, ReplicationId::from_random([1; 20]), NOW).expect("it can work");
        primary.supply_id(ReplicationId::from_random([2; 20])).expect("the id is fresh");
        // The stream is kept from the first replica on, whoever stays.
        let first = attach(&mut primary, 0);
        for tag in 1..=replicas {
            attach(&mut primary, tag as u64);
        }
        primary.detach(first, headwater::Detach::Clean, NOW).expect("it is attached");
        let mut host = Self { primary };
        host.flush();
        host
    }

    /// Encodes a command straight into the stream.
    #[inline]
    pub(crate) fn write(&mut self, command: &[&[u8]]) {
        let written = self.primary.write(NOW, |unit| wire::put_command(unit, command));
        black_box(written.expect("the stream has room"));
    }
}

impl Keep for Host {
    #[inline]
    fn append(&mut self, bytes: &[u8]) {
        self.primary.append(bytes, NOW).expect("the stream has room");
    }
}

impl FanOut for Host {
    fn flush(&mut self) {
        while let Some(event) = self.primary.poll_event() {
            match event {
                Event::SnapshotWanted { .. } => {
                    let image = Image { framing: Framing::Sized, replayable: true, size: None };
                    let cut = self.primary.begin_snapshot(image, NOW).expect("somebody waits");
                    self.primary.handle_snapshot_ready(cut.snapshot, NOW).expect("it is not over");
                }
                Event::SendSnapshot { replica, .. } => {
                    self.primary.handle_snapshot_sent(replica, NOW).expect("it is attached");
                }
                Event::Send(replica) => {
                    let sent = self.primary.write_to(replica, &mut TakesAll, NOW);
                    assert_eq!(sent.expect("the writer never fails"), Sent::All);
                }
                _ => {}
            }
        }
    }
}

/// A socket that takes everything and does nothing.
struct TakesAll;

impl io::Write for TakesAll {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(black_box(bytes).len())
    }

    #[inline]
    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        Ok(black_box(slices).iter().map(|slice| slice.len()).sum())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn attach(primary: &mut Primary, tag: u64) -> headwater::ReplicaKey {
    let attached = primary.attach(Wanted::Everything, Peer::new(Tag(tag), "replica"), NOW);
    attached.expect("there is room").replica
}

const NOW: Timestamp = Timestamp::from_origin(std::time::Duration::ZERO);
