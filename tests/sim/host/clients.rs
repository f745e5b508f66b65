use headwater::wire::{self, WaitArgs};
use headwater::{LocalFsyncError, Offset, Tag, Timeout, Wait, WaitEnd, WaitEnded, WaitOutcome, WaiterKey};

use super::{Host, Write};
use crate::env::Env;
use crate::fault::Fault;

/// One that writes, and waits for what it wrote.
#[derive(Debug, Default)]
pub(super) struct Client {
    /// The end of its own last write.
    written: usize,
    waits: Option<Waiting>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    waiter: WaiterKey,
    command: Command,
}

/// What it asked with, and so how it has to be answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Command {
    Wait,
    WaitAof,
}

impl Host {
    /// Some client does something: writes and waits, or gives its wait up.
    pub(crate) fn act_client(&mut self, env: &mut Env) {
        if self.clients.is_empty() || env.is_calm {
            return;
        }
        let index = env.rng.within(0..=self.clients.len() - 1);
        match self.clients[index].waits {
            None => self.write_and_wait(index, env),
            Some(waiting) if env.strikes(Fault::WaitCancelled, 10) => self.cancel(index, waiting, env),
            Some(waiting) if env.strikes(Fault::ClientGone, 10) => {
                self.cancel(index, waiting, env);
                self.clients[index] = Client::default();
            }
            Some(_) => {}
        }
        self.end_batch(env);
    }

    /// L2: when faults stop, those go who would wait for ever.
    pub(super) fn dismiss_hopeless(&mut self, env: &mut Env) {
        let (replicas, disks) = (env.options.replicas, env.options.replicas_with_disk());
        for waiter in self.hopeless_waits(replicas, disks) {
            let (index, waiting) = self.client_of(waiter);
            self.cancel(index, waiting, env);
        }
    }

    /// S7: one whose wait is over goes before it is told, and it is not told then.
    pub(super) fn lose_untold_client(&mut self, env: &mut Env) {
        let Some((waiter, _)) = self.waits.ended.back().copied() else { return };
        if env.strikes(Fault::ClientGoneUntold, 10) {
            let (index, waiting) = self.client_of(waiter);
            self.cancel(index, waiting, env);
        }
    }

    fn client_of(&self, waiter: WaiterKey) -> (usize, Waiting) {
        let waits = self.clients.iter().map(|client| client.waits);
        let mut waits = waits.enumerate().filter_map(|(index, waiting)| Some((index, waiting?)));
        let meant = waits.find(|(_, waiting)| waiting.waiter == waiter);
        meant.expect("S7: the client waits, and was not told")
    }

    /// S7: each is answered once, with its own kind of answer and the counts of the moment at which it ended.
    pub(super) fn on_wait_ended(&mut self, waiter: WaiterKey, end: WaitEnd, env: &mut Env) {
        let expected = self.waits.ended.pop_front();
        assert_eq!(Some((waiter, end)), expected, "S7, L1 or L3: another wait ended, or it ended otherwise");
        let (index, waiting) = self.client_of(waiter);
        self.clients[index].waits = None;
        answer(waiting.command, &end, env);
        self.over.push(waiter);
    }

    /// S10: the end of a wait is told once, and its key is nobody's from then on.
    pub(super) fn use_stale_waiters(&mut self) {
        for waiter in self.over.drain(..) {
            assert!(self.primary.cancel_wait(waiter).is_err(), "S10: {waiter:?} is over");
        }
    }

    fn write_and_wait(&mut self, index: usize, env: &mut Env) {
        if env.rng.chance(70) {
            let before = self.end();
            self.put_one(Write::Small, env);
            if self.end() > before {
                self.clients[index].written = self.end();
            }
        }
        let (args, command) = draw_wait(env);
        let target = Offset::new(self.clients[index].written as u64).expect("runs are short");
        self.client_tags += 1;
        let mut wait = args.for_target(target, Tag(self.client_tags));
        if env.rng.chance(15) {
            wait.timeout = Timeout::Immediate;
        }
        self.ask(index, wait, command, env);
    }

    fn ask(&mut self, index: usize, wait: Wait, command: Command, env: &mut Env) {
        env.note(format_args!("client {index}: {wait:?}"));
        match self.start_wait(wait, env) {
            Ok(WaitOutcome::Ended(end)) => answer(command, &end, env),
            Ok(WaitOutcome::Pending(waiter)) => {
                self.clients[index].waits = Some(Waiting { waiter, command });
            }
            Ok(other) => panic!("the simulator does not know {other:?}"),
            Err(_) => env.journal.count(Fault::WaitRefused),
        }
    }

    fn cancel(&mut self, index: usize, waiting: Waiting, env: &mut Env) {
        let end = self.cancel_wait(waiting.waiter, env);
        env.note(format_args!("client {index} gives its wait up: {end:?}"));
        answer(waiting.command, &end, env);
        self.clients[index].waits = None;
    }

    /// The host's own disk: late, and in trouble at times.
    pub(super) fn sync_disk(&mut self, env: &mut Env) {
        if self.syncs_at.take_if(|at| *at <= env.now).is_none() {
            return;
        }
        self.syncs_at = Some(env.in_millis(20, 3000));
        let (end, before) = (self.end(), self.waits.on_disk);
        if before.is_some() && env.strikes(Fault::LocalFsyncStopped, 10) {
            return self.tell_disk(None, env);
        }
        let least = before.unwrap_or(0);
        if least > 0 && env.strikes(Fault::LocalFsyncBackwards, 5) {
            let now = self.clock.read(env.now);
            let told = self.primary.handle_local_fsync(offset(least - 1), now);
            return assert!(matches!(told, Err(LocalFsyncError::WentBack(_))), "S7: the disk goes back");
        }
        if env.strikes(Fault::LocalFsyncAhead, 5) {
            let now = self.clock.read(env.now);
            let told = self.primary.handle_local_fsync(offset(end + 1), now);
            return assert!(matches!(told, Err(LocalFsyncError::BeyondEnd { .. })), "S7: the disk is ahead");
        }
        let is_late = !env.is_calm && env.rng.chance(30);
        let upto = if is_late { env.rng.within(least.min(end)..=end) } else { end };
        self.tell_disk(Some(upto.max(least)), env);
    }

    fn tell_disk(&mut self, upto: Option<usize>, env: &mut Env) {
        let now = self.clock.read(env.now);
        let told = self.primary.handle_local_fsync(upto.and_then(offset), now);
        assert_eq!(told, Ok(()), "{upto:?} is no less than before, nor above the end");
        self.end_waits_by_disk(upto, env);
    }

    /// R169: the role is given up, for a moment.
    pub(crate) fn give_role_up(&mut self, env: &mut Env) {
        let now = self.clock.read(env.now);
        self.primary.end_waits(now);
        self.end_all_waits(env);
        self.end_batch(env);
    }
}

fn offset(at: usize) -> Option<Offset> {
    Offset::new(at as u64)
}

fn draw_wait(env: &mut Env) -> (WaitArgs, Command) {
    let timeout = if env.rng.chance(25) { 0 } else { env.rng.scaled(1..=5000) }.to_string();
    let replicas = env.rng.within(0..=env.options.replicas + 1).to_string();
    if env.rng.chance(50) {
        let args = wire::wait(&[replicas.as_bytes(), timeout.as_bytes()]);
        return (args.expect("its words are right"), Command::Wait);
    }
    let local: &[u8] = env.rng.pick(&[b"0", b"1"]);
    let args = wire::waitaof(&[local, replicas.as_bytes(), timeout.as_bytes()]);
    (args.expect("its words are right"), Command::WaitAof)
}

/// R167: a number for WAIT, two for WAITAOF, and an error for what tells nothing.
fn answer(command: Command, end: &WaitEnd, env: &mut Env) {
    let mut told = Vec::new();
    match command {
        Command::Wait => wire::put_wait_end(&mut told, end),
        Command::WaitAof => wire::put_waitaof_end(&mut told, end),
    }
    env.journal.output(&told);
    let told = String::from_utf8(told).expect("an answer is text");
    let (acked, local) = (end.acked, u8::from(end.local));
    let (fault, expected) = match (end.how, command) {
        (WaitEnded::NoLongerPrimary, _) => (Fault::WaitEndedByRole, None),
        (WaitEnded::NoLocalFsync, _) => (Fault::WaitEndedByDisk, None),
        (how, Command::Wait) => (fault_of(how), Some(format!(":{acked}\r\n"))),
        (how, Command::WaitAof) => (fault_of(how), Some(format!("*2\r\n:{local}\r\n:{acked}\r\n"))),
    };
    env.journal.count(fault);
    let is_right = expected.map_or(told.starts_with('-'), |expected| told == expected);
    assert!(is_right, "S7: {told:?} is the answer to {command:?}, which ended as {end:?}");
}

fn fault_of(how: WaitEnded) -> Fault {
    match how {
        WaitEnded::Satisfied => Fault::WaitSatisfied,
        WaitEnded::TimedOut => Fault::WaitTimedOut,
        _ => Fault::WaitCancelled,
    }
}
