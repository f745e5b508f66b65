use headwater::Sent;

use super::{Broken, Gone, Output, Reference, SentFault, Writer};

impl Reference {
    /// At most `max_send` bytes at a time: then it is the turn of others.
    pub(super) fn write_to(
        &mut self,
        name: u64,
        writer: Writer,
    ) -> Result<(Vec<u8>, Result<Sent, Broken>), Gone> {
        let replica = self.find(name).ok_or(Gone)?;
        if !replica.is_open() {
            return Ok((Vec::new(), Ok(Sent::All)));
        }
        let mut bytes = self.unsent_of(name);
        bytes.truncate(self.config.max_send);
        let (wanted, had_its_turn) = (bytes.len(), bytes.len() == self.config.max_send);
        bytes.truncate(writer.room);
        self.advance(name, bytes.len());
        let result = match (bytes.len() == wanted, writer.breaks) {
            (true, _) if self.enqueue(name, had_its_turn) => Ok(Sent::All),
            (true, _) => Ok(Sent::More),
            (false, false) => Ok(Sent::Blocked),
            (false, true) => Err(Broken),
        };
        Ok((bytes, result))
    }

    pub(super) fn take_batch(&mut self, name: u64) -> Result<Option<Vec<u8>>, Gone> {
        let is_open = self.find(name).ok_or(Gone)?.is_open();
        let mut bytes = self.unsent_of(name);
        bytes.truncate(self.config.max_send);
        if !is_open || bytes.is_empty() {
            return Ok(None);
        }
        self.outbox.dequeue(name);
        let replica = self.find_mut(name).ok_or(Gone)?;
        replica.has_batch_out = true;
        replica.lent = replica.lent.max(replica.sent + bytes.len() as u64);
        Ok(Some(bytes))
    }

    /// What was not written is lent again.
    pub(super) fn batch_written(&mut self, name: u64, written: usize) -> Output {
        if let Some(replica) = self.find_mut(name) {
            replica.has_batch_out = false;
            self.advance(name, written);
            self.enqueue(name, false);
        }
        Output::Nothing
    }

    pub(super) fn unsent(&mut self, name: u64) -> Result<Option<Vec<u8>>, Gone> {
        let end = self.end();
        let replica = self.find_mut(name).ok_or(Gone)?;
        if !replica.is_open() {
            return Ok(None);
        }
        replica.lent = end;
        Ok(Some(self.unsent_of(name)))
    }

    pub(super) fn sent(&mut self, name: u64, bytes: usize) -> Result<Sent, SentFault> {
        let replica = self.find(name).ok_or(SentFault::Gone)?;
        let is_open = replica.is_open();
        let unsent = if is_open { replica.lent - replica.sent } else { 0 };
        if bytes as u64 > unsent {
            return Err(SentFault::MoreThanLent { bytes, unsent });
        }
        self.advance(name, bytes);
        if !is_open {
            return Ok(Sent::All);
        }
        if !self.unsent_of(name).is_empty() {
            return Ok(Sent::Partly);
        }
        self.enqueue(name, false);
        Ok(Sent::All)
    }

    fn unsent_of(&self, name: u64) -> Vec<u8> {
        let from = self.find(name).map_or(self.end(), |replica| replica.sent);
        self.bytes[usize::try_from(from).expect("the model counts no further than memory")..].to_vec()
    }

    fn advance(&mut self, name: u64, bytes: usize) {
        self.counts.sent_bytes += bytes as u64;
        let Some(replica) = self.find_mut(name).filter(|replica| !replica.is_waiting()) else { return };
        replica.sent += bytes as u64;
        replica.lent = replica.lent.max(replica.sent);
        // Below the soft limit it is forgiven; nobody is dropped for what it was sent.
        if replica.over_since.is_some() {
            self.judge(name);
        }
    }

    /// The replica's next bytes are to be told of, once there are any. Tells whether it has caught up.
    pub(super) fn enqueue(&mut self, name: u64, had_its_turn: bool) -> bool {
        self.outbox.dequeue(name);
        let (end, sent) = (self.end(), self.find(name).map_or(0, |replica| replica.sent));
        if sent == end {
            self.outbox.caught_up.push((name, end));
        } else if had_its_turn {
            self.outbox.deferred.push(name);
        } else {
            self.outbox.ready.push(name);
        }
        sent == end
    }
}
