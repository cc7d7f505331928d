//! Who may call what, and what a change of the configuration opens and closes: exact for routes and `allow` lines, and on the safe side
//! where it cannot be told.

mod around;
mod callers;
mod held;
mod requests;
#[cfg(test)]
mod tests;

pub use callers::{Caller, Credential, callers};

use portcullis_control_config::Plan;
use requests::{Met, Side};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;

/// What changes, in words, beside who may call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Weighed {
    /// What holds callers less, or cannot be told not to.
    pub relaxes: BTreeSet<String>,
    /// What holds them more.
    pub tightens: BTreeSet<String>,
}

impl Weighed {
    /// A quantity of which more lets more through.
    fn more<T: PartialOrd>(&mut self, what: &str, old: &T, new: &T) {
        if new > old {
            self.relaxes.insert(format!("{what}, is more"));
        } else if new < old {
            self.tightens.insert(format!("{what}, is less"));
        }
    }

    /// Something that lets more through when it is so.
    fn flag(&mut self, what: &str, old: bool, new: bool) {
        match (old, new) {
            (false, true) => self.relaxes.insert(what.to_owned()),
            (true, false) => self.tightens.insert(format!("no longer: {what}")),
            _ => false,
        };
    }

    fn is_empty(&self) -> bool {
        self.relaxes.is_empty() && self.tightens.is_empty()
    }
}

/// Requests that take one route in the old configuration and one in the new, and what changes for them.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The hosts, as they are written.
    pub hosts: BTreeSet<String>,
    /// The methods.
    pub methods: BTreeSet<&'static str>,
    /// The template of the route that decides in the new configuration; of the old one where there is none.
    pub path: Arc<str>,
    /// The path of such a request.
    pub example: String,
    /// The API and the route in the old configuration, if it has one.
    pub old: Option<(Arc<str>, Arc<str>)>,
    /// The API and the route in the new configuration, if it has one.
    pub new: Option<(Arc<str>, Arc<str>)>,
    /// Who may call it now and could not before.
    pub opens: Vec<Caller>,
    /// Who may not call it any more.
    pub closes: Vec<Caller>,
    /// What else changes for those who may call it before and after.
    pub weighed: Weighed,
}

/// What a change opens and closes.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// By operation.
    pub operations: Vec<Operation>,
    /// For all of them.
    pub around: Weighed,
}

impl Comparison {
    /// Whether anybody may do more than before, or it cannot be told that nobody may.
    #[must_use]
    pub fn widens(&self) -> bool {
        let widens = |one: &Operation| !one.opens.is_empty() || !one.weighed.relaxes.is_empty();
        !self.around.relaxes.is_empty() || self.operations.iter().any(widens)
    }

    /// What widens, a line each.
    #[must_use]
    pub fn widenings(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for one in &self.operations {
            lines.extend(one.opens.iter().map(|who| format!("{one}: opens to {who}")));
            lines.extend(one.weighed.relaxes.iter().map(|what| format!("{one}: {what}")));
        }
        lines.extend(self.around.relaxes.iter().cloned());
        lines
    }

    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "widens": self.widens(), "operations": self.operations.iter().map(Operation::to_json).collect::<Vec<_>>(),
            "relaxes": self.around.relaxes, "tightens": self.around.tightens,
        })
    }
}

impl Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let methods: Vec<&str> = self.methods.iter().copied().collect();
        let hosts: Vec<&str> = self.hosts.iter().map(String::as_str).collect();
        write!(f, "{} {}{}", methods.join(","), hosts.join(","), self.path)?;
        // Where one route takes over what another one had, the template alone does not say which requests.
        if self.old.is_some() && self.new.is_some() && self.old != self.new {
            write!(f, " (such as {})", self.example)?;
        }
        Ok(())
    }
}

impl Operation {
    fn to_json(&self) -> Value {
        let named = |route: &Option<(Arc<str>, Arc<str>)>| route.as_ref().map(|(api, route)| format!("{api}/{route}"));
        let callers = |callers: &[Caller]| callers.iter().map(Caller::to_json).collect::<Vec<_>>();
        json!({
            "hosts": self.hosts, "methods": self.methods, "path": *self.path, "example": self.example,
            "old_route": named(&self.old), "new_route": named(&self.new), "opens": callers(&self.opens), "closes": callers(&self.closes),
            "relaxes": self.weighed.relaxes, "tightens": self.weighed.tightens,
        })
    }
}

/// What `new` opens and closes that `old` did not.
///
/// # Errors
/// When the configurations are too large to compare, for the operator.
pub fn compare(old: &Plan, new: &Plan) -> Result<Comparison, String> {
    let (before, after) = (Side::new(old)?, Side::new(new)?);
    let mut operations = Vec::new();
    for ((first, second), met) in requests::pairs(&before, &after)? {
        let (was, is) = (first.and_then(|at| before.places.get(at)), second.and_then(|at| after.places.get(at)));
        operations.extend(operation((old, was.copied()), (new, is.copied()), met));
    }
    operations.sort_by(|a: &Operation, b: &Operation| (&a.hosts, &a.path, &a.methods).cmp(&(&b.hosts, &b.path, &b.methods)));
    Ok(Comparison { operations, around: around::weigh(old, new) })
}

type Deciding<'p> = (&'p Plan, Option<requests::Place<'p>>);

/// What changes for requests that take these two routes; nothing when nothing does.
fn operation((old, before): Deciding<'_>, (new, after): Deciding<'_>, met: Met) -> Option<Operation> {
    let (was, is) = (before.map(|place| &place.route.access), after.map(|place| &place.route.access));
    let opens = callers::refused(&callers(&new.identity, is), &old.identity, was);
    let closes = callers::refused(&callers(&old.identity, was), &new.identity, is);
    let weighed = match (before, after) {
        (Some(before), Some(after)) => held::weigh((old, before), (new, after)),
        _ => Weighed::default(),
    };
    if opens.is_empty() && closes.is_empty() && weighed.is_empty() {
        return None;
    }
    let named = |place: requests::Place<'_>| (Arc::clone(&place.api.name), Arc::clone(&place.route.name));
    let path = after.or(before).map(|place| Arc::clone(&place.route.path)).unwrap_or_else(|| "".into());
    let Met { hosts, methods, example } = met;
    Some(Operation { hosts, methods, path, example, old: before.map(named), new: after.map(named), opens, closes, weighed })
}
