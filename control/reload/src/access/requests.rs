//! Which route of one configuration, and which of another, take the same request: for every request there could be.
//!
//! A table decides by the host pattern, then by the most specific template, then by method and headers. Requests that both tables treat
//! alike are a class; of each class one stands for all. For the template it is the most general path that fits a template of either table
//! at once: whatever else fits that path fits every path of the class, so it decides for all of them or for none.

use portcullis_control_config::{ApiPlan, Plan, RoutePlan};
use portcullis_gateway_router::{HostPattern, Lookup, PathTemplate, RouteSpec, RouteTable, Segment};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// How many pairs of templates are looked at. Beyond that a comparison would take minutes.
const PAIRS_MAX: usize = 20_000_000;

/// A route where it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'p> {
    pub(crate) api: &'p ApiPlan,
    pub(crate) route: &'p RoutePlan,
}

/// A table, and what its numbers stand for.
pub(crate) struct Side<'p> {
    pub(crate) places: Vec<Place<'p>>,
    table: RouteTable<usize>,
    hosts: BTreeSet<String>,
    /// The templates of each host pattern, each with its routes.
    templates: BTreeMap<String, BTreeMap<String, (PathTemplate, Vec<usize>)>>,
}

impl<'p> Side<'p> {
    /// The table of a plan.
    ///
    /// # Errors
    /// When the plan has no sound routes, which the check of a configuration has ruled out.
    pub(crate) fn new(plan: &'p Plan) -> Result<Self, String> {
        let mut side =
            Self { places: Vec::new(), table: RouteTable::build(Vec::new()).0, hosts: BTreeSet::new(), templates: BTreeMap::new() };
        let mut specs = Vec::new();
        for api in &plan.apis {
            let hosts = api.hosts.iter().map(|host| HostPattern::parse(host)).collect::<Result<Vec<_>, _>>()?;
            for route in &api.routes {
                let number = side.places.len();
                let path = PathTemplate::parse(&route.path)?;
                side.note(&hosts, &path, number);
                side.places.push(Place { api, route });
                specs.push(RouteSpec {
                    name: Arc::clone(&route.name),
                    hosts: hosts.clone(),
                    path,
                    methods: route.methods.iter().map(|method| method.as_str().into()).collect(),
                    headers: route.headers.iter().map(|(name, value)| (Box::from(&**name), value.as_bytes().into())).collect(),
                    target: number,
                });
            }
        }
        side.table = RouteTable::build(specs).0;
        Ok(side)
    }

    fn note(&mut self, hosts: &[HostPattern], path: &PathTemplate, number: usize) {
        for host in hosts {
            self.hosts.insert(host.to_string());
            let of_host = self.templates.entry(host.to_string()).or_default();
            let (_, routes) = of_host.entry(shape(path)).or_insert_with(|| (path.clone(), Vec::new()));
            routes.push(number);
        }
    }

    /// The templates that decide for a host.
    fn of_host(&self, host: &str) -> Vec<(&PathTemplate, &[usize])> {
        let pattern = self.table.explain(host, "GET", "/", &|_| None).host;
        let known = pattern.and_then(|pattern| self.templates.get(&pattern));
        known.into_iter().flat_map(BTreeMap::values).map(|(path, routes)| (path, routes.as_slice())).collect()
    }

    fn find(&self, request: &Request<'_>) -> Option<usize> {
        let header = |name: &str| request.headers.get(name).map(|value| value.as_bytes());
        match self.table.find(request.host, request.method, request.path, &header) {
            Lookup::Found { target } => Some(*target),
            _ => None,
        }
    }
}

/// A template without the names of its parameters.
fn shape(path: &PathTemplate) -> String {
    let shown = path.segments().iter().map(|segment| match segment {
        Segment::Static(text) => text,
        Segment::Param(_) => "{}",
        Segment::CatchAll(_) => "{*}",
    });
    shown.collect::<Vec<_>>().join("/")
}

struct Request<'r> {
    host: &'r str,
    method: &'r str,
    path: &'r str,
    headers: &'r BTreeMap<&'r str, &'r str>,
}

/// Requests that take the same route here and the same route there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Met {
    /// Host patterns, as they are written.
    pub(crate) hosts: BTreeSet<String>,
    /// Methods.
    pub(crate) methods: BTreeSet<&'static str>,
    /// The path of such a request.
    pub(crate) example: String,
}

/// Every pair of routes that the same request takes in the old and in the new table; nothing stands for a refusal. Pairs of two refusals
/// are left out.
pub(crate) type Pairs = BTreeMap<(Option<usize>, Option<usize>), Met>;

/// Finds them.
///
/// # Errors
/// When there are too many templates to compare.
pub(crate) fn pairs(old: &Side<'_>, new: &Side<'_>) -> Result<Pairs, String> {
    let mut found = Pairs::new();
    let mut left = PAIRS_MAX;
    for pattern in old.hosts.union(&new.hosts) {
        let host = some_host(pattern, old, new);
        let (before, after) = (old.of_host(&host), new.of_host(&host));
        let fresh = Fresh::beside(&before, &after);
        let mut look = |paths: Vec<String>, first: &[usize], second: &[usize]| {
            for path in paths {
                look_at(&mut found, (old, new), (pattern, &host, &path), first, second);
            }
        };
        for (path, routes) in &before {
            look(fresh.paths(path, path), routes, &[]);
        }
        let by_first = by_first_segment(&after);
        for (second, routes) in &after {
            look(fresh.paths(second, second), &[], routes);
        }
        for (first, routes) in &before {
            for at in candidates(first, &after, &by_first) {
                left = left.checked_sub(1).ok_or("there are too many routes on one host to compare them")?;
                let Some((second, others)) = after.get(at) else { continue };
                look(fresh.paths(first, second), routes, others);
            }
        }
    }
    Ok(found)
}

/// A host that the pattern decides for, and no other pattern of either side.
fn some_host(pattern: &str, old: &Side<'_>, new: &Side<'_>) -> String {
    let Some(suffix) = pattern.strip_prefix('*') else { return pattern.to_owned() };
    // One label in front belongs to no longer wildcard, and alone to none at all.
    let mut label = "any".to_owned();
    loop {
        let host = format!("{label}{suffix}");
        if !old.hosts.contains(&host) && !new.hosts.contains(&host) {
            return host;
        }
        label.push('y');
    }
}

/// Templates by the text of their first segment; those that begin with a parameter or catch all under nothing.
fn by_first_segment<'t>(templates: &[(&'t PathTemplate, &[usize])]) -> HashMap<Option<&'t str>, Vec<usize>> {
    let mut by_first: HashMap<Option<&str>, Vec<usize>> = HashMap::new();
    for (at, (path, _)) in templates.iter().enumerate() {
        by_first.entry(first_text(path)).or_default().push(at);
    }
    by_first
}

fn first_text(path: &PathTemplate) -> Option<&str> {
    match path.segments().first() {
        Some(Segment::Static(text)) => Some(text),
        _ => None,
    }
}

/// Those that may have a path in common with `path`, by their first segments.
fn candidates(path: &PathTemplate, all: &[(&PathTemplate, &[usize])], by_first: &HashMap<Option<&str>, Vec<usize>>) -> Vec<usize> {
    match first_text(path) {
        None => (0..all.len()).collect(),
        text => [text, None].iter().filter_map(|key| by_first.get(key)).flatten().copied().collect(),
    }
}

/// What stands for everything that no template names.
struct Fresh {
    text: String,
    segments_max: usize,
}

impl Fresh {
    fn beside(before: &[(&PathTemplate, &[usize])], after: &[(&PathTemplate, &[usize])]) -> Self {
        let all = || before.iter().chain(after).map(|(path, _)| *path);
        let is_named =
            |text: &str| all().any(|path| path.segments().iter().any(|one| matches!(one, Segment::Static(own) if **own == *text)));
        let mut text = "any".to_owned();
        while is_named(&text) {
            text.push('y');
        }
        Self { text, segments_max: all().map(|path| path.segments().len()).max().unwrap_or(0) }
    }

    /// The most general paths that fit both templates; none when no path does. Several only where both catch all that is left: what is left
    /// may have any length, which other templates tell apart.
    fn paths(&self, first: &PathTemplate, second: &PathTemplate) -> Vec<String> {
        let mut path = String::new();
        let (mut left, mut right) = (first.segments().iter(), second.segments().iter());
        loop {
            let text = match (left.as_slice(), right.as_slice()) {
                ([], []) => return vec![path],
                ([Segment::CatchAll(_), ..], [Segment::CatchAll(_), ..]) => return self.ends(&path),
                ([Segment::CatchAll(_), ..], rest) | (rest, [Segment::CatchAll(_), ..]) => return self.with_rest(path, rest),
                ([Segment::Static(text), ..], [Segment::Static(other), ..]) if text == other => text,
                // A parameter takes no empty segment.
                ([Segment::Static(text), ..], [Segment::Param(_), ..]) | ([Segment::Param(_), ..], [Segment::Static(text), ..])
                    if !text.is_empty() =>
                {
                    text
                }
                ([Segment::Param(_), ..], [Segment::Param(_), ..]) => self.text.as_str(),
                _ => return Vec::new(),
            };
            path.push('/');
            path.push_str(text);
            left.next();
            right.next();
        }
    }

    /// What is left of one template where the other catches all.
    fn with_rest(&self, mut path: String, rest: &[Segment]) -> Vec<String> {
        if rest.is_empty() {
            return Vec::new();
        }
        for segment in rest {
            match segment {
                Segment::Static(text) => path.extend(["/", text]),
                Segment::Param(_) => path.extend(["/", &self.text]),
                Segment::CatchAll(_) => return self.ends(&path),
            }
        }
        vec![path]
    }

    /// Every length of what two templates catch, with and without a slash at the end.
    fn ends(&self, path: &str) -> Vec<String> {
        let longest = self.segments_max.saturating_add(1);
        let whole = (0..=longest).map(|count| format!("{path}{}", format!("/{}", self.text).repeat(count)));
        whole.flat_map(|path| [format!("{path}/"), path]).filter(|path| !path.is_empty()).collect()
    }
}

/// Looks with every method and every set of headers that the routes of both templates tell apart.
fn look_at(
    found: &mut Pairs,
    (old, new): (&Side<'_>, &Side<'_>),
    (pattern, host, path): (&str, &str, &str),
    first: &[usize],
    second: &[usize],
) {
    let routes = |side: &Side<'_>, numbers: &[usize]| -> Vec<Option<usize>> {
        let known = numbers.iter().copied().filter(|number| side.places.get(*number).is_some()).map(Some);
        known.chain([None]).collect()
    };
    for one in routes(old, first) {
        for other in routes(new, second) {
            let places = [one.and_then(|number| old.places.get(number)), other.and_then(|number| new.places.get(number))];
            let Some(headers) = together(places) else { continue };
            let methods = places.iter().flatten().flat_map(|place| place.route.methods.iter());
            for method in methods {
                let request = Request { host, method: method.as_str(), path, headers: &headers };
                let pair = (old.find(&request), new.find(&request));
                if pair != (None, None) {
                    let met = found.entry(pair).or_default();
                    met.hosts.insert(pattern.to_owned());
                    met.methods.insert(method.as_str());
                    if met.example.is_empty() {
                        met.example = path.to_owned();
                    }
                }
            }
        }
    }
}

/// The headers that all of these demand; nothing when no request has them all.
fn together<'p>(places: [Option<&Place<'p>>; 2]) -> Option<BTreeMap<&'p str, &'p str>> {
    let mut headers = BTreeMap::new();
    for (name, value) in places.iter().flatten().flat_map(|place| place.route.headers.iter()) {
        if *headers.entry(&**name).or_insert(&**value) != &**value {
            return None;
        }
    }
    Some(headers)
}
