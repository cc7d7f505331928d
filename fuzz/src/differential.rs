//! What we accept, hyper reads the same way: method, target, host and body.

use crate::targets::accepted;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use portcullis_wire::{BodyFraming, ChunkStep, ChunkedDecoder};
use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use tokio::io::AsyncWriteExt;

/// What a reader made of a request.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    method: Vec<u8>,
    path: Vec<u8>,
    query: Option<Vec<u8>>,
    host: String,
    body: Vec<u8>,
}

/// The bytes that escapes stand for: the canonical form spells them in one way, hyper as they came.
fn decoded(escaped: &[u8]) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::with_capacity(escaped.len()), escaped);
    while let Some((byte, behind)) = rest.split_first() {
        let digits = behind.get(..2).filter(|_| *byte == b'%').and_then(|pair| std::str::from_utf8(pair).ok());
        match digits.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(value) => {
                bytes.push(value);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*byte);
                rest = behind;
            }
        }
    }
    bytes
}

/// Our reading of the first request, and where it ends; nothing when we refuse it or it is not complete.
fn ours(data: &[u8]) -> Option<(Read, usize)> {
    let (head, length) = accepted(data)?;
    let rest = data.get(length..)?;
    let (body, used) = match head.framing() {
        BodyFraming::None => (Vec::new(), 0),
        BodyFraming::Length(count) => {
            let count = usize::try_from(count).ok()?;
            (rest.get(..count)?.to_vec(), count)
        }
        BodyFraming::Chunked => {
            let (mut decoder, mut body, mut at) = (ChunkedDecoder::for_request(), Vec::new(), 0);
            loop {
                let (consumed, step) = decoder.step(rest.get(at..)?).ok()?;
                match step {
                    ChunkStep::Data { range } => body.extend_from_slice(rest.get(at..)?.get(range)?),
                    ChunkStep::Done => break (body, at + consumed),
                    ChunkStep::NeedMore => return None,
                }
                at += consumed;
            }
        }
    };
    let host = head.fields().first_named("host").map(|host| String::from_utf8_lossy(host).into_owned()).unwrap_or_default();
    let (path, query) = (decoded(head.path().as_bytes()), head.query().map(|query| decoded(query.as_bytes())));
    Some((Read { method: head.method_bytes().to_vec(), path, query, host, body }, length + used))
}

/// Hyper's reading of every request in the bytes.
fn hypers(data: &[u8]) -> Vec<Read> {
    let read: Rc<RefCell<Vec<Read>>> = Rc::default();
    let seen = Rc::clone(&read);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        client.write_all(data).await.expect("written to memory");
        client.shutdown().await.expect("ended in memory");
        let service = service_fn(move |request: Request<Incoming>| {
            let seen = Rc::clone(&seen);
            async move {
                let method = request.method().as_str().as_bytes().to_vec();
                let path = decoded(request.uri().path().as_bytes());
                let query = request.uri().query().filter(|query| !query.is_empty()).map(|query| decoded(query.as_bytes()));
                let host = request.headers().get("host").map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
                if let Ok(body) = request.into_body().collect().await {
                    seen.borrow_mut().push(Read {
                        method,
                        path,
                        query,
                        host: host.unwrap_or_default(),
                        body: body.to_bytes().to_vec(),
                    });
                }
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
            }
        });
        // Without half_close the end of the input ends the connection before the service is asked, and nothing would be compared.
        // A request that hyper refuses ends its connection; what it read before counts.
        let _ended = http1::Builder::new().half_close(true).serve_connection(TokioIo::new(server), service).await;
        drop(client);
    });
    read.take()
}

/// The first request that we accept whole must be the first that hyper reads, with the same body; were it not, one of the two would
/// take part of a body for a request.
pub(crate) fn differential(data: &[u8]) {
    let Some((mine, end)) = ours(data) else { return };
    let all = hypers(data.get(..end).unwrap_or_default());
    assert!(all.len() <= 1, "hyper reads {} requests where we read one", all.len());
    // Hyper may refuse what we accept (it knows no methods beyond its own limits); it may not read it otherwise.
    if let Some(theirs) = all.first() {
        assert_eq!(*theirs, mine);
    }
}

#[cfg(test)]
mod tests {
    use super::{hypers, ours};

    #[test]
    fn hyper_is_asked_and_answers() {
        for request in [
            &b"GET /a%2Db?c=%64 HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
            b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ] {
            let (mine, end) = ours(request).unwrap();
            assert_eq!((hypers(request), end), (vec![mine], request.len()));
        }
    }
}
