use std::io;
use std::sync::Arc;

use headwater::wire::ClientLimits;
use headwater::{
    Cut, Event, Framing, MinReplicas, NotEnoughReplicas, OutputLimit, ReplicaKey, ReplicationId, SnapshotKey,
    SoftLimit, SyncForecast,
};
use tokio::task;
use tracing::{info, warn};

use crate::connection::Output;
use crate::server::{Message, Server, random_bytes};
use crate::snapshot::{Image, Transfer, write_file};

impl Server {
    /// Does what the primary asks for.
    pub fn act_on(&mut self, event: Event) {
        match event {
            Event::WaitEnded { waiter, end } => self.finish_wait(waiter.tag().0, &end),
            Event::Dropped { replica, reason } => {
                warn!("{replica} is dropped: {reason}");
                if let Some(client) = self.clients.remove(&replica.tag().0) {
                    client.link.task.abort();
                }
            }
            Event::SnapshotOver { snapshot } => drop(self.images.remove(&snapshot)),
            Event::HistoryChanged { id } => info!("a new history begins: {id}"),
            // Refused only if it is the current one: once in 2^160 times.
            Event::IdWanted => drop(self.primary.supply_id(ReplicationId::from_random(random_bytes()))),
            Event::GateClosed(refused) => self.log_gate(Err(refused)),
            Event::GateOpened { good } => self.log_gate(Ok(good)),
            Event::SyncUnlikely(forecast) => self.log_forecast(&forecast),
            Event::SnapshotWanted { all_take_end_mark, .. } => self.begin_snapshot(all_take_end_mark),
            Event::SendSnapshot { replica, cut, .. } => self.send_snapshot(replica, cut),
            Event::KeepAlive(replica) => self.tell(replica, Output::KeepAlive),
            Event::Send(replica) => {
                if let Ok(Some(batch)) = self.primary.take_batch(replica, self.now) {
                    self.tell(replica, Output::Stream(batch));
                }
            }
            _ => {}
        }
    }

    fn log_gate(&self, verdict: Result<usize, NotEnoughReplicas>) {
        let MinReplicas { to_write, max_lag } = self.config.replication.min_replicas;
        let settings =
            format!("min-replicas-to-write {to_write}, min-replicas-max-lag {}", max_lag.as_secs());
        match verdict {
            Ok(good) => info!("writes are let in again, good replicas: {good} ({settings})"),
            Err(refused) => warn!("writes are refused: {refused} ({settings})"),
        }
    }

    fn log_forecast(&self, forecast: &SyncForecast) {
        let remedy = forecast.needed.map(|needed| {
            let limits = ClientLimits { replica: with_room(needed), ..self.config.output_limits };
            format!(" (with a quarter to spare: client-output-buffer-limit \"{limits}\")")
        });
        warn!("the next sync is expected to fail: {forecast}{}", remedy.unwrap_or_default());
    }

    /// Takes a view of the data, to be sent as it is, or by way of a file.
    fn begin_snapshot(&mut self, all_take_end_mark: bool) {
        let diskless = all_take_end_mark && self.config.diskless_sync;
        let framing = if diskless { Framing::EndMarked } else { Framing::Sized };
        let image = headwater::Image { framing, replayable: true, size: Some(self.data.store.bytes()) };
        let cut = match self.primary.begin_snapshot(image, self.now) {
            Ok(cut) => cut,
            Err(refused) => return warn!("{refused}"), // the event comes again
        };
        info!("{} begins: {} keys, at offset {}", cut.snapshot, self.data.store.len(), cut.offset);
        let view = Arc::new(self.data.store.view());
        self.images.insert(cut.snapshot, Image::View(view.clone()));
        if diskless {
            let _ = self.primary.handle_snapshot_ready(cut.snapshot, self.now);
            return;
        }
        let (dir, server) = (self.config.dir.clone(), self.sender.clone());
        task::spawn_blocking(move || {
            let written = write_file(&dir, &view, cut.snapshot);
            let _ = server.blocking_send(Message::FileWritten(cut.snapshot, written));
        });
    }

    pub fn take_file(&mut self, snapshot: SnapshotKey, written: io::Result<Image>) {
        let Some(image) = self.images.get_mut(&snapshot) else { return };
        let _ = match written.map(|file| *image = file) {
            Ok(()) => self.primary.handle_snapshot_ready(snapshot, self.now),
            Err(error) => {
                warn!("{snapshot} can't be written: {error}");
                self.primary.handle_snapshot_failed(snapshot, self.now)
            }
        };
    }

    fn send_snapshot(&mut self, replica: ReplicaKey, cut: Cut) {
        let Some(client) = self.clients.get(&replica.tag().0) else { return };
        let Some(image) = self.images.get(&cut.snapshot).cloned() else { return };
        let transfer = Transfer { replica, cut, asked_by_psync: client.peer.acks, image };
        let _ = client.link.outputs.send(Output::Snapshot(transfer));
    }

    /// Hands something to a replica's writer. One that is gone says so itself.
    fn tell(&self, replica: ReplicaKey, output: Output) {
        if let Some(client) = self.clients.get(&replica.tag().0) {
            let _ = client.link.outputs.send(output);
        }
    }
}

/// The next sync may take longer than the one that the forecast is by, or more may be written.
fn with_room(OutputLimit { hard, soft }: OutputLimit) -> OutputLimit {
    let with_room =
        |SoftLimit { bytes, lasting }| SoftLimit { bytes, lasting: lasting.saturating_add(lasting / 4) };
    OutputLimit { hard: hard.map(|bytes| bytes.saturating_add(bytes / 4)), soft: soft.map(with_room) }
}
