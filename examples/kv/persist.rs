use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::process;
use std::sync::{Arc, Mutex};

use headwater::{Lost, ResumePoint};
use tokio::task;
use tracing::{info, warn};

use crate::commands::{Answer, SYNTAX, is};
use crate::config::Config;
use crate::load::{self, Dump, Entry};
use crate::rdb::{self, Frozen};
use crate::reply::Reply;
use crate::server::{Message, Server};
use crate::snapshot::PORTION;
use crate::store::Store;

/// What was saved: the data, and its place in its history if it is told.
pub struct Restored {
    pub store: Store,
    pub held: Option<ResumePoint>,
}

/// Loads the file that was saved, if the settings name a directory and there is one.
pub fn restore(config: &Config) -> Result<Restored, Box<dyn Error>> {
    let nothing = Restored { store: Store::new(), held: None };
    let Some(path) = config.dir.as_ref().map(|dir| dir.join(FILE)) else { return Ok(nothing) };
    let image = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(nothing),
        image => image.map_err(|error| format!("{}: {error}", path.display()))?,
    };
    let restored = load(&image).map_err(|error| format!("{}: {error}", path.display()))?;
    info!("loaded {} keys from {}", restored.store.len(), path.display());
    Ok(restored)
}

/// Loads an RDB.
pub fn load(image: &[u8]) -> Result<Restored, Box<dyn Error>> {
    let Dump { entries, replication } = load::load(image)?;
    let mut store = Store::new();
    for Entry { key, value, expires_at } in entries {
        store.set(&key, value.into(), expires_at);
    }
    // A stream that writes to another database can't be gone on with.
    let held = replication.filter(|(_, db)| *db == 0).map(|(held, _)| held);
    Ok(Restored { store, held })
}

impl Server {
    pub fn frozen(&self) -> Arc<Frozen> {
        Arc::new(Frozen { view: self.data.store.view(), held: self.node.held() })
    }

    /// Serves SAVE.
    pub fn save(&mut self) -> Result<(), Box<dyn Error>> {
        self.refuse_second_save()?;
        let (dir, frozen) = (self.config.work_dir(), self.frozen());
        task::block_in_place(|| write(dir, &frozen)).map_err(|error| format!("ERR {error}").into())
    }

    /// Serves BGSAVE.
    pub fn begin_save(&mut self, args: &[&[u8]]) -> Answer {
        if !args.iter().all(|word| is(word, "schedule")) {
            return Err(SYNTAX.into());
        }
        self.refuse_second_save()?;
        self.is_saving = true;
        let (dir, frozen, server) = (self.config.work_dir().to_owned(), self.frozen(), self.sender.clone());
        task::spawn_blocking(move || {
            let saved = write(&dir, &frozen);
            let _ = server.blocking_send(Message::Saved(saved));
        });
        Ok(Reply::Simple("Background saving started"))
    }

    pub fn end_save(&mut self, saved: io::Result<()>) {
        self.is_saving = false;
        if let Err(error) = saved {
            warn!("the data is not saved: {error}");
        }
    }

    /// Serves SHUTDOWN: saves if there is a place for it, and ends.
    pub fn shut_down(&mut self, args: &[&[u8]]) -> Result<(), Box<dyn Error>> {
        if !args.iter().all(|word| SHUTDOWN_OPTIONS.iter().any(|option| is(word, option))) {
            return Err(SYNTAX.into());
        }
        let has = |option| args.iter().any(|word| is(word, option));
        let is_wanted = has("save") || self.config.dir.is_some() && !has("nosave");
        if is_wanted && let Err(error) = write(self.config.work_dir(), &self.frozen()) {
            warn!("the data is not saved: {error}");
            if !has("force") {
                return Err("ERR Errors trying to SHUTDOWN. Check logs.".into());
            }
        }
        info!("ends by a client's SHUTDOWN");
        process::exit(0)
    }

    fn refuse_second_save(&self) -> Result<(), &'static str> {
        if self.is_saving { Err("ERR Background save already in progress") } else { Ok(()) }
    }

    /// Keeps what was written here alone, and is replaced by what the new primary has.
    pub fn keep_lost(&self, lost: &Lost) {
        let from = lost.held.max(lost.kept_from).unwrap_or(lost.end);
        let known = lost
            .held
            .map_or("any number".to_owned(), |held| lost.end.bytes_since(held).unwrap_or(0).to_string());
        let bytes = self.node.read_kept(from).map(|kept| kept.to_bytes(usize::MAX));
        let saved =
            self.config.dir.as_ref().map(|dir| dir.join(format!("lost-{from}.resp"))).and_then(|path| {
                fs::write(&path, bytes.as_ref()?).ok()?;
                Some(format!(", saved from offset {from} in {}", path.display()))
            });
        warn!("the new primary may lack the last {known} bytes written here{}", saved.unwrap_or_default());
    }
}

/// Puts the data in the place of what was saved before, in one step.
fn write(dir: &Path, frozen: &Frozen) -> io::Result<()> {
    // SHUTDOWN comes while BGSAVE writes, and has the newer data.
    let _one_at_a_time = WRITING.lock();
    let temporary = dir.join(format!("temp-{}.rdb", process::id()));
    let mut out = io::BufWriter::with_capacity(PORTION, File::create(&temporary)?);
    for part in rdb::encode(frozen) {
        out.write_all(&part)?;
    }
    out.into_inner()?.sync_all()?;
    fs::rename(&temporary, dir.join(FILE))?;
    File::open(dir)?.sync_all()?;
    info!("saved {} keys", frozen.view.iter().map(|shard| shard.len()).sum::<usize>());
    Ok(())
}

static WRITING: Mutex<()> = Mutex::new(());
const FILE: &str = "dump.rdb";
const SHUTDOWN_OPTIONS: [&str; 4] = ["save", "nosave", "now", "force"];
