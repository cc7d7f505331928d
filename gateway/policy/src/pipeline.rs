//! The fixed order of policies, and [`Cleared`].

use crate::{BodySource, Exchange, Grant, NoBody, SESSION_COOKIE_PREFIX};
use portcullis_model::{PolicyId, PolicyVerdict, Reason, Rejection, VerdictKind};
use portcullis_wire::{KnownName, RequestHead, ResponseHead, cookie::remove_cookies};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// When a policy runs. The order is fixed; nobody can configure it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Needs no identity: address rules, bans, preflight, sizes.
    Admit,
    /// Finds out who is calling.
    Authenticate,
    /// Limits keyed by identity.
    Limit,
    /// May they?
    Authorize,
    /// Is it well-formed by the API's own description?
    Validate,
    /// Does it carry an attack?
    Inspect,
    /// Changes what is sent on.
    Shape,
}

/// An answer that a policy gives itself, for example to a preflight.
#[derive(Debug)]
pub struct LocalAnswer {
    /// The HTTP status.
    pub status: u16,
    /// Fields to set.
    pub fields: Vec<(&'static str, Vec<u8>)>,
    /// What follows them; nothing where it is empty.
    pub body: String,
}

/// What a policy says.
#[derive(Debug)]
pub enum Verdict {
    /// Nothing against it.
    Continue,
    /// Answer with this; nothing is forwarded.
    Respond(LocalAnswer),
    /// Refuse.
    Reject(Rejection),
}

/// A verdict that is there, or one that must be waited for. Local policies are always ready, and so do not allocate.
pub enum Step<'a> {
    /// The verdict.
    Ready(Verdict),
    /// It comes later.
    Later(Pin<Box<dyn Future<Output = Verdict> + 'a>>),
    /// Nothing is wrong with the head, and the whole body is needed, of at most so many bytes: [`Policy::on_body`] says the rest.
    Body(u64),
}

/// Names of fields, in lower case, that do not pass as trailers, under any alias.
pub type TrailerNames = Vec<Arc<str>>;

/// The same, shared with the bodies that are on their way; `None` where there is none.
pub type DroppedTrailers = Option<Arc<[Arc<str>]>>;

/// A running policy. An error inside one is a refusal.
pub trait Policy: Send + Sync {
    /// Judges, and may change, a request.
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        let _ = exchange;
        Step::Ready(Verdict::Continue)
    }

    /// Judges a request whose body is there, after [`Step::Body`].
    fn on_body<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        let _ = exchange;
        Step::Ready(Verdict::Reject(Rejection::new(Reason::Internal, "a policy that asked for the body does not look at it")))
    }

    /// May change the head of an answer: the upstream's and the gateway's own.
    fn on_response(&self, exchange: &Exchange, response: &mut ResponseHead) {
        let _ = (exchange, response);
    }

    /// Names of fields of requests that it decides on, and of answers. What comes under them behind a body, when the head is long gone, does not
    /// pass: a reader that merges trailers into the head would take it for what the policy has said (RFC 9110 section 6.5.1).
    fn trailers_dropped(&self) -> (TrailerNames, TrailerNames) {
        Default::default()
    }

    /// What whoever is calling is asked for when the credential that it knows them by has turned out to be worth nothing (RFC 9110 section 11.6.1); nothing
    /// when it knows nobody.
    fn challenge(&self, exchange: &Exchange) -> Option<String> {
        let _ = exchange;
        None
    }

    /// What it allows of the request that a preflight asks about, or why nothing; `None` if it does not answer preflights. Only a route
    /// with a policy that does is given the preflights for it.
    fn grant_preflight(&self, request: &RequestHead) -> Option<Result<Grant, Rejection>> {
        let _ = request;
        None
    }
}

/// One policy of a pipeline.
#[derive(Clone)]
pub struct PipelineStep {
    /// Its place in the table of policies.
    pub id: PolicyId,
    /// Its name.
    pub name: &'static str,
    /// The policy.
    pub policy: Arc<dyn Policy>,
}

/// Why an exchange was not cleared.
#[derive(Debug)]
pub enum Stop {
    /// A policy answers it.
    Respond(LocalAnswer),
    /// It is refused.
    Reject(Rejection),
}

impl From<Rejection> for Stop {
    fn from(rejection: Rejection) -> Self {
        Self::Reject(rejection)
    }
}

/// An exchange that was not cleared, with the reason.
pub struct Stopped {
    /// The exchange, whose record goes on until the answer is written.
    pub exchange: Exchange,
    /// Why.
    pub stop: Stop,
}

/// The policies of a route in their fixed order.
#[derive(Clone, Default)]
pub struct Pipeline {
    steps: Vec<PipelineStep>,
    request_trailers: DroppedTrailers,
    response_trailers: DroppedTrailers,
}

/// An exchange that every policy of its route has passed. Only [`Pipeline::clear`] makes one.
pub struct Cleared {
    exchange: Exchange,
    trailers_dropped: DroppedTrailers,
}

impl Pipeline {
    /// A pipeline; the steps are put into the order of the table.
    #[must_use]
    pub fn new(mut steps: Vec<PipelineStep>) -> Self {
        steps.sort_by_key(|step| step.id);
        let (of_requests, of_answers): (Vec<_>, Vec<_>) = steps.iter().map(|step| step.policy.trailers_dropped()).unzip();
        let shared = |names: Vec<TrailerNames>| {
            let names = names.concat();
            (!names.is_empty()).then(|| names.into())
        };
        Self { steps, request_trailers: shared(of_requests), response_trailers: shared(of_answers) }
    }

    /// The same with one more.
    #[must_use]
    pub fn with(&self, step: PipelineStep) -> Self {
        Self::new(self.steps.iter().cloned().chain([step]).collect())
    }

    /// The names of the policies in order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.steps.iter().map(|step| step.name)
    }

    /// Asks every policy in order, of which none needs the body; the first that does not let the exchange continue ends it.
    ///
    /// # Errors
    /// The exchange and why it is not to be forwarded.
    pub async fn clear(&self, exchange: Exchange) -> Result<Cleared, Box<Stopped>> {
        self.clear_with(exchange, &mut NoBody).await
    }

    /// The same, with the body of the request where a policy asks for it.
    ///
    /// # Errors
    /// The exchange and why it is not to be forwarded.
    pub async fn clear_with(&self, mut exchange: Exchange, body: &mut dyn BodySource) -> Result<Cleared, Box<Stopped>> {
        for step in &self.steps {
            let said = match step.policy.on_request(&mut exchange) {
                Step::Ready(verdict) => Ok(verdict),
                Step::Later(future) => Ok(future.await),
                Step::Body(bytes_max) => Err(bytes_max),
            };
            let verdict = match said {
                Ok(verdict) => verdict,
                Err(bytes_max) => with_body(&*step.policy, &mut exchange, body, bytes_max).await,
            };
            let kind = match &verdict {
                Verdict::Continue => VerdictKind::Continue,
                Verdict::Respond(_) => VerdictKind::Respond,
                Verdict::Reject(_) => VerdictKind::Reject,
            };
            exchange.record.verdicts.push(PolicyVerdict { policy: step.id, name: step.name, kind });
            match verdict {
                Verdict::Continue => {}
                Verdict::Respond(answer) => return Err(Box::new(Stopped { exchange, stop: Stop::Respond(answer) })),
                Verdict::Reject(rejection) => return Err(Box::new(Stopped { exchange, stop: Stop::Reject(rejection) })),
            }
        }
        // SECURITY: a preflight has the route of another method; what nobody has answered must not be sent there.
        if exchange.is_preflight() {
            let stop = Stop::Reject(Rejection::new(Reason::MethodUnknown, "no policy of the route answers preflights"));
            return Err(Box::new(Stopped { exchange, stop }));
        }
        // SECURITY: who has a session of the gateway shows it to the gateway alone, also where nobody is asked who they are.
        remove_cookies(exchange.request.fields_mut(), KnownName::Cookie, SESSION_COOKIE_PREFIX);
        Ok(Cleared { exchange, trailers_dropped: self.request_trailers.clone() })
    }

    /// What whoever is calling is asked for when their credential has turned out to be worth nothing.
    #[must_use]
    pub fn challenge(&self, exchange: &Exchange) -> Option<String> {
        self.steps.iter().find_map(|step| step.policy.challenge(exchange))
    }

    /// What the policy that answers preflights allows of the request that this one asks about; `None` if there is no such policy.
    #[must_use]
    pub fn grant_preflight(&self, request: &RequestHead) -> Option<Result<Grant, Rejection>> {
        self.steps.iter().find_map(|step| step.policy.grant_preflight(request))
    }

    /// The trailers of answers that do not pass.
    #[must_use]
    pub fn response_trailers_dropped(&self) -> DroppedTrailers {
        self.response_trailers.clone()
    }

    /// Lets every policy see the head of the answer, in reverse order.
    pub fn answer(&self, exchange: &Exchange, response: &mut ResponseHead) {
        for step in self.steps.iter().rev() {
            step.policy.on_response(exchange, response);
        }
    }
}

/// What a policy says that needs the body. It is taken once, whoever asks.
async fn with_body(policy: &dyn Policy, exchange: &mut Exchange, body: &mut dyn BodySource, bytes_max: u64) -> Verdict {
    if exchange.body.is_none()
        && let Err(rejection) = body.take(exchange, bytes_max).await
    {
        return Verdict::Reject(rejection);
    }
    match policy.on_body(exchange) {
        Step::Ready(verdict) => verdict,
        Step::Later(future) => future.await,
        Step::Body(_) => Verdict::Reject(Rejection::new(Reason::Internal, "a policy asks for the body again")),
    }
}

impl Cleared {
    /// The exchange.
    #[must_use]
    pub fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// The trailers of the request that do not pass.
    #[must_use]
    pub fn trailers_dropped(&self) -> DroppedTrailers {
        self.trailers_dropped.clone()
    }

    /// The record of the exchange, to go on noting in. The request cannot be changed any more.
    pub fn record(&mut self) -> &mut portcullis_model::DecisionRecord {
        &mut self.exchange.record
    }

    /// Ends the forwarding and gives the exchange back, for the answer.
    #[must_use]
    pub fn into_exchange(self) -> Exchange {
        self.exchange
    }
}
