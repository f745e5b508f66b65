use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use bytes::Bytes;

/// The data: strings by key, some of which expire.
///
/// It is split into shards behind an [`Arc`] each, so that a [`View`] costs as many clones as there are shards, and
/// the first write to a shard after it one copy of that shard's table (not of the values, which are shared).
pub struct Store {
    shards: Vec<Arc<Shard>>,
    hasher: RandomState,
    /// When which key expires, the next one first.
    expiries: BTreeSet<(i64, Bytes)>,
    /// Bytes in keys and values.
    bytes: u64,
}

pub type Shard = HashMap<Bytes, Entry>;

/// The data of one moment. Writers go on while it is read.
pub type View = Vec<Arc<Shard>>;

#[derive(Clone)]
pub struct Entry {
    pub value: Bytes,
    /// Milliseconds of Unix time.
    pub expires_at: Option<i64>,
}

impl Store {
    pub fn new() -> Self {
        let shards = (0..SHARDS).map(|_| Arc::default()).collect();
        Self { shards, hasher: RandomState::new(), expiries: BTreeSet::new(), bytes: 0 }
    }

    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.len()).sum()
    }

    /// Bytes in all keys and values: about the size of an RDB.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.shards[self.shard_of(key)].get(key)
    }

    pub fn set(&mut self, key: &[u8], value: Bytes, expires_at: Option<i64>) {
        let index = self.shard_of(key);
        if let Some(at) = expires_at {
            self.expiries.insert((at, Bytes::copy_from_slice(key)));
        }
        self.bytes += (key.len() + value.len()) as u64;
        let entry = Entry { value, expires_at };
        let old = Arc::make_mut(&mut self.shards[index]).insert(Bytes::copy_from_slice(key), entry);
        self.bytes -= old.as_ref().map_or(0, |old| (key.len() + old.value.len()) as u64);
        if let Some(at) = old.and_then(|old| old.expires_at).filter(|at| Some(*at) != expires_at) {
            self.expiries.remove(&(at, Bytes::copy_from_slice(key)));
        }
    }

    pub fn remove(&mut self, key: &[u8]) -> bool {
        if self.get(key).is_none() {
            return false; // a shard that a view shares is not copied for nothing
        }
        let index = self.shard_of(key);
        let Some((key, entry)) = Arc::make_mut(&mut self.shards[index]).remove_entry(key) else {
            return false;
        };
        self.bytes -= (key.len() + entry.value.len()) as u64;
        if let Some(at) = entry.expires_at {
            self.expiries.remove(&(at, key));
        }
        true
    }

    /// A key whose time has come.
    pub fn expired(&self, now_ms: i64) -> Option<Bytes> {
        self.expiries.first().filter(|(at, _)| *at <= now_ms).map(|(_, key)| key.clone())
    }

    pub fn keys(&self) -> impl Iterator<Item = &Bytes> {
        self.shards.iter().flat_map(|shard| shard.keys())
    }

    pub fn view(&self) -> View {
        self.shards.clone()
    }

    fn shard_of(&self, key: &[u8]) -> usize {
        usize::try_from(self.hasher.hash_one(key) % SHARDS).expect("a small number")
    }
}

/// Whether `text` matches a pattern of Redis: `*`, `?`, `[a-z]`, `[^a]` and `\` before a character meant as it is.
///
/// Only the last star is ever tried again, so the time is at most the product of both lengths.
pub fn glob_matches(mut pattern: &[u8], mut text: &[u8]) -> bool {
    let mut star = None; // where to go on in the pattern, and from which place of the text
    while let [byte, after_byte @ ..] = text {
        if let [b'*', after_star @ ..] = pattern {
            (pattern, star) = (after_star, Some((after_star, text)));
        } else if let Some(rest) = match_one(pattern, *byte) {
            (pattern, text) = (rest, after_byte);
        } else if let Some((after_star, [_, from @ ..])) = star {
            (pattern, text, star) = (after_star, from, Some((after_star, from)));
        } else {
            return false;
        }
    }
    pattern.iter().all(|byte| *byte == b'*')
}

/// What the pattern goes on with after taking `byte`; `None` if it does not take it. A class may lack its end.
fn match_one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    let (mut class, wanted) = match pattern {
        [b'?', rest @ ..] => return Some(rest),
        [b'[', b'^', class @ ..] => (class, false),
        [b'[', class @ ..] => (class, true),
        [b'\\', plain, rest @ ..] | [plain, rest @ ..] => return (*plain == byte).then_some(rest),
        [] => return None,
    };
    let mut found = false;
    while let [first, rest @ ..] = class {
        let (members, rest) = match (first, rest) {
            (b']', _) => return (found == wanted).then_some(rest),
            (b'\\', [plain, rest @ ..]) => (*plain..=*plain, rest),
            (_, [b'-', last, rest @ ..]) => (*first.min(last)..=*first.max(last), rest),
            _ => (*first..=*first, rest),
        };
        found |= members.contains(&byte);
        class = rest;
    }
    (found == wanted).then_some(class)
}

/// Enough for a copy of one to be short (1,000 keys of a million), few enough for a view to be cheap.
const SHARDS: u64 = 1024;
