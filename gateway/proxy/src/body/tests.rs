use super::{Reading, Transfer, TransferError, Waiting, Writing};
use crate::buffers::BufferPool;
use crate::stream::ByteStream;
use portcullis_wire::ChunkedDecoder;
use std::io;
use std::task::{Context, Poll, Waker};

/// A connection that gives `given` at once, and takes as many bytes as it has `room` for.
#[derive(Default)]
struct End {
    given: Vec<u8>,
    taken: Vec<u8>,
    room: usize,
    is_flushed: bool,
    is_gone: bool,
}

impl ByteStream for End {
    fn poll_read(&mut self, _: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let count = self.given.len().min(buf.len());
        buf[..count].copy_from_slice(&self.given[..count]);
        self.given.drain(..count);
        if count == 0 { Poll::Pending } else { Poll::Ready(Ok(count)) }
    }
    fn poll_write(&mut self, _: &mut Context<'_>, head: &[u8], body: &[u8]) -> Poll<io::Result<usize>> {
        let taken: Vec<u8> = head.iter().chain(body).copied().take(self.room).collect();
        match (self.is_gone, taken.len()) {
            (true, _) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            (_, 0) => Poll::Pending,
            (_, count) => {
                self.room -= count;
                self.taken.extend(taken);
                Poll::Ready(Ok(count))
            }
        }
    }
    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_flushed { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn what_the_source_has_given_whole_goes_on_its_way_without_it() {
    let chunked = || Reading::Chunked(Box::new(ChunkedDecoder::for_response()));
    let whole: [(Reading, Writing, &[u8], &[u8]); 2] = [
        (Reading::Length(10), Writing::Plain, b"0123456789", b"head 0123456789"),
        (
            chunked(),
            Writing::Chunked,
            b"4\r\n0123\r\n6\r\n456789\r\n0\r\nx-sum: 1\r\n\r\n",
            b"head A\r\n0123456789\r\n0\r\nx-sum: 1\r\n\r\n",
        ),
    ];
    for (reading, writing, given, expected) in whole {
        let (buffers, mut cx) = (BufferPool::default(), Context::from_waker(Waker::noop()));
        let mut transfer = Transfer::new(reading, writing, b"head ".to_vec(), None, u64::MAX, None);
        // All but the last byte of what comes leaves the source needed.
        let mut source = End { given: given[..given.len() - 1].to_vec(), ..End::default() };
        let mut sink = End { room: 7, ..End::default() };
        assert!(transfer.poll(&mut cx, &mut source, &mut sink, &buffers).is_pending() && transfer.needs_source());
        source.given = given[given.len() - 1..].to_vec();
        sink.room = 6;
        assert!(transfer.poll(&mut cx, &mut source, &mut sink, &buffers).is_pending());
        if transfer.needs_source() {
            sink.room = expected.len() - sink.taken.len() - 1;
            assert!(transfer.poll(&mut cx, &mut source, &mut sink, &buffers).is_pending());
        }
        assert!(!transfer.needs_source() && transfer.waiting == Waiting::Sink && sink.taken.len() < expected.len());
        drop(source);
        assert!(transfer.poll_rest(&mut cx, &mut sink).is_pending() && transfer.waiting == Waiting::Sink);
        let before = transfer.progress;
        sink.room = 100;
        assert!(transfer.poll_rest(&mut cx, &mut sink).is_pending(), "what was taken is not on its way yet");
        assert_eq!((sink.taken.as_slice(), transfer.moved), (expected, 10));
        assert!(transfer.progress > before && transfer.waiting == Waiting::Sink);
        sink.is_flushed = true;
        assert!(matches!(transfer.poll_rest(&mut cx, &mut sink), Poll::Ready(Ok(()))));
        assert_eq!(sink.taken, expected, "nothing is written twice");
    }
}

#[test]
fn a_client_that_goes_while_the_rest_is_written_is_the_end_of_it() {
    let (buffers, mut cx) = (BufferPool::default(), Context::from_waker(Waker::noop()));
    let mut transfer = Transfer::new(Reading::Length(3), Writing::Plain, Vec::new(), None, u64::MAX, None);
    let (mut source, mut sink) = (End { given: b"abc".to_vec(), ..End::default() }, End::default());
    assert!(transfer.poll(&mut cx, &mut source, &mut sink, &buffers).is_pending() && !transfer.needs_source());
    sink.is_gone = true;
    assert!(matches!(transfer.poll_rest(&mut cx, &mut sink), Poll::Ready(Err(TransferError::Sink))));
}
