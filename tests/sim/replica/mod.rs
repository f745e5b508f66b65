//! What a primary sees of its replicas.

mod session;

use std::time::Duration;

use headwater::{ReplicationId, Sink};

use crate::env::Env;
use crate::fault::Fault;
use crate::model::Store;
use crate::network::{Connection, End, Read, Shape};
use crate::options;
use session::{Session, Stage};

/// A replica as seen from its primary: it speaks Redis's wire, applies whole units, and resumes from the last one.
#[derive(Debug)]
pub(crate) struct Replica {
    name: usize,
    /// By which, besides its address, the primary knows it again.
    port: usize,
    /// What it has applied; `None` before its first snapshot, and after it lost its state.
    held: Option<Held>,
    /// An older state, to be restored from.
    saved: Option<Held>,
    session: Option<Session>,
    /// When it does by itself what comes next: connects, or tells of itself.
    next_turn: Duration,
    /// Till then it does nothing at all.
    paused_until: Duration,
    /// Till then it says nothing.
    mute_until: Duration,
    /// Till then nothing more gets onto its disk.
    disk_stuck_until: Duration,
    trick: Option<Trick>,
    /// Its next request is not what it holds.
    asks_astray: bool,
}

/// The stretch of a history that was applied to a snapshot, and the data that came of it.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) id: ReplicationId,
    start: usize,
    log: Vec<u8>,
    pub(crate) store: Store,
    /// How much of it is on its disk, if it has one.
    fsynced: Option<usize>,
}

/// Something wrong to say with the next ack.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Trick {
    Lose,
    Repeat,
    GoBack,
    RunAhead,
    /// Tells of more on its disk than it has applied.
    DiskAhead,
}

impl Replica {
    pub(crate) fn new(name: usize) -> Self {
        Self {
            name,
            port: 7000 + name,
            held: None,
            saved: None,
            session: None,
            next_turn: Duration::ZERO,
            paused_until: Duration::ZERO,
            mute_until: Duration::ZERO,
            disk_stuck_until: Duration::ZERO,
            trick: None,
            asks_astray: false,
        }
    }

    /// When it has something to do.
    pub(crate) fn due(&self, env: &Env) -> Duration {
        let due = self.session.as_ref().map_or(self.next_turn, |session| {
            let readable = env.network.readable_at(session.connection, End::Replica);
            let blocked =
                session.output.is_empty() || !env.network.has_room(session.connection, End::Replica);
            let writable = (!blocked).then_some(env.now);
            [Some(self.next_turn), readable, writable].into_iter().flatten().min().unwrap_or(env.now)
        });
        due.max(self.paused_until)
    }

    pub(crate) fn act(&mut self, env: &mut Env) {
        if self.session.is_none() {
            self.connect(env);
        }
        self.read(env);
        if self.session.is_some() && env.now >= self.next_turn {
            self.take_turn(env);
        }
        self.flush(env);
    }

    pub(crate) fn held(&self) -> Option<&Held> {
        self.held.as_ref()
    }

    pub(crate) fn is_streaming(&self) -> bool {
        self.session.as_ref().is_some_and(|session| matches!(session.stage, Stage::Streaming))
    }

    pub(crate) fn connection(&self) -> Option<Connection> {
        self.session.as_ref().map(|session| session.connection)
    }

    pub(crate) fn pause(&mut self, until: Duration) {
        self.paused_until = until;
    }

    pub(crate) fn mute(&mut self, until: Duration) {
        self.mute_until = until;
    }

    pub(crate) fn stick_disk(&mut self, until: Duration) {
        self.disk_stuck_until = until;
    }

    pub(crate) fn play(&mut self, trick: Trick) {
        self.trick = Some(trick);
    }

    /// Notes its state, to be restored after a crash.
    pub(crate) fn save(&mut self) {
        self.saved = self.held.clone();
    }

    pub(crate) fn has_saved(&self) -> bool {
        self.saved.is_some()
    }

    /// Has it ask for something that it does not go on from, at once.
    pub(crate) fn ask_astray(&mut self, env: &mut Env) {
        self.asks_astray = true;
        self.leave(env.now, env);
    }

    pub(crate) fn lose_state(&mut self, back_at: Duration, env: &mut Env) {
        self.held = None;
        self.leave(back_at, env);
    }

    pub(crate) fn restore_state(&mut self, back_at: Duration, env: &mut Env) {
        self.held = self.saved.take();
        self.leave(back_at, env);
    }

    /// Closes its connection, and comes back at some time.
    pub(crate) fn leave(&mut self, back_at: Duration, env: &mut Env) {
        self.next_turn = back_at;
        if let Some(session) = self.session.take() {
            env.network.close(session.connection, End::Replica, env.now);
        }
    }

    /// Forgets its connection without a word on it: the primary goes on believing in it.
    pub(crate) fn abandon(&mut self, back_at: Duration, env: &mut Env) {
        self.next_turn = back_at;
        if let Some(session) = self.session.take() {
            env.network.abandon(session.connection, End::Replica, env.now);
        }
    }

    /// Nothing holds it up any more.
    pub(crate) fn calm(&mut self, now: Duration) {
        (self.paused_until, self.mute_until, self.disk_stuck_until) = (now, now, now);
        self.next_turn = self.next_turn.min(now + Duration::from_secs(1));
        (self.trick, self.asks_astray) = (None, false);
    }

    fn connect(&mut self, env: &mut Env) {
        let wears_out = (!env.is_calm && env.rng.chance(25)).then(|| wear(env));
        let mut shape = env.options.shape;
        if env.strikes(Fault::SlowReader, 8) {
            shape = Shape { bytes_per_second: env.rng.scaled(100..=20_000), window: 1000, ..shape };
        }
        let connection = env.network.open(shape, wears_out);
        env.note(format_args!("replica {} opens {connection:?}", self.name));
        let mut session = Session::new(connection, env.now);
        if env.strikes(Fault::PortChanged, 3) {
            self.port += 100;
        }
        session.say(&["REPLCONF", "listening-port", &self.port.to_string()]);
        // One that takes no end mark is among those of each run, and one that learns no ids.
        let capabilities: &[&str] = match self.name % 3 {
            0 => &["REPLCONF", "capa", "psync2"],
            1 => &["REPLCONF", "capa", "eof"],
            _ => &["REPLCONF", "capa", "eof", "capa", "psync2"],
        };
        session.say(capabilities);
        self.session = Some(session);
        self.next_turn = env.now;
        self.schedule_turn(env);
    }

    fn read(&mut self, env: &mut Env) {
        let Some(session) = &mut self.session else { return };
        let gulp = if env.is_calm { usize::MAX } else { env.options.gulp };
        match env.network.read(session.connection, End::Replica, gulp, env.now) {
            Read::Bytes(bytes) => {
                session.heard = env.now;
                session.input.extend(bytes);
                self.take_input(env);
            }
            Read::Nothing => {}
            Read::Closed => {
                env.note(format_args!("replica {} finds its connection closed", self.name));
                self.reconnect(env);
            }
        }
    }

    fn reconnect(&mut self, env: &mut Env) {
        let back_at = env.in_millis(1, env.options.reconnect_after);
        self.leave(back_at, env);
    }

    fn take_input(&mut self, env: &mut Env) {
        while let Some(session) = &mut self.session {
            let goes_on = match session.stage {
                Stage::Greeting | Stage::Asked { .. } => self.take_answer(env),
                Stage::Resyncing { id, start } => session.take_header(id, start),
                Stage::Sized { id, start, bytes } => match session.take_sized(bytes) {
                    Some(image) => self.load(id, start, &image, env),
                    None => false,
                },
                Stage::EndMarked { id, start, .. } => match session.take_marked() {
                    Some(image) => self.load(id, start, &image, env),
                    None => false,
                },
                Stage::Streaming => self.take_stream(env),
                Stage::Idling => return self.reconnect(env),
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Takes the answer to REPLCONF or PSYNC. Tells whether there was one.
    fn take_answer(&mut self, env: &mut Env) -> bool {
        let Some(session) = &mut self.session else { return false };
        let Some(line) = session.take_line() else { return false };
        let words: Vec<&str> = line.split(' ').collect();
        match (&session.stage, words.as_slice()) {
            // A sign of life.
            (Stage::Asked { .. }, [""]) => {}
            (Stage::Greeting, ["+OK"]) => self.on_greeted(env),
            (Stage::Asked { astray }, ["+CONTINUE", id @ ..]) => {
                let (astray, id) = (*astray, id.first().copied());
                self.on_continue(astray, id, env);
            }
            (Stage::Asked { .. }, ["+FULLRESYNC", id, offset]) => {
                let id = ReplicationId::parse(id.as_bytes()).expect("an id is told");
                session.stage = Stage::Resyncing { id, start: offset.parse().expect("an offset is told") };
            }
            _ => {
                assert!(line.starts_with('-'), "replica {} can't read the answer {line:?}", self.name);
                self.reconnect(env);
            }
        }
        true
    }

    /// The second of two answers is there before PSYNC goes out (R50).
    fn on_greeted(&mut self, env: &mut Env) {
        let Some(session) = &mut self.session else { return };
        session.greetings_due -= 1;
        if session.greetings_due > 0 {
            return;
        }
        let astray = self.asks_astray.then(|| ask_astray(env));
        self.asks_astray = false;
        let (id, next) = astray.clone().unwrap_or_else(|| match &self.held {
            Some(held) => (held.id.to_string(), (held.end() + 1).to_string()),
            None => ("?".into(), "-1".into()),
        });
        env.note(format_args!("replica {} asks PSYNC {id} {next}", self.name));
        session.say(&["PSYNC", &id, &next]);
        session.stage = Stage::Asked { astray: astray.is_some() };
    }

    /// S2: compares bytes and data, not ids.
    fn on_continue(&mut self, astray: bool, id: Option<&str>, env: &mut Env) {
        if astray {
            // Granted by what it said, which was not what it has: it keeps the primary waiting for a while.
            self.paused_until = env.in_millis(1, 20_000);
            self.session.as_mut().expect("it is connected").stage = Stage::Idling;
            return;
        }
        let held = self.held.as_mut().expect("S2: +CONTINUE needs an offset to go on from");
        if let Some(id) = id {
            held.id = ReplicationId::parse(id.as_bytes()).expect("an id is told");
        }
        assert!(env.model.agrees(held.id, held.start, &held.log), "S2: it holds other bytes");
        let digest = env.model.digest(held.id, held.end());
        assert_eq!(digest, Some(held.store.digest()), "S2: it holds other data");
        self.note_truth(env);
        self.session.as_mut().expect("it is connected").stage = Stage::Streaming;
    }

    /// S3: the image is that of the offset that was told with it. Tells whether more may have come.
    fn load(&mut self, id: ReplicationId, start: usize, image: &[u8], env: &mut Env) -> bool {
        let store = Store::decode(image).expect("S3: the image is whole");
        let digest = env.model.digest(id, start);
        assert_eq!(digest, Some(store.digest()), "S3: the image is not that of offset {start}");
        env.note(format_args!("replica {} has its snapshot of offset {start}", self.name));
        let fsynced = options::has_disk(self.name).then_some(start);
        self.held = Some(Held { id, start, log: Vec::new(), store, fsynced });
        self.note_truth(env);
        if let Some(session) = &mut self.session {
            session.stage = Stage::Streaming;
        }
        self.acknowledge(env);
        true
    }

    fn take_stream(&mut self, env: &mut Env) -> bool {
        let (Some(session), Some(held)) = (&mut self.session, &mut self.held) else { return false };
        let mut input = session.input.as_slice();
        let command = session.reader.next(&mut input).expect("S1: the stream is one of commands");
        let taken = session.input.len() - input.len();
        session.unit.extend(session.input.drain(..taken));
        let Some(command) = command else { return false };
        let args: Vec<Vec<u8>> = command.args().map(<[u8]>::to_vec).collect();
        match (args.first().map(Vec::as_slice), &mut session.transaction) {
            (Some(b"MULTI"), _) => session.transaction = Some(Vec::new()),
            (Some(b"EXEC"), Some(commands)) => {
                for command in std::mem::take(commands) {
                    held.apply(&command);
                }
                session.transaction = None;
            }
            (_, Some(commands)) => commands.push(args.clone()),
            (_, None) => held.apply(&args),
        }
        let is_request = args.first().is_some_and(|name| name == b"REPLCONF");
        if is_request {
            // The answer tells the offset before the request (R218).
            self.acknowledge(env);
        }
        self.end_unit(env);
        true
    }

    /// S5: its log grows by whole units, and its data is the primary's at each.
    fn end_unit(&mut self, env: &mut Env) {
        let (Some(session), Some(held)) = (&mut self.session, &mut self.held) else { return };
        if session.transaction.is_some() {
            return;
        }
        held.log.append(&mut session.unit);
        env.truth.note(session.connection, held.end(), held.fsynced);
        let digest = env.model.digest(held.id, held.end());
        assert_eq!(
            digest,
            Some(held.store.digest()),
            "replica {} has other data at {}",
            self.name,
            held.end()
        );
    }

    /// What it holds as it begins to take the stream, and as its disk gets on.
    fn note_truth(&self, env: &mut Env) {
        if let (Some(session), Some(held)) = (&self.session, &self.held) {
            env.truth.note(session.connection, held.end(), held.fsynced);
        }
    }

    fn sync_disk(&mut self, env: &mut Env) {
        let works = env.now >= self.disk_stuck_until && (env.is_calm || env.rng.chance(60));
        if let Some(held) = self.held.as_mut().filter(|held| works && held.fsynced.is_some()) {
            held.fsynced = Some(held.end());
        }
        self.note_truth(env);
    }

    /// An ack, a sign of life during a snapshot, or giving the primary up.
    fn take_turn(&mut self, env: &mut Env) {
        self.schedule_turn(env);
        let Some(session) = &mut self.session else { return };
        let silent = env.now - session.heard;
        let patience = match session.stage {
            Stage::Streaming => env.options.patience(),
            _ => Some(Duration::from_secs(15)),
        };
        if patience.is_some_and(|patience| silent > patience) {
            env.note(format_args!("replica {} heard nothing for {silent:?}", self.name));
            return self.reconnect(env);
        }
        match session.stage {
            Stage::Idling => self.reconnect(env),
            Stage::Greeting | Stage::Asked { .. } => {}
            Stage::Streaming => {
                self.sync_disk(env);
                self.acknowledge(env);
            }
            _ if env.strikes(Fault::AckEarly, 20) => {
                env.truth.note(session.connection, 0, None);
                session.acknowledge(0, None);
            }
            _ => session.output.put(b"\n"),
        }
    }

    fn schedule_turn(&mut self, env: &mut Env) {
        self.next_turn = env.in_millis(50, env.options.ack_every);
    }

    fn acknowledge(&mut self, env: &mut Env) {
        let (Some(session), Some(held)) = (&mut self.session, &self.held) else { return };
        if env.now < self.mute_until {
            return;
        }
        let (offset, fsynced) = (held.end(), held.fsynced);
        match self.trick.take() {
            None => session.acknowledge(offset, fsynced),
            Some(Trick::Lose) => env.journal.count(Fault::AckLost),
            Some(Trick::Repeat) => {
                env.journal.count(Fault::AckRepeated);
                session.acknowledge(offset, fsynced);
                session.acknowledge(offset, fsynced);
            }
            Some(Trick::GoBack) => {
                env.journal.count(Fault::AckBackwards);
                let behind = env.rng.scaled(0..=offset);
                session.acknowledge(behind, fsynced.map(|at| at.min(behind)));
            }
            Some(Trick::RunAhead) => {
                env.journal.count(Fault::AckAhead);
                let ahead = offset + env.rng.scaled(1..=100_000);
                env.truth.note_claim(session.connection, ahead, fsynced);
                session.acknowledge(ahead, fsynced);
            }
            Some(Trick::DiskAhead) => {
                env.journal.count(Fault::DiskAhead);
                // One that was believed to be ahead already is believed again.
                env.truth.note_claim(session.connection, offset, Some(offset + 1));
                session.acknowledge(offset, Some(offset + 1));
            }
        }
    }

    fn flush(&mut self, env: &mut Env) {
        let Some(session) = &mut self.session else { return };
        if let Ok(written) = env.write(session.connection, End::Replica, &session.output) {
            session.output.drain(..written);
        }
    }
}

impl Held {
    pub(crate) fn end(&self) -> usize {
        self.start + self.log.len()
    }

    fn apply(&mut self, args: &[Vec<u8>]) {
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        self.store.apply(&args);
    }
}

/// After how many bytes, towards whom, a connection breaks: in the handshake, the snapshot, or the stream.
fn wear(env: &mut Env) -> (End, usize) {
    let image = env.options.padding + 200;
    match env.rng.within(0..=3) {
        0 => (End::Primary, env.rng.within(1..=200)),
        1 => (End::Replica, env.rng.within(1..=80)),
        2 => (End::Replica, env.rng.within(60..=60 + image)),
        _ => (End::Replica, env.rng.within(image..=image + 10_000)),
    }
}

/// A request that is not what the asker holds: at an edge of what the primary has, or nonsense.
fn ask_astray(env: &mut Env) -> (String, String) {
    env.journal.count(Fault::AskedAstray);
    if env.rng.chance(15) {
        return nonsense(env);
    }
    // The next byte wanted: one more than the offset held, which is at the edge, or next to it.
    let next = env.rng.pick(&env.edges) + env.rng.pick(&[0, 1, 1, 2]);
    (env.model.id().to_string(), next.to_string())
}

fn nonsense(env: &mut Env) -> (String, String) {
    let id = ReplicationId::from_random(env.rng.array()).to_string();
    let own = env.model.id().to_string();
    let requests =
        [(&*id, "1"), (&*own, "0"), (&*own, "-7"), (&own[1..], "5"), (&*own, "9223372036854775807")];
    let (id, next) = env.rng.pick(&requests);
    (id.into(), next.into())
}
