//! The JSON schema and the reference, from the same definitions that decode.

use crate::settings::ConfigFile;
use portcullis_model_settings::{Decode, Object, PolicySchema, Value, sorted};
use serde_json::json;

/// The JSON schema (draft 2020-12) of a configuration file, with the settings of these policies.
#[must_use]
pub fn schema(policies: &[PolicySchema]) -> Value {
    let policies: Vec<_> = policies.iter().filter(|row| row.is_written).collect();
    let mut out = ConfigFile::schema();
    let rows: Object =
        policies.iter().map(|row| (row.name.to_owned(), json!({ "$ref": format!("#/$defs/{}", row.name) }))).collect();
    put_policies(&mut out, &rows);
    if let Value::Object(out) = &mut out {
        out.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
        out.insert("title".to_owned(), "Portcullis configuration".into());
        let mut defs = Value::Object(policies.iter().map(|row| (row.name.to_owned(), (row.schema)())).collect());
        if !policies.is_empty() {
            put_policies(&mut defs, &Object::new());
            out.insert("$defs".to_owned(), defs);
        }
    }
    sorted(out)
}

/// Puts the policies where a section says that it carries them, and turns our own notes into plain descriptions.
fn put_policies(schema: &mut Value, rows: &Object) {
    match schema {
        Value::Object(fields) => {
            let carries = fields.remove("x-policies").is_some();
            if let (Some(Value::String(about)), Some(Value::String(description))) =
                (fields.remove("x-about"), fields.get_mut("description"))
            {
                description.push(' ');
                description.push_str(&about);
            }
            if let Some(Value::Object(properties)) = fields.get_mut("properties").filter(|_| carries) {
                properties.extend(rows.clone());
            }
            fields.values_mut().for_each(|inner| put_policies(inner, rows));
        }
        Value::Array(items) => items.iter_mut().for_each(|inner| put_policies(inner, rows)),
        _ => {}
    }
}

/// The reference of all settings as Markdown: a table for each section, then one for each of these policies.
#[must_use]
pub fn reference(policies: &[PolicySchema]) -> String {
    let mut out = String::from(
        "# Configuration reference\n\n\
         <!-- Generated from the definitions that decode the configuration; `cargo xtask docs` writes it anew. -->\n\n\
         One file, or a folder whose `*.yaml` files are taken together. What is not written is off or refused; unknown keys are errors.\n\
         Relative paths start at the folder of the configuration. Durations (`10s`), sizes (`32KiB`) and rates (`500B/s`) always have their unit.\n",
    );
    section(&mut out, "", &sorted(ConfigFile::schema()));
    if !policies.is_empty() {
        out.push_str(
            "\n## Policies\n\n\
             They are written by their names in `defaults`, in an API, or in a route. A level further in can only tighten what the levels above demand.\n",
        );
        for row in policies.iter().filter(|row| row.is_written) {
            inside(&mut out, row.name, &sorted((row.schema)()));
        }
    }
    out
}

/// Writes the table of a section, then the sections in it.
fn section(out: &mut String, path: &str, schema: &Value) {
    let Some(Value::Object(properties)) = schema.get("properties") else { return };
    if path.is_empty() {
        out.push_str("\n## The whole file\n\n");
    } else {
        out.push_str(&format!("\n### `{path}`\n\n"));
    }
    let about = ["description", "x-about"].into_iter().filter_map(|key| text(schema, key)).collect::<Vec<_>>().join(" ");
    if !about.is_empty() {
        out.push_str(&format!("{about}\n\n"));
    }
    let carries = schema.get("x-policies").is_some();
    if carries {
        out.push_str("Carries [policies](#policies) by their names.\n\n");
    }
    if !properties.is_empty() {
        out.push_str("| key | what can be written | when absent | meaning |\n|---|---|---|---|\n");
    }
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    for (key, property) in properties {
        let absent = match property.get("default") {
            Some(Value::String(default)) => format!("`{default}`"),
            Some(default) => format!("`{default}`"),
            None if required.contains(&key.as_str()) => "**required**".to_owned(),
            None => "–".to_owned(),
        };
        let meaning = text(property, "description").unwrap_or_default().replace('|', "\\|");
        out.push_str(&format!("| `{key}` | {} | {absent} | {meaning} |\n", kind(property).replace('|', "\\|")));
    }
    for (key, property) in properties {
        let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        inside(out, &inner, property);
    }
}

/// Writes the sections that a property holds, directly, by name or in a list.
fn inside(out: &mut String, path: &str, property: &Value) {
    section(out, path, property);
    if let Some(entry) = property.get("additionalProperties").filter(|entry| entry.is_object()) {
        inside(out, &format!("{path}.NAME"), entry);
    }
    if let Some(item) = property.get("items") {
        inside(out, &format!("{path}[]"), item);
    }
    for choice in property.get("oneOf").and_then(Value::as_array).into_iter().flatten() {
        inside(out, path, choice);
    }
}

fn text<'s>(schema: &'s Value, key: &str) -> Option<&'s str> {
    schema.get(key).and_then(Value::as_str)
}

/// What can be written, in few words.
fn kind(schema: &Value) -> String {
    let quoted = |value: &Value| format!("`{}`", value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    let bounds =
        |least: &str, greatest: &str| Some(format!(", {} to {}", quoted(schema.get(least)?), quoted(schema.get(greatest)?)));
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return words.iter().filter(|word| word.is_string()).map(quoted).collect::<Vec<_>>().join(" or ");
    }
    if let Some(only) = schema.get("const") {
        return quoted(only);
    }
    if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
        return choices.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    match (text(schema, "type"), text(schema, "title")) {
        (Some("array"), None) => format!("list: {}", schema.get("items").map(kind).unwrap_or_default()),
        (_, Some(title)) => {
            let example =
                schema.get("examples").and_then(|examples| examples.get(0)).map(|one| format!(" such as {}", quoted(one)));
            let bounds = bounds("x-minimum", "x-maximum");
            format!("{title}{}", bounds.or(example).unwrap_or_default())
        }
        (Some("boolean"), None) => "`true` or `false`".to_owned(),
        (Some("integer"), None) => format!("whole number{}", bounds("minimum", "maximum").unwrap_or_default()),
        (Some("object"), None) if schema.get("propertyNames").is_some() => "names with a section each".to_owned(),
        _ => "section".to_owned(),
    }
}
