//! A body that comes by a stream, and the trailers behind it.

use crate::convert::fields;
use crate::gone;
use bytes::{Buf, Bytes};
use h2::RecvStream;
use portcullis_model::Reason;
use portcullis_wire::{Fields, Trailers};
use std::io;
use std::task::{Context, Poll, ready};

/// A body that comes by a stream.
pub struct Incoming {
    stream: RecvStream,
    /// What came and has not been read.
    unread: Bytes,
    /// Bytes that are to come, where that is not checked by others.
    left: Option<u64>,
    trailers: Option<Trailers>,
    /// Whose fault it is if trailers are not well-formed.
    blame: Reason,
}

impl Incoming {
    /// The body that comes by a stream. `length` is how long it must be, unless somebody else looks at that; `blame` is the reason for
    /// trailers that are not well-formed.
    #[must_use]
    pub fn new(stream: RecvStream, length: Option<u64>, blame: Reason) -> Self {
        Self { stream, unread: Bytes::new(), left: length, trailers: None, blame }
    }

    /// Whether nothing more will come.
    #[must_use]
    pub fn is_end(&self) -> bool {
        self.stream.is_end_stream()
    }

    /// Reads into `buf`; 0 is the end of the body and of the trailers behind it.
    ///
    /// # Errors
    /// When the stream is gone, the body has another length than was told, or the trailers are not well-formed.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        while self.unread.is_empty() {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    if let Some(left) = &mut self.left {
                        *left = left.checked_sub(data.len() as u64).ok_or(io::ErrorKind::InvalidData)?;
                    }
                    self.unread = data;
                }
                Some(Err(_)) => return Poll::Ready(Err(gone())),
                None if self.left.is_some_and(|left| left > 0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                None => return self.poll_trailers(cx).map_ok(|()| 0),
            }
        }
        let count = self.unread.len().min(buf.len());
        if let Some(slot) = buf.get_mut(..count) {
            slot.copy_from_slice(self.unread.get(..count).unwrap_or_default());
        }
        self.unread.advance(count);
        // Whoever reads has passed on what was read before: the window opens as fast as the body goes on its way.
        self.stream.flow_control().release_capacity(count).map_err(|_| gone())?;
        Poll::Ready(Ok(count))
    }

    fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(self.stream.poll_trailers(cx)) {
            Ok(None) => Poll::Ready(Ok(())),
            Ok(Some(map)) => match Fields::read_trailers(fields(&map), self.blame) {
                Ok(trailers) => {
                    self.trailers = Some(trailers);
                    Poll::Ready(Ok(()))
                }
                Err(_) => Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            },
            Err(_) => Poll::Ready(Err(gone())),
        }
    }

    /// The trailers, once the body has ended.
    #[must_use]
    pub fn trailers(&self) -> Option<&Trailers> {
        self.trailers.as_ref()
    }

    /// Reads on and throws away, until the body has ended or `left` bytes have come.
    pub fn poll_discard(&mut self, cx: &mut Context<'_>, left: &mut usize) -> Poll<()> {
        while *left > 0 && !self.stream.is_end_stream() {
            let Some(Ok(data)) = ready!(self.stream.poll_data(cx)) else { return Poll::Ready(()) };
            *left = left.saturating_sub(data.len());
            if self.stream.flow_control().release_capacity(data.len()).is_err() {
                return Poll::Ready(());
            }
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::Incoming;
    use bytes::Bytes;
    use http::{HeaderMap, Request, Response};
    use portcullis_model::Reason;
    use std::future::poll_fn;
    use std::io;

    /// What is read of a body of `sent` with these trailers, when `length` was told.
    async fn read(
        sent: &'static [u8],
        trailers: &[(&'static str, &'static str)],
        length: Option<u64>,
    ) -> io::Result<(Vec<u8>, String)> {
        let (one, two) = tokio::io::duplex(64 * 1024);
        let mut map = HeaderMap::new();
        map.extend(trailers.iter().map(|(name, value)| (Some(name.parse().unwrap()), value.parse().unwrap())));
        let client = async move {
            let (mut send, connection) = h2::client::handshake(one).await.unwrap();
            let (_answer, mut body) = send.send_request(Request::new(()), false).unwrap();
            body.send_data(Bytes::from_static(sent), false).unwrap();
            body.send_trailers(map).unwrap();
            // Ends when the other side is dropped.
            let _ended = connection.await;
        };
        let server = async move {
            let mut connection = h2::server::handshake(two).await.unwrap();
            let (request, mut respond) = connection.accept().await.unwrap().unwrap();
            respond.send_response(Response::new(()), true).unwrap();
            let mut incoming = Incoming::new(request.into_body(), length, Reason::RequestMalformed);
            let reading = async {
                let (mut body, mut part) = (Vec::new(), [0; 3]);
                loop {
                    match poll_fn(|cx| incoming.poll_read(cx, &mut part)).await? {
                        0 => break,
                        count => body.extend_from_slice(&part[..count]),
                    }
                }
                let trailers = incoming.trailers().map(|trailers| trailers.end_to_end().collect::<Vec<_>>());
                Ok((body, format!("{:?}", trailers.unwrap_or_default().first().map(|(name, value)| [*name, *value].concat()))))
            };
            tokio::select! { outcome = reading => outcome, _ = poll_fn(|cx| connection.poll_closed(cx)) => panic!("the connection ended") }
        };
        tokio::join!(client, server).1
    }

    #[tokio::test]
    async fn a_body_comes_in_the_parts_that_are_asked_for_with_the_trailers_behind_it() {
        let (body, trailers) = read(b"hello world", &[("x-sum", "11"), ("content-length", "5")], Some(11)).await.unwrap();
        assert_eq!((body.as_slice(), trailers), (&b"hello world"[..], format!("{:?}", Some(b"x-sum11"))));
    }

    #[tokio::test]
    async fn another_length_than_was_told_is_an_error() {
        let kind = async |told| read(b"hello", &[], told).await.map(|(body, _)| body).map_err(|error| error.kind());
        assert_eq!(kind(Some(4)).await, Err(io::ErrorKind::InvalidData));
        assert_eq!(kind(Some(6)).await, Err(io::ErrorKind::UnexpectedEof));
        assert_eq!(kind(None).await, Ok(b"hello".to_vec()));
    }
}
