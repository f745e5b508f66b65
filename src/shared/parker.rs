use alloc::sync::Arc;
use alloc::vec::Vec;

use super::sync::{self, Condvar, Mutex};
use crate::key::WaiterKey;

/// Where one caller sleeps until its wait is over. It has a lock of its own, so that many who wake at once don't meet at the
/// node's.
#[derive(Debug)]
pub(super) struct Parker<E> {
    end: Mutex<Option<E>>,
    bell: Condvar,
}

/// The callers that are parked.
#[derive(Debug)]
pub(super) struct Parked<E> {
    /// By the place of the waiter in the core's table. A parker stays when its waiter has ended, for the next one.
    places: Vec<Place<E>>,
}

#[derive(Debug)]
struct Place<E> {
    waiter: Option<WaiterKey>,
    parker: Arc<Parker<E>>,
}

/// A caller that is to be told how its wait ended, once the node's lock is free.
#[derive(Debug)]
pub(super) struct Ended<E> {
    parker: Arc<Parker<E>>,
    end: E,
}

impl<E> Parker<E> {
    fn new() -> Self {
        Self { end: Mutex::new(None), bell: Condvar::new() }
    }

    pub(super) fn wait(&self) -> E {
        let mut end = self.end.lock();
        loop {
            if let Some(end) = end.take() {
                return end;
            }
            end = sync::wait(&self.bell, end, None);
        }
    }
}

impl<E> Ended<E> {
    pub(super) fn wake(self) {
        *self.parker.end.lock() = Some(self.end);
        self.parker.bell.notify_one();
    }
}

impl<E> Parked<E> {
    pub(super) const fn new() -> Self {
        Self { places: Vec::new() }
    }

    /// Where the caller behind `waiter` is to wait, without the node's lock.
    pub(super) fn park(&mut self, waiter: WaiterKey) -> Arc<Parker<E>> {
        while self.places.len() <= waiter.index() {
            self.places.push(Place { waiter: None, parker: Arc::new(Parker::new()) });
        }
        let place = &mut self.places[waiter.index()];
        if Arc::get_mut(&mut place.parker).is_none() {
            // The one before has ended, and has yet to wake.
            place.parker = Arc::new(Parker::new());
        }
        place.waiter = Some(waiter);
        Arc::clone(&place.parker)
    }

    /// Takes the caller behind `waiter` out, if it is one of those, to be told of its `end`.
    pub(super) fn end(&mut self, waiter: WaiterKey, end: E) -> Result<Ended<E>, E> {
        let place = self.places.get_mut(waiter.index()).filter(|place| place.waiter == Some(waiter));
        match place {
            Some(place) => {
                place.waiter = None;
                Ok(Ended { parker: Arc::clone(&place.parker), end })
            }
            None => Err(end),
        }
    }

    pub(super) fn waiters(&self) -> impl Iterator<Item = WaiterKey> {
        self.places.iter().filter_map(|place| place.waiter)
    }
}
