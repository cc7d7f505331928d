//! The table of routes.

use crate::candidate::{Candidate, Details, Fit};
use crate::host::{HostPattern, Hosts};
use crate::methods::{Asked, MethodSet};
use crate::overlap::{Overlap, overlaps};
use crate::template::PathTemplate;
use crate::tree::{Entry, Tree};
use std::sync::Arc;

/// A route, as the configuration has it.
#[derive(Clone, Debug)]
pub struct RouteSpec<T> {
    /// Its name.
    pub name: Arc<str>,
    /// Hosts it is for.
    pub hosts: Vec<HostPattern>,
    /// Paths it is for, in canonical form.
    pub path: PathTemplate,
    /// Methods it is for. HEAD is not implied by GET.
    pub methods: Vec<Box<str>>,
    /// Headers it demands: lower-case name, exact value.
    pub headers: Vec<(Box<str>, Box<[u8]>)>,
    /// What is found.
    pub target: T,
}

/// What a look-up found.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup<'t, T> {
    /// A route.
    Found {
        /// What the route leads to.
        target: &'t T,
    },
    /// No route has this host.
    HostUnknown,
    /// No route of the host has this path; or routes with this path and method there are, but all demand headers that the request
    /// does not have.
    PathUnknown,
    /// Routes of the path there are, but none with this method.
    MethodUnknown {
        /// The methods that there are, sorted, separated by commas.
        allow: String,
    },
}

/// The routes that a request may turn out to take of which host, method and path are known, but not every header.
#[derive(Debug, PartialEq, Eq)]
pub struct Possible<'t, T> {
    /// What they lead to, in the order they are tried.
    pub targets: Vec<&'t T>,
    /// Whether the last of them is what the request takes when it fits none of the others.
    pub is_certain: bool,
}

/// How many routes may be possible at once before nothing is said of any.
const POSSIBLE_MAX: usize = 64;

/// A route of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteEntry<'t, T> {
    /// Its name.
    pub name: &'t Arc<str>,
    /// What it leads to.
    pub target: &'t T,
}

/// Routes, ready to be looked up. Immutable.
#[derive(Debug)]
pub struct RouteTable<T> {
    pub(crate) hosts: Hosts,
    pub(crate) tree: Tree,
    /// By the number of the route.
    targets: Box<[T]>,
    /// By the number of the route; apart from the targets, so that a look-up touches little memory.
    pub(crate) details: Box<[Details]>,
}

impl<T> Default for RouteTable<T> {
    fn default() -> Self {
        Self { hosts: Hosts::default(), tree: Tree::default(), targets: Box::default(), details: Box::default() }
    }
}

impl<T> RouteTable<T> {
    /// Builds the table, and reports routes that meet: at most 1,000 overlaps, and for each route only those with the 256 routes
    /// of the same host and template before it.
    #[must_use]
    pub fn build(mut specs: Vec<RouteSpec<T>>) -> (Self, Vec<Overlap>) {
        // Routes that demand more headers are tried first; among equals the one written first.
        specs.sort_by_key(|route| std::cmp::Reverse(route.headers.len()));
        let mut hosts = Hosts::default();
        let (mut targets, mut details) = (Vec::with_capacity(specs.len()), Vec::with_capacity(specs.len()));
        let mut places = Vec::with_capacity(specs.len());
        for (route, spec) in (0..).zip(specs) {
            let (methods, other_methods) = MethodSet::new(spec.methods);
            let candidate = Candidate { route, methods, has_headers: !spec.headers.is_empty() };
            places.extend(spec.hosts.iter().map(|pattern| (hosts.number(pattern), candidate)));
            targets.push(spec.target);
            details.push(Details { name: spec.name, path: spec.path, headers: spec.headers.into(), other_methods });
        }
        let entry = |(host, candidate): &(u32, Candidate)| {
            let details = details.get(candidate.route as usize)?;
            Some(Entry { host: *host, segments: details.path.segments(), candidate: *candidate })
        };
        let tree = Tree::build(places.iter().filter_map(entry).collect());
        let overlaps = overlaps(&hosts, &tree, &details);
        (Self { hosts, tree, targets: targets.into(), details: details.into() }, overlaps)
    }

    /// How many routes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// What the route with this number leads to.
    #[must_use]
    pub fn target(&self, number: u32) -> Option<&T> {
        self.targets.get(number as usize)
    }

    /// Every route.
    pub fn routes(&self) -> impl Iterator<Item = RouteEntry<'_, T>> {
        self.details.iter().zip(&self.targets).map(|(details, target)| RouteEntry { name: &details.name, target })
    }

    /// Finds the route of a request from its canonical host and path. `header` gives the value of a header that occurs exactly once.
    pub fn find<'h>(&self, host: &str, method: &str, path: &str, header: &dyn Fn(&str) -> Option<&'h [u8]>) -> Lookup<'_, T> {
        let Some(number) = self.hosts.find(host) else { return Lookup::HostUnknown };
        let Some(candidates) = self.tree.find(number, path) else { return Lookup::PathUnknown };
        let asked = Asked::new(method);
        let mut is_listed = false;
        for candidate in candidates {
            match candidate.fit(&self.details, asked, header) {
                Fit::Whole => match self.targets.get(candidate.route as usize) {
                    Some(target) => return Lookup::Found { target },
                    // INVARIANT: every candidate has a target; a request without one is refused.
                    None => return Lookup::PathUnknown,
                },
                Fit::Header(_) => is_listed = true,
                Fit::Method => {}
            }
        }
        if is_listed { Lookup::PathUnknown } else { Lookup::MethodUnknown { allow: self.allowed(candidates) } }
    }

    /// The routes that a request may take. `may_have` tells whether a header may come to have a value; a route that demands headers is
    /// possible as soon as one of them may. None when there are more than 64.
    pub fn possible(&self, host: &str, method: &str, path: &str, may_have: &dyn Fn(&str, &[u8]) -> bool) -> Possible<'_, T> {
        let candidates = self.hosts.find(host).and_then(|number| self.tree.find(number, path)).unwrap_or_default();
        let asked = Asked::new(method);
        let mut possible = Possible { targets: Vec::new(), is_certain: false };
        for candidate in candidates.iter().filter(|candidate| candidate.lists(&self.details, asked)) {
            let Some(target) = self.targets.get(candidate.route as usize) else { continue };
            let demanded = self.details.get(candidate.route as usize).map_or(&[][..], |details| &details.headers);
            possible.is_certain = demanded.is_empty();
            if possible.is_certain || demanded.iter().any(|(name, value)| may_have(name, value)) {
                possible.targets.push(target);
            }
            if possible.is_certain {
                break;
            }
        }
        if possible.targets.len() > POSSIBLE_MAX {
            return Possible { targets: Vec::new(), is_certain: false };
        }
        possible
    }

    fn allowed(&self, candidates: &[Candidate]) -> String {
        let mut methods: Vec<&str> = Vec::new();
        for candidate in candidates {
            let others = self.details.get(candidate.route as usize).map_or(&[][..], |details| &details.other_methods);
            methods.extend(candidate.methods.names(others));
        }
        methods.sort_unstable();
        methods.dedup();
        methods.join(", ")
    }
}
