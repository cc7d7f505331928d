//! One request and its answer, as policies see it.

use crate::{HeldBody, Others, Revocable};
use portcullis_model::{Mark, Principal, RecordGuard, Secret, TlsFacts};
use portcullis_wire::{FieldValue, RequestHead};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How the client's connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain text.
    Http,
    /// TLS.
    Https,
}

/// What is known of the client's connection; shared by its exchanges.
#[derive(Debug)]
pub struct ConnectionFacts {
    /// The listener's name.
    pub listener: Arc<str>,
    /// Who connected; behind a balancer that speaks the PROXY protocol, who it says connected to it.
    pub peer: SocketAddr,
    /// That balancer.
    pub balancer: Option<SocketAddr>,
    /// Plain text or TLS.
    pub scheme: Scheme,
    /// Facts of the TLS connection, if it is one.
    pub tls: Option<Arc<TlsFacts>>,
    /// What the client's certificate is known by when it is revoked, if it showed one.
    pub certificate: Option<Mark>,
    /// The peer's address as text, ready to be sent on.
    pub peer_text: FieldValue,
}

impl ConnectionFacts {
    /// The facts of a connection.
    #[must_use]
    pub fn new(listener: Arc<str>, peer: SocketAddr, tls: Option<Arc<TlsFacts>>) -> Self {
        let scheme = if tls.is_some() { Scheme::Https } else { Scheme::Http };
        let text = FieldValue::new(peer.ip().to_canonical().to_string().as_bytes());
        // INVARIANT: an address is written in visible ASCII.
        let peer_text = text.unwrap_or_else(|_| FieldValue::default());
        let shown = tls.as_ref().and_then(|tls| tls.client.as_ref());
        let certificate = shown.map(|shown| Revocable::Certificate { fingerprint: &shown.fingerprint }.mark());
        Self { listener, peer, balancer: None, scheme, tls, certificate, peer_text }
    }

    /// The same, of a connection that came through a balancer which told of its peer.
    #[must_use]
    pub fn through(self, balancer: Option<SocketAddr>) -> Self {
        Self { balancer, ..self }
    }
}

/// Where a client stands with a limit, as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitStanding {
    /// What the limit is called.
    pub name: Arc<str>,
    /// What it allows, as `RateLimit-Policy` says it.
    pub policy: Arc<str>,
    /// How many more requests would be taken now.
    pub remaining: u32,
    /// In how many seconds everything is there again.
    pub full_after: u64,
    /// In how many seconds the request that was refused would be taken; nothing when it was taken.
    pub retry_after: Option<u64>,
}

/// One request and its answer: the canonical request, who sent it, and the record being made of it.
pub struct Exchange {
    /// The canonical request: what is decided on is what is sent. Boxed, since an exchange is handed on from step to step.
    pub request: Box<RequestHead>,
    /// The record, emitted when this is dropped.
    pub record: RecordGuard,
    /// The connection it came by.
    pub connection: Rc<ConnectionFacts>,
    /// The client, found behind trusted proxies.
    pub client: IpAddr,
    /// When it came, since a moment that is the same for all exchanges of the process; never goes back.
    pub arrived: Duration,
    /// Where its client stands with the limit that has least left, for the answer to tell.
    pub limit: Option<LimitStanding>,
    /// The whole body, once a policy has asked for it. What is forwarded is this very body.
    pub body: Option<HeldBody>,
    body_bytes_max: u64,
    preflight: Option<Others>,
    token: Option<Secret<Box<[u8]>>>,
}

impl Exchange {
    /// An exchange that has just been read. Its body may have `body_bytes_max` bytes unless a policy lowers that.
    #[must_use]
    pub fn new(
        request: Box<RequestHead>,
        record: RecordGuard,
        connection: Rc<ConnectionFacts>,
        client: IpAddr,
        body_bytes_max: u64,
    ) -> Self {
        Self {
            request,
            record,
            connection,
            client,
            arrived: Duration::ZERO,
            limit: None,
            body: None,
            body_bytes_max,
            preflight: None,
            token: None,
        }
    }

    /// Keeps the token that proves who is calling for the policy that exchanges it; it is in no field of the request any more.
    pub fn hold_token(&mut self, token: Secret<Box<[u8]>>) {
        self.token = Some(token);
    }

    /// The token that proves who is calling, for the policy that exchanges it: once.
    pub fn take_token(&mut self) -> Option<Secret<Box<[u8]>>> {
        self.token.take()
    }

    /// Says that this is a preflight, which has the route of the request that it asks about, and what other routes say that the request
    /// may turn out to take. It can only be answered, never forwarded.
    pub fn mark_preflight(&mut self, others: Others) {
        self.preflight = Some(others);
    }

    /// Of a preflight that was given the route of the request that it asks about: what other routes say that the request may turn out to
    /// take.
    #[must_use]
    pub fn preflight(&self) -> Option<&Others> {
        self.preflight.as_ref()
    }

    /// Whether this is a preflight that was given the route of the request that it asks about.
    #[must_use]
    pub fn is_preflight(&self) -> bool {
        self.preflight.is_some()
    }

    /// Says who is calling, as a credential that was verified proves it; the record says it too.
    pub fn identify(&mut self, principal: Arc<Principal>) {
        self.record.principal = Some(principal);
    }

    /// Who is calling, if that is known.
    #[must_use]
    pub fn principal(&self) -> Option<&Arc<Principal>> {
        self.record.principal.as_ref()
    }

    /// How many bytes the body may have, counted while it streams.
    #[must_use]
    pub fn body_bytes_max(&self) -> u64 {
        self.body_bytes_max
    }

    /// Lowers the limit of the body; it can only become smaller.
    pub fn limit_body(&mut self, bytes_max: u64) {
        self.body_bytes_max = self.body_bytes_max.min(bytes_max);
    }
}
