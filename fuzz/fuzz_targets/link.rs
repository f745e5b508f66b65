//! A primary's bytes, whole and cut anywhere: a replica comes to the same snapshot, units, answers and error.
#![no_main]

use headwater::wire::{CommandLimits, Inbound, Introduction, Link, LinkError};
use headwater::{Offset, Replica, ReplicaConfig, ReplicationId, ResumePoint, Timestamp, UpstreamEvent};
use libfuzzer_sys::fuzz_target;

// The first bytes choose what the replica holds and the cut, so that a committed input stays readable.
fuzz_target!(|data: &[u8]| {
    let Some((&[choice, cut], bytes)) = data.split_first_chunk() else { return };
    let holds = choice & 1 != 0;
    let whole = talk(holds, [bytes]);
    assert_eq!(talk(holds, bytes.chunks(1 + usize::from(cut % 32))), whole);
    assert_eq!(talk(holds, bytes.chunks(1)), whole);
});

/// Everything that came of a conversation.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    images: Vec<Vec<u8>>,
    units: Vec<Vec<u8>>,
    sent: Vec<u8>,
    held: Option<ResumePoint>,
    error: Option<LinkError>,
}

fn talk<'a>(holds: bool, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let now = Timestamp::default();
    let held = ResumePoint { id: ReplicationId::from_random([1; 20]), offset: START };
    let replica = Replica::new(ReplicaConfig::default(), holds.then_some(held), now);
    let mut replica = replica.expect("the default configuration works");
    let Some((key, UpstreamEvent::Connect)) = replica.poll_event() else { panic!("it connects at once") };
    replica.handle_connected(key, now).expect("the link is the current one");
    let mut outcome = Outcome::default();
    let mut limits = CommandLimits::default();
    limits.max_command = MAX_COMMAND;
    let mut link = Link::new(key, Introduction::default(), limits, &mut outcome.sent);
    for mut piece in pieces {
        if let Err(error) = outcome.take(&mut piece, &mut link, &mut replica, now) {
            outcome.error = Some(error);
            break;
        }
        assert!(piece.is_empty(), "all of it was taken");
        assert!(link.buffered() <= MAX_BUFFERED, "{} bytes are kept", link.buffered());
        replica.check_invariants();
    }
    outcome.held = replica.held();
    outcome
}

impl Outcome {
    fn take(
        &mut self,
        piece: &mut &[u8],
        link: &mut Link,
        replica: &mut Replica,
        now: Timestamp,
    ) -> Result<(), LinkError> {
        while let Some(inbound) = link.next(piece, &mut self.sent, replica, now)? {
            match inbound {
                Inbound::SnapshotStart { .. } => self.images.push(Vec::new()),
                Inbound::Snapshot(bytes) => {
                    self.images.last_mut().expect("it has begun").extend_from_slice(bytes);
                }
                Inbound::SnapshotEnd => replica.handle_loaded(link.key(), now)?,
                Inbound::Unit(unit) => {
                    replica.handle_applied(link.key(), &unit.bytes, now)?;
                    self.units.push(unit.bytes.to_vec());
                }
            }
        }
        Ok(())
    }
}

const START: Offset = match Offset::new(100) {
    Some(start) => start,
    None => Offset::ZERO,
};
const MAX_COMMAND: usize = 1 << 20;
/// A command and a transaction, neither whole.
const MAX_BUFFERED: usize = 2 * MAX_COMMAND;
