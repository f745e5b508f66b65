//! A real `redis-server` replicates from the example store `kv`, and from the small ones, over links that break.
//!
//! Run those that need a `redis-server` with `cargo test --test interop -- --ignored`.

#![cfg(target_os = "linux")] // signals, and /proc
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real servers need real clocks, sockets and threads"
)]

/// Makes of each check, a function of a [`server::Program`], a test of `kv` and one of the control.
///
/// Those `with replicas` attach a real one.
macro_rules! of_both {
    (with replicas: $($check:ident),+ $(,)?) => {
        of_both!([#[ignore = "needs redis-server"]] $($check),+);
    };
    ([$($attribute:tt)*] $($check:ident),+) => {
        mod kv {
            of_both!(@each [$($attribute)*] Kv: $($check),+);
        }

        mod control {
            of_both!(@each [#[ignore = "needs redis-server"]] Redis: $($check),+);
        }
    };
    (@each $attributes:tt $program:ident: $($check:ident),+) => {
        $(of_both!(@one $attributes $program $check);)+
    };
    (@one [$($attribute:tt)*] $program:ident $check:ident) => {
        #[test]
        $($attribute)*
        fn $check() {
            super::$check(crate::server::Program::$program);
        }
    };
    ($($check:ident),+ $(,)?) => {
        of_both!([] $($check),+);
    };
}

/// Makes of each check a test of each example store: of `kv`, and of the small ones; or of `small` ones only, which
/// know no more of data than SET, GET, DEL, INCR and DBSIZE.
///
/// All attach a real replica.
macro_rules! of_hosts {
    (small: $($check:ident),+ $(,)?) => {
        mod event_loop {
            of_both!(@each [#[ignore = "needs redis-server"]] EventLoop: $($check),+);
        }

        mod threads {
            of_both!(@each [#[ignore = "needs redis-server"]] Threads: $($check),+);
        }
    };
    ($($check:ident),+ $(,)?) => {
        mod kv {
            of_both!(@each [#[ignore = "needs redis-server"]] Kv: $($check),+);
        }
        of_hosts!(small: $($check),+);
    };
}

#[path = "../../examples/kv/load.rs"]
#[allow(unreachable_pub, reason = "it is a part of kv, where nothing can be reached from outside")]
mod dump;
mod image;
mod load;
mod memory;
mod player;
mod proxy;
mod raw;
mod server;
mod wait;

mod attach;
mod bad_primary;
mod bad_stream;
mod clients;
mod command_line;
mod errors;
mod figures;
mod following;
mod gate;
mod kills;
mod live_link;
mod loader;
mod malformed;
mod psync;
mod resume;
mod roles;
mod saves;
mod settings;
mod slow_replicas;
mod stored_state;
mod tail;
mod waits;
