//! Why a request takes the route it takes.

use crate::table::{Lookup, RouteSpec, RouteTable, fits};
use std::sync::Arc;

/// A route that was looked at, and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered {
    /// The route.
    pub route: Arc<str>,
    /// Its template.
    pub template: String,
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
        let mut explanation = Explanation { host: self.pattern_of(number), considered: Vec::new() };
        let Some(candidates) = self.paths.get(number).and_then(|paths| paths.find(path)) else { return explanation };
        let mut decided = false;
        for route in candidates.iter().filter_map(|index| self.routes.get(*index as usize)) {
            let fit = fits(route, method, header);
            let taken = fit && !decided;
            decided |= fit;
            let why = reason(route, method, header, taken, fit);
            explanation.considered.push(Considered {
                route: Arc::clone(&route.name),
                template: route.path.to_string(),
                why,
                taken,
            });
        }
        debug_assert_eq!(decided, matches!(self.find(host, method, path, header), Lookup::Found { .. }), "one look-up");
        explanation
    }

    fn pattern_of(&self, number: usize) -> Option<String> {
        let patterns = self.routes.iter().flat_map(|route| &route.hosts);
        patterns.into_iter().find(|pattern| self.hosts.number_of(pattern) == Some(number)).map(ToString::to_string)
    }
}

fn reason<'h, T>(route: &RouteSpec<T>, method: &str, header: &dyn Fn(&str) -> Option<&'h [u8]>, taken: bool, fit: bool) -> String {
    if taken {
        return "host, path, method and headers fit".to_owned();
    }
    if fit {
        return "fits as well, but a route written before it, or one that demands more headers, is taken".to_owned();
    }
    if !route.methods.iter().any(|own| **own == *method) {
        return format!("the method is not among {}", route.methods.join(", "));
    }
    let missing = route.headers.iter().find(|(name, value)| header(name).is_none_or(|found| *found != **value));
    missing.map_or_else(String::new, |(name, _)| format!("the header `{name}` is not there exactly once with the value demanded"))
}
