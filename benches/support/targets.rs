use std::time::Duration;
use std::{fmt, fs};

use super::work::Work;

/// A promise about cost, and how to find out whether it is kept.
pub(crate) struct Target {
    name: String,
    bound: Bound,
    unit: &'static str,
    measure: Box<dyn Fn() -> f64>,
}

#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// Measures every target a few times, each time from scratch, and prints a table of the medians.
pub(crate) fn print(targets: &[Target]) {
    print_caches();
    println!("{:62} {:>13} {:>10} {:>20}", "", "must be", "median", "least to most");
    for target in targets {
        target.print();
    }
}

impl Target {
    /// A figure that is at most so much.
    pub(crate) fn of(
        name: impl Into<String>,
        at_most: f64,
        unit: &'static str,
        measure: impl Fn() -> f64 + 'static,
    ) -> Self {
        Self { name: name.into(), bound: Bound::AtMost(at_most), unit, measure: Box::new(measure) }
    }

    /// A figure that is at least so much.
    pub(crate) fn at_least(
        name: impl Into<String>,
        at_least: f64,
        unit: &'static str,
        measure: impl Fn() -> f64 + 'static,
    ) -> Self {
        Self { bound: Bound::AtLeast(at_least), ..Self::of(name, f64::NAN, unit, measure) }
    }

    /// The time of one operation.
    pub(crate) fn nanos(name: impl Into<String>, at_most: f64, work: impl Fn() -> Work + 'static) -> Self {
        Self::of(name, at_most, "ns", move || {
            let mut segment = Segment::new(work());
            median((0..SEGMENTS).map(|_| segment.run()))
        })
    }

    /// The subject's time in parts of the yardstick's, the two run in turn.
    pub(crate) fn ratio(
        name: impl Into<String>,
        at_most: f64,
        subject: impl Fn() -> Work + 'static,
        yardstick: impl Fn() -> Work + 'static,
    ) -> Self {
        Self::of(name, at_most, "x", move || {
            let (mut subject, mut yardstick) = (Segment::new(subject()), Segment::new(yardstick()));
            median((0..SEGMENTS).map(|_| subject.run() / yardstick.run()))
        })
    }

    /// The yardstick's time in parts of the subject's, the two run in turn.
    pub(crate) fn gain(
        name: impl Into<String>,
        at_least: f64,
        subject: impl Fn() -> Work + 'static,
        yardstick: impl Fn() -> Work + 'static,
    ) -> Self {
        Self { bound: Bound::AtLeast(at_least), ..Self::ratio(name, f64::NAN, yardstick, subject) }
    }

    fn print(&self) {
        let Self { name, bound, unit, measure } = self;
        let runs = sorted((0..RUNS).map(|_| measure()));
        let [least, .., most] = runs[..] else { return };
        let median = runs[RUNS / 2];
        let verdict = if bound.allows(median) { "met" } else { "missed" };
        println!("{name:62} {bound:>10} {unit} {median:>7.2} {unit} {least:>9.2} {most:>9.2}  {verdict}");
    }
}

impl Bound {
    fn allows(self, figure: f64) -> bool {
        match self {
            Self::AtMost(most) => figure <= most,
            Self::AtLeast(least) => figure >= least,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, figure) = match self {
            Self::AtMost(most) => ("<=", most),
            Self::AtLeast(least) => (">=", least),
        };
        f.pad(&format!("{sign} {figure}"))
    }
}

/// So many operations that they are short beside the scheduler's slices, and long beside the clock.
struct Segment {
    work: Work,
    operations: u64,
}

impl Segment {
    fn new(mut work: Work) -> Self {
        let mut operations = 1;
        while work.run(operations) < SEGMENT {
            operations *= 2;
        }
        Self { work, operations }
    }

    /// The time of one operation, in nanoseconds.
    fn run(&mut self) -> f64 {
        nanos(self.work.run(self.operations)) / self.operations as f64
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let values = sorted(values);
    values[values.len() / 2]
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

pub(crate) fn nanos(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

/// Ratios mean little without them.
fn print_caches() {
    for index in 0..4 {
        let read =
            |file| fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{file}"));
        if let (Ok(level), Ok(kind), Ok(size)) = (read("level"), read("type"), read("size")) {
            println!("L{} {}: {}", level.trim(), kind.trim(), size.trim());
        }
    }
}

const RUNS: usize = 5;
const SEGMENTS: usize = 51;
const SEGMENT: Duration = Duration::from_millis(2);
