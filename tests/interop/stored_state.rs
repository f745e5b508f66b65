//! What kv saved, damaged: it is not started with, or its place in the stream is not gone on from.

use std::fs;

use crate::player::{ID, Primary, key, wait_for_line};
use crate::raw::RawClient;
use crate::server::{Program, Server, run_kv};

/// R37, R43, B14, B19: all that makes a place is there and makes sense, or everything is asked for.
#[test]
fn half_a_place_or_one_that_can_not_be_is_no_place() {
    let primary = Primary::start();
    let mut replica = Server::follower(Program::Kv, primary.port(), &[]);
    let mut last = primary.accept();
    let [none, short] = ["0".repeat(40), ID[1..].to_owned()];
    let place = |id, offset, db| [("repl-id", id), ("repl-offset", offset), ("repl-stream-db", db)];
    let everything = ["?", "-1"];
    for (told, wanted) in [
        (&place(ID, "100", "0")[..], [ID, "101"]),
        (&place(ID, "0", "0"), [ID, "1"]),
        (&place(&none, "100", "0"), everything),
        (&place(&short, "100", "0"), everything),
        (&place(ID, "-1", "0"), everything),
        (&place(ID, "9223372036854775808", "0"), everything),
        (&place(ID, "here", "0"), everything),
        (&place(ID, "100", "1"), everything),
        (&place(ID, "100", "-1"), everything),
        (&place(ID, "100", "0")[..2], everything),
        (&place(ID, "100", "0")[1..], everything),
        (&[place(ID, "100", "0")[0], place(ID, "100", "0")[2]], everything),
    ] {
        replica.kill();
        drop(last);
        fs::write(replica.dump(), image(told)).expect("the directory is there");
        replica.restart();
        let asked = primary.asked();
        assert_eq!(asked.wanted, wanted, "{told:?}");
        assert_eq!(key(&replica).as_deref(), Some("kept"), "{told:?}");
        last = asked.stream;
    }
}

/// Without a checksum: `key` is `kept`, and what is told of its place.
fn image(told: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).expect("it is short")], text.as_bytes()].concat();
    let told = told.iter().map(|(name, value)| [&b"\xfa"[..], &text(name), &text(value)].concat());
    let told = told.collect::<Vec<_>>().concat();
    [b"REDIS0009", &told[..], b"\xfe\x00\x00\x03key\x04kept\xff\0\0\0\0\0\0\0\0"].concat()
}

/// Id, offset and data are of one moment: they lie in one file, under one checksum, which is there whole or not at all.
#[test]
fn a_file_that_is_cut_or_changed_is_not_started_with() {
    let mut server = Server::primary(Program::Kv, &[]);
    let mut client = RawClient::connect(server.port());
    RawClient::connect(server.port()).send("SYNC\r\n"); // for the writes to be counted
    wait_for_line(&server, "a new history begins");
    assert_eq!(client.ask("SET key kept"), "+OK");
    server.shut_down();
    let saved = fs::read(server.dump()).expect("it was saved");
    let offset = saved.windows(11).position(|window| window == b"repl-offset").expect("its place is told");
    let mut changed = saved.clone();
    changed[offset + 12] ^= 1;
    let cut = [0, 5, 9, offset, saved.len() / 2, saved.len() - 9, saved.len() - 1].map(|len| &saved[..len]);
    let path = server.dump();
    let directory = path.parent().and_then(|path| path.to_str()).expect("its name is plain");
    for damaged in cut.into_iter().chain([&changed[..]]) {
        fs::write(&path, damaged).expect("the directory is there");
        let (status, told) = run_kv(&["--port", "0", "--dir", directory]);
        assert_eq!(status.code(), Some(2), "{} bytes: {told}", damaged.len());
        assert!(told.contains("dump.rdb: "), "{told}");
    }
    fs::write(&path, &saved).expect("the directory is there");
    fs::write(path.with_file_name("temp-1.rdb"), &saved[..20]).expect("the directory is there");
    server.restart();
    assert_eq!(key(&server).as_deref(), Some("kept"));
}
