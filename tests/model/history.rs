//! One history: run, and made as short as it can be if it fails.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use headwater::{ReplicationId, Timestamp};

use crate::coverage::Coverage;
use crate::generate::Host;
use crate::pair::Pair;
use crate::reference::{Input, Output};
use crate::rng::Rng;
use crate::settings::{Family, draw};

/// Runs one history, and tells all about it if both sides differ.
pub(crate) fn check(family: Family, seed: u64) -> Coverage {
    let choices: Vec<u64> = (0..CALLS).scan(Rng::new(seed), |rng, _| Some(rng.next())).collect();
    let mut run = Run::new(family, seed);
    if run.try_all(&choices) {
        return run.coverage;
    }
    let shortest = shorten(choices, |choices| !Run::new(family, seed).try_all(choices));
    let mut run = Run { is_logged: true, ..Run::new(family, seed) };
    run.try_all(&shortest);
    let history: Vec<_> = run.log.iter().map(|line| format!("  {line}\n")).collect();
    panic!(
        "HEADWATER_SEED={seed}, {family:?}: from\n{:#?}\n{}the first difference: {}",
        run.first_config,
        history.concat(),
        run.difference.unwrap_or_default()
    );
}

/// Leaves out what can be left out, first in large pieces, then one by one.
fn shorten(mut choices: Vec<u64>, fails: impl Fn(&[u64]) -> bool) -> Vec<u64> {
    let mut piece = choices.len() / 2;
    while piece > 0 {
        let mut start = 0;
        while start < choices.len() {
            let end = (start + piece).min(choices.len());
            let shorter = [&choices[..start], &choices[end..]].concat();
            if fails(&shorter) {
                choices = shorter;
            } else {
                start = end;
            }
        }
        piece /= 2;
    }
    choices
}

struct Run {
    first_config: headwater::Config,
    pair: Pair,
    host: Host,
    coverage: Coverage,
    is_logged: bool,
    log: Vec<String>,
    difference: Option<String>,
}

impl Run {
    fn new(family: Family, seed: u64) -> Self {
        let mut rng = Rng::new(!seed);
        let (first_config, id) = (draw(family, &mut rng), ReplicationId::from_random([1; 20]));
        Self {
            pair: Pair::new(first_config.clone(), id, Timestamp::default()),
            first_config,
            host: Host::new(family, id),
            coverage: Coverage::default(),
            is_logged: false,
            log: Vec::new(),
            difference: None,
        }
    }

    /// Whether both agree to the end. A panic of the primary is a difference, too.
    fn try_all(&mut self, choices: &[u64]) -> bool {
        let result = quietly(|| choices.iter().try_for_each(|choice| self.step(*choice)));
        self.difference = result.err();
        self.coverage.ambiguous = u64::from(self.pair.is_ambiguous());
        self.difference.is_none()
    }

    /// One call, and mostly all of its events.
    fn step(&mut self, choice: u64) -> Result<(), String> {
        let mut rng = Rng::new(choice);
        let (input, at) = self.host.choose(&self.pair, &mut rng);
        self.apply(&input, at)?;
        let polls = rng.one_of([MANY, MANY, MANY, MANY, 1, 0]);
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
            self.log.push(format!("{:?} {input:?}", at.since_origin()));
        }
        let output = self.pair.apply(input, at)?;
        self.coverage.note(input, &output);
        self.host.note(input, &output);
        Ok(output)
    }
}

/// Turns a panic into an error, without its message on the way.
fn quietly(run: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if QUIET.get() {
                PANIC.set(Some(info.to_string()));
            } else {
                loud(info);
            }
        }));
    });
    QUIET.set(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    QUIET.set(false);
    result.unwrap_or_else(|_| Err(PANIC.take().unwrap_or_else(|| "a panic".into())))
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
    static PANIC: Cell<Option<String>> = const { Cell::new(None) };
}

const CALLS: usize = 200;

/// More events than one call can bring about.
const MANY: usize = 10_000;
