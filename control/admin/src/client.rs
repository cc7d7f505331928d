//! The other end of the Unix socket, for the commands of this program.

use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;

const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;
const DEADLINE: Duration = Duration::from_secs(60);

/// Why a call brought no answer.
#[derive(Debug)]
pub enum ClientError {
    /// Nobody answers on the socket.
    NotRunning(std::io::Error),
    /// The conversation failed.
    Broken(String),
    /// The gateway refused; its words.
    Refused(String),
}

impl std::fmt::Display for ClientError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotRunning(error) => write!(f, "no gateway answers there: {error}"),
            Self::Broken(text) => write!(f, "the gateway's answer could not be read: {text}"),
            Self::Refused(text) => f.write_str(text),
        }
    }
}

/// Calls an operation of the management API and gives back the JSON it answered.
///
/// # Errors
/// When nobody answers, the answer is not understood, or the gateway refuses.
pub async fn call(socket: &Path, method: hyper::Method, path: &str) -> Result<serde_json::Value, ClientError> {
    match tokio::time::timeout(DEADLINE, converse(socket, method, path)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ClientError::Broken("no answer in time".to_owned())),
    }
}

async fn converse(socket: &Path, method: hyper::Method, path: &str) -> Result<serde_json::Value, ClientError> {
    let broken = |error: &dyn std::fmt::Display| ClientError::Broken(error.to_string());
    let stream = UnixStream::connect(socket).await.map_err(ClientError::NotRunning)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    let driver = tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", "localhost").body(Empty::<Bytes>::new());
    let request = request.map_err(|error| broken(&error))?;
    let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
    let refused = !response.status().is_success();
    #[expect(clippy::disallowed_methods, reason = "`Limited` bounds what is collected")]
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|error| broken(&error))?.to_bytes();
    driver.abort();
    let value: serde_json::Value = serde_json::from_slice(&body).map_err(|error| broken(&error))?;
    if refused {
        let detail = value.get("detail").and_then(serde_json::Value::as_str).unwrap_or("refused").to_owned();
        return Err(ClientError::Refused(detail));
    }
    Ok(value)
}
