use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::mem;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::Ordering;

use super::events::{Events, Queue};
use super::parker::{Ended, Parked};
use super::sender::Mail;
use super::sync::{self, AtomicU64, Condvar, Mutex, MutexGuard};
use crate::key::{Gone, ReplicaKey};
use crate::node::{FenceEnd, Node, NodeEvent, Start};
use crate::primary::{Config, ConfigError, Detach, Event};
use crate::time::Timestamp;
use crate::waiters::WaitEnd;

/// What handles and senders share.
pub(super) struct Inner {
    clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
    state: Mutex<State>,
    /// Of the node. Changes under the lock; callers that wake look at it without.
    demotions: AtomicU64,
    timer_bell: Condvar,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) node: Node,
    pub(super) waits: Parked<WaitEnd>,
    pub(super) fences: Parked<FenceEnd>,
    pub(super) mail: Mail,
    pub(super) events: Queue,
    pub(super) is_shut: bool,
    /// Until when the timer's thread sleeps. The origin of time while it is awake, and without one: nothing is due before.
    asleep_until: Option<Timestamp>,
    ended_waits: Vec<Ended<WaitEnd>>,
    ended_fences: Vec<Ended<FenceEnd>>,
}

impl Inner {
    pub(super) fn new(
        config: Config,
        start: Start,
        clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
    ) -> Result<(Arc<Self>, Events), ConfigError> {
        let node = Node::new(config, start, clock())?;
        let (events, bell) = Queue::new();
        let state = State {
            node,
            waits: Parked::new(),
            fences: Parked::new(),
            mail: Mail::default(),
            events,
            is_shut: false,
            asleep_until: Some(Timestamp::default()),
            ended_waits: Vec::new(),
            ended_fences: Vec::new(),
        };
        let (state, demotions) = (Mutex::new(state), AtomicU64::new(0));
        let inner = Arc::new(Self { clock, state, demotions, timer_bell: Condvar::new() });
        drop(inner.lock()); // the first events
        Ok((Arc::clone(&inner), Events::new(inner, bell)))
    }

    #[inline]
    pub(super) fn lock(&self) -> Guard<'_> {
        Guard { inner: self, state: Some(self.state.lock()) }
    }

    pub(super) fn demotions(&self) -> u64 {
        self.demotions.load(Ordering::Acquire)
    }

    pub(super) fn shut_down(&self) {
        let mut state = self.lock();
        state.is_shut = true;
        self.timer_bell.notify_one();
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").finish_non_exhaustive()
    }
}

/// The lock. When it is let go of, all that has come of what was done is told to whom it concerns.
pub(super) struct Guard<'a> {
    inner: &'a Inner,
    /// There until the end.
    state: Option<MutexGuard<'a, State>>,
}

impl Guard<'_> {
    pub(super) fn now(&self) -> Timestamp {
        (self.inner.clock)()
    }

    pub(super) fn detach(&mut self, replica: ReplicaKey, how: Detach) -> Result<(), Gone<ReplicaKey>> {
        let now = self.now();
        self.mail.close(replica, None);
        self.node.primary().detach(replica, how, now)
    }

    /// Tells all that has come of what was done.
    #[inline]
    pub(super) fn settle(&mut self) {
        let (inner, now) = (self.inner, self.is_shut.then(|| self.now()));
        let state = &mut **self;
        inner.demotions.store(state.node.demotions(), Ordering::Release);
        if let Some(now) = now {
            state.end_all(now);
        }
        while let Some(event) = state.node.poll_event() {
            state.route(event);
        }
        if state.is_timer_late() {
            state.asleep_until = Some(Timestamp::default());
            inner.timer_bell.notify_one();
        }
    }

    /// Lets go of the lock, where nothing has come of what was done.
    #[inline]
    pub(super) fn leave(mut self) {
        debug_assert!(!self.is_timer_late() && self.node.poll_event().is_none(), "somebody is to be told");
        self.state = None;
    }

    /// Sleeps, without the lock, until `bell` rings. Settle first, and then look whether there is nothing to do.
    pub(super) fn wait(&mut self, bell: &Condvar) {
        debug_assert!(!self.has_ended(), "whoever has ended is woken first");
        self.state = self.state.take().map(|state| sync::wait(bell, state, None));
    }

    /// Has the timer's thread sleep until something is due, unless somebody is to be woken.
    pub(super) fn sleep(&mut self) {
        self.settle();
        if self.is_shut || self.has_ended() {
            return;
        }
        let (due, now) = (self.node.poll_timeout(), self.now());
        self.asleep_until = due;
        let (bell, span) = (&self.inner.timer_bell, due.map(|due| due.saturating_since(now)));
        self.state = self.state.take().map(|state| sync::wait(bell, state, span));
        self.asleep_until = Some(Timestamp::default());
    }
}

impl Deref for Guard<'_> {
    type Target = State;

    #[inline]
    fn deref(&self) -> &State {
        self.state.as_ref().expect("it is let go of at the end only")
    }
}

impl DerefMut for Guard<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut State {
        self.state.as_mut().expect("it is let go of at the end only")
    }
}

impl Drop for Guard<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.state.is_none() {
            return;
        }
        self.settle();
        if !self.has_ended() {
            return self.state = None;
        }
        let (waits, fences) = (mem::take(&mut self.ended_waits), mem::take(&mut self.ended_fences));
        self.state = None;
        waits.into_iter().for_each(Ended::wake);
        fences.into_iter().for_each(Ended::wake);
    }
}

impl State {
    fn is_timer_late(&self) -> bool {
        if self.asleep_until == Some(Timestamp::default()) {
            return false;
        }
        self.node.poll_timeout().is_some_and(|due| self.asleep_until.is_none_or(|until| due < until))
    }

    fn has_ended(&self) -> bool {
        !self.ended_waits.is_empty() || !self.ended_fences.is_empty()
    }

    /// To each thread what concerns it, to the host the rest.
    fn route(&mut self, event: NodeEvent) {
        let left = match event {
            NodeEvent::FenceEnded { waiter, end } => match self.fences.end(waiter, end) {
                Ok(ended) => return self.ended_fences.push(ended),
                Err(end) => NodeEvent::FenceEnded { waiter, end },
            },
            NodeEvent::Primary(Event::WaitEnded { waiter, end }) => match self.waits.end(waiter, end) {
                Ok(ended) => return self.ended_waits.push(ended),
                Err(end) => NodeEvent::Primary(Event::WaitEnded { waiter, end }),
            },
            NodeEvent::Primary(event) => match self.mail.deliver(event) {
                Some(event) => NodeEvent::Primary(event),
                None => return,
            },
            other => other,
        };
        self.events.push(left);
    }

    /// Nobody is served any more.
    #[cold]
    fn end_all(&mut self, now: Timestamp) {
        let waiters: Vec<_> = self.waits.waiters().collect();
        for waiter in waiters {
            if let Ok(end) = self.node.primary().cancel_wait(waiter) {
                self.ended_waits.extend(self.waits.end(waiter, end));
            }
        }
        let waiters: Vec<_> = self.fences.waiters().collect();
        for waiter in waiters {
            if let Ok(end) = self.node.cancel_fence(waiter) {
                self.ended_fences.extend(self.fences.end(waiter, end));
            }
        }
        for replica in self.mail.close_all() {
            let _ = self.node.primary().detach(replica, Detach::Clean, now);
        }
        self.events.end();
    }
}
