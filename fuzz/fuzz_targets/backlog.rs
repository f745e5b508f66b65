//! Calls in any order: the backlog does what a plain `Vec` does, whatever its capacity and wherever its stream is.
#![no_main]

#[path = "../../tests/backlog/model.rs"]
mod model;

use arbitrary::Arbitrary;
use headwater::Offset;
use libfuzzer_sys::fuzz_target;

use model::{Model, Op};

#[derive(Arbitrary, Debug)]
struct Input {
    capacity: u16,
    near_the_last_offset: bool,
    ops: Vec<Op>,
}

fuzz_target!(|input: Input| {
    let start = if input.near_the_last_offset { i64::MAX as u64 - ROOM } else { 0 };
    let start = Offset::new(start).expect("at most the last offset");
    let mut model = Model::new(usize::from(input.capacity) + 1, start);
    for op in input.ops.iter().take(MAX_OPS) {
        model.apply(op);
    }
});

/// The model reads everything back after each call: more of them take long and find no more.
const MAX_OPS: usize = 200;

/// More than the longest run appends and stages.
const ROOM: u64 = MAX_OPS as u64 * u16::MAX as u64;
