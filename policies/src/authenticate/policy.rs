//! Verifies bearer tokens, and finds out by what else a caller is known.

use super::api_keys::KeyStores;
use super::binding::check_certificate;
use super::cache::{TokenCache, TokenHash, Verified};
use super::certificates::Certificates;
use super::challenge::Challenge;
use super::introspection::{Asker, Question};
use super::proofs::Proofs;
use super::shown::{Scheme, scheme_of, token_of};
use super::signatures::{Head, Signatures};
use crate::login::{Granting, Judged, Login, StaleSession};
use aws_lc_rs::digest::{Context, SHA256, digest};
use portcullis_engines_authz::Vocabulary;
use portcullis_engines_jose::{ClaimPath, Claims, Fault, KeyMark, KeySet, Token, check_claims, verify_signature};
use portcullis_gateway_policy::{
    AccessContext, AuthenticatePlan, CompileError, Credentials, Exchange, KeySource, LiveFile, LiveKeys, LoginPlan, Policy,
    ProviderPlan, Revocable, StateDigest, Step, Verdict,
};
use portcullis_model::{Mark, Principal, Reason, Rejection, Secret};
use portcullis_wire::KnownName;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Makes the running policy.
///
/// # Errors
/// When a provider that is named is not there, or control has not read its key set.
pub fn compile(context: &AccessContext<'_>) -> Result<Arc<dyn Policy>, CompileError> {
    let plan = &context.access.authenticate;
    let is_other = |name: &&Arc<str>| {
        let certificates = context.client_certificates.iter().map(|other| &other.name);
        let logins = context.logins.iter().map(|other| &other.name);
        let signatures = context.signatures.iter().map(|other| &other.name);
        certificates
            .chain(logins)
            .chain(signatures)
            .chain(context.api_keys.iter().map(|other| &other.name))
            .any(|other| other == *name)
    };
    let login = context.logins.iter().find(|login| plan.any_of.contains(&login.name));
    let providers = plan.any_of.iter().filter(|name| !is_other(name)).map(|name| {
        let plan = context.providers.iter().find(|provider| provider.name == *name);
        let plan = plan.ok_or_else(|| CompileError(format!("there is no provider `{name}`")))?;
        let keys = match (&plan.keys, plan.live_keys(context.pool)) {
            (KeySource::File(file), _) => context.files.of(file).cloned().map(Keys::File),
            (_, live) => live.map(Keys::Live),
        };
        let keys = keys.ok_or_else(|| CompileError(format!("the key set of the provider `{name}` has not been read")))?;
        let digest = digest_of(&**plan, context.words);
        let asker = Asker::of(plan, digest, context);
        Ok(Provider { digest, plan: Arc::clone(plan), keys, asker, words: Arc::clone(context.words) })
    });
    let providers = providers.collect::<Result<Box<[Provider]>, CompileError>>()?;
    let (certificates, api_keys, signatures) = (Certificates::of(context), KeyStores::of(context)?, Signatures::of(context)?);
    Ok(Arc::new(Authenticate {
        challenge: Challenge::of(
            providers.iter().map(|provider| &*provider.plan),
            !certificates.is_empty(),
            &api_keys,
            &signatures,
        ),
        providers,
        login: login.map(|login| BrowserLogin::of(login, context)).transpose()?,
        certificates,
        api_keys,
        signatures,
        plan: Arc::clone(plan),
        cache: context.pool.state("authenticate", [0; 32], TokenCache::default),
        // SECURITY: one memory for every configuration: a reload makes no proof worth something again.
        proofs: context.pool.state("authenticate/proofs", [0; 32], Proofs::default),
    }))
}

/// Everything that decides what a credential of a provider is worth, its keys aside.
pub(super) fn digest_of(plan: &impl fmt::Debug, words: &Vocabulary) -> StateDigest {
    let mut context = Context::new(&SHA256);
    for part in [format!("{plan:?}"), words.fingerprint()] {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part.as_bytes());
    }
    bytes_of(context.finish().as_ref())
}

fn bytes_of(hash: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.iter_mut().zip(hash).for_each(|(slot, byte)| *slot = *byte);
    bytes
}

/// A provider whose word is taken.
pub(super) struct Provider {
    pub(super) plan: Arc<ProviderPlan>,
    digest: StateDigest,
    keys: Keys,
    asker: Option<Asker>,
    words: Arc<Vocabulary>,
}

/// Where a provider's keys are looked at.
enum Keys {
    /// Read from a file by control.
    File(Arc<LiveFile>),
    /// Fetched from the provider by control.
    Live(Arc<LiveKeys>),
}

impl Keys {
    fn look<R>(&self, with: impl FnOnce(&KeySet) -> R) -> Option<R> {
        match self {
            Self::File(file) => file.look(with),
            Self::Live(live) => live.look(with),
        }
    }

    /// Whether a key that is not there can be said not to exist.
    fn is_certain(&self, now: u64) -> bool {
        match self {
            Self::File(_) => true,
            Self::Live(live) => live.is_certain(now),
        }
    }
}

impl Provider {
    /// Whether it stands by what is known of a token: as it is configured now, and with the key that signed it.
    pub(super) fn vouches_for(&self, verified: &Verified) -> bool {
        let still_has = |key: &KeyMark| self.keys.look(|keys| keys.has(key)) == Some(true);
        self.digest == verified.provider && verified.key.as_ref().is_none_or(still_has)
    }

    fn verify(&self, token: &Token<'_>, now: u64) -> Result<Verified, Rejection> {
        let rules = &self.plan.rules;
        check_claims(token, rules, now).map_err(invalid)?;
        // SECURITY: without keys nothing can be judged: neither access nor a word about the token (threats E 110).
        let key = match self.keys.look(|keys| verify_signature(token, keys)) {
            Some(Ok(key)) => key,
            // A key that the provider may have by now: whether it has is found out beside the requests.
            Some(Err(Fault::KeyUnknown)) if !self.keys.is_certain(now) => return Err(no_keys()),
            Some(Err(fault)) => return Err(invalid(fault)),
            None => return Err(no_keys()),
        };
        Ok(self.verified(&token.claims, Some(key), None))
    }

    /// What is kept of a token that is good: by which key, or until when its provider is not asked again.
    pub(super) fn verified(&self, claims: &Claims, key: Option<KeyMark>, fresh_until: Option<Duration>) -> Verified {
        let leeway = self.plan.rules.leeway;
        let roles = self.plan.roles.as_ref().map(|path| path.texts(&claims.all, false)).unwrap_or_default();
        let scopes = self.plan.scopes.texts(&claims.all, true);
        let consumers = self.words.consumers();
        let claim = consumers.claim(&self.plan.name).and_then(ClaimPath::parse);
        // A claim of several texts does not say which of them counts.
        let said = claim.as_ref().map(|claim| claim.texts(&claims.all, false));
        let said = said.as_deref().and_then(|texts| if let [sole] = texts { Some(*sole) } else { None });
        let principal = Principal {
            provider: Arc::clone(&self.plan.name),
            subject: claims.subject.clone(),
            client: claims.client.clone(),
            consumer: said.and_then(|text| consumers.of_claim(&self.plan.name, text)),
            grants: self.words.grants(&self.plan.name, roles, scopes),
            expires_unix_seconds: claims.expires,
            issued_unix_seconds: claims.issued.unwrap_or(0),
            marks: marks_of(claims),
            ends_unix_seconds: claims.expires.saturating_add(leeway),
        };
        Verified {
            principal: Arc::new(principal),
            provider: self.digest,
            audiences: claims.audiences.clone(),
            binding: claims.binding,
            key,
            fresh_until,
            not_before: claims.not_before.unwrap_or(0).saturating_sub(leeway),
            ends: claims.expires.saturating_add(leeway),
        }
    }
}

/// What a token and its holder are known by when they are revoked.
fn marks_of(claims: &Claims) -> Box<[Mark]> {
    let subject = Revocable::Subject { issuer: &claims.issuer, subject: &claims.subject };
    let token = claims.token_id.as_deref().map(|id| Revocable::Token { issuer: &claims.issuer, id });
    token.iter().chain([&subject]).map(Revocable::mark).collect()
}

pub(super) fn invalid(fault: Fault) -> Rejection {
    Rejection::new(Reason::CredentialsInvalid, fault.as_str())
}

fn no_keys() -> Rejection {
    Rejection::new(
        Reason::KeysUnavailable,
        "no key set of the provider is there, or none that is new enough to know the token's key",
    )
}

/// People who log in with a browser.
struct BrowserLogin {
    login: Login,
    digest: StateDigest,
    words: Arc<Vocabulary>,
}

impl BrowserLogin {
    fn of(plan: &Arc<LoginPlan>, context: &AccessContext<'_>) -> Result<Self, CompileError> {
        let digest = digest_of(&**plan, context.words);
        Ok(Self { login: Login::of(plan, context.pool)?, digest, words: Arc::clone(context.words) })
    }

    fn granting(&self) -> Granting<'_> {
        Granting { words: &self.words, digest: self.digest }
    }

    async fn judge_again(&self, stale: StaleSession, exchange: &Exchange) -> Result<Arc<Principal>, Verdict> {
        self.login.judge_again(stale, exchange, &self.granting()).await
    }
}

/// The running policy.
struct Authenticate {
    providers: Box<[Provider]>,
    certificates: Certificates,
    login: Option<BrowserLogin>,
    api_keys: KeyStores,
    signatures: Signatures,
    plan: Arc<AuthenticatePlan>,
    cache: Arc<TokenCache>,
    proofs: Arc<Proofs>,
    challenge: Challenge,
}

/// What is known of whoever shows a token.
enum Found<'a> {
    /// Who it is.
    Caller(Arc<Principal>),
    /// The token's provider must be asked first.
    Asked(Asked<'a>),
}

/// A token that its provider must be asked about.
struct Asked<'a> {
    provider: &'a Provider,
    asker: &'a Asker,
    scheme: Scheme,
    question: Question,
    now: u64,
}

impl Authenticate {
    /// Who is calling: by the key or the token if there is one, else by the session if one is shown, else by the certificate of the connection;
    /// without any, whoever may log in is asked to.
    fn judge<'a>(&'a self, exchange: &'a mut Exchange, now: u64) -> Step<'a> {
        let has_token = exchange.request.fields().first(KnownName::Authorization).is_some();
        let takes_token = has_token && !self.providers.is_empty();
        match self.judge_key(exchange, takes_token, now) {
            Ok(None) => {}
            Ok(Some(principal)) => return Step::Ready(self.admit(exchange, principal)),
            Err(rejection) => return Step::Ready(Verdict::Reject(rejection)),
        }
        match self.judge_signature(exchange, takes_token, now) {
            Ok(None) => {}
            Ok(Some(Head::Known(principal))) => return Step::Ready(self.admit(exchange, principal)),
            Ok(Some(Head::Body(bytes_max))) => return Step::Body(bytes_max),
            Err(rejection) => return Step::Ready(Verdict::Reject(rejection)),
        }
        let has_certificate = exchange.connection.tls.as_ref().is_some_and(|tls| tls.client.is_some());
        if !takes_token
            && let Some(login) = &self.login
            && (self.certificates.is_empty() || !has_certificate || login.login.is_shown(exchange))
        {
            return self.judge_session(login, exchange);
        }
        let judged = if !takes_token && !self.certificates.is_empty() {
            self.certificates.judge(exchange, now).map(Found::Caller)
        } else if self.providers.is_empty() {
            Err(Rejection::new(Reason::CredentialsMissing, "the request shows no key, and is not signed"))
        } else {
            self.judge_token(exchange, now)
        };
        match judged {
            Ok(Found::Caller(principal)) => Step::Ready(self.admit(exchange, principal)),
            Ok(Found::Asked(asked)) => Step::Later(Box::pin(self.ask(exchange, asked))),
            Err(rejection) => Step::Ready(self.refuse(exchange, rejection)),
        }
    }

    /// Who may log in, or show a token, is asked for either.
    fn beside_tokens(&self, verdict: Verdict, exchange: &Exchange) -> Verdict {
        match verdict {
            Verdict::Reject(rejection) if rejection.reason == Reason::CredentialsMissing && !self.providers.is_empty() => {
                let login = rejection.challenge().unwrap_or_default().to_owned();
                let tokens = self.challenge.put(Rejection { challenge: None, ..rejection }, scheme_of(exchange));
                let both = format!("{}, {login}", tokens.challenge().unwrap_or_default());
                Verdict::Reject(tokens.asking(both))
            }
            verdict => verdict,
        }
    }

    fn judge_session<'a>(&'a self, login: &'a BrowserLogin, exchange: &'a mut Exchange) -> Step<'a> {
        match login.login.judge(exchange, &login.granting()) {
            Judged::Caller(principal) => Step::Ready(self.admit(exchange, principal)),
            Judged::Answer(verdict) => Step::Ready(self.beside_tokens(verdict, exchange)),
            Judged::Stale(stale) => Step::Later(Box::pin(async move {
                match login.judge_again(stale, exchange).await {
                    Ok(principal) => self.admit(exchange, principal),
                    Err(verdict) => verdict,
                }
            })),
        }
    }

    fn refuse(&self, exchange: &Exchange, rejection: Rejection) -> Verdict {
        Verdict::Reject(self.challenge.put(rejection, scheme_of(exchange)))
    }

    /// Who is calling by a key; nobody if the request brings none.
    fn judge_key(&self, exchange: &Exchange, takes_token: bool, now: u64) -> Result<Option<Arc<Principal>>, Rejection> {
        let of_key = |rejection| self.challenge.put_for_key(rejection);
        let Some(shown) = self.api_keys.shown(exchange).map_err(of_key)? else { return Ok(None) };
        if takes_token || self.signatures.forms_shown(exchange) > 0 {
            // SECURITY: whose request it is must not depend on which of the two is looked at first.
            return Err(Rejection::new(Reason::CredentialsAmbiguous, "the request shows a key, and a token or a signature"));
        }
        self.api_keys.judge(&shown, now).map(Some).map_err(of_key)
    }

    /// Who has signed a request, or how much of its body there is to look at; nothing if it is not signed.
    fn judge_signature(&self, exchange: &Exchange, takes_token: bool, now: u64) -> Result<Option<Head>, Rejection> {
        let forms = self.signatures.forms_shown(exchange);
        if forms == 0 {
            return Ok(None);
        }
        if takes_token || forms > 1 {
            // SECURITY: whose request it is must not depend on which of the two is looked at first.
            return Err(Rejection::new(
                Reason::CredentialsAmbiguous,
                "the request is signed, and shows a token or is signed in another way too",
            ));
        }
        self.signatures.judge_head(exchange, now).map(Some).map_err(|rejection| self.challenge.put_for_key(rejection))
    }

    fn judge_token(&self, exchange: &Exchange, now: u64) -> Result<Found<'_>, Rejection> {
        let (scheme, token) = token_of(exchange, self.challenge.takes_proofs())?;
        let hash: TokenHash = bytes_of(digest(&SHA256, token).as_ref());
        if let Some(verified) = self.known(&hash, now, exchange.arrived) {
            return self.examine(exchange, scheme, &verified, &hash, now).map(Found::Caller);
        }
        let (provider, asker) = match Token::parse(token) {
            Ok(token) => {
                let provider = self.providers.iter().find(|one| one.plan.rules.issuer == token.claims.issuer);
                let provider = provider.ok_or_else(|| invalid(Fault::IssuerOther))?;
                match provider.asker.as_ref().filter(|asker| asker.plan.asks_all) {
                    Some(asker) => (provider, asker),
                    None => {
                        let verified = Arc::new(provider.verify(&token, now)?);
                        self.cache.keep(hash, Arc::clone(&verified));
                        return self.examine(exchange, scheme, &verified, &hash, now).map(Found::Caller);
                    }
                }
            }
            Err(fault) => self.opaque(fault)?,
        };
        match asker.refused(&hash, exchange.arrived) {
            Some(refused) => Err(refused),
            None => {
                let question = Question::new(token, hash, now, exchange.arrived);
                Ok(Found::Asked(Asked { provider, asker, scheme, question, now }))
            }
        }
    }

    /// Who is asked about what is no signed token.
    fn opaque(&self, fault: Fault) -> Result<(&Provider, &Asker), Rejection> {
        // SECURITY: what is a signed token and not a good one is refused here, whatever its provider would say.
        if !matches!(fault, Fault::NotCompact | Fault::Encrypted | Fault::HeaderMalformed) {
            return Err(invalid(fault));
        }
        let asked = self.providers.iter().find_map(|provider| provider.asker.as_ref().map(|asker| (provider, asker)));
        asked.ok_or_else(|| invalid(fault))
    }

    /// Who the holder of a good token is, if it is for this API and shown as it must be.
    fn examine(
        &self,
        exchange: &Exchange,
        scheme: Scheme,
        verified: &Verified,
        hash: &TokenHash,
        now: u64,
    ) -> Result<Arc<Principal>, Rejection> {
        // SECURITY: what is kept of a token holds for every API; whether it is meant for this one is asked each time (threats E 112).
        let is_meant = verified.audiences.iter().any(|audience| self.plan.audiences.iter().any(|own| **own == **audience));
        // SECURITY: what is kept of a bound token is worth nothing without its proof, which belongs to the connection.
        check_certificate(&verified.binding, exchange).map_err(invalid)?;
        if !is_meant {
            return Err(invalid(Fault::AudienceOther));
        }
        self.check_proof(exchange, scheme, verified, hash, now)?;
        Ok(Arc::clone(&verified.principal))
    }

    /// Checks that a token is shown as what it is, with a proof if it is bound to a key.
    fn check_proof(
        &self,
        exchange: &Exchange,
        scheme: Scheme,
        verified: &Verified,
        hash: &TokenHash,
        now: u64,
    ) -> Result<(), Rejection> {
        let Some(key) = &verified.binding.key else {
            return if scheme == Scheme::Bearer { Ok(()) } else { Err(invalid(Fault::KeyUnbound)) };
        };
        // SECURITY: a token that is bound to a key is never a bearer token as well (RFC 9449 section 7.2).
        if scheme == Scheme::Bearer {
            return Err(invalid(Fault::ProofMissing));
        }
        let provider = self.providers.iter().find(|provider| provider.digest == verified.provider);
        let rules = provider.and_then(|provider| provider.plan.proofs.as_ref()).ok_or_else(|| invalid(Fault::Bound))?;
        self.proofs.check(exchange, rules, key, hash, now)
    }

    /// What was found out about a token before, if it still holds and came from a provider of this API.
    fn known(&self, hash: &TokenHash, now: u64, arrived: Duration) -> Option<Arc<Verified>> {
        let verified = self.cache.find(hash)?;
        let is_known = self.providers.iter().any(|provider| provider.vouches_for(&verified));
        (is_known && verified.is_now(now, arrived)).then_some(verified)
    }

    /// Admits an exchange whose caller is known.
    fn admit(&self, exchange: &mut Exchange, principal: Arc<Principal>) -> Verdict {
        exchange.identify(principal);
        // A proof is for this request to the gateway; to an upstream it proves nothing.
        exchange.request.fields_mut().remove(KnownName::Dpop);
        self.api_keys.remove(exchange);
        self.signatures.remove(exchange, self.plan.credentials);
        if self.plan.credentials == Credentials::Exchange
            && let Ok((_, token)) = token_of(exchange, self.challenge.takes_proofs())
        {
            let token = Secret::new(token.into());
            exchange.hold_token(token);
        }
        if self.plan.credentials != Credentials::Pass {
            exchange.request.fields_mut().remove(KnownName::Authorization);
        }
        Verdict::Continue
    }

    async fn ask(&self, exchange: &mut Exchange, asked: Asked<'_>) -> Verdict {
        let Asked { provider, asker, scheme, question, now } = asked;
        let hash = question.hash;
        let verified = asker.ask(provider, &self.cache, question).await;
        match verified.and_then(|verified| self.examine(exchange, scheme, &verified, &hash, now)) {
            Ok(principal) => self.admit(exchange, principal),
            Err(rejection) => self.refuse(exchange, rejection),
        }
    }
}

impl Policy for Authenticate {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        let now = exchange.record.started_unix_micros / 1_000_000;
        self.judge(exchange, now)
    }

    fn on_body<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        let now = exchange.record.started_unix_micros / 1_000_000;
        match self.signatures.judge_whole(exchange, now) {
            Ok(principal) => Step::Ready(self.admit(exchange, principal)),
            Err(rejection) => Step::Ready(Verdict::Reject(self.challenge.put_for_key(rejection))),
        }
    }

    fn challenge(&self, exchange: &Exchange) -> Option<String> {
        let principal = exchange.principal()?;
        let invalid = Rejection::from(Reason::CredentialsInvalid);
        if self.login.as_ref().is_some_and(|login| login.login.plan.name == principal.provider) {
            return Some("BrowserLogin realm=\"api\"".to_owned());
        }
        let of_token = self.providers.iter().any(|one| one.plan.name == principal.provider);
        let asks = if of_token { self.challenge.put(invalid, Scheme::Bearer) } else { self.challenge.put_for_key(invalid) };
        asks.challenge().filter(|challenge| !challenge.is_empty()).map(str::to_owned)
    }
}
