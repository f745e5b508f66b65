//! A connection's bytes, whole and cut anywhere: the same commands and the same error, within the limits.
#![no_main]

use headwater::wire::{Command, CommandLimits, CommandReader, ProtocolError};
use libfuzzer_sys::fuzz_target;

// The first bytes choose the limits and the cut, so that a committed input stays readable.
fuzz_target!(|data: &[u8]| {
    let Some((&[choice, cut], bytes)) = data.split_first_chunk() else { return };
    let limits = limits(choice);
    let whole = read(limits, [bytes]);
    assert_eq!(read(limits, bytes.chunks(1 + usize::from(cut % 32))), whole);
    assert_eq!(read(limits, bytes.chunks(1)), whole);
    check(limits, bytes, &whole.0);
});

fn limits(choice: u8) -> CommandLimits {
    let mut limits = CommandLimits::default();
    if choice & 1 != 0 {
        limits = CommandLimits::unauthenticated();
    }
    if choice & 2 != 0 {
        limits.max_line = 12;
        limits.max_args = 4;
    }
    if choice & 4 != 0 {
        limits.max_bulk = 16;
        limits.max_command = 48;
    }
    limits
}

fn read<'a>(
    limits: CommandLimits,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Command>, Option<ProtocolError>) {
    let mut reader = CommandReader::new(limits);
    let mut commands = Vec::new();
    for mut input in pieces {
        loop {
            match reader.next(&mut input) {
                Ok(Some(command)) => commands.push(command),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(reader.next(&mut &b"PING\r\n"[..]), Err(error), "an error is final");
                    assert_eq!(reader.buffered(), 0);
                    return (commands, Some(error));
                }
            }
            assert_eq!(reader.buffered(), 0, "kept bytes of the next command");
        }
        assert!(input.is_empty(), "left bytes of a half command");
        assert!(reader.buffered() <= limits.max_command);
    }
    (commands, None)
}

/// Commands are the input's own bytes in a row, and keep to the limits.
fn check(limits: CommandLimits, bytes: &[u8], commands: &[Command]) {
    let mut rest = bytes;
    for command in commands {
        let raw = command.raw();
        rest = rest.strip_prefix(&raw[..]).expect("a command's bytes are as they came");
        assert!(!raw.is_empty() && raw.len() <= limits.max_command);
        assert!(command.len() <= limits.max_args);
        assert!(command.args().all(|arg| arg.len() <= limits.max_bulk));
        assert_eq!(command.args().len(), command.len());
    }
}
