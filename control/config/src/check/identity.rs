//! Checks of `identity` and `roles`, and of what APIs and routes say about who may call.

use super::Checker;
use super::api_keys::{self, KeyStores};
use super::client_certificates::{self, Certificates};
use super::consumers::{self, ConsumerNames};
use super::credentials::{self, Signers};
use super::introspection;
use super::logins::{self, Logins};
use super::signatures::{self, Signatures};
use crate::digest::{Digest, DigestHasher};
use crate::merge::Merged;
use crate::plan::{Access, ApiPlan, IdentityPlan};
use crate::settings::{
    AcceptName, AccessSettings, AllowSettings, AllowedSettings, ApiSettings, AuthenticateSettings, ClientCertificateMode,
    DpopSettings, KeysSettings, NonceName, Part, ProviderRole, ProviderSettings, TokenTypeName, UpstreamProtocolKind, Word,
};
use portcullis_engines_authz::Line;
use portcullis_engines_jose::{Holding, Holdings, ProofRules, Rules, TokenType};
use portcullis_gateway_policy::{
    AuthenticatePlan, Credentials, CredentialsPlan, DiscoveryPlan, KeySource, ProviderPlan, ProviderRoles, RouteAccess, RoutePolicy,
};
use portcullis_model_settings::{Decode, Name, Spanned, nearest, quoted};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

/// What routes may refer to.
pub(super) struct Identity<'f> {
    /// Providers by name, also those that are wrong: references to them are not reported too.
    named: BTreeMap<&'f str, Option<Arc<ProviderPlan>>>,
    /// Clients with certificates, likewise.
    certificates: Certificates<'f>,
    /// Logins with a browser, likewise.
    logins: Logins<'f>,
    /// Stores of API keys, likewise.
    stores: KeyStores<'f>,
    /// Signers, likewise.
    signers: Signers<'f>,
    /// Lists of senders that sign, likewise.
    signatures: Signatures<'f>,
    roles: BTreeMap<Arc<str>, Vec<ProviderRole>>,
    consumers: ConsumerNames<'f>,
    /// A hash of all of it.
    pub(super) digest: Digest,
}

/// The providers and roles of a configuration.
pub(super) fn check<'f>(merged: &Merged<'f>, checker: &mut Checker<'_>) -> Identity<'f> {
    let parts: &[Part<ProviderSettings>] = merged.identity.map_or(&[], |identity| &identity.providers.0);
    let folder = checker.folder;
    let mut named = BTreeMap::new();
    let mut issuers: BTreeMap<&str, &Spanned<_>> = BTreeMap::new();
    let mut hasher = DigestHasher::new("identity");
    for part in parts {
        hasher.text(&part.name);
        hasher.text(&part.digest.to_string());
        let plan = part.value.as_ref().map(|settings| Arc::new(provider(part, settings, folder)));
        if let Some(settings) = &part.value {
            check_keys(part, settings, merged, checker);
            check_accept(part, settings, merged, checker);
            introspection::check(part, settings, merged, checker);
        }
        named.insert(&*part.name.value, plan);
        let Some(settings) = &part.value else { continue };
        if let Some(first) = issuers.insert(&settings.issuer.0, &settings.issuer) {
            let help =
                format!("a token could be of either; keep one of the two, the first is in {}", checker.place(first.position));
            let path = format!("/identity/providers/{}/issuer", &*part.name.value);
            checker.error(&settings.issuer, path, "two providers have the same issuer", help);
        }
    }
    let certificates = client_certificates::check(merged, &mut hasher, checker);
    let logins = logins::check(merged, &named, &mut hasher, checker);
    let stores = api_keys::check(merged, &mut hasher, checker);
    let signers = credentials::check(merged, &mut hasher, checker);
    let signatures = signatures::check(merged, &mut hasher, checker);
    let (roles, consumers) = (BTreeMap::new(), consumers::names(merged, &mut hasher));
    let mut identity =
        Identity { named, certificates, logins, stores, signers, signatures, roles, consumers, digest: Digest([0; 32]) };
    identity.check_names(merged, checker);
    for entry in merged.roles.iter().flat_map(|roles| &roles.0) {
        hasher.text(&entry.name);
        entry.value.iter().for_each(|role| hasher.text(&format!("{}/{}", role.provider, role.role)));
        for (at, role) in entry.value.iter().enumerate() {
            if !identity.knows(&role.provider) {
                let path = format!("/roles/{}/{at}", &*entry.name.value);
                let help = unknown_help(&role.provider, identity.names(), "identity.providers");
                checker.error(role, path, format!("there is no provider `{}`", role.provider), help);
            }
        }
        identity.roles.insert(entry.name.shared(), entry.value.iter().map(|role| role.value.clone()).collect());
    }
    identity.digest = hasher.digest();
    identity
}

fn unknown_help<'n>(name: &str, known: impl Iterator<Item = &'n str>, section: &str) -> String {
    match nearest(name, known) {
        Some(meant) => format!("did you mean `{meant}`"),
        None => format!("add it to `{section}`"),
    }
}

fn check_keys(part: &Part<ProviderSettings>, settings: &ProviderSettings, merged: &Merged<'_>, checker: &mut Checker<'_>) {
    let path = format!("/identity/providers/{}/keys", &*part.name.value);
    match (&settings.keys.file, &settings.keys.discover) {
        (Some(_), Some(discover)) => {
            checker.error(&discover.upstream, path, "`file` and `discover` both say where the keys are", "keep one of the two");
        }
        (None, None) => {
            let help = "add `file`, or `discover` with the upstream that leads to the provider";
            checker.error(&part.name, path, "nothing is said about where the keys are", help);
        }
        (None, Some(discover)) => {
            check_upstream(&discover.upstream, &format!("{path}/discover/upstream"), "keys are fetched", merged, checker);
        }
        (Some(_), None) => {}
    }
}

/// Checks that an upstream can be asked by the gateway itself.
pub(super) fn check_upstream(upstream: &Spanned<Name>, path: &str, done: &str, merged: &Merged<'_>, checker: &mut Checker<'_>) {
    let Some(named) = merged.upstreams.iter().find(|known| *known.name.value == *upstream.value) else {
        let help = unknown_help(upstream, merged.upstreams.iter().map(|known| &*known.name.value), "upstreams");
        return checker.error(upstream, path.to_owned(), format!("there is no upstream `{}`", &***upstream), help);
    };
    if named.value.as_ref().is_some_and(|settings| settings.protocol == UpstreamProtocolKind::H2) {
        let what = format!("{done} by HTTP/1.1, and the upstream `{}` has `protocol: h2`", &***upstream);
        checker.error(upstream, path.to_owned(), what, "name an upstream with `protocol: h1`, which is the default");
    }
}

/// What is asked to be proven must be provable.
fn check_accept(part: &Part<ProviderSettings>, settings: &ProviderSettings, merged: &Merged<'_>, checker: &mut Checker<'_>) {
    let needs_certificates = settings.accept.0.iter().any(|(_, name)| *name == AcceptName::MtlsBound);
    if needs_certificates && !asks_for_certificates(merged) {
        let path = format!("/identity/providers/{}/accept", &*part.name.value);
        let help = "add `client_certificates` to the `tls` of a listener, or leave `mtls_bound` out";
        let what = "`mtls_bound` needs certificates of clients, and no listener asks for them";
        checker.error(&part.name, path, what, help);
    }
    let takes_proofs = settings.accept.0.iter().any(|(_, name)| *name == AcceptName::Dpop);
    if let (Some(dpop), false) = (&settings.dpop, takes_proofs) {
        let path = format!("/identity/providers/{}/dpop", &*part.name.value);
        let help = "add `dpop` to `accept`, or remove it here";
        checker.error(dpop, path, "it says what proofs must be, and `accept` does not take tokens with proofs", help);
    }
}

/// What proofs must be that come with the tokens of a provider, if it takes any.
fn proofs(settings: &ProviderSettings) -> Option<ProofRules> {
    let takes_proofs = settings.accept.0.iter().any(|(_, name)| *name == AcceptName::Dpop);
    let written = settings.dpop.as_ref().map(|dpop| dpop.value.clone());
    let dpop = written.unwrap_or_else(DpopSettings::standard);
    takes_proofs.then(|| ProofRules {
        algorithms: dpop.algorithms.0.iter().map(|(_, name)| name.algorithm()).collect(),
        age_max: dpop.age_max.as_secs(),
        leeway: dpop.leeway.as_secs(),
        nonces: dpop.nonce == NonceName::Required,
    })
}

/// Whether some listener asks its clients for certificates.
pub(super) fn asks_for_certificates(merged: &Merged<'_>) -> bool {
    let mut settings = merged.listeners.iter().map(|part| part.value.as_ref());
    // One that is wrong may have meant to.
    settings.any(|settings| {
        settings.is_none_or(|settings| {
            let asked = settings.tls.as_ref().and_then(|tls| tls.client_certificates.as_ref());
            asked.is_some_and(|asked| asked.mode != ClientCertificateMode::Off)
        })
    })
}

fn keys(settings: &KeysSettings, folder: &Path) -> KeySource {
    match (&settings.file, &settings.discover) {
        (_, Some(discover)) => KeySource::Discover(DiscoveryPlan {
            upstream: discover.upstream.shared(),
            refresh: discover.refresh,
            stale_max: discover.stale_max,
        }),
        // Where neither is written that is an error already.
        (file, None) => KeySource::File(file.as_ref().map(|file| file.resolve(folder)).unwrap_or_default()),
    }
}

fn provider(part: &Part<ProviderSettings>, settings: &ProviderSettings, folder: &Path) -> ProviderPlan {
    let types = settings.token_types.0.iter().map(|(_, name)| match name {
        TokenTypeName::AccessToken => TokenType::AccessToken,
        TokenTypeName::Jwt => TokenType::Jwt,
    });
    let introspection = introspection::plan(settings, folder);
    // Where it is only said that the provider is asked, tokens are shown by whoever has them.
    let asked_alone = settings.accept.0.iter().all(|(_, name)| *name == AcceptName::Introspection);
    let implied = (introspection.is_some() && asked_alone).then_some(Holding::Bearer);
    let holdings: Holdings = settings.accept.0.iter().filter_map(|(_, name)| name.holding()).chain(implied).collect();
    ProviderPlan {
        name: part.name.shared(),
        keys: keys(&settings.keys, folder),
        rules: Rules {
            issuer: (*settings.issuer.0).into(),
            algorithms: settings.algorithms.0.iter().map(|(_, name)| name.algorithm()).collect(),
            types: types.collect(),
            holdings,
            leeway: settings.leeway.as_secs(),
            lifetime_max: settings.lifetime_max.as_secs(),
        },
        proofs: proofs(settings),
        introspection,
        roles: settings.roles.as_ref().map(|roles| roles.claim.0.clone()),
        scopes: settings.scopes.claim.0.clone(),
    }
}

impl Identity<'_> {
    /// The names of the stores of API keys.
    pub(super) fn store_names(&self) -> Box<[Arc<str>]> {
        self.stores.values().flatten().map(|store| Arc::clone(&store.name)).collect()
    }

    /// For the plan.
    pub(super) fn plan(&self) -> IdentityPlan {
        IdentityPlan {
            providers: self.named.values().flatten().cloned().collect(),
            client_certificates: self.certificates.values().flatten().cloned().collect(),
            logins: self.logins.values().flatten().cloned().collect(),
            api_keys: self.stores.values().flatten().cloned().collect(),
            signers: self.signers.values().flatten().cloned().collect(),
            signatures: self.signatures.values().flatten().cloned().collect(),
            roles: self.roles.clone().into_iter().collect(),
            consumers: Vec::new(),
            plans: Vec::new(),
        }
    }

    /// Whether there is such a provider of tokens.
    pub(super) fn has_provider(&self, name: &str) -> bool {
        self.named.contains_key(name)
    }

    /// Whether there is such a store of API keys.
    pub(super) fn has_store(&self, name: &str) -> bool {
        self.stores.contains_key(name)
    }

    /// Whether some sender's key can have this caller. A list that is wrong may have meant to.
    pub(super) fn has_signer(&self, list: &str, caller: &str) -> bool {
        let plan = self.signatures.get(list);
        plan.is_some_and(|plan| plan.as_ref().is_none_or(|plan| plan.keys.iter().any(|key| *key.caller == *caller)))
    }

    /// Whether a client with certificates can have this name. A list that is wrong may have meant to.
    pub(super) fn has_client(&self, list: &str, name: &str) -> bool {
        let plan = self.certificates.get(list);
        plan.is_some_and(|plan| {
            plan.as_ref()
                .is_none_or(|plan| plan.clients.iter().any(|client| client.name.as_deref().is_none_or(|known| known == name)))
        })
    }

    /// The names that an API may list.
    fn names(&self) -> impl Iterator<Item = &str> {
        let others = self.logins.keys().chain(self.stores.keys()).chain(self.signatures.keys());
        self.named.keys().chain(self.certificates.keys()).chain(others).copied()
    }

    fn knows(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    /// What the upstream of an API gets as a credential.
    pub(super) fn credentials(&self, api: &str, settings: &ApiSettings, checker: &mut Checker<'_>) -> Option<Arc<CredentialsPlan>> {
        credentials::check_api(&self.signers, &self.named, api, settings, checker)
    }

    /// The roles of providers that a name of a role stands for; nothing when there is no such role.
    pub(super) fn stands_for(&self, name: &str) -> Option<ProviderRoles> {
        let roles = match self.roles.get(name) {
            Some(roles) => roles.clone(),
            None => vec![ProviderRole::parse(name).filter(|role| self.knows(&role.provider))?],
        };
        Some(roles.into_iter().map(|role| (role.provider, role.role)).collect())
    }

    /// The names of roles of the gateway's own.
    pub(super) fn role_names(&self) -> impl Iterator<Item = &str> {
        self.roles.keys().map(|name| &**name)
    }

    /// Checks that no route lies where the gateway has paths of its own.
    pub(super) fn check_routes(&self, apis: &[Arc<ApiPlan>], merged: &Merged<'_>, checker: &mut Checker<'_>) {
        logins::check_routes(&self.logins, apis, merged, checker);
        credentials::check_routes(&self.signers, apis, merged, checker);
    }

    /// One name must not mean two.
    fn check_names(&self, merged: &Merged<'_>, checker: &mut Checker<'_>) {
        let help = "roles are known by these names: choose another for one of the two";
        for part in merged.identity.iter().flat_map(|identity| &identity.client_certificates.0) {
            if self.named.contains_key(&*part.name.value) {
                let path = format!("/identity/client_certificates/{}", &*part.name.value);
                checker.error(&part.name, path, "a provider has this name already", help);
            }
        }
        for part in merged.identity.iter().flat_map(|identity| &identity.logins.0) {
            let name = &*part.name.value;
            if self.named.contains_key(name) || self.certificates.contains_key(name) {
                let path = format!("/identity/logins/{name}");
                checker.error(&part.name, path, "a provider, or clients with certificates, have this name already", help);
            }
        }
        for part in merged.identity.iter().flat_map(|identity| &identity.api_keys.0) {
            let name = &*part.name.value;
            if self.named.contains_key(name) || self.certificates.contains_key(name) || self.logins.contains_key(name) {
                let path = format!("/identity/api_keys/{name}");
                checker.error(&part.name, path, "another kind of provider has this name already", help);
            }
        }
        for part in merged.identity.iter().flat_map(|identity| &identity.signatures.0) {
            let name = &*part.name.value;
            let is_login = self.logins.contains_key(name) || self.stores.contains_key(name);
            if self.named.contains_key(name) || self.certificates.contains_key(name) || is_login {
                let path = format!("/identity/signatures/{name}");
                checker.error(&part.name, path, "another kind of provider has this name already", help);
            }
        }
    }

    /// How an API finds out who is calling.
    pub(super) fn authenticate(
        &self,
        api: &str,
        settings: &ApiSettings,
        checker: &mut Checker<'_>,
    ) -> Option<Arc<AuthenticatePlan>> {
        let written = settings.authenticate.as_ref()?;
        let path = format!("/apis/{api}/authenticate");
        let mut seen = HashSet::new();
        for (at, name) in &written.any_of.0 {
            let path = format!("{path}/any_of/{at}");
            if !self.knows(&name.value) {
                let help = unknown_help(name, self.names(), "identity.providers");
                checker.error(name, path, format!("there is no provider `{}`", &***name), help);
            } else if !seen.insert(&*name.value) {
                checker.error(name, path, format!("the provider `{}` is listed twice", &***name), "remove one of the two");
            }
        }
        introspection::check_api(&self.named, api, &written.any_of.0, checker);
        signatures::check_api(&self.signatures, api, &written.any_of.0, checker);
        logins::check_api(&self.logins, api, settings, &written.any_of.0, checker);
        if settings.routes.0.iter().all(|(_, route)| matches!(route.access, AccessSettings::Public)) {
            let help = "remove it, or write `allow` in the `access` of the routes that it is for";
            checker.warning(written, path, "everybody may call each route of this API, so nobody is asked who they are", help);
        }
        let AuthenticateSettings { any_of, audiences, credentials, stream_age_max } = &written.value;
        if audiences.is_none() && any_of.0.iter().any(|(_, name)| self.named.contains_key(&*name.value)) {
            let help = "add `audiences`: what tokens must name in `aud` to be for this API";
            checker.error(written, format!("/apis/{api}/authenticate/audiences"), "`audiences` is missing", help);
        }
        Some(Arc::new(AuthenticatePlan {
            any_of: any_of.0.iter().map(|(_, name)| name.shared()).collect(),
            audiences: audiences.iter().flat_map(|all| &all.0).map(|(_, audience)| Arc::clone(audience)).collect(),
            credentials: match &settings.credentials {
                Some(instead) if instead.exchange.is_some() => Credentials::Exchange,
                _ => credentials.decided(),
            },
            stream_age_max: *stream_age_max,
        }))
    }

    /// Who may call a route.
    pub(super) fn access(
        &self,
        (written, policy): (&AccessSettings, Option<Arc<RoutePolicy>>),
        authenticate: Option<&Arc<AuthenticatePlan>>,
        route: &dyn Fn() -> String,
        checker: &mut Checker<'_>,
    ) -> Access {
        let AccessSettings::Allow(AllowedSettings { lines, fresh, policy: source }) = written else { return Access::Public };
        let path = |end: &str| format!("{}/access{end}", route());
        let Some(authenticate) = authenticate else {
            let help = "add `authenticate: { any_of: […], audiences: […] }` to the API";
            let what = "the API does not say how it is found out who is calling";
            match (lines.first(), source) {
                (Some((_, line)), _) => checker.error(line, path("/allow"), what, help),
                (None, Some(source)) => checker.error(source, path("/policy"), what, help),
                (None, None) => {}
            }
            return Access::Public;
        };
        let resolved: Vec<Line> = lines.iter().map(|(end, line)| self.line(line, authenticate, &|| path(end), checker)).collect();
        // SECURITY: without its policies, which are wrong then, a route is for nobody, whatever its lines say.
        let resolved = if source.is_some() && policy.is_none() { Vec::new() } else { resolved };
        let access = RouteAccess { authenticate: Arc::clone(authenticate), lines: resolved, is_fresh: fresh.is_some(), policy };
        Access::Allow { access: Arc::new(access), written: written.encode() }
    }

    fn line(
        &self,
        line: &Spanned<AllowSettings>,
        plan: &AuthenticatePlan,
        path: &dyn Fn() -> String,
        checker: &mut Checker<'_>,
    ) -> Line {
        if line.roles.is_empty() && line.scopes.is_empty() && line.consumers.is_empty() {
            let help = "add `roles`, `scopes` or `consumers`; to let everybody in, write `public: true`";
            checker.error(line, path(), "the line names nothing that a caller must have", help);
        }
        let mut roles = Vec::new();
        for (at, word) in line.roles.iter().enumerate() {
            roles.extend(self.role(word, plan, &|| format!("{}/roles/{at}", path()), checker));
        }
        for (at, name) in line.consumers.iter().enumerate() {
            self.consumers.check_named(name, plan, &|| format!("{}/consumers/{at}", path()), checker);
        }
        Line {
            roles,
            scopes: line.scopes.iter().map(|scope| Arc::clone(&scope.0)).collect(),
            consumers: line.consumers.iter().map(|name| name.shared()).collect(),
        }
    }

    /// The roles of providers that a written one stands for. Only those of the API's own providers can be had.
    fn role(
        &self,
        word: &Spanned<Word>,
        plan: &AuthenticatePlan,
        path: &dyn Fn() -> String,
        checker: &mut Checker<'_>,
    ) -> Vec<(Arc<str>, Arc<str>)> {
        let stands_for = match self.roles.get(&*word.0) {
            Some(roles) => roles.clone(),
            None => match ProviderRole::parse(&word.0) {
                Some(role) if self.knows(&role.provider) => vec![role],
                _ => {
                    let help = match nearest(&word.0, self.roles.keys().map(|name| &**name)) {
                        Some(meant) => format!("did you mean `{meant}`"),
                        None => "add it to `roles`, or write a role of a provider: `PROVIDER/ROLE`".to_owned(),
                    };
                    checker.error(word, path(), format!("there is no role {}", quoted(&word.0)), help);
                    return Vec::new();
                }
            },
        };
        let own: Vec<&ProviderRole> = stands_for.iter().filter(|role| plan.any_of.contains(&role.provider)).collect();
        if own.is_empty() {
            let help = "name a role of a provider in `any_of`, or add the provider there";
            checker.error(word, path(), format!("no provider of this API gives the role {}", quoted(&word.0)), help);
        }
        for role in &own {
            if let Some(Some(plan)) = self.certificates.get(&*role.provider)
                && !plan.clients.iter().any(|client| client.roles.contains(&role.role))
            {
                let help = format!("add it to the `roles` of a client: `identity.client_certificates.{}.clients`", role.provider);
                checker.error(word, path(), format!("no client of `{}` has the role {}", role.provider, quoted(&role.role)), help);
            }
            if let Some(Some(plan)) = self.signatures.get(&*role.provider)
                && !plan.keys.iter().any(|key| key.roles.contains(&role.role))
            {
                let help = format!("add it to the `roles` of a key: `identity.signatures.{}.keys`", role.provider);
                checker.error(word, path(), format!("no key of `{}` has the role {}", role.provider, quoted(&role.role)), help);
            }
            let by_login = self.logins.get(&*role.provider).and_then(Option::as_ref).map(|login| &login.provider);
            let provider = self.named.get(&*role.provider).and_then(Option::as_ref).or(by_login);
            let Some(provider) = provider else { continue };
            if provider.roles.is_none() {
                let help = format!("write where they are: `identity.providers.{}.roles: {{ claim: … }}`", provider.name);
                checker.error(word, path(), format!("tokens of the provider `{}` name no roles", provider.name), help);
            }
        }
        own.into_iter().map(|role| (Arc::clone(&role.provider), Arc::clone(&role.role))).collect()
    }
}
