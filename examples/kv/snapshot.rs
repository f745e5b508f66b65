use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use headwater::wire::{self, EndMark};
use headwater::{Cut, ReplicaKey, SnapshotKey};
use tokio::io::{AsyncWriteExt as _, BufWriter};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::task;
use tracing::info;

use crate::connection::ToServer;
use crate::rdb;
use crate::server::{Message, random_bytes};
use crate::store::View;

/// What a snapshot is sent from, to any number of replicas.
#[derive(Clone)]
pub enum Image {
    /// Encoded while it is sent, so its length is not known: an end mark follows it.
    View(Arc<View>),
    File(Arc<File>, u64),
}

/// One replica's snapshot, for its connection to send.
pub struct Transfer {
    pub replica: ReplicaKey,
    pub cut: Cut,
    /// Whether it sent PSYNC: one that sent SYNC is told nothing but the snapshot (R62).
    pub asked_by_psync: bool,
    pub image: Image,
}

impl Transfer {
    /// Sends it, and tells the server so now and then, and the log.
    pub async fn send(&self, socket: &mut OwnedWriteHalf, server: &ToServer) -> io::Result<()> {
        let Self { replica, cut, .. } = self;
        let (header, trailer) = self.frame();
        let mut socket = BufWriter::with_capacity(PORTION, socket);
        socket.write_all(&header).await?;
        let (mut sent, mut told) = (0_u64, Instant::now());
        for part in self.image.parts() {
            for portion in part?.chunks(PORTION) {
                socket.write_all(portion).await?;
                sent += portion.len() as u64;
                if told.elapsed() >= PROGRESS_PERIOD {
                    told = Instant::now();
                    info!("{}: sent {} MB to {replica}", cut.snapshot, sent / 1_000_000);
                    let _ = server.send(Message::SnapshotProgress(*replica, sent)).await;
                }
            }
        }
        socket.write_all(&trailer).await?;
        socket.flush().await?;
        info!("{}: sent all {sent} bytes to {replica}", cut.snapshot);
        let _ = server.send(Message::SnapshotSent(*replica)).await;
        Ok(())
    }

    /// What comes before and after the RDB.
    fn frame(&self) -> (BytesMut, BytesMut) {
        let (mut header, mut trailer) = (BytesMut::new(), BytesMut::new());
        if self.asked_by_psync {
            wire::put_full_resync(&mut header, &self.cut);
        }
        match &self.image {
            Image::File(_, len) => wire::put_snapshot_len(&mut header, *len),
            Image::View(_) => {
                let mark = EndMark::from_random(random_bytes());
                wire::put_end_mark_header(&mut header, &mark);
                wire::put_end_mark(&mut trailer, &mark);
            }
        }
        (header, trailer)
    }
}

impl Image {
    fn parts(&self) -> Box<dyn Iterator<Item = io::Result<Vec<u8>>> + Send + '_> {
        match self {
            Self::View(view) => Box::new(rdb::encode(view).map(Ok)),
            Self::File(file, len) => Box::new((0..*len).step_by(PORTION).map(move |at| {
                let mut portion = vec![0; PORTION.min(usize::try_from(len - at).unwrap_or(PORTION))];
                task::block_in_place(|| file.read_exact_at(&mut portion, at)).map(|()| portion)
            })),
        }
    }
}

/// Writes the RDB to a file without a name, which is gone when nobody needs it any more.
///
/// Gives up when no one else has the view: the snapshot is over.
pub fn write_file(dir: &Path, view: &Arc<View>, snapshot: SnapshotKey) -> io::Result<Image> {
    let path = dir.join(format!("temp-{}-{snapshot}.rdb", std::process::id()).replace(' ', "-"));
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    fs::remove_file(&path)?;
    let mut out = io::BufWriter::with_capacity(PORTION, file);
    let mut written = 0;
    for part in rdb::encode(view) {
        out.write_all(&part)?;
        written += part.len() as u64;
        if Arc::strong_count(view) == 1 {
            return Err(io::Error::other("nobody waits for it"));
        }
    }
    info!("{snapshot}: wrote {written} bytes");
    Ok(Image::File(Arc::new(out.into_inner()?), written))
}

/// Bytes read or sent at once.
const PORTION: usize = 64 << 10;
/// Below any `repl-timeout`.
const PROGRESS_PERIOD: Duration = Duration::from_millis(500);
