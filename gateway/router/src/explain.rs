//! Why a request takes the route it takes.

use crate::candidate::{Candidate, Details, Fit};
use crate::methods::Asked;
use crate::table::{Lookup, RouteTable};
use std::sync::Arc;

/// A route that was looked at, and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered {
    /// The route.
    pub route: Arc<str>,
    /// Its template.
    pub template: String,
    /// What its parameters would be.
    pub params: Vec<(String, String)>,
    /// Why it was or was not taken.
    pub why: String,
    /// Whether it was taken.
    pub taken: bool,
}

/// How a look-up went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The host pattern that decides, if there is one.
    pub host: Option<String>,
    /// The routes of the deciding template in the order they are tried.
    pub considered: Vec<Considered>,
}

impl<T> RouteTable<T> {
    /// Tells how [`RouteTable::find`] comes to its answer, by the same look-up.
    pub fn explain<'h>(&self, host: &str, method: &str, path: &str, header: &dyn Fn(&str) -> Option<&'h [u8]>) -> Explanation {
        let Some(number) = self.hosts.find(host) else { return Explanation { host: None, considered: Vec::new() } };
        let mut explanation = Explanation { host: self.hosts.pattern(number).map(ToString::to_string), considered: Vec::new() };
        let mut decided = false;
        for candidate in self.tree.find(number, path).unwrap_or_default() {
            let Some(route) = self.details.get(candidate.route as usize) else { continue };
            let fit = candidate.fit(&self.details, Asked::new(method), header);
            let taken = fit == Fit::Whole && !decided;
            decided |= taken;
            explanation.considered.push(Considered {
                route: Arc::clone(&route.name),
                template: route.path.to_string(),
                params: route.path.params(path).map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
                why: reason(candidate, route, fit, taken),
                taken,
            });
        }
        debug_assert_eq!(decided, matches!(self.find(host, method, path, header), Lookup::Found { .. }), "one look-up");
        explanation
    }
}

fn reason(candidate: &Candidate, route: &Details, fit: Fit<'_>, taken: bool) -> String {
    match fit {
        Fit::Whole if taken => "host, path, method and headers fit".to_owned(),
        Fit::Whole => "fits as well, but a route written before it, or one that demands more headers, is taken".to_owned(),
        Fit::Method => {
            let methods: Vec<&str> = candidate.methods.names(&route.other_methods).collect();
            format!("the method is not among {}", methods.join(", "))
        }
        Fit::Header(name) => format!("the header `{name}` is not there exactly once with the value demanded"),
    }
}
