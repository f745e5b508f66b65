//! The locks, conditions and channel of loom, in the shape of those of `sync.rs`.

use core::time::Duration;
use std::sync::mpsc::SendError;

pub(super) use loom::sync::{Condvar, MutexGuard, atomic::AtomicU64, mpsc::Receiver};
pub(super) use loom::thread;
pub(super) use std::sync::mpsc::TrySendError;

#[derive(Debug)]
pub(super) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(super) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("no panic")
    }
}

/// loom has no time: a minute is over at once, and more never is.
pub(super) fn wait<'a, T>(
    bell: &Condvar,
    locked: MutexGuard<'a, T>,
    span: Option<Duration>,
) -> MutexGuard<'a, T> {
    let is_over = span.is_some_and(|span| span <= Duration::from_secs(60));
    if is_over { locked } else { bell.wait(locked).expect("no panic") }
}

#[derive(Debug)]
pub(super) struct Sender<T: Default>(loom::sync::mpsc::Sender<T>);

pub(super) fn bounded<T: Default>(_room: usize) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = loom::sync::mpsc::channel();
    (Sender(sender), receiver)
}

impl<T: Default> Sender<T> {
    pub(super) fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        self.0.send(value).map_err(|SendError(value)| TrySendError::Disconnected(value))
    }
}

impl<T: Default> Drop for Sender<T> {
    /// Who receives is woken, which loom's does not do by itself.
    fn drop(&mut self) {
        let _ = self.0.send(T::default());
    }
}
