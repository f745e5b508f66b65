use std::error::Error;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use headwater::{Handover, HandoverError, Offset, ReplicaConfig, ReplicaKey, ReplicaReport, ReplicaState};
use tracing::{info, warn};

use crate::commands::{Answer, SYNTAX, integer, is};
use crate::reply::Reply;
use crate::server::{Server, random_id};
use crate::upstream::Upstream;

/// Serves REPLICAOF.
pub fn replicaof(server: &mut Server, args: &[&[u8]]) -> Answer {
    let [host, port] = args else { return Err(SYNTAX.into()) };
    if server.is_failing_over() {
        return Err("ERR REPLICAOF not allowed while failing over.".into());
    }
    if is(host, "no") && is(port, "one") {
        if server.data.is_half_applied {
            return Err(
                "ERR a transaction is half applied here: follow a primary until its snapshot is loaded"
                    .into(),
            );
        }
        if server.node.is_following() {
            server.promote();
        }
        return Ok(Reply::OK);
    }
    let host = String::from_utf8_lossy(host).into_owned();
    let port = integer(port)?;
    let port = u16::try_from(port).map_err(|_| "ERR Invalid master port")?;
    let is_same = |upstream: &Upstream| upstream.host.eq_ignore_ascii_case(&host) && upstream.port == port;
    if server.upstream.as_ref().is_some_and(is_same) {
        return Ok(Reply::Simple("OK Already connected to specified master"));
    }
    server.follow(host, port);
    Ok(Reply::OK)
}

/// Serves FAILOVER (R230, R231).
pub fn failover(server: &mut Server, args: &[&[u8]]) -> Result<(), Box<dyn Error>> {
    if let [word] = args
        && is(word, "abort")
    {
        return server.abort_handover();
    }
    let asked = Failover::parse(args)?;
    if server.is_failing_over() {
        return Err("ERR FAILOVER already in progress.".into());
    }
    let report = server.node.report(server.now);
    let to = match asked.to {
        Some(_) if server.node.is_following() => None,
        Some((host, port)) => {
            let is_meant = |replica: &&ReplicaReport| {
                replica.peer.address.eq_ignore_ascii_case(&host) && replica.peer.port == port
            };
            let replica = report.replicas.iter().find(is_meant);
            let replica = replica.ok_or("ERR FAILOVER target HOST and PORT is not a replica.")?;
            if replica.state != ReplicaState::Online {
                return Err("ERR FAILOVER target replica is not online.".into());
            }
            Some(replica.replica)
        }
        None => None,
    };
    let begun = server.node.begin_handover(Handover { to, timeout: asked.timeout }, server.now);
    begun.map_err(|refused| match refused {
        HandoverError::UnderWay => "ERR FAILOVER already in progress.".into(),
        HandoverError::Following => "ERR FAILOVER is not valid when server is a replica.".into(),
        HandoverError::NoReplica => "ERR FAILOVER requires connected replicas.".into(),
        refused => Box::from(refused),
    })
}

#[derive(Default)]
struct Failover {
    to: Option<(String, i64)>,
    timeout: Option<Duration>,
}

impl Failover {
    fn parse(args: &[&[u8]]) -> Result<Self, Box<dyn Error>> {
        let (mut asked, mut rest) = (Self::default(), args);
        loop {
            rest = match rest {
                [] => return Ok(asked),
                [word, host, port, rest @ ..] if is(word, "to") && asked.to.is_none() => {
                    asked.to = Some((String::from_utf8_lossy(host).into_owned(), integer(port)?));
                    rest
                }
                [word, timeout, rest @ ..] if is(word, "timeout") && asked.timeout.is_none() => {
                    let timeout = u64::try_from(integer(timeout)?).ok().filter(|timeout| *timeout > 0);
                    let timeout = timeout.ok_or("ERR FAILOVER timeout must be greater than 0")?;
                    asked.timeout = Some(Duration::from_millis(timeout));
                    rest
                }
                [word, ..] if is(word, "force") => {
                    return Err("ERR FAILOVER FORCE is not supported: it would lose writes".into());
                }
                _ => return Err(SYNTAX.into()),
            }
        }
    }
}

impl Server {
    /// Follows a primary from now on.
    pub fn follow(&mut self, host: String, port: u16) {
        let replicas = self.node.report(self.now).replicas;
        let is_it =
            |replica: &&ReplicaReport| replica.peer.address == host && replica.peer.port == i64::from(port);
        let held = replicas.iter().find(is_it).and_then(|replica| replica.acked);
        self.begin_to_follow(Upstream::new(host, port, false), held);
    }

    /// Leads from now on.
    pub fn promote(&mut self) {
        self.upstream = None;
        match self.node.promote(random_id(), self.now) {
            Ok(()) => {
                self.expire(); // the next command may come with this one
                info!("leads from now on");
            }
            Err(refused) => warn!("{refused}"), // once in 2^160 times
        }
    }

    /// The replica has all there is: it leads from now on, once it is asked to.
    pub fn hand_over(&mut self, replica: ReplicaKey) {
        let report = self.node.report(self.now);
        let Some(replica) = report.replicas.into_iter().find(|other| other.replica == replica) else {
            return;
        };
        info!("hands over to {}:{}", replica.peer.address, replica.peer.port);
        let port = u16::try_from(replica.peer.port).unwrap_or_default();
        let upstream = Upstream::new(replica.peer.address, port, true);
        self.begin_to_follow(upstream, Some(report.end));
    }

    /// A replica that was to take over, and does not.
    pub fn give_up_handover(&mut self) {
        if self.upstream.as_ref().is_some_and(|upstream| upstream.is_handover) {
            warn!("the replica did not take over");
            self.promote();
        }
    }

    fn abort_handover(&mut self) -> Result<(), Box<dyn Error>> {
        if self.node.report(self.now).is_handing_over {
            self.node.cancel_handover();
            self.expire();
        } else if self.upstream.as_ref().is_some_and(|upstream| upstream.is_handover) {
            self.give_up_handover();
        } else {
            return Err("ERR No failover in progress.".into());
        }
        Ok(())
    }

    /// Until the replica that is to take over has answered.
    fn is_failing_over(&self) -> bool {
        self.node.report(self.now).is_handing_over
            || self.upstream.as_ref().is_some_and(|upstream| upstream.is_handover)
    }

    fn begin_to_follow(&mut self, upstream: Upstream, held: Option<Offset>) {
        let mut config = ReplicaConfig::default();
        config.timeout = self.config.replication.replica_timeout;
        config.seed = RandomState::new().hash_one(());
        match self.node.follow(config, held, self.now) {
            Ok(()) => {
                info!("follows {}:{} from now on", upstream.host, upstream.port);
                self.upstream = Some(upstream);
            }
            Err(refused) => warn!("{refused}"),
        }
    }
}
