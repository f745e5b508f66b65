use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::Duration;

use bytes::Bytes;

/// Every connection between the primary's host and a replica: bytes in order, late, slowly, and not for ever.
#[derive(Debug, Default)]
pub(crate) struct Network {
    connections: BTreeMap<Connection, Cable>,
    opened: u64,
    /// Those that the primary's host has yet to accept.
    accepting: Vec<Connection>,
    /// Those that have carried as many bytes as they were to carry.
    worn_out: Vec<Connection>,
}

/// Names one connection; never used again.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Connection(pub(crate) u64);

/// One of the two that share a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    Primary,
    Replica,
}

/// How a connection carries bytes, the same in both directions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) delay: Duration,
    pub(crate) bytes_per_second: usize,
    /// Bytes written and not yet read, of one direction.
    pub(crate) window: usize,
}

/// What an end finds when it reads.
#[derive(Debug)]
pub(crate) enum Read {
    Bytes(Vec<u8>),
    Nothing,
    Closed,
}

#[derive(Debug)]
struct Cable {
    shape: Shape,
    to_primary: Pipe,
    to_replica: Pipe,
    /// Nothing that is written now arrives.
    is_cut: bool,
    /// Ends that have not let go of it.
    users: usize,
}

/// One direction, with what its reader has yet to take.
#[derive(Debug, Default)]
struct Pipe {
    flights: VecDeque<(Duration, Bytes)>,
    held: usize,
    /// When the last byte arrives: those behind it can't be earlier.
    last_arrival: Duration,
    wears_out_after: Option<usize>,
    /// When its reader finds it closed; `None` while nobody tells it.
    closed_at: Option<Duration>,
}

impl Network {
    /// A new connection, which breaks after so many bytes towards one end, if it is to.
    pub(crate) fn open(&mut self, shape: Shape, wears_out: Option<(End, usize)>) -> Connection {
        self.opened += 1;
        let (to_primary, to_replica) = (Pipe::default(), Pipe::default());
        let mut cable = Cable { shape, to_primary, to_replica, is_cut: false, users: 2 };
        if let Some((end, bytes)) = wears_out {
            cable.towards(end).wears_out_after = Some(bytes);
        }
        self.connections.insert(Connection(self.opened), cable);
        self.accepting.push(Connection(self.opened));
        Connection(self.opened)
    }

    pub(crate) fn has_room(&self, connection: Connection, writer: End) -> bool {
        self.connections.get(&connection).is_none_or(|cable| cable.from(writer).held < cable.shape.window)
    }

    pub(crate) fn write(
        &mut self,
        connection: Connection,
        writer: End,
        bytes: &[u8],
        now: Duration,
    ) -> io::Result<usize> {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        let cable = self.connections.get_mut(&connection).ok_or_else(broken)?;
        if cable.to(writer).closed_at.is_some_and(|at| at <= now) {
            return Err(broken());
        }
        let (shape, is_cut) = (cable.shape, cable.is_cut);
        let pipe = cable.towards(writer.other());
        let room = shape.window.saturating_sub(pipe.held).min(pipe.wears_out_after.unwrap_or(usize::MAX));
        let accepted = &bytes[..bytes.len().min(room)];
        if accepted.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if is_cut {
            pipe.held += accepted.len();
        } else {
            pipe.carry(accepted, shape, now);
        }
        if let Some(left) = &mut pipe.wears_out_after {
            *left -= accepted.len();
            if *left == 0 {
                self.worn_out.push(connection);
            }
        }
        Ok(accepted.len())
    }

    /// When `reader` will find something: bytes, or the end.
    pub(crate) fn readable_at(&self, connection: Connection, reader: End) -> Option<Duration> {
        let Some(cable) = self.connections.get(&connection) else { return Some(Duration::ZERO) };
        let pipe = cable.to(reader);
        pipe.flights.front().map(|(arrival, _)| *arrival).or(pipe.closed_at)
    }

    /// Takes at most `most` of the bytes that have arrived.
    pub(crate) fn read(&mut self, connection: Connection, reader: End, most: usize, now: Duration) -> Read {
        let Some(cable) = self.connections.get_mut(&connection) else { return Read::Closed };
        let pipe = cable.towards(reader);
        let bytes = pipe.take(most, now);
        if !bytes.is_empty() {
            Read::Bytes(bytes)
        } else if pipe.flights.is_empty() && pipe.closed_at.is_some_and(|at| at <= now) {
            Read::Closed
        } else {
            Read::Nothing
        }
    }

    pub(crate) fn take_accepting(&mut self) -> Vec<Connection> {
        std::mem::take(&mut self.accepting)
    }

    pub(crate) fn take_worn_out(&mut self) -> Vec<Connection> {
        std::mem::take(&mut self.worn_out)
    }

    /// Breaks a connection. `kept` is how many of the bytes under way still arrive, in each direction; an end
    /// that is not told goes on believing in it.
    pub(crate) fn cut(&mut self, connection: Connection, kept: usize, told: &[End], now: Duration) {
        let Some(cable) = self.connections.get_mut(&connection) else { return };
        cable.is_cut = true;
        for end in [End::Primary, End::Replica] {
            let notices_at = now + cable.shape.delay;
            let pipe = cable.towards(end);
            pipe.truncate(kept);
            pipe.wears_out_after = None;
            if told.contains(&end) && pipe.closed_at.is_none() {
                pipe.closed_at = Some(notices_at.max(pipe.last_arrival));
            }
        }
    }

    /// Has `end` close its side: the other finds out behind the bytes that are under way.
    pub(crate) fn close(&mut self, connection: Connection, end: End, now: Duration) {
        self.cut(connection, usize::MAX, &[end.other()], now);
        self.let_go(connection, end, now);
    }

    /// Has `end` vanish: the other is not told.
    pub(crate) fn abandon(&mut self, connection: Connection, end: End, now: Duration) {
        self.cut(connection, usize::MAX, &[], now);
        self.let_go(connection, end, now);
    }

    fn let_go(&mut self, connection: Connection, end: End, now: Duration) {
        let Some(cable) = self.connections.get_mut(&connection) else { return };
        cable.users -= 1;
        let pipe = cable.towards(end);
        pipe.truncate(0);
        pipe.closed_at = Some(now);
        if cable.users == 0 {
            self.connections.remove(&connection);
        }
    }

    /// Holds up what is under way, and all behind it.
    pub(crate) fn clog(&mut self, connection: Connection, until: Duration) {
        let Some(cable) = self.connections.get_mut(&connection) else { return };
        for pipe in [&mut cable.to_primary, &mut cable.to_replica] {
            pipe.last_arrival = pipe.last_arrival.max(until);
            for (arrival, _) in &mut pipe.flights {
                *arrival = until.max(*arrival);
            }
        }
    }

    /// From now on every connection is a good one, and what is under way arrives. Those that are cut stay so.
    pub(crate) fn heal(&mut self, shape: Shape, now: Duration) {
        for cable in self.connections.values_mut() {
            cable.shape = shape;
            for pipe in [&mut cable.to_primary, &mut cable.to_replica] {
                pipe.wears_out_after = None;
                pipe.last_arrival = now;
                for (arrival, _) in &mut pipe.flights {
                    *arrival = now.min(*arrival);
                }
            }
        }
    }
}

impl End {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Primary => Self::Replica,
            Self::Replica => Self::Primary,
        }
    }
}

impl Cable {
    fn to(&self, reader: End) -> &Pipe {
        match reader {
            End::Primary => &self.to_primary,
            End::Replica => &self.to_replica,
        }
    }

    fn from(&self, writer: End) -> &Pipe {
        self.to(writer.other())
    }

    fn towards(&mut self, reader: End) -> &mut Pipe {
        match reader {
            End::Primary => &mut self.to_primary,
            End::Replica => &mut self.to_replica,
        }
    }
}

impl Pipe {
    fn carry(&mut self, bytes: &[u8], shape: Shape, now: Duration) {
        let takes =
            Duration::from_nanos((bytes.len() as u64 * 1_000_000_000) / shape.bytes_per_second as u64);
        self.last_arrival = self.last_arrival.max(now + shape.delay) + takes;
        self.held += bytes.len();
        self.flights.push_back((self.last_arrival, Bytes::copy_from_slice(bytes)));
    }

    fn take(&mut self, most: usize, now: Duration) -> Vec<u8> {
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some((_, bytes)) = self.flights.front_mut().filter(|(arrival, _)| *arrival <= now)
        {
            let count = bytes.len().min(most - taken.len());
            taken.extend_from_slice(&bytes.split_to(count));
            if bytes.is_empty() {
                self.flights.pop_front();
            }
        }
        self.held -= taken.len();
        taken
    }

    fn truncate(&mut self, mut kept: usize) {
        for (_, bytes) in &mut self.flights {
            bytes.truncate(kept);
            kept -= bytes.len();
        }
        self.flights.retain(|(_, bytes)| !bytes.is_empty());
    }
}
