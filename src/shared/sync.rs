//! What `shared` is built on. The models have `looms.rs` in its place, which chooses who runs next in every way there is.

use core::time::Duration;

pub(super) use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
pub(super) use parking_lot::{Condvar, Mutex, MutexGuard};
pub(super) use std::{sync::atomic::AtomicU64, thread};

/// Sleeps without the lock until `bell` rings, or for `span`.
pub(super) fn wait<'a, T>(
    bell: &Condvar,
    mut locked: MutexGuard<'a, T>,
    span: Option<Duration>,
) -> MutexGuard<'a, T> {
    match span {
        None => bell.wait(&mut locked),
        Some(span) => drop(bell.wait_for(&mut locked, span)),
    }
    locked
}
