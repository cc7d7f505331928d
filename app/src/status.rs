//! `portcullis status`: what the running gateway says of itself.

use crate::ask::{ask, understood};
use crate::check::counted;
use crate::output::{Colour, Output};
use portcullis_control_admin::Status;
use std::path::Path;

/// Asks the gateway behind `socket` and shows its answer.
///
/// # Errors
/// A text for the operator, when nobody answers or the answer is not understood.
pub fn status(socket: &Path, output: Output) -> Result<(), String> {
    let answer = ask(socket, hyper::Method::GET, "/v1/status")?;
    if output.is_json() {
        output.json(&answer);
        return Ok(());
    }
    let status: Status = understood(answer)?;
    show(&status, output);
    Ok(())
}

fn show(status: &Status, output: Output) {
    let ready = if status.ready { output.paint(Colour::Green, "ready") } else { output.paint(Colour::Red, "not ready") };
    output.line(&format!("portcullis {}  {ready}  process {}  up {}", status.version, status.pid, duration(status.uptime_seconds)));
    let hash = status.configuration_hash.get(..12).unwrap_or(&status.configuration_hash);
    output.line(&format!(
        "configuration  generation {}  {hash}  {}  {}",
        status.generation,
        counted(status.routes, "route"),
        counted(status.workers, "worker")
    ));
    if let Some(error) = &status.last_reload_error {
        output.line(&format!(
            "{}\n{error}",
            output.paint(Colour::Red, "the last reload was refused; the configuration above still serves:")
        ));
    }
    if let Some(error) = &status.last_known_good_error {
        output.line(&format!("{} {error}", output.paint(Colour::Yellow, "warning:")));
    }
    if let Some(overload) = &status.overload {
        output.line(&format!("{} {overload}", output.paint(Colour::Red, "overload:")));
    }
    if let Some(store) = &status.store {
        let colour = if store.starts_with("reachable") { Colour::Green } else { Colour::Red };
        output.line(&format!("shared store  {}", output.paint(colour, store)));
    }
    output.line("");
    let rows: Vec<_> = status.listeners.iter().map(|l| vec![l.name.clone(), l.address.clone(), l.mode.clone()]).collect();
    output.table(&["listener", "address", "mode"], &rows);
    for weakening in &status.weakenings {
        output.line(&format!("{} {weakening}", output.paint(Colour::Yellow, "weakened:")));
    }
    for expiring in &status.expiring {
        output.line(&format!("{} {expiring}", output.paint(Colour::Yellow, "runs out:")));
    }
    for reminder in &status.reminders {
        output.line(&format!("{} {reminder}", output.paint(Colour::Yellow, "to look at:")));
    }
}

fn duration(seconds: u64) -> String {
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => format!("{m}m {s}s"),
        (0, h, m, _) => format!("{h}h {m}m"),
        (d, h, _, _) => format!("{d}d {h}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_read_at_a_glance() {
        assert_eq!([5, 65, 3_700, 90_000].map(duration), ["5s", "1m 5s", "1h 1m", "1d 1h"]);
    }
}
