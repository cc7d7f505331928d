//! What was used of what a configuration grants. As large as the configuration and its key files, however many records there are.

use super::records::Record;
use portcullis_control_config::{Access, Plan, RoutePlan};
use portcullis_engines_authz::Line;
use portcullis_engines_keys::{Entry, KeyFile};
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

/// Days that are told apart.
const DAYS_MAX: usize = 4000;
const DAY: u64 = 86_400;

/// What was used of a line.
#[derive(Debug, Default)]
pub struct LineUse {
    /// Calls that it let through.
    pub calls: u64,
    /// Which of its roles callers had, by their place in the line.
    pub roles: BTreeSet<usize>,
}

/// What was used of a route.
pub struct RouteUse<'p> {
    /// Its API.
    pub api: &'p Arc<str>,
    /// The route.
    pub route: &'p RoutePlan,
    /// Requests that found it.
    pub requests: u64,
    /// Of its lines.
    pub lines: Vec<LineUse>,
}

impl<'p> RouteUse<'p> {
    /// The lines of its `allow`; none when it is for everybody.
    pub fn allow(&self) -> &'p [Line] {
        match &self.route.access {
            Access::Public => &[],
            Access::Allow { access, .. } => &access.lines,
        }
    }

    /// Calls that were let through by any line.
    pub fn allowed(&self) -> u64 {
        self.lines.iter().map(|line| line.calls).sum()
    }
}

/// What was used of a key.
pub struct KeyUse {
    /// The key.
    pub entry: Entry,
    /// Calls that it made.
    pub calls: u64,
    /// Roles of it that a line asked for.
    pub roles: BTreeSet<usize>,
    /// Scopes of it that a line asked for.
    pub scopes: BTreeSet<usize>,
    /// Whether a record does not say what a line asked for.
    pub unsure: bool,
}

/// The keys of a store.
pub struct StoreUse {
    /// Its name.
    pub name: Arc<str>,
    /// Its file.
    pub file: PathBuf,
    /// By id.
    pub keys: HashMap<Box<str>, KeyUse>,
}

/// What was used, in a time.
pub struct Usage<'p> {
    since: u64,
    /// The routes, in the order of the configuration.
    pub routes: Vec<RouteUse<'p>>,
    by_name: HashMap<(&'p str, &'p str), usize>,
    /// The stores of keys.
    pub stores: Vec<StoreUse>,
    /// Records in that time.
    pub records: u64,
    /// Records of before it.
    pub older: u64,
    /// Allowed calls by a line that the configuration does not have any more.
    pub elsewhere: u64,
    /// Allowed calls whose record does not say by which role.
    pub unsure: u64,
    first: Option<u64>,
    last: Option<u64>,
    days: Vec<bool>,
}

/// What records tell of: from when to when, and on how many days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Covered {
    /// The first, in seconds since the Unix epoch.
    pub from: u64,
    /// The last.
    pub to: u64,
    /// Days with at least one.
    pub days: usize,
}

impl<'p> Usage<'p> {
    /// Nothing used yet of a plan and of the keys of its stores, since a time.
    pub fn of(plan: &'p Plan, keys: Vec<(Arc<str>, PathBuf, KeyFile)>, since: u64) -> Self {
        let all = plan.apis.iter().flat_map(|api| api.routes.iter().map(move |route| (&api.name, route)));
        let mut usage = Self {
            since,
            routes: Vec::new(),
            by_name: HashMap::new(),
            stores: keys.into_iter().map(|(name, file, keys)| StoreUse { name, file, keys: keys_of(keys) }).collect(),
            records: 0,
            older: 0,
            elsewhere: 0,
            unsure: 0,
            first: None,
            last: None,
            days: vec![false; DAYS_MAX],
        };
        for (api, route) in all {
            let mut known = RouteUse { api, route, requests: 0, lines: Vec::new() };
            known.lines = known.allow().iter().map(|_| LineUse::default()).collect();
            usage.by_name.insert((api, &route.name), usage.routes.len());
            usage.routes.push(known);
        }
        usage
    }

    /// Counts a record; gives the place of the route and of the line that let the caller through, if one did that there is.
    pub fn count(&mut self, record: &Record, at: u64) -> Option<(usize, Option<usize>)> {
        if at < self.since {
            self.older += 1;
            return None;
        }
        self.records += 1;
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
        self.last = Some(self.last.map_or(at, |last| last.max(at)));
        let day = usize::try_from((at - self.since) / DAY).unwrap_or(usize::MAX);
        self.days.get_mut(day).into_iter().for_each(|day| *day = true);
        self.count_key(record);
        let names = (record.api.as_deref()?, record.route.as_deref()?);
        let Some(place) = self.by_name.get(&names).copied() else {
            self.elsewhere += u64::from(record.allow_line.is_some());
            return None;
        };
        let route = self.routes.get_mut(place)?;
        route.requests += 1;
        let Some(written) = record.allow_line else { return Some((place, None)) };
        let allow = route.allow();
        let Some(line) = line_of(allow, record, usize::from(written).wrapping_sub(1)) else {
            self.elsewhere += 1;
            return None;
        };
        let (used, written) = (route.lines.get_mut(line)?, allow.get(line)?);
        used.calls += 1;
        match &record.allow_roles {
            Some(roles) => used.roles.extend((0..).zip(&written.roles).filter(|(_, role)| has(roles, role)).map(|(at, _)| at)),
            None => {
                self.unsure += 1;
                used.roles.extend(0..written.roles.len());
            }
        }
        Some((place, Some(line)))
    }

    fn count_key(&mut self, record: &Record) {
        let (Some(provider), Some(id)) = (&record.provider, &record.principal_client) else { return };
        let store = self.stores.iter_mut().find(|store| *store.name == **provider);
        let Some(key) = store.and_then(|store| store.keys.get_mut(&**id)) else { return };
        if record.allow_line.is_none() {
            return;
        }
        key.calls += 1;
        let Some(roles) = &record.allow_roles else {
            key.unsure = true;
            return;
        };
        let own: Vec<&str> = roles.iter().filter_map(|role| role.strip_prefix(&**provider)?.strip_prefix('/')).collect();
        key.roles.extend(places(&key.entry.roles, &own));
        key.scopes.extend(places(&key.entry.scopes, &record.allow_scopes));
    }

    /// What the records tell of; nothing when there are none.
    pub fn covered(&self) -> Option<Covered> {
        let days = self.days.iter().filter(|day| **day).count();
        Some(Covered { from: self.first?, to: self.last?, days })
    }
}

fn keys_of(file: KeyFile) -> HashMap<Box<str>, KeyUse> {
    let fresh = |entry: Entry| {
        let (roles, scopes) = (BTreeSet::new(), BTreeSet::new());
        (entry.id.clone(), KeyUse { entry, calls: 0, roles, scopes, unsure: false })
    };
    file.entries.into_iter().map(fresh).collect()
}

fn places<T: AsRef<str>>(own: &[Box<str>], used: &[T]) -> Vec<usize> {
    (0..).zip(own).filter(|(_, word)| used.iter().any(|used| used.as_ref() == &***word)).map(|(at, _)| at).collect()
}

fn has(roles: &[String], (provider, name): &(Arc<str>, Arc<str>)) -> bool {
    roles.iter().any(|role| role.strip_prefix(&**provider).and_then(|rest| rest.strip_prefix('/')) == Some(name))
}

/// The line of today that lets through what a line let through when the record was made: the one in the same place if it does, else the
/// first that does. Where a record does not say by what, its place alone counts.
fn line_of(allow: &[Line], record: &Record, written: usize) -> Option<usize> {
    let Some(roles) = &record.allow_roles else { return Some(written).filter(|at| *at < allow.len()) };
    let fits = |line: &Line| {
        let consumer = record.consumer.as_deref();
        (line.roles.is_empty() || line.roles.iter().any(|role| has(roles, role)))
            && line.scopes.iter().all(|scope| record.allow_scopes.iter().any(|had| **had == **scope))
            && (line.consumers.is_empty() || line.consumers.iter().any(|name| consumer == Some(name)))
    };
    match allow.get(written) {
        Some(line) if fits(line) => Some(written),
        _ => allow.iter().position(fits),
    }
}
