//! `portcullis drain`: asks the running gateway to let its clients go.

use crate::ask::ask;
use crate::output::Output;
use std::path::Path;

/// Asks the gateway behind `socket` to drain, or to `end` that.
///
/// # Errors
/// A text for the operator, when nobody answers or the gateway refuses.
pub fn drain(socket: &Path, end: bool, output: Output) -> Result<(), String> {
    let answer = ask(socket, hyper::Method::POST, if end { "/v1/undrain" } else { "/v1/drain" })?;
    if output.is_json() {
        output.json(&answer);
    } else if end {
        output.line("ready again: clients may stay");
    } else {
        output.line("draining: not ready, and connections end with their exchanges; `portcullis drain --end` takes it back");
    }
    Ok(())
}
