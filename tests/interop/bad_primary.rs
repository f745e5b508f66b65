//! What a primary that is broken, or is none, does to who follows it: a line in the log, an attempt later, and nothing else.

use std::thread;

use crate::player::{
    Asked, FOLLOWERS, Follower, ID, IMAGE, Primary, key, read_to_end, send, set, wait_for_line,
};
use crate::server::{Program, Server};
use crate::tail::Tail;
use crate::wait::wait_until_equal;

/// Checks each case in a thread of its own: most of the time they wait.
pub(crate) fn at_once<T: Send>(cases: impl IntoIterator<Item = T>, check: impl Fn(T) + Sync) {
    thread::scope(|scope| {
        for case in cases {
            scope.spawn(|| check(case));
        }
    });
}

/// Checks the cases a few to a follower, each kind of which meets all.
pub(crate) fn by_all_followers<T: Sync>(cases: &[T], check: impl Fn(fn(&Primary) -> Follower, &[T]) + Sync) {
    let shares = cases.chunks(3).flat_map(|share| FOLLOWERS.map(|follower| (follower, share)));
    at_once(shares, |(follower, share)| check(follower, share));
}

/// Whatever is answered to a request: what is held stays, nothing else is asked for on that link, and the next request
/// is for the same again (R204, B36, redis#9752, valkey#4140).
#[test]
fn an_answer_that_makes_no_sense_leaves_data_and_place_as_they_are() {
    let makes_no_sense = [
        "HELLO".to_owned(),
        "+FULLRESYNC".to_owned(),
        format!("+FULLRESYNC {ID}"),
        format!("+FULLRESYNC {ID} 5 5"),
        "+FULLRESYNC nobody 100".to_owned(),
        format!("+FULLRESYNC {} 100", &ID[1..]),
        format!("+FULLRESYNC {ID} -5"),
        format!("+FULLRESYNC {ID} five"),
        format!("+FULLRESYNC {ID} 9223372036854775808"),
        format!("+FULLRESYNC {ID} 99999999999999999999"),
        "+CONTINUE nobody".to_owned(),
        format!("+CONTINUE {}", &ID[1..]),
        format!("+CONTINUE {ID}0"),
    ];
    let makes_no_sense = makes_no_sense.map(|line| {
        let told = format!("the primary's answer to PSYNC makes no sense: {line}");
        (format!("\n{line}\r\n").into_bytes(), told)
    });
    let refusals = ["LOADING not yet", "MASTERDOWN x", "NOMASTERLINK x", "BUSY x", "ERR unknown command"];
    let refusals = refusals
        .map(|text| (format!("\n-{text}\r\n").into_bytes(), format!("the primary refused PSYNC: {text}")));
    let none = "0".repeat(40);
    let others = [
        (vec![b'x'; 1 << 20], "the primary's answer to PSYNC is longer than".to_owned()),
        (format!("+FULLRESYNC {none} 5\r\n").into_bytes(), "the primary names no history".to_owned()),
        (format!("+CONTINUE {none}\r\n").into_bytes(), "the primary names no history".to_owned()),
    ];
    let short_mark = format!("$EOF:{}", &ID[1..]);
    let no_snapshot = ["$-5", "$99999999999999999999", &short_mark, "+OK"].map(|line| {
        (
            format!("+FULLRESYNC {ID} 5\r\n\n{line}\r\n").into_bytes(),
            format!("no snapshot begins with {line}"),
        )
    });
    let cases = [&makes_no_sense[..], &refusals, &others, &no_snapshot].concat();
    by_all_followers(&cases, |follower, share| {
        expect_to_be_asked_again(follower, share, |primary, place, answer| {
            let Asked { mut stream, wanted } = primary.asked();
            assert_eq!(wanted, [ID, place]);
            send(&mut stream, answer);
            let said = read_to_end(&mut stream).escape_ascii().to_string();
            assert_eq!(said, "", "after {:.80}", answer.escape_ascii().to_string());
        });
    });
}

/// R195 and R198. Who asks for a password may still answer PSYNC.
#[test]
fn a_greeting_that_is_not_returned_leaves_data_and_place_as_they_are() {
    let cases = [
        ("-NOAUTH Authentication required.", "the primary refused PSYNC: NOAUTH Authentication required."),
        ("-ERR no", "the primary refused PING: ERR no"),
        ("-LOADING not yet", "the primary refused PING: LOADING not yet"),
        ("HTTP/1.1 400 Bad Request", "the primary's answer to PING makes no sense: HTTP/1.1 400 Bad Request"),
    ];
    // The same to PING, to what it tells of itself, and to PSYNC.
    let cases = cases.map(|(line, told)| (format!("{line}\r\n").repeat(4).into_bytes(), told.to_owned()));
    let endless = (vec![b'x'; 1 << 20], "the primary's answer to PING is longer than".to_owned());
    by_all_followers(&[&cases[..], &[endless]].concat(), |follower, share| {
        expect_to_be_asked_again(follower, share, |primary, _, answer| {
            let mut stream = primary.accept();
            send(&mut stream, answer);
            read_to_end(&mut stream);
        });
    });
}

/// Has a follower of offset 100 meet each answer, of which it tells, and then go on where it was.
fn expect_to_be_asked_again(
    follower: fn(&Primary) -> Follower,
    cases: &[(Vec<u8>, String)],
    meet: impl Fn(&Primary, &str, &[u8]),
) {
    let primary = Primary::start();
    let follower = follower(&primary);
    let mut link = primary.sync();
    let mut next = 101;
    for (number, (answer, told)) in cases.iter().enumerate() {
        let write = set(&number.to_string());
        send(&mut link, &write);
        let value = Some(number.to_string());
        wait_until_equal("write", value.clone(), || follower.value());
        next += write.len();
        drop(link);
        let seen = follower.told().len();
        meet(&primary, &next.to_string(), answer);
        follower.wait_until_told(seen, told);
        assert_eq!(follower.value(), value, "{told}");
        let mut asked = primary.asked();
        assert_eq!(asked.wanted, [ID, &next.to_string()], "{told}");
        send(&mut asked.stream, b"+CONTINUE\r\n");
        link = asked.stream;
    }
    send(&mut link, &set("new"));
    wait_until_equal("write", Some("new".to_owned()), || follower.value());
    assert!(follower.peak_mib() < 100, "{} MiB", follower.peak_mib());
}

/// A replica of redis 7.0.15 ends by a segmentation fault here.
#[test]
fn who_holds_nothing_is_not_continued() {
    let primary = Primary::start();
    let replica = Server::follower(Program::Kv, primary.port(), &[]);
    let mut asked = primary.asked();
    assert_eq!(asked.wanted, ["?", "-1"]);
    send(&mut asked.stream, format!("+CONTINUE {ID}\r\n").as_bytes());
    wait_for_line(&replica, "the primary continues a stream that it was not asked to continue");
    drop(asked);
    primary.sync();
    wait_until_equal("write", Some("old".to_owned()), || key(&replica));

    let mut tail = Tail::start(&[&primary.address()]);
    send(&mut primary.asked().stream, format!("+CONTINUE {ID}\r\n").as_bytes());
    assert_eq!(tail.wait().code(), Some(1));
    assert!(tail.told().contains("the primary continues a stream that"), "{}", tail.told());
}

/// T53, R36, R220, B34, B46, bb7fea0d5, valkey#926: the old data serves until the new is whole, and a snapshot that is not
/// is no reason to forget a place. A replica of redis 7.0.15 ends where one is cut short.
#[test]
fn a_snapshot_that_is_not_whole_or_not_sound_changes_nothing() {
    let wrong = [&IMAGE[..IMAGE.len() - 8], &[1, 2, 3, 4, 5, 6, 7, 8]].concat();
    let list = b"REDIS0009\xfe\x00\x01\x01l\x01\x01x\xff\0\0\0\0\0\0\0\0";
    let unfinished = b"REDIS0009\xfe\x00\x00\x03key\x81\x7f\xff\xff\xff\xff\xff\xff\xffx".as_slice();
    let (short, mark) = (&IMAGE[..20], ID.as_bytes());
    let cut = "unexpected end of file";
    let cases = [
        (sized(IMAGE.len() as u64, short), cut),
        (sized(9_000_000_000_000_000_000, short), cut),
        (marked(short), cut),
        (marked(&[IMAGE, &mark[..39]].concat()), cut),
        (marked(&[short, mark].concat()), "its snapshot is not loaded: the file ends at byte 20, "),
        (marked(&[b"garbage", mark].concat()), "its snapshot is not loaded: no RDB file begins with garbage"),
        (sized(0, b""), "its snapshot is not loaded: no RDB file begins with \n"),
        (sized(wrong.len() as u64, &wrong), "its snapshot is not loaded: the checksum is 0807060504030201"),
        (sized(list.len() as u64, list), "its snapshot is not loaded: key l in db 0 is a list"),
        (
            sized(unfinished.len() as u64, unfinished),
            "its snapshot is not loaded: the file ends at byte 26, 9223372036854775806 more",
        ),
    ];
    let cases = cases.map(|(snapshot, line)| {
        let other = format!("+FULLRESYNC {} 7\r\n", "b".repeat(40));
        ([other.as_bytes(), &snapshot].concat(), line.to_owned())
    });
    at_once(cases.chunks(4), |share| {
        expect_to_be_asked_again(FOLLOWERS[0], share, |primary, place, snapshot| {
            let Asked { mut stream, wanted } = primary.asked();
            assert_eq!(wanted, [ID, place]);
            send(&mut stream, snapshot);
        });
    });
}

/// B23, bb7fea0d5: its beginning in the image, and itself in two reads, with the stream glued to it.
#[test]
fn an_end_mark_is_found_wherever_it_is_parted() {
    let value = &ID[..39];
    let image = [b"REDIS0004\xfe\x00\x00\x03key\x27", value.as_bytes(), b"\xff"].concat();
    let (primary, mark) = (Primary::start(), ID.as_bytes());
    let replica = Server::follower(Program::Kv, primary.port(), &[]);
    let Asked { mut stream, .. } = primary.asked();
    // What follows the forty characters means nothing.
    send(&mut stream, format!("+FULLRESYNC {ID} 100\r\n\n$EOF:{ID}x\r\n").as_bytes());
    send(&mut stream, &[&image, &mark[..20]].concat());
    let read = || replica.info().text("master_sync_read_bytes").parse().ok();
    wait_until_equal("bytes of the image", Some(image.len()), read);
    send(&mut stream, &[&mark[20..], &set("new")].concat());
    wait_until_equal("write", Some("new".to_owned()), || key(&replica));
    assert!(replica.log().contains("loaded a snapshot of 1 keys"));
    drop(stream);
    assert_eq!(primary.asked().wanted, [ID, &(101 + set("new").len()).to_string()]);
}

fn sized(len: u64, image: &[u8]) -> Vec<u8> {
    [format!("${len}\r\n").as_bytes(), image].concat()
}

fn marked(image: &[u8]) -> Vec<u8> {
    [format!("$EOF:{ID}\r\n").as_bytes(), image].concat()
}

/// T46, R154, R155: each state has its own patience.
#[test]
fn a_primary_that_falls_silent_is_given_up() {
    let primary = Primary::start();
    let replica = Server::follower(Program::Kv, primary.port(), &["--repl-timeout", "1"]);
    let _silent = primary.sync();
    wait_for_line(&replica, "nothing came from the primary for 1.");
    let Asked { stream: _silent, wanted } = primary.asked();
    assert_eq!(wanted, [ID, "101"]);
    wait_for_line(&replica, "before the resume request was answered, the timeout is 1s");
    let _silent = primary.accept();
    wait_for_line(&replica, "before the resume request was answered, the timeout is 5s");
    assert_eq!(key(&replica).as_deref(), Some("old"));
}
