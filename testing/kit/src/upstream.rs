//! An upstream in this process that remembers every byte it was sent, and answers as a test wants it to.

use crate::raw::find;
use crate::{PATIENCE, holds};
use socket2::SockRef;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

#[derive(Debug, Default)]
struct Seen {
    requests: Mutex<Vec<Vec<u8>>>,
    bytes: AtomicUsize,
    connections: AtomicUsize,
    ended: AtomicUsize,
    stopped: AtomicBool,
}

/// The upstream.
#[derive(Debug)]
pub struct Witness {
    address: SocketAddr,
    seen: Arc<Seen>,
}

impl Witness {
    /// Answers each whole request with these bytes, on connections that stay open.
    pub fn answering(response: impl Into<Vec<u8>>) -> Self {
        let response = response.into();
        Self::scripted(move |side| while side.request().is_some() && side.write(&response) {})
    }

    /// Answers each whole request with 200 and `ok`.
    pub fn ok() -> Self {
        Self::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    }

    /// Runs `script` for each connection, in a thread of its own; the connection ends with it.
    ///
    /// # Panics
    /// When there is no port.
    pub fn scripted(script: impl Fn(&mut UpstreamSide) + Send + Sync + 'static) -> Self {
        Self::scripted_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), script)
    }

    /// As [`Witness::answering`], on an address of one's choice.
    ///
    /// # Panics
    /// When it cannot be listened on.
    pub fn answering_on(address: SocketAddr, response: impl Into<Vec<u8>>) -> Self {
        let response = response.into();
        Self::scripted_on(address, move |side| while side.request().is_some() && side.write(&response) {})
    }

    /// As [`Witness::scripted`], on an address of one's choice.
    ///
    /// # Panics
    /// When it cannot be listened on.
    pub fn scripted_on(address: SocketAddr, script: impl Fn(&mut UpstreamSide) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).expect("an address can be listened on");
        // Hundreds of connections at once find a place in the queue, on a machine however busy.
        socket2::SockRef::from(&listener).listen(4096).expect("a longer queue");
        let address = listener.local_addr().expect("a listener has an address");
        let seen = Arc::new(Seen::default());
        let (all, script) = (Arc::clone(&seen), Arc::new(script));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if all.stopped.load(Ordering::Acquire) {
                    return;
                }
                all.connections.fetch_add(1, Ordering::AcqRel);
                let mut side = UpstreamSide { stream, seen: Arc::clone(&all), unread: Vec::new() };
                let script = Arc::clone(&script);
                thread::spawn(move || {
                    script(&mut side);
                    side.seen.ended.fetch_add(1, Ordering::AcqRel);
                });
            }
        });
        Self { address, seen }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every whole request, as bytes: head and body with its framing.
    pub fn requests(&self) -> Vec<Vec<u8>> {
        self.seen.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The whole requests as text.
    pub fn texts(&self) -> Vec<String> {
        self.requests().iter().map(|request| String::from_utf8_lossy(request).into_owned()).collect()
    }

    /// The only request, as text.
    ///
    /// # Panics
    /// When there is not exactly one.
    #[track_caller]
    pub fn sole_text(&self) -> String {
        let mut texts = self.texts();
        assert_eq!(texts.len(), 1, "{texts:#?}");
        texts.remove(0)
    }

    /// How many bytes it was sent in all.
    pub fn bytes(&self) -> usize {
        self.seen.bytes.load(Ordering::Acquire)
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Acquire)
    }

    /// Waits until every connection has ended.
    ///
    /// # Panics
    /// When one does not.
    #[track_caller]
    pub fn all_ended(&self) {
        holds("the end of every connection to the upstream", || self.seen.ended.load(Ordering::Acquire) == self.connections());
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.seen.stopped.store(true, Ordering::Release);
        // Wakes the listening thread, which then ends. If it cannot be woken it ends with the process.
        let _woken = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

/// The upstream's side of one connection.
#[derive(Debug)]
pub struct UpstreamSide {
    stream: TcpStream,
    seen: Arc<Seen>,
    unread: Vec<u8>,
}

impl UpstreamSide {
    /// Reads a whole request, head and body; `None` if the connection ended before.
    pub fn request(&mut self) -> Option<Vec<u8>> {
        let mut request = self.head()?;
        let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
        if text.contains("\r\ntransfer-encoding: chunked\r\n") {
            let body = self.until(b"0\r\n\r\n")?;
            request.extend(body);
        } else if let Some((_, rest)) = text.split_once("\r\ncontent-length: ") {
            let length = rest.split("\r\n").next().and_then(|number| number.parse().ok())?;
            request.extend(self.exactly(length)?);
        }
        self.remember(&request);
        Some(request)
    }

    /// Reads the head of a request, which is remembered only by its bytes.
    pub fn head(&mut self) -> Option<Vec<u8>> {
        self.until(b"\r\n\r\n")
    }

    /// Remembers a request that a script has read piece by piece.
    pub fn remember(&self, request: &[u8]) {
        self.seen.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request.to_vec());
    }

    /// Reads up to and with a mark.
    pub fn until(&mut self, mark: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = find(&self.unread, mark) {
                return Some(self.take(at + mark.len()));
            }
            self.more()?;
        }
    }

    /// Reads so many bytes.
    pub fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.unread.len() < count {
            self.more()?;
        }
        Some(self.take(count))
    }

    /// Waits for the other side to end the connection, passing over what it sends.
    pub fn drain(&mut self) {
        while self.more().is_some() {
            self.unread.clear();
        }
    }

    /// Sends bytes; false if the connection does not take them.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Ends the connection with a reset.
    pub fn reset(&mut self) {
        // A socket that cannot be set up so ends in the ordinary way, and the test that wants a reset fails.
        let _set = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    /// Says that nothing more will be sent (half-close).
    pub fn finish(&mut self) {
        let _closed = self.stream.shutdown(std::net::Shutdown::Write);
    }

    fn more(&mut self) -> Option<()> {
        let mut bytes = [0; 65_536];
        self.stream.set_read_timeout(Some(PATIENCE * 4)).ok()?;
        let count = self.stream.read(&mut bytes).ok().filter(|count| *count > 0)?;
        self.seen.bytes.fetch_add(count, Ordering::AcqRel);
        self.unread.extend(bytes.iter().take(count));
        Some(())
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let rest = self.unread.split_off(count);
        std::mem::replace(&mut self.unread, rest)
    }
}
