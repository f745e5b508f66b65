use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A relay between a replica and its primary that breaks their links on request.
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Listens on a port of its own and passes connections on to `primary`, a local port.
    pub(crate) fn start(primary: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port is free");
        let port = listener.local_addr().expect("the listener is bound").port();
        let shared = Arc::new(Shared { primary, ..Shared::default() });
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.accept(&listener)
        });
        Self { port, shared, acceptor: Some(acceptor) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Connections passed on so far.
    pub(crate) fn connections(&self) -> u64 {
        self.shared.links().connections
    }

    /// Closes all links now, wherever their streams are; returns how many there were.
    pub(crate) fn cut(&self) -> usize {
        self.shared.links().cut()
    }

    /// Closes all links once `bytes` more have passed from the primary to the replica.
    pub(crate) fn cut_after(&self, bytes: usize) {
        self.shared.links().allow_only(bytes, false);
    }

    /// As [`Proxy::cut_after`], and refuses new ones until [`Proxy::end_outage`].
    pub(crate) fn begin_outage_after(&self, bytes: usize) {
        self.shared.links().allow_only(bytes, true);
    }

    /// Closes all links and refuses new ones until [`Proxy::end_outage`].
    pub(crate) fn begin_outage(&self) {
        let mut links = self.shared.links();
        links.refused = true;
        links.cut();
    }

    /// Lets so many bytes a second pass from the primary to each replica; `None` is all.
    pub(crate) fn cap(&self, bytes_per_second: Option<f64>) {
        self.shared.links().cap = bytes_per_second;
    }

    pub(crate) fn end_outage(&self) {
        self.shared.links().refused = false;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.begin_outage();
        self.shared.links().closed = true;
        // The connection wakes the acceptor, which then sees `closed`.
        let woken = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok();
        if let Some(acceptor) = self.acceptor.take().filter(|_| woken) {
            // It has panicked at worst, and then has said so.
            let _ = acceptor.join();
        }
    }
}

#[derive(Default)]
struct Shared {
    primary: u16,
    links: Mutex<Links>,
}

impl Shared {
    fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().expect("nothing panics under this lock")
    }

    fn accept(self: Arc<Self>, listener: &TcpListener) {
        while let Ok((replica, _)) = listener.accept() {
            if self.links().closed {
                return;
            }
            // A primary that is down looks like one that closes at once.
            let Ok(primary) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.primary)) else { continue };
            let opened = self.links().open(&replica, &primary);
            if let Some(link) = opened {
                self.relay(link, replica, primary);
            }
        }
    }

    /// Copies both ways, each in a thread that ends when the link does.
    fn relay(self: &Arc<Self>, link: u64, replica: TcpStream, primary: TcpStream) {
        for stream in [&replica, &primary] {
            stream.set_nodelay(true).expect("the socket is open");
        }
        let (mut from_replica, mut to_primary) = (clone(&replica), clone(&primary));
        let shared = Arc::clone(self);
        thread::spawn(move || {
            // An error is the end of the link too.
            let _ = std::io::copy(&mut from_replica, &mut to_primary);
            shared.links().close(link);
        });
        let shared = Arc::clone(self);
        thread::spawn(move || {
            shared.copy_stream(primary, replica);
            shared.links().close(link);
        });
    }

    fn copy_stream(&self, mut primary: TcpStream, mut replica: TcpStream) {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = primary.read(&mut buffer) {
            let allowed = self.links().allow(read);
            if replica.write_all(&buffer[..allowed]).is_err() {
                return;
            }
            self.links().cut_if_spent();
            let cap = self.links().cap;
            if let Some(bytes_per_second) = cap {
                let bytes = u32::try_from(read).expect("the buffer is small");
                thread::sleep(Duration::from_secs_f64(f64::from(bytes) / bytes_per_second));
            }
        }
    }
}

#[derive(Default)]
struct Links {
    open: BTreeMap<u64, [TcpStream; 2]>,
    connections: u64,
    refused: bool,
    closed: bool,
    /// How many more bytes may pass from the primary before all links are cut.
    allowance: Option<usize>,
    /// Whether an outage begins with that cut.
    then_refuses: bool,
    /// Bytes a second from the primary to each replica.
    cap: Option<f64>,
}

impl Links {
    /// Registers a link, unless there is an outage.
    fn open(&mut self, replica: &TcpStream, primary: &TcpStream) -> Option<u64> {
        if self.refused {
            return None;
        }
        self.connections += 1;
        self.open.insert(self.connections, [clone(replica), clone(primary)]);
        Some(self.connections)
    }

    fn close(&mut self, link: u64) {
        for stream in self.open.remove(&link).into_iter().flatten() {
            // It fails where the other side has closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn cut(&mut self) -> usize {
        let links: Vec<u64> = self.open.keys().copied().collect();
        for link in &links {
            self.close(*link);
        }
        links.len()
    }

    fn allow_only(&mut self, bytes: usize, then_refuses: bool) {
        assert!(bytes > 0, "`cut` cuts now");
        self.allowance = Some(bytes);
        self.then_refuses = then_refuses;
    }

    fn allow(&mut self, read: usize) -> usize {
        let Some(allowance) = &mut self.allowance else { return read };
        let allowed = read.min(*allowance);
        *allowance -= allowed;
        allowed
    }

    fn cut_if_spent(&mut self) {
        if self.allowance == Some(0) {
            self.allowance = None;
            self.refused |= self.then_refuses;
            self.cut();
        }
    }
}

fn clone(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("the process may open more files")
}
