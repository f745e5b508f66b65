//! What other primaries have got wrong, in the circumstances in which it showed.

use headwater::{DropReason, Event, OutputLimit, SoftLimit};

use crate::host::{Host, NANOSECOND, seconds};

/// B6 and B7: a replica over its limit went on pinning the stream, and being sent it, until the loop came round.
#[test]
fn one_over_its_limit_holds_nothing_though_nobody_was_told_yet() {
    let mut host = Host::new(|config| {
        config.backlog_capacity = 16_384;
        config.output_limit = OutputLimit { hard: Some(32_768), soft: None };
    });
    let replica = host.online();
    for _ in 0..200 {
        host.append(&vec![1; 1 << 20]);
        let report = host.report();
        let held = report.backlog.map_or(0, |backlog| backlog.memory) + report.retired_memory;
        assert!(held < 3 << 20, "{held} bytes are held for nobody");
        assert!(host.primary.write_to(replica, &mut Vec::new(), host.now).is_err());
    }
    assert!(matches!(host.events()[..], [Event::Dropped { .. }]));
}

/// B44 and B45: dropped for one reason, and touched again for the next.
#[test]
fn two_reasons_at_once_drop_a_replica_once() {
    let mut host = Host::new(|config| {
        config.backlog_capacity = 100;
        config.replica_timeout = seconds(60);
        config.output_limit =
            OutputLimit { hard: None, soft: Some(SoftLimit { bytes: 100, lasting: seconds(60) }) };
    });
    let (replica, bystander) = (host.online(), host.online());
    host.append(&[1; 200]);
    host.flush(bystander);
    host.now = host.now.checked_add(seconds(60) + NANOSECOND).unwrap();
    host.ack(bystander, host.primary.end());
    host.events();
    host.primary.handle_timeout(host.now);
    let dropped = host.events();
    let [Event::Dropped { replica: first, reason: DropReason::OverLimit(_) | DropReason::Silent { .. } }] =
        dropped[..]
    else {
        panic!("{dropped:?}")
    };
    assert_eq!(first, replica);
    assert!(host.is_attached(bystander) && !host.is_attached(replica));
}
