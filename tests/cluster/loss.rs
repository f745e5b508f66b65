//! What a node that led loses, and what it is told of that.

use bytes::Buf as _;
use headwater::wire::{CommandLimits, CommandReader};
use headwater::{LinkKey, Lost, Offset};

use crate::fault::Fault;
use crate::host::Host;
use crate::truth::State;
use crate::world::World;

impl World {
    /// The one that is followed tells where its history parted from this one, if it knows.
    pub(crate) fn ask_where_parted(&mut self, host: usize, target: usize) {
        let previous = self.hosts[target].report().previous;
        let Host { life, account, .. } = &self.hosts[target];
        let as_it_is = (target, *life, account.loads);
        let Host { node, account, .. } = &mut self.hosts[host];
        let (Some(own), Some((id, at))) = (&mut account.own, previous) else { return };
        if id == own.id && self.rng.chance(50) {
            node.handle_parted(at);
            own.successor = Some(as_it_is);
            self.journal.count(Fault::Parted);
        }
    }

    /// What is kept of a stretch is what makes of its beginning what the data is.
    fn check_kept(&self, host: usize, from: Offset, end: Offset) {
        let Host { node, state, account, .. } = &self.hosts[host];
        let kept = node.read_kept(from).expect("it was told that these bytes are kept");
        assert_eq!(
            Some(kept.remaining() as u64),
            end.bytes_since(from),
            "node {host} keeps all up to its end"
        );
        let Some((place, before)) = account.own.and_then(|own| self.truth.at_least(own.id, from)) else {
            return;
        };
        let mut kept = node.read_kept(place).expect("what follows the first byte is kept too");
        let after = replay(before, &kept.copy_to_bytes(kept.remaining()));
        // What is known of the place may be of one that was lied to, in the middle of a unit.
        let is_off = after.is_none() && self.options.deceit > 0;
        assert!(
            is_off || after == Some(*state),
            "node {host} keeps from {place} what it would lose: {after:?}"
        );
    }

    /// What it is told of is its own.
    pub(crate) fn note_divergence(&mut self, host: usize, link: LinkKey, lost: Lost) {
        self.journal.count(Fault::Diverged);
        let Host { node, account, .. } = &mut self.hosts[host];
        let end = node.primary().end();
        assert_eq!(lost.end, end, "node {host} is told of the end of its own stream");
        assert!(account.own.is_some(), "node {host} is told of a loss of what it has not written");
        assert!(lost.held.is_none_or(|held| held <= end), "nobody had more than there is: {lost:?}");
        account.told = Some((link, lost));
        if let Some(from) = lost.kept_from {
            self.check_kept(host, from, end);
        }
    }

    /// A snapshot takes the place of what a node wrote itself: if anything is lost by that it was told, and of all.
    pub(crate) fn judge_loss(&mut self, host: usize, link: LinkKey, new: State) {
        let account = &mut self.hosts[host].account;
        let (told, own) = (account.told.take(), account.own.take());
        let (Some(own), old) = (own, self.hosts[host].state) else { return };
        if self.truth.includes(new, old) {
            return;
        }
        // What a replica acknowledged it may have lost itself since.
        let is_sound = own.successor.is_none_or(|(successor, life, loads)| {
            let Host { life: now, account, .. } = &self.hosts[successor];
            (life, loads) == (*now, account.loads) && self.hosts[host].target == Some(successor)
        });
        if !is_sound || !own.is_counted {
            return;
        }
        let (told_by, lost) =
            told.unwrap_or_else(|| panic!("node {host} loses what it wrote, and is not told"));
        assert_eq!(told_by, link, "the link that brings the snapshot told of the loss");
        let bound = lost.held.and_then(|held| self.truth.at_most(own.id, held));
        assert!(
            bound.is_none_or(|bound| self.truth.includes(new, bound)),
            "node {host} loses more than it was told: {lost:?}"
        );
    }
}

/// What a stretch of a stream makes of a state, if it begins with a unit.
fn replay(mut state: State, mut bytes: &[u8]) -> Option<State> {
    let (mut reader, mut transaction) = (CommandReader::new(CommandLimits::default()), None::<Vec<u8>>);
    while let Some(command) = reader.next(&mut bytes).ok()? {
        if command.is_inline() {
            return None;
        }
        match (command.arg(0), &mut transaction) {
            (Some(b"MULTI"), _) => transaction = Some(Vec::new()),
            (Some(b"EXEC"), _) => state = state.after(&transaction.take().expect("it has begun")),
            (Some(b"PING" | b"REPLCONF"), _) => {}
            (_, Some(transaction)) => transaction.extend_from_slice(command.raw()),
            _ => state = state.after(command.raw()),
        }
    }
    Some(state)
}
