//! What could be taken away, and what to write instead.

use super::usage::{KeyUse, RouteUse, StoreUse, Usage};
use portcullis_control_config::{Access, RoutePlace};
use portcullis_engines_authz::Line;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Where routes are written.
pub type Places = HashMap<(String, String), RoutePlace>;

/// Something that nobody needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// What kind of thing, for programs.
    pub kind: &'static str,
    /// Where it is written: `FILE:LINE:COLUMN`, or a file of keys.
    pub place: String,
    /// What it is.
    pub what: String,
    /// What was seen.
    pub seen: String,
    /// What to do; for lines what to write.
    pub write: String,
    /// For programs: which API and route, which line of `allow` from 1, or which key.
    pub of: BTreeMap<&'static str, Value>,
}

impl Advice {
    pub fn to_json(&self) -> Value {
        let mut told = json!({
            "kind": self.kind, "place": self.place, "what": self.what, "seen": self.seen, "write": self.write,
        });
        if let Value::Object(told) = &mut told {
            told.extend(self.of.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        }
        told
    }
}

/// All of it: routes in the order of the configuration, then keys.
pub fn advice(usage: &Usage<'_>, places: &Places, since: u64, now: u64) -> Vec<Advice> {
    let mut all: Vec<Advice> = usage.routes.iter().flat_map(|route| of_route(route, places)).collect();
    for store in &usage.stores {
        let mut keys: Vec<&KeyUse> =
            store.keys.values().filter(|key| key.entry.is_good(now) && key.entry.created <= since).collect();
        keys.sort_unstable_by(|a, b| (&a.entry.name, &a.entry.id).cmp(&(&b.entry.name, &b.entry.id)));
        all.extend(keys.into_iter().filter_map(|key| of_key(store, key)));
    }
    all
}

fn of_route(route: &RouteUse<'_>, places: &Places) -> Vec<Advice> {
    let name = format!("{}/{}", route.api, route.route.name);
    let place = places.get(&(route.api.to_string(), route.route.name.to_string()));
    let at_route = place.map(ToString::to_string).unwrap_or_default();
    let of = |line: Option<usize>| {
        let mut of = BTreeMap::from([("api", json!(**route.api)), ("route", json!(*route.route.name))]);
        of.extend(line.map(|line| ("allow_line", json!(line + 1))));
        of
    };
    let unused = |kind, seen: String| {
        let write = format!("take it out, or switch it off: `disabled: {{ routes: [{}], reason: … }}`", route.route.name);
        vec![Advice { kind, place: at_route.clone(), what: format!("route {name}"), seen, write, of: of(None) }]
    };
    match (&route.route.access, route.requests, route.allowed()) {
        (Access::Public, 0, _) => return unused("public_route_unused", "for everybody, and nobody called it".to_owned()),
        (Access::Public, ..) => return Vec::new(),
        (_, requests, 0) => return unused("route_unused", format!("{requests} requests, none of them allowed")),
        _ => {}
    }
    let mut all = Vec::new();
    for (at, (line, used)) in route.allow().iter().zip(&route.lines).enumerate() {
        let written = place.and_then(|place| Some((place, place.allow_lines.get(at)?)));
        let at_line = written.map_or(at_route.clone(), |(place, (line, column))| format!("{}:{line}:{column}", place.file));
        let what = format!("line {} of `allow` of {name}: {}", at + 1, told(line, |_| true));
        let advice = |kind, seen, write| Advice { kind, place: at_line.clone(), what: what.clone(), seen, write, of: of(Some(at)) };
        if used.calls == 0 {
            all.push(advice("line_unused", "it let nobody through that no earlier line did".to_owned(), "take it out".to_owned()));
        } else if used.roles.len() < line.roles.len() {
            let idle: Vec<String> =
                (0..).zip(&line.roles).filter(|(at, _)| !used.roles.contains(at)).map(|(_, role)| named(role)).collect();
            let seen = format!("{} calls, none by {}", used.calls, idle.join(", "));
            all.push(advice("roles_unused", seen, told(line, |at| used.roles.contains(&at))));
        }
    }
    all
}

fn of_key(store: &StoreUse, key: &KeyUse) -> Option<Advice> {
    let (entry, file) = (&key.entry, store.file.display());
    let of = BTreeMap::from([("store", json!(*store.name)), ("key", json!(entry.id)), ("name", json!(entry.name))]);
    let advice = |kind, seen, write| {
        let what = format!("key {} of {}", entry.id, entry.name);
        Some(Advice { kind, place: file.to_string(), what, seen, write, of: of.clone() })
    };
    if key.calls == 0 {
        let write = format!("portcullis key revoke --file {file} {}", entry.id);
        return advice("key_unused", "no call of it was allowed".to_owned(), write);
    }
    let idle = |own: &[Box<str>], used: &std::collections::BTreeSet<usize>| -> Vec<String> {
        (0..).zip(own).filter(|(at, _)| !used.contains(at)).map(|(_, word)| word.to_string()).collect()
    };
    let (roles, scopes) = (idle(&entry.roles, &key.roles), idle(&entry.scopes, &key.scopes));
    if key.unsure || (roles.is_empty() && scopes.is_empty()) {
        return None;
    }
    let kept = |option: &str, own: &[Box<str>], idle: &[String]| {
        let kept = own.iter().filter(|word| !idle.iter().any(|idle| **idle == ***word));
        kept.map(|word| format!(" --{option} {word}")).collect::<String>()
    };
    let options = format!("{}{}", kept("role", &entry.roles, &roles), kept("scope", &entry.scopes, &scopes));
    let write = format!("portcullis key create --file {file} --name {}{options}", entry.name);
    let named = |kind: &str, words: &[String]| (!words.is_empty()).then(|| format!("{kind} {}", words.join(", ")));
    let idle: Vec<String> = named("role", &roles).into_iter().chain(named("scope", &scopes)).collect();
    advice("key_holds_more", format!("{} calls, none by {}", key.calls, idle.join(" and ")), write)
}

/// Roles and scopes that lines name and that let nobody through anywhere: whoever gives them could stop.
pub fn unused_words(usage: &Usage<'_>) -> (Vec<String>, Vec<String>) {
    let (mut roles, mut scopes) = (BTreeMap::<String, bool>::new(), BTreeMap::<Arc<str>, bool>::new());
    for route in &usage.routes {
        for (line, used) in route.allow().iter().zip(&route.lines) {
            for (at, role) in line.roles.iter().enumerate() {
                *roles.entry(named(role)).or_default() |= used.roles.contains(&at);
            }
            for scope in &line.scopes {
                *scopes.entry(Arc::clone(scope)).or_default() |= used.calls > 0;
            }
        }
    }
    let roles = roles.into_iter().filter(|(_, used)| !used).map(|(role, _)| role).collect();
    (roles, scopes.into_iter().filter(|(_, used)| !used).map(|(scope, _)| scope.to_string()).collect())
}

fn named((provider, role): &(Arc<str>, Arc<str>)) -> String {
    format!("{provider}/{role}")
}

/// A line as it is written, with those of its roles that are kept.
fn told(line: &Line, keeps: impl Fn(usize) -> bool) -> String {
    let mut parts = Vec::new();
    let mut part = |name: &str, words: Vec<String>| {
        if !words.is_empty() {
            parts.push(format!("{name}: [{}]", words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", ")));
        }
    };
    part("roles", (0..).zip(&line.roles).filter(|(at, _)| keeps(*at)).map(|(_, role)| named(role)).collect());
    part("scopes", line.scopes.iter().map(ToString::to_string).collect());
    part("consumers", line.consumers.iter().map(ToString::to_string).collect());
    format!("{{ {} }}", parts.join(", "))
}

/// A word in YAML. What could be something else than a text is quoted.
pub fn quoted(word: &str) -> String {
    let is_plain = word.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&&*word.to_ascii_lowercase());
    if is_plain { word.to_owned() } else { Value::from(word).to_string() }
}
