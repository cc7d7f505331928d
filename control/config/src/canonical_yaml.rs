//! A plan in canonical form as text. Upstreams and routes are written one after the other: a large plan as one tree of values takes
//! forty times its text.

use crate::canonical::upstream_json;
use crate::plan::{ApiPlan, Plan};
use portcullis_model_settings::{Object, Value};
use std::io::{self, Write};

impl Plan {
    /// The plan as YAML, in the shape of the configuration. Loading it gives the same plan again.
    #[must_use]
    pub fn to_canonical_yaml(&self) -> String {
        let mut out = Vec::new();
        // Writing to memory does not fail, and what is written is text.
        self.write_canonical_yaml(&mut out).ok().and_then(|()| String::from_utf8(out).ok()).unwrap_or_default()
    }

    /// Writes what [`Plan::to_canonical_yaml`] gives, in many small pieces.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn write_canonical_yaml(&self, out: &mut dyn Write) -> io::Result<()> {
        let frame = self.frame_json();
        for (position, (key, value)) in frame.as_object().into_iter().flatten().enumerate() {
            if position > 0 {
                out.write_all(b"\n")?;
            }
            match key.as_str() {
                "upstreams" if !self.upstreams.is_empty() => {
                    write_key(out, key)?;
                    for upstream in &self.upstreams {
                        begin_line(out, 1)?;
                        write_entry(out, &upstream.name, &upstream_json(upstream), 1)?;
                    }
                }
                "apis" if !self.apis.is_empty() => {
                    write_key(out, key)?;
                    self.apis.iter().try_for_each(|api| self.write_api(out, api))?;
                }
                _ => write_entry(out, key, value, 0)?,
            }
        }
        out.write_all(b"\n")
    }

    fn write_api(&self, out: &mut dyn Write, api: &ApiPlan) -> io::Result<()> {
        begin_line(out, 1)?;
        write_key(out, &api.name)?;
        let frame = self.api_frame_json(api);
        for (key, value) in frame.as_object().into_iter().flatten() {
            begin_line(out, 2)?;
            if key == "routes" && !api.routes.is_empty() {
                write_key(out, key)?;
                api.routes.iter().try_for_each(|route| write_item(out, &self.route_json(api, route), 3))?;
            } else {
                write_entry(out, key, value, 2)?;
            }
        }
        Ok(())
    }
}

/// What a value is written as in block style, if it is.
enum Block<'v> {
    Entries(&'v Object),
    Items(&'v [Value]),
}

fn block(value: &Value) -> Option<Block<'_>> {
    match value {
        Value::Object(entries) if !entries.is_empty() => Some(Block::Entries(entries)),
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => Some(Block::Items(items)),
        _ => None,
    }
}

/// Writes a key with its value, which goes on in lines of its own where it is a block. Every text is quoted as in JSON, which YAML 1.2
/// takes and which nothing can be mistaken in.
fn write_entry(out: &mut dyn Write, key: &str, value: &Value, depth: usize) -> io::Result<()> {
    write_key(out, key)?;
    match block(value) {
        None => write!(out, " {value}"),
        Some(Block::Items(items)) => items.iter().try_for_each(|item| write_item(out, item, depth + 1)),
        Some(Block::Entries(entries)) => entries.iter().try_for_each(|(key, value)| {
            begin_line(out, depth + 1)?;
            write_entry(out, key, value, depth + 1)
        }),
    }
}

/// Writes one of a list. JSON is YAML: what is inside stays on one line.
fn write_item(out: &mut dyn Write, item: &Value, depth: usize) -> io::Result<()> {
    begin_line(out, depth)?;
    write!(out, "- {item}")
}

fn write_key(out: &mut dyn Write, key: &str) -> io::Result<()> {
    write!(out, "{}:", Value::from(key))
}

fn begin_line(out: &mut dyn Write, depth: usize) -> io::Result<()> {
    out.write_all(b"\n")?;
    (0..depth).try_for_each(|_| out.write_all(b"  "))
}
