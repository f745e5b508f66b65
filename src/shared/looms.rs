//! The locks of loom in the shape of those that they take the place of.

use alloc::sync::Arc;
use core::ops::{Deref, DerefMut};
use core::time::Duration;

pub(super) use loom::{sync::atomic::AtomicU64, thread};

#[derive(Debug)]
pub(super) struct Mutex<T>(loom::sync::Mutex<T>);

#[derive(Debug)]
pub(super) struct MutexGuard<'a, T> {
    locked: Option<loom::sync::MutexGuard<'a, T>>,
}

#[derive(Debug)]
pub(super) struct Condvar(loom::sync::Condvar);

impl<T> Mutex<T> {
    pub(super) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { locked: self.0.lock().ok() }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.locked.as_ref().expect("it waits elsewhere")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.locked.as_mut().expect("it waits elsewhere")
    }
}

impl Condvar {
    pub(super) fn new() -> Self {
        Self(loom::sync::Condvar::new())
    }

    pub(super) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(super) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        guard.locked = guard.locked.take().and_then(|locked| self.0.wait(locked).ok());
    }

    /// loom has no time: a minute is over at once, and more never is.
    pub(super) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, span: Duration) {
        if span > Duration::from_secs(60) {
            self.wait(guard);
        }
    }
}

/// A channel with room for one.
#[derive(Debug)]
struct Channel<T> {
    /// What is in it, and whether its sender is gone.
    state: Mutex<(Option<T>, bool)>,
    bell: Condvar,
}

#[derive(Debug)]
pub(super) struct Sender<T>(Arc<Channel<T>>);

#[derive(Debug)]
pub(super) struct Receiver<T>(Arc<Channel<T>>);

pub(super) struct Full;

pub(super) fn bounded<T>(_room: usize) -> (Sender<T>, Receiver<T>) {
    let channel = Arc::new(Channel { state: Mutex::new((None, false)), bell: Condvar::new() });
    (Sender(Arc::clone(&channel)), Receiver(channel))
}

impl<T> Sender<T> {
    pub(super) fn try_send(&self, value: T) -> Result<(), Full> {
        let mut state = self.0.state.lock();
        self.0.bell.notify_one();
        state.0.replace(value).map_or(Ok(()), |_| Err(Full))
    }
}

impl Full {
    /// The models keep their receivers.
    pub(super) const fn is_disconnected(&self) -> bool {
        false
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.state.lock().1 = true;
        self.0.bell.notify_one();
    }
}

impl<T> Receiver<T> {
    pub(super) fn recv(&self) -> Result<T, ()> {
        let mut state = self.0.state.lock();
        loop {
            match (state.0.take(), state.1) {
                (Some(value), _) => return Ok(value),
                (None, true) => return Err(()),
                (None, false) => self.0.bell.wait(&mut state),
            }
        }
    }
}
