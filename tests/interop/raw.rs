use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// A connection that sends any bytes, and reads replies line by line.
pub(crate) struct RawClient(BufReader<TcpStream>);

impl RawClient {
    pub(crate) fn connect(port: u16) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the server accepts clients");
        stream.set_read_timeout(Some(READ_TIMEOUT)).expect("the timeout is not zero");
        Self(BufReader::new(stream))
    }

    /// Sends `bytes`; a server that has closed already shows in the next read.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.0.get_mut().write_all(bytes.as_ref());
    }

    /// Sends `command` with CRLF, and returns the line that answers it.
    #[track_caller]
    pub(crate) fn ask(&mut self, command: &str) -> String {
        self.send(format!("{command}\r\n"));
        self.line()
    }

    /// The value that CONFIG GET tells.
    #[track_caller]
    pub(crate) fn setting(&mut self, name: &str) -> String {
        assert_eq!(self.ask(&format!("CONFIG GET {name}")), "*2");
        [(); 4].map(|()| self.line())[3].clone()
    }

    /// The next line without its CRLF; empty lines, a waiting replica's keep-alives, are skipped.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            let read = self.0.read_line(&mut line).expect("a line comes");
            assert_ne!(read, 0, "the server closed instead of answering");
            if !line.trim_end().is_empty() {
                return line.trim_end().to_owned();
            }
        }
    }

    #[track_caller]
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).expect("that many bytes come");
        bytes
    }

    /// Reads a snapshot that is announced by its length (R84).
    #[track_caller]
    pub(crate) fn snapshot(&mut self) -> Vec<u8> {
        let header = self.line();
        let length = header.strip_prefix('$').and_then(|length| length.parse().ok());
        self.bytes(length.unwrap_or_else(|| panic!("no snapshot but {header}")))
    }

    /// Reads a snapshot that is followed by the mark that announces it (R85), and returns it without that.
    #[track_caller]
    pub(crate) fn end_marked_snapshot(&mut self) -> Vec<u8> {
        let header = self.line();
        let mark =
            header.strip_prefix("$EOF:").unwrap_or_else(|| panic!("no end mark but {header}")).as_bytes();
        let mut snapshot = Vec::new();
        while !snapshot.ends_with(mark) {
            snapshot.extend(self.bytes(1));
        }
        snapshot.truncate(snapshot.len() - mark.len());
        snapshot
    }

    pub(crate) fn has_nothing_to_read(&self) -> bool {
        let socket = self.0.get_ref();
        socket.set_nonblocking(true).expect("the socket is open");
        let peeked = socket.peek(&mut [0]).map_err(|error| error.kind());
        socket.set_nonblocking(false).expect("the socket is open");
        self.0.buffer().is_empty() && peeked == Err(ErrorKind::WouldBlock)
    }

    /// All that comes until the server closes; `None` where it keeps the connection open.
    pub(crate) fn rest(&mut self) -> Option<String> {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            // A server that closes with input unread resets the connection.
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
            Ok(_) => {}
        }
        Some(String::from_utf8_lossy(&rest).into_owned())
    }
}

/// Longer than a loaded machine takes to answer.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
