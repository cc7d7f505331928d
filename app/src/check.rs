//! `portcullis check`: every error of a configuration at once, offline.

use crate::output::{Colour, Output};
use portcullis_control_config::{Finding, Loader, Plan, Report, load};
use portcullis_control_reload::{Builder, expiries, warnings};
use portcullis_model::Clock;
use std::path::Path;

/// Loads a configuration; a refusal becomes the text that people or programs are shown.
pub fn load_plan(config: &Path, clock: &Clock, output: Output) -> Result<Plan, String> {
    load(config, &portcullis_policies::settings(), clock).map_err(|report| refused(&report, output))
}

/// What people or programs are shown of a refusal; empty when it has been shown already.
pub fn refused(report: &Report, output: Output) -> String {
    if output.is_json() {
        output.json(&report.to_json());
        return String::new();
    }
    report.render(output.has_colour())
}

/// `1 route`, `2 routes`.
pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Checks and tells.
pub fn check(config: &Path, clock: &Clock, output: Output) -> Result<(), String> {
    let mut loader = Loader::new(config, &portcullis_policies::settings(), clock.clone());
    let plan = loader.load().map_err(|report| refused(&report, output))?;
    let routing = Builder::new(portcullis_policies::POLICIES, clock.clone()).routing(&plan)?;
    let warnings = warnings(&plan, &routing.overlaps, &routing.routes, &loader);
    let expiring = crate::reminders::expiring(&expiries(&plan), clock.unix_seconds());
    let routes: usize = plan.apis.iter().map(|api| api.routes.len()).sum();
    let weakenings: Vec<String> = plan
        .weakenings
        .iter()
        .map(|one| format!("{}: {} ({}), ends at {} (Unix seconds)", one.path, one.reason, one.owner, one.expires_unix_seconds))
        .collect();
    if output.is_json() {
        output.json(&serde_json::json!({
            "ok": true, "warnings": warnings.iter().map(Finding::to_json).collect::<Vec<_>>(), "hash": plan.hash().to_string(), "listeners": plan.listeners.len(), "upstreams": plan.upstreams.len(),
            "apis": plan.apis.len(), "routes": routes, "weakenings": weakenings, "expiring": expiring,
        }));
        return Ok(());
    }
    output.line(&format!(
        "{} {}: {}, {}, {}, {}",
        output.paint(Colour::Green, "sound"),
        config.display(),
        counted(plan.listeners.len(), "listener"),
        counted(plan.upstreams.len(), "upstream"),
        counted(plan.apis.len(), "API"),
        counted(routes, "route"),
    ));
    if !warnings.is_empty() {
        output.line(Report { findings: warnings, omitted: 0 }.render(output.has_colour()).trim_end());
    }
    for expiring in expiring {
        output.line(&format!("{} {expiring}", output.paint(Colour::Yellow, "warning:")));
    }
    for weakening in weakenings {
        output.line(&format!("{} {weakening}", output.paint(Colour::Yellow, "weakened:")));
    }
    Ok(())
}
