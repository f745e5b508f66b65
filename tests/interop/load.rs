use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use redis::Pipeline;

use crate::server::Server;
use crate::wait::wait_for;

/// A client in a thread that writes pipelined commands of all kinds until it is stopped.
pub(crate) struct Load {
    stopped: Arc<AtomicBool>,
    keys_written: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Writes `key:0` to `key:<keys - 1>` again and again, and keys beside them, by commands that the server knows.
    pub(crate) fn start(server: &Server, keys: u64, seed: u64) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let keys_written = Arc::new(AtomicU64::new(0));
        let (mut client, is_plain) = (server.client(), server.is_small());
        let thread = thread::spawn({
            let (stopped, keys_written) = (Arc::clone(&stopped), Arc::clone(&keys_written));
            move || {
                let mut writer = Writer { random: Random::new(seed), is_plain, keys, next: 0 };
                while !stopped.load(Ordering::SeqCst) {
                    writer.batch().exec(&mut client).expect("every write is taken");
                    keys_written.store(writer.next, Ordering::SeqCst);
                    thread::sleep(PAUSE);
                }
            }
        });
        Self { stopped, keys_written, thread: Some(thread) }
    }

    /// Waits until `count` keys were set, overwritten ones included.
    #[track_caller]
    pub(crate) fn wait_for_keys(&self, count: u64) {
        wait_for("progress of the load", || {
            let written = self.keys_written.load(Ordering::SeqCst);
            if written >= count { Ok(()) } else { Err(format!("{written} keys of {count} were set")) }
        });
    }

    /// Stops the writer after its current batch: all that it wrote was answered.
    pub(crate) fn stop(mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.thread.take().expect("only this takes it").join().expect("every write was taken");
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
    }
}

/// Random numbers from a seed (SplitMix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// Up to 200 bytes, all values among them.
    fn value(&mut self) -> Vec<u8> {
        let length = self.below(200);
        (0..length).map(|_| self.below(256).to_le_bytes()[0]).collect()
    }
}

struct Writer {
    random: Random,
    /// Only SET, DEL and INCR.
    is_plain: bool,
    keys: u64,
    /// How many keys were set in order.
    next: u64,
}

impl Writer {
    fn batch(&mut self) -> Pipeline {
        let mut pipe = redis::pipe();
        for _ in 0..BATCH_KEYS {
            self.set_next(&mut pipe);
            self.change_another(&mut pipe);
        }
        pipe
    }

    /// Sets the next key in order: one in four expires, half of these within the test.
    fn set_next(&mut self, pipe: &mut Pipeline) {
        let key = format!("key:{}", self.next % self.keys);
        self.next += 1;
        pipe.cmd("SET").arg(key).arg(self.random.value());
        match self.random.below(8) {
            0 if !self.is_plain => pipe.arg("EX").arg(1000 + self.random.below(1000)),
            1 if !self.is_plain => pipe.arg("PX").arg(1 + self.random.below(300)),
            _ => pipe,
        };
        pipe.ignore();
    }

    /// Changes a recent key, so that some of those it meets have just expired.
    fn change_another(&mut self, pipe: &mut Pipeline) {
        let recent = self.next.saturating_sub(self.random.below(5000)) % self.keys;
        let recent = format!("key:{recent}");
        let counter = format!("counter:{}", self.random.below(100));
        match self.random.below(12) {
            0 => pipe.cmd("SET").arg(recent).arg(self.random.value()),
            2 => pipe.cmd("DEL").arg(recent),
            4 => pipe.cmd("INCR").arg(counter),
            _ if self.is_plain => return,
            1 => pipe.cmd("SET").arg(recent).arg(self.random.value()).arg("PX").arg(1_000_000),
            3 => pipe.cmd("APPEND").arg(recent).arg("\r\n+"),
            5 => pipe.cmd("SET").arg(counter).arg(7).arg("PX").arg(1 + self.random.below(20)),
            6 => pipe.cmd("MSET").arg(recent).arg("1").arg(counter).arg("2").arg("always").arg("3"),
            7 => pipe.cmd("MULTI").cmd("INCR").arg(counter).cmd("DEL").arg(recent).cmd("EXEC"),
            _ => return,
        };
    }
}

const BATCH_KEYS: usize = 50;
/// Holds the load to some 10 MB/s. At full speed it outruns a replica that gets no processor for a while, and the
/// backlog with it, behind any primary.
const PAUSE: Duration = Duration::from_millis(1);
