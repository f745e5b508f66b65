use headwater::Detach;

use super::Host;
use crate::env::Env;

impl Host {
    /// S10: a key that is nobody's any more is refused by every call, and changes nothing.
    pub(crate) fn use_stale_keys(&mut self, env: &mut Env) {
        self.wake(env);
        self.drain(env);
        let now = self.now();
        let before = (self.primary.report(now), self.primary.poll_timeout());
        for replica in self.stale.drain(..) {
            let primary = &mut self.primary;
            let ack = headwater::Ack::applied(primary.end());
            let refusals = [
                primary.handle_ack(replica, ack, now).is_err(),
                primary.handle_alive(replica, now).is_err(),
                primary.handle_snapshot_progress(replica, 1, now).is_err(),
                primary.handle_snapshot_sent(replica, now).is_err(),
                primary.take_batch(replica, now).is_err(),
                primary.unsent(replica).is_err(),
                primary.handle_sent(replica, 0, now).is_err(),
                primary.write_to(replica, &mut Vec::new(), now).is_err(),
                primary.detach(replica, Detach::Lost, now).is_err(),
            ];
            assert_eq!(refusals, [true; 9], "S10: {replica} is gone");
        }
        for snapshot in self.finished.drain(..) {
            let refusals = [
                self.primary.handle_snapshot_ready(snapshot, now).is_err(),
                self.primary.handle_snapshot_failed(snapshot, now).is_err(),
            ];
            assert_eq!(refusals, [true; 2], "S10: {snapshot} is over");
        }
        let after = (self.primary.report(now), self.primary.poll_timeout());
        assert_eq!(before, after, "S10: who is gone changes nothing");
    }
}
