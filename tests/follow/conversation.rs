//! What real primaries say, in pieces of any size.

use std::time::Duration;

use headwater::wire::{CommandLimits, Inbound, Introduction, Link, LinkError};
use headwater::{FollowError, Replica, ReplicaConfig, ResumePoint, Timestamp, UpstreamEvent, Wanted};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::cluster::{at, id};

const GREETING: &str = "+PONG\r\n+OK\r\n-ERR Unrecognized REPLCONF option: version\r\n";
const ID: &str = "0101010101010101010101010101010101010101";
const STREAM: &str = "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$2\r\n\r\n\r\n\n*1\r\n$4\r\nping\r\n\
    *1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n*2\r\n$3\r\nDEL\r\n$1\r\nx\r\n*1\r\n$4\r\nEXEC\r\n\
    *3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n*3\r\n$3\r\nSET\r\n$1\r\ny\r\n$0\r\n\r\n*3\r\n$3\r\nSE";

/// Everything that came of a conversation.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    image: Vec<u8>,
    units: Vec<Vec<u8>>,
    commands: Vec<Vec<u8>>,
    sent: Vec<u8>,
    held: Option<ResumePoint>,
    error: Option<LinkError>,
}

/// Talks to a replica that holds 100 bytes of [`ID`], or nothing, in pieces of the given sizes, again and again.
fn talk(mut conversation: &[u8], holds: bool, sizes: &[usize]) -> Outcome {
    let now = Timestamp::default();
    let held = holds.then_some(ResumePoint { id: id(1), offset: at(100) });
    let mut replica = Replica::new(ReplicaConfig::default(), held, now).unwrap();
    let mut outcome = Outcome::default();
    let mut link = open(&mut replica, &mut outcome.sent, now);
    for size in sizes.iter().cycle() {
        let (mut piece, rest) = conversation.split_at((*size).min(conversation.len()));
        if let Err(error) = outcome.take(&mut piece, &mut link, &mut replica, now) {
            outcome.error = Some(error);
            break;
        }
        conversation = rest;
        if conversation.is_empty() {
            break;
        }
    }
    replica.check_invariants();
    outcome.held = replica.held();
    outcome
}

fn open(replica: &mut Replica, sent: &mut Vec<u8>, now: Timestamp) -> Link {
    let connect = std::iter::from_fn(|| replica.poll_event()).last();
    let Some((key, UpstreamEvent::Connect)) = connect else { panic!("it connects") };
    replica.handle_connected(key, now).unwrap();
    let mut introduction = Introduction::default();
    introduction.version = Some("8.0.1".into());
    Link::new(key, introduction, CommandLimits::default(), sent)
}

impl Outcome {
    fn take(
        &mut self,
        piece: &mut &[u8],
        link: &mut Link,
        replica: &mut Replica,
        now: Timestamp,
    ) -> Result<(), LinkError> {
        while let Some(inbound) = link.next(piece, &mut self.sent, replica, now)? {
            match inbound {
                Inbound::SnapshotStart { .. } => self.image.clear(),
                Inbound::Snapshot(bytes) => self.image.extend_from_slice(bytes),
                Inbound::SnapshotEnd => replica.handle_loaded(link.key(), now).unwrap(),
                Inbound::Unit(unit) => {
                    replica.handle_applied(link.key(), &unit.bytes, now).unwrap();
                    self.units.push(unit.bytes.to_vec());
                    self.commands.extend(unit.commands.iter().map(|command| command.raw().to_vec()));
                }
            }
        }
        assert!(piece.is_empty(), "all of it was taken");
        Ok(())
    }
}

fn sized() -> String {
    format!("{GREETING}\n\n+FULLRESYNC {ID} 7\r\n\n$5\r\nimage{STREAM}")
}

fn marked() -> String {
    let mark = "f".repeat(40);
    format!("{GREETING}+FULLRESYNC {ID} 7\r\n$EOF:{mark}\r\nima{}ge{mark}{STREAM}", "f".repeat(39))
}

fn resumed() -> String {
    format!("{GREETING}+CONTINUE {}\r\n{STREAM}", "02".repeat(20))
}

#[test]
fn a_conversation_comes_to_a_snapshot_and_units() {
    let outcome = talk(sized().as_bytes(), false, &[usize::MAX]);
    assert_eq!(outcome.error, None);
    assert_eq!(outcome.image, b"image");
    // SELECT, SET, PING with the empty line before it, the transaction, GETACK, SET; the last command is half.
    assert_eq!(outcome.units.len(), 6);
    assert_eq!(outcome.commands.len(), 5);
    let applied = STREAM.len() - "*3\r\n$3\r\nSE".len();
    assert_eq!(outcome.held, Some(ResumePoint { id: id(1), offset: at(7 + applied as u64) }));
    // R218: the ack that was asked for tells the offset before the request's own 37 bytes.
    let before = 7 + STREAM.find("*3\r\n$8\r\nREPLCONF").unwrap();
    let ack = format!("*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$3\r\n{before}\r\n");
    assert!(outcome.sent.ends_with(ack.as_bytes()), "{}", outcome.sent.escape_ascii());

    let outcome = talk(marked().as_bytes(), false, &[usize::MAX]);
    assert_eq!(outcome.image, ["ima", &"f".repeat(39), "ge"].concat().as_bytes());
    let outcome = talk(resumed().as_bytes(), true, &[usize::MAX]);
    let held = ResumePoint { id: id(2), offset: at(100 + applied as u64) };
    assert_eq!((outcome.held, outcome.units.len()), (Some(held), 6));
}

/// A real replica process of redis 7.0.15 ends at each of these.
#[test]
fn what_ends_other_replicas_is_an_error_here() {
    let unasked = talk(format!("{GREETING}+CONTINUE {ID}\r\n").as_bytes(), false, &[5]);
    assert_eq!(unasked.error, Some(FollowError::NothingToResume.into()));
    let absurd =
        talk(format!("{GREETING}+CONTINUE\r\n*1\r\n$9000000000000000000\r\n").as_bytes(), true, &[5]);
    assert!(matches!(absurd.error, Some(LinkError::Stream(_))), "{:?}", absurd.error);
    let short =
        talk(format!("{GREETING}+FULLRESYNC {ID} 7\r\n$9000000000000000000\r\nshort").as_bytes(), true, &[5]);
    assert_eq!((short.error, short.held), (None, Some(ResumePoint { id: id(1), offset: at(100) })));
}

/// P2, D2: one byte at a time is as good as all at once.
#[test]
fn every_conversation_may_come_one_byte_at_a_time() {
    for (conversation, holds) in [(sized(), false), (marked(), false), (resumed(), true), (sized(), true)] {
        let whole = talk(conversation.as_bytes(), holds, &[usize::MAX]);
        assert_eq!(whole.error, None);
        assert_eq!(talk(conversation.as_bytes(), holds, &[1]), whole);
    }
}

/// T54: wherever a sync is cut, the next link makes it good, and what was held before serves until then.
#[test]
fn a_sync_that_is_cut_after_any_byte_is_made_good_by_the_next_link() {
    for conversation in [sized(), marked()] {
        for cut in 0..conversation.len() {
            let now = Timestamp::default();
            let before = ResumePoint { id: id(3), offset: at(100) };
            let mut replica = Replica::new(ReplicaConfig::default(), Some(before), now).unwrap();
            let mut outcome = Outcome::default();
            let mut link = open(&mut replica, &mut outcome.sent, now);
            outcome.take(&mut &conversation.as_bytes()[..cut], &mut link, &mut replica, now).unwrap();
            replica.handle_disconnected(link.key(), now);
            let held = replica.held().unwrap();
            assert!(
                held == before || (held.id == id(1) && outcome.image.ends_with(b"ge")),
                "cut after {cut}"
            );

            let again = replica.poll_timeout().unwrap();
            replica.handle_timeout(again);
            let mut outcome = Outcome::default();
            let mut link = open(&mut replica, &mut outcome.sent, again);
            outcome.take(&mut conversation.as_bytes(), &mut link, &mut replica, again).unwrap();
            assert_eq!(replica.held(), talk(conversation.as_bytes(), false, &[usize::MAX]).held);
            assert_eq!(outcome.units.len(), 6);
        }
    }
}

/// R220: the same bytes would come again.
#[test]
fn a_stream_that_can_not_be_read_is_not_asked_for_again() {
    let now = Timestamp::default();
    let mut replica = holder();
    let mut outcome = Outcome::default();
    let mut link = open(&mut replica, &mut outcome.sent, now);
    let conversation = format!("{GREETING}+CONTINUE\r\n*1\r\n$4\r\nEXEC\r\n");
    let error = outcome.take(&mut conversation.as_bytes(), &mut link, &mut replica, now).unwrap_err();
    assert!(matches!(error, LinkError::Stream(_)), "{error:?}");
    replica.handle_disconnected(link.key(), now);
    assert_eq!(replica.wanted(), Wanted::Everything);
}

/// R154, R155: each byte counts as a word, whatever it belongs to.
#[test]
fn a_primary_that_says_a_byte_in_time_is_not_given_up() {
    let mut replica = holder();
    let mut outcome = Outcome::default();
    let mut now = Timestamp::default();
    let mut link = open(&mut replica, &mut outcome.sent, now);
    let conversation = sized();
    let snapshot = conversation.len() - STREAM.len();
    let mut rest = &conversation.as_bytes()[..snapshot - 1];
    while let Some((byte, later)) = rest.split_first() {
        rest = later;
        let patience = replica.poll_timeout().unwrap().saturating_since(now);
        now = now.checked_add(patience - Duration::from_nanos(1)).unwrap();
        replica.handle_timeout(now);
        outcome.take(&mut &[*byte][..], &mut link, &mut replica, now).unwrap();
        let next = replica.poll_timeout().unwrap().saturating_since(now);
        assert!(next > Duration::from_secs(5), "it has all its time anew, not {next:?}");
    }
    assert_eq!(outcome.image, b"imag");
}

fn holder() -> Replica {
    let held = ResumePoint { id: id(1), offset: at(100) };
    Replica::new(ReplicaConfig::default(), Some(held), Timestamp::default()).unwrap()
}

proptest! {
    #[test]
    fn every_conversation_may_come_in_any_pieces(
        number in 0..3usize, holds: bool, sizes in vec(1..60usize, 1..8), flip in 0..400usize, byte: u8, damage: bool
    ) {
        let mut conversation = [sized(), marked(), resumed()][number].clone().into_bytes();
        let place = flip % conversation.len();
        if damage {
            conversation[place] = byte;
        }
        let whole = talk(&conversation, holds, &[usize::MAX]);
        prop_assert_eq!(&talk(&conversation, holds, &sizes), &whole);
        prop_assert_eq!(&talk(&conversation, holds, &[1]), &whole);
    }
}
