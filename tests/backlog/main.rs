//! The backlog on its own, through its public API.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod model;

use std::io::IoSlice;

use bytes::{Buf, Bytes};
use headwater::{Backlog, Offset};
use proptest::prelude::*;

use model::{Model, Op};

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..700u16).prop_map(Op::Append),
        4 => (0..700u16).prop_map(Op::Stage),
        1 => payload_len().prop_map(Op::AppendShared),
        1 => payload_len().prop_map(Op::StageShared),
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

/// On both sides of where payloads begin to be kept as they are.
fn payload_len() -> impl Strategy<Value = u16> {
    prop_oneof![0..200u16, 16_000..17_000u16]
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
        let start = Offset::new(i64::MAX as u64 - 2_000_000).unwrap();
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
fn a_shared_payload_is_lent_as_it_was_handed_over() {
    let mut backlog = Backlog::new(1 << 20, Offset::ZERO).unwrap();
    let mut cursor = backlog.cursor(Offset::ZERO).unwrap();
    let payloads = [3, 4].map(|byte| Bytes::from(vec![byte; 16 << 10]));
    backlog.append(b"before").unwrap();
    backlog.append_shared(payloads[0].clone()).unwrap();
    backlog.stage(b"between").unwrap();
    backlog.stage_shared(payloads[1].clone()).unwrap();
    backlog.stage(b"after").unwrap();
    backlog.commit();

    let mut slices = [IoSlice::new(&[]); 8];
    let reader = backlog.read(&cursor);
    assert_eq!(reader.chunks_vectored(&mut slices), 5);
    let lent = slices.map(|slice| slice.as_ptr());
    assert_eq!([lent[1], lent[3]], payloads.each_ref().map(|payload| payload.as_ptr()));
    let lens = slices.map(|slice| slice.len());
    assert_eq!(lens, [6, 16 << 10, 7, 16 << 10, 5, 0, 0, 0], "chunks are cut, and go on");

    backlog.advance(&mut cursor, 6 + 1000).unwrap();
    let lent = backlog.read(&cursor).to_bytes(100);
    assert_eq!((lent.as_ptr(), lent.len()), (payloads[0][1000..].as_ptr(), 100));
    backlog.release(cursor);
}

#[test]
fn a_small_shared_payload_is_copied() {
    let mut backlog = Backlog::new(1 << 20, Offset::ZERO).unwrap();
    let cursor = backlog.cursor(Offset::ZERO).unwrap();
    let small = Bytes::from(vec![1; (16 << 10) - 1]);
    backlog.append_shared(small.clone()).unwrap();
    backlog.stage_shared(small.clone()).unwrap();
    backlog.commit();
    assert!(small.is_unique(), "the backlog holds none of it");
    assert_eq!(backlog.read(&cursor).chunk().len(), 2 * small.len(), "it lies in one chunk");
    backlog.release(cursor);
}

/// S12, for payloads that are not copied.
#[test]
fn refuses_a_shared_payload_past_the_last_offset_and_stays_as_it_was() {
    let payload = Bytes::from(vec![1; 20_000]);
    let mut backlog = Backlog::new(1024, Offset::new(i64::MAX as u64 - 30_000).unwrap()).unwrap();
    backlog.stage_shared(payload.clone()).unwrap();
    let refused = backlog.stage_shared(payload.clone()).unwrap_err();
    assert_eq!((refused.end.get(), refused.bytes), (i64::MAX as u64 - 10_000, 20_000));
    assert_eq!(backlog.append_shared(payload.clone()), Err(refused));
    backlog.discard_staged();
    assert!(payload.is_unique(), "what was taken back or refused is not held");
    backlog.check_invariants();
    assert_eq!(backlog.append_shared(payload).unwrap().get(), i64::MAX as u64 - 10_000);
}

/// One call lets go of no more than 1 MiB, or twice what it appended; a payload beyond that goes whole.
#[test]
fn shared_payloads_are_let_go_of_in_portions() {
    let mut backlog = Backlog::new(1 << 20, Offset::ZERO).unwrap();
    let cursor = backlog.cursor(Offset::ZERO).unwrap();
    let payload = Bytes::from(vec![7; 4 << 20]);
    backlog.append_shared(payload.clone()).unwrap();
    for _ in 0..64 {
        backlog.append_shared(payload.slice(..64 << 10)).unwrap();
    }
    let kept = |backlog: &Backlog| backlog.end().bytes_since(backlog.start()).unwrap();
    backlog.release(cursor);
    assert_eq!(kept(&backlog), 4 << 20, "the large one is gone, and no more");
    assert!(backlog.trim());
    assert_eq!(kept(&backlog), 3 << 20);
    while backlog.trim() {}
    assert_eq!(kept(&backlog), 1 << 20);
    let (payloads, memory) = (1 << 20, backlog.memory());
    assert!((payloads..payloads + (16 << 10)).contains(&memory), "{memory} bytes held");
}

/// A payload ends no chunk: else each would cost one.
#[test]
fn between_shared_payloads_chunks_are_used_up() {
    let mut backlog = Backlog::new(1 << 20, Offset::ZERO).unwrap();
    let payload = Bytes::from(vec![7; 16 << 10]);
    for len in [0, 10, 30_000].into_iter().cycle().take(10_000) {
        backlog.append(b"a").unwrap();
        backlog.append_shared(payload.clone()).unwrap();
        backlog.append(b"b").unwrap();
        backlog.stage(&vec![b'b'; len]).unwrap();
        backlog.stage_shared(payload.clone()).unwrap();
        backlog.stage(&[b'c'; 100]).unwrap();
        backlog.discard_staged();
        backlog.check_invariants();
    }
    let bound = (1 << 20) + payload.len() + 3 * (64 << 10) + (16 << 10);
    assert!(backlog.memory() <= bound, "{} bytes held, at most {bound} expected", backlog.memory());
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
