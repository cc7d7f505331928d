//! Plan -> snapshot. Reads certificate files; starts nothing.

use crate::addresses::{client_address, lockout_spared, spared};
use crate::asking::Asking;
use crate::care::upstream_settings;
use crate::client_auth::Environment;
use crate::client_tokens::{self, ClientTokens, KeptToken};
use crate::endpoints;
use crate::exchange::{self, KeptExchange};
use crate::files::PolicyFiles;
use crate::fingerprint::{fingerprint, sha256};
use crate::introspection::{self, KeptProvider};
use crate::key_sets::{Kept, KeySets, kept_by};
use crate::key_uses::{self, KeyUseLog};
use crate::logins::{self, KeptLogin, LoginKeeper};
use crate::pipelines::{Asks, Pipelines};
use crate::providers::Providers;
use crate::signers;
use crate::upstream_tls::{ContentDigest, ContextMaker, Contexts};
use portcullis_control_config::settings::ListenerProtocol;
use portcullis_control_config::{
    Access, ApiPlan, ClientCertificatePlan, ListenerMode as PlannedMode, ListenerPlan, Plan, RoutePlan,
};
use portcullis_control_names::{Follower, Names, Report};
use portcullis_gateway_listener::{CertificateFiles, ClientCertificates, OldestVersion, Revocation, TicketKeys, TlsContext};
use portcullis_gateway_policy::{ConnectionRate, Pipeline, PolicyDefinition, Revocations, StatePool};
use portcullis_gateway_proxy::{ClientAddressRule, Listener, ListenerKey, ListenerLimits, ListenerMode, Route, Snapshot, Split};
use portcullis_gateway_router::{HostPattern, Overlap, PathTemplate, RouteSpec, RouteTable};
use portcullis_gateway_upstream::fairness::Baseline;
use portcullis_gateway_upstream::{Origin, Upstream, Wheel};
use portcullis_model::{Clock, Generation};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// How long the first answers for new names are waited for.
const NAMES_WITHIN: Duration = Duration::from_secs(2);
/// How long key sets that have never been asked for are waited for.
const KEYS_WITHIN: Duration = Duration::from_secs(2);

/// A snapshot, ready to be published, and what was noticed while it was built.
pub struct Built {
    /// What will run.
    pub snapshot: Snapshot,
    /// Routes that meet.
    pub overlaps: Vec<Overlap>,
    /// A hash of the plan and of the certificate files it names.
    pub fingerprint: [u8; 32],
    /// For [`Builder::follow`], when it comes into force.
    pub names: Following,
}

/// Which names a configuration wants resolved, and for whom.
pub struct Following {
    servers: Vec<SocketAddr>,
    followers: Vec<Follower>,
    keys: Vec<Kept>,
    logins: Vec<KeptLogin>,
    asked: Vec<KeptProvider>,
    exchanges: Vec<KeptExchange>,
    tokens: Vec<KeptToken>,
    uses: Vec<key_uses::Kept>,
}

/// The routes of a plan.
pub struct Routing {
    /// Ready to be looked up.
    pub routes: RouteTable<Arc<Route>>,
    /// Routes that meet.
    pub overlaps: Vec<Overlap>,
    /// Policies for answers to requests that found no route.
    pub unrouted: Pipeline,
    pub(crate) upstreams: Vec<(ContentDigest, Arc<Upstream>)>,
}

/// Builds snapshots, and remembers what can be carried over from one to the next.
pub struct Builder {
    policies: &'static [PolicyDefinition],
    pub(crate) clock: Clock,
    tickets: Arc<TicketKeys>,
    upstreams: Upstreams,
    tls: Contexts,
    origin: Arc<Origin>,
    /// The files that settings of policies name.
    pub(crate) files: PolicyFiles,
    states: Arc<StatePool>,
    keys: KeySets,
    logins: LoginKeeper,
    introspection: Asking<KeptProvider>,
    exchanges: Asking<KeptExchange>,
    tokens: ClientTokens,
    uses: Option<Arc<KeyUseLog>>,
    environment: Environment,
    revocations: Arc<Revocations>,
    report: Report,
    names: Names,
}

/// Upstreams by name, with a hash of what each was made from.
pub(crate) type Upstreams = HashMap<Arc<str>, (ContentDigest, Arc<Upstream>)>;

impl Builder {
    /// A builder with the table of policies.
    #[must_use]
    pub fn new(policies: &'static [PolicyDefinition], clock: Clock) -> Self {
        let tickets = TicketKeys::new(clock.clone());
        let states = Arc::new(StatePool::default());
        let files = PolicyFiles::new(policies, Arc::clone(&states));
        Self {
            policies,
            clock,
            tickets,
            upstreams: HashMap::new(),
            tls: Contexts::new(),
            origin: Arc::default(),
            files,
            states,
            keys: KeySets::default(),
            logins: LoginKeeper::default(),
            introspection: Asking::default(),
            exchanges: Asking::default(),
            tokens: ClientTokens::default(),
            uses: None,
            environment: Arc::new(|_| None),
            revocations: Arc::default(),
            report: Arc::new(|_| ()),
            names: Names::new(Arc::new(|_| ())),
        }
    }

    /// Tells `report` what is wrong with names of upstreams, and with key sets that are fetched.
    #[must_use]
    pub fn reporting(self, report: Report) -> Self {
        Self { names: Names::new(Arc::clone(&report)), report, ..self }
    }

    /// Keeps by `uses` when API keys are used. Without it that is not known, and a store that asks for it lets nobody in.
    #[must_use]
    pub fn keeping_uses(self, uses: Arc<KeyUseLog>) -> Self {
        Self { uses: Some(uses), ..self }
    }

    /// Finds secrets that the configuration says are in the environment by `environment`.
    #[must_use]
    pub fn in_environment(self, environment: Environment) -> Self {
        Self { environment, ..self }
    }

    /// What has been revoked, and which sessions have ended, for workers to look at.
    #[must_use]
    pub fn revocations(&self) -> &Arc<Revocations> {
        &self.revocations
    }

    /// Keeps the names of this configuration resolved from now on, and no others. Waits a moment for those that are new, so that
    /// what comes into force next has its endpoints; whoever has none by then gets them later.
    pub fn follow(&self, following: Following) {
        let names: Vec<Arc<str>> = following.followers.iter().flat_map(|follower| follower.names.iter().cloned()).collect();
        self.names.ask_servers(&following.servers);
        self.names.follow(following.followers);
        self.names.wait(&names, NAMES_WITHIN);
        self.keys.keep(following.keys, &self.clock, &self.report, KEYS_WITHIN);
        self.logins.keep(following.logins, &self.states, &self.clock, &self.report);
        self.introspection.keep(following.asked, &self.states, &self.clock, &self.report);
        self.exchanges.keep(following.exchanges, &self.states, &self.clock, &self.report);
        // Where tokens are given is known when the keys are.
        self.tokens.keep(following.tokens, &self.clock, &self.report, KEYS_WITHIN);
        if let Some(Err(problem)) = self.uses.as_ref().map(|uses| uses.keep(following.uses)) {
            (self.report)(&problem);
        }
    }

    /// The names of upstreams, and what is known of them.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The providers that are asked, and what is known of them.
    #[must_use]
    pub fn providers(&self) -> Providers {
        Providers { keys: Arc::clone(&self.keys.shared), asked: Arc::clone(&self.introspection.shared) }
    }

    /// The keys of session tickets, which every snapshot it builds shares.
    #[must_use]
    pub fn tickets(&self) -> &Arc<TicketKeys> {
        &self.tickets
    }

    /// Builds what runs from a plan. Upstreams that did not change stay the same, and with them workers keep their connections.
    ///
    /// # Errors
    /// What could not be built, for the operator. Nothing has changed then.
    pub fn build(&mut self, plan: &Plan, generation: Generation) -> Result<Built, String> {
        let listeners = self.listeners(plan)?;
        let mut contexts = ContextMaker::new(&self.tls, &self.clock);
        let mut followers = Vec::new();
        let upstreams = self.upstreams(plan, &mut contexts, &mut followers)?;
        let tls = contexts.finish();
        let uses = self.uses.as_ref().map(|uses| uses.prepare(plan, &self.states)).transpose()?.unwrap_or_default();
        let routing = self.route(plan, upstreams)?;
        let fingerprint = fingerprint(plan, &routing);
        let keys = kept_by(plan, routing.upstreams.iter().map(|(_, upstream)| upstream), &self.states);
        let logins = logins::kept_by(plan, &routing.upstreams, &self.states, &self.environment)?;
        let asked = introspection::kept_by(plan, &routing.upstreams, &self.states, &self.environment)?;
        let exchanges = exchange::kept_by(plan, &routing.upstreams, &self.states, &self.environment)?;
        let tokens = client_tokens::kept_by(plan, &routing.upstreams, &self.states, &self.environment)?;
        // Only now is it certain that this is what will run.
        self.tls = tls;
        self.files.keep(plan);
        self.states.settle();
        self.upstreams = routing
            .upstreams
            .iter()
            .map(|(digest, upstream)| (Arc::clone(&upstream.settings.name), (*digest, Arc::clone(upstream))))
            .collect();
        let snapshot = Snapshot {
            generation,
            hash: plan.hash().to_string(),
            listeners,
            departed: Vec::new(),
            routes: routing.routes,
            unrouted: routing.unrouted,
            client_address: client_address(plan),
            bans: plan.bans.as_ref().map(|bans| bans.rules.clone()),
            spared: spared(plan),
            lockouts: plan.lockout.as_ref().map(|lockout| Arc::new(lockout.rules.clone())),
            lockout_spared: lockout_spared(plan),
            upstreams: routing.upstreams.into_iter().map(|(_, upstream)| upstream).collect(),
        };
        Ok(Built {
            snapshot,
            overlaps: routing.overlaps,
            fingerprint,
            names: Following { servers: plan.dns_servers.clone(), followers, keys, logins, asked, exchanges, tokens, uses },
        })
    }

    /// Builds the routes alone, which needs nothing but the plan and the files that its policies name. Their upstreams have no endpoints.
    ///
    /// # Errors
    /// What could not be built, for the operator.
    pub fn routing(&mut self, plan: &Plan) -> Result<Routing, String> {
        let upstreams = plan.upstreams.iter().map(|planned| {
            let upstream = Upstream::new(upstream_settings(planned), &[], None, &self.origin);
            (Arc::clone(&planned.name), (planned.digest.0, Arc::new(upstream)))
        });
        let upstreams = upstreams.collect();
        self.route(plan, upstreams)
    }

    fn route(&mut self, plan: &Plan, upstreams: Upstreams) -> Result<Routing, String> {
        let files = self.files.open(plan)?;
        let mut pipelines = Pipelines::new(self.policies, files, plan, &self.states, &self.revocations)?;
        let unrouted = pipelines.of(plan.defaults(), &Access::Public, Asks::NOBODY)?;
        let mut specs = Vec::new();
        for api in &plan.apis {
            let destination = destination(api, &upstreams)?;
            specs.reserve(api.routes.len());
            let hosts = hosts(api)?;
            for route in &api.routes {
                specs.push(spec(api, route, &hosts, &destination, &mut pipelines)?);
            }
        }
        for login in &plan.identity.logins {
            specs.extend(logins::endpoints(login, plan.defaults(), &upstreams, &mut pipelines)?);
        }
        for signer in &plan.identity.signers {
            specs.extend(signers::endpoint(signer, plan.defaults(), &upstreams, &mut pipelines)?);
        }
        let (routes, overlaps) = RouteTable::build(specs);
        Ok(Routing { routes, overlaps, unrouted, upstreams: upstreams.into_values().collect() })
    }

    fn upstreams(&self, plan: &Plan, contexts: &mut ContextMaker<'_>, followers: &mut Vec<Follower>) -> Result<Upstreams, String> {
        let mut all = HashMap::new();
        for planned in &plan.upstreams {
            let (digest, context) = match planned.uses_tls() {
                true => contexts.context(planned).map(|(content, context)| (joined(planned.digest.0, content), Some(context)))?,
                false => (planned.digest.0, None),
            };
            let upstream = match self.upstreams.get(&planned.name) {
                Some((before, running)) if *before == digest => Arc::clone(running),
                known => {
                    let found = endpoints::find(planned, context.as_ref(), &self.names)?;
                    let before = known.map(|(_, running)| &**running);
                    Arc::new(Upstream::new(upstream_settings(planned), &found.endpoints, before, &self.origin))
                }
            };
            followers.extend(endpoints::follower(planned, context.as_ref(), &upstream));
            all.insert(Arc::clone(&planned.name), (digest, upstream));
        }
        Ok(all)
    }

    fn listeners(&self, plan: &Plan) -> Result<Vec<Arc<Listener>>, String> {
        let https_port = plan
            .listeners
            .iter()
            .find(|listener| matches!(listener.mode, PlannedMode::Tls(_)))
            .map_or(443, |listener| listener.address.port());
        plan.listeners.iter().map(|planned| self.listener(planned, https_port)).collect()
    }

    fn listener(&self, planned: &ListenerPlan, https_port: u16) -> Result<Arc<Listener>, String> {
        let (mode, tls) = match &planned.mode {
            PlannedMode::RedirectToHttps => (ListenerMode::RedirectToHttps { port: https_port }, None),
            PlannedMode::DangerPlaintext(weakening) => {
                (ListenerMode::DangerPlaintext { expires: weakening.expires_unix_seconds }, None)
            }
            PlannedMode::Tls(tls) => {
                let files: Vec<CertificateFiles> = tls
                    .certificates
                    .iter()
                    .map(|certificate| CertificateFiles {
                        hosts: certificate.hosts.iter().map(ToString::to_string).collect(),
                        certificate: certificate.certificate.clone(),
                        key: certificate.key.clone(),
                    })
                    .collect();
                let oldest = match tls.version_min {
                    portcullis_control_config::settings::TlsVersion::V12 => OldestVersion::Tls12,
                    portcullis_control_config::settings::TlsVersion::V13 => OldestVersion::Tls13,
                };
                let clients = tls.client_certificates.as_ref().map(client_certificates);
                let context = TlsContext::build(&files, clients.as_ref(), oldest, &self.tickets, &self.clock)
                    .map_err(|problem| format!("listener `{}`: {problem}", planned.name))?;
                let speaks = |protocol| planned.protocols.contains(&protocol);
                (ListenerMode::Tls, Some(context.speaking(speaks(ListenerProtocol::Http1), speaks(ListenerProtocol::Http2))))
            }
        };
        let trusted = planned.balancers.iter().map(|network| (network.network(), network.prefix_len())).collect();
        let balancers = ClientAddressRule { trusted };
        let key = ListenerKey::new(planned.address, &planned.name);
        Ok(Arc::new(Listener { key, name: Arc::clone(&planned.name), mode, tls, limits: limits(planned), balancers }))
    }
}

fn client_certificates(planned: &ClientCertificatePlan) -> ClientCertificates {
    let is_stale_accepted = planned.stale == portcullis_control_config::settings::StaleList::Accept;
    ClientCertificates {
        is_required: planned.is_required,
        trust: planned.trust.clone(),
        revocation: (!planned.crl.is_empty()).then(|| Revocation { lists: planned.crl.clone(), is_stale_accepted }),
    }
}

fn limits(planned: &ListenerPlan) -> ListenerLimits {
    let limits = &planned.limits;
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    ListenerLimits {
        head: portcullis_gateway_proxy::HeadLimits {
            head_bytes_max: size(limits.headers_bytes_max.0),
            fields_max: size(u64::from(limits.headers_max)),
            target_bytes_max: size(limits.uri_bytes_max.0),
        },
        connection_rate: ConnectionRate::new(
            limits.connection_rate_per_client.count(),
            limits.connection_rate_per_client.period_nanos(),
            limits.connections_per_client,
        ),
        handshake_deadline: limits.handshake_deadline,
        header_deadline: limits.header_deadline,
        idle_timeout: limits.idle_timeout,
        body_rate_min: limits.body_rate_min.0,
        rate_window: limits.body_stall,
        requests_max: limits.requests_per_connection,
    }
}

/// A hash of an upstream's settings and of the files they name.
fn joined(settings: ContentDigest, files: ContentDigest) -> ContentDigest {
    sha256([&settings[..], &files[..]])
}

fn hosts(api: &ApiPlan) -> Result<Vec<HostPattern>, String> {
    api.hosts.iter().map(|host| HostPattern::parse(host).map_err(|problem| format!("api `{}`: {problem}", api.name))).collect()
}

/// Where an API's requests go.
enum Destination {
    Sole(Arc<Upstream>),
    Split { first: Arc<Upstream>, upstreams: Vec<Arc<Upstream>>, wheel: Wheel, turn: Arc<AtomicU64> },
}

fn destination(api: &ApiPlan, upstreams: &Upstreams) -> Result<Destination, String> {
    let named = |name: &Arc<str>| match upstreams.get(name) {
        Some((_, upstream)) => Ok(Arc::clone(upstream)),
        None => Err(format!("api `{}` names the upstream `{name}`, which is not there", api.name)),
    };
    let all = api.upstreams.iter().map(|(name, _)| named(name)).collect::<Result<Vec<_>, _>>()?;
    match all.as_slice() {
        [] => Err(format!("api `{}` names no upstream", api.name)),
        [sole] => Ok(Destination::Sole(Arc::clone(sole))),
        [first, ..] => {
            let weights: Vec<u32> = api.upstreams.iter().map(|(_, weight)| *weight).collect();
            Ok(Destination::Split { first: Arc::clone(first), wheel: Wheel::new(&weights), turn: Arc::default(), upstreams: all })
        }
    }
}

fn spec(
    api: &ApiPlan,
    route: &RoutePlan,
    hosts: &[HostPattern],
    destination: &Destination,
    pipelines: &mut Pipelines<'_>,
) -> Result<RouteSpec<Arc<Route>>, String> {
    let path =
        PathTemplate::parse(&route.path).map_err(|problem| format!("route `{}` of api `{}`: {problem}", route.name, api.name))?;
    let headers = route.headers.iter().map(|(name, value)| (Box::from(&**name), Box::from(value.as_bytes()))).collect();
    let pipeline = pipelines.of(&route.policies, &route.access, Asks::of(api))?;
    let to = |upstream: &Arc<Upstream>, split: Option<Split>| {
        Arc::new(Route {
            name: Arc::clone(&route.name),
            api: Arc::clone(&api.name),
            pipeline: pipeline.clone(),
            upstream: Arc::clone(upstream),
            baseline: Baseline::default(),
            split,
            encoded_slash_kept: route.encoded_slash == portcullis_control_config::settings::EncodedSlash::Keep,
            websocket: route.websocket,
            body_read_max: 0,
            stream_age_max: match &route.access {
                Access::Public => None,
                Access::Allow { access, .. } => Some(access.authenticate.stream_age_max),
            },
            fresh_within: match &route.access {
                Access::Allow { access, .. } if access.is_fresh => Some(pipelines.stale_max.unwrap_or_default()),
                _ => None,
            },
        })
    };
    let target = match destination {
        Destination::Sole(upstream) => to(upstream, None),
        Destination::Split { first, upstreams, wheel, turn } => {
            let routes = upstreams.iter().map(|upstream| to(upstream, None)).collect();
            to(first, Some(Split { routes, wheel: wheel.clone(), turn: Arc::clone(turn) }))
        }
    };
    Ok(RouteSpec {
        name: Arc::clone(&route.name),
        hosts: hosts.to_vec(),
        path,
        methods: route.methods.iter().map(|method| method.as_str().into()).collect(),
        headers,
        target,
    })
}
