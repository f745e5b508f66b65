use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use headwater::{Sink, Unit, WriteRefused, wire};

use super::Host;
use crate::env::Env;
use crate::fault::Fault;
use crate::model::Store;

/// One way to write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Write {
    Small,
    OneByte,
    /// Empty lines, for units of any small size.
    Lines,
    AboveBacklog,
    /// Exactly as much as takes a replica to its output limit, or to one byte less.
    ToTheLimit,
    Transaction,
    Cleared,
    /// Taken back and put anew.
    Rewritten,
    Panics,
    AboveBound,
    /// What is not gated.
    Append,
}

/// What is put into one unit.
#[derive(Debug, Default)]
struct Content {
    puts: Vec<Vec<u8>>,
    /// Put first, and taken back.
    taken_back: Vec<Vec<u8>>,
    panics: bool,
}

impl Host {
    /// Writes a few units, then takes the events.
    pub(crate) fn write(&mut self, writes: &[Write], env: &mut Env) {
        for write in writes {
            self.put_one(*write, env);
        }
        self.end_batch(env);
    }

    pub(super) fn put_one(&mut self, write: Write, env: &mut Env) {
        let mut store = self.store.clone();
        let content = self.compose(write, &mut store, env);
        let len: usize = content.puts.iter().map(Vec::len).sum();
        let taken_back: usize = content.taken_back.iter().map(Vec::len).sum();
        self.largest_unit = self.largest_unit.max(len).max(taken_back);
        env.note(format_args!("write {write:?} of {len} bytes at {}", self.end()));
        match write {
            Write::Append => self.append(&content.puts.concat(), store, env),
            _ => self.put(&content, store, env),
        }
        self.observe(env);
    }

    fn put(&mut self, content: &Content, store: Store, env: &mut Env) {
        let now = self.clock.read(env.now);
        let expected = self.expected_verdict();
        let mut is_wanted = false;
        let apply = |unit: &mut Unit<'_>| {
            is_wanted = unit.is_wanted();
            if !content.taken_back.is_empty() {
                content.taken_back.iter().for_each(|bytes| unit.put(bytes));
                unit.clear();
            }
            content.puts.iter().for_each(|bytes| unit.put(bytes));
            if content.panics {
                // Without the hook, whose message would be taken for a failure.
                resume_unwind(Box::new(()));
            }
        };
        let written = catch_unwind(AssertUnwindSafe(|| self.primary.write(now, apply)));
        if let Ok(Err(WriteRefused::NotEnough(refused))) = written {
            env.journal.count(Fault::WriteRefused);
            return assert_eq!(Err(refused), expected, "S9: a write is refused with other figures");
        }
        assert_eq!(expected, Ok(()), "S9: a write is let in");
        let end = written.ok().map(|written| written.expect("the stream has room").end);
        let unit = content.puts.concat();
        if content.panics || unit.len() > self.config().max_unit {
            self.store = store;
            return self.on_broken(is_wanted, env);
        }
        self.on_written(&unit, store, is_wanted, env);
        let expected = (is_wanted && !unit.is_empty()).then(|| self.primary.end());
        assert_eq!(end, Some(expected), "a unit ends at the end of the stream");
    }

    fn append(&mut self, unit: &[u8], store: Store, env: &mut Env) {
        let now = self.clock.read(env.now);
        let end = self.primary.append(unit, now);
        assert_eq!(end, self.is_kept.then(|| self.primary.end()));
        self.on_written(unit, store, self.is_kept, env);
    }

    fn on_written(&mut self, unit: &[u8], store: Store, is_wanted: bool, env: &mut Env) {
        let has_changed = store != self.store;
        self.store = store;
        if is_wanted && !unit.is_empty() {
            self.enter(unit, env);
        } else if has_changed {
            env.journal.count(Fault::WriteNotCounted);
            env.model.part();
        }
    }

    /// The data has moved on without the stream: nobody stays who could go on from it.
    fn on_broken(&mut self, is_wanted: bool, env: &mut Env) {
        env.model.part();
        if is_wanted {
            self.judge_broken(self.end());
        }
        // An oversized unit that nobody wants goes nowhere, as any other.
        let report = self.primary.report(self.clock.latest());
        assert!(report.replicas.is_empty(), "S6: a broken history has no replicas");
        assert!(report.backlog.is_none() || !is_wanted, "S6: a broken history can't be resumed");
    }

    fn compose(&self, write: Write, store: &mut Store, env: &mut Env) -> Content {
        let mut content = Content::default();
        match write {
            Write::Small | Write::Append => {
                let len = env.rng.scaled(0..=300);
                content.puts.push(mix(len, store, env));
            }
            Write::OneByte => {
                env.journal.count(Fault::UnitOfOneByte);
                content.puts.push(b"\n".into());
            }
            Write::Lines => content.puts.push(vec![b'\n'; env.rng.within(1..=70)]),
            Write::AboveBacklog => {
                env.journal.count(Fault::UnitAboveBacklog);
                let (capacity, most) = (self.config().backlog_capacity, self.config().max_unit - 100);
                let len = env.rng.within(capacity.min(100_000)..=(2 * capacity).min(200_000)).min(most);
                content.puts.push(mix(len, store, env));
            }
            Write::ToTheLimit => content.puts.push(self.to_the_limit(store, env)),
            Write::Transaction => content.puts = transaction(store, env),
            Write::Cleared | Write::Rewritten => {
                env.journal.count(Fault::UnitCleared);
                let most = env.rng.pick(&[100, 10_000, 100_000]).min(self.config().max_unit / 2);
                let len = env.rng.within(1..=most);
                content.taken_back = vec![env.rng.bytes(len), env.rng.bytes(len)];
                if write == Write::Rewritten {
                    content.puts.push(mix(100, store, env));
                }
            }
            Write::Panics => {
                env.journal.count(Fault::UnitPanicked);
                content.puts.push(mix(1000, store, env));
                content.panics = true;
            }
            Write::AboveBound => {
                env.journal.count(Fault::UnitAboveBound);
                let len = self.config().max_unit;
                content.puts = vec![mix(len / 2, store, env), mix(len / 2, store, env)];
            }
        }
        content
    }

    fn to_the_limit(&self, store: &mut Store, env: &mut Env) -> Vec<u8> {
        let end = self.end();
        let charged = self.links.values().filter_map(|link| link.charged(end)).max().unwrap_or(0) as u64;
        let limit = self.effective_limit();
        let limit = limit.soft.map(|soft| soft.bytes).filter(|_| env.rng.chance(50)).or(limit.hard);
        let left = limit.and_then(|limit| usize::try_from(limit.saturating_sub(charged)).ok());
        let most = self.config().max_unit.min(200_000);
        let Some(left) = left.filter(|left| (1..=most).contains(left)) else { return mix(10, store, env) };
        env.journal.count(Fault::UnitToTheLimit);
        let len = left - usize::from(left > 1 && env.rng.chance(50));
        if len < 100 { vec![b'\n'; len] } else { mix_of(len, store, env) }
    }
}

/// A write of so many bytes to one register.
fn mix(len: usize, store: &mut Store, env: &mut Env) -> Vec<u8> {
    let (key, value) = ([b'a' + env.rng.array::<1>()[0] % 8], env.rng.bytes(len));
    let args: [&[u8]; 3] = [b"MIX", &key, &value];
    store.apply(&args);
    let mut command = Vec::new();
    wire::put_command(&mut command, &args);
    command
}

/// A write that takes so many bytes in the stream, some empty lines ahead of it to make up its length.
fn mix_of(len: usize, store: &mut Store, env: &mut Env) -> Vec<u8> {
    let command = mix(len - 40, store, env);
    let lines = vec![b'\n'; len - command.len()];
    [lines, command].concat()
}

fn transaction(store: &mut Store, env: &mut Env) -> Vec<Vec<u8>> {
    env.journal.count(Fault::Transaction);
    let mut puts = vec![Vec::new(), Vec::new()];
    wire::put_command(&mut puts[0], &["MULTI"]);
    wire::put_command(&mut puts[1], &["EXEC"]);
    let writes: Vec<_> =
        (0..env.rng.within(1..=4)).map(|_| mix(env.rng.scaled(0..=500), store, env)).collect();
    puts.splice(1..1, writes);
    puts
}
