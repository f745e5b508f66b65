//! What is printed is read again: output limits by `wire` itself, INFO and ROLE by plain readers. And what `wire` makes of a
//! setting is what a reader that is written the obvious way makes of it.
#![no_main]

#[path = "limits/follower.rs"]
mod follower;
#[path = "limits/output.rs"]
mod output;
#[path = "limits/primary.rs"]
mod primary;
#[path = "limits/read.rs"]
mod read;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Input {
    Setting(Vec<output::Word>),
    Limits([output::Limit; 3]),
    Primary(primary::Figures, bool),
    Follower(follower::Figures, bool),
}

fuzz_target!(|input: Input| {
    match input {
        Input::Setting(words) => output::check_setting(&words),
        Input::Limits(limits) => output::check_limits(limits),
        Input::Primary(figures, is_valkey) => primary::check(&figures, is_valkey),
        Input::Follower(figures, is_valkey) => follower::check(&figures, is_valkey),
    }
});
