use headwater::Timestamp;

use super::Host;

/// L4: whoever may be given a snapshot has the host asked for one, soon, and again until one is begun.
impl Host {
    /// To be called when nothing is left to be told.
    pub(super) fn note_wish(&mut self) {
        let is_wanted = self.surely_wait().next().is_some();
        let has_room = self.busy_transfers() < self.config().max_transfers;
        self.wanted_since = (is_wanted && has_room).then(|| self.wanted_since.unwrap_or(self.now()));
    }

    pub(super) fn check_wish(&mut self, now: Timestamp) {
        self.note_wish();
        let longest = self.config().snapshot_delay.max(self.config().keep_alive);
        let waited = self.wanted_since.map(|since| now.saturating_since(since));
        assert!(
            waited.is_none_or(|waited| waited <= longest),
            "L4: nobody asks for a snapshot for {waited:?}"
        );
    }
}
