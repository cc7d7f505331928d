//! `portcullis drain`: asks the running gateway to let its clients go.

use crate::output::Output;
use portcullis_control_admin::call;
use std::path::Path;

/// Asks the gateway behind `socket` to drain, or to `end` that.
///
/// # Errors
/// A text for the operator, when nobody answers or the gateway refuses.
pub fn drain(socket: &Path, end: bool, output: Output) -> Result<(), String> {
    let answer = ask(socket, if end { "/v1/undrain" } else { "/v1/drain" })?;
    if output.is_json() {
        output.json(&answer);
    } else if end {
        output.line("ready again: clients may stay");
    } else {
        output.line("draining: not ready, and connections end with their exchanges; `portcullis drain --end` takes it back");
    }
    Ok(())
}

/// Posts to an operation of the management API.
fn ask(socket: &Path, operation: &str) -> Result<serde_json::Value, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let answer = runtime.block_on(call(socket, hyper::Method::POST, operation));
    answer.map_err(|error| format!("`{}`: {error}", socket.display()))
}
