//! Asking the running gateway by its management socket.

use portcullis_control_admin::{ClientError, call};
use serde::de::DeserializeOwned;
use std::io::ErrorKind;
use std::path::Path;

/// Calls an operation of the management API of the gateway behind `socket`.
///
/// # Errors
/// A text for the operator: that nobody answers and what to do, or what the gateway says against it.
pub fn ask(socket: &Path, method: hyper::Method, operation: &str) -> Result<serde_json::Value, String> {
    try_ask(socket, method, operation).map_err(|error| explain(socket, &error))
}

/// As [`ask`], for those who tell a refusal in words of their own.
///
/// # Errors
/// Why there is no answer.
pub fn try_ask(socket: &Path, method: hyper::Method, operation: &str) -> Result<serde_json::Value, ClientError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| ClientError::Broken(error.to_string()))?;
    runtime.block_on(call(socket, method, operation))
}

/// What the gateway answered, as what this version takes it for.
///
/// # Errors
/// When it is something else.
pub fn understood<T: DeserializeOwned>(answer: serde_json::Value) -> Result<T, String> {
    serde_json::from_value(answer).map_err(|error| format!("the gateway's answer is of another version: {error}"))
}

/// Why there is no answer, and what to do, for the operator.
pub fn explain(socket: &Path, error: &ClientError) -> String {
    let shown = socket.display();
    match error {
        ClientError::Refused(told) => told.trim_end().to_owned(),
        ClientError::Broken(_) => format!("`{shown}`: {error}"),
        ClientError::NotRunning(why) if why.kind() == ErrorKind::PermissionDenied => {
            format!("`{shown}`: you may not open it; run this as the user of the gateway, or as a member of the socket's group")
        }
        ClientError::NotRunning(_) => {
            format!("`{shown}`: {error}; start one with `portcullis run`, or name its socket with --socket")
        }
    }
}
