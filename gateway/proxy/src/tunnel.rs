//! After an upgrade: bytes in both directions, each ending on its own. Where the gateway is the one who ends it, the client is told why.

use crate::body::{Reading, Transfer, Waiting, Writing};
use crate::buffers::Buffer;
use crate::connection::{After, Connection};
use crate::pace::{Pace, Silence};
use crate::snapshot::Route;
use crate::stream::ByteStream;
use crate::watch::Watch;
use crate::worker::Worker;
use portcullis_gateway_policy::Exchange;
use portcullis_gateway_upstream::UpstreamConnection;
use portcullis_model::Reason;
use portcullis_wire::{GOING_AWAY, POLICY_VIOLATION, WebsocketFrames, websocket_close};
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// How long a client may take for the frame that closes its WebSocket.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(1);

/// One direction, and whether its end has been passed on.
struct Half {
    transfer: Transfer,
    ended: bool,
    shut: bool,
}

impl Half {
    fn new(reading: Reading, out: Vec<u8>, begun: Option<Buffer>) -> Self {
        let transfer = Transfer::new(reading, Writing::Plain, out, begun, u64::MAX, None);
        Self { transfer, ended: false, shut: false }
    }

    /// Moves bytes until the source ends, then ends the destination. `Err`: one side is gone.
    fn poll<S: ByteStream, D: ByteStream>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &mut D,
        worker: &Worker,
    ) -> Result<(), ()> {
        if !self.ended {
            match self.transfer.poll(cx, source, sink, &worker.buffers) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(_)) => return Err(()),
                Poll::Ready(Ok(())) => self.ended = true,
            }
        }
        if !self.shut {
            match sink.poll_shutdown(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(_)) => return Err(()),
                Poll::Ready(Ok(())) => self.shut = true,
            }
        }
        Ok(())
    }
}

/// Carries an upgraded connection until both sides have ended, one is gone, or nothing has moved for too long.
///
/// Only now do bytes that the client sent behind its request go to the upstream (threats A 2, 25): the upstream has agreed.
pub(crate) async fn tunnel(
    exchange: &mut Exchange,
    upstream: &mut UpstreamConnection,
    connection: &mut Connection,
    worker: &Worker,
    route: &Route,
    out: Vec<u8>,
    rest: Option<Buffer>,
) -> After {
    let mut up = Half::new(Reading::UntilClose, Vec::new(), connection.carry.take());
    let mut down = Half::new(Reading::Frames(WebsocketFrames::default()), out, rest);
    let limits = connection.listener.limits.clone();
    let mut pace = Pace::new(limits.body_rate_min, limits.rate_window, Reason::ClientTooSlow);
    let now = Instant::now();
    let mut silence = Silence::new(now, route.upstream.settings.timeouts.upgraded_idle, Reason::UpstreamStalled);
    let outcome: Result<(), Reason> = poll_fn(|cx| {
        // SECURITY: nothing more is moved for a caller who is out.
        if let Some(reason) = connection.poll_ended(cx, worker) {
            return Poll::Ready(Err(reason));
        }
        if up.poll(cx, &mut connection.io, upstream, worker).is_err() {
            return Poll::Ready(Err(Reason::UpstreamReset));
        }
        if down.poll(cx, upstream, &mut connection.io, worker).is_err() {
            return Poll::Ready(Err(Reason::ClientGone));
        }
        if up.shut && down.shut {
            return Poll::Ready(Ok(()));
        }
        if worker.is_cut() {
            return Poll::Ready(Err(Reason::ShuttingDown));
        }
        let now = Instant::now();
        let progress = up.transfer.progress + down.transfer.progress;
        pace.note(now, !down.ended && down.transfer.waiting == Waiting::Sink, down.transfer.progress);
        silence.note(now, progress, false);
        let due = |pace: &Pace, silence: &Silence, watch: &Watch| {
            [pace.deadline(), watch.deadline(true)].into_iter().flatten().fold(silence.deadline(), Instant::min)
        };
        connection.alarm.set(due(&pace, &silence, &connection.watch));
        while connection.alarm.poll(cx).is_ready() {
            let now = Instant::now();
            let verdict = silence.check(now).and_then(|()| pace.check(now, down.transfer.progress));
            if let Err(reason) = verdict.and_then(|()| connection.watch.check(now, true)) {
                return Poll::Ready(Err(reason));
            }
            connection.alarm.set(due(&pace, &silence, &connection.watch));
        }
        Poll::Pending
    })
    .await;
    exchange.record.traffic.request_body = up.transfer.moved;
    exchange.record.traffic.response_body = down.transfer.moved;
    let Err(reason) = outcome else { return After::Close };
    exchange.record.note_reason(reason, "the upgraded connection");
    match close_code(reason) {
        Some(code) if down.transfer.takes_frame() => close(connection, code, reason).await,
        _ => After::Close,
    }
}

/// The code by which a client hears that the gateway has ended its WebSocket; none where it is not the gateway that has.
fn close_code(reason: Reason) -> Option<u16> {
    match reason {
        Reason::CredentialsExpired | Reason::CredentialsRevoked | Reason::ClientCertificateRevoked | Reason::StreamAged => {
            Some(POLICY_VIOLATION)
        }
        Reason::ShuttingDown => Some(GOING_AWAY),
        _ => None,
    }
}

/// Closes the client's side with a frame that says why (RFC 6455 section 5.5.1).
async fn close(connection: &mut Connection, code: u16, reason: Reason) -> After {
    connection.alarm.set(Instant::now() + CLOSE_TIME_MAX);
    if !connection.write_all(&websocket_close(code, reason.public()), &[]).await {
        return After::Close;
    }
    connection.io.finish(None);
    // What the client still sends must not take the frame from it by a reset. The end of the process waits for nobody.
    if reason == Reason::ShuttingDown { After::Close } else { After::Linger }
}
