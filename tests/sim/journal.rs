use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use crate::fault::Fault;

/// What a run leaves behind: its last steps, how often each fault struck, and a hash over all that came out.
#[derive(Debug)]
pub(crate) struct Journal {
    lines: VecDeque<String>,
    /// Prints each line at once.
    echo: bool,
    pub(crate) faults: BTreeMap<Fault, u64>,
    hash: u64,
}

impl Journal {
    pub(crate) fn new(echo: bool) -> Self {
        Self { lines: VecDeque::new(), echo, faults: BTreeMap::new(), hash: 0xCBF2_9CE4_8422_2325 }
    }

    pub(crate) fn note(&mut self, now: Duration, text: fmt::Arguments<'_>) {
        let line = format!("{:>14.6} s  {text}", now.as_secs_f64());
        if self.echo {
            println!("{line}");
        }
        if self.lines.len() == LAST_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    pub(crate) fn count(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// Takes an output into the hash, which must be the same on a second run (D1).
    pub(crate) fn output(&mut self, bytes: &[u8]) {
        let words = bytes.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        });
        for word in words.chain([bytes.len() as u64]) {
            self.hash = (self.hash ^ word).wrapping_mul(0x0100_0000_01B3).rotate_left(23);
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn last_lines(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

const LAST_LINES: usize = 50;
