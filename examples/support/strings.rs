//! What a small store knows of data: GET, SET, INCR, DEL and DBSIZE; its INFO; and ECHO, with which `redis-cli --pipe` ends.

use std::str;

use bytes::{Bytes, BytesMut};
use headwater::info::{self, Flavour};
use headwater::{Report, Sink as _, wire};

use crate::store::Store;

pub fn is_write(name: &[u8], args: &[&[u8]]) -> bool {
    matches!((name, args), (b"set", [_, _]) | (b"incr", [_]) | (b"del", [_, ..]))
}

/// Answers a command that changes nothing. An error is in Redis's words.
pub fn read(store: &Store, name: &[u8], args: &[&[u8]], out: &mut BytesMut) -> Result<(), &'static str> {
    match (name, args) {
        (b"ping", []) => out.put(b"+PONG\r\n"),
        (b"echo", [text]) => put_value(out, text),
        (b"dbsize", []) => wire::put_integer(out, store.len() as u64),
        (b"get", [key]) => match store.get(key) {
            Some(entry) => put_value(out, &entry.value),
            None => out.put(b"$-1\r\n"),
        },
        _ => return Err("ERR unknown command, or a wrong number of arguments"),
    }
    Ok(())
}

/// Does what [`is_write`] knows, answers, and tells what was done so that it means the same on any server. What did
/// nothing is not told.
pub fn write(
    store: &mut Store,
    name: &[u8],
    args: &[&[u8]],
    out: &mut BytesMut,
    tell: impl FnOnce(&[&[u8]]),
) {
    match (name, args) {
        (b"set", [key, value]) => {
            store.set(key, Bytes::copy_from_slice(value), None);
            tell(&[b"SET", key, value]);
            wire::put_ok(out);
        }
        (b"incr", [key]) => {
            let Some(new) = number(store, key).and_then(|old| old.checked_add(1)) else {
                return wire::put_error(out, &"ERR value is not an integer or out of range");
            };
            let value = Bytes::from(new.to_string());
            tell(&[b"SET", key, &value]);
            store.set(key, value, None);
            out.put(format!(":{new}\r\n").as_bytes());
        }
        (_, keys) => {
            let deleted: Vec<&[u8]> = keys.iter().copied().filter(|key| store.remove(key)).collect();
            if !deleted.is_empty() {
                tell(&[&[&b"DEL"[..]], &deleted[..]].concat());
            }
            wire::put_integer(out, deleted.len() as u64);
        }
    }
}

pub fn info(report: &Report) -> String {
    let (clients, memory, stats) = (info::clients(report), info::memory(report), info::stats(report));
    let replication = info::replication(report, Flavour::Redis);
    format!("# Clients\r\n{clients}\r\n# Memory\r\n{memory}\r\n# Stats\r\n{stats}\r\n{replication}")
}

fn number(store: &Store, key: &[u8]) -> Option<i64> {
    match store.get(key) {
        None => Some(0),
        Some(entry) => str::from_utf8(&entry.value).ok()?.parse().ok(),
    }
}

fn put_value(out: &mut BytesMut, value: &[u8]) {
    out.put(format!("${}\r\n", value.len()).as_bytes());
    out.put(value);
    out.put(b"\r\n");
}
