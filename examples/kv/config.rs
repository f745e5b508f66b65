use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use headwater::wire::{self, ClientLimits, memory_size};
use headwater::{Backoff, Heartbeat};

/// The settings, which have the names of Redis's directives on the command line and in CONFIG.
#[derive(Clone)]
pub struct Config {
    pub port: u16,
    pub bind: IpAddr,
    pub dir: PathBuf,
    /// Empty if none is required.
    pub requirepass: String,
    pub diskless_sync: bool,
    /// Only that of replicas is enforced: what waits for another client is bounded anyway, and nobody subscribes.
    pub output_limits: ClientLimits,
    pub replication: headwater::Config,
}

impl Config {
    /// Reads `--name value …`; the words up to the next option are one value, as in Redis.
    pub fn from_options(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let (bind, dir, requirepass) = (Ipv4Addr::LOCALHOST.into(), ".".into(), String::new());
        let (output_limits, replication) = (ClientLimits::default(), headwater::Config::default());
        let mut config =
            Self { port: 6379, bind, dir, requirepass, diskless_sync: true, output_limits, replication };
        config.set("repl-ping-replica-period", "10")?;
        config.replication.ack_request = Some(wire::get_ack());
        let mut words = words.peekable();
        while let Some(option) = words.next() {
            let name = option.strip_prefix("--").ok_or_else(|| format!("{option} is no option"))?;
            let mut value = words.next().ok_or_else(|| format!("{option} needs a value"))?;
            while let Some(more) = words.next_if(|word| !word.starts_with("--")) {
                value = format!("{value} {more}");
            }
            config.set(name, &value).map_err(|reason| format!("{option} {value}: {reason}"))?;
        }
        Ok(config)
    }

    /// The text of `--help`: every option with its default.
    pub fn help() -> String {
        let defaults = Self::from_options(std::iter::empty()).map(|config| config.directives());
        defaults.into_iter().flatten().map(|(name, value)| format!("--{name} {value}\n")).collect()
    }

    /// Changes a directive at run time, or tells in Redis's words why not.
    pub fn set_at_run_time(&mut self, name: &str, value: &str) -> Result<(), String> {
        let name = name.to_ascii_lowercase();
        if !self.directives().iter().any(|(known, _)| *known == name) {
            return Err(format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'"));
        }
        let is_fixed = matches!(name.as_str(), "port" | "bind");
        let set =
            if is_fixed { Err("can't set immutable config".to_owned()) } else { self.set(&name, value) };
        set.map_err(|why| format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}"))
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "port" => self.port = number(value, 0, u16::MAX.into())?.try_into().unwrap_or_default(),
            "bind" => self.bind = value.parse().map_err(|_| "argument must be an IP address")?,
            "dir" if !Path::new(value).is_dir() => return Err("No such directory".into()),
            "dir" => self.dir = value.into(),
            "requirepass" => value.clone_into(&mut self.requirepass),
            "repl-diskless-sync" => self.diskless_sync = is_yes(value)?,
            "client-output-buffer-limit" => {
                self.output_limits.set(value).map_err(|error| error.to_string())?;
                self.replication.output_limit = self.output_limits.replica;
            }
            "save" | "appendonly" if matches!(value, "" | "no") => {} // nothing is saved: clients ask
            _ => self.set_replication(name, value)?,
        }
        self.replication.check().map_err(|error| error.to_string())
    }

    fn set_replication(&mut self, name: &str, value: &str) -> Result<(), String> {
        let replication = &mut self.replication;
        match name {
            "repl-backlog-size" => {
                let capacity = between(bytes(value)?.try_into().unwrap_or(i64::MAX), 1, i64::MAX)?;
                replication.backlog_capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
            }
            "repl-backlog-ttl" => {
                replication.backlog_ttl = Some(seconds(value, 0)?).filter(|ttl| !ttl.is_zero());
            }
            "repl-ping-replica-period" => {
                let period = seconds(value, 1)?;
                replication.heartbeat = Some(Heartbeat { payload: wire::heartbeat(), period });
            }
            "repl-timeout" => replication.replica_timeout = seconds(value, 1)?,
            "repl-diskless-sync-delay" => replication.snapshot_delay = seconds(value, 0)?,
            "repl-resume-budget" => replication.resume_pins.bytes = bytes(value)?,
            "repl-resume-time" => replication.resume_pins.lasting = seconds(value, 0)?,
            "repl-sync-backoff" => {
                let most = Some(seconds(value, 0)?).filter(|most| !most.is_zero());
                replication.sync_backoff = most.map(|most| Backoff { most, ..Backoff::default() });
            }
            "repl-max-transfers" => replication.max_transfers = count(value, 1)?,
            "min-replicas-to-write" => replication.min_replicas.to_write = count(value, 0)?,
            "min-replicas-max-lag" => replication.min_replicas.max_lag = seconds(value, 0)?,
            _ => return Err("there is no such option".to_owned()),
        }
        Ok(())
    }

    /// Names and values as CONFIG GET prints them. What is not bounded is 0 in Redis.
    pub fn directives(&self) -> Vec<(&'static str, String)> {
        let replication = &self.replication;
        let seconds = |duration: Duration| duration.as_secs().to_string();
        let ping_period = replication.heartbeat.as_ref().map(|heartbeat| heartbeat.period);
        vec![
            ("port", self.port.to_string()),
            ("bind", self.bind.to_string()),
            ("dir", self.dir.display().to_string()),
            ("requirepass", self.requirepass.clone()),
            ("repl-backlog-size", replication.backlog_capacity.to_string()),
            ("repl-backlog-ttl", seconds(replication.backlog_ttl.unwrap_or_default())),
            ("repl-ping-replica-period", seconds(ping_period.unwrap_or_default())),
            ("repl-timeout", seconds(replication.replica_timeout)),
            ("repl-diskless-sync", if self.diskless_sync { "yes" } else { "no" }.to_owned()),
            ("repl-diskless-sync-delay", seconds(replication.snapshot_delay)),
            ("repl-resume-budget", replication.resume_pins.bytes.to_string()),
            ("repl-resume-time", seconds(replication.resume_pins.lasting)),
            (
                "repl-sync-backoff",
                seconds(replication.sync_backoff.map_or(Duration::ZERO, |backoff| backoff.most)),
            ),
            ("repl-max-transfers", replication.max_transfers.to_string()),
            ("min-replicas-to-write", replication.min_replicas.to_write.to_string()),
            ("min-replicas-max-lag", seconds(replication.min_replicas.max_lag)),
            ("client-output-buffer-limit", self.output_limits.to_string()),
            ("save", String::new()),
            ("appendonly", "no".to_owned()),
        ]
    }
}

/// A whole number within these bounds, or why it is none in Redis's words.
fn number(text: &str, least: i64, most: i64) -> Result<i64, String> {
    let number = text.parse().map_err(|_| "argument couldn't be parsed into an integer")?;
    between(number, least, most)
}

fn between(number: i64, least: i64, most: i64) -> Result<i64, String> {
    let is_within = (least..=most).contains(&number);
    is_within
        .then_some(number)
        .ok_or_else(|| format!("argument must be between {least} and {most} inclusive"))
}

fn count(text: &str, least: i64) -> Result<usize, String> {
    number(text, least, MOST).map(|count| usize::try_from(count).unwrap_or(usize::MAX))
}

fn seconds(text: &str, least: i64) -> Result<Duration, String> {
    number(text, least, MOST).map(|seconds| Duration::from_secs(seconds.unsigned_abs()))
}

fn is_yes(text: &str) -> Result<bool, &'static str> {
    match text.to_ascii_lowercase().as_str() {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("argument must be 'yes' or 'no'"),
    }
}

fn bytes(text: &str) -> Result<u64, &'static str> {
    memory_size(text).ok_or("argument must be a memory value")
}

/// Redis keeps most numbers in 32 bits.
const MOST: i64 = i32::MAX as i64;
