//! Checks by HTTP/1.1, and the connections that stay open between them. What is kept has no buffers: a descriptor, and the session of TLS.

use crate::connect::open_unresumed;
use crate::connection::Stream;
use crate::endpoint::Endpoint;
use crate::errand::{ErrandFailure, LIMITS, send};
use crate::tls::ClientStream;
use portcullis_wire::{ChunkStep, ChunkedDecoder, HeadFinder, Method, ResponseFraming, ResponseHead};
use std::future::poll_fn;
use std::io::{ErrorKind, Read, Write};
use std::task::{Context, Poll, Waker, ready};
use tokio::net::TcpStream;

/// The longest body that is read so that a connection may be kept.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// A status by which some servers close a connection that was not used for a while (RFC 9110 section 15.5.9).
const REQUEST_TIMEOUT: u16 = 408;

#[derive(Debug)]
enum Carrier {
    // Out of the runtime's hands, which would hold memory for each, and be woken when one ends.
    Tcp(std::net::TcpStream),
    Tls(Box<ClientStream>),
}

/// A connection to an endpoint on which a check was answered, and nothing is under way.
#[derive(Debug)]
pub struct KeptConnection(Carrier);

impl KeptConnection {
    /// Whether it holds a session of TLS, and the memory of one.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        matches!(self.0, Carrier::Tls(_))
    }

    fn keep(stream: Stream) -> Option<Self> {
        match stream {
            Stream::Tcp(tcp) => Some(Self(Carrier::Tcp(tcp.into_std().ok()?))),
            Stream::Tls(tls) => Some(Self(Carrier::Tls(tls))),
        }
    }

    /// Asks on it without waiting, where it is in plain text, and nothing has happened to it.
    pub(crate) fn ask(self, request: &[u8]) -> Result<Asked, Option<Self>> {
        match self.0 {
            Carrier::Tls(_) => Err(Some(self)),
            Carrier::Tcp(tcp) if !is_quiet(&tcp) => Err(None),
            Carrier::Tcp(tcp) => match (&tcp).write(request) {
                Ok(count) if count == request.len() => Ok(Asked(tcp)),
                _ => Err(None),
            },
        }
    }

    /// The connection, unless it was closed or something was sent on it in the meantime.
    fn resume(self) -> Option<Stream> {
        match self.0 {
            Carrier::Tcp(tcp) => is_quiet(&tcp).then(|| TcpStream::from_std(tcp).ok().map(Stream::Tcp))?,
            Carrier::Tls(tls) => {
                let (mut one, mut stream) = ([0_u8; 1], Stream::Tls(tls));
                let is_fresh = stream.poll_read(&mut Context::from_waker(Waker::noop()), &mut one).is_pending();
                is_fresh.then_some(stream)
            }
        }
    }
}

/// Whether a connection was not closed, and nothing was sent on it.
fn is_quiet(tcp: &std::net::TcpStream) -> bool {
    tcp.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// A kept connection in plain text on which it was asked. Nobody is woken by the answer; whoever asked many looks for all answers at once,
/// which takes a third of the system calls.
#[derive(Debug)]
pub struct Asked(std::net::TcpStream);

/// What has come of a connection on which it was asked.
#[derive(Debug)]
pub enum Heard {
    /// Nothing yet.
    Nothing(Asked),
    /// A whole answer that keeps the connection, with this status.
    Whole(u16, KeptConnection),
    /// Something that takes waiting, or another connection.
    Unfinished(Option<Begun>),
}

/// A connection on which an answer has begun, and what has come of it.
#[derive(Debug)]
pub struct Begun(std::net::TcpStream, Vec<u8>);

impl Asked {
    /// Looks for the answer, by `scratch`, which is to have some KiB.
    #[must_use]
    pub fn hear(self, scratch: &mut [u8]) -> Heard {
        let count = match (&self.0).read(scratch) {
            Ok(count) if count > 0 => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Heard::Nothing(self),
            // It says nothing about the endpoint.
            _ => return Heard::Unfinished(None),
        };
        let bytes = scratch.get(..count).unwrap_or_default();
        match whole(bytes) {
            Some(status) => Heard::Whole(status, KeptConnection(Carrier::Tcp(self.0))),
            None => Heard::Unfinished(Some(Begun(self.0, bytes.to_vec()))),
        }
    }
}

/// The status of an answer, if these bytes are all of it and the connection may be kept.
fn whole(bytes: &[u8]) -> Option<u16> {
    let mut head = ResponseHead::default();
    let length = HeadFinder::default().find(bytes, &LIMITS).ok()??;
    let (first, rest) = bytes.split_at_checked(length)?;
    head.parse(first, &LIMITS, Method::parse(b"GET")).ok()?;
    let is_whole = match head.framing() {
        ResponseFraming::None => rest.is_empty(),
        ResponseFraming::Length(length) => rest.len() as u64 == length,
        ResponseFraming::Chunked => is_last(&mut ChunkedDecoder::for_response(), rest)?,
        ResponseFraming::UntilClose => false,
    };
    (head.status() >= 200 && head.status() != REQUEST_TIMEOUT && head.keep_alive() && is_whole).then(|| head.status())
}

/// What a check begins with.
#[derive(Debug)]
pub(crate) enum Start {
    Kept(KeptConnection),
    Begun(Begun),
}

/// The head of an answer, and what came behind it.
pub(crate) struct Answer {
    pub(crate) status: u16,
    stream: Stream,
    framing: ResponseFraming,
    keep_alive: bool,
    rest: Vec<u8>,
}

/// Asks on the connection that was kept, or else on a new one. One that turns out to be closed says nothing about the endpoint: it is
/// asked again on a new one.
pub(crate) async fn ask(endpoint: &Endpoint, start: Option<Start>, request: &[u8]) -> Result<Answer, ErrandFailure> {
    let answer = match start {
        Some(Start::Kept(kept)) => match kept.resume() {
            Some(stream) => ask_on(stream, request).await,
            None => Err(NoAnswer::NotBegun),
        },
        Some(Start::Begun(Begun(tcp, received))) => match TcpStream::from_std(tcp) {
            Ok(tcp) => hear(Stream::Tcp(tcp), received).await,
            Err(_) => Err(NoAnswer::NotBegun),
        },
        None => Err(NoAnswer::NotBegun),
    };
    match answer {
        Ok(answer) if answer.status != REQUEST_TIMEOUT => return Ok(answer),
        Ok(_) | Err(NoAnswer::NotBegun) => {}
        Err(NoAnswer::Failed(failure)) => return Err(failure),
    }
    let stream = open_unresumed(endpoint).await.map_err(|_| ErrandFailure::Unreachable)?;
    ask_on(stream, request).await.map_err(|none| match none {
        NoAnswer::NotBegun => ErrandFailure::Ended,
        NoAnswer::Failed(failure) => failure,
    })
}

enum NoAnswer {
    /// The connection ended before the first byte.
    NotBegun,
    Failed(ErrandFailure),
}

async fn ask_on(mut stream: Stream, request: &[u8]) -> Result<Answer, NoAnswer> {
    send(&mut stream, request).await.map_err(|_| NoAnswer::NotBegun)?;
    hear(stream, Vec::with_capacity(2048)).await
}

/// Waits for the head of the answer, of which this much has been received.
async fn hear(mut stream: Stream, mut received: Vec<u8>) -> Result<Answer, NoAnswer> {
    let malformed = |_| NoAnswer::Failed(ErrandFailure::Malformed);
    let (mut finder, mut head, mut begun) = (HeadFinder::default(), ResponseHead::default(), !received.is_empty());
    loop {
        // The finder bounds what is received: a head that is longer is malformed.
        while let Some(length) = finder.find(&received, &LIMITS).map_err(malformed)? {
            let bytes: Vec<u8> = received.drain(..length).collect();
            finder.reset();
            head.parse(&bytes, &LIMITS, Method::parse(b"GET")).map_err(malformed)?;
            // Interim answers come before the one that counts.
            if head.status() >= 200 {
                let (framing, keep_alive) = (head.framing(), head.keep_alive());
                return Ok(Answer { status: head.status(), stream, framing, keep_alive, rest: received });
            }
        }
        if !receive(&mut stream, &mut received).await.unwrap_or(false) {
            return Err(if begun { NoAnswer::Failed(ErrandFailure::Ended) } else { NoAnswer::NotBegun });
        }
        begun = true;
    }
}

/// Reads what has come behind what is there; false at the end.
async fn receive(stream: &mut Stream, received: &mut Vec<u8>) -> std::io::Result<bool> {
    poll_fn(|cx| {
        let mut buffer = [0_u8; 2048];
        let count = ready!(stream.poll_read(cx, &mut buffer))?;
        received.extend_from_slice(buffer.get(..count).unwrap_or_default());
        Poll::Ready(Ok(count > 0))
    })
    .await
}

impl Answer {
    /// Reads the body to its end. The connection is given back if another request may follow on it.
    pub(crate) async fn finish(mut self) -> Option<KeptConnection> {
        if !self.keep_alive {
            return None;
        }
        let mut decoder = ChunkedDecoder::for_response();
        let (mut bytes, mut total) = (self.rest, 0);
        loop {
            total += bytes.len();
            let is_whole = match self.framing {
                ResponseFraming::None => bytes.is_empty().then_some(true)?,
                // More than the body belongs to nobody.
                ResponseFraming::Length(length) if length > BODY_BYTES_MAX as u64 || total as u64 > length => return None,
                ResponseFraming::Length(length) => total as u64 == length,
                ResponseFraming::Chunked => is_last(&mut decoder, &bytes)?,
                ResponseFraming::UntilClose => return None,
            };
            if is_whole {
                return KeptConnection::keep(self.stream);
            }
            bytes.clear();
            if total > BODY_BYTES_MAX || !receive(&mut self.stream, &mut bytes).await.unwrap_or(false) {
                return None;
            }
        }
    }
}

/// Whether a body in chunks ends with the last of these bytes. None: it is malformed, or something comes behind it.
fn is_last(decoder: &mut ChunkedDecoder, mut bytes: &[u8]) -> Option<bool> {
    while !bytes.is_empty() {
        let (consumed, step) = decoder.step(bytes).ok()?;
        bytes = bytes.get(consumed..)?;
        if step == ChunkStep::Done {
            return bytes.is_empty().then_some(true);
        }
        if consumed == 0 {
            return None;
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::{is_last, whole};
    use portcullis_wire::ChunkedDecoder;

    #[test]
    fn a_body_in_chunks_is_whole_with_its_last_byte_and_nothing_may_follow() {
        let whole = b"3;x=y\r\nabc\r\n1\r\nd\r\n0\r\na: b\r\n\r\n";
        for cut in 1..whole.len() {
            let mut decoder = ChunkedDecoder::for_response();
            let (first, second) = whole.split_at(cut);
            assert_eq!((is_last(&mut decoder, first), is_last(&mut decoder, second)), (Some(false), Some(true)), "{cut}");
        }
        for bad in [&b"0\r\n\r\nHTTP/1.1 408 "[..], b"3\r\nabcd", b"x"] {
            assert_eq!(is_last(&mut ChunkedDecoder::for_response(), bad), None, "{bad:?}");
        }
    }

    #[test]
    fn an_answer_is_whole_only_if_nothing_is_missing_or_behind_it_and_the_connection_stays() {
        let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        for (bytes, status) in [
            (ok, Some(200)),
            ("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", Some(503)),
            ("HTTP/1.1 204 No Content\r\n\r\n", Some(204)),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", Some(200)),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", None),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", None),
            ("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n", None),
            ("HTTP/1.1 103 Early Hints\r\n\r\n", None),
            ("HTTP/1.1 200 OK\r\n\r\nok", None),
            ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", None),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nok", None),
            ("nonsense\r\n\r\n", None),
        ] {
            assert_eq!(whole(bytes.as_bytes()), status, "{bytes}");
        }
        assert!((0..ok.len()).all(|cut| whole(&ok.as_bytes()[..cut]).is_none()));
    }
}
