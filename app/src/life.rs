//! `portcullis drain` and `portcullis upgrade`: ask the running gateway to let its clients go, or to make way for its next version.

use crate::ask::{ask, understood};
use crate::output::Output;
use portcullis_control_admin::{UpgradeRequest, Upgraded, upgrade_operation};
use std::path::{Path, PathBuf};
use std::time::Duration;

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

/// Asks the gateway behind `socket` to start its next version and to make way for it.
///
/// # Errors
/// A text for the operator: why the old version goes on.
pub fn upgrade(socket: &Path, binary: Option<PathBuf>, within: Option<u64>, output: Output) -> Result<(), String> {
    let binary = binary.map(std::path::absolute).transpose().map_err(|error| error.to_string())?;
    let request = UpgradeRequest { binary, within: within.map(Duration::from_secs) };
    let answer =
        ask(socket, hyper::Method::POST, &upgrade_operation(&request)).map_err(|problem| format!("not upgraded: {problem}"))?;
    if output.is_json() {
        output.json(&answer);
        return Ok(());
    }
    let upgraded: Upgraded = understood(answer)?;
    output.line(&format!("process {} serves; process {} finishes what it has begun", upgraded.pid, upgraded.draining_pid));
    Ok(())
}
