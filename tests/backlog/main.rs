//! The backlog on its own, through its public API.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod model;

use std::io::IoSlice;

use bytes::Buf;
use headwater::{Backlog, Offset};
use proptest::prelude::*;

use model::{Model, Op};

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..700u16).prop_map(Op::Append),
        4 => (0..700u16).prop_map(Op::Stage),
        3 => Just(Op::Commit),
        2 => Just(Op::Discard),
        3 => (0..4000u16).prop_map(Op::Open),
        5 => (any::<u8>(), 0..900u16).prop_map(|(cursor, bytes)| Op::Advance { cursor, bytes }),
        2 => any::<u8>().prop_map(Op::Release),
        1 => (0..8000u16).prop_map(Op::SetCapacity),
        1 => Just(Op::Trim),
        1 => any::<u8>().prop_map(Op::Share),
        1 => Just(Op::LetShared),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn agrees_with_a_plain_vec(capacity in 1..6000usize, ops in prop::collection::vec(op(), 1..80)) {
        let mut model = Model::new(capacity, Offset::ZERO);
        ops.iter().for_each(|op| model.apply(op));
    }

    #[test]
    fn agrees_near_the_last_offset(capacity in 1..6000usize, ops in prop::collection::vec(op(), 1..80)) {
        let start = Offset::new(i64::MAX as u64 - 1_000_000).unwrap();
        let mut model = Model::new(capacity, start);
        ops.iter().for_each(|op| model.apply(op));
    }
}

#[test]
fn an_empty_append_ends_what_is_staged_across_chunks() {
    let mut backlog = Backlog::new(1, Offset::ZERO).unwrap();
    backlog.stage(&[1; 65]).unwrap();
    assert_eq!(backlog.append(&[]).unwrap().get(), 65);
}

/// S12: offsets are checked, not wrapped.
#[test]
fn refuses_bytes_past_the_last_offset_and_stays_as_it_was() {
    let mut backlog = Backlog::new(1024, Offset::new(i64::MAX as u64 - 10).unwrap()).unwrap();
    assert_eq!(backlog.append(b"0123456789"), Ok(Offset::MAX));
    let refused = backlog.append(b"!").unwrap_err();
    assert_eq!((refused.end, refused.bytes), (Offset::MAX, 1));
    assert_eq!(backlog.stage(b"!"), Err(refused));
    assert_eq!(backlog.commit(), Offset::MAX);
    backlog.check_invariants();
}

#[test]
fn a_capacity_of_no_bytes_is_refused() {
    assert!(Backlog::new(0, Offset::ZERO).is_err());
    let mut backlog = Backlog::new(10, Offset::ZERO).unwrap();
    assert!(backlog.set_capacity(0).is_err());
    assert_eq!(backlog.capacity(), 10);
}

/// One call never lets go of more than 1 MiB, or of twice what it appended (the field stops for 100 ms per GiB).
#[test]
fn a_surplus_is_let_go_of_in_portions() {
    let mut backlog = Backlog::new(1 << 20, Offset::ZERO).unwrap();
    let cursor = backlog.cursor(Offset::ZERO).unwrap();
    let megabyte = vec![7; 1 << 20];
    for _ in 0..32 {
        backlog.append(&megabyte).unwrap();
    }
    let kept = |backlog: &Backlog| backlog.end().bytes_since(backlog.start()).unwrap();
    assert_eq!(kept(&backlog), 32 << 20);

    backlog.release(cursor);
    assert_eq!(kept(&backlog), 31 << 20, "the release itself lets go of one portion");
    assert!(backlog.trim());
    assert_eq!(kept(&backlog), 30 << 20);
    backlog.append(&megabyte).unwrap();
    assert_eq!(kept(&backlog), 29 << 20, "an append lets go of twice its bytes");
    while backlog.trim() {}
    assert!(kept(&backlog) < (1 << 20) + (64 << 10));
    assert!(backlog.memory() < (1 << 20) + 4 * (64 << 10));
}

#[test]
fn memory_is_the_capacity_and_little_more() {
    let capacity = 64 << 20;
    let mut backlog = Backlog::new(capacity, Offset::ZERO).unwrap();
    let unit = [3; 1000];
    for _ in 0..200_000 {
        backlog.append(&unit).unwrap();
    }
    let bound = capacity + capacity / 1000 + 2 * (64 << 10);
    assert!(backlog.memory() <= bound, "{} bytes held, at most {bound} expected", backlog.memory());
}

#[test]
fn the_directory_shrinks_with_what_it_lists() {
    let mut backlog = Backlog::new(16, Offset::ZERO).unwrap();
    let cursor = backlog.cursor(Offset::ZERO).unwrap();
    backlog.append(&[1; 1 << 20]).unwrap();
    backlog.release(cursor);
    while backlog.trim() {}
    assert!(backlog.memory() < 10_000, "{} bytes held for {}", backlog.memory(), 16);
}

#[test]
fn a_chunk_still_held_outside_is_not_written_over() {
    let mut backlog = Backlog::new(1024, Offset::ZERO).unwrap();
    let cursor = backlog.cursor(Offset::ZERO).unwrap();
    backlog.append(&[1; 100]).unwrap();
    let held = backlog.read(&cursor).to_bytes(usize::MAX);
    backlog.release(cursor);
    for _ in 0..100 {
        backlog.append(&[2; 100]).unwrap();
    }
    assert_eq!(held, vec![1; held.len()]);
    backlog.check_invariants();
}

#[test]
fn gathers_what_remains_into_slices() {
    let mut backlog = Backlog::new(1024, Offset::ZERO).unwrap();
    let bytes: Vec<u8> = (0..200).collect();
    backlog.append(&bytes).unwrap();
    let mut cursor = backlog.cursor(Offset::ZERO).unwrap();
    backlog.advance(&mut cursor, 10).unwrap();
    let mut reader = backlog.read(&cursor);
    reader.truncate(150);

    let mut slices = [IoSlice::new(&[]); 16];
    let filled = reader.chunks_vectored(&mut slices);
    assert_eq!(filled, 3, "64-byte chunks: 54, 64 and 32 bytes");
    let gathered: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.iter().copied()).collect();
    assert_eq!(gathered, bytes[10..160]);
    backlog.release(cursor);
}
