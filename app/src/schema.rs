//! `portcullis schema`: what can be written, for editors and other tools.

use crate::check::load_plan;
use crate::output::Output;
use portcullis_control_config::{cedar_schema, reference, schema as json_schema};
use portcullis_model::Clock;
use std::path::Path;

/// Prints the JSON schema of configurations, their reference, or the schema of policies for the configuration at `cedar_of`.
///
/// # Errors
/// When that configuration does not load.
pub fn schema(as_reference: bool, cedar_of: Option<&Path>, clock: &Clock, output: Output) -> Result<(), String> {
    let policies = portcullis_policies::settings();
    match cedar_of {
        Some(config) => output.line(cedar_schema(&load_plan(config, clock, output)?)?.trim_end()),
        None if as_reference => output.line(reference(&policies).trim_end()),
        None => output.json(&json_schema(&policies)),
    }
    Ok(())
}
