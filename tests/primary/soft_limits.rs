use std::time::Duration;

use bytes::Buf;
use headwater::{
    Answer, Detach, DropReason, Event, FullReason, OutputLimit, OverLimit, ReplicaKey, Sent, SoftLimit,
};

use crate::host::{END_MARKED, Host, NANOSECOND, at, seconds};

const LASTING: Duration = seconds(30);
const SOFT: SoftLimit = SoftLimit { bytes: 5000, lasting: LASTING };

fn limited() -> Host {
    Host::new(|config| {
        config.backlog_capacity = 1000;
        config.output_limit = OutputLimit { hard: Some(50_000), soft: Some(SOFT) };
    })
}

/// Lets time pass while the replica says that it lives.
fn pass_alive(host: &mut Host, replica: ReplicaKey, span: Duration) {
    host.pass(span);
    assert!(host.is_attached(replica));
    host.primary.handle_alive(replica, host.now).unwrap();
}

fn send(host: &mut Host, replica: ReplicaKey, bytes: usize) {
    assert!(host.primary.unsent(replica).unwrap().unwrap().remaining() > bytes);
    assert_eq!(host.primary.handle_sent(replica, bytes, host.now), Ok(Sent::Partly));
}

fn over_softly(replica: ReplicaKey, unsent: u64, lasted: Duration) -> Event {
    let reason = DropReason::OverLimit(OverLimit::Soft { unsent, limit: SOFT, lasted });
    Event::Dropped { replica, reason }
}

/// R124, B8, T43, T44 and bound B3: more than the time, not the time, by a deadline and without traffic.
#[test]
fn a_replica_is_dropped_just_past_the_time_over_its_soft_limit() {
    let mut host = limited();
    let replica = host.online();
    host.append(&[1; 4999]);
    pass_alive(&mut host, replica, seconds(50));
    host.append(&[1; 1]);
    host.events();
    assert_eq!(host.report_of(replica).over_soft_limit, Some(Duration::ZERO));
    pass_alive(&mut host, replica, LASTING);
    assert_eq!(host.report_of(replica).over_soft_limit, Some(LASTING));
    assert_eq!(host.primary.poll_timeout(), host.now.checked_add(NANOSECOND));
    assert_eq!(host.pass(NANOSECOND), [over_softly(replica, 5000, LASTING + NANOSECOND)]);
    assert_eq!(host.report().counters.dropped_by_limit, 1);
}

/// T43: one moment below it, and the time starts over.
#[test]
fn one_byte_below_the_soft_limit_forgives_everything() {
    let mut host = limited();
    let replica = host.online();
    host.append(&[1; 5000]);
    pass_alive(&mut host, replica, LASTING);
    send(&mut host, replica, 1);
    assert_eq!(host.report_of(replica).over_soft_limit, None);
    host.append(&[1; 1]);
    pass_alive(&mut host, replica, LASTING);
    let lasted = LASTING + NANOSECOND;
    assert!(host.pass(NANOSECOND).contains(&over_softly(replica, 5000, lasted)));
}

/// What is sent to it, but not enough to bring it below, forgives nothing.
#[test]
fn a_replica_that_reads_too_slowly_is_dropped_though_it_reads() {
    let mut host = limited();
    let replica = host.online();
    host.append(&[1; 6000]);
    for _ in 0..30 {
        host.append(&[1; 100]);
        send(&mut host, replica, 100);
        host.pass(seconds(1));
    }
    assert!(host.is_attached(replica));
    host.pass(NANOSECOND);
    assert!(!host.is_attached(replica));
}

/// L8: each by its own time, and those who keep up by none.
#[test]
fn each_replica_has_its_own_time() {
    let mut host = limited();
    let [first, quick] = [(); 2].map(|()| host.online());
    host.append(&[1; 4000]);
    let (second, _) = host.resume(at(4000));
    host.append(&[1; 1000]);
    pass_alive(&mut host, first, seconds(10));
    host.flush(quick);
    host.append(&[1; 4000]);
    host.flush(quick);
    host.events();
    let span = LASTING - seconds(10) + NANOSECOND;
    assert_eq!(host.pass(span), [over_softly(first, 9000, LASTING + NANOSECOND)]);
    pass_alive(&mut host, second, seconds(10) - NANOSECOND);
    assert_eq!(host.pass(NANOSECOND), [over_softly(second, 5000, LASTING + NANOSECOND)]);
    assert!(host.is_attached(quick));
}

#[test]
fn the_hard_limit_acts_at_once_beside_the_soft_one() {
    let mut host = limited();
    let replica = host.online();
    host.append(&[1; 49_999]);
    assert!(host.is_attached(replica));
    host.append(&[1; 1]);
    let reason = DropReason::OverLimit(OverLimit::Hard { unsent: 50_000, limit: 50_000 });
    assert_eq!(host.events(), [Event::Dropped { replica, reason }]);
}

/// R127: the stream waits behind the image, and counts as if it were sent too slowly.
#[test]
fn the_time_runs_while_the_image_is_on_its_way() {
    let mut host = limited();
    let replica = host.newcomer();
    let cut = host.begin(END_MARKED);
    host.ready(&cut);
    host.append(&[1; 5000]);
    host.pass(LASTING);
    assert!(host.is_attached(replica));
    let events = host.pass(NANOSECOND);
    assert_eq!(events[0], over_softly(replica, 5000, LASTING + NANOSECOND));
}

/// CONFIG SET at run time: judged at once, and the time counts from when the limit that acts was first reached.
#[test]
fn another_soft_limit_is_in_force_at_once() {
    let mut host = limited();
    let replica = host.online();
    host.append(&[1; 5000]);
    pass_alive(&mut host, replica, seconds(20));
    let soft = |bytes, lasting| Some(SoftLimit { bytes, lasting });
    host.reconfigure(|config| config.output_limit.soft = soft(5000, seconds(20)));
    assert!(host.is_attached(replica), "not for more than 20 s");
    host.reconfigure(|config| config.output_limit.soft = soft(5001, seconds(20)));
    assert_eq!(host.report_of(replica).over_soft_limit, None);
    host.reconfigure(|config| config.output_limit.soft = soft(5000, seconds(20)));
    pass_alive(&mut host, replica, seconds(20));
    host.reconfigure(|config| config.output_limit.soft = soft(5000, seconds(20) - NANOSECOND));
    assert!(!host.is_attached(replica));
}

#[test]
fn a_limit_that_is_lifted_drops_nobody() {
    let mut host = limited();
    let replica = host.online();
    host.append(&[1; 5000]);
    host.pass(seconds(20));
    host.reconfigure(|config| config.output_limit = OutputLimit { hard: None, soft: None });
    pass_alive(&mut host, replica, seconds(20));
    host.append(&vec![1; 1_000_000]);
    pass_alive(&mut host, replica, seconds(50));
}

/// T16 and L5: a resume hands out more than the limit allows, for as long as it takes to send.
#[test]
fn what_a_resume_hands_out_does_not_count_against_the_soft_limit() {
    let mut host = limited();
    host.reconfigure(|config| config.backlog_capacity = 20_000);
    let replica = host.online();
    host.append(&[1; 19_000]);
    host.primary.detach(replica, Detach::Lost, host.now).unwrap();
    let (back, answer) = host.resume(at(0));
    assert!(matches!(answer, Answer::Continue { .. }));
    host.append(&[1; 19_999]);
    pass_alive(&mut host, back, seconds(50));
    assert_eq!(host.report_of(back).over_soft_limit, None);
    host.append(&[1; 1]);
    assert_eq!(
        host.report_of(back).over_soft_limit,
        Some(Duration::ZERO),
        "as much as the capacity on top of it"
    );
    host.flush(back);
    assert_eq!(host.report_of(back).over_soft_limit, None);
}

/// L7: it would be dropped before it is sent anything, and be back for more, for ever.
#[test]
fn nobody_resumes_above_a_soft_limit_that_lasts_no_time() {
    let mut host = limited();
    let _slow = host.online();
    host.append(&[1; 20_000]);
    let soft = Some(SoftLimit { bytes: 5000, lasting: NANOSECOND });
    host.reconfigure(|config| config.output_limit.soft = soft);
    let behind = |bytes| at(20_000_u64 - bytes);
    assert!(
        matches!(host.resume(behind(6000)).1, Answer::Continue { .. }),
        "it has the time to be sent some"
    );
    let soft = Some(SoftLimit { bytes: 5000, lasting: Duration::ZERO });
    host.reconfigure(|config| config.output_limit.soft = soft);
    assert!(matches!(host.resume(behind(5999)).1, Answer::Continue { .. }), "one below, and the credit");
    let over = FullReason::OverLimit { needed: 6000, limit: 5999 };
    assert_eq!(host.resume(behind(6000)).1, Answer::Full(over));
}

/// B9: those bytes are kept anyhow, and whoever resumes within them would be over the limit at once. R123 raises the
/// hard limit only.
#[test]
fn limits_below_the_capacity_act_as_the_capacity() {
    let mut host = Host::new(|config| {
        config.backlog_capacity = 1000;
        let soft = Some(SoftLimit { bytes: 10, lasting: Duration::ZERO });
        config.output_limit = OutputLimit { hard: Some(10), soft };
    });
    let replica = host.online();
    host.append(&[1; 999]);
    host.pass(seconds(50));
    assert!(host.is_attached(replica));
    assert_eq!(host.report_of(replica).over_soft_limit, None);
    host.append(&[1; 1]);
    let reason = DropReason::OverLimit(OverLimit::Hard { unsent: 1000, limit: 1000 });
    assert!(host.events().contains(&Event::Dropped { replica, reason }));
}

/// R71 and T45: it keeps nothing from being let go of, and the unit that was too much is in the stream as a whole.
#[test]
fn one_over_its_limit_is_sent_nothing_more() {
    let mut host = limited();
    let replica = host.online();
    let batch = {
        host.append(&[1; 100]);
        host.primary.take_batch(replica, host.now).unwrap().unwrap()
    };
    host.append(&[1; 60_000]);
    assert!(host.primary.take_batch(replica, host.now).is_err());
    host.primary.handle_batch_written(batch, host.now);
    assert_eq!(host.primary.end(), at(60_100));
    let kept = host.report().backlog.unwrap();
    assert!(kept.len < 60_000 + 100, "{kept:?}");
    assert!(!host.events().contains(&Event::Send(replica)));
}
