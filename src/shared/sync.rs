//! What `shared` is built on. The models put loom's in its place, which chooses who runs next in every way there is.

#[cfg(not(all(test, headwater_loom)))]
pub(super) use {
    crossbeam_channel::{Receiver, Sender, bounded},
    parking_lot::{Condvar, Mutex, MutexGuard},
    std::{sync::atomic::AtomicU64, thread},
};

#[cfg(all(test, headwater_loom))]
pub(super) use super::looms::{AtomicU64, Condvar, Mutex, MutexGuard, Receiver, Sender, bounded, thread};
