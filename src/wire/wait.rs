use core::time::Duration;

use super::args::CommandError;
use super::integer;
use super::reply::{put_array_header, put_error, put_integer};
use crate::acks::Level;
use crate::key::Tag;
use crate::offset::Offset;
use crate::primary::WriteRefused;
use crate::sink::Sink;
use crate::waiters::{Timeout, Wait, WaitEnd, WaitEnded, WaitError};

/// What a WAIT or a WAITAOF asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WaitArgs {
    /// How many replicas at least.
    pub replicas: usize,
    /// [`Level::Applied`] for WAIT, [`Level::Fsynced`] for WAITAOF.
    pub level: Level,
    /// Whether this node's own append-only file must hold it too.
    pub local: bool,
    /// Never [`Timeout::Immediate`]: that depends on the connection, not on the command (R166).
    pub timeout: Timeout,
}

impl WaitArgs {
    /// For [`Primary::wait`](crate::Primary::wait): `target` is the end of the client's own last write (R160, R161).
    pub const fn for_target(self, target: Offset, tag: Tag) -> Wait {
        let Self { replicas, level, local, timeout } = self;
        Wait { target, replicas, level, local, timeout, tag }
    }
}

/// Reads the arguments of WAIT, without the command's name: how many replicas, and a timeout in milliseconds, where 0
/// is none (R164, R170). A number of replicas below zero waits for nobody.
///
/// A replica refuses it before ([`CommandError::WaitOnReplica`]).
///
/// # Errors
///
/// [`CommandError`] for the first argument that is wrong.
pub fn wait(args: &[&[u8]]) -> Result<WaitArgs, CommandError> {
    let [replicas, timeout] = args else {
        return Err(CommandError::WrongArity { command: "wait" });
    };
    let replicas = integer::strict(replicas).ok_or(CommandError::NotAnInteger)?;
    let timeout = read_timeout(timeout)?;
    Ok(WaitArgs { replicas: saturated(replicas), level: Level::Applied, local: false, timeout })
}

/// Reads the arguments of WAITAOF, without the command's name: whether the own append-only file must hold it, how many
/// replicas' files must, and a timeout as for [`wait()`] (R165).
///
/// A replica refuses it afterwards ([`CommandError::WaitAofOnReplica`]).
///
/// # Errors
///
/// [`CommandError`] for the first argument that is wrong.
pub fn waitaof(args: &[&[u8]]) -> Result<WaitArgs, CommandError> {
    let [local, replicas, timeout] = args else {
        return Err(CommandError::WrongArity { command: "waitaof" });
    };
    let local = match integer::strict(local).ok_or(CommandError::NotAnInteger)? {
        0 => false,
        1 => true,
        _ => return Err(CommandError::NeitherZeroNorOne),
    };
    let replicas = integer::strict(replicas).ok_or(CommandError::NotAnInteger)?;
    if replicas < 0 {
        return Err(CommandError::NotPositive);
    }
    let timeout = read_timeout(timeout)?;
    Ok(WaitArgs { replicas: saturated(replicas), level: Level::Fsynced, local, timeout })
}

/// Puts the answer to a WAIT that is over: how many replicas acknowledged (R167).
pub fn put_wait_end(out: &mut impl Sink, end: &WaitEnd) {
    match failure(end.how) {
        Some(error) => put_error(out, &error),
        None => put_integer(out, end.acked as u64),
    }
}

/// Puts the answer to a WAITAOF that is over: whether the own file holds the target, and how many replicas' do (R167).
pub fn put_waitaof_end(out: &mut impl Sink, end: &WaitEnd) {
    match failure(end.how) {
        Some(error) => put_error(out, &error),
        None => {
            put_array_header(out, 2);
            put_integer(out, u64::from(end.local));
            put_integer(out, end.acked as u64);
        }
    }
}

impl From<WriteRefused> for CommandError {
    fn from(refused: WriteRefused) -> Self {
        match refused {
            WriteRefused::NotEnough(_) => Self::NotEnoughReplicas,
            WriteRefused::StreamFull(_) => Self::StreamFull,
            WriteRefused::Following => Self::ReadOnly,
            WriteRefused::HandingOver => Self::WritesPaused,
        }
    }
}

impl From<WaitError> for CommandError {
    fn from(refused: WaitError) -> Self {
        match refused {
            WaitError::TooManyWaiters { max } => Self::TooManyWaiters { max },
            WaitError::NoLocalFsync => Self::NoAppendOnlyFile,
            WaitError::Following => Self::WaitOnReplica,
        }
    }
}

/// Whose end is no count but an error (R169, R177).
const fn failure(how: WaitEnded) -> Option<CommandError> {
    match how {
        WaitEnded::NoLongerPrimary => Some(CommandError::NoLongerPrimary),
        WaitEnded::NoLocalFsync => Some(CommandError::NoAppendOnlyFile),
        WaitEnded::Satisfied | WaitEnded::TimedOut | WaitEnded::Cancelled => None,
    }
}

fn read_timeout(text: &[u8]) -> Result<Timeout, CommandError> {
    let millis = integer::strict(text).ok_or(CommandError::TimeoutNotAnInteger)?;
    let millis = u64::try_from(millis).map_err(|_| CommandError::TimeoutNegative)?;
    if millis > LONGEST_TIMEOUT {
        return Err(CommandError::TimeoutOutOfRange);
    }
    Ok(if millis == 0 { Timeout::Never } else { Timeout::After(Duration::from_millis(millis)) })
}

/// A count that does not fit is one that no number of replicas reaches, and one below zero is reached by none.
fn saturated(count: i64) -> usize {
    usize::try_from(count.max(0)).unwrap_or(usize::MAX)
}

/// Redis adds the Unix time, in milliseconds, which was above this in 2001 already, and the sum must fit into 64 bits.
const LONGEST_TIMEOUT: u64 = i64::MAX as u64 - 1_000_000_000_000;

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use super::*;

    fn words(line: &str) -> Vec<&[u8]> {
        line.split_whitespace().map(str::as_bytes).collect()
    }

    fn written(put: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        put(&mut out);
        String::from_utf8(out).unwrap()
    }

    const fn after(millis: u64) -> Timeout {
        Timeout::After(Duration::from_millis(millis))
    }

    /// R164 and R170; a count above 2^31 was a negative one in the field, and satisfied at once.
    #[test]
    fn a_wait_asks_for_replicas_and_a_time() {
        for (line, replicas, timeout) in [
            ("2 500", 2, after(500)),
            ("0 0", 0, Timeout::Never),
            ("-3 7", 0, after(7)),
            ("2147483648 1", 1 << 31, after(1)),
            ("9223372036854775807 1", i64::MAX.unsigned_abs(), after(1)),
            ("1 9223371036854775807", 1, after(9_223_371_036_854_775_807)),
        ] {
            let expected = WaitArgs {
                replicas: usize::try_from(replicas).unwrap(),
                level: Level::Applied,
                local: false,
                timeout,
            };
            assert_eq!(wait(&words(line)), Ok(expected), "{line}");
        }
    }

    /// R164, T23.
    #[test]
    fn a_wait_that_makes_no_sense_is_refused_in_the_words_of_redis() {
        for (line, text) in [
            ("", "ERR wrong number of arguments for 'wait' command"),
            ("1", "ERR wrong number of arguments for 'wait' command"),
            ("1 0 0", "ERR wrong number of arguments for 'wait' command"),
            ("a 0", "ERR value is not an integer or out of range"),
            ("9223372036854775808 0", "ERR value is not an integer or out of range"),
            ("a b", "ERR value is not an integer or out of range"),
            ("1 b", "ERR timeout is not an integer or out of range"),
            ("1 9223372036854775808", "ERR timeout is not an integer or out of range"),
            ("1 -1", "ERR timeout is negative"),
            ("1 9223371036854775808", "ERR timeout is out of range"),
        ] {
            assert_eq!(wait(&words(line)).unwrap_err().to_string(), text, "{line}");
        }
    }

    /// R165, in its order.
    #[test]
    fn a_waitaof_asks_for_files() {
        let expected = WaitArgs { replicas: 2, level: Level::Fsynced, local: true, timeout: after(9) };
        assert_eq!(waitaof(&words("1 2 9")), Ok(expected));
        assert!(!waitaof(&words("0 2 9")).unwrap().local);
        for (line, text) in [
            ("0 1", "ERR wrong number of arguments for 'waitaof' command"),
            ("x -1 -1", "ERR value is not an integer or out of range"),
            ("2 -1 -1", "ERR value is out of range, value must between 0 and 1"),
            ("-1 1 1", "ERR value is out of range, value must between 0 and 1"),
            ("1 -1 -1", "ERR value is out of range, must be positive"),
            ("1 1 -1", "ERR timeout is negative"),
        ] {
            assert_eq!(waitaof(&words(line)).unwrap_err().to_string(), text, "{line}");
        }
    }

    #[test]
    fn the_host_adds_whose_wait_it_is_and_for_what() {
        let target = Offset::new(7).unwrap();
        let made = wait(&words("2 500")).unwrap().for_target(target, Tag(3));
        let (level, timeout, tag) = (Level::Applied, after(500), Tag(3));
        assert_eq!(made, Wait { target, replicas: 2, level, local: false, timeout, tag });
    }

    /// R167, R169, R177 and B28: each kind has its own shape.
    #[test]
    fn each_end_has_its_own_answer() {
        let end = |how| WaitEnd { acked: 3, local: true, how };
        for how in [WaitEnded::Satisfied, WaitEnded::TimedOut, WaitEnded::Cancelled] {
            assert_eq!(written(|out| put_wait_end(out, &end(how))), ":3\r\n");
            assert_eq!(written(|out| put_waitaof_end(out, &end(how))), "*2\r\n:1\r\n:3\r\n");
        }
        let unblocked = "-UNBLOCKED force unblock from blocking operation, \
            instance state changed (master -> replica?)\r\n";
        assert_eq!(written(|out| put_wait_end(out, &end(WaitEnded::NoLongerPrimary))), unblocked);
        assert_eq!(written(|out| put_waitaof_end(out, &end(WaitEnded::NoLongerPrimary))), unblocked);
        let disabled = "-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.\r\n";
        assert_eq!(written(|out| put_waitaof_end(out, &end(WaitEnded::NoLocalFsync))), disabled);
    }

    /// R149 and R165.
    #[test]
    fn refusals_of_the_core_have_texts_of_redis() {
        let refused = crate::NotEnoughReplicas { good: 0, needed: 1, max_lag: Duration::from_secs(10) };
        let error = CommandError::from(WriteRefused::NotEnough(refused));
        assert_eq!(error.to_string(), "NOREPLICAS Not enough good replicas to write.");
        assert_eq!(CommandError::from(WaitError::NoLocalFsync), CommandError::NoAppendOnlyFile);
        let error = CommandError::from(WaitError::TooManyWaiters { max: 5 });
        assert_eq!(error.to_string(), "ERR 5 clients wait for replicas, the most allowed");
    }
}
