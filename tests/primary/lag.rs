use std::time::Duration;

use headwater::info::{self, Flavour};
use headwater::{Ack, Detach, Lag, Wanted};

use crate::host::{END_MARKED, Host, SIZED, at, seconds};

fn lag(host: &Host, replica: headwater::ReplicaKey) -> Lag {
    host.report_of(replica).lag.unwrap()
}

/// The line that INFO prints, and the bytes behind it: 1234567 − 1234100.
#[test]
fn a_replica_at_1234100_of_1234567_is_467_bytes_behind() {
    let mut host = Host::new(|_| ());
    let replica = host
        .attach(Wanted::Everything, |peer| (peer.address, peer.port) = (String::from("127.0.0.1"), 6380))
        .replica;
    let cut = host.begin(SIZED);
    host.ready(&cut);
    host.sent(replica);
    host.append(&vec![1; 1_234_567]);
    host.flush(replica);
    host.ack(replica, at(1_234_100));
    host.pass(Duration::from_millis(1900));
    let text = info::replication(&host.report(), Flavour::Redis).to_string();
    let line = text.split("\r\n").find(|line| line.starts_with("slave0:"));
    assert_eq!(line, Some("slave0:ip=127.0.0.1,port=6380,state=online,offset=1234100,lag=1"));
    assert!(text.contains("\r\nmaster_repl_offset:1234567\r\n"));
    assert_eq!(lag(&host, replica).bytes, 467);
}

/// What would be lost with this node, told to the byte.
#[test]
fn of_ten_thousand_units_of_5000_bytes_with_7000_acknowledged_exactly_15_000_000_bytes_are_unacked() {
    let mut host = Host::new(|_| ());
    let replica = host.online();
    let unit = [1; 5000];
    for _ in 0..10_000 {
        host.primary.append(&unit, host.now).unwrap();
        if host.primary.end() == at(7000 * 5000) {
            host.flush(replica);
            host.ack(replica, host.primary.end());
        }
    }
    host.flush(replica);
    let report = host.report_of(replica);
    assert_eq!((report.lag.unwrap().bytes, report.unsent), (15_000_000, 0));
    host.primary.check_invariants();
}

/// Age and bytes are apart from the age of the last ack: a replica may say each second that it stands still.
#[test]
fn a_lag_has_the_age_of_the_oldest_byte_that_is_not_acknowledged() {
    let mut host = Host::new(|_| ());
    let replica = host.online();
    assert_eq!(lag(&host, replica), Lag { bytes: 0, age: None, highest_age: Duration::ZERO });
    host.append(b"12345");
    host.pass(seconds(2));
    host.append(b"67");
    host.pass(seconds(1));
    host.flush(replica);
    host.ack(replica, at(0));
    assert_eq!(lag(&host, replica), Lag { bytes: 7, age: Some(seconds(3)), highest_age: seconds(3) });
    let report = host.report_of(replica);
    assert_eq!((report.last_ack, report.last_heard), (Some(Duration::ZERO), Duration::ZERO));

    host.ack(replica, at(4));
    assert_eq!(lag(&host, replica), Lag { bytes: 3, age: Some(seconds(3)), highest_age: seconds(3) });
    host.ack(replica, at(5));
    assert_eq!(lag(&host, replica), Lag { bytes: 2, age: Some(seconds(1)), highest_age: seconds(3) });
    host.pass(seconds(4));
    assert_eq!(lag(&host, replica), Lag { bytes: 2, age: Some(seconds(5)), highest_age: seconds(5) });
    host.ack(replica, at(7));
    assert_eq!(lag(&host, replica), Lag { bytes: 0, age: None, highest_age: seconds(5) });
    assert_eq!(host.report().lag_error, Duration::from_millis(1));
}

/// R146: none is told before it is online, and none of an earlier connection.
#[test]
fn only_a_replica_online_lags() {
    let mut host = Host::new(|_| ());
    let replica = host.newcomer();
    assert_eq!(host.report_of(replica).lag, None);
    let cut = host.begin(END_MARKED);
    host.append(b"12345");
    host.ready(&cut);
    host.pass(seconds(3));
    assert_eq!(host.report_of(replica).lag, None);
    host.sent(replica);
    assert_eq!(lag(&host, replica), Lag { bytes: 5, age: Some(seconds(3)), highest_age: seconds(3) });
    assert_eq!((host.report_of(replica).acked, host.report_of(replica).last_ack), (None, None));
}

/// R144: an ack is a sign of life, but not each sign of life is an ack.
#[test]
fn the_age_of_the_last_ack_is_apart_from_the_last_sign_of_life() {
    let mut host = Host::new(|_| ());
    let replica = host.online();
    host.pass(seconds(2));
    host.primary.handle_alive(replica, host.now).unwrap();
    host.pass(seconds(3));
    let report = host.report_of(replica);
    assert_eq!((report.last_ack, report.last_heard), (Some(seconds(5)), seconds(3)));
}

#[test]
fn one_that_resumes_is_as_far_behind_as_it_asked_for() {
    let mut host = Host::new(|_| ());
    let replica = host.online();
    host.append(b"12345");
    host.pass(seconds(2));
    host.append(b"678");
    host.primary.detach(replica, Detach::Lost, host.now).unwrap();
    let (back, _) = host.resume(at(5));
    assert_eq!(lag(&host, back), Lag { bytes: 3, age: Some(Duration::ZERO), highest_age: Duration::ZERO });
    host.primary.handle_ack(back, Ack::applied(at(2)), host.now).unwrap();
    assert_eq!(lag(&host, back).bytes, 3, "an old ack takes back nothing");
}

/// Bounded memory, with the error that is stated, however many units a replica is behind.
#[test]
fn an_age_is_off_by_less_than_the_stated_error() {
    let mut host = Host::new(|config| config.output_limit.hard = None);
    let replica = host.online();
    for _ in 0..100_000 {
        host.primary.append(b"1", host.now).unwrap();
        host.now = host.now.checked_add(Duration::from_micros(500)).unwrap();
    }
    host.flush(replica);
    for acked in [0_u64, 1, 49_999, 50_000, 99_000, 99_999] {
        host.ack(replica, at(acked));
        let (told, error) = (lag(&host, replica).age.unwrap(), host.report().lag_error);
        let truth = Duration::from_micros((100_000 - acked) * 500);
        assert!(truth <= told && told < truth + error, "{told:?} for {truth:?} by {error:?}");
        assert!(error < seconds(1), "{error:?} of 50 s");
    }
}
