//! Policies in Cedar that routes name: read with the configuration, checked against what it has, and kept for the next time.

use super::Checker;
use super::identity::Identity;
use crate::digest::{Digest, DigestHasher};
use crate::merge::Merged;
use crate::plan::{ApiPlan, Plan, RoutePlan};
use crate::report::Finding;
use crate::settings::{AccessSettings, PolicySource};
use crate::source::read_text;
use portcullis_engines_authz::Line;
use portcullis_engines_cedar::{Fault, Mention, Operation, Policies, Schema, TEXT_BYTES_MAX};
use portcullis_gateway_policy::{PathParameter, ProviderRoles, RoutePolicy};
use portcullis_model_settings::{Severity, Spanned, nearest};
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

/// What is kept from one load to the next.
#[derive(Debug, Default)]
pub(crate) struct PolicyCache {
    files: BTreeSet<PathBuf>,
    findings: Vec<Finding>,
    checked: HashMap<Digest, Arc<Checked>>,
}

/// Policies that were read and found right.
#[derive(Debug)]
struct Checked {
    policies: Policies,
    mentions: Vec<Mention>,
}

/// Policies as a route names them: by their file, with a hash of all that they were checked with.
type Named = (Arc<str>, Arc<Checked>, Digest);

/// The policies of a configuration.
#[derive(Default)]
pub(super) struct Found {
    /// By API and the number of the route.
    by_route: HashMap<(String, u32), Named>,
}

/// What routes are read from, before it is known whether it is right.
struct Reading<'c, 'i> {
    schema: Schema,
    schema_digest: Digest,
    identity: &'i Identity<'i>,
    operations: &'i [Operation],
    before: HashMap<Digest, Arc<Checked>>,
    cache: &'c mut PolicyCache,
    texts: HashMap<PathBuf, Option<Arc<str>>>,
    /// What was found wrong is told once for each file.
    told: BTreeSet<Digest>,
}

impl PolicyCache {
    /// The files that were read last, also those that are wrong.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.iter()
    }

    /// What was found wrong in them.
    pub(crate) fn take_findings(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.findings)
    }

    /// Reads and checks the policies of all routes.
    pub(super) fn read(&mut self, merged: &Merged<'_>, identity: &Identity<'_>, checker: &mut Checker<'_>) -> Found {
        self.files.clear();
        self.findings.clear();
        let before = std::mem::take(&mut self.checked);
        let written = || {
            let parts = merged.apis.iter().filter_map(|part| Some((part, part.value.as_ref()?)));
            parts.flat_map(|(part, api)| api.routes.0.iter().map(move |(at, route)| (part, api, at, route)))
        };
        let named = |access: &AccessSettings| matches!(access, AccessSettings::Allow(allowed) if allowed.policy.is_some());
        if !written().any(|(_, _, _, route)| named(&route.access)) {
            return Found::default();
        }
        let operations: Vec<Operation> = written()
            .map(|(part, api, _, route)| Operation {
                api: part.name.shared(),
                route: route.name.shared(),
                parameters: PathParameter::all(&api.base_path.join(&route.path)).into_iter().map(|one| one.name).collect(),
            })
            .collect();
        // Names that are there twice are told elsewhere; Cedar would refuse the schema for them.
        let mut seen = BTreeSet::new();
        let known = operations.iter().filter(|one| seen.insert((&one.api, &one.route)));
        let schema = match Schema::new(known, &[]) {
            Ok(schema) => schema,
            Err(problem) => {
                let help = "give its API, route or parameters other names";
                checker.error_at_top(&format!("policies cannot be checked against this configuration: {problem}"), help);
                return Found::default();
            }
        };
        let schema_digest = Digest::of(schema.text().as_bytes());
        let (texts, told) = (HashMap::new(), BTreeSet::new());
        let operations = &operations;
        let mut reading = Reading { schema, schema_digest, identity, operations, before, cache: self, texts, told };
        let mut found = Found::default();
        for (part, _, at, route) in written() {
            let AccessSettings::Allow(allowed) = &route.access else { continue };
            let Some(source) = &allowed.policy else { continue };
            let path = format!("/apis/{}/routes/{at}/access/policy", &*part.name.value);
            if let Some(one) = reading.one(source, path, checker) {
                found.by_route.insert((part.name.to_string(), *at), one);
            }
        }
        found
    }
}

impl Reading<'_, '_> {
    fn one(&mut self, source: &Spanned<PolicySource>, path: String, checker: &mut Checker<'_>) -> Option<Named> {
        let shown: Arc<str> = source.file().as_path().to_string_lossy().into();
        let (text, place) = match &source.value {
            PolicySource::Text(text) => (Arc::clone(&text.text.0), Arc::clone(&shown)),
            PolicySource::File(file) => {
                let file = file.resolve(checker.folder);
                self.cache.files.insert(file.clone());
                let place = file.to_string_lossy().into();
                if let Some(known) = self.texts.get(&file) {
                    (known.clone()?, place)
                } else {
                    let text = read_text(&file, TEXT_BYTES_MAX);
                    self.texts.insert(file, text.as_ref().ok().cloned());
                    match text {
                        Ok(text) => (text, place),
                        Err((what, help)) => {
                            checker.error(source, path, what, help);
                            return None;
                        }
                    }
                }
            }
        };
        let mut hasher = DigestHasher::new("cedar");
        for part in [&*text, &*shown, &self.schema_digest.to_string(), &self.identity.digest.to_string()] {
            hasher.text(part);
        }
        let digest = hasher.digest();
        if let Some(known) = self.cache.checked.get(&digest).or_else(|| self.before.get(&digest)).cloned() {
            self.cache.checked.insert(digest, Arc::clone(&known));
            return Some((shown, known, digest));
        }
        match self.checked(&shown, &text) {
            Ok(checked) => {
                let checked = Arc::new(checked);
                self.cache.checked.insert(digest, Arc::clone(&checked));
                Some((shown, checked, digest))
            }
            Err(faults) => {
                if self.told.insert(digest) {
                    self.cache.findings.extend(faults.into_iter().map(|fault| finding(fault, &place, &text)));
                }
                None
            }
        }
    }

    fn checked(&self, shown: &str, text: &str) -> Result<Checked, Vec<Fault>> {
        let policies = Policies::parse(shown, text)?;
        let mentions = policies.check(&self.schema)?;
        let faults: Vec<Fault> = mentions.iter().filter_map(|mention| self.unknown(mention)).collect();
        if faults.is_empty() { Ok(Checked { policies, mentions }) } else { Err(faults) }
    }

    /// What is wrong with something that a policy names.
    fn unknown(&self, mention: &Mention) -> Option<Fault> {
        let name = mention.name.as_str();
        let route = |one: &Operation| format!("{}/{}", one.api, one.route);
        let what = match mention.kind.as_str() {
            "Role" if self.identity.stands_for(name).is_none() => match nearest(name, self.identity.role_names()) {
                Some(meant) => format!("there is no role `{name}`; did you mean `{meant}`"),
                None => format!("there is no role `{name}`; add it to `roles`, or write a role of a provider: `PROVIDER/ROLE`"),
            },
            "Route" if !self.operations.iter().any(|one| route(one) == name) => {
                format!("there is no route `{name}`; write `API/ROUTE`")
            }
            "Api" if !self.operations.iter().any(|one| *one.api == *name) => format!("there is no API `{name}`"),
            // SECURITY: two providers may know two people by one name.
            "Caller" => "a name alone does not say who is calling; compare `principal.provider` and `principal.subject`".to_owned(),
            "Query" => "write `context.query`".to_owned(),
            _ => return None,
        };
        Some(Fault { line: mention.line, column: mention.column, what })
    }
}

impl Found {
    /// The policies that decide on a route; nothing where it names none, or they are wrong.
    pub(super) fn of(
        &self,
        (api, at): (&str, u32),
        (route, template): (&str, &str),
        identity: &Identity<'_>,
    ) -> Option<Arc<RoutePolicy>> {
        let (shown, checked, _) = self.by_route.get(&(api.to_owned(), at))?;
        // SECURITY: a route without its policies would be open to whomever its lines let in; what cannot be made was found wrong before.
        let bucket = checked.policies.bucket(api, route).ok()?;
        let of_kind = |kind: &'static str| checked.mentions.iter().filter(move |one| one.kind == kind).map(|one| one.name.as_str());
        let roles: Vec<(Arc<str>, ProviderRoles)> =
            of_kind("Role").filter_map(|name| Some((name.into(), identity.stands_for(name)?))).collect();
        let scopes: Vec<Arc<str>> = of_kind("Scope").map(Into::into).collect();
        let words = Line {
            roles: roles.iter().flat_map(|(_, own)| own.iter().cloned()).collect(),
            scopes: scopes.clone(),
            consumers: Vec::new(),
        };
        let (file, text) = (Arc::clone(shown), Arc::clone(checked.policies.text()));
        Some(Arc::new(RoutePolicy { file, text, bucket, roles, scopes, words, parameters: PathParameter::all(template) }))
    }

    /// A hash of the policies of an API; nothing when it has none. What they were checked against does not change what they say.
    pub(super) fn digest(&self, api: &str) -> Option<Digest> {
        let mut own: Vec<_> = self.by_route.iter().filter(|((of, _), _)| of == api).collect();
        own.sort_unstable_by_key(|(key, _)| *key);
        let mut hasher = DigestHasher::new("policies of an api");
        for ((_, at), (shown, checked, _)) in &own {
            [&at.to_string(), &**shown, &**checked.policies.text()].iter().for_each(|text| hasher.text(text));
        }
        (!own.is_empty()).then(|| hasher.digest())
    }

    /// A hash of all policies, whatever file they are in.
    pub(super) fn digest_of_all(&self) -> Option<Digest> {
        let mut all: Vec<_> = self.by_route.iter().collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        let mut hasher = DigestHasher::new("policies of a plan");
        for ((api, at), (shown, checked, _)) in &all {
            [api.as_str(), &at.to_string(), shown, checked.policies.text()].iter().for_each(|text| hasher.text(text));
        }
        (!all.is_empty()).then(|| hasher.digest())
    }
}

/// What policies for this configuration can speak of, as Cedar's own schema: the one that they are checked against.
///
/// # Errors
/// When Cedar does not take it, for the operator.
pub fn cedar_schema(plan: &Plan) -> Result<String, String> {
    let routes = plan.apis.iter().flat_map(|api| api.routes.iter().map(move |route| (api, route)));
    let operation = |(api, route): (&Arc<ApiPlan>, &Arc<RoutePlan>)| Operation {
        api: Arc::clone(&api.name),
        route: Arc::clone(&route.name),
        parameters: PathParameter::all(&route.path).into_iter().map(|one| one.name).collect(),
    };
    let operations: Vec<Operation> = routes.map(operation).collect();
    Schema::new(&operations, &[]).map(|schema| schema.text().to_owned())
}

fn finding(fault: Fault, place: &Arc<str>, text: &str) -> Finding {
    let source = text.lines().nth(fault.line.saturating_sub(1) as usize).map(|line| line.trim_end().to_owned());
    Finding {
        severity: Severity::Error,
        file: Arc::clone(place),
        line: fault.line,
        column: fault.column,
        width: 1,
        path: String::new(),
        what: fault.what,
        help: None,
        source: source.filter(|line| !line.is_empty()),
    }
}
