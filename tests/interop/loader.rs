//! kv's loader reads what a real `redis-server` dumps.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use redis::Connection;

use crate::dump::{LoadError, load};
use crate::image::wait_in_step;
use crate::load::Random;
use crate::server::{Program, Server};

#[test]
#[ignore = "needs redis-server"]
fn every_kind_of_string_is_loaded() {
    let server = Server::primary(Program::Redis, &[]);
    let mut client = server.client();
    let mut expected = BTreeMap::new();
    for (index, value) in values().into_iter().enumerate() {
        let key = [format!("{index}:").as_bytes(), &value[..value.len().min(300)]].concat();
        redis::cmd("SET").arg(&key).arg(&value).exec(&mut client).expect("the write is taken");
        expected.insert(key, (value, None));
    }
    for (key, at) in
        [("soon", 4_000_000_000_000_i64), ("late", 32_503_680_000_999), ("in seconds", 4_000_000_000_000)]
    {
        redis::cmd("SET")
            .arg(key)
            .arg("x")
            .arg("PXAT")
            .arg(at)
            .exec(&mut client)
            .expect("the write is taken");
        expected.insert(key.into(), (b"x".to_vec(), Some(at)));
    }
    let loaded = loaded(&save(&mut client));
    for (key, entry) in &expected {
        assert!(loaded.get(key) == Some(entry), "{}", key[..key.len().min(40)].escape_ascii());
    }
    assert_eq!(loaded.len(), expected.len());
}

#[test]
#[ignore = "needs redis-server"]
fn settings_of_the_dump_change_nothing_of_what_is_loaded() {
    // An LRU or LFU clock stands before each key; without compression and checksum the file differs, not the data.
    for options in [
        &["--maxmemory", "1gb", "--maxmemory-policy", "allkeys-lru"][..],
        &["--maxmemory", "1gb", "--maxmemory-policy", "allkeys-lfu"],
        &["--rdbcompression", "no"],
        &["--rdbchecksum", "no"],
    ] {
        let server = Server::primary(Program::Redis, options);
        let mut client = server.client();
        redis::cmd("FUNCTION")
            .arg("LOAD")
            .arg(LIBRARY)
            .exec(&mut client)
            .expect("the library is well formed");
        let value = "ab".repeat(500);
        redis::cmd("MSET")
            .arg("k")
            .arg(&value)
            .arg("n")
            .arg(12)
            .exec(&mut client)
            .expect("the write is taken");
        let expected = [("k", value.as_str()), ("n", "12")];
        let expected = expected.map(|(key, value)| (key.into(), (value.into(), None)));
        assert_eq!(loaded(&save(&mut client)), expected.into(), "{options:?}");
    }
}

#[test]
#[ignore = "needs redis-server"]
fn a_dump_tells_its_place_in_the_stream() {
    let primary = Server::primary(Program::Redis, &[]);
    let mut client = primary.client();
    assert_eq!(load(&save(&mut client)).map(|dump| dump.replication), Ok(None));

    let replica = Server::replica_of(primary.port(), &[]);
    wait_in_step(&primary, &replica);
    redis::cmd("SET").arg("k").arg("v").exec(&mut client).expect("the write is taken");
    wait_in_step(&primary, &replica);
    for server in [&primary, &replica] {
        let before = server.info().number("master_repl_offset");
        let dump = load(&save(&mut server.client())).expect("the dump is well formed");
        let (point, stream_db) = dump.replication.expect("a replica is there");
        assert_eq!(point.id.to_string(), server.info().text("master_replid"));
        let after = server.info().number("master_repl_offset"); // a ping may pass meanwhile
        assert!((before..=after).contains(&point.offset.get()), "{before} {point:?} {after}");
        assert_eq!(stream_db, 0);
    }
}

#[test]
#[ignore = "needs redis-server"]
fn another_type_or_database_is_refused_by_its_name() {
    let server = Server::primary(Program::Redis, &[]);
    let mut client = server.client();
    for (words, kind, db) in [
        ("RPUSH key a", "list", 0),
        ("SADD key 1 2", "set", 0),
        ("SADD key a", "set", 0),
        ("ZADD key 1 a", "sorted set", 0),
        ("HSET key a 1", "hash", 0),
        ("XADD key * a 1", "stream", 0),
        ("SET key v", "string", 5),
        ("HSET key a 1", "hash", 15),
    ] {
        redis::cmd("FLUSHALL").exec(&mut client).expect("the write is taken");
        redis::cmd("SELECT").arg(db).exec(&mut client).expect("there are 16 databases");
        let mut words = words.split(' ');
        let mut command = redis::cmd(words.next().expect("the name comes first"));
        words
            .fold(&mut command, |command, word| command.arg(word))
            .exec(&mut client)
            .expect("the write is taken");
        let refused = LoadError::NotOurs { key: "key".into(), kind: kind.into(), db };
        assert_eq!(load(&save(&mut client)), Err(refused));
    }
}

type Entries = BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>;

fn loaded(image: &[u8]) -> Entries {
    let dump = load(image).expect("the dump is well formed");
    dump.entries.into_iter().map(|entry| (entry.key, (entry.value, entry.expires_at))).collect()
}

/// Has the server write its file, and reads that.
fn save(client: &mut Connection) -> Vec<u8> {
    redis::cmd("SAVE").exec(client).expect("the directory is writable");
    let dir: Vec<String> = redis::cmd("CONFIG").arg("GET").arg("dir").query(client).expect("it is known");
    fs::read(Path::new(&dir[1]).join("dump.rdb")).expect("the server has written it")
}

/// Such that each encoding occurs, up to its bounds and past them.
fn values() -> Vec<Vec<u8>> {
    let mut random = Random::new(7);
    let mut noise =
        |len: usize| -> Vec<u8> { (0..len).map(|_| random.below(256).to_le_bytes()[0]).collect() };
    let lengths = [0, 1, 20, 21, 63, 64, 16_383, 16_384, 70_000];
    let mut values: Vec<_> = lengths.into_iter().flat_map(|len| [noise(len), vec![b'x'; len]]).collect();
    let numbers = [0, 1, 127, 128, 32_767, 32_768, 2_147_483_647, 2_147_483_648, i64::MAX];
    values.extend(
        numbers.iter().flat_map(|number| [number.to_string(), (-number - 1).to_string()]).map(Into::into),
    );
    values.extend(["007", "+1", "-0", "1 ", "1.5"].map(Into::into));
    // LZF refers to what lies up to 8 KiB back, and repeats up to 264 bytes at once.
    for distance in [1, 2, 3, 263, 264, 265, 8191, 8192, 8193] {
        values.push(noise(distance).repeat(3 + 600 / distance));
    }
    values.push(vec![0; 1 << 20]);
    values
}

const LIBRARY: &str = "#!lua name=library\nredis.register_function('f', function() return 1 end)";
