//! `portcullis plan`: what a change of the configuration opens and closes.

use crate::check::load_plan;
use crate::output::{Colour, Output};
use portcullis_control_reload::{Comparison, Operation, compare};
use portcullis_model::Clock;
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;

/// Access widens.
const WIDENS: u8 = 3;
/// A configuration cannot be read.
const UNREADABLE: u8 = 2;

/// Compares two configurations: 0 when nobody may do more than before, 3 when somebody may or it cannot be told, 2 when one cannot be read.
pub fn plan(old: &Path, new: &Path, clock: &Clock, output: Output) -> ExitCode {
    match compared(old, new, clock, output) {
        Ok(false) => ExitCode::SUCCESS,
        Ok(true) => ExitCode::from(WIDENS),
        Err(problem) => {
            if !problem.is_empty() {
                output.complain(&problem);
            }
            ExitCode::from(UNREADABLE)
        }
    }
}

/// Compares and tells; whether access widens.
fn compared(old: &Path, new: &Path, clock: &Clock, output: Output) -> Result<bool, String> {
    let (old, new) = (load_plan(old, clock, output)?, load_plan(new, clock, output)?);
    let comparison = compare(&old, &new)?;
    let widens = comparison.widens();
    if output.is_json() {
        let mut told = comparison.to_json();
        if let Some(told) = told.as_object_mut() {
            told.insert("old".to_owned(), json!(old.hash().to_string()));
            told.insert("new".to_owned(), json!(new.hash().to_string()));
        }
        output.json(&told);
    } else {
        show(&comparison, output);
    }
    Ok(widens)
}

fn show(comparison: &Comparison, output: Output) {
    for one in &comparison.operations {
        output.line(&output.paint(Colour::Bold, &one.to_string()));
        output.line(&output.paint(Colour::Dim, &format!("  {}", routes(one))));
        one.opens.iter().for_each(|who| said(output, Colour::Red, "opens ", &who.to_string()));
        one.closes.iter().for_each(|who| said(output, Colour::Green, "closes", &who.to_string()));
        one.weighed.relaxes.iter().for_each(|what| said(output, Colour::Red, "looser", what));
        one.weighed.tightens.iter().for_each(|what| said(output, Colour::Green, "tighter", what));
    }
    comparison.around.relaxes.iter().for_each(|what| said(output, Colour::Red, "looser", what));
    comparison.around.tightens.iter().for_each(|what| said(output, Colour::Green, "tighter", what));
    let verdict = if comparison.widens() {
        output.paint(Colour::Red, "access widens")
    } else {
        output.paint(Colour::Green, "nobody may do more than before")
    };
    output.line(&verdict);
}

fn said(output: Output, colour: Colour, word: &str, text: &str) {
    output.line(&format!("  {} {text}", output.paint(colour, &format!("{word:<8}"))));
}

/// Which routes take it.
fn routes(one: &Operation) -> String {
    let named = |route: &Option<(std::sync::Arc<str>, std::sync::Arc<str>)>| {
        route.as_ref().map_or_else(|| "refused".to_owned(), |(api, route)| format!("{api}/{route}"))
    };
    let (old, new) = (named(&one.old), named(&one.new));
    if old == new { old } else { format!("{old} -> {new}") }
}
