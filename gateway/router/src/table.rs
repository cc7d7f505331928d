//! The table of routes.

use crate::host::{HostPattern, Hosts};
use crate::paths::Paths;
use crate::template::PathTemplate;
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

/// Two routes that some request fits equally well; the first one wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// The route that wins: it was written first.
    pub first: Arc<str>,
    /// The route that such requests never reach.
    pub second: Arc<str>,
    /// The host pattern where they meet.
    pub host: String,
    /// Whether every request for the second is taken by the first.
    pub hidden: bool,
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
    /// No route of the host has this path.
    PathUnknown,
    /// Routes of the path there are, but none with this method (and these headers).
    MethodUnknown {
        /// The methods that there are, sorted, separated by commas.
        allow: String,
    },
}

/// Routes, ready to be looked up. Immutable.
#[derive(Debug)]
pub struct RouteTable<T> {
    pub(crate) hosts: Hosts,
    pub(crate) paths: Vec<Paths>,
    pub(crate) routes: Vec<RouteSpec<T>>,
}

impl<T> Default for RouteTable<T> {
    fn default() -> Self {
        Self { hosts: Hosts::default(), paths: Vec::new(), routes: Vec::new() }
    }
}

impl<T> RouteTable<T> {
    /// Builds the table, and reports routes that meet.
    #[must_use]
    pub fn build(specs: Vec<RouteSpec<T>>) -> (Self, Vec<Overlap>) {
        let mut table = Self { routes: specs, ..Self::default() };
        // Routes that demand more headers are tried first; among equals the one written first.
        table.routes.sort_by_key(|route| std::cmp::Reverse(route.headers.len()));
        let mut overlaps = Vec::new();
        for (number, route) in table.routes.iter().enumerate() {
            let Ok(index) = u32::try_from(number) else { break };
            for pattern in &route.hosts {
                let host = table.hosts.number(pattern);
                if table.paths.len() <= host {
                    table.paths.resize_with(host + 1, Paths::default);
                }
                let Some(paths) = table.paths.get_mut(host) else { continue };
                for before in paths.add(&route.path, index) {
                    let first = table.routes.get(*before as usize);
                    overlaps.extend(first.and_then(|first| meet(first, route, pattern)));
                }
            }
        }
        (table, overlaps)
    }

    /// How many routes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Every route.
    pub fn routes(&self) -> impl Iterator<Item = &RouteSpec<T>> {
        self.routes.iter()
    }

    /// Finds the route of a request from its canonical host and path. `header` gives the value of a header that occurs exactly once.
    pub fn find<'h>(&self, host: &str, method: &str, path: &str, header: &dyn Fn(&str) -> Option<&'h [u8]>) -> Lookup<'_, T> {
        let Some(number) = self.hosts.find(host) else { return Lookup::HostUnknown };
        let Some(candidates) = self.paths.get(number).and_then(|paths| paths.find(path)) else { return Lookup::PathUnknown };
        let candidates = || candidates.iter().filter_map(|index| self.routes.get(*index as usize));
        match candidates().find(|route| fits(route, method, header)) {
            Some(route) => Lookup::Found { target: &route.target },
            None => Lookup::MethodUnknown { allow: allowed(candidates()) },
        }
    }
}

pub(crate) fn fits<'h, T>(route: &RouteSpec<T>, method: &str, header: &dyn Fn(&str) -> Option<&'h [u8]>) -> bool {
    route.methods.iter().any(|own| **own == *method)
        && route.headers.iter().all(|(name, value)| header(name).is_some_and(|found| *found == **value))
}

fn allowed<'r, T: 'r>(routes: impl Iterator<Item = &'r RouteSpec<T>>) -> String {
    let mut methods: Vec<&str> = routes.flat_map(|route| route.methods.iter().map(AsRef::as_ref)).collect();
    methods.sort_unstable();
    methods.dedup();
    methods.join(", ")
}

/// Whether some request fits both routes equally well, when host and path are the same.
fn meet<T>(first: &RouteSpec<T>, second: &RouteSpec<T>, host: &HostPattern) -> Option<Overlap> {
    let shared = second.methods.iter().filter(|method| first.methods.contains(method)).count();
    let contradict = first.headers.iter().any(|(name, value)| second.headers.iter().any(|(n, v)| n == name && v != value));
    if shared == 0 || contradict || first.headers.len() != second.headers.len() {
        return None;
    }
    let same_headers = first.headers.iter().all(|header| second.headers.contains(header));
    let hidden = same_headers && shared == second.methods.len();
    Some(Overlap { first: Arc::clone(&first.name), second: Arc::clone(&second.name), host: host.to_string(), hidden })
}
