use std::error::Error;

use bytes::{Bytes, BytesMut};
use headwater::wire::{self, Command};

use crate::reply::Reply::{self, Array, Bulk, Integer, Null, Simple};
use crate::store::{Entry, Store, glob_matches};
use Kind::{Read, Serve, Wait, Write};

/// A command's name and kind.
pub type Spec = (&'static str, Kind);

/// Whether a command reads the data, may change it, waits for replicas, or is about something else.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Read,
    Write,
    Wait,
    Serve,
}

/// A reply, or an error in Redis's words: then the command changed nothing.
pub type Answer = Result<Reply, Box<dyn Error>>;

/// What commands work on.
pub struct Data {
    pub store: Store,
    /// What commands did, said so that it means the same at any time and on any server.
    pub effects: BytesMut,
    /// Unix time in milliseconds. Of a primary nothing in the store has expired.
    pub now_ms: i64,
    /// Whether the commands are those of a primary, which alone decides what has expired.
    pub is_replaying: bool,
    /// Whether a transaction of a primary failed half-way: until a snapshot is loaded nobody may go on from this.
    pub is_half_applied: bool,
}

/// The command of that name, if it may have so many words.
pub fn find(words: &[&[u8]]) -> Result<Spec, Box<dyn Error>> {
    for (arity, kind, names) in COMMANDS {
        if let Some(name) = names.iter().find(|name| is(words[0], name)) {
            let (count, least) = (words.len() as u64, arity.unsigned_abs());
            let suits = count == least || *arity < 0 && count > least;
            return if suits { Ok((name, *kind)) } else { Err(wrong_arity(name)) };
        }
    }
    let mut words = words.iter().map(|word| String::from_utf8_lossy(&word[..word.len().min(128)]));
    let name = words.next().unwrap_or_default();
    let args: String = words.take(8).map(|arg| format!("'{arg}' ")).collect();
    Err(format!("ERR unknown command '{name}', with args beginning with: {args}").into())
}

impl Data {
    pub fn run_all(&mut self, commands: &[(Spec, Command)]) -> Vec<Reply> {
        let run = |((name, _), command): &(Spec, Command)| {
            let answer = self.run(name, &command.args().collect::<Vec<_>>());
            answer.unwrap_or_else(|error| Reply::Error(error.to_string()))
        };
        commands.iter().map(run).collect()
    }

    fn run(&mut self, name: &str, words: &[&[u8]]) -> Answer {
        let (store, now_ms) = (&self.store, self.now_ms);
        Ok(match (name, &words[1..]) {
            ("ping", []) => Simple("PONG"),
            ("ping", [text]) => Bulk(Bytes::copy_from_slice(text)),
            ("select", [index]) if integer(index)? == 0 => Reply::OK,
            ("select", _) => return Err("ERR DB index is out of range".into()),
            ("get", [key]) => value_of(self.entry(key)),
            ("mget", keys) => Array(keys.iter().map(|key| value_of(self.entry(key))).collect()),
            ("exists", keys) => Reply::count(keys.iter().filter(|key| self.entry(key).is_some()).count()),
            ("ttl", [key]) => Integer(self.ttl(key, 1000)),
            ("pttl", [key]) => Integer(self.ttl(key, 1)),
            ("keys", [pattern]) => {
                Array(store.keys().filter(|key| glob_matches(pattern, key)).cloned().map(Bulk).collect())
            }
            ("dbsize", []) => Reply::count(store.len()),
            ("set", [key, value, options @ ..]) => self.set(key, value, options)?,
            ("mset", pairs) => self.mset(words, pairs)?,
            ("append", [key, more]) => self.append(words, key, more)?,
            ("incr", [key]) => self.add(words, key, 1)?,
            ("incrby", [key, delta]) => self.add(words, key, integer(delta)?)?,
            ("decr", [key]) => self.add(words, key, -1)?,
            ("decrby", [key, delta]) => {
                self.add(words, key, integer(delta)?.checked_neg().ok_or(OVERFLOW)?)?
            }
            ("del" | "unlink", keys) => self.del(keys),
            ("persist", [key]) => self.persist(words, key),
            ("expire", [key, time]) => self.expire(name, key, moment(time, b"ex", now_ms)?)?,
            ("pexpire", [key, time]) => self.expire(name, key, moment(time, b"px", now_ms)?)?,
            ("pexpireat", [key, time]) => self.expire(name, key, moment(time, b"pxat", now_ms)?)?,
            ("flushall" | "flushdb", options) => self.flush(options)?,
            _ => return Err(wrong_arity(name)),
        })
    }

    /// Does what a primary's commands did there. After an error the data is not what it is there.
    pub fn replay(&mut self, commands: &[(Spec, Command)]) -> Result<(), Box<dyn Error>> {
        self.is_replaying = true;
        let run = |((name, _), command): &(Spec, Command)| {
            self.run(name, &command.args().collect::<Vec<_>>()).map(drop)
        };
        let replayed = commands.iter().try_for_each(run);
        self.is_replaying = false;
        self.is_half_applied |= replayed.is_err() && commands.len() > 1;
        self.effects.clear(); // whoever follows this store gets the primary's own bytes
        replayed
    }

    /// What a client sees of a key: who follows keeps what has expired until it is told.
    fn entry(&self, key: &[u8]) -> Option<&Entry> {
        let is_there = |entry: &&Entry| !entry.expires_at.is_some_and(|at| self.is_over(at));
        self.store.get(key).filter(is_there)
    }

    fn is_over(&self, at: i64) -> bool {
        !self.is_replaying && at <= self.now_ms
    }

    fn tell(&mut self, words: &[&[u8]]) {
        wire::put_command(&mut self.effects, words);
    }

    fn ttl(&self, key: &[u8], unit: i64) -> i64 {
        match self.entry(key) {
            None => -2,
            Some(Entry { expires_at: None, .. }) => -1,
            Some(Entry { expires_at: Some(at), .. }) => (at - self.now_ms).saturating_add(unit / 2) / unit,
        }
    }

    fn set(&mut self, key: &[u8], value: &[u8], options: &[&[u8]]) -> Answer {
        let (mut if_exists, mut expires_at, mut keeps_expiry) = (None, None, false);
        let mut options = options.iter();
        while let Some(option) = options.next() {
            match option.to_ascii_lowercase().as_slice() {
                b"nx" if if_exists != Some(true) => if_exists = Some(false),
                b"xx" if if_exists != Some(false) => if_exists = Some(true),
                b"keepttl" if expires_at.is_none() => keeps_expiry = true,
                unit @ (b"ex" | b"px" | b"pxat") if expires_at.is_none() && !keeps_expiry => {
                    let time = options.next().ok_or(SYNTAX)?;
                    let at = moment(time, unit, self.now_ms)?.filter(|_| integer(time) > Ok(0));
                    expires_at = Some(at.ok_or("ERR invalid expire time in 'set' command")?);
                }
                _ => return Err(SYNTAX.into()),
            }
        }
        if if_exists.is_some_and(|wanted| wanted != self.entry(key).is_some()) {
            return Ok(Null);
        }
        if keeps_expiry {
            expires_at = self.entry(key).and_then(|entry| entry.expires_at);
        }
        self.set_until(key, value, expires_at);
        Ok(Reply::OK)
    }

    /// Told without a condition, and with a moment rather than a span.
    fn set_until(&mut self, key: &[u8], value: &[u8], expires_at: Option<i64>) {
        match expires_at {
            Some(at) if self.is_over(at) => return drop(self.del(&[key])),
            Some(at) => self.tell(&[b"SET", key, value, b"PXAT", at.to_string().as_bytes()]),
            None => self.tell(&[b"SET", key, value]),
        }
        self.store.set(key, Bytes::copy_from_slice(value), expires_at);
    }

    fn mset(&mut self, words: &[&[u8]], pairs: &[&[u8]]) -> Answer {
        let (pairs, []) = pairs.as_chunks() else { return Err(wrong_arity("mset")) };
        for [key, value] in pairs {
            self.store.set(key, Bytes::copy_from_slice(value), None);
        }
        self.tell(words);
        Ok(Reply::OK)
    }

    fn append(&mut self, words: &[&[u8]], key: &[u8], more: &[u8]) -> Answer {
        let old = self.entry(key);
        let value = [old.map_or(&[][..], |entry| &entry.value), more].concat();
        let (len, expires_at) = (value.len(), old.and_then(|entry| entry.expires_at));
        if len > MAX_VALUE {
            return Err("ERR string exceeds maximum allowed size (proto-max-bulk-len)".into());
        }
        self.store.set(key, value.into(), expires_at);
        self.tell(words);
        Ok(Reply::count(len))
    }

    fn add(&mut self, words: &[&[u8]], key: &[u8], delta: i64) -> Answer {
        let old = self.entry(key);
        let (number, expires_at) =
            (old.map_or(Ok(0), |entry| integer(&entry.value))?, old.and_then(|entry| entry.expires_at));
        let new = number.checked_add(delta).ok_or(OVERFLOW)?;
        self.store.set(key, new.to_string().into(), expires_at);
        self.tell(words);
        Ok(Integer(new))
    }

    fn del(&mut self, keys: &[&[u8]]) -> Reply {
        let removed = keys.iter().filter(|key| self.store.remove(key)).count();
        if removed > 0 {
            self.tell(&[&[&b"DEL"[..]], keys].concat());
        }
        Reply::count(removed)
    }

    fn expire(&mut self, command: &str, key: &[u8], at: Option<i64>) -> Answer {
        let at = at.ok_or_else(|| format!("ERR invalid expire time in '{command}' command"))?;
        let Some(Entry { value, .. }) = self.entry(key).cloned() else { return Ok(Integer(0)) };
        if self.is_over(at) {
            return Ok(self.del(&[key]));
        }
        self.store.set(key, value, Some(at));
        self.tell(&[b"PEXPIREAT", key, at.to_string().as_bytes()]);
        Ok(Integer(1))
    }

    fn persist(&mut self, words: &[&[u8]], key: &[u8]) -> Reply {
        let expiring = self.entry(key).filter(|entry| entry.expires_at.is_some()).cloned();
        let Some(Entry { value, .. }) = expiring else { return Integer(0) };
        self.store.set(key, value, None);
        self.tell(words);
        Integer(1)
    }

    /// Told even when there is nothing to remove here.
    fn flush(&mut self, options: &[&[u8]]) -> Answer {
        if !options.iter().all(|option| is(option, "sync") || is(option, "async")) {
            return Err(SYNTAX.into());
        }
        self.store = Store::new();
        self.tell(&[b"FLUSHALL"]);
        Ok(Reply::OK)
    }
}

pub fn is(word: &[u8], name: &str) -> bool {
    word.eq_ignore_ascii_case(name.as_bytes())
}

fn value_of(entry: Option<&Entry>) -> Reply {
    entry.map_or(Null, |entry| Bulk(entry.value.clone()))
}

/// The Unix time in milliseconds that an option of SET names: itself, or a span. `None` if it is too far away.
fn moment(time: &[u8], unit: &[u8], now_ms: i64) -> Result<Option<i64>, &'static str> {
    let number = integer(time)?;
    Ok(match unit {
        b"ex" => number.checked_mul(1000).and_then(|span| span.checked_add(now_ms)),
        b"px" => number.checked_add(now_ms),
        _ => Some(number),
    })
}

/// A decimal as Redis takes it: no plus sign, no leading zero, no space.
pub fn integer(text: &[u8]) -> Result<i64, &'static str> {
    let strict = matches!(text, b"0" | [b'-', b'1'..=b'9', ..] | [b'1'..=b'9', ..]);
    let number = std::str::from_utf8(text).ok().filter(|_| strict).and_then(|text| text.parse().ok());
    number.ok_or("ERR value is not an integer or out of range")
}

pub fn wrong_arity(name: &str) -> Box<dyn Error> {
    format!("ERR wrong number of arguments for '{name}' command").into()
}

/// How many words a command has (below zero: at least so many), its kind, and which commands these are.
const COMMANDS: &[(i64, Kind, &[&str])] = &[
    (-1, Read, &["ping"]),
    (1, Read, &["dbsize"]),
    (2, Read, &["get", "ttl", "pttl", "keys", "select"]),
    (-2, Read, &["mget", "exists"]),
    (-1, Write, &["flushall", "flushdb"]),
    (2, Write, &["incr", "decr", "persist"]),
    (-2, Write, &["del", "unlink"]),
    (3, Write, &["append", "incrby", "decrby", "expire", "pexpire", "pexpireat"]),
    (-3, Write, &["set", "mset"]),
    (3, Wait, &["wait"]),
    (4, Wait, &["waitaof"]),
    (1, Serve, &["multi", "exec", "discard", "role", "save", "sync"]),
    (-1, Serve, &["bgsave", "command", "failover", "info", "quit", "replconf", "shutdown"]),
    (-2, Serve, &["auth", "client", "config"]),
    (3, Serve, &["replicaof", "slaveof"]),
    (-3, Serve, &["psync"]),
];

const OVERFLOW: &str = "ERR increment or decrement would overflow";
pub const SYNTAX: &str = "ERR syntax error";

/// The most bytes in one value, Redis's proto-max-bulk-len.
const MAX_VALUE: usize = 512 << 20;
