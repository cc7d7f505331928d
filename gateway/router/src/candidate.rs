//! A route as its template's list has it, and how it fits a request.

use crate::methods::{Asked, MethodSet};
use crate::template::PathTemplate;
use std::sync::Arc;

/// One route of a template: what is looked at for every request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    /// The number of the route.
    pub(crate) route: u32,
    pub(crate) methods: MethodSet,
    pub(crate) has_headers: bool,
}

/// A header by its lower-case name, and its exact value.
pub(crate) type HeaderValue = (Box<str>, Box<[u8]>);

/// The rest of a route: what is looked at seldom, or to explain.
#[derive(Debug)]
pub(crate) struct Details {
    pub(crate) name: Arc<str>,
    pub(crate) path: PathTemplate,
    pub(crate) headers: Box<[HeaderValue]>,
    /// Methods that [`MethodSet`] has no bit for.
    pub(crate) other_methods: Box<[Box<str>]>,
}

/// How a candidate and a request fit, when host and path do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit<'r> {
    /// Entirely.
    Whole,
    /// The method is not listed.
    Method,
    /// The method is, but this header does not have the value demanded, or not exactly once.
    Header(&'r str),
}

impl Candidate {
    /// Whether it lists the method. `all` has the details of every route by number.
    pub(crate) fn lists(self, all: &[Details], method: Asked<'_>) -> bool {
        self.methods.has(method, all.get(self.route as usize).map_or(&[], |details| &details.other_methods))
    }

    /// Compares with a request. `all` has the details of every route by number.
    pub(crate) fn fit<'r, 'h>(self, all: &'r [Details], method: Asked<'_>, header: &dyn Fn(&str) -> Option<&'h [u8]>) -> Fit<'r> {
        if !self.has_headers && self.methods.has(method, &[]) {
            return Fit::Whole;
        }
        let Some(details) = all.get(self.route as usize) else { return Fit::Method };
        if !self.methods.has(method, &details.other_methods) {
            return Fit::Method;
        }
        // A header that occurs several times has no value here (threats B 52).
        let unmet = details.headers.iter().find(|(name, value)| header(name).is_none_or(|found| *found != **value));
        unmet.map_or(Fit::Whole, |(name, _)| Fit::Header(name))
    }
}
