use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use redis::Connection;

use crate::server::Server;
use crate::wait::wait_for;

/// Waits until `replica` has applied all that `primary` has written.
#[track_caller]
pub(crate) fn wait_in_step(primary: &Server, replica: &Server) {
    wait_for("replica in step", || {
        let (theirs, ours) = (replica.info(), primary.info());
        let link = theirs.text("master_link_status");
        let (applied, end) = (theirs.number("slave_repl_offset"), ours.number("master_repl_offset"));
        if link == "up" && applied == end {
            return Ok(());
        }
        Err(format!("link {link}, offset {applied} of {end}"))
    });
}

/// Waits until both are in step, then compares them key by key: values, and expiries. Returns the number of keys.
#[track_caller]
pub(crate) fn assert_equal_data(primary: &Server, replica: &Server) -> usize {
    wait_in_step(primary, replica);
    let lister = if primary.is_small() { replica } else { primary };
    let (ours, theirs) = wait_for("end of the short-lived keys", || {
        let (ours, theirs) = (Image::read(primary, lister)?, Image::read(replica, replica)?);
        // A key that has expired is not listed, but a replica holds it until the primary deletes it.
        if ours.size == theirs.size {
            return Ok((ours.entries, theirs.entries));
        }
        Err(format!("{} keys are held by the primary, {} by the replica", ours.size, theirs.size))
    });
    let keys: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    let differing: Vec<String> = keys
        .iter()
        .filter_map(|key| difference(ours.get(*key), theirs.get(*key)).map(|text| (key, text)))
        .map(|(key, text)| format!("{}: {text}", key.escape_ascii()))
        .collect();
    let first = differing.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
    assert!(differing.is_empty(), "{} of {} keys differ:\n{first}", differing.len(), keys.len());
    keys.len()
}

/// All that a server says about its keys.
struct Image {
    /// How many keys it holds, expired ones included.
    size: usize,
    entries: BTreeMap<Vec<u8>, Entry>,
}

impl Image {
    /// What a server holds of the keys that `lister` names. Refuses while one is about to expire.
    fn read(server: &Server, lister: &Server) -> Result<Self, String> {
        let mut client = server.client();
        let keys: Vec<Vec<u8>> = query(&mut lister.client(), redis::cmd("KEYS").arg("*"));
        let mut entries = BTreeMap::new();
        for chunk in keys.chunks(1000) {
            entries.extend(read_entries(&mut client, chunk, server.is_small())?);
        }
        Ok(Self { size: query(&mut client, &redis::cmd("DBSIZE")), entries })
    }
}

struct Entry {
    value: Vec<u8>,
    /// The earliest and the latest moment at which the key can expire.
    expiry: Option<(Instant, Instant)>,
}

/// Where `nothing_expires` nobody can be asked when.
fn read_entries(
    client: &mut Connection,
    keys: &[Vec<u8>],
    nothing_expires: bool,
) -> Result<Vec<(Vec<u8>, Entry)>, String> {
    let mut pipe = redis::pipe();
    for key in keys {
        pipe.cmd("GET").arg(key);
        if !nothing_expires {
            pipe.cmd("PTTL").arg(key);
        }
    }
    let asked = Instant::now();
    let replies: Vec<redis::Value> = pipe.query(client).expect("reads are answered");
    let answered = Instant::now();
    let entry = |(key, reply): (&Vec<u8>, &[redis::Value])| match reply {
        [redis::Value::BulkString(value)] | [redis::Value::BulkString(value), redis::Value::Int(-1)] => {
            Ok((key.clone(), Entry { value: value.clone(), expiry: None }))
        }
        [redis::Value::BulkString(value), redis::Value::Int(left @ 1000..)] => {
            let left = Duration::from_millis(left.unsigned_abs());
            Ok((key.clone(), Entry { value: value.clone(), expiry: Some((asked + left, answered + left)) }))
        }
        _ => Err(format!("{} is about to expire: {reply:?}", key.escape_ascii())),
    };
    keys.iter().zip(replies.chunks(replies.len() / keys.len())).map(entry).collect()
}

fn difference(ours: Option<&Entry>, theirs: Option<&Entry>) -> Option<String> {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours.value != theirs.value => {
            let common =
                ours.value.iter().zip(&theirs.value).take_while(|(ours, theirs)| ours == theirs).count();
            let (ours, theirs) = (ours.value.len(), theirs.value.len());
            Some(format!("{ours} bytes on the primary, {theirs} on the replica, equal up to {common}"))
        }
        (Some(ours), Some(theirs)) if !agree(ours.expiry, theirs.expiry) => Some(format!(
            "expires at {:?} on the primary, at {:?} on the replica",
            ours.expiry, theirs.expiry
        )),
        (Some(_), Some(_)) => None,
        (Some(_), None) => Some("only on the primary".to_owned()),
        (None, _) => Some("only on the replica".to_owned()),
    }
}

fn agree(ours: Option<(Instant, Instant)>, theirs: Option<(Instant, Instant)>) -> bool {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => {
            ours.0 <= theirs.1 + EXPIRY_TOLERANCE && theirs.0 <= ours.1 + EXPIRY_TOLERANCE
        }
        (None, None) => true,
        _ => false,
    }
}

fn query<T: redis::FromRedisValue>(client: &mut Connection, command: &redis::Cmd) -> T {
    command.query(client).expect("reads are answered")
}

/// PTTL is in whole milliseconds, of a clock that a server reads once per turn of its loop.
const EXPIRY_TOLERANCE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    /// Read in 10 ms, and expiring so many milliseconds after `start`.
    fn entry(value: &str, start: Instant, expiry: Option<u64>) -> Entry {
        let expiry = expiry.map(|millis| start + Duration::from_millis(millis));
        let expiry = expiry.map(|earliest| (earliest, earliest + Duration::from_millis(10)));
        Entry { value: value.into(), expiry }
    }

    #[test]
    fn every_difference_is_found() {
        let start = Instant::now();
        let ours = entry("value", start, Some(5000));
        for (theirs, found) in [
            (Some(entry("value", start, Some(5050))), false),
            (Some(entry("value", start, Some(4950))), false),
            (Some(entry("value", start, Some(5100))), true),
            (Some(entry("value", start, Some(4900))), true),
            (Some(entry("value", start, None)), true),
            (Some(entry("valuE", start, Some(5000))), true),
            (Some(entry("value2", start, Some(5000))), true),
            (None, true),
        ] {
            assert_eq!(difference(Some(&ours), theirs.as_ref()).is_some(), found);
            assert_eq!(difference(theirs.as_ref(), Some(&ours)).is_some(), found);
        }
    }
}
