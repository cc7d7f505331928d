//! The bytes of an HTTP/2 connection to an upstream, with the meter that they go by.

use crate::connection::Stream;
use portcullis_wire::FrameMeter;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// A header block of an upstream may have so many bytes, compressed.
const BLOCK_BYTES_MAX: u32 = 64 * 1024;

/// What the other side has shown so far; read by those who use the connection.
#[derive(Debug)]
pub(super) struct Signs {
    /// Whether its first frame, its settings, has come whole.
    settled: AtomicBool,
    /// The last stream that it looks at; higher ones have never been.
    last_stream: AtomicU32,
    /// Why it is cut off.
    fault: OnceLock<&'static str>,
}

impl Default for Signs {
    fn default() -> Self {
        Self { settled: AtomicBool::new(false), last_stream: AtomicU32::new(u32::MAX), fault: OnceLock::new() }
    }
}

impl Signs {
    pub(super) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }

    /// Whether the other side has said that it never looked at this stream (RFC 9113 section 6.8).
    pub(super) fn is_unseen(&self, stream: u32) -> bool {
        stream > self.last_stream.load(Ordering::Relaxed)
    }

    /// Why the other side is cut off, if it is.
    pub(super) fn fault(&self) -> Option<&'static str> {
        self.fault.get().copied()
    }
}

/// What the library reads from and writes to.
#[derive(Debug)]
pub(super) struct Metered {
    stream: Stream,
    meter: FrameMeter,
    begin: Instant,
    /// How much of the head of the first frame has been looked at.
    looked_at: usize,
    signs: Arc<Signs>,
}

/// What is not the begin of HTTP/2, in words.
pub(super) const NOT_HTTP2: &str = "what came first is not the settings of HTTP/2";

impl Metered {
    pub(super) fn new(stream: Stream) -> (Self, Arc<Signs>) {
        let (begin, signs) = (Instant::now(), Arc::new(Signs::default()));
        let meter = FrameMeter::for_upstream(BLOCK_BYTES_MAX, 0);
        (Self { stream, meter, begin, looked_at: 0, signs: Arc::clone(&signs) }, signs)
    }

    fn now_ms(&self) -> u64 {
        self.begin.elapsed().as_millis() as u64
    }

    fn cut(&self, why: &'static str) -> io::Error {
        let _first = self.signs.fault.set(why);
        io::Error::new(io::ErrorKind::InvalidData, why)
    }

    fn note_incoming(&mut self, bytes: &[u8]) -> io::Result<()> {
        // RFC 9113 section 3.4: first come settings, and not the acknowledgement of ours. Servers of HTTP/1 answer otherwise.
        for (at, byte) in (self.looked_at..5).zip(bytes) {
            let fits = match at {
                0 => *byte == 0,
                3 => *byte == 4,
                4 => *byte == 0,
                _ => true,
            };
            if !fits {
                return Err(self.cut(NOT_HTTP2));
            }
            self.looked_at += 1;
        }
        let now = self.now_ms();
        self.meter.incoming(bytes, now).map_err(|flood| self.cut(flood.detail()))?;
        if let Some(last) = self.meter.last_stream() {
            self.signs.last_stream.store(last, Ordering::Relaxed);
        }
        if !self.signs.is_settled() && self.looked_at == 5 && !self.meter.is_inside_frame() {
            self.signs.settled.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn note_outgoing(&mut self, bytes: &[u8]) -> io::Result<()> {
        let now = self.now_ms();
        self.meter.outgoing(bytes, now).map_err(|flood| self.cut(flood.detail()))
    }
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let slot = buf.initialize_unfilled();
        let count = ready!(self.stream.poll_read(cx, slot))?;
        // SECURITY: what came with a flood is not handed over: the budget is exceeded by nothing.
        self.note_incoming(slot.get(..count).unwrap_or_default())?;
        buf.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(self.stream.poll_write(cx, bytes, &[]))?;
        self.note_outgoing(bytes.get(..count).unwrap_or_default())?;
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut filled = parts.iter().filter(|part| !part.is_empty());
        let (one, two): (&[u8], &[u8]) = (filled.next().map_or(&[], |part| part), filled.next().map_or(&[], |part| part));
        let count = ready!(self.stream.poll_write(cx, one, two))?;
        let of_one = count.min(one.len());
        self.note_outgoing(one.get(..of_one).unwrap_or_default())?;
        self.note_outgoing(two.get(..count - of_one).unwrap_or_default())?;
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_shutdown(cx)
    }
}
