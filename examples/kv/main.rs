//! A small Redis-compatible store on tokio, to which real Redis replicas attach.
//!
//! It shows how a store embeds headwater: one task owns the data and the `Primary` (`server.rs`), each connection
//! has a reader and a writer (`connection.rs`), and snapshots are real RDB files (`rdb.rs`) made from an immutable
//! view of the data (`store.rs`), while writers go on. Replicas attach and acknowledge in `attach.rs`, what the
//! `Primary` wants done then is in `events.rs`, commands become units of the stream in `session.rs`, and clients wait
//! for replicas in `wait.rs`. Try it:
//!
//! ```text
//! cargo run --release --example kv -- --port 6400
//! redis-server --port 6401 --save '' --replicaof 127.0.0.1 6400
//! redis-cli -p 6400 set greeting hello
//! redis-cli -p 6401 get greeting
//! redis-cli -p 6400 info replication
//! ```
//!
//! It needs a Unix system. Its options have Redis's names (`--help`, and CONFIG at run time: `config.rs`), and
//! `RUST_LOG` says what is logged.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a program has clocks, threads and I/O; the core has not"
)]
#![allow(unreachable_pub, reason = "nothing in a program can be reached from outside")]

mod admin;
mod attach;
mod client;
mod clients;
mod commands;
mod config;
mod connection;
mod events;
mod figures;
mod rdb;
mod reply;
mod server;
mod session;
mod snapshot;
mod store;
mod wait;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::{env, io};

use tokio::{net::TcpListener, sync::mpsc, task};
use tracing::info;
use tracing_subscriber::EnvFilter;

use crate::config::Config;
use crate::server::{MESSAGES, Server};

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).with_env_filter(filter).init();
    if let Err(error) = serve().await {
        eprintln!("kv: {error}");
        return ExitCode::from(2);
    }
    ExitCode::SUCCESS
}

/// Serves until SHUTDOWN.
async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    if env::args().any(|word| word == "--help") {
        print!("{}", Config::help());
        return Ok(());
    }
    let mut config = Config::from_options(env::args().skip(1))?;
    let address = SocketAddr::new(config.bind, config.port);
    let listener = TcpListener::bind(address).await.map_err(|error| format!("{address}: {error}"))?;
    config.port = listener.local_addr()?.port(); // 0 took any that is free
    info!("ready on {}", listener.local_addr()?);
    let (sender, messages) = mpsc::channel(MESSAGES);
    Ok(task::spawn(Server::new(config, sender)?.run(listener, messages)).await?)
}
