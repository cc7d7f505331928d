//! Clients that are known by the certificate of their connection.

use super::cache::{Cache, Ends};
use super::policy::digest_of;
use portcullis_engines_authz::Vocabulary;
use portcullis_gateway_policy::{AccessContext, CertificateClient, CertificateMatch, CertificatesPlan, Exchange};
use portcullis_model::{AlternativeName, ClientCertificate, Principal, Reason, Rejection};
use std::collections::HashMap;
use std::sync::Arc;

/// The longest name of a certificate that may say who somebody is, in bytes.
const NAME_BYTES_MAX: usize = 512;

/// What has been found out about a certificate.
struct Known {
    /// Who shows it; nothing when it is nobody's.
    principal: Option<Arc<Principal>>,
    /// From when on it has expired.
    ends: u64,
}

impl Ends for Known {
    fn ends(&self) -> u64 {
        self.ends
    }
}

/// The clients of one name.
struct Clients {
    plan: Arc<CertificatesPlan>,
    words: Arc<Vocabulary>,
    /// The place of each client that is known by one name or fingerprint.
    exact: HashMap<CertificateMatch, usize>,
    /// The places of the others.
    patterns: Vec<usize>,
    cache: Arc<Cache<Known>>,
}

/// All those whose certificates an API takes.
#[derive(Default)]
pub(super) struct Certificates(Box<[Clients]>);

impl Certificates {
    /// Those of the API, in its order.
    pub(super) fn of(context: &AccessContext<'_>) -> Self {
        let names = context.access.authenticate.any_of.iter();
        let plans = names.filter_map(|name| context.client_certificates.iter().find(|plan| plan.name == *name));
        Self(plans.map(|plan| Clients::new(plan, context)).collect())
    }

    /// Whether the API takes none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Who has this connection.
    ///
    /// # Errors
    /// When it has no certificate, or one that is nobody's or not valid now.
    pub(super) fn judge(&self, exchange: &Exchange, now: u64) -> Result<Arc<Principal>, Rejection> {
        let missing = |detail: &'static str| Rejection::new(Reason::CredentialsMissing, detail);
        let shown = exchange.connection.tls.as_ref().and_then(|tls| tls.client.as_ref());
        let shown = shown.ok_or_else(|| missing("the connection has no client certificate"))?;
        // A connection may last longer than the certificate it was opened with.
        if shown.expires_unix_seconds < now {
            return Err(Rejection::new(Reason::CredentialsInvalid, "the client certificate has expired"));
        }
        let principal = self.0.iter().find_map(|clients| clients.find(shown));
        principal.ok_or_else(|| missing("the client certificate is none of a client that the API's providers list"))
    }
}

impl Clients {
    fn new(plan: &Arc<CertificatesPlan>, context: &AccessContext<'_>) -> Self {
        let digest = digest_of(&**plan, context.words);
        let (mut exact, mut patterns) = (HashMap::new(), Vec::new());
        for (at, client) in plan.clients.iter().enumerate() {
            match &client.fits {
                CertificateMatch::DnsBelow(_) | CertificateMatch::UriBelow(_) => patterns.push(at),
                fits => {
                    exact.entry(fits.clone()).or_insert(at);
                }
            }
        }
        let cache = context.pool.state(&format!("client_certificates/{}", plan.name), digest, Cache::small);
        Self { plan: Arc::clone(plan), words: Arc::clone(context.words), exact, patterns, cache }
    }

    fn find(&self, shown: &ClientCertificate) -> Option<Arc<Principal>> {
        if let Some(known) = self.cache.find(&shown.fingerprint) {
            return known.principal.clone();
        }
        let principal = self.look(shown).map(Arc::new);
        let known = Known { principal: principal.clone(), ends: shown.expires_unix_seconds };
        self.cache.keep(shown.fingerprint, Arc::new(known));
        principal
    }

    fn look(&self, shown: &ClientCertificate) -> Option<Principal> {
        // SECURITY: another authority of the same listener may give out the same names.
        if *shown.authority != *self.plan.issuer {
            return None;
        }
        let by_print = self.exact.get(&CertificateMatch::Fingerprint(shown.fingerprint)).map(|at| (*at, ""));
        let by_name = shown.identities.iter().flat_map(|name| self.places(name));
        let (at, name) = by_print.into_iter().chain(by_name).min_by_key(|(at, _)| *at)?;
        let client = self.plan.clients.get(at)?;
        Some(self.principal(client, name, shown.expires_unix_seconds))
    }

    /// The places of the clients that a name of a certificate fits, with the name.
    fn places<'n>(&self, name: &'n AlternativeName) -> impl Iterator<Item = (usize, &'n str)> {
        let (text, exact) = match name {
            AlternativeName::Dns(text) => (&**text, CertificateMatch::Dns((**text).into())),
            AlternativeName::Uri(text) => (&**text, CertificateMatch::Uri((**text).into())),
        };
        let exact = self.exact.get(&exact).copied();
        let is_below = |at: &usize| self.plan.clients.get(*at).is_some_and(|client| is_below(name, &client.fits));
        let places = exact.into_iter().chain(self.patterns.iter().copied().filter(is_below).collect::<Vec<_>>());
        places.filter(|_| text.len() <= NAME_BYTES_MAX).map(move |at| (at, text))
    }

    fn principal(&self, client: &CertificateClient, name: &str, expires_unix_seconds: u64) -> Principal {
        let grants =
            self.words.grants(&self.plan.name, client.roles.iter().map(|role| &**role), client.scopes.iter().map(|scope| &**scope));
        let subject = client.name.as_deref().unwrap_or(name);
        Principal {
            provider: Arc::clone(&self.plan.name),
            subject: subject.into(),
            client: None,
            consumer: self.words.consumers().of_subject(&self.plan.name, subject),
            grants,
            expires_unix_seconds,
            issued_unix_seconds: 0,
            // What is revoked is the certificate, which the connection knows of.
            marks: Box::default(),
            ends_unix_seconds: expires_unix_seconds.saturating_add(1),
        }
    }
}

/// Whether a name lies below what a pattern says.
fn is_below(name: &AlternativeName, fits: &CertificateMatch) -> bool {
    match (name, fits) {
        (AlternativeName::Dns(name), CertificateMatch::DnsBelow(rest)) => {
            name.strip_suffix(&**rest).is_some_and(|label| !label.is_empty() && !label.contains('.'))
        }
        (AlternativeName::Uri(name), CertificateMatch::UriBelow(begin)) => {
            name.strip_prefix(&**begin).is_some_and(|rest| !rest.is_empty())
        }
        _ => false,
    }
}
