//! The decision record: what happened in one exchange, made exactly once, whatever happened.

use crate::{AllowedBy, Blame, Generation, Principal, Reason, RequestId, Text, TraceContext, VerdictLog};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

/// The protocol an exchange was carried by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
    /// HTTP/2
    Http2,
}

impl Protocol {
    /// As written in logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// Facts of the TLS connection, shared by its exchanges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite's IANA name.
    pub suite: &'static str,
    /// The key exchange group's name, for example `X25519MLKEM768`.
    pub group: &'static str,
    /// The server name the client asked for, lower case without trailing dot.
    pub sni: Option<Box<str>>,
    /// The application protocol agreed on.
    pub alpn: Option<&'static str>,
    /// Whether the session was resumed from a ticket.
    pub resumed: bool,
    /// The client's certificate, if it showed one.
    pub client: Option<ClientCertificate>,
    /// A hash of everything that decided whether that certificate was taken, or that none was needed.
    pub client_trust: [u8; 32],
}

/// What is kept of a client's certificate, which has been verified. Texts are bounded, and e-mail addresses are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The SHA-256 of its DER.
    pub fingerprint: [u8; 32],
    /// Its subject, in the form of RFC 4514.
    pub subject: Box<str>,
    /// Its issuer, in the form of RFC 4514.
    pub issuer: Box<str>,
    /// Its alternative names, such as `DNS:a.test URI:spiffe://a/b`, at most eight.
    pub names: Box<str>,
    /// The trusted authority that it leads to, in the form of RFC 4514. Empty when the listener trusts several of the same name.
    pub authority: Box<str>,
    /// Its alternative names that may tell who somebody is, whole, at most 64; those beyond tell nothing. Not recorded.
    pub identities: Box<[AlternativeName]>,
    /// Its last second, since the Unix epoch.
    pub expires_unix_seconds: u64,
}

/// An alternative name of a certificate that stands for one host or one thing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AlternativeName {
    /// A host name, lower case, without wildcard.
    Dns(Box<str>),
    /// A URI, as it stands there.
    Uri(Box<str>),
}

/// A part of an exchange whose time is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// From the first byte of the request to its whole head.
    Head,
    /// Routing and policies until the exchange was cleared or refused.
    Decide,
    /// Until a connection to the upstream was there.
    Connect,
    /// From then until the head of the upstream's response was read.
    FirstByte,
    /// From then until the last byte was written to the client.
    Body,
}

/// How long each phase took, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhaseTimings([u32; 5]);

impl PhaseTimings {
    /// Adds time to a phase.
    pub fn add(&mut self, phase: Phase, micros: u64) {
        if let Some(slot) = self.0.get_mut(phase as usize) {
            *slot = slot.saturating_add(u32::try_from(micros).unwrap_or(u32::MAX));
        }
    }

    /// Adds to a phase what lies between the sum of all phases before it and `micros` since the begin of the exchange.
    pub fn note_until(&mut self, phase: Phase, micros: u64) {
        let before: u64 = self.0.iter().take(phase as usize).map(|part| u64::from(*part)).sum();
        self.add(phase, micros.saturating_sub(before));
    }

    /// The time of a phase, in microseconds.
    #[must_use]
    pub fn micros(&self, phase: Phase) -> u32 {
        self.0.get(phase as usize).copied().unwrap_or_default()
    }
}

/// Bytes that passed, bodies and heads together as they were on the wire inside TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Head of the request, from the client.
    pub request_head: u64,
    /// Body of the request, without chunk framing.
    pub request_body: u64,
    /// Head of the response, to the client.
    pub response_head: u64,
    /// Body of the response, without chunk framing.
    pub response_body: u64,
}

/// How one try at an endpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The endpoint answered.
    Answered,
    /// It failed, for this reason.
    Failed(Reason),
}

/// One try at an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The endpoint.
    pub endpoint: SocketAddr,
    /// Whether a pooled connection was used.
    pub reused: bool,
    /// How it ended.
    pub outcome: AttemptOutcome,
}

/// An attempt to log in with an upstream, by a request's own word. Not recorded: people type passwords where names belong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginAttempt {
    /// The API.
    pub api: Arc<str>,
    /// The account, in its canonical form.
    pub account: Box<str>,
    /// Whether it counts as under way until its outcome is known.
    pub under_way: bool,
}

/// What happened in one exchange. One type for the access log, metrics, traces and everything later that looks back.
///
/// Texts lie in one arena (`text`), so that a record costs two allocations.
#[derive(Clone, Debug, Default)]
pub struct DecisionRecord {
    /// Identifies the exchange.
    pub id: RequestId,
    /// The trace it belongs to.
    pub trace: TraceContext,
    /// When its first byte came: microseconds since the Unix epoch.
    pub started_unix_micros: u64,
    /// How long it took in all, microseconds.
    pub total_micros: u64,
    /// The configuration that decided it.
    pub generation: Generation,
    /// The listener's name.
    pub listener: Option<Arc<str>>,
    /// Who connected; behind a balancer that speaks the PROXY protocol, who it says connected to it.
    pub peer: Option<SocketAddr>,
    /// That balancer.
    pub balancer: Option<SocketAddr>,
    /// The client, found behind trusted proxies.
    pub client: Option<IpAddr>,
    /// Facts of the TLS connection.
    pub tls: Option<Arc<TlsFacts>>,
    /// The protocol.
    pub protocol: Protocol,
    /// The route's name, if one was found.
    pub route: Option<Arc<str>>,
    /// The API's name, if the route belongs to one.
    pub api: Option<Arc<str>>,
    /// Who was calling, if a credential proved it.
    pub principal: Option<Arc<Principal>>,
    /// Whose account it tries to log in to with the upstream, if it does.
    pub login: Option<Box<LoginAttempt>>,
    /// Which line of the route's `allow` let the caller through, and by what.
    pub allowed: Option<AllowedBy>,
    /// Limits that would have refused it, were they more than reported, by their names.
    pub limits_over: Vec<Arc<str>>,
    /// The policies in Cedar that permitted it, by file and line, if any were asked.
    pub permitted_by: Option<Box<str>>,
    /// The upstream's name, if it was to be forwarded.
    pub upstream: Option<Arc<str>>,
    /// What the policies said.
    pub verdicts: VerdictLog,
    /// Tries at endpoints, at most 4 kept.
    pub attempts: Vec<Attempt>,
    /// The status sent to the client; 0 if none was.
    pub status: u16,
    /// Why the gateway refused or failed it, if it did.
    pub reason: Option<Reason>,
    /// Times.
    pub timings: PhaseTimings,
    /// Bytes.
    pub traffic: Traffic,
    /// Whether the connection was handed over to another protocol (WebSocket).
    pub upgraded: bool,
    method: Text,
    host: Text,
    path: Text,
    query: Text,
    user_agent: Text,
    detail: Text,
    text: Vec<u8>,
}

impl DecisionRecord {
    /// Notes what was asked for, in canonical form.
    pub fn note_request(&mut self, method: &[u8], host: &[u8], path: &[u8], query: Option<&[u8]>, user_agent: Option<&[u8]>) {
        let (query, user_agent) = (query.unwrap_or_default(), user_agent.unwrap_or_default());
        self.text.reserve(method.len() + host.len() + path.len() + query.len() + user_agent.len());
        self.method = Text::push(&mut self.text, method);
        self.host = Text::push(&mut self.text, host);
        self.path = Text::push(&mut self.text, path);
        self.query = Text::push(&mut self.text, query);
        self.user_agent = Text::push(&mut self.text, user_agent);
    }

    /// Notes why the gateway refused or failed the exchange. The first reason stands.
    pub fn note_reason(&mut self, reason: Reason, detail: &str) {
        if self.reason.is_none() {
            self.reason = Some(reason);
            self.detail = Text::push(&mut self.text, detail.as_bytes());
        }
    }

    /// Adds a try at an endpoint; only the first four are kept.
    pub fn note_attempt(&mut self, attempt: Attempt) {
        if self.attempts.len() < 4 {
            self.attempts.push(attempt);
        }
    }

    /// Who is at fault, where anybody is.
    #[must_use]
    pub fn blame(&self) -> Option<Blame> {
        self.reason.map(Reason::blame)
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &[u8] {
        self.method.of(&self.text)
    }

    /// The canonical host; empty if none was read.
    #[must_use]
    pub fn host(&self) -> &[u8] {
        self.host.of(&self.text)
    }

    /// The canonical path; empty if none was read.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        self.path.of(&self.text)
    }

    /// The canonical query without `?`; empty if there was none. Values may be sensitive: the access log redacts them.
    #[must_use]
    pub fn query(&self) -> &[u8] {
        self.query.of(&self.text)
    }

    /// The User-Agent; empty if there was none.
    #[must_use]
    pub fn user_agent(&self) -> &[u8] {
        self.user_agent.of(&self.text)
    }

    /// What exactly was wrong, where `reason` says why. Never for clients.
    #[must_use]
    pub fn detail(&self) -> &[u8] {
        self.detail.of(&self.text)
    }

    /// Makes an old record ready for another exchange, keeping its allocations.
    pub fn clear(&mut self) {
        let mut text = std::mem::take(&mut self.text);
        let mut attempts = std::mem::take(&mut self.attempts);
        text.clear();
        attempts.clear();
        *self = Self { text, attempts, ..Self::default() };
    }
}

/// What becomes of a client's connection outside of its exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEvent {
    /// It was accepted and has its place.
    Opened,
    /// It has ended.
    Closed,
    /// It was refused a place.
    Refused(Reason),
    /// Its TLS handshake is done.
    Secured,
    /// Its TLS handshake failed or took too long.
    HandshakeFailed(Reason),
}

/// Where records go. One per worker; must not block.
pub trait RecordSink {
    /// A record to fill, new or recycled.
    fn fresh(&self) -> Box<DecisionRecord>;

    /// Takes a finished record.
    fn emit(&self, record: Box<DecisionRecord>);

    /// Hears of a connection of the listener named. Ignored unless the sink counts connections.
    fn connection(&self, listener: &Arc<str>, event: ConnectionEvent) {
        let _ = (listener, event);
    }
}

/// Holds the record of a running exchange and emits it when dropped: exactly once, also when the client resets or a policy panics.
pub struct RecordGuard {
    record: Option<Box<DecisionRecord>>,
    sink: Rc<dyn RecordSink>,
}

impl RecordGuard {
    /// Begins a record.
    #[must_use]
    pub fn begin(sink: &Rc<dyn RecordSink>) -> Self {
        Self { record: Some(sink.fresh()), sink: Rc::clone(sink) }
    }
}

impl std::ops::Deref for RecordGuard {
    type Target = DecisionRecord;

    fn deref(&self) -> &DecisionRecord {
        static NONE: std::sync::LazyLock<DecisionRecord> = std::sync::LazyLock::new(DecisionRecord::default);
        // INVARIANT: the record is only taken in `drop`.
        self.record.as_deref().unwrap_or(&NONE)
    }
}

impl std::ops::DerefMut for RecordGuard {
    fn deref_mut(&mut self) -> &mut DecisionRecord {
        self.record.get_or_insert_with(Box::default)
    }
}

impl Drop for RecordGuard {
    fn drop(&mut self) {
        if let Some(record) = self.record.take() {
            self.sink.emit(record);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DecisionRecord, RecordGuard, RecordSink};
    use crate::Reason;
    use std::cell::RefCell;
    use std::rc::Rc;

    #[derive(Default)]
    struct Kept(RefCell<Vec<DecisionRecord>>);

    impl RecordSink for Kept {
        fn fresh(&self) -> Box<DecisionRecord> {
            Box::default()
        }
        fn emit(&self, record: Box<DecisionRecord>) {
            self.0.borrow_mut().push(*record);
        }
    }

    #[test]
    fn a_record_comes_out_once_even_from_a_panic() {
        let kept = Rc::new(Kept::default());
        let sink: Rc<dyn RecordSink> = kept.clone();
        let mut guard = RecordGuard::begin(&sink);
        guard.note_request(b"GET", b"a.test", b"/x", None, None);
        guard.note_reason(Reason::RouteUnknown, "first");
        guard.note_reason(Reason::Internal, "second");
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _held = guard;
            panic!("a policy failed");
        }));
        assert!(outcome.is_err());
        let kept = kept.0.borrow();
        assert_eq!(kept.len(), 1);
        assert_eq!((kept[0].path(), kept[0].detail(), kept[0].reason), (&b"/x"[..], &b"first"[..], Some(Reason::RouteUnknown)));
    }

    #[test]
    fn a_recycled_record_remembers_nothing() {
        let mut record = DecisionRecord::default();
        record.note_request(b"GET", b"a.test", b"/secret", Some(b"q=1"), None);
        record.clear();
        assert!(record.path().is_empty() && record.query().is_empty() && record.host().is_empty());
    }
}
