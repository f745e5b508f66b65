use headwater::{Lag, ReplicaReport, ReplicaState, Report};

use super::Host;
use super::link::Link;
use crate::env::Env;

/// What the primary reports of each replica is what is so.
impl Host {
    pub(super) fn check_replicas(&self, report: &Report) {
        assert_eq!(report.replicas.len(), self.attached().count(), "who is attached is reported");
        for (link, replica) in self.attached() {
            let reported = report.replicas.iter().find(|reported| reported.replica == replica);
            let reported = reported.unwrap_or_else(|| panic!("{replica} went without an event"));
            self.check_output(link, reported);
            self.check_acked(link, reported);
            if link.account.waits() {
                self.check_held_back(link.peer.port, reported.held_back);
            }
            assert!(has_state(link, reported.state), "{replica} is {:?}: {:?}", reported.state, link.account);
            assert_eq!(
                reported.lag.is_some(),
                link.account.is_online,
                "{replica} has a lag once it is online"
            );
            if let Some(lag) = reported.lag {
                self.check_lag(link, lag, report);
            }
        }
    }

    /// B3: what waits for it is under the limit, and counted as the limit counts it.
    fn check_output(&self, link: &Link, reported: &ReplicaReport) {
        let (end, replica) = (self.end(), reported.replica);
        let unsent = link.account.sent.map_or(0, |sent| end - sent);
        assert_eq!(reported.unsent, unsent as u64, "S1: {replica} is where the host left it");
        let charged = link.charged(end).unwrap_or(0) as u64;
        let within = self.effective_limit().hard.is_none_or(|limit| charged < limit);
        assert!(within, "B3: {replica} has {charged} bytes unsent, over the limit");
        let over = link.account.over_since.map(|since| self.now().saturating_since(since));
        assert_eq!(reported.over_soft_limit, over, "B3: for so long is {replica} over the soft limit");
    }

    fn check_acked(&self, link: &Link, reported: &ReplicaReport) {
        let (account, replica) = (&link.account, reported.replica);
        let told = [reported.acked, reported.fsynced].map(|at| at.map(|at| at.get()));
        let expected = [account.acked, account.fsynced].map(|at| at.map(|at| at as u64));
        assert_eq!(told, expected, "S8: {replica} acknowledged that");
        assert_eq!(reported.is_good, self.is_good(link), "S9: {replica} is good or not");
    }

    /// The age is that of the oldest byte which is not acknowledged, or more by less than the error.
    fn check_lag(&self, link: &Link, lag: Lag, report: &Report) {
        let (account, end) = (&link.account, self.end());
        let held = account.acked.unwrap_or(0).max(account.began_at);
        assert_eq!(lag.bytes, (end - held) as u64, "bytes that {:?} did not acknowledge", link.replica);
        let entered = self.entered.partition_point(|(start, _)| *start <= held).checked_sub(1);
        let since = entered.filter(|_| held < end).map(|index| self.entered[index].1);
        let Some(age) = since.map(|since| self.now().saturating_since(since)) else {
            return assert_eq!(lag.age, None, "nothing is behind");
        };
        let told = lag.age.expect("it is behind");
        assert!(told <= age + report.lag_error, "{:?} is {age:?} behind, {told:?} is told", link.replica);
        let is_certain = held >= account.resumed_to;
        assert!(told >= age || !is_certain, "{:?} is {age:?} behind, {told:?} is told", link.replica);
    }

    /// More has entered the stream.
    pub(super) fn enter(&mut self, bytes: &[u8], env: &mut Env) {
        self.entered.push((env.model.end(), self.now()));
        env.model.append(bytes, self.store.digest());
    }
}

fn has_state(link: &Link, state: ReplicaState) -> bool {
    let account = &link.account;
    match state {
        ReplicaState::WaitingForSnapshot => account.waits(),
        ReplicaState::PreparingSnapshot => account.is_preparing(),
        ReplicaState::Online => account.is_online,
        _ => account.is_receiving,
    }
}
