//! The bytes of an HTTP/2 connection, with the meter that they go by.

use portcullis_gateway_listener::Io;
use portcullis_wire::{Flood, FrameMeter};
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// A connection, its meter, and what the meter has found. Shared by the library, which moves the bytes, and the driver.
pub(super) struct Metered {
    pub(super) io: RefCell<Io>,
    meter: RefCell<FrameMeter>,
    flood: Cell<Option<Flood>>,
    begin: Instant,
}

impl Metered {
    pub(super) fn new(io: Io, block_bytes_max: u32, begin: Instant) -> Rc<Self> {
        let meter = RefCell::new(FrameMeter::new(block_bytes_max, 0));
        Rc::new(Self { io: RefCell::new(io), meter, flood: Cell::new(None), begin })
    }

    fn now_ms(&self) -> u64 {
        self.begin.elapsed().as_millis() as u64
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
        if shared.flood.get().is_some() {
            // The driver looks at this before it waits.
            return Poll::Pending;
        }
        let slot = buf.initialize_unfilled();
        let count = ready!(shared.io.borrow_mut().poll_read(cx, slot))?;
        // SECURITY: what came with a flood is not handed over: the budget is exceeded by nothing.
        if !shared.note_incoming(slot.get(..count).unwrap_or_default()) {
            return Poll::Pending;
        }
        buf.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for MeteredIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(self.0.io.borrow_mut().poll_write(cx, bytes, &[]))?;
        self.0.note_outgoing(bytes.get(..count).unwrap_or_default());
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut filled = parts.iter().filter(|part| !part.is_empty());
        let (one, two): (&[u8], &[u8]) = (filled.next().map_or(&[], |part| part), filled.next().map_or(&[], |part| part));
        let count = ready!(self.0.io.borrow_mut().poll_write(cx, one, two))?;
        let of_one = count.min(one.len());
        self.0.note_outgoing(one.get(..of_one).unwrap_or_default());
        self.0.note_outgoing(two.get(..count - of_one).unwrap_or_default());
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.io.borrow_mut().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.io.borrow_mut().poll_shutdown(cx)
    }
}
