//! A connection that carries streams: how it is made, what it has room for, and its end.

use super::metered::{Metered, NOT_HTTP2, Signs};
use super::pool::StreamPools;
use crate::connection::Stream;
use crate::endpoint::{Endpoint, EndpointPlace};
use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use portcullis_gateway_h2::ROOM_BYTES;
use portcullis_model::{Reason, Rejection};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Streams at the same time on one connection, if the other side takes as many.
pub(super) const STREAMS_MAX: usize = 100;
/// Bytes of an answer's body that may come before they are asked for.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The same for a connection: so much that clients who do not read hold up nobody but themselves.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS_MAX as u32;
/// What small DATA frames may cost that nobody has asked for yet, as the library counts: about 256 for each of them.
const SMALL_DATA_MAX: usize = 32 * 1024 * 1024;
/// What the fields of an answer may have, as the library counts. More than our own limit, which says what is wrong.
const HEADER_LIST_MAX: u32 = 70 * 1024;
/// Streams that were reset and are remembered for what may still come for them.
const REMEMBERED_RESETS_MAX: usize = 200;
/// How long a connection that nobody needs may take to end.
const END_TIME_MAX: Duration = Duration::from_secs(5);

/// A connection that was made, and the settings of whose other side are known.
pub(super) struct Made {
    pub(super) send: SendRequest<Bytes>,
    pub(super) moving: Connection<Metered, Bytes>,
    pub(super) signs: Arc<Signs>,
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADER_LIST_MAX)
        .max_send_buffer_size(ROOM_BYTES)
        .max_concurrent_reset_streams(REMEMBERED_RESETS_MAX)
        .reset_stream_duration(Duration::from_secs(1))
        .data_frame_budget(SMALL_DATA_MAX);
    builder
}

/// Begins HTTP/2, and waits for the settings of the other side: how many streams it takes, and that it speaks HTTP/2 at all.
///
/// # Errors
/// A rejection that blames the upstream. Nothing of a request has been sent.
pub(super) async fn begin(stream: Stream) -> Result<Made, Rejection> {
    let (metered, signs) = Metered::new(stream);
    let refused = |signs: &Signs| {
        let ended = "the connection ended before the settings of HTTP/2 came";
        Rejection::new(Reason::UpstreamNotHttp2, signs.fault().unwrap_or(ended))
    };
    let (send, mut moving) = builder().handshake(metered).await.map_err(|_| refused(&signs))?;
    poll_fn(|cx| match Pin::new(&mut moving).poll(cx) {
        Poll::Ready(_) => Poll::Ready(Err(refused(&signs))),
        Poll::Pending if signs.is_settled() => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    debug_assert_ne!(signs.fault(), Some(NOT_HTTP2), "what is no HTTP/2 never settles");
    Ok(Made { send, moving, signs })
}

/// What a connection's task and its users share.
struct Life {
    /// Given back when the connection has ended, and nobody holds on to it.
    place: EndpointPlace,
    unneeded: Notify,
    is_over: Cell<bool>,
}

/// Whether a stream can be begun.
pub(super) enum Free {
    Yes,
    /// As many as may are under way.
    Full,
    /// It takes no more: it has ended, or the other side has said that it goes away.
    Never,
}

/// A connection that carries streams. It ends when this is dropped, which every one of its streams holds.
pub(crate) struct Lines {
    pub(super) send: RefCell<SendRequest<Bytes>>,
    pub(super) signs: Arc<Signs>,
    /// Whether it is encrypted.
    pub(super) is_secure: bool,
    life: Rc<Life>,
    pools: Rc<StreamPools>,
    active: Cell<usize>,
    has_served: Cell<bool>,
    made: Instant,
    /// Since when it has had no stream, if it has none.
    unused_since: Cell<Instant>,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").field("active", &self.active.get()).finish_non_exhaustive()
    }
}

impl Lines {
    /// A connection in a place, and what moves its bytes until it has ended.
    pub(super) fn new(made: Made, place: EndpointPlace, pools: &Rc<StreamPools>) -> (Rc<Self>, impl Future<Output = ()> + use<>) {
        let is_secure = place.endpoint().tls.is_some();
        let life = Rc::new(Life { place, unneeded: Notify::new(), is_over: Cell::new(false) });
        let lines = Rc::new(Self {
            send: RefCell::new(made.send),
            signs: made.signs,
            is_secure,
            life: Rc::clone(&life),
            pools: Rc::clone(pools),
            active: Cell::new(0),
            has_served: Cell::new(false),
            made: Instant::now(),
            unused_since: Cell::new(Instant::now()),
        });
        (lines, keep_moving(made.moving, life))
    }

    /// The endpoint it leads to.
    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        self.life.place.endpoint()
    }

    /// Streams at the same time that both sides allow.
    pub(super) fn streams_max(&self) -> usize {
        self.send.borrow().current_max_send_streams().min(STREAMS_MAX)
    }

    /// Whether the other side offers WebSocket (RFC 8441 section 3).
    pub(super) fn takes_websockets(&self) -> bool {
        self.send.borrow().is_extended_connect_protocol_enabled()
    }

    pub(super) fn is_free(&self) -> Free {
        if self.life.is_over.get() {
            return Free::Never;
        }
        match self.send.borrow_mut().poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(_)) => return Free::Never,
            Poll::Ready(Ok(())) => {}
            Poll::Pending => return Free::Full,
        }
        if self.active.get() < self.streams_max() { Free::Yes } else { Free::Full }
    }

    /// How many streams are under way.
    pub(super) fn active(&self) -> usize {
        self.active.get()
    }

    /// How long ago it was made.
    pub(super) fn age(&self) -> Duration {
        self.made.elapsed()
    }

    /// One more stream. Says whether there has been one before.
    pub(super) fn one_more(&self) -> bool {
        self.active.set(self.active.get() + 1);
        self.has_served.replace(true)
    }

    /// One stream less: somebody who waits for one is told.
    pub(super) fn one_less(&self) {
        let left = self.active.get().saturating_sub(1);
        self.active.set(left);
        if left == 0 {
            self.unused_since.set(Instant::now());
        }
        self.pools.tell_one_who_waits(self.endpoint());
    }

    /// Whether it has been without a stream for so long at `now`.
    pub(super) fn is_unused(&self, since: Duration, now: Instant) -> bool {
        self.active.get() == 0 && now.saturating_duration_since(self.unused_since.get()) >= since
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.life.unneeded.notify_one();
    }
}

/// Moves a connection's bytes until it has ended. When nobody needs it any more it says so to the other side, which may take a moment.
async fn keep_moving(moving: Connection<Metered, Bytes>, life: Rc<Life>) {
    let mut moving = pin!(moving);
    tokio::select! {
        // How it ended is told to its streams.
        _ = &mut moving => {}
        () = life.unneeded.notified() => {
            let _in_order = tokio::time::timeout(END_TIME_MAX, moving).await;
        }
    }
    life.is_over.set(true);
}
