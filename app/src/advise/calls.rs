//! The calls that were allowed, as tests: what must still be so when advice has been taken.

use super::findings::quoted;
use super::records::Record;
use super::usage::RouteUse;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// How many kinds of calls are kept.
const CALLS_MAX: usize = 5000;

/// One call of each kind: of a route, by a method, through a line, by these roles.
#[derive(Default)]
pub struct Calls {
    kept: BTreeMap<(usize, String, Option<usize>, String), String>,
    /// Whether there were more kinds than are kept.
    pub more: bool,
}

impl Calls {
    /// Keeps a call that was allowed, if there is none of its kind.
    pub fn keep(&mut self, record: &Record, place: usize, route: &RouteUse<'_>, line: Option<usize>) {
        let (provider, roles) = (record.provider.as_deref(), record.allow_roles.as_deref());
        let known = line.map(|_| format!("{provider:?} {roles:?}")).unwrap_or_default();
        let kind = (place, record.method.clone(), line, known);
        if self.kept.contains_key(&kind) {
            return;
        }
        if self.kept.len() == CALLS_MAX {
            self.more = true;
            return;
        }
        if let Some(test) = test(record, route, line) {
            self.kept.insert(kind, test);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// A file for `portcullis test`.
    pub fn to_text(&self, configuration: &str) -> String {
        let tests: String = self.kept.values().map(String::as_str).collect();
        format!(
            "# Calls that were allowed, one of each kind, by records of the access log.\nconfiguration: {configuration}\ntests:\n{tests}"
        )
    }
}

/// Nothing when the record does not say by what the call was allowed.
fn test(record: &Record, route: &RouteUse<'_>, line: Option<usize>) -> Option<String> {
    let mut text = String::new();
    let url = format!("{} https://{}{}", record.method, record.host, record.path);
    let _written = writeln!(text, "  - request: {}", quoted(&url));
    if !route.route.headers.is_empty() {
        let fields: Vec<String> = route.route.headers.iter().map(|(name, value)| quoted(&format!("{name}: {value}"))).collect();
        let _written = writeln!(text, "    headers: [{}]", fields.join(", "));
    }
    if line.is_some() {
        let provider = record.provider.as_deref()?;
        let roles = record.allow_roles.as_ref()?.iter();
        let roles = roles.filter_map(|role| role.strip_prefix(provider)?.strip_prefix('/')).map(quoted).collect::<Vec<_>>();
        let scopes = record.allow_scopes.iter().map(|scope| quoted(scope)).collect::<Vec<_>>();
        let (roles, scopes) = (roles.join(", "), scopes.join(", "));
        let _written = writeln!(text, "    caller: {{ provider: {}, roles: [{roles}], scopes: [{scopes}] }}", quoted(provider));
    }
    let route = quoted(&format!("{}/{}", route.api, route.route.name));
    let _written = writeln!(text, "    expect: {{ decision: allow, route: {route} }}");
    Some(text)
}
