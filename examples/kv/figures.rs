use std::{fs, process};

use headwater::info::{self, Flavour};

use crate::client::Class;
use crate::commands::is;
use crate::reply::Reply;
use crate::server::{Server, Stats};

/// The reply to INFO: the sections of those names, or all.
pub fn info(server: &Server, names: &[&[u8]]) -> Reply {
    let sections = sections(server);
    let is_wanted = |section: &&String| {
        let title = section[2..].lines().next().unwrap_or_default();
        let known = [title, "all", "default", "everything"];
        names.is_empty() || names.iter().any(|name| known.iter().any(|known| is(name, known)))
    };
    let wanted: Vec<&str> = sections.iter().filter(is_wanted).map(String::as_str).collect();
    Reply::text(wanted.join("\r\n"))
}

fn sections(server: &Server) -> [String; 5] {
    let Server { primary, stats, now, config, clients, .. } = server;
    let report = primary.report(*now);
    let (rss, up) = (resident_bytes(), now.since_origin().as_secs());
    let Stats { connections, commands, expired } = stats;
    let clients = clients.values().filter(|client| client.class() == Class::Normal).count();
    let clients = clients + 1; // the one that asks is taken out
    [
        format!("# Server\r\nredis_version:{REDIS_VERSION}\r\nprocess_id:{}\r\n", process::id())
            + &format!("tcp_port:{}\r\nuptime_in_seconds:{up}\r\n", config.port),
        format!("# Clients\r\nconnected_clients:{clients}\r\n{}", info::clients(&report)),
        format!("# Memory\r\nused_memory:{rss}\r\nused_memory_rss:{rss}\r\n{}", info::memory(&report)),
        format!("# Stats\r\ntotal_connections_received:{connections}\r\n")
            + &format!("total_commands_processed:{commands}\r\n")
            + &format!("{}expired_keys:{expired}\r\n", info::stats(&report)),
        info::replication(&report, Flavour::Redis).to_string(),
    ]
}

/// 0 where there is no /proc.
fn resident_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    rss.and_then(|kib| kib.parse().ok()).map_or(0, |kib: usize| kib * 1024)
}

/// What clients take for the version of Redis that this is compatible with.
const REDIS_VERSION: &str = "7.0.15";
