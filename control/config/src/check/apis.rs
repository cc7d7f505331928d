//! Checks of `defaults` and `apis`. What did not change since the last load is not checked again.

use super::Checker;
use super::identity::Identity;
use super::policies::{Found, PolicyCache};
use crate::digest::{Digest, DigestHasher};
use crate::merge::Merged;
use crate::plan::{Access, ApiPlan, OwnPolicies, Plan, PolicyLevels, RoutePlan};
use crate::settings::{ApiSettings, Part, RouteSettings};
use portcullis_model_settings::{Level, Method, PolicySchema, PolicySettings, PolicyUse, PolicyUses, Spanned, nearest};
use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

/// Plans of APIs from the last load that went well.
#[derive(Debug, Default)]
pub(crate) struct ApiCache {
    plans: HashMap<Arc<str>, Arc<ApiPlan>>,
    defaults: Option<(Digest, PolicyLevels)>,
    hashes: RandomState,
    pub(crate) policies: PolicyCache,
}

/// The greatest share in `weights`.
const WEIGHT_MAX: u32 = 1000;

/// A hash of policies as they were written.
pub(super) fn digest_of_uses<'u>(uses: impl Iterator<Item = &'u PolicyUse>) -> Digest {
    let mut hasher = DigestHasher::new("policies");
    for one in uses {
        hasher.write_usize(one.policy);
        hasher.text(&Digest::of_node(&one.at.node()).to_string());
    }
    hasher.digest()
}

impl ApiCache {
    /// Keeps what a configuration that is now in force was made of.
    pub(crate) fn keep(&mut self, plan: &Plan) {
        self.plans = plan.apis.iter().map(|api| (Arc::clone(&api.name), Arc::clone(api))).collect();
        self.defaults = Some((plan.defaults_digest, plan.defaults.clone()));
    }

    /// Checks the defaults and every API.
    pub(super) fn check(
        &mut self,
        merged: &Merged<'_>,
        policies: &Arc<[PolicySchema]>,
        (identity, found): (&Identity<'_>, &Found),
        checker: &mut Checker<'_>,
    ) -> (PolicyLevels, Vec<Arc<ApiPlan>>) {
        let defaults_digest = digest_of_uses(merged.defaults.iter().copied());
        let defaults = match &self.defaults {
            Some((digest, levels)) if *digest == defaults_digest => levels.clone(),
            _ => PolicyLevels(merged.defaults.iter().map(|one| (one.policy, vec![Arc::clone(&one.settings)])).collect()),
        };
        for one in &merged.defaults {
            check_use(policies, one, Level::Defaults, checker);
        }
        let upstreams: HashSet<&str> = merged.upstreams.iter().map(|part| &*part.name.value).collect();
        let mut plans = Vec::with_capacity(merged.apis.len());
        for part in &merged.apis {
            let Some(settings) = &part.value else { continue };
            check_upstream(part, settings, &upstreams, checker);
            let digest = api_digest(part, defaults_digest, identity.digest, found.digest(&part.name));
            if let Some(known) = self.plans.get(&*part.name.value).filter(|known| known.digest == digest) {
                plans.push(Arc::clone(known));
                continue;
            }
            let levels = Levels { policies, outer: &merged.defaults, defaults: &defaults, identity, found };
            plans.push(Arc::new(self.check_api(part, settings, digest, &levels, checker)));
        }
        check_duplicates(&plans, merged, checker);
        (defaults, plans)
    }

    fn check_api(
        &self,
        part: &Part<ApiSettings>,
        settings: &ApiSettings,
        digest: Digest,
        levels: &Levels<'_>,
        checker: &mut Checker<'_>,
    ) -> ApiPlan {
        let path = format!("/apis/{}", &*part.name.value);
        let mut hosts: Vec<Arc<str>> = Vec::new();
        for (at, host) in &settings.hosts.0 {
            let name = host.shared();
            if hosts.contains(&name) {
                checker.error(
                    host,
                    format!("{path}/hosts/{at}"),
                    format!("the host `{name}` is listed twice"),
                    "remove one of the two",
                );
            } else {
                hosts.push(name);
            }
        }
        let names: Vec<&str> = settings.routes.0.iter().map(|(_, route)| &**route.name).collect();
        levels.check_uses(&settings.policies, &[], Level::Api { routes: &names }, checker);
        let base = levels.of_api(&settings.policies);
        let authenticate = levels.identity.authenticate(&part.name, settings, checker);
        let credentials = levels.identity.credentials(&part.name, settings, checker);
        let mut own: HashMap<Digest, (PolicyLevels, OwnPolicies)> = HashMap::new();
        let mut names: HashMap<&str, &Spanned<_>> = HashMap::new();
        let mut routes = Vec::with_capacity(settings.routes.0.len());
        let mut matches = Vec::new();
        for (at, route) in &settings.routes.0 {
            let route_path = || format!("{path}/routes/{at}");
            if let Some(first) = names.insert(&route.name, &route.name) {
                let help = format!("give it another name; the first one is in {}", checker.place(first.position));
                checker.error(&route.name, route_path() + "/name", format!("two routes have the name `{}`", &**route.name), help);
            }
            check_route(settings, route, &route_path, checker);
            levels.check_uses(&route.policies, &settings.policies.0, Level::Route, checker);
            let policies = if route.policies.0.is_empty() {
                (base.clone(), OwnPolicies::default())
            } else {
                let key = digest_of_uses(route.policies.0.iter());
                own.entry(key).or_insert_with(|| (inner(&base, &route.policies), own_policies(&route.policies))).clone()
            };
            let template = settings.base_path.join(&route.path);
            let policy = levels.found.of((&*part.name.value, *at), (&*route.name.value, &*template), levels.identity);
            let access = levels.identity.access((&route.access, policy), authenticate.as_ref(), &route_path, checker);
            let plan = route_plan(settings, route, access, policies);
            let number = u32::try_from(routes.len()).unwrap_or(u32::MAX);
            matches.extend(hosts.iter().map(|host| (self.match_hash(host, &plan), number)));
            routes.push(Arc::new(plan));
        }
        ApiPlan {
            name: part.name.shared(),
            hosts: hosts.into(),
            base_path: settings.base_path.shared(),
            upstreams: settings.destinations().map(|(name, weight)| (name.shared(), weight)).collect(),
            owner: settings.owner.clone(),
            authenticate,
            credentials,
            routes,
            digest,
            own_policies: own_policies(&settings.policies),
            matches: matches.into(),
        }
    }

    /// A hash of what a route matches on one host, methods left out.
    fn match_hash(&self, host: &str, route: &RoutePlan) -> u64 {
        let mut hasher = self.hashes.build_hasher();
        hasher.write(host.as_bytes());
        hasher.write_u8(0xff);
        for segment in shape(&route.path) {
            hasher.write(segment.as_bytes());
            hasher.write_u8(b'/');
        }
        for (name, value) in &*route.headers {
            hasher.write_u8(0xfe);
            hasher.write(name.as_bytes());
            hasher.write_u8(b':');
            hasher.write(value.as_bytes());
        }
        hasher.finish()
    }
}

/// The segments of a template with the names of its parameters taken away: what it matches.
fn shape(template: &str) -> impl Iterator<Item = &str> {
    template.split('/').map(|segment| match (segment.starts_with("{*"), segment.starts_with('{')) {
        (true, _) => "{*}",
        (_, true) => "{}",
        _ => segment,
    })
}

fn api_digest(part: &Part<ApiSettings>, defaults: Digest, identity: Digest, policies: Option<Digest>) -> Digest {
    let mut hasher = DigestHasher::new("api");
    hasher.text(&part.name);
    hasher.text(&part.digest.to_string());
    hasher.text(&defaults.to_string());
    hasher.text(&identity.to_string());
    hasher.text(&policies.map(|digest| digest.to_string()).unwrap_or_default());
    hasher.digest()
}

fn check_upstream(part: &Part<ApiSettings>, settings: &ApiSettings, upstreams: &HashSet<&str>, checker: &mut Checker<'_>) {
    let api = format!("/apis/{}", &*part.name.value);
    match (&settings.upstream, &settings.weights) {
        (None, None) => {
            let help = "add `upstream`: the upstream its requests go to";
            checker.error(&part.name, format!("{api}/upstream"), "`upstream` is missing", help);
        }
        (Some(_), Some(weights)) => {
            let what = "`upstream` and `weights` both say where requests go";
            checker.error(weights, format!("{api}/weights"), what, "keep one of the two");
        }
        (None, Some(weights)) => {
            if weights.0.iter().all(|entry| entry.value == 0) || weights.0.iter().any(|entry| entry.value > WEIGHT_MAX) {
                let what = format!("the weights are not from 0 to {WEIGHT_MAX} with one above 0");
                checker.error(weights, format!("{api}/weights"), what, "write shares such as `{ orders: 95, orders-next: 5 }`");
            }
        }
        (Some(_), None) => {}
    }
    for (name, _) in settings.destinations().filter(|(name, _)| !upstreams.contains(&*name.value)) {
        let text: &str = name;
        let help = match nearest(text, upstreams.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`"),
            None => format!("add it: `upstreams: {{ {text}: {{ endpoints: […] }} }}`"),
        };
        let path = if settings.weights.is_some() { format!("{api}/weights/{text}") } else { format!("{api}/upstream") };
        checker.error(name, path, format!("there is no upstream `{text}`"), help);
    }
}

fn check_route(api: &ApiSettings, route: &RouteSettings, path: &dyn Fn() -> String, checker: &mut Checker<'_>) {
    if route.path.is_empty() && &*api.base_path.shared() == "/" {
        let what = "an empty path stands for the base path, but this API has none";
        checker.error(&route.path, path() + "/path", what, "write `/`");
    }
    if route.websocket.value && !route.methods.contains(Method::Get) {
        let what = "a WebSocket is opened by GET, which this route does not serve";
        checker.error(&route.websocket, path() + "/websocket", what, "add `GET` to `methods`, or remove `websocket`");
    }
}

fn own_policies(uses: &PolicyUses) -> OwnPolicies {
    OwnPolicies(uses.0.iter().map(|one| (one.policy, Arc::clone(&one.settings))).collect())
}

fn route_plan(
    api: &ApiSettings,
    route: &RouteSettings,
    access: Access,
    (policies, own_policies): (PolicyLevels, OwnPolicies),
) -> RoutePlan {
    RoutePlan {
        name: route.name.shared(),
        methods: route.methods.value,
        path: api.base_path.join(&route.path),
        headers: Arc::clone(&route.headers.0),
        access,
        encoded_slash: route.encoded_slash,
        websocket: route.websocket.value,
        policies,
        own_policies,
    }
}

/// The levels above a route.
struct Levels<'l> {
    policies: &'l Arc<[PolicySchema]>,
    outer: &'l [&'l PolicyUse],
    defaults: &'l PolicyLevels,
    identity: &'l Identity<'l>,
    found: &'l Found,
}

impl Levels<'_> {
    fn of_api(&self, uses: &PolicyUses) -> PolicyLevels {
        if uses.0.is_empty() { self.defaults.clone() } else { inner(self.defaults, uses) }
    }

    /// Lets each policy report what is wrong with it here, and how it would be weaker than the same policy in the defaults and in `api`.
    fn check_uses(&self, uses: &PolicyUses, api: &[PolicyUse], level: Level<'_>, checker: &mut Checker<'_>) {
        for one in &*uses.0 {
            check_use(self.policies, one, level, checker);
            let Some(row) = self.policies.get(one.policy) else { continue };
            // The nearest level first; what is weaker than that need not be said of the ones above too.
            for outer in api.iter().chain(self.outer.iter().copied()).filter(|outer| outer.policy == one.policy) {
                let before = checker.diagnostics.errors();
                (row.tighten)(&*outer.settings, &*one.settings, &one.at.node(), checker.diagnostics);
                if checker.diagnostics.errors() > before {
                    break;
                }
            }
        }
    }
}

fn check_use(policies: &[PolicySchema], one: &PolicyUse, level: Level<'_>, checker: &mut Checker<'_>) {
    if let Some(row) = policies.get(one.policy) {
        (row.check)(&*one.settings, &one.at.node(), level, checker.diagnostics);
    }
}

/// The levels with one more inside.
fn inner(outer: &PolicyLevels, uses: &PolicyUses) -> PolicyLevels {
    let mut levels: Vec<(usize, Vec<PolicySettings>)> = outer.0.to_vec();
    for one in &*uses.0 {
        let settings = Arc::clone(&one.settings);
        match levels.binary_search_by_key(&one.policy, |(policy, _)| *policy) {
            Ok(at) => levels.get_mut(at).into_iter().for_each(|(_, list)| list.push(Arc::clone(&settings))),
            Err(at) => levels.insert(at, (one.policy, vec![settings])),
        }
    }
    PolicyLevels(levels.into())
}

/// One entry of the chains in [`check_duplicates`].
struct Link {
    api: usize,
    route: u32,
    next: Option<usize>,
}

/// Reports routes that match exactly the same requests. Those that overlap in part are ordered by precedence and reported by the router.
fn check_duplicates(plans: &[Arc<ApiPlan>], merged: &Merged<'_>, checker: &mut Checker<'_>) {
    let total = plans.iter().map(|plan| plan.matches.len()).sum();
    let mut heads: HashMap<u64, usize> = HashMap::with_capacity(total);
    let mut links: Vec<Link> = Vec::with_capacity(total);
    let mut reported: HashSet<(usize, u32)> = HashSet::new();
    for (api, plan) in plans.iter().enumerate() {
        for &(hash, route) in &*plan.matches {
            let head = heads.insert(hash, links.len());
            let mut at = head;
            while let Some(link) = at.and_then(|index| links.get(index)) {
                if is_duplicate(plans, (link.api, link.route), (api, route)) && reported.insert((api, route)) {
                    report_duplicate(plans, merged, (link.api, link.route), (api, route), checker);
                }
                at = link.next;
            }
            links.push(Link { api, route, next: head });
        }
    }
}

fn route_of(plans: &[Arc<ApiPlan>], (api, route): (usize, u32)) -> Option<(&ApiPlan, &RoutePlan)> {
    let plan = plans.get(api)?;
    Some((plan, plan.routes.get(route as usize)?))
}

fn is_duplicate(plans: &[Arc<ApiPlan>], first: (usize, u32), second: (usize, u32)) -> bool {
    let (Some((api_a, a)), Some((api_b, b))) = (route_of(plans, first), route_of(plans, second)) else { return false };
    first != second
        && !a.methods.and(b.methods).is_empty()
        && a.headers == b.headers
        && shape(&a.path).eq(shape(&b.path))
        && api_a.hosts.iter().any(|host| api_b.hosts.contains(host))
}

fn report_duplicate(
    plans: &[Arc<ApiPlan>],
    merged: &Merged<'_>,
    first: (usize, u32),
    second: (usize, u32),
    checker: &mut Checker<'_>,
) {
    let (Some((api_a, a)), Some((api_b, b))) = (route_of(plans, first), route_of(plans, second)) else { return };
    let written = |api: &ApiPlan, route: u32| {
        let part = merged.apis.iter().find(|part| *part.name.value == *api.name)?;
        part.value.as_ref()?.routes.0.get(route as usize).map(|(at, settings)| (*at, settings))
    };
    let (Some((_, first)), Some((at, second))) = (written(api_a, first.1), written(api_b, second.1)) else { return };
    let methods: Vec<&str> = a.methods.and(b.methods).iter().map(Method::as_str).collect();
    let what = format!("`{} {}` is already matched by the route `{}` of `{}`", methods.join(","), b.path, a.name, api_a.name);
    let help = format!(
        "remove one of the two, or let them differ in host, path, method or header; the first one is in {}",
        checker.place(first.path.position)
    );
    checker.error(&second.path, format!("/apis/{}/routes/{at}/path", api_b.name), what, help);
}
