//! Reading the head of an upstream's answer.

use crate::buffers::Buffer;
use crate::worker::Worker;
use portcullis_gateway_upstream::{NoHead, UpstreamConnection};
use portcullis_model::Reason;
use portcullis_wire::{HeadFinder, HeadLimits, Method, ResponseHead, WireError};
use std::task::{Context, Poll};

/// What an upstream's head may have.
const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 60 * 1024, fields_max: 256, target_bytes_max: 8 * 1024 };

/// How much is read at a time of an answer for a stream, until its head is complete.
const STREAM_READ_BYTES: usize = 8 * 1024;

/// How far reading has come.
pub(crate) enum HeadOutcome {
    Pending,
    Complete,
    Malformed(WireError),
    Ended {
        bytes: usize,
    },
    /// A stream that brings none.
    None(NoHead),
}

/// The head of an answer, being read.
pub(crate) struct UpstreamHead {
    pub(crate) response: Box<ResponseHead>,
    /// Body bytes of the request that were sent, noted here when the upload ends first.
    pub(crate) request_body: u64,
    finder: HeadFinder,
    /// How much is read at a time.
    read_max: usize,
    buffer: Option<Buffer>,
}

impl UpstreamHead {
    /// A head for a client's connection of its own, or for a stream of one that may have many: then not much of the body is read with
    /// the head, as it may have to wait.
    pub(crate) fn new(response: Box<ResponseHead>, for_stream: bool) -> Self {
        let read_max = if for_stream { STREAM_READ_BYTES } else { usize::MAX };
        Self { response, request_body: 0, finder: HeadFinder::default(), read_max, buffer: None }
    }

    /// Reads until a head is complete. May be called again after an interim answer.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        upstream: &mut UpstreamConnection,
        worker: &Worker,
        method: Method,
    ) -> HeadOutcome {
        if upstream.is_stream() {
            return match upstream.poll_stream_head(cx, &mut self.response, &LIMITS, method) {
                Poll::Pending => HeadOutcome::Pending,
                Poll::Ready(Ok(())) => HeadOutcome::Complete,
                Poll::Ready(Err(none)) => HeadOutcome::None(none),
            };
        }
        loop {
            if let Some(buffer) = &mut self.buffer
                && !buffer.is_empty()
            {
                match self.finder.find(buffer.unread(), &LIMITS) {
                    Ok(Some(length)) => {
                        let head = buffer.unread().get(..length).unwrap_or_default();
                        let parsed = self.response.parse(head, &LIMITS, method);
                        buffer.consume(length);
                        self.finder.reset();
                        return parsed.map_or_else(HeadOutcome::Malformed, |()| HeadOutcome::Complete);
                    }
                    Ok(None) => {}
                    Err(error) => {
                        return HeadOutcome::Malformed(WireError { reason: Reason::UpstreamMalformed, detail: error.detail });
                    }
                }
            }
            if let Some(outcome) = self.read_more(cx, upstream, worker) {
                return outcome;
            }
        }
    }

    fn read_more(&mut self, cx: &mut Context<'_>, upstream: &mut UpstreamConnection, worker: &Worker) -> Option<HeadOutcome> {
        let mut buffer = self.buffer.take().unwrap_or_else(|| worker.buffers.take());
        let bytes = buffer.unread().len();
        let room = buffer.room();
        let read_max = self.read_max.min(room.len());
        match upstream.poll_read(cx, room.get_mut(..read_max).unwrap_or_default()) {
            Poll::Ready(Ok(count @ 1..)) => {
                buffer.filled(count);
                self.buffer = Some(buffer);
                None
            }
            Poll::Ready(_) => {
                worker.buffers.give(buffer);
                Some(HeadOutcome::Ended { bytes })
            }
            Poll::Pending => {
                self.buffer = Some(buffer);
                worker.buffers.give_if_empty(&mut self.buffer);
                Some(HeadOutcome::Pending)
            }
        }
    }

    /// The head, and what came with it.
    pub(crate) fn into_parts(mut self, worker: &Worker) -> (Box<ResponseHead>, Option<Buffer>) {
        worker.buffers.give_if_empty(&mut self.buffer);
        (self.response, self.buffer)
    }
}
