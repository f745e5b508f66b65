use alloc::string::String;
use alloc::sync::Arc;
use std::io;

use super::state::Inner;
use super::sync::thread::{Builder, JoinHandle};

/// Starts the thread that does what is due.
#[allow(clippy::disallowed_methods, reason = "the one place that has a thread")]
pub(super) fn spawn(inner: Arc<Inner>) -> io::Result<JoinHandle<()>> {
    Builder::new().name(String::from("headwater-timer")).spawn(move || run(&inner))
}

fn run(inner: &Inner) {
    loop {
        let mut state = inner.lock();
        if state.is_shut {
            return;
        }
        let now = state.now();
        state.node.handle_timeout(now);
        state.sleep();
    }
}
