//! What a route's callers are held to, in a few words.

use portcullis_control_config::{Plan, PolicyLevels};
use serde_json::Value;

/// The limits of a route, and what else stands before its callers.
pub fn told(plan: &Plan, policies: &PolicyLevels) -> Vec<String> {
    let mut told = Vec::new();
    for (row, levels) in policies.iter() {
        let Some(schema) = plan.policies().get(row) else { continue };
        let levels: Vec<Value> = levels.iter().map(|settings| (schema.encode)(&**settings)).collect();
        match schema.name {
            "limits" => told.extend(levels.iter().filter_map(Value::as_array).flatten().map(rate)),
            "request_limits" => told.extend(body(&levels)),
            "ip_rules" => told.push("certain addresses only".to_owned()),
            "disabled" => told.push("some or all of it refused (`disabled`)".to_owned()),
            _ => {}
        }
    }
    told
}

fn rate(line: &Value) -> String {
    let word = |key: &str| match line.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let mode = if word("mode") == "report" { " (only reported)" } else { "" };
    let plan = if word("use") == "plan" { ", or by its plan" } else { "" };
    format!("{} per {}{plan}{mode}", word("rate"), word("per").replace('_', " "))
}

/// The tightest bound of bodies: levels further in can only make it less, so the last that says one.
fn body(levels: &[Value]) -> Option<String> {
    let bound = levels.iter().rev().find_map(|level| level.get("body_bytes_max").filter(|bound| !bound.is_null()))?;
    Some(format!("bodies of {}", bound.as_str().map_or_else(|| bound.to_string(), str::to_owned)))
}
