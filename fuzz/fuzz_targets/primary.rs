//! Calls in any order: the primary does what its reference does, call by call: answers, events, deadlines, bytes, figures.
#![no_main]
#![allow(dead_code, unused_imports, reason = "the tests use all of it")]

#[path = "../../tests/model/draw.rs"]
mod draw;
#[path = "../../tests/model/generate.rs"]
mod generate;
#[path = "../../tests/model/pair.rs"]
mod pair;
#[path = "../../tests/model/reference/mod.rs"]
mod reference;
#[path = "support/rng.rs"]
mod rng;
#[path = "../../tests/model/settings.rs"]
mod settings;
#[path = "../../tests/model/translate.rs"]
mod translate;

use headwater::{ReplicationId, Timestamp};
use libfuzzer_sys::fuzz_target;

use generate::Host;
use pair::Pair;
use reference::{Input, Output};
use rng::Rng;
use settings::{Family, draw};

fuzz_target!(|data: &[u8]| {
    let (head, choices) = data.split_at(data.len().min(HEAD));
    let mut rng = Rng::of(head);
    let family = rng.one_of([Family::Tight, Family::Patient]);
    let (config, id) = (draw(family, &mut rng), ReplicationId::from_random([1; 20]));
    let mut history = History {
        pair: Pair::new(config, id, Timestamp::default()),
        host: Host::new(family, id),
        is_logged: std::env::var_os("SIM_TRACE").is_some(),
    };
    let result = choices.chunks(CHOICE).take(MAX_CALLS).try_for_each(|choice| history.step(choice));
    if let Err(difference) = result {
        panic!("the first difference: {difference}");
    }
});

struct History {
    pair: Pair,
    host: Host,
    is_logged: bool,
}

impl History {
    /// One call, and mostly all of its events.
    fn step(&mut self, choice: &[u8]) -> Result<(), String> {
        let mut rng = Rng::of(choice);
        let polls = rng.one_of([MANY, MANY, MANY, MANY, 1, 0]);
        let (input, at) = self.host.choose(&self.pair, &mut rng);
        self.apply(&input, at)?;
        for _ in 0..polls {
            if self.apply(&Input::PollEvent, at)? == Output::Event(None) {
                break;
            }
        }
        Ok(())
    }

    fn apply(&mut self, input: &Input, at: Timestamp) -> Result<Output, String> {
        if self.pair.is_ambiguous() {
            return Ok(Output::Event(None));
        }
        if self.is_logged {
            println!("{:?} {input:?}", at.since_origin());
        }
        let output = self.pair.apply(input, at)?;
        if self.is_logged {
            println!("    {output:?}");
        }
        self.host.note(input, &output);
        Ok(output)
    }
}

/// Enough for all settings.
const HEAD: usize = 64;

const CHOICE: usize = 12;

/// More take long, and find no more.
const MAX_CALLS: usize = 200;

/// More events than one call can bring about.
const MANY: usize = 10_000;
