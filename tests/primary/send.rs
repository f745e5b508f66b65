use std::io::{self, IoSlice, Write};

use bytes::Buf;
use headwater::{Ack, AckError, Detach, DropReason, Event, Sent, SentError};

use crate::host::{END_MARKED, Host, at};

/// A socket that takes so many bytes and then blocks.
struct Narrow {
    room: usize,
    taken: Vec<u8>,
}

impl Write for Narrow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        let count = all.len().min(self.room);
        self.taken.extend_from_slice(&all[..count]);
        self.room -= count;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn numbered(count: usize) -> Vec<u8> {
    (0..count).map(|index| u8::try_from(index % 251).unwrap()).collect()
}

#[test]
fn a_replica_is_named_once_until_it_has_caught_up() {
    let mut host = Host::new(|_| ());
    let replica = host.online();
    assert_eq!(host.events(), []);
    host.append(b"one");
    host.append(b"two");
    assert_eq!(host.events(), [Event::Send(replica)]);
    host.append(b"three");
    assert_eq!(host.events(), [], "the host knows");
    assert_eq!(host.flush(replica), b"onetwothree");
    assert_eq!(host.events(), []);
    host.append(b"four");
    assert_eq!(host.events(), [Event::Send(replica)]);
}

#[test]
fn a_socket_that_blocks_goes_on_where_it_stopped() {
    let mut host = Host::new(|config| config.backlog_capacity = 2048);
    let replica = host.online();
    let bytes = numbered(1500);
    host.append(&bytes);
    let mut socket = Narrow { room: 700, taken: Vec::new() };
    assert_eq!(host.primary.write_to(replica, &mut socket, host.now).unwrap(), Sent::Blocked);
    assert_eq!(host.primary.report(host.now).replicas[0].unsent, 800);
    socket.room = 10_000;
    assert_eq!(host.primary.write_to(replica, &mut socket, host.now).unwrap(), Sent::All);
    assert_eq!(socket.taken, bytes);
}

/// T61: a signal is no failure, and nothing is sent twice or left out.
#[test]
fn a_write_that_a_signal_interrupts_is_made_again() {
    struct Interrupted(bool, Vec<u8>);
    impl Write for Interrupted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = !self.0;
            if self.0 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let count = bytes.len().min(100);
            self.1.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut host = Host::new(|_| ());
    let replica = host.online();
    host.append(&numbered(1500));
    let mut socket = Interrupted(false, Vec::new());
    assert_eq!(host.primary.write_to(replica, &mut socket, host.now).unwrap(), Sent::All);
    assert_eq!(socket.1, numbered(1500));
}

/// As many chunks as one system call takes are no more calls than one.
#[test]
fn what_lies_in_many_chunks_is_sent_in_one_call() {
    struct Calls(Vec<usize>);
    impl Write for Calls {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.write_vectored(&[IoSlice::new(bytes)])
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            self.0.push(slices.iter().map(|slice| slice.len()).sum());
            Ok(self.0[self.0.len() - 1])
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut host = Host::new(|config| config.backlog_capacity = 1024);
    let replica = host.online();
    host.append(&numbered(64 * 16));
    host.append(&numbered(10));
    let mut socket = Calls(Vec::new());
    assert_eq!(host.primary.write_to(replica, &mut socket, host.now).unwrap(), Sent::All);
    assert_eq!(socket.0, [64 * 16, 10]);
}

/// kvrocks#346, B42: what was left to send waited for the next write, or for a limit.
#[test]
fn one_far_behind_lets_others_have_their_turn() {
    let mut host = Host::new(|config| config.max_send = 1000);
    let (far, near) = (host.online(), host.online());
    let bytes = numbered(2500);
    host.append(&bytes);
    assert_eq!(host.events(), [Event::Send(far), Event::Send(near)]);
    let mut sockets = [Vec::new(), Vec::new()];
    assert_eq!(host.primary.write_to(far, &mut sockets[0], host.now).unwrap(), Sent::More);
    assert_eq!(host.primary.write_to(near, &mut sockets[1], host.now).unwrap(), Sent::More);
    assert_eq!(sockets[0].len(), 1000);
    assert_eq!(host.events(), [], "the loop gets round to other things first");
    assert_eq!(host.primary.poll_timeout(), Some(host.now), "but does not sleep");
    host.primary.handle_timeout(host.now);
    assert_eq!(host.events(), [Event::Send(far), Event::Send(near)]);
    sockets[0].extend(host.flush(far));
    assert_eq!(sockets[0], bytes);
}

#[test]
fn an_error_of_the_socket_changes_nothing() {
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut host = Host::new(|_| ());
    let replica = host.online();
    host.append(b"bytes");
    assert!(host.primary.write_to(replica, &mut Broken, host.now).is_err());
    assert!(host.is_attached(replica), "what a broken connection means is the host's to say");
    assert_eq!(host.flush(replica), b"bytes");
}

#[test]
fn a_batch_is_lent_once_and_what_is_left_in_it_again() {
    let mut host = Host::new(|config| (config.backlog_capacity, config.max_send) = (2048, 1000));
    let replica = host.online();
    let bytes = numbered(1500);
    host.append(&bytes);
    let mut received = Vec::new();

    let mut batch = host.primary.take_batch(replica, host.now).unwrap().unwrap();
    assert_eq!((batch.replica(), batch.remaining()), (replica, 1000));
    assert!(host.primary.take_batch(replica, host.now).unwrap().is_none(), "one is out");
    assert_eq!(host.flush(replica), b"", "nor is any of it sent another way");
    received.extend_from_slice(&batch.copy_to_bytes(600));
    host.primary.handle_batch_written(batch, host.now);
    assert_eq!(host.events(), [Event::Send(replica)]);

    let mut batch = host.primary.take_batch(replica, host.now).unwrap().unwrap();
    assert_eq!(batch.remaining(), 900);
    let mut slices = [IoSlice::new(&[]); 64];
    let filled = batch.chunks_vectored(&mut slices);
    assert_eq!(slices[..filled].iter().map(|slice| slice.len()).sum::<usize>(), 900);
    received.extend_from_slice(&batch.copy_to_bytes(900));
    host.primary.handle_batch_written(batch, host.now);
    assert_eq!(received, bytes);
    assert_eq!(host.events(), [], "it has caught up");
    assert!(host.primary.take_batch(replica, host.now).unwrap().is_none());
}

/// valkey#1097, redis#10265, KeyDB#896: used after its replica was freed.
#[test]
fn a_batch_of_a_replica_long_gone_is_let_go_of() {
    let mut host = Host::new(|_| ());
    let replica = host.online();
    host.append(b"bytes");
    let batch = host.primary.take_batch(replica, host.now).unwrap().unwrap();
    host.primary.detach(replica, Detach::Lost, host.now).unwrap();
    let successor = host.online();
    host.primary.handle_batch_written(batch, host.now);
    host.primary.check_invariants();
    host.append(b" more");
    assert_eq!(host.flush(successor), b" more");
}

#[test]
fn a_batch_of_another_primary_changes_nothing() {
    let (mut host, mut other) = (Host::new(|_| ()), Host::new(|_| ()));
    let (replica, namesake) = (host.online(), other.online());
    assert_eq!(replica, namesake);
    host.append(b"short");
    other.append(b"much longer");
    let mut foreign = other.primary.take_batch(namesake, other.now).unwrap().unwrap();
    let own = host.primary.take_batch(replica, host.now).unwrap().unwrap();
    foreign.advance(11);
    host.primary.handle_batch_written(foreign, host.now);
    assert_eq!(host.primary.report(host.now).replicas[0].unsent, 5);
    host.primary.handle_batch_written(own, host.now);
    assert_eq!(host.flush(replica), b"short");
}

#[test]
fn what_is_reported_by_hand_is_bounded_by_what_was_lent() {
    let mut host = Host::new(|_| ());
    let replica = host.newcomer();
    assert!(host.primary.unsent(replica).unwrap().is_none(), "before its snapshot");
    let cut = host.begin(crate::host::SIZED);
    host.ready(&cut);
    host.sent(replica);
    host.append(b"lent");
    let refused = host.primary.handle_sent(replica, 1, host.now);
    assert_eq!(refused, Err(SentError::MoreThanLent { bytes: 1, unsent: 0 }));
    assert_eq!(host.primary.unsent(replica).unwrap().unwrap().copy_to_bytes(4), "lent");
    host.append(b" later");
    let refused = host.primary.handle_sent(replica, 5, host.now);
    assert_eq!(refused, Err(SentError::MoreThanLent { bytes: 5, unsent: 4 }));
    assert_eq!(host.primary.handle_sent(replica, 4, host.now), Ok(Sent::Partly));
    assert_eq!(host.primary.unsent(replica).unwrap().unwrap().remaining(), 6);
    assert_eq!(host.primary.handle_sent(replica, 6, host.now), Ok(Sent::All));
}

/// B45: what a batch lends counts as lent at once: a fast replica's ack is not early.
#[test]
fn an_ack_counts_up_to_what_was_lent_and_no_further() {
    let mut host = Host::new(|_| ());
    let replica = host.online();
    host.append(b"0123456789");
    let batch = host.primary.take_batch(replica, host.now).unwrap().unwrap();
    host.ack(replica, at(10));
    host.primary.handle_batch_written(batch, host.now);
    host.append(b"not lent");
    let reason = DropReason::AckBeyondLent { acked: at(11), lent: at(10) };
    let refused = host.primary.handle_ack(replica, Ack::applied(at(11)), host.now);
    assert_eq!(refused, Err(AckError::Dropped { replica, reason }));
    assert_eq!(host.events(), [Event::Dropped { replica, reason }]);
    let refused = host.primary.handle_ack(replica, Ack::applied(at(10)), host.now);
    assert!(matches!(refused, Err(AckError::Gone(_))));
}

#[test]
fn a_replica_still_receiving_its_image_can_have_applied_no_more_than_that() {
    let mut host = Host::new(|_| ());
    let replica = host.newcomer();
    host.append(b"image");
    let cut = host.begin(END_MARKED);
    host.ready(&cut);
    host.append(b"stream");
    host.ack(replica, at(5));
    assert!(host.primary.handle_ack(replica, Ack::applied(at(6)), host.now).is_err());
    assert!(!host.is_attached(replica));
}
