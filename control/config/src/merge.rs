//! Several files -> one configuration. Entries of a section may lie in different files, but nothing may be written twice.

use crate::check::Checker;
use crate::settings::{
    ApiSettings, ClusterSettings, ConfigFile, ConsumerSettings, DefendSettings, DnsSettings, IdentitySettings, ListenerSettings,
    ManagementSettings, Once, Part, Parts, PlanSettings, ProviderRole, RecordSettings, UpstreamSettings,
};
use portcullis_model_settings::{Named, PolicyUse, Position, Spanned};
use std::collections::HashMap;

/// All files together.
#[derive(Default)]
pub(crate) struct Merged<'f> {
    pub(crate) listeners: Vec<&'f Part<ListenerSettings>>,
    pub(crate) upstreams: Vec<&'f Part<UpstreamSettings>>,
    pub(crate) consumers: Vec<&'f Part<ConsumerSettings>>,
    pub(crate) plans: Vec<&'f Part<PlanSettings>>,
    pub(crate) apis: Vec<&'f Part<ApiSettings>>,
    pub(crate) defaults: Vec<&'f PolicyUse>,
    pub(crate) identity: Option<&'f IdentitySettings>,
    pub(crate) roles: Option<&'f Named<Vec<Spanned<ProviderRole>>>>,
    pub(crate) management: Option<&'f ManagementSettings>,
    pub(crate) defend: Option<&'f DefendSettings>,
    pub(crate) dns: Option<&'f DnsSettings>,
    pub(crate) record: Option<&'f RecordSettings>,
    pub(crate) cluster: Option<&'f ClusterSettings>,
    pub(crate) workers: Option<u16>,
}

/// Brings the files together, sorted by name.
pub(crate) fn merge<'f>(files: &[&'f ConfigFile], checker: &mut Checker<'_>) -> Merged<'f> {
    let mut defaults: Vec<&'f PolicyUse> =
        files.iter().filter_map(|f| f.defaults.value.as_ref()).flat_map(|d| &*d.policies.0).collect();
    defaults.sort_by_key(|one| one.policy);
    for pair in defaults.windows(2) {
        if let [first, second] = pair
            && first.policy == second.policy
        {
            let path = second.at.node().path();
            checker.twice(second.at.node().position(), &path, first.at.node().position());
        }
    }
    let merged = Merged {
        listeners: parts(files.iter().map(|f| &f.listeners), "listeners", checker),
        upstreams: parts(files.iter().map(|f| &f.upstreams), "upstreams", checker),
        consumers: parts(files.iter().map(|f| &f.consumers), "consumers", checker),
        plans: parts(files.iter().map(|f| &f.plans), "plans", checker),
        apis: parts(files.iter().map(|f| &f.apis), "apis", checker),
        defaults,
        identity: once(files.iter().map(|f| &f.identity), "identity", checker),
        roles: once(files.iter().map(|f| &f.roles), "roles", checker),
        management: once(files.iter().map(|f| &f.management), "management", checker),
        defend: once(files.iter().map(|f| &f.defend), "defend", checker),
        dns: once(files.iter().map(|f| &f.dns), "dns", checker),
        record: once(files.iter().map(|f| &f.record), "record", checker),
        cluster: once(files.iter().map(|f| &f.cluster), "cluster", checker),
        workers: once(files.iter().map(|f| &f.workers), "workers", checker).map(|workers| workers.0),
    };
    if files.iter().all(|f| f.version.position.is_none()) {
        checker.error_at_top("`version` is missing", "add `version: 1`: the version of this format");
    }
    if files.iter().all(|f| f.listeners.0.is_empty()) && !checker.has_errors() {
        checker.error_at_top("there is no listener, so nothing could be reached", "add `listeners` with an address and `tls`");
    }
    merged
}

fn parts<'f, T: 'f>(files: impl Iterator<Item = &'f Parts<T>>, section: &str, checker: &mut Checker<'_>) -> Vec<&'f Part<T>> {
    let mut all: Vec<&Part<T>> = files.flat_map(|parts| &parts.0).collect();
    let mut seen: HashMap<&str, Position> = HashMap::with_capacity(all.len());
    for part in &all {
        if let Some(first) = seen.insert(&part.name.value, part.name.position) {
            checker.twice(part.name.position, &format!("/{section}/{}", &*part.name.value), first);
        }
    }
    all.sort_by(|a, b| a.name.value.cmp(&b.name.value));
    all
}

fn once<'f, T: 'f>(files: impl Iterator<Item = &'f Once<T>>, section: &str, checker: &mut Checker<'_>) -> Option<&'f T> {
    let mut found: Option<&Once<T>> = None;
    for once in files.filter(|once| once.position.is_some()) {
        match found.and_then(|first| first.position) {
            Some(first) => checker.twice(once.position.unwrap_or_default(), &format!("/{section}"), first),
            None => found = Some(once),
        }
    }
    found?.value.as_ref()
}
