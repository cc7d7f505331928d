//! One direction of an exchange: bytes from one connection to the other, reframed, counted and bounded, never piled up.
//!
//! A transfer reads only when everything read before has been written, so it holds at most one buffer, and none while it waits for
//! bytes. Its framing is our own: what was chunked is chunked anew, and chunk extensions end here.

use crate::buffers::{Buffer, BufferPool};
use crate::replay::Replay;
use crate::stream::ByteStream;
use portcullis_gateway_policy::DroppedTrailers;
use portcullis_wire::{ChunkStep, ChunkedDecoder, Trailers, WebsocketFrames, WireError, write_chunk_head, write_last_chunk};
use std::borrow::Cow;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// How the end of a body is known where it comes from.
pub(crate) enum Reading {
    /// After so many bytes more.
    Length(u64),
    /// By chunked coding.
    Chunked(Box<ChunkedDecoder>),
    /// When the stream ends.
    UntilClose,
    /// When the stream ends; until then it is frames of a WebSocket.
    Frames(WebsocketFrames),
}

/// How the end of a body is told where it goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writing {
    /// The head has told it, or the end of the stream will.
    Plain,
    /// By chunked coding.
    Chunked,
}

/// Why a transfer cannot go on.
#[derive(Debug)]
pub(crate) enum TransferError {
    /// The source failed or ended too early.
    Source,
    /// What the source sent is not well-formed.
    Malformed(WireError),
    /// The body has more bytes than it may have.
    TooLarge,
    /// The destination failed.
    Sink,
}

/// What a transfer that is not ready is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// Bytes from the source.
    Source,
    /// Room at the destination.
    Sink,
}

/// Takes away the trailers that do not pass, under every spelling of their names.
fn drop_trailers(dropped: Option<&Arc<[Arc<str>]>>, trailers: &mut Trailers) {
    if !trailers.is_empty() {
        for name in dropped.into_iter().flat_map(|names| names.iter()) {
            trailers.remove_alike(name);
        }
    }
}

/// One direction of an exchange.
pub(crate) struct Transfer {
    reading: Reading,
    writing: Writing,
    /// Framing, and at first the head of the message, to be written before the payload.
    out: Vec<u8>,
    out_at: usize,
    buffer: Option<Buffer>,
    payload: Range<usize>,
    read_all: bool,
    bytes_max: u64,
    /// Trailers that do not pass, beside those that never do.
    dropped: DroppedTrailers,
    /// All of the body that has been moved, where it may have to be moved again and is short enough.
    replay: Option<Box<Replay>>,
    /// Body bytes moved, without framing.
    pub(crate) moved: u64,
    /// Bytes read from the source or written to the destination, with framing: whether anything moves at all.
    pub(crate) progress: u64,
    /// What it waited for when it last was not ready.
    pub(crate) waiting: Waiting,
}

impl Transfer {
    /// A transfer that first writes `out`, and begins with the bytes in `buffer`.
    pub(crate) fn new(
        reading: Reading,
        writing: Writing,
        out: Vec<u8>,
        buffer: Option<Buffer>,
        bytes_max: u64,
        dropped: DroppedTrailers,
    ) -> Self {
        let read_all = matches!(reading, Reading::Length(0));
        Self {
            reading,
            writing,
            out,
            out_at: 0,
            buffer,
            payload: 0..0,
            read_all,
            bytes_max,
            dropped,
            replay: None,
            moved: 0,
            progress: 0,
            waiting: Waiting::Source,
        }
    }

    /// Moves what can be moved. Ready when the whole body has been written and is on its way.
    pub(crate) fn poll<S: ByteStream, D: ByteStream>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &mut D,
        buffers: &BufferPool,
    ) -> Poll<Result<(), TransferError>> {
        loop {
            if self.payload.is_empty() && !self.read_all {
                self.decode()?;
            }
            match self.poll_write_out(cx, sink) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Err(TransferError::Sink)),
                Poll::Pending => {
                    if sink.is_one_of_many() {
                        self.shrink(buffers);
                    }
                    return Poll::Pending;
                }
            }
            if self.read_all {
                self.waiting = Waiting::Sink;
                return sink.poll_flush(cx).map_err(|_| TransferError::Sink);
            }
            if self.buffer.as_ref().is_none_or(Buffer::is_empty) {
                self.waiting = Waiting::Source;
                ready!(self.poll_read_more(cx, source, sink, buffers))?;
            }
        }
    }

    /// Goes on when [`Transfer::needs_source`] says that the source has given everything: as [`Transfer::poll`], without it.
    pub(crate) fn poll_rest<D: ByteStream>(&mut self, cx: &mut Context<'_>, sink: &mut D) -> Poll<Result<(), TransferError>> {
        if ready!(self.poll_write_out(cx, sink)).is_err() {
            return Poll::Ready(Err(TransferError::Sink));
        }
        self.waiting = Waiting::Sink;
        sink.poll_flush(cx).map_err(|_| TransferError::Sink)
    }

    /// Whether a frame of the gateway's own may follow what has been written: that is whole frames of a WebSocket.
    pub(crate) fn takes_frame(&self) -> bool {
        let written = self.payload.is_empty() && self.out_at == self.out.len() && !self.has_unread();
        written && matches!(&self.reading, Reading::Frames(frames) if frames.takes_another())
    }

    /// Whether anything may still come from the source.
    pub(crate) fn needs_source(&self) -> bool {
        !self.read_all || self.has_unread()
    }

    /// Takes the buffer back, with the bytes that followed the body, if there are any.
    pub(crate) fn take_rest(&mut self, buffers: &BufferPool) -> Option<Buffer> {
        buffers.give_if_empty(&mut self.buffer);
        self.buffer.take()
    }

    /// Whether nothing of the body has been taken from where it comes, so that another transfer can begin with it.
    pub(crate) fn is_untouched(&self) -> bool {
        self.moved == 0 && !matches!(self.reading, Reading::Chunked(_))
    }

    /// Keeps what is moved from here on in `replay`, as long as that has room for it.
    pub(crate) fn keep_in(&mut self, replay: Box<Replay>) {
        self.replay = Some(replay);
    }

    /// All of the body that has been moved, if it was kept.
    pub(crate) fn take_replay(&mut self) -> Option<Box<Replay>> {
        self.replay.take()
    }

    /// Whether bytes of the body are here that have not been written.
    pub(crate) fn has_unread(&self) -> bool {
        self.buffer.as_ref().is_some_and(|buffer| !buffer.is_empty())
    }

    /// What passes of the trailers that came with the body, once it has ended, or else of those `behind` the stream that it was.
    pub(crate) fn trailers_or<'t>(&'t self, behind: Option<&'t Trailers>) -> Option<Cow<'t, Trailers>> {
        self.trailers().or(behind).map(|trailers| self.passing(trailers))
    }

    /// The trailers that came with the body, once it has ended.
    fn trailers(&self) -> Option<&Trailers> {
        match &self.reading {
            Reading::Chunked(decoder) => Some(decoder.trailers()),
            Reading::Length(_) | Reading::UntilClose | Reading::Frames(_) => None,
        }
    }

    /// The memory of `out`, for another use.
    pub(crate) fn take_out(&mut self) -> Vec<u8> {
        self.out_at = 0;
        std::mem::take(&mut self.out)
    }

    /// Holds what waits to be written in as much memory as it needs.
    fn shrink(&mut self, buffers: &BufferPool) {
        let Some(buffer) = &mut self.buffer else { return };
        let at = if self.payload.is_empty() { buffer.position() } else { self.payload.start };
        if buffers.shrink(buffer, at) {
            self.payload = if self.payload.is_empty() { 0..0 } else { 0..self.payload.end - at };
        }
    }

    fn poll_write_out<D: ByteStream>(&mut self, cx: &mut Context<'_>, sink: &mut D) -> Poll<io::Result<()>> {
        loop {
            let head = self.out.get(self.out_at..).unwrap_or_default();
            let body = match &self.buffer {
                Some(buffer) if !self.payload.is_empty() => buffer.slice(self.payload.clone()),
                _ => &[],
            };
            if head.is_empty() && body.is_empty() {
                self.out.clear();
                self.out_at = 0;
                return Poll::Ready(Ok(()));
            }
            self.waiting = Waiting::Sink;
            let head_len = head.len();
            let taken = ready!(sink.poll_write(cx, head, body))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.progress += taken as u64;
            self.out_at += taken.min(head_len);
            self.payload.start += taken.saturating_sub(head_len);
        }
    }

    fn poll_read_more<S: ByteStream, D: ByteStream>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &mut D,
        buffers: &BufferPool,
    ) -> Poll<Result<(), TransferError>> {
        let room = match sink.poll_room(cx) {
            Poll::Ready(Ok(room)) => room,
            Poll::Ready(Err(_)) => return Poll::Ready(Err(TransferError::Sink)),
            Poll::Pending => {
                self.waiting = Waiting::Sink;
                buffers.give_if_empty(&mut self.buffer);
                return Poll::Pending;
            }
        };
        let mut buffer = buffers.renew(self.buffer.take());
        let slot = buffer.room();
        let limit = room.min(slot.len());
        match source.poll_read(cx, slot.get_mut(..limit).unwrap_or_default()) {
            Poll::Pending => {
                buffers.give(buffer);
                sink.give_back_room();
                // What was taken must not wait for what comes later: an event stream is written as it arrives.
                if let Poll::Ready(Err(_)) = sink.poll_flush(cx) {
                    return Poll::Ready(Err(TransferError::Sink));
                }
                Poll::Pending
            }
            Poll::Ready(Err(_)) => {
                buffers.give(buffer);
                Poll::Ready(Err(TransferError::Source))
            }
            Poll::Ready(Ok(0)) => {
                buffers.give(buffer);
                Poll::Ready(self.source_ended(source.trailers()))
            }
            Poll::Ready(Ok(count)) => {
                self.progress += count as u64;
                buffer.filled(count);
                self.buffer = Some(buffer);
                Poll::Ready(Ok(()))
            }
        }
    }

    fn source_ended(&mut self, trailers: Option<&Trailers>) -> Result<(), TransferError> {
        match self.reading {
            Reading::UntilClose | Reading::Frames(_) => {
                self.read_all = true;
                if self.writing == Writing::Chunked {
                    match trailers {
                        Some(trailers) => {
                            let passing = self.passing(trailers);
                            write_last_chunk(&mut self.out, &passing);
                        }
                        None => self.out.extend_from_slice(b"0\r\n\r\n"),
                    }
                }
                Ok(())
            }
            Reading::Length(_) | Reading::Chunked(_) => Err(TransferError::Source),
        }
    }

    /// What passes of the trailers that came behind a stream.
    fn passing<'t>(&self, trailers: &'t Trailers) -> Cow<'t, Trailers> {
        let mut passing = Cow::Borrowed(trailers);
        if !trailers.is_empty() && self.dropped.is_some() {
            drop_trailers(self.dropped.as_ref(), passing.to_mut());
        }
        passing
    }

    /// Turns unread bytes into payload to be written, with its framing.
    fn decode(&mut self) -> Result<(), TransferError> {
        let Some(mut buffer) = self.buffer.take() else { return Ok(()) };
        let outcome = if buffer.is_empty() { Ok(()) } else { self.decode_buffer(&mut buffer) };
        self.buffer = Some(buffer);
        outcome
    }

    fn decode_buffer(&mut self, buffer: &mut Buffer) -> Result<(), TransferError> {
        let begin = buffer.position();
        let mut end = begin;
        match &mut self.reading {
            Reading::Length(left) => {
                let count = buffer.unread().len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                buffer.consume(count);
                *left -= count as u64;
                self.read_all = *left == 0;
                end += count;
            }
            Reading::UntilClose => {
                let count = buffer.unread().len();
                buffer.consume(count);
                end += count;
            }
            Reading::Frames(frames) => {
                let count = buffer.unread().len();
                frames.pass(buffer.unread());
                buffer.consume(count);
                end += count;
            }
            Reading::Chunked(decoder) => {
                while !buffer.is_empty() {
                    let at = buffer.position();
                    let (consumed, step) = decoder.step(buffer.unread()).map_err(TransferError::Malformed)?;
                    buffer.consume(consumed);
                    match step {
                        ChunkStep::NeedMore => break,
                        ChunkStep::Data { range } => {
                            // Payloads are drawn together, so that one read becomes one chunk and one write.
                            buffer.shift(at + range.start..at + range.end, end);
                            end += range.len();
                        }
                        ChunkStep::Done => {
                            drop_trailers(self.dropped.as_ref(), decoder.trailers_mut());
                            self.read_all = true;
                            break;
                        }
                    }
                }
            }
        }
        self.payload = begin..end;
        self.moved += (end - begin) as u64;
        if self.replay.as_mut().is_some_and(|replay| !replay.add(buffer.slice(begin..end))) {
            self.replay = None;
        }
        if self.moved > self.bytes_max {
            return Err(TransferError::TooLarge);
        }
        if self.writing == Writing::Chunked {
            self.frame(buffer);
        }
        Ok(())
    }

    /// Puts chunk framing around the payload: the size in front, the line end behind it in the room that decoding freed.
    fn frame(&mut self, buffer: &mut Buffer) {
        let mut ends_in_buffer = false;
        if !self.payload.is_empty() {
            write_chunk_head(&mut self.out, self.payload.len());
            ends_in_buffer = buffer.put(self.payload.end, b"\r\n");
            if ends_in_buffer {
                self.payload.end += 2;
            } else {
                // No room behind it (bytes of the next message follow at once): the payload joins the framing in `out`.
                self.out.extend_from_slice(buffer.slice(self.payload.clone()));
                self.out.extend_from_slice(b"\r\n");
                self.payload = 0..0;
            }
        }
        if self.read_all {
            self.frame_end(buffer, ends_in_buffer);
        }
    }

    fn frame_end(&mut self, buffer: &mut Buffer, payload_in_buffer: bool) {
        let mut last = Vec::new();
        match &self.reading {
            Reading::Chunked(decoder) => write_last_chunk(&mut last, decoder.trailers()),
            Reading::Length(_) | Reading::UntilClose | Reading::Frames(_) => last.extend_from_slice(b"0\r\n\r\n"),
        }
        if payload_in_buffer && buffer.put(self.payload.end, &last) {
            self.payload.end += last.len();
        } else {
            if payload_in_buffer {
                self.out.extend_from_slice(buffer.slice(self.payload.clone()));
                self.payload = 0..0;
            }
            self.out.extend_from_slice(&last);
        }
    }
}

#[cfg(test)]
mod tests;
