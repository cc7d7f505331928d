//! A TLS connection that keeps next to nothing while it is idle.
//!
//! Ciphertext is read into scratch memory of the worker's, decrypted there, and the plaintext copied to whoever reads. The connection
//! itself keeps only what cannot be dealt with yet: part of a record, plaintext nobody has read, ciphertext the socket did not take.

use rustls::unbuffered::{ConnectionState, EncodeError, InsufficientSizeError, UnbufferedStatus, WriteTraffic};
use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The largest record with its header (RFC 8446 section 5.2).
const RECORD_BYTES_MAX: usize = 5 + 16 * 1024 + 256;
/// Ciphertext read at a time, with room for part of a record that was left over.
const READ_BYTES: usize = 64 * 1024;
/// Plaintext encrypted at a time.
const WRITE_BYTES: usize = 64 * 1024;
/// Plaintext that fills a record.
const FRAGMENT_BYTES: usize = 16 * 1024;
/// How much handshake data may wait for a peer that has not finished its handshake (threats D 95).
const LEFT_OVER_MAX: usize = RECORD_BYTES_MAX + 64 * 1024;

/// Memory that every connection of a worker uses for a moment.
struct Scratch {
    incoming: Vec<u8>,
    plain: Vec<u8>,
    outgoing: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        incoming: vec![0; LEFT_OVER_MAX + READ_BYTES],
        plain: Vec::with_capacity(FRAGMENT_BYTES),
        outgoing: vec![0; WRITE_BYTES + 8 * 256],
    });
}

/// Which side of a connection this is: the library's connection, and what that side does beyond the protocol.
pub trait Side {
    /// The library's word for the side.
    type Data;

    /// The library's next step, with what has come from the peer.
    fn step<'c, 'i>(&'c mut self, bytes: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    /// Whether the handshake goes on.
    fn is_handshaking(&self) -> bool;

    /// A whole record to send instead of the library's alert, after a step that failed.
    fn own_alert(&self) -> Option<&'static [u8]> {
        None
    }
}

/// One side of a TLS connection.
pub struct TlsStream<S> {
    tcp: TcpStream,
    side: S,
    /// Ciphertext that is not a whole record yet.
    incoming: Vec<u8>,
    /// Plaintext that nobody has read yet.
    plain: Vec<u8>,
    plain_at: usize,
    /// Ciphertext that the socket has not taken yet.
    outgoing: Vec<u8>,
    outgoing_at: usize,
    /// Whether the peer has ended its side, by whatever means.
    ended: bool,
    /// Whether it did so with close_notify.
    ended_cleanly: bool,
    closing: bool,
}

impl<S> std::fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsStream").field("tcp", &self.tcp).field("ended", &self.ended).finish_non_exhaustive()
    }
}

fn broken(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl<S: Side> TlsStream<S> {
    /// A connection over `tcp` that has not begun its handshake.
    pub fn new(tcp: TcpStream, side: S) -> Self {
        Self {
            tcp,
            side,
            incoming: Vec::new(),
            plain: Vec::new(),
            plain_at: 0,
            outgoing: Vec::new(),
            outgoing_at: 0,
            ended: false,
            ended_cleanly: false,
            closing: false,
        }
    }

    /// What the side knows.
    pub fn side(&self) -> &S {
        &self.side
    }

    /// What the side knows.
    pub fn side_mut(&mut self) -> &mut S {
        &mut self.side
    }

    /// Bytes that the connection has room for of ciphertext read, plaintext, and ciphertext to send.
    #[must_use]
    pub fn kept(&self) -> [usize; 3] {
        [&self.incoming, &self.plain, &self.outgoing].map(Vec::capacity)
    }

    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        &self.tcp
    }

    /// Takes part in the handshake until it is complete and all that this side has to say has been sent.
    ///
    /// # Errors
    /// When the peer goes away, or does not keep to the protocol, or is not accepted. [`TlsStream::poll_flush`] then sends the alert.
    pub fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        if self.incoming.is_empty() {
            // A client speaks first; a server has nothing to say yet.
            self.process(&mut [], &mut [])?;
        }
        while self.side.is_handshaking() {
            ready!(self.poll_send(cx))?;
            // Without room for plaintext: what a hasty peer sends behind its handshake is kept for the first read.
            ready!(self.poll_step(cx, &mut []))?;
            // A client may send its last handshake message, a request and close_notify at once: that is a request to answer.
            if self.ended && self.side.is_handshaking() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        self.poll_send(cx)
    }

    /// Whether the peer has ended its side with close_notify. After an end without it somebody else may have cut off the rest
    /// (RFC 8446 section 6.1), which matters where the message does not tell its own length.
    #[must_use]
    pub fn clean_close(&self) -> bool {
        self.ended_cleanly
    }

    /// Whether plaintext waits to be read. Of ciphertext only less than a record ever waits, which nobody can read yet.
    #[must_use]
    pub fn has_buffered(&self) -> bool {
        self.plain_at < self.plain.len()
    }

    /// Waits for something to read.
    pub fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_buffered() {
            return Poll::Ready(Ok(()));
        }
        self.tcp.poll_read_ready(cx)
    }

    /// Reads plaintext into `buf`; 0 is the end of the stream.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            if self.has_buffered() {
                return Poll::Ready(Ok(self.hand_over(buf)));
            }
            if self.ended {
                return Poll::Ready(Ok(0));
            }
            let count = ready!(self.poll_step(cx, buf))?;
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
        }
    }

    fn hand_over(&mut self, buf: &mut [u8]) -> usize {
        let waiting = self.plain.get(self.plain_at..).unwrap_or_default();
        let count = copy(waiting, buf);
        self.plain_at += count;
        if self.plain_at == self.plain.len() {
            self.plain = Vec::new();
            self.plain_at = 0;
        }
        count
    }

    /// Reads from the socket once and deals with what came. Gives how much plaintext was put into `buf`.
    fn poll_step(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let kept = self.incoming.len();
            let room = scratch.incoming.get_mut(kept..kept + READ_BYTES).unwrap_or_default();
            let count = ready!(poll_read_plain(Pin::new(&mut self.tcp), cx, room))?;
            if count == 0 {
                self.ended = true;
                return Poll::Ready(Ok(0));
            }
            copy(&self.incoming, &mut scratch.incoming);
            let bytes = scratch.incoming.get_mut(..kept + count).unwrap_or_default();
            let (used, put) = self.process(bytes, buf).inspect_err(|_| self.give_up())?;
            // What comes behind close_notify means nothing.
            let left = if self.ended { &[] } else { bytes.get(used..).unwrap_or_default() };
            if left.len() > LEFT_OVER_MAX {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "more of a record than a record has")));
            }
            self.incoming = left.to_vec();
            // What the protocol itself has to say goes out now if it can; else with the next write.
            match self.poll_send(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                _ => Poll::Ready(Ok(put)),
            }
        })
    }

    /// After an error the library is not asked anything again: what it remembers of the bytes it was handed is gone.
    fn give_up(&mut self) {
        (self.ended, self.closing) = (true, true);
        self.incoming = Vec::new();
    }

    /// Deals with every whole record in `bytes`. Gives how many bytes are done with, and how much plaintext was put into `buf`;
    /// plaintext beyond that is kept.
    fn process(&mut self, bytes: &mut [u8], buf: &mut [u8]) -> io::Result<(usize, usize)> {
        let (mut used, mut put) = (0, 0);
        // Each turn uses bytes or has something to say; the bound is for a library that would do neither.
        for _ in 0..bytes.len() + 64 {
            let rest = bytes.get_mut(used..).unwrap_or_default();
            let UnbufferedStatus { discard, state, .. } = self.side.step(rest);
            match state {
                Err(error) => {
                    match self.side.own_alert() {
                        Some(alert) => self.outgoing.extend_from_slice(alert),
                        None => self.encode_alert(bytes.get_mut(used + discard..).unwrap_or_default()),
                    }
                    return Err(broken(error));
                }
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let payload = record.map_err(broken)?.payload;
                        let count = if self.plain.is_empty() { copy(payload, buf.get_mut(put..).unwrap_or_default()) } else { 0 };
                        put += count;
                        self.plain.extend_from_slice(payload.get(count..).unwrap_or_default());
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut self.outgoing, |out| data.encode(out))?,
                // What is in `outgoing` is sent before anything else is written.
                Ok(ConnectionState::TransmitTlsData(transmit)) => transmit.done(),
                Ok(ConnectionState::PeerClosed) => (self.ended, self.ended_cleanly) = (true, true),
                Ok(ConnectionState::Closed) => {
                    self.ended = true;
                    return Ok((used + discard, put));
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => return Ok((used + discard, put)),
                Ok(_) => return Err(io::Error::new(io::ErrorKind::InvalidData, "early data is not accepted")),
            }
            used += discard;
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "the TLS connection makes no progress"))
    }

    /// After an error the library has an alert to say, behind what it had to say before. It is handed `rest`, what it has not done
    /// with yet, as ever: it remembers where in there messages begin. After the alert it is not asked again, because it would look
    /// at `rest`, and might want to say another.
    fn encode_alert(&mut self, rest: &mut [u8]) {
        let mut used = 0;
        // A flight of the handshake has fewer parts than this.
        for _ in 0..16 {
            let UnbufferedStatus { discard, state: Ok(ConnectionState::EncodeTlsData(mut data)), .. } =
                self.side.step(rest.get_mut(used..).unwrap_or_default())
            else {
                return;
            };
            let begin = self.outgoing.len();
            let encoded = encode(&mut self.outgoing, |out| data.encode(out));
            if encoded.is_err() || self.outgoing.get(begin..).is_some_and(is_alert) {
                return;
            }
            used += discard;
        }
    }

    /// Sends ciphertext that waits.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.outgoing_at < self.outgoing.len() {
            let waiting = self.outgoing.get(self.outgoing_at..).unwrap_or_default();
            let count = ready!(Pin::new(&mut self.tcp).poll_write(cx, waiting))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing_at += count;
        }
        if !self.outgoing.is_empty() {
            self.outgoing = Vec::new();
            self.outgoing_at = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Encrypts as much of `head` and `body` as one call takes, and sends it as far as the socket takes it.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, head: &[u8], body: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(cx))?;
        if self.closing {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let (taken, made) = self.encrypt(scratch, head, body)?;
            let sealed = scratch.outgoing.get(..made).unwrap_or_default();
            // Records have an order: what the protocol itself had to say goes first.
            let sent = if self.outgoing.is_empty() {
                match Pin::new(&mut self.tcp).poll_write(cx, sealed) {
                    Poll::Ready(sent) => sent?,
                    Poll::Pending => 0,
                }
            } else {
                0
            };
            self.outgoing.extend_from_slice(sealed.get(sent..).unwrap_or_default());
            Poll::Ready(Ok(taken))
        })
    }

    /// Encrypts into scratch. Gives how much plaintext was taken, and how much ciphertext was made.
    fn encrypt(&mut self, scratch: &mut Scratch, head: &[u8], body: &[u8]) -> io::Result<(usize, usize)> {
        let mut writer = writer(&mut self.side, &mut self.incoming, &mut self.outgoing)?;
        let (mut taken, mut made) = (0, 0);
        let mut body = body;
        if !head.is_empty() {
            // Head and the beginning of the body share a record.
            scratch.plain.clear();
            scratch.plain.extend_from_slice(head.get(..head.len().min(WRITE_BYTES)).unwrap_or_default());
            taken = scratch.plain.len();
            if taken == head.len() {
                let room = FRAGMENT_BYTES.saturating_sub(taken % FRAGMENT_BYTES).min(WRITE_BYTES - taken).min(body.len());
                let (first, rest) = body.split_at_checked(room).unwrap_or((body, &[]));
                scratch.plain.extend_from_slice(first);
                taken += first.len();
                body = rest;
            } else {
                body = &[];
            }
            made = writer.encrypt(&scratch.plain, &mut scratch.outgoing).map_err(broken)?;
        }
        let rest = body.get(..body.len().min(WRITE_BYTES - taken.min(WRITE_BYTES))).unwrap_or_default();
        if !rest.is_empty() {
            made += writer.encrypt(rest, scratch.outgoing.get_mut(made..).unwrap_or_default()).map_err(broken)?;
            taken += rest.len();
        }
        Ok((taken, made))
    }

    /// Waits until everything that was taken has gone to the socket.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(cx)
    }

    /// Says goodbye (close_notify, then FIN).
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closing {
            self.closing = true;
            let mut goodbye = [0_u8; 128];
            if let Ok(mut writer) = writer(&mut self.side, &mut self.incoming, &mut self.outgoing) {
                let made = writer.queue_close_notify(&mut goodbye).map_err(broken)?;
                self.outgoing.extend_from_slice(goodbye.get(..made).unwrap_or_default());
            }
        }
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// Whether a record of ours is an alert: it says so, or in TLS 1.3 (RFC 8446 section 5.2) it is too short for anything else that the
/// protocol has to say: two bytes, their type, and a tag.
fn is_alert(record: &[u8]) -> bool {
    match record.first() {
        Some(21) => true,
        Some(23) => record.len() <= 5 + 2 + 1 + 16,
        _ => false,
    }
}

/// Asks the connection for its writing side; what the protocol itself has to say first goes into `outgoing`. What has come and is not
/// a whole message yet is handed over again, because the library remembers where it is.
fn writer<'c, S: Side>(side: &'c mut S, incoming: &mut Vec<u8>, outgoing: &mut Vec<u8>) -> io::Result<WriteTraffic<'c, S::Data>> {
    for _ in 0..16 {
        let UnbufferedStatus { discard, state, .. } = side.step(incoming);
        match state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => encode(outgoing, |out| data.encode(out))?,
            Ok(ConnectionState::TransmitTlsData(transmit)) => transmit.done(),
            Ok(ConnectionState::PeerClosed) => {}
            Ok(ConnectionState::WriteTraffic(_)) => break,
            _ => return Err(io::ErrorKind::NotConnected.into()),
        }
        incoming.drain(..discard.min(incoming.len()));
    }
    match side.step(incoming).state {
        Ok(ConnectionState::WriteTraffic(writer)) => Ok(writer),
        _ => Err(io::ErrorKind::NotConnected.into()),
    }
}

/// Appends what the library encodes, giving it the room it asks for.
fn encode(out: &mut Vec<u8>, mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) -> io::Result<()> {
    let begin = out.len();
    let mut room = 4096;
    loop {
        out.resize(begin + room, 0);
        match encode(out.get_mut(begin..).unwrap_or_default()) {
            Ok(count) => {
                out.truncate(begin + count);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) if required_size > room => {
                room = required_size;
            }
            Err(error) => {
                out.truncate(begin);
                return Err(broken(error));
            }
        }
    }
}

fn poll_read_plain(tcp: Pin<&mut TcpStream>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
    let mut read = ReadBuf::new(buf);
    tcp.poll_read(cx, &mut read).map_ok(|()| read.filled().len())
}

/// Copies as much as fits.
fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let count = from.len().min(to.len());
    if let (Some(from), Some(to)) = (from.get(..count), to.get_mut(..count)) {
        to.copy_from_slice(from);
    }
    count
}
