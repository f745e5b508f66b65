use std::time::Duration;

use headwater::{OutputLimit, SoftLimit, Timestamp};

use crate::crash::{self, Crash};
use crate::partition::Partition;
use crate::spiral::{Defence, Outcome, Spiral};
use crate::stall::Stall;

#[test]
fn a_crash_loses_exactly_what_the_replica_had_not_acknowledged() {
    let [without, ..] = Crash::default().cases();
    let run = crash::run(&without, "");
    assert_eq!((run.written, run.acked, run.answered), (10_000, 7_000, 10_000));
    assert_eq!((run.lost, run.lost_bytes), (3_000, 15 * MB));
    assert_eq!(run.lost_answered, 3_000, "every client was told that its write is done");
}

/// R164.
#[test]
fn a_crash_loses_nothing_that_wait_confirmed() {
    let [_, with_wait, _] = Crash::default().cases();
    let run = crash::run(&with_wait, "");
    assert_eq!((run.written, run.acked, run.lost, run.lost_bytes), (10_000, 7_000, 3_000, 15 * MB));
    assert_eq!((run.answered, run.lost_answered), (7_000, 0));
}

#[test]
fn rate_times_lag_estimates_what_is_lost() {
    for case in Crash::default().cases() {
        let run = crash::run(&case, "");
        assert_eq!(run.lost, run.estimate, "{case:?}");
    }
    let [.., other] = Crash::default().cases();
    assert_eq!(crash::run(&other, "").estimate, 100_000);
}

/// All 5,000,000 writes in release; a hundredth of them otherwise, so that it takes no minute.
fn partition() -> Partition {
    let writes = if cfg!(debug_assertions) { 50_000 } else { 5_000_000 };
    Partition { writes, ..Partition::default() }
}

#[test]
fn without_a_gate_a_partition_loses_all_until_it_heals() {
    let (partition, run) = (partition(), partition().run_one("", false));
    let stayed = partition.writes / 5; // a fifth of the clients, for as long again
    assert_eq!(run.accepted, [partition.writes, stayed]);
    assert_eq!(run.lost, [partition.writes, stayed]);
    assert_eq!(run.lost_bytes, (partition.writes + stayed) * partition.bytes);
    assert_eq!((run.refused, run.first_refused, run.gate_closed_at), (0, None, None));
    assert!(run.is_one_again);
}

/// R149.
#[test]
fn with_a_gate_a_partition_loses_what_was_accepted_within_max_lag() {
    let (partition, run) = (partition(), partition().run_one("", true));
    // The last ack is at 0: up to and including 10 s, a third of the 30 s.
    let accepted = partition.writes / 3;
    assert_eq!((run.accepted, run.lost), ([accepted, 0], [accepted, 0]));
    assert_eq!(run.lost_bytes, accepted * partition.bytes);
    assert_eq!(run.refused, partition.writes - accepted + partition.writes / 5);
    let period = Duration::from_secs(30) / u32::try_from(partition.writes).unwrap();
    let first_past = period * u32::try_from(accepted + 1).unwrap();
    assert_eq!(run.first_refused, Some(Timestamp::from_origin(first_past)));
    assert_eq!(run.gate_closed_at, Some(second(10).checked_add(Duration::from_nanos(1)).unwrap()));
}

/// A write at 10 s sharp is let in, the next one, 1 ms later, is not.
#[test]
fn the_gate_closes_at_the_first_instant_past_max_lag() {
    let partition = Partition { writes: 30_000, ..Partition::default() };
    let run = partition.run_one("", true);
    assert_eq!(run.accepted, [10_000, 0]);
    assert_eq!(run.first_refused, Some(millisecond(10_001)));
}

#[test]
fn the_demoted_primary_hands_out_the_lost_range() {
    for is_gated in [false, true] {
        let run = partition().run_one("", is_gated);
        assert_eq!(run.handed_out, run.lost.iter().sum::<u64>());
        assert!(run.is_exact && run.is_one_again, "gated: {is_gated}");
    }
}

fn spiral(defence: Defence) -> Outcome {
    Spiral { seconds: 60, ..Spiral::default() }.run_one("", defence)
}

/// 256 MB at 100 MB a second.
#[test]
fn without_defence_a_replica_is_dropped_at_the_limit_again_and_again() {
    let run = spiral(Defence::None);
    assert_eq!(run.dropped_after[0], Duration::from_millis(2560));
    // Later cuts fall between two writes, which are 1 ms apart.
    let at_the_limit = |after: &Duration| (2559..=2560).contains(&after.as_millis());
    assert!(run.dropped_after.iter().all(at_the_limit), "{:?}", run.dropped_after);
    assert!(run.dropped_after.len() >= 15, "it is back within a second each time");
    assert!(run.apart.iter().all(|apart| *apart < Duration::from_millis(3570)), "{:?}", run.apart);
    assert_eq!(run.in_sync_at, None);
}

/// R123: here both limits are raised to the backlog's size. 800 MB are written meanwhile, and caught up with in 8 s more.
#[test]
fn with_limits_that_are_high_enough_the_replica_is_in_sync() {
    let run = spiral(Defence::HighLimits);
    let soft = SoftLimit { bytes: 2_000 * MB, lasting: Duration::from_secs(300) };
    let effective = run.config.output_limit.beside(run.config.backlog_capacity);
    assert_eq!(effective, OutputLimit { hard: Some(2_000 * MB), soft: Some(soft) });
    assert_eq!((run.dropped_after.len(), run.apart.len()), (0, 0), "the first sync is the last");
    assert_eq!(run.image_sent, 1_600 * MB);
    let in_sync_at = run.in_sync_at.unwrap().since_origin().as_millis();
    assert!((15_990..=16_010).contains(&in_sync_at), "{in_sync_at}");
}

/// L5: the delay doubles, half of it at random.
#[test]
fn with_the_defaults_syncs_that_fail_come_ever_more_seldom() {
    let (run, unguarded) = (spiral(Defence::Defaults), spiral(Defence::None));
    for (index, apart) in run.apart.iter().enumerate() {
        let longest = Duration::from_secs(1 << index);
        let delay = *apart - run.dropped_after[index];
        assert!(delay >= longest / 2 && delay <= longest + Duration::from_millis(1), "{index}: {delay:?}");
    }
    let in_vain = [run, unguarded].map(|run| run.image_sent / MB);
    assert!(2 * in_vain[0] < in_vain[1], "MB within a minute: {in_vain:?}");
}

#[test]
fn what_is_advised_before_a_sync_lets_it_succeed() {
    let told = spiral(Defence::Defaults).advice.unwrap();
    let needed = told.needed.and_then(|needed| needed.hard).unwrap();
    assert!(
        (800 * MB..830 * MB).contains(&needed),
        "8 s at 100 MB/s, as estimated from a sync cut short: {needed}"
    );
    assert!(told.to_string().contains("raise the hard output limit from 268435456 to"), "{told}");

    let run = spiral(Defence::Advice);
    assert_eq!((run.dropped_after.len(), run.apart.len()), (1, 1), "one sync fails, the next succeeds");
    assert!(run.in_sync_at.is_some());
    assert_eq!(run.config.output_limit.hard, run.advice.unwrap().needed.unwrap().hard);
}

#[test]
fn one_stalled_replica_closes_the_gate_until_its_next_ack() {
    let run = Stall::default().run_one("", 1, true);
    // Its last ack is at 5 s, its next one at 25 s, and a write is made each millisecond.
    assert_eq!((run.first_refused, run.last_refused), (Some(millisecond(15_001)), Some(second(25))));
    assert_eq!(run.gate_closed_at, Some(second(15).checked_add(Duration::from_nanos(1)).unwrap()));
    assert_eq!(run.gate_opened_at, Some(second(25)));
    assert_eq!((run.refused, run.lost), (10_000, 0));
    assert_eq!(run.at_risk, 10_000, "what was accepted within max-lag");
}

#[test]
fn beside_a_healthy_replica_one_that_stalls_refuses_nobody() {
    let run = Stall::default().run_one("", 2, true);
    assert_eq!((run.refused, run.gate_closed_at, run.at_risk, run.lost), (0, None, 0, 0));
}

#[test]
fn without_a_gate_a_stall_is_not_noticed_and_leaves_more_at_risk() {
    let run = Stall::default().run_one("", 1, false);
    assert_eq!((run.refused, run.at_risk, run.lost), (0, 20_000, 0));
}

fn second(count: u64) -> Timestamp {
    Timestamp::from_origin(Duration::from_secs(count))
}

fn millisecond(count: u64) -> Timestamp {
    Timestamp::from_origin(Duration::from_millis(count))
}

const MB: u64 = 1_000_000;
