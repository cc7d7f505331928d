//! The bytes of an HTTP/2 connection, with the meter that they go by.
//!
//! The library writes a frame at a time and flushes after each that has more than a few bytes. Frames are gathered instead, until the
//! connection waits: what many streams have to say then goes out in one write, as few records of TLS.

use crate::alarm::Alarm;
use crate::buffers::Buffer;
use crate::worker::Worker;
use portcullis_gateway_listener::Io;
use portcullis_wire::{Flood, FrameMeter};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Bytes that are read in one turn of a connection; what lies behind them waits until others have had theirs.
const TURN_BYTES: usize = 32 * 1024;

/// How much is read after the end, and for how long, so that the reason for it arrives.
pub(super) const LINGER_BYTES_MAX: usize = 256 * 1024;
pub(super) const LINGER_TIME_MAX: Duration = Duration::from_secs(2);

/// A connection, its meter, and what the meter has found. Shared by the library, which moves the bytes, and the driver.
pub(super) struct Metered {
    pub(super) io: RefCell<Io>,
    worker: Rc<Worker>,
    /// What the library has written and the connection has not been given; none while there is nothing.
    gathered: RefCell<Option<Buffer>>,
    /// Whether there was nothing to read since the driver began to poll; whoever reads is woken.
    dry: Cell<bool>,
    /// Bytes that may still be read in this turn.
    left: Cell<usize>,
    meter: RefCell<FrameMeter>,
    flood: Cell<Option<Flood>>,
    begin: Instant,
    /// How long after that the driver began to poll, once it was asked for.
    now_ms: Cell<Option<u64>>,
}

impl Metered {
    pub(super) fn new(io: Io, block_bytes_max: u32, begin: Instant, worker: Rc<Worker>) -> Rc<Self> {
        let meter = RefCell::new(FrameMeter::new(block_bytes_max, 0));
        Rc::new(Self {
            io: RefCell::new(io),
            worker,
            gathered: RefCell::new(None),
            dry: Cell::new(false),
            left: Cell::new(TURN_BYTES),
            meter,
            flood: Cell::new(None),
            begin,
            now_ms: Cell::new(None),
        })
    }

    /// Takes bytes to be sent with the next [`Metered::poll_send`], or before it if there is no room for more.
    fn poll_gather(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let full = self.gathered.borrow_mut().as_mut().is_none_or(|buffer| buffer.room().is_empty());
        if full {
            // Nothing is gathered for a client that has not read what was sent before: at most one buffer waits for it.
            ready!(self.poll_send(cx))?;
        }
        let mut gathered = self.gathered.borrow_mut();
        let buffer = gathered.get_or_insert_with(|| self.worker.buffers.take());
        let count = buffer.append(bytes);
        self.note_outgoing(bytes.get(..count).unwrap_or_default());
        Poll::Ready(Ok(count))
    }

    /// Sends what was gathered, and says that nothing follows.
    pub(super) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        self.io.borrow_mut().poll_shutdown(cx)
    }

    /// Sends what was gathered. Whoever has polled the library calls this before waiting for anything.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut io = self.io.borrow_mut();
        let mut gathered = self.gathered.borrow_mut();
        if let Some(buffer) = gathered.as_mut() {
            while !buffer.is_empty() {
                match ready!(io.poll_write(cx, buffer.unread(), &[]))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    count => buffer.consume(count),
                }
            }
        }
        self.worker.buffers.give_if_empty(&mut gathered);
        io.poll_flush(cx)
    }

    /// Begins a turn: there may be something to read again. Until it is called, who has been told to wait is told so again for nothing:
    /// the library reads several times while it is polled once.
    pub(super) fn wake(&self) {
        self.dry.set(false);
        self.left.set(TURN_BYTES);
        self.now_ms.set(None);
    }

    /// Whether this turn has read all that one may, so that there may be more to read and nobody is woken for it.
    pub(super) fn has_read_enough(&self) -> bool {
        self.left.get() == 0 && self.flood.get().is_none()
    }

    /// Reads by way of `buffer`, which is written to already: the library's own would be filled with zeros each time.
    fn poll_read_into(&self, cx: &mut Context<'_>, buffer: &mut Buffer, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let room = buffer.room();
        let room_bytes = room.len().min(to.remaining()).min(self.left.get());
        let read = self.io.borrow_mut().poll_read(cx, room.get_mut(..room_bytes).unwrap_or_default());
        self.dry.set(read.is_pending());
        let count = ready!(read)?;
        buffer.filled(count);
        self.left.set(self.left.get().saturating_sub(count));
        // SECURITY: what came with a flood is not handed over: the budget is exceeded by nothing.
        if !self.note_incoming(buffer.unread()) {
            return Poll::Pending;
        }
        to.put_slice(buffer.unread());
        Poll::Ready(Ok(()))
    }

    /// The time of the meter, looked at once each time the driver is polled.
    fn now_ms(&self) -> u64 {
        let now_ms = self.now_ms.get().unwrap_or_else(|| self.begin.elapsed().as_millis() as u64);
        self.now_ms.set(Some(now_ms));
        now_ms
    }

    /// What there was too much of. From then on nothing is read.
    pub(super) fn flood(&self) -> Option<Flood> {
        self.flood.get()
    }

    /// Since when the end of a header block has been missing.
    pub(super) fn header_block_since(&self) -> Option<Instant> {
        let since = self.meter.borrow().header_block_since_ms()?;
        Some(self.begin + Duration::from_millis(since))
    }

    fn note_incoming(&self, bytes: &[u8]) -> bool {
        let outcome = self.meter.borrow_mut().incoming(bytes, self.now_ms());
        self.note(outcome)
    }

    fn note_outgoing(&self, bytes: &[u8]) {
        let outcome = self.meter.borrow_mut().outgoing(bytes, self.now_ms());
        self.note(outcome);
    }

    fn note(&self, outcome: Result<(), Flood>) -> bool {
        if let Err(flood) = outcome
            && self.flood.get().is_none()
        {
            self.flood.set(Some(flood));
        }
        outcome.is_ok()
    }
}

/// What the library reads from and writes to.
pub(super) struct MeteredIo(pub(super) Rc<Metered>);

impl AsyncRead for MeteredIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let shared = &self.0;
        if shared.flood.get().is_some() || shared.dry.get() || shared.left.get() == 0 {
            // The driver looks at floods, and asks for another turn, before it waits.
            return Poll::Pending;
        }
        let mut buffer = shared.worker.buffers.take();
        let read = shared.poll_read_into(cx, &mut buffer, buf);
        shared.worker.buffers.give(buffer);
        read
    }
}

impl AsyncWrite for MeteredIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_gather(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The driver sends what is gathered before it waits; a frame more or less until then is one write all the same.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_shutdown(cx)
    }
}

/// Reads for a while what the client still sends, so that it hears why the connection ended.
pub(super) async fn linger(metered: &Metered, worker: &Worker, alarm: &mut Alarm) {
    alarm.set(Instant::now() + LINGER_TIME_MAX);
    let mut left = LINGER_BYTES_MAX;
    let mut shut = false;
    poll_fn(|cx| {
        if alarm.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if !shut {
            match metered.poll_shutdown(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => shut = true,
            }
        }
        while left > 0 {
            let mut buffer = worker.buffers.take();
            let read = metered.io.borrow_mut().poll_read(cx, buffer.room());
            worker.buffers.give(buffer);
            match read {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(count @ 1..)) => left = left.saturating_sub(count),
                Poll::Ready(_) => return Poll::Ready(()),
            }
        }
        Poll::Ready(())
    })
    .await;
}
