//! `portcullis reload`: lets the running gateway read its configuration again, and tells what came of it.

use crate::ask::{explain, try_ask, understood};
use crate::output::{Colour, Output};
use portcullis_control_admin::{ClientError, Reloaded};
use std::path::Path;

/// Asks the gateway behind `socket` to reload.
///
/// # Errors
/// A text for the operator, when nobody answers or the configuration is refused; the one before serves on then.
pub fn reload(socket: &Path, output: Output) -> Result<(), String> {
    let answer = try_ask(socket, hyper::Method::POST, "/v1/reload").map_err(|error| match error {
        ClientError::Refused(told) => format!("not reloaded, the configuration in force serves on:\n{}", told.trim_end()),
        error => explain(socket, &error),
    })?;
    if output.is_json() {
        output.json(&answer);
        return Ok(());
    }
    let reloaded: Reloaded = understood(answer)?;
    let hash = reloaded.configuration_hash.get(..12).unwrap_or(&reloaded.configuration_hash);
    let what = if reloaded.changed { output.paint(Colour::Green, "in force") } else { "nothing has changed".to_owned() };
    output.line(&format!("{what}: generation {}  {hash}", reloaded.generation));
    for warning in &reloaded.warnings {
        output.line(&format!("{} {warning}", output.paint(Colour::Yellow, "warning:")));
    }
    Ok(())
}
