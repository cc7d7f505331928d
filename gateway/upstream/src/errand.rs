//! What the gateway itself asks of an endpoint. Made of the configuration alone: it cannot carry a client's request.

use crate::connect::open_unresumed;
use crate::connection::Stream;
use crate::endpoint::Endpoint;
use crate::grpc_health;
use crate::h2::{Question, ask};
use crate::kept::{self, Asked, Begun, KeptConnection, Start};
use portcullis_wire::HeadLimits;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long the rest of an answer may take, when the connection is to be kept.
const BODY_WITHIN: Duration = Duration::from_millis(250);

/// What the head of an answer may have.
pub(crate) const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 16 * 1024, fields_max: 128, target_bytes_max: 8 * 1024 };

/// Something that is asked of an endpoint, to learn whether it is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    /// Whether it accepts a connection, and does the TLS handshake if it has one.
    Tcp,
    /// Whether it answers a GET well.
    Http {
        /// The path, which begins with `/` and has no character that could end the line.
        path: Arc<str>,
        /// The host asked for; the endpoint's own when none is given.
        host: Option<Arc<str>>,
        /// The status of a good answer; any 2xx when none is given.
        status: Option<u16>,
        /// Whether it is asked by HTTP/2.
        by_http2: bool,
    },
    /// Whether it says by the health protocol of gRPC (grpc.health.v1) that it serves.
    Grpc {
        /// The service that is asked about; empty for the server as a whole. Nothing but visible ASCII.
        service: Arc<str>,
        /// The host asked for; the endpoint's own when none is given.
        host: Option<Arc<str>>,
    },
}

/// Why an errand failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrandFailure {
    /// No answer in time.
    Late,
    /// No connection, or no TLS that could be verified.
    Unreachable,
    /// The connection ended before the answer.
    Ended,
    /// What was answered is not HTTP as it should be.
    Malformed,
    /// It answered with another status.
    Status(u16),
    /// The call of gRPC failed with this status.
    Grpc(u16),
    /// It says that it does not serve.
    NotServing,
}

impl std::fmt::Display for ErrandFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Late => f.write_str("no answer in time"),
            Self::Unreachable => f.write_str("no connection"),
            Self::Ended => f.write_str("the connection ended before the answer"),
            Self::Malformed => f.write_str("the answer is not well-formed"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Grpc(status) => write!(f, "grpc-status {status}"),
            Self::NotServing => f.write_str("it says that it does not serve"),
        }
    }
}

/// What a check may do with connections.
#[derive(Debug, Default)]
pub struct Line {
    /// One that is open since an earlier check; without one, the check makes its own.
    pub kept: Option<KeptConnection>,
    /// One on which the answer has begun already.
    pub begun: Option<Begun>,
    /// Whether the connection is wanted for the next check.
    pub keep: bool,
}

impl Errand {
    /// Whether it can leave a connection for the next check.
    #[must_use]
    pub fn keeps(&self) -> bool {
        matches!(self, Self::Http { by_http2: false, .. })
    }

    /// Asks on a kept connection without waiting, for who looks for the answer himself ([`Asked::hear`]). The connection comes back where that
    /// cannot be; nothing comes back of one that has ended.
    ///
    /// # Errors
    /// When it was not asked: [`Errand::run`] does all that is to be done.
    pub fn ask(&self, endpoint: &Endpoint, kept: KeptConnection) -> Result<Asked, Option<KeptConnection>> {
        let Self::Http { path, host, by_http2: false, .. } = self else { return Err(Some(kept)) };
        kept.ask(request(path, host.as_ref(), endpoint, true).as_bytes())
    }

    /// What an answer with this status says.
    ///
    /// # Errors
    /// That it is not a good one.
    pub fn judge(&self, status: u16) -> Result<(), ErrandFailure> {
        match self {
            Self::Http { status: wanted, .. } => is_good(status, *wanted),
            Self::Tcp | Self::Grpc { .. } => is_good(status, None),
        }
    }

    /// Runs it. Gives what came of it, and the connection, where that is wanted and may be used again.
    pub async fn run(
        &self,
        endpoint: &Endpoint,
        within: Duration,
        line: Line,
    ) -> (Result<(), ErrandFailure>, Option<KeptConnection>) {
        let end = Instant::now() + within;
        let Self::Http { path, host, status: wanted, by_http2: false } = self else {
            return (timeout_at(end, self.perform(endpoint)).await.unwrap_or(Err(ErrandFailure::Late)), None);
        };
        let keep = line.keep;
        let request = request(path, host.as_ref(), endpoint, keep);
        let start = line.begun.map(Start::Begun).or(line.kept.map(Start::Kept));
        let answer = match timeout_at(end, kept::ask(endpoint, start, request.as_bytes())).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(failure)) => return (Err(failure), None),
            Err(_) => return (Err(ErrandFailure::Late), None),
        };
        match is_good(answer.status, *wanted) {
            // The status alone decides; who is slow with the body only loses the connection.
            Ok(()) if keep => {
                let body_end = end.min(Instant::now() + BODY_WITHIN);
                (Ok(()), timeout_at(body_end, answer.finish()).await.ok().flatten())
            }
            result => (result, None),
        }
    }

    async fn perform(&self, endpoint: &Endpoint) -> Result<(), ErrandFailure> {
        let stream = open_unresumed(endpoint).await.map_err(|_| ErrandFailure::Unreachable)?;
        match self {
            Self::Tcp => Ok(()),
            Self::Http { path, host, status: wanted, .. } => {
                let host = asked_for(host.as_ref(), endpoint);
                let is_secure = endpoint.tls.is_some();
                let question = Question { path, authority: &host, is_secure, message: None, body_bytes_max: 0 };
                is_good(ask(stream, question).await?.status, *wanted)
            }
            Self::Grpc { service, host } => {
                let host = asked_for(host.as_ref(), endpoint);
                ask_grpc(stream, &host, endpoint.tls.is_some(), service).await
            }
        }
    }
}

fn is_good(status: u16, wanted: Option<u16>) -> Result<(), ErrandFailure> {
    let good = wanted.map_or((200..300).contains(&status), |wanted| wanted == status);
    if good { Ok(()) } else { Err(ErrandFailure::Status(status)) }
}

fn request(path: &str, host: Option<&Arc<str>>, endpoint: &Endpoint, keep: bool) -> String {
    let (host, close) = (asked_for(host, endpoint), if keep { "" } else { "connection: close\r\n" });
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: portcullis-health\r\n{close}\r\n")
}

/// The host that is asked for.
fn asked_for(host: Option<&Arc<str>>, endpoint: &Endpoint) -> String {
    let own = || endpoint.host.as_ref().map_or_else(|| endpoint.address.to_string(), ToString::to_string);
    host.map_or_else(own, ToString::to_string)
}

async fn ask_grpc(stream: Stream, authority: &str, is_secure: bool, service: &str) -> Result<(), ErrandFailure> {
    let message = Some(grpc_health::request(service));
    let question =
        Question { path: grpc_health::PATH, authority, is_secure, message, body_bytes_max: grpc_health::ANSWER_BYTES_MAX };
    let told = ask(stream, question).await?;
    if told.status != 200 {
        return Err(ErrandFailure::Status(told.status));
    }
    let status = told.grpc_status.and_then(|status| String::from_utf8(status).ok()?.parse().ok());
    match status.ok_or(ErrandFailure::Malformed)? {
        0 if grpc_health::is_serving(&told.body).ok_or(ErrandFailure::Malformed)? => Ok(()),
        0 => Err(ErrandFailure::NotServing),
        status => Err(ErrandFailure::Grpc(status)),
    }
}

pub(crate) async fn send(stream: &mut Stream, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let count = poll_fn(|cx| stream.poll_write(cx, bytes, &[])).await?;
        bytes = bytes.get(count.max(1)..).unwrap_or_default();
    }
    poll_fn(|cx| stream.poll_flush(cx)).await
}
