//! A node that answers as no primary should.

use headwater::Wanted;
use headwater::wire::{self, Psync};

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
