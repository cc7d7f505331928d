//! Takes the body of a request that a policy of its route reads. Such bodies are short, and held within a budget of the process.

use crate::body::{Reading, Transfer, TransferError, Writing};
use crate::connection::Connection;
use crate::stream::ByteStream;
use crate::worker::Worker;
use portcullis_gateway_policy::{BodySource, Exchange, HeldBody};
use portcullis_model::{Reason, Rejection};
use portcullis_wire::{BodyFraming, ChunkedDecoder};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::Instant;

/// Where such a body goes.
struct Kept(HeldBody);

impl ByteStream for Kept {
    fn poll_read(&mut self, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(0))
    }
    fn poll_write(&mut self, _: &mut Context<'_>, head: &[u8], body: &[u8]) -> Poll<io::Result<usize>> {
        let is_held = self.0.add(head) && self.0.add(body);
        Poll::Ready(if is_held { Ok(head.len() + body.len()) } else { Err(io::ErrorKind::OutOfMemory.into()) })
    }
    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The body that the client of a connection sends.
pub(crate) struct ClientBody<'c> {
    pub(crate) connection: &'c mut Connection,
    pub(crate) worker: &'c Worker,
}

impl BodySource for ClientBody<'_> {
    fn take<'a>(
        &'a mut self,
        exchange: &'a mut Exchange,
        bytes_max: u64,
    ) -> Pin<Box<dyn Future<Output = Result<(), Rejection>> + 'a>> {
        Box::pin(async move {
            let bytes_max = bytes_max.min(exchange.body_bytes_max());
            take_body(self.connection, self.worker, exchange, bytes_max).await?;
            // What is sent on is what is here, and nothing that may have followed it.
            let length = exchange.body.as_deref().map_or(0, <[u8]>::len);
            exchange.request.fix_body_length(length as u64);
            Ok(())
        })
    }
}

/// Reads the whole body, of at most `bytes_max`, in the time that a head may take.
///
/// # Errors
/// Why it could not be read; nothing more can be read of the connection then.
pub(crate) async fn take_body(
    connection: &mut Connection,
    worker: &Worker,
    exchange: &mut Exchange,
    bytes_max: u64,
) -> Result<(), Rejection> {
    let reading = match exchange.request.framing() {
        BodyFraming::None => Reading::Length(0),
        BodyFraming::Length(length) if length > bytes_max => return Err(Reason::BodyTooLarge.into()),
        BodyFraming::Length(length) => Reading::Length(length),
        BodyFraming::Chunked if connection.io.is_stream() => Reading::UntilClose,
        BodyFraming::Chunked => Reading::Chunked(Box::new(ChunkedDecoder::for_request())),
    };
    connection.alarm.set(Instant::now() + connection.listener.limits.header_deadline);
    if exchange.request.expects_continue() && connection.carry.is_none() {
        let invitation = connection.io.invite_body();
        if !connection.write_all(invitation, &[]).await {
            return Err(Reason::ClientGone.into());
        }
    }
    let mut kept = Kept(HeldBody::begin(worker.bodies()));
    let mut transfer = Transfer::new(reading, Writing::Plain, Vec::new(), connection.carry.take(), bytes_max, None);
    let moved = poll_fn(|cx| match transfer.poll(cx, &mut connection.io, &mut kept, &worker.buffers) {
        Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
        Poll::Pending => connection.alarm.poll(cx).map(|()| None),
    })
    .await;
    connection.carry = transfer.take_rest(&worker.buffers);
    exchange.record.traffic.request_body = transfer.moved;
    match moved {
        Some(Ok(())) => {
            exchange.body = Some(kept.0);
            Ok(())
        }
        Some(Err(TransferError::TooLarge)) => Err(Reason::BodyTooLarge.into()),
        Some(Err(TransferError::Malformed(error))) => Err(error.into()),
        Some(Err(TransferError::Source)) => Err(Reason::ClientGone.into()),
        Some(Err(TransferError::Sink)) => Err(Rejection::new(Reason::BodiesExhausted, "as much is held of bodies as may be")),
        None => Err(Reason::BodyTimeout.into()),
    }
}
