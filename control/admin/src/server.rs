//! What both servers share: bounded HTTP/1.1 on a small scale.

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// How many management connections are served at a time.
pub(crate) const CONNECTIONS_MAX: usize = 64;
const HEADER_DEADLINE: Duration = Duration::from_secs(5);
const CONNECTION_DEADLINE: Duration = Duration::from_secs(60);

pub(crate) type Answer = Response<Full<Bytes>>;

/// Serves one connection, for a bounded time.
pub(crate) async fn converse<S, F, A>(stream: S, handle: F)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Request<Incoming>) -> A,
    A: Future<Output = Answer>,
{
    let service = service_fn(|request| {
        let answer = handle(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    // A connection that fails or outstays its time concerns only its own client.
    let _ended = tokio::time::timeout(CONNECTION_DEADLINE, connection).await;
}

/// An answer with a body.
pub(crate) fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(hyper::header::CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    headers.insert(hyper::header::CACHE_CONTROL, hyper::header::HeaderValue::from_static("no-store"));
    headers.insert(hyper::header::X_CONTENT_TYPE_OPTIONS, hyper::header::HeaderValue::from_static("nosniff"));
    answer
}

/// An answer in JSON.
pub(crate) fn json<T: serde::Serialize>(status: StatusCode, value: &T) -> Answer {
    match serde_json::to_vec_pretty(value) {
        Ok(mut body) => {
            body.push(b'\n');
            answer(status, "application/json", body)
        }
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the answer could not be written"),
    }
}

#[derive(serde::Serialize)]
struct Problem<'p> {
    code: &'p str,
    detail: &'p str,
    status: u16,
    title: &'p str,
    #[serde(rename = "type")]
    kind: &'static str,
}

/// A refusal (RFC 9457).
pub(crate) fn problem(status: StatusCode, code: &str, detail: &str) -> Answer {
    let title = status.canonical_reason().unwrap_or("refused");
    let problem = Problem { code, detail, status: status.as_u16(), title, kind: "about:blank" };
    match serde_json::to_string(&problem) {
        Ok(body) => answer(status, "application/problem+json", format!("{body}\n")),
        Err(_) => answer(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", "the answer could not be written\n"),
    }
}
