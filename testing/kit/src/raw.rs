//! A client that sends exactly the bytes it is given.

use crate::PATIENCE;
use crate::response::{Response, parse_fields, parse_head};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// More than any answer of a test.
const BYTES_MAX: usize = 512 << 20;

/// A connection.
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// A connection from an address of this machine.
#[track_caller]
pub(crate) fn socket_from(source: Ipv4Addr, address: SocketAddr) -> TcpStream {
    let connect = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        socket.connect_timeout(&address.into(), PATIENCE)?;
        Ok(socket.into())
    };
    connect().unwrap_or_else(|error: std::io::Error| panic!("{address} from {source}: {error}"))
}

impl RawClient {
    /// Connects.
    ///
    /// # Panics
    /// When it cannot.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect_timeout(&address, PATIENCE).unwrap_or_else(|error| panic!("{address}: {error}")))
    }

    /// Connects from another address of this machine, such as 127.0.0.2.
    ///
    /// # Panics
    /// When it cannot.
    #[track_caller]
    pub fn connect_from(source: Ipv4Addr, address: SocketAddr) -> Self {
        Self::over(socket_from(source, address))
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a socket can be set up");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket can be set up");
        Self { stream, unread: Vec::new() }
    }

    /// Sends bytes. A connection that the gateway has closed takes none; what it answered before is read all the same.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _closed = self.stream.write_all(bytes.as_ref());
        self
    }

    /// Sends bytes, and says whether the connection took them all.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Says that nothing more will be sent (half-close).
    pub fn finish(&mut self) -> &mut Self {
        let _closed = self.stream.shutdown(Shutdown::Write);
        self
    }

    /// Ends the connection with a reset.
    ///
    /// # Panics
    /// When the socket cannot be set up so.
    pub fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("a socket can be set up");
    }

    /// Makes the receive buffer small, so that a client that does not read is felt soon.
    ///
    /// # Panics
    /// When the socket cannot be set up so.
    pub fn receive_little(&mut self, bytes: usize) {
        SockRef::from(&self.stream).set_recv_buffer_size(bytes).expect("a socket can be set up");
    }

    /// Our own address.
    ///
    /// # Panics
    /// When the system does not tell.
    pub fn local_address(&self) -> SocketAddr {
        self.stream.local_addr().expect("a socket has an address")
    }

    /// Reads one response to anything but HEAD.
    ///
    /// # Panics
    /// When none comes, or one that is not well-formed.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        self.response_to("GET").unwrap_or_else(|| panic!("no response; unread: {:?}", String::from_utf8_lossy(&self.unread)))
    }

    /// Reads one response to a request of this method; `None` if the connection ended instead.
    ///
    /// # Panics
    /// When nothing happens, or what comes is not well-formed or not whole.
    #[track_caller]
    pub fn response_to(&mut self, method: &str) -> Option<Response> {
        let head = loop {
            if let Some(end) = find(&self.unread, b"\r\n\r\n") {
                break self.take(end + 4);
            }
            if !self.more(PATIENCE) {
                assert!(self.unread.is_empty(), "a response was cut off in its head: {:?}", String::from_utf8_lossy(&self.unread));
                return None;
            }
        };
        let mut response = parse_head(&head);
        let (chunked, length) =
            (response.field("transfer-encoding").is_some(), response.field("content-length").map(str::to_owned));
        if method == "HEAD" || matches!(response.status, 100..=199 | 204 | 304) {
            return Some(response);
        }
        match (chunked, length) {
            (true, None) => self.read_chunks(&mut response),
            (false, Some(length)) => response.body = self.exactly(length.parse().expect("a length is a number")),
            (false, None) => response.body = self.rest(),
            (true, Some(_)) => panic!("a response with two lengths:\n{}", response.head),
        }
        Some(response)
    }

    /// Reads only the head of a response.
    ///
    /// # Panics
    /// When none comes.
    #[track_caller]
    pub fn response_head(&mut self) -> Response {
        parse_head(&self.until(b"\r\n\r\n"))
    }

    /// Reads up to and with a mark.
    ///
    /// # Panics
    /// When it does not come.
    #[track_caller]
    pub fn until(&mut self, mark: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = find(&self.unread, mark) {
                return self.take(at + mark.len());
            }
            let more = self.more(PATIENCE);
            assert!(more, "ended before {:?}; got {:?}", String::from_utf8_lossy(mark), String::from_utf8_lossy(&self.unread));
        }
    }

    /// Reads so many bytes.
    ///
    /// # Panics
    /// When they do not come.
    #[track_caller]
    pub fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            let more = self.more(PATIENCE);
            assert!(more, "cut off after {} of {count} bytes", self.unread.len());
        }
        self.take(count)
    }

    /// Reads to the end of the connection.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        while self.more(PATIENCE) {}
        std::mem::take(&mut self.unread)
    }

    /// Every response until the connection ends.
    ///
    /// # Panics
    /// When it does not end, or something comes that is not well-formed.
    #[track_caller]
    pub fn responses(&mut self) -> Vec<Response> {
        std::iter::from_fn(|| self.response_to("GET")).collect()
    }

    /// Whether the connection ends within a time, whatever comes before.
    pub fn ends_within(&mut self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            match self.read(left) {
                Ok(0) => return true,
                Ok(_) => self.unread.clear(),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return false,
                Err(_) => return true,
            }
        }
        false
    }

    fn read_chunks(&mut self, response: &mut Response) {
        loop {
            let line = self.until(b"\r\n");
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            let size = usize::from_str_radix(&text, 16).unwrap_or_else(|error| panic!("not a chunk size: `{text}`: {error}"));
            if size == 0 {
                break;
            }
            response.body.extend(self.exactly(size));
            response.chunks.push(size);
            assert_eq!(self.exactly(2), b"\r\n", "the end of a chunk");
        }
        let mut lines = Vec::new();
        loop {
            let line = String::from_utf8_lossy(&self.until(b"\r\n")).trim_end().to_owned();
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        response.trailers = parse_fields(lines.iter().map(String::as_str));
    }

    /// Reads more; false at the end of the connection.
    #[track_caller]
    fn more(&mut self, within: Duration) -> bool {
        match self.read(within) {
            Ok(count) => count > 0,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing came for {} s; unread: {:?}", within.as_secs(), String::from_utf8_lossy(&self.unread));
            }
            Err(_) => false,
        }
    }

    fn read(&mut self, within: Duration) -> std::io::Result<usize> {
        let mut bytes = [0; 65_536];
        self.stream.set_read_timeout(Some(within.max(Duration::from_millis(1))))?;
        let count = self.stream.read(&mut bytes)?;
        self.unread.extend(bytes.iter().take(count));
        assert!(self.unread.len() < BYTES_MAX, "an answer without end");
        Ok(count)
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let rest = self.unread.split_off(count);
        std::mem::replace(&mut self.unread, rest)
    }
}

/// Sends a request on a connection of its own and reads every response until the connection ends.
///
/// # Panics
/// When the connection does not end.
#[track_caller]
pub fn ask(address: SocketAddr, request: impl AsRef<[u8]>) -> Vec<Response> {
    RawClient::connect(address).send(request).responses()
}

/// Gets a path of a host on a connection of its own.
///
/// # Panics
/// When no response comes.
#[track_caller]
pub fn get(address: SocketAddr, host: &str, path: &str) -> Response {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    RawClient::connect(address).send(request).response()
}

/// As [`get`], from a server that may not be there yet, or no more.
pub(crate) fn try_get(address: SocketAddr, host: &str, path: &str) -> Option<Response> {
    let mut client = RawClient::over(TcpStream::connect_timeout(&address, PATIENCE).ok()?);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).response_to("GET")
}

pub(crate) fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    bytes.windows(mark.len()).position(|window| window == mark)
}
