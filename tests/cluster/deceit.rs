//! A node that answers, or sends images, as no primary should.

use headwater::wire::{self, Psync};
use headwater::{Cut, Offset, ReplicaKey, Wanted};

use crate::fault::Fault;
use crate::world::World;

impl World {
    /// Answers a request with a lie, once in a while. The connection is of no use after that.
    pub(crate) fn deceive(&mut self, number: usize, asked: Psync) -> bool {
        if self.is_calm || !self.rng.chance(self.options.deceit) {
            return false;
        }
        let (id, end) = (self.draw_id(), self.rng.within(0..=100_000));
        let full = |image: &[u8]| [format!("+FULLRESYNC {id} {end}\r\n").as_bytes(), image].concat();
        let lies = [
            (Fault::FalseContinue, format!("+CONTINUE {id}\r\n").into_bytes()),
            (Fault::FalseOffset, format!("+FULLRESYNC {id} -5\r\n$0\r\n").into_bytes()),
            (Fault::EmptyImage, full(b"$0\r\n")),
            (Fault::EndlessImage, full(b"$4611686018427387904\r\nabc")),
            (Fault::HalfImage, full(b"$EOF:0123456789012345678901234567890123456789\r\nabc")),
            (Fault::NotReady, b"-LOADING it is\r\n".to_vec()),
        ];
        let (fault, said) = &lies[self.rng.within(0..=lies.len() - 1)];
        let is_unasked = matches!(asked.wanted, Wanted::Everything);
        self.journal.count(match fault {
            Fault::FalseContinue if is_unasked => Fault::ContinueUnasked,
            fault => *fault,
        });
        self.note(format_args!("connection {number} is deceived: {fault:?}"));
        self.answer(number, said);
        // What is sent half may stay so.
        let stays = matches!(fault, Fault::EndlessImage | Fault::HalfImage) && self.rng.chance(50);
        if !stays {
            self.close_upstream(number, None);
        }
        true
    }

    /// How many images a replica is sent in a row.
    pub(crate) fn draw_images(&mut self) -> usize {
        if self.deceives(Fault::TwoImages) { 2 } else { 1 }
    }

    /// What a replica is told of its image: a place before it, or behind it, once in a while. Off by a unit or more it
    /// would be a place like any other, and nobody could tell that the data is not that of it.
    pub(crate) fn misplace(&mut self, host: usize, replica: ReplicaKey, cut: Cut) -> Cut {
        if self.hosts[host].account.follows {
            return cut; // what leads may be off already, and both together more than a unit
        }
        let offset = if self.deceives(Fault::OffsetAheadOfImage) {
            cut.offset.checked_add(LESS_THAN_A_UNIT)
        } else if self.deceives(Fault::OffsetBehindImage) {
            cut.offset.get().checked_sub(LESS_THAN_A_UNIT).and_then(Offset::new)
        } else {
            None
        };
        let (Some(offset), Some(number)) = (offset, self.find_replica(host, replica)) else { return cut };
        self.note(format_args!("connection {number} is told {offset} of an image at {}", cut.offset));
        // It will acknowledge what it was told.
        self.network.connections.get_mut(&number).expect("it was found").lied = true;
        Cut { offset, ..cut }
    }

    fn deceives(&mut self, fault: Fault) -> bool {
        self.options.deceit > 0 && self.strikes(fault, self.options.deceit)
    }

    /// R47: the primary hands over to this node.
    pub(crate) fn take_over_by_wire(
        &mut self,
        number: usize,
        asked: Psync,
    ) -> Result<(), wire::CommandError> {
        let [from, host] = self.network.connections[&number].hosts;
        // One that was sent before faults stopped does not upset what was settled then.
        if self.is_calm || !self.hosts[host].account.follows {
            return Err(wire::CommandError::FailoverToPrimary);
        }
        let id = self.hosts[host].report().id;
        if !matches!(asked.wanted, Wanted::After { id: asked, .. } if asked == id) {
            return Err(wire::CommandError::FailoverId);
        }
        self.note(format_args!("{host} takes over from {from}"));
        self.journal.count(Fault::HandoverByWire);
        self.promote(host);
        Ok(())
    }
}

/// The shortest unit is a PING of 14 bytes.
const LESS_THAN_A_UNIT: u64 = 5;
