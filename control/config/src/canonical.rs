//! A plan in canonical form: as the operator could have written it, defaults visible, secrets only as references.

mod credentials;

use self::credentials::credentials_json;
use crate::plan::{
    Access, AccessLogPlan, ApiPlan, ClientCertificatePlan, IdentityPlan, ListenerMode, ListenerPlan, Plan, RoutePlan, StorePlan,
    TlsPlan, UpstreamPlan, UpstreamTlsPlan, Weakening,
};
use crate::settings::{AcceptName, AskedTokens, NonceName, SignatureFormName, written};
use portcullis_engines_jose::{Algorithm, ProofRules, TokenType};
use portcullis_gateway_policy::{
    AuthenticatePlan, CertificateClient, CertificatesPlan, ConsumerFits, ConsumerPlan, Credentials, IntrospectionPlan, KeySource,
    KeyStorePlan, LoginPlan, ProviderPlan, RouteAccess, SecretSource, SignatureForm, SignatureKeyPlan, SignaturesPlan, SignerPlan,
};
use portcullis_model::UsagePlan;
use portcullis_model_settings::{Date, Decode, Object, PolicySettings, Value, sorted};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

impl Plan {
    /// The plan as JSON, in the shape of the configuration. Loading it gives the same plan again.
    #[must_use]
    pub fn to_canonical_json(&self) -> Value {
        let mut out = self.frame_json();
        if let Value::Object(out) = &mut out {
            let upstreams = self.upstreams.iter().map(|upstream| (&upstream.name, upstream_json(upstream)));
            out.insert("upstreams".to_owned(), named(upstreams));
            out.insert("apis".to_owned(), named(self.apis.iter().map(|api| (&api.name, self.api_json(api)))));
        }
        sorted(out)
    }

    /// All of it but upstreams and APIs, of which there may be many: their places are empty.
    pub(crate) fn frame_json(&self) -> Value {
        let mut out = json!({
            "version": 1,
            "listeners": named(self.listeners.iter().map(|listener| (&listener.name, listener_json(listener)))),
            "management": self.management_json(),
            "upstreams": {},
            "apis": {},
            "defend": self.defend_json(),
            "record": { "access_log": access_log_json(&self.access_log) },
        });
        if let Value::Object(out) = &mut out {
            if !self.dns_servers.is_empty() {
                let servers: Vec<Value> = self.dns_servers.iter().map(|server| Value::from(server.to_string())).collect();
                out.insert("dns".to_owned(), json!({ "servers": servers }));
            }
            out.extend(identity_json(&self.identity));
            out.extend(self.store.as_deref().map(|store| ("cluster".to_owned(), json!({ "store": shared_store_json(store) }))));
            if let Some(workers) = self.workers {
                out.insert("workers".to_owned(), workers.into());
            }
            let defaults = self.defaults.iter().filter_map(|(policy, levels)| Some((policy, levels.first()?)));
            let defaults = defaults.filter_map(|(policy, settings)| self.policy_json(policy, settings));
            out.insert("defaults".to_owned(), Value::Object(defaults.collect()));
        }
        sorted(out)
    }

    fn defend_json(&self) -> Value {
        let mut out = json!({ "client_ip": self.client_ip.encode(), "overload": self.overload.encode() });
        if let (Value::Object(out), Some(bans)) = (&mut out, &self.bans) {
            out.insert("bans".to_owned(), bans.written.encode());
        }
        if let (Value::Object(out), Some(lockout)) = (&mut out, &self.lockout) {
            out.insert("lockout".to_owned(), lockout.written.encode());
        }
        out
    }

    fn management_json(&self) -> Value {
        let mut out = Object::new();
        out.insert("socket".to_owned(), path(&self.management.socket));
        out.extend(self.management.probes.map(|probes| ("probes".to_owned(), probes.encode())));
        let drain = self.management.drain;
        out.insert("drain".to_owned(), json!({ "delay": drain.delay.encode(), "deadline": drain.deadline.encode() }));
        Value::Object(out)
    }

    fn api_json(&self, api: &ApiPlan) -> Value {
        let mut out = self.api_frame_json(api);
        if let Value::Object(out) = &mut out {
            out.insert("routes".to_owned(), api.routes.iter().map(|route| self.route_json(api, route)).collect());
        }
        out
    }

    /// All of an API but its routes, whose place is empty.
    pub(crate) fn api_frame_json(&self, api: &ApiPlan) -> Value {
        let mut out = json!({
            "hosts": api.hosts.iter().map(|host| Value::from(&**host)).collect::<Vec<_>>(),
            "base_path": *api.base_path,
            "routes": [],
        });
        if let Value::Object(out) = &mut out {
            match api.upstreams.as_slice() {
                [(sole, _)] => drop(out.insert("upstream".to_owned(), Value::from(&**sole))),
                all => {
                    let weights = all.iter().map(|(name, weight)| (name.to_string(), Value::from(*weight)));
                    out.insert("weights".to_owned(), Value::Object(weights.collect()));
                }
            }
            out.extend(api.authenticate.as_ref().map(|plan| ("authenticate".to_owned(), authenticate_json(plan))));
            out.extend(api.credentials.as_ref().map(|plan| ("credentials".to_owned(), credentials_json(plan))));
            if let Some(owner) = &api.owner {
                out.insert("owner".to_owned(), Value::from(&**owner));
            }
            out.extend(api.own_policies.0.iter().filter_map(|(policy, settings)| self.policy_json(*policy, settings)));
        }
        sorted(out)
    }

    pub(crate) fn route_json(&self, api: &ApiPlan, route: &RoutePlan) -> Value {
        let path = if &*api.base_path == "/" { Some(&*route.path) } else { route.path.strip_prefix(&*api.base_path) };
        let mut out = json!({
            "name": *route.name,
            "methods": route.methods.encode(),
            "path": path.unwrap_or_default(),
            "access": match &route.access { Access::Public => json!({ "public": true }), Access::Allow { written, access } => with_policies(written, access) },
            "encoded_slash": route.encoded_slash.as_str(),
            "websocket": route.websocket,
        });
        if let Value::Object(out) = &mut out {
            if !route.headers.is_empty() {
                let fields = route.headers.iter().map(|(name, value)| (name.to_string(), Value::from(&**value)));
                out.insert("headers".to_owned(), Value::Object(fields.collect()));
            }
            out.extend(route.own_policies.0.iter().filter_map(|(policy, settings)| self.policy_json(*policy, settings)));
        }
        sorted(out)
    }

    fn policy_json(&self, policy: usize, settings: &PolicySettings) -> Option<(String, Value)> {
        let row = self.policies.get(policy)?;
        Some((row.name.to_owned(), (row.encode)(&**settings)))
    }
}

fn shared_store_json(store: &StorePlan) -> Value {
    let mut out = Object::new();
    out.insert("redis".to_owned(), store.url.encode());
    out.extend(store.user.as_ref().map(|user| ("user".to_owned(), Value::from(&**user))));
    out.extend(store.password.as_ref().map(|source| ("password".to_owned(), Value::from(secret_text(source)))));
    out.extend(store.trust.as_deref().map(|trust| ("trust".to_owned(), path(trust))));
    out.insert("prefix".to_owned(), Value::from(&*store.prefix));
    out.insert("stale_max".to_owned(), store.stale_max.encode());
    out.extend(store.danger_plaintext.as_ref().map(|weakening| ("danger_plaintext".to_owned(), danger_json(weakening))));
    Value::Object(out)
}

/// What is written of access, with the text of policies: it must not matter what becomes of their file.
fn with_policies(written: &Value, access: &RouteAccess) -> Value {
    let mut out = written.clone();
    if let (Value::Object(out), Some(policy)) = (&mut out, &access.policy) {
        out.insert("policy".to_owned(), json!({ "file": &*policy.file, "text": &*policy.text }));
    }
    out
}

fn texts(texts: &[Arc<str>]) -> Vec<&str> {
    texts.iter().map(|text| &**text).collect()
}

fn authenticate_json(plan: &AuthenticatePlan) -> Value {
    let credentials = match plan.credentials {
        Credentials::Remove | Credentials::Exchange => "remove",
        Credentials::Pass => "pass",
    };
    let mut out = json!({
        "any_of": texts(&plan.any_of),
        "credentials": credentials,
        "stream_age_max": plan.stream_age_max.encode(),
    });
    if let (Value::Object(out), false) = (&mut out, plan.audiences.is_empty()) {
        out.insert("audiences".to_owned(), texts(&plan.audiences).into());
    }
    out
}

fn keys_json(keys: &KeySource) -> Value {
    match keys {
        KeySource::File(file) => json!({ "file": path(file) }),
        KeySource::Discover(plan) => {
            let (refresh, stale_max) = (plan.refresh.encode(), plan.stale_max.encode());
            json!({ "discover": { "upstream": *plan.upstream, "refresh": refresh, "stale_max": stale_max } })
        }
    }
}

fn certificates_json(plan: &CertificatesPlan) -> Value {
    let client = |client: &CertificateClient| {
        let (key, text) = written(&client.fits);
        let mut out = json!({ key: text, "roles": texts(&client.roles), "scopes": texts(&client.scopes) });
        if let (Value::Object(out), Some(name)) = (&mut out, &client.name) {
            out.insert("name".to_owned(), Value::from(&**name));
        }
        out
    };
    json!({ "issuer": *plan.issuer, "clients": plan.clients.iter().map(client).collect::<Vec<_>>() })
}

fn secret_text(source: &SecretSource) -> String {
    match source {
        SecretSource::Env(name) => format!("env:{name}"),
        SecretSource::File(file) => format!("file:{}", file.display()),
    }
}

fn introspection_json(plan: &IntrospectionPlan) -> Value {
    let mut out = json!({
        "client_id": *plan.client_id,
        "client_secret": secret_text(&plan.client_secret),
        "tokens": if plan.asks_all { AskedTokens::All } else { AskedTokens::Opaque }.encode(),
        "upstream": *plan.upstream,
        "cache": plan.cache.encode(),
        "negative_cache": plan.negative_cache.encode(),
        "deadline": plan.deadline.encode(),
    });
    if let (Value::Object(out), Some(path)) = (&mut out, &plan.path) {
        out.insert("path".to_owned(), Value::from(&**path));
    }
    out
}

fn login_json(plan: &LoginPlan) -> Value {
    let mut out = json!({
        "provider": *plan.provider.name,
        "client_id": *plan.client_id,
        "client_secret": secret_text(&plan.client_secret),
        "origin": *plan.origin,
        "scopes": plan.scopes.split(' ').collect::<Vec<_>>(),
        "idle": plan.idle.encode(),
        "lifetime": plan.lifetime.encode(),
    });
    if let Value::Object(out) = &mut out {
        let optional = [("prompt", &plan.prompt), ("after_logout", &plan.after_logout)];
        out.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(**value.as_ref()?)))));
    }
    out
}

fn proofs_json(rules: &ProofRules) -> Value {
    json!({
        "algorithms": rules.algorithms.iter().map(Algorithm::as_str).collect::<Vec<_>>(),
        "age_max": Duration::from_secs(rules.age_max).encode(),
        "leeway": Duration::from_secs(rules.leeway).encode(),
        "nonce": if rules.nonces { NonceName::Required } else { NonceName::Off }.encode(),
    })
}

fn signatures_json(plan: &SignaturesPlan) -> Value {
    let key = |key: &SignatureKeyPlan| {
        json!({
            "id": *key.id, "file": path(&key.file), "algorithm": key.algorithm.as_str(), "caller": *key.caller,
            "roles": texts(&key.roles), "scopes": texts(&key.scopes),
        })
    };
    let mut out = json!({
        "form": SignatureFormName::of(plan.form).encode(),
        "keys": plan.keys.iter().map(key).collect::<Vec<_>>(),
        "age_max": Duration::from_secs(plan.age_max).encode(),
        "leeway": Duration::from_secs(plan.leeway).encode(),
    });
    if let (Value::Object(out), SignatureForm::Messages) = (&mut out, plan.form) {
        out.insert("covers".to_owned(), json!(texts(&plan.covers)));
        out.extend(plan.tag.iter().map(|tag| ("tag".to_owned(), json!(**tag))));
    }
    out
}

fn consumer_json(identity: &IdentityPlan, consumer: &ConsumerPlan) -> Value {
    let fits = match &consumer.fits {
        ConsumerFits::Claim { provider, claim, value } => json!({ "provider": **provider, "claim": { &**claim: **value } }),
        ConsumerFits::Caller { provider, name } => {
            let kind = if identity.api_keys.iter().any(|store| store.name == *provider) {
                "api_key"
            } else if identity.signatures.iter().any(|list| list.name == *provider) {
                "signature"
            } else {
                "certificate"
            };
            json!({ kind: format!("{provider}/{name}") })
        }
    };
    match &consumer.plan {
        Some(plan) => json!({ "match": fits, "plan": *plan.name }),
        None => json!({ "match": fits }),
    }
}

fn store_json(store: &KeyStorePlan) -> Value {
    let mut out = json!({ "header": *store.header, "store": { "file": path(&store.file) } });
    if let (Value::Object(out), Some(idle_after)) = (&mut out, store.idle_after) {
        out.insert("idle_after".to_owned(), idle_after.encode());
    }
    out
}

fn plan_json(plan: &UsagePlan) -> Value {
    // The periods that there are; what was read was one of them.
    let unit = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)]
        .into_iter()
        .find(|(_, seconds)| seconds * 1_000_000_000 == plan.period_nanos);
    json!({ "rate": format!("{}/{}", plan.count, unit.map_or("s", |(unit, _)| unit)), "burst": plan.burst, "weight": plan.weight })
}

fn identity_json(identity: &IdentityPlan) -> Vec<(String, Value)> {
    let provider = |provider: &ProviderPlan| {
        let types = provider.rules.types.iter().map(|one| if *one == TokenType::Jwt { "JWT" } else { "at+jwt" });
        let holds = |name: &AcceptName| name.holding().is_some_and(|holding| provider.rules.holdings.contains(holding));
        let asked = provider.introspection.as_ref().map(|_| AcceptName::Introspection);
        let accept = AcceptName::HOLDINGS.into_iter().filter(holds).chain(asked);
        let mut out = json!({
            "issuer": provider.rules.issuer,
            "keys": keys_json(&provider.keys),
            "algorithms": provider.rules.algorithms.iter().map(Algorithm::as_str).collect::<Vec<_>>(),
            "token_types": types.collect::<Vec<_>>(),
            "accept": accept.map(|name| name.encode()).collect::<Vec<_>>(),
            "leeway": Duration::from_secs(provider.rules.leeway).encode(),
            "lifetime_max": Duration::from_secs(provider.rules.lifetime_max).encode(),
            "scopes": { "claim": provider.scopes.as_str() },
        });
        if let (Value::Object(out), Some(roles)) = (&mut out, &provider.roles) {
            out.insert("roles".to_owned(), json!({ "claim": roles.as_str() }));
        }
        if let (Value::Object(out), Some(proofs)) = (&mut out, &provider.proofs) {
            out.insert("dpop".to_owned(), proofs_json(proofs));
        }
        if let (Value::Object(out), Some(plan)) = (&mut out, &provider.introspection) {
            out.insert("introspection".to_owned(), introspection_json(plan));
        }
        out
    };
    let mut out = Vec::new();
    let mut kinds = Object::new();
    if !identity.providers.is_empty() {
        kinds.insert("providers".to_owned(), named(identity.providers.iter().map(|one| (&one.name, provider(one)))));
    }
    if !identity.client_certificates.is_empty() {
        let plans = named(identity.client_certificates.iter().map(|one| (&one.name, certificates_json(one))));
        kinds.insert("client_certificates".to_owned(), plans);
    }
    if !identity.logins.is_empty() {
        kinds.insert("logins".to_owned(), named(identity.logins.iter().map(|one| (&one.name, login_json(one)))));
    }
    if !identity.api_keys.is_empty() {
        kinds.insert("api_keys".to_owned(), named(identity.api_keys.iter().map(|one| (&one.name, store_json(one)))));
    }
    if !identity.signers.is_empty() {
        let signer = |signer: &SignerPlan| json!({ "issuer": *signer.issuer, "keys": { "file": path(&signer.keys) } });
        kinds.insert("signers".to_owned(), named(identity.signers.iter().map(|one| (&one.name, signer(one)))));
    }
    if !identity.signatures.is_empty() {
        let lists = named(identity.signatures.iter().map(|one| (&one.name, signatures_json(one))));
        kinds.insert("signatures".to_owned(), lists);
    }
    if !kinds.is_empty() {
        out.push(("identity".to_owned(), Value::Object(kinds)));
    }
    if !identity.consumers.is_empty() {
        out.push(("consumers".to_owned(), named(identity.consumers.iter().map(|one| (&one.name, consumer_json(identity, one))))));
    }
    if !identity.plans.is_empty() {
        out.push(("plans".to_owned(), named(identity.plans.iter().map(|plan| (&plan.name, plan_json(plan))))));
    }
    if !identity.roles.is_empty() {
        out.push(("roles".to_owned(), named(identity.roles.iter().map(|(name, roles)| (name, roles.encode())))));
    }
    out
}

fn named<'n>(entries: impl Iterator<Item = (&'n Arc<str>, Value)>) -> Value {
    Value::Object(entries.map(|(name, value)| (name.to_string(), value)).collect())
}

fn path(path: &Path) -> Value {
    Value::from(path.to_string_lossy())
}

fn danger_json(weakening: &Weakening) -> Value {
    let expires = Date::of_unix_seconds(weakening.expires_unix_seconds).encode();
    json!({ "reason": weakening.reason, "owner": weakening.owner, "expires": expires })
}

fn listener_json(listener: &ListenerPlan) -> Value {
    let mut out = Object::new();
    out.insert("address".to_owned(), listener.address.encode());
    out.insert("protocols".to_owned(), listener.protocols.encode());
    let (mode, value) = match &listener.mode {
        ListenerMode::Tls(tls) => ("tls", tls_json(tls)),
        ListenerMode::RedirectToHttps => ("redirect_to_https", Value::Bool(true)),
        ListenerMode::DangerPlaintext(weakening) => ("danger_plaintext", danger_json(weakening)),
    };
    out.insert(mode.to_owned(), value);
    out.insert("limits".to_owned(), listener.limits.encode());
    if !listener.balancers.is_empty() {
        out.insert("proxy_protocol".to_owned(), json!({ "from": listener.balancers.encode() }));
    }
    Value::Object(out)
}

fn tls_json(tls: &TlsPlan) -> Value {
    let certificates = tls.certificates.iter().map(|certificate| {
        let hosts: Vec<Value> = certificate.hosts.iter().map(|host| Value::from(&**host)).collect();
        json!({ "hosts": hosts, "files": { "certificate": path(&certificate.certificate), "key": path(&certificate.key) } })
    });
    let mut out = json!({ "certificates": certificates.collect::<Vec<_>>(), "versions": { "min": tls.version_min.as_str() } });
    if let (Value::Object(out), Some(clients)) = (&mut out, &tls.client_certificates) {
        out.insert("client_certificates".to_owned(), clients_json(clients));
    }
    out
}

fn clients_json(clients: &ClientCertificatePlan) -> Value {
    let mode = if clients.is_required { "required" } else { "optional" };
    let mut out = json!({ "mode": mode, "trust": path(&clients.trust) });
    if let Value::Object(out) = &mut out
        && !clients.crl.is_empty()
    {
        let crl: Vec<Value> = clients.crl.iter().map(|file| path(file)).collect();
        out.insert("revocation".to_owned(), json!({ "crl": crl, "stale": clients.stale.as_str() }));
    }
    out
}

pub(crate) fn upstream_json(upstream: &UpstreamPlan) -> Value {
    let endpoints: Vec<Value> = upstream
        .endpoints
        .iter()
        .zip(&upstream.weights)
        .map(|(url, weight)| json!({ "url": url.encode(), "weight": weight }))
        .collect();
    let mut out = Object::new();
    out.insert("endpoints".to_owned(), Value::Array(endpoints));
    out.insert("protocol".to_owned(), upstream.protocol.encode());
    if let Some(weakening) = &upstream.danger_plaintext {
        out.insert("danger_plaintext".to_owned(), danger_json(weakening));
    }
    if upstream.tls != UpstreamTlsPlan::default() {
        out.insert("tls".to_owned(), upstream_tls_json(&upstream.tls));
    }
    out.insert("timeouts".to_owned(), upstream.timeouts.encode());
    out.insert("limits".to_owned(), upstream.limits.encode());
    out.extend(upstream.concurrency.as_ref().map(|concurrency| ("concurrency".to_owned(), concurrency.encode())));
    let care = &upstream.care;
    out.insert("balance".to_owned(), care.balance.encode());
    out.extend(care.hash_by.as_ref().map(|hash_by| ("hash_by".to_owned(), hash_by.encode())));
    out.insert("slow_start".to_owned(), care.slow_start.encode());
    out.extend(care.health.as_ref().map(|health| ("health".to_owned(), health.encode())));
    out.insert("outlier".to_owned(), care.outlier.encode());
    out.extend(care.breaker.as_ref().map(|breaker| ("breaker".to_owned(), breaker.encode())));
    out.insert("retry".to_owned(), care.retry.encode());
    sorted(Value::Object(out))
}

fn upstream_tls_json(tls: &UpstreamTlsPlan) -> Value {
    let mut out = Object::new();
    if let Some(trust) = &tls.trust {
        out.insert("trust".to_owned(), path(trust));
    }
    if let Some(name) = &tls.server_name {
        out.insert("server_name".to_owned(), Value::from(&**name));
    }
    if let Some((certificate, key)) = &tls.client_certificate {
        out.insert("client_certificate".to_owned(), json!({ "certificate": path(certificate), "key": path(key) }));
    }
    Value::Object(out)
}

fn access_log_json(log: &AccessLogPlan) -> Value {
    match log {
        AccessLogPlan::Off => Value::from("off"),
        AccessLogPlan::Stdout => json!({ "to": "stdout", "format": "json" }),
        AccessLogPlan::File { path: file, rotate } => {
            let mut out = json!({ "to": "file", "path": path(file), "format": "json" });
            if let (Value::Object(out), Some(rotate)) = (&mut out, rotate) {
                out.insert("rotate".to_owned(), json!({ "size": rotate.size.encode(), "keep": rotate.keep }));
            }
            out
        }
    }
}
