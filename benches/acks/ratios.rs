use crate::gate;
use crate::support::Target;
use crate::works::{self, Pair};

pub(crate) fn targets() -> Vec<Target> {
    let mut targets = Vec::new();
    targets.extend(ends_nobody(5, 25.0, 500.0));
    targets.extend(ends_nobody(100, 60.0, 2500.0));
    targets.extend(ends_one());
    targets.extend(ends_all());
    targets.push(nanos("a cancel and a new wait, 10 000 wait", 40.0, works::CANCEL, 5));
    targets.extend(gate_targets());
    targets
}

fn gate_targets() -> impl Iterator<Item = Target> {
    let name = |replicas| format!("an ack, then a look at the gate, {replicas} replicas");
    let nanos = move |replicas| Target::nanos(name(replicas), 3.0, move || gate::kept(replicas));
    let gain = move |(replicas, at_least)| {
        let (kept, recounted) = (move || gate::kept(replicas), move || gate::recounted(replicas));
        Target::gain(format!("recount / {}", name(replicas)), at_least, kept, recounted)
    };
    [1, 5, 100, 1000].into_iter().map(nanos).chain([(100, 15.0), (1000, 150.0)].into_iter().map(gain))
}

fn ends_nobody(replicas: usize, nanos_at_most: f64, gain_at_least: f64) -> [Target; 3] {
    let Pair { ordered, .. } = works::ENDS_NOBODY;
    let name = format!("an ack that ends none of 10 000, {replicas} replicas");
    [
        nanos(&name, nanos_at_most, works::ENDS_NOBODY, replicas),
        gain(&name, gain_at_least, works::ENDS_NOBODY, replicas),
        Target::ratio(
            format!("{name} / of 1"),
            1.2,
            move || ordered(MANY, replicas),
            move || ordered(1, replicas),
        ),
    ]
}

fn ends_one() -> [Target; 3] {
    let name = "an ack that ends 1 of 10 000, a new wait, 5 replicas";
    [
        nanos(name, 60.0, works::ENDS_ONE, 5),
        gain(name, 200.0, works::ENDS_ONE, 5),
        nanos(&format!("{name}, timeouts"), 80.0, works::ENDS_ONE_WITH_DEADLINE, 5),
    ]
}

fn ends_all() -> [Target; 6] {
    let name = |replicas| format!("an ack that ends 10 000, each, {replicas} replicas");
    let told = |replicas| format!("an ack that ends 10 000, and their telling, {replicas} replicas");
    [
        nanos(&name(5), 3.0, works::ENDS_ALL, 5),
        gain(&name(5), 0.4, works::ENDS_ALL, 5),
        gain(&name(100), 6.0, works::ENDS_ALL, 100),
        nanos(&told(5), 6.0, works::ENDS_ALL_AND_TELLS, 5),
        gain(&told(5), 0.3, works::ENDS_ALL_AND_TELLS, 5),
        gain(&told(100), 3.0, works::ENDS_ALL_AND_TELLS, 100),
    ]
}

fn nanos(name: &str, at_most: f64, pair: Pair, replicas: usize) -> Target {
    Target::nanos(name, at_most, move || (pair.ordered)(MANY, replicas))
}

fn gain(name: &str, at_least: f64, pair: Pair, replicas: usize) -> Target {
    let name = format!("scan / {name}");
    Target::gain(
        name,
        at_least,
        move || (pair.ordered)(MANY, replicas),
        move || (pair.scanned)(MANY, replicas),
    )
}

const MANY: usize = 10_000;
