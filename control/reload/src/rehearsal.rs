//! What becomes of a request: by the codec, the table of routes and the policies that decide at run time, without a client or an upstream.

use crate::build::{Builder, Routing};
use crate::pipelines::vocabulary;
use portcullis_control_config::{Access, Plan};
use portcullis_engines_authz::Vocabulary;
use portcullis_gateway_policy::{
    AccessContext, CompileError, ConnectionFacts, ConsumerPlan, Exchange, Making, Policy, PolicyDefinition, Scheme, Step, Stop,
    Verdict,
};
use portcullis_gateway_proxy::{Route, check_form, check_method, preflight_route};
use portcullis_gateway_router::Lookup;
use portcullis_model::{Clock, Consumer, DecisionRecord, Principal, Reason, RecordGuard, RecordSink, Rejection, VerdictKind};
use portcullis_wire::{HeadLimits, RequestHead};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// A table of policies for rehearsals: in place of the one that verifies credentials stands one that takes the word of the rehearsal for who
/// is calling; and nothing is signed, so that private keys are not needed where changes are rehearsed.
#[must_use]
pub fn rehearsed(policies: &[PolicyDefinition]) -> Vec<PolicyDefinition> {
    let stand_in = |row: &PolicyDefinition| match row.settings.name {
        "authenticate" => PolicyDefinition { compile: Making::Access(vouch, |_, _| None), ..*row },
        "credentials" => {
            let silent = Making::Credentials(|_| Ok(Arc::new(Silent)), |_, _| Ok(Arc::new(Silent)));
            PolicyDefinition { compile: silent, files: &[], ..*row }
        }
        _ => *row,
    };
    policies.iter().map(stand_in).collect()
}

/// Says nothing.
struct Silent;

impl Policy for Silent {}

fn vouch(context: &AccessContext<'_>) -> Result<Arc<dyn Policy>, CompileError> {
    Ok(Arc::new(Vouch { any_of: context.access.authenticate.any_of.clone() }))
}

/// Takes everybody for who they say they are, if their provider's word counts here.
struct Vouch {
    any_of: Vec<Arc<str>>,
}

impl Policy for Vouch {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        let verdict = match exchange.principal() {
            None => Verdict::Reject(Rejection::new(Reason::CredentialsMissing, "nobody says who is calling")),
            Some(principal) if self.any_of.contains(&principal.provider) => Verdict::Continue,
            Some(_) => Verdict::Reject(Rejection::new(Reason::CredentialsInvalid, "the API does not take the provider's word")),
        };
        Step::Ready(verdict)
    }
}

/// Someone with a good credential.
#[derive(Clone, Copy, Debug)]
pub struct Known<'k> {
    /// Who vouches for them.
    pub provider: &'k str,
    /// Who they are there.
    pub subject: &'k str,
    /// Roles of that provider.
    pub roles: &'k [String],
    /// Scopes.
    pub scopes: &'k [String],
    /// The consumer they are, if a claim of their token says so. Whoever has a name in a store or a list is found by it.
    pub consumer: Option<&'k str>,
}

/// Whether a request goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// It goes to the upstream.
    Allow,
    /// It is refused.
    Refuse,
    /// A policy answers it.
    Answer,
}

/// What became of a request.
#[derive(Clone, Debug)]
pub struct Rehearsed {
    /// Whether it goes on.
    pub decided: Decided,
    /// The status that it is refused or answered with.
    pub status: Option<u16>,
    /// The code that it is refused with.
    pub code: Option<&'static str>,
    /// Why, for the operator.
    pub detail: String,
    /// The API and the route that it takes.
    pub route: Option<(Arc<str>, Arc<str>)>,
    /// The line of `allow` that lets the caller through, counted from 1.
    pub line: Option<u16>,
    /// The policy that said the last word.
    pub policy: Option<&'static str>,
}

impl Rehearsed {
    fn refused(rejection: &Rejection, route: Option<&Route>) -> Self {
        Self {
            decided: Decided::Refuse,
            status: Some(rejection.status()),
            code: Some(rejection.reason.code()),
            detail: rejection.detail.to_string(),
            route: route.map(named),
            line: None,
            policy: None,
        }
    }
}

fn named(route: &Route) -> (Arc<str>, Arc<str>) {
    (Arc::clone(&route.api), Arc::clone(&route.name))
}

struct Forget;

impl RecordSink for Forget {
    fn fresh(&self) -> Box<DecisionRecord> {
        Box::default()
    }

    fn emit(&self, record: Box<DecisionRecord>) {
        drop(record);
    }
}

/// A configuration that decides on requests nobody has sent.
pub struct Rehearsal<'p> {
    plan: &'p Plan,
    routing: Routing,
    words: Arc<Vocabulary>,
    clock: Clock,
    runtime: tokio::runtime::Runtime,
    sent: u64,
}

impl<'p> Rehearsal<'p> {
    /// Builds what decides, with the policies of [`rehearsed`].
    ///
    /// # Errors
    /// What could not be built, for the operator.
    pub fn new(plan: &'p Plan, policies: &'static [PolicyDefinition], clock: &Clock) -> Result<Self, String> {
        let routing = Builder::new(policies, clock.clone()).routing(plan)?;
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())?;
        Ok(Self { plan, routing, words: vocabulary(plan)?, clock: clock.clone(), runtime, sent: 0 })
    }

    /// Decides on a request, given as the bytes of its head.
    pub fn decide(&mut self, head: &[u8], client: IpAddr, known: Option<Known<'_>>) -> Rehearsed {
        let mut request = Box::new(RequestHead::default());
        if let Err(error) = request.parse(head, &HeadLimits::default()) {
            return Rehearsed::refused(&Rejection::new(error.reason, error.detail), None);
        }
        if let Err(rejection) = check_method(&request) {
            return Rehearsed::refused(&rejection, None);
        }
        let method = String::from_utf8_lossy(request.method_bytes()).into_owned();
        let preflight = preflight_route(&self.routing.routes, &request);
        let header = |name: &str| request.fields().sole_named(name);
        let (route, others) = match preflight {
            Some((route, others)) => (Arc::clone(route), Some(others)),
            None => match self.routing.routes.find(request.host(), &method, request.path(), &header) {
                Lookup::Found { target } => (Arc::clone(target), None),
                Lookup::HostUnknown => return unrouted(Reason::HostUnknown, "no route has this host"),
                Lookup::PathUnknown => return unrouted(Reason::RouteUnknown, "no route of this host has this path"),
                Lookup::MethodUnknown { .. } => return unrouted(Reason::MethodUnknown, "no route of this path has this method"),
            },
        };
        if let Err(rejection) = check_form(&route, &request) {
            return Rehearsed::refused(&rejection, Some(&route));
        }
        let mut exchange = self.exchange(request, client);
        if let Some(others) = others {
            exchange.mark_preflight(others);
        }
        if let Some(known) = known.filter(|_| !self.is_public(&route)) {
            exchange.identify(Arc::new(self.principal(known)));
        }
        match self.runtime.block_on(route.pipeline.clear(exchange)) {
            Ok(cleared) => Rehearsed {
                decided: Decided::Allow,
                status: None,
                code: None,
                detail: cleared.exchange().record.permitted_by.as_ref().map_or_else(String::new, |by| format!("permitted by {by}")),
                route: Some(named(&route)),
                line: cleared.exchange().record.allowed.as_ref().map(|allowed| allowed.line),
                policy: None,
            },
            Err(stopped) => {
                let last = stopped.exchange.record.verdicts.iter().find(|one| one.kind != VerdictKind::Continue);
                let policy = last.map(|one| one.name);
                match &stopped.stop {
                    Stop::Reject(rejection) => Rehearsed { policy, ..Rehearsed::refused(rejection, Some(&route)) },
                    Stop::Respond(answer) => Rehearsed {
                        decided: Decided::Answer,
                        status: Some(answer.status),
                        code: None,
                        detail: String::new(),
                        route: Some(named(&route)),
                        line: None,
                        policy,
                    },
                }
            }
        }
    }

    fn exchange(&mut self, request: Box<RequestHead>, client: IpAddr) -> Exchange {
        let sink: Rc<dyn RecordSink> = Rc::new(Forget);
        let mut record = RecordGuard::begin(&sink);
        record.started_unix_micros = self.clock.unix_seconds().saturating_mul(1_000_000);
        let mut facts = ConnectionFacts::new("rehearsal".into(), SocketAddr::new(client, 0), None);
        facts.scheme = Scheme::Https;
        let mut exchange = Exchange::new(request, record, Rc::new(facts), client, u64::MAX);
        // So far apart that no request uses up a limit for the next: each is the first of its client.
        self.sent = self.sent.saturating_add(1);
        exchange.arrived = Duration::from_hours(24 * 365).saturating_mul(u32::try_from(self.sent).unwrap_or(u32::MAX));
        exchange
    }

    fn is_public(&self, route: &Route) -> bool {
        let api = self.plan.apis.iter().find(|api| api.name == route.api);
        let planned = api.and_then(|api| api.routes.iter().find(|planned| planned.name == route.name));
        planned.is_some_and(|planned| planned.access == Access::Public)
    }

    fn consumer(&self, known: Known<'_>) -> Option<Consumer> {
        let is_one = |one: &ConsumerPlan| Some(&*one.name) == known.consumer && one.fits.provider() == known.provider;
        let mut all = (0..).zip(&self.plan.identity.consumers);
        let told = all.find(|(_, one)| is_one(one));
        let told = told.map(|(number, one)| Consumer { name: Arc::clone(&one.name), number, plan: one.plan.clone() });
        told.or_else(|| self.words.consumers().of_subject(known.provider, known.subject))
    }

    fn principal(&self, known: Known<'_>) -> Principal {
        let (roles, scopes) = (known.roles.iter().map(String::as_str), known.scopes.iter().map(String::as_str));
        Principal {
            provider: known.provider.into(),
            subject: known.subject.into(),
            client: None,
            consumer: self.consumer(known),
            grants: self.words.grants(known.provider, roles, scopes),
            expires_unix_seconds: u64::MAX,
            ends_unix_seconds: u64::MAX,
            issued_unix_seconds: self.clock.unix_seconds(),
            marks: Box::default(),
        }
    }
}

fn unrouted(reason: Reason, detail: &'static str) -> Rehearsed {
    Rehearsed::refused(&Rejection::new(reason, detail), None)
}
