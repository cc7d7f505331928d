//! Short tokens that say who is calling, signed by the gateway (RFC 9068).

use super::policy::trailers;
use crate::authenticate::cache::{Cache, Ends, TokenHash};
use aws_lc_rs::digest::{Context, SHA256};
use portcullis_engines_authz::Vocabulary;
use portcullis_engines_jose::{SigningKey, SigningKeys, base64url};
use portcullis_gateway_policy::{
    CompileError, CredentialsContext, Exchange, LiveFile, Policy, SignPlan, Step, TrailerNames, Verdict,
};
use portcullis_model::{Principal, Reason, Rejection};
use portcullis_wire::KnownName;
use serde_json::{Value, json};
use std::sync::Arc;

/// A token that was signed.
struct Signed {
    /// As it stands in `Authorization`.
    field: Box<[u8]>,
    /// Since when it is valid, in seconds since the Unix epoch.
    issued: u64,
    /// From when on another is signed: a quarter of its life before its end.
    renew: u64,
    ends: u64,
}

impl Ends for Signed {
    fn ends(&self) -> u64 {
        self.ends
    }
}

/// The running policy.
pub(super) struct Sign {
    plan: SignPlan,
    keys: Arc<LiveFile>,
    words: Arc<Vocabulary>,
    /// What tokens say that is the same for all callers, and what the bits of grants mean.
    digest: [u8; 32],
    signed: Arc<Cache<Signed>>,
}

impl Sign {
    pub(super) fn of(plan: &SignPlan, context: &CredentialsContext<'_>) -> Result<Self, CompileError> {
        let missing = || CompileError(format!("the keys of the signer `{}` have not been read", plan.signer.name));
        let mut digest = Context::new(&SHA256);
        add(&mut digest, format!("{plan:?}").as_bytes());
        add(&mut digest, context.words.fingerprint().as_bytes());
        Ok(Self {
            plan: plan.clone(),
            keys: context.files.of(&plan.signer.keys).cloned().ok_or_else(missing)?,
            words: Arc::clone(context.words),
            digest: finish(digest),
            signed: context.pool.state("credentials/signed", [0; 32], Cache::default),
        })
    }

    /// What a token of this caller, by this key, is known by.
    fn hash(&self, principal: &Principal, key: &SigningKey) -> TokenHash {
        let mut digest = Context::new(&SHA256);
        digest.update(&self.digest);
        add(&mut digest, key.id().as_bytes());
        add(&mut digest, principal.provider.as_bytes());
        add(&mut digest, principal.subject.as_bytes());
        add(&mut digest, principal.client.as_deref().unwrap_or_default().as_bytes());
        add(&mut digest, principal.consumer.as_ref().map_or(b"".as_slice(), |consumer| consumer.name.as_bytes()));
        digest.update(&principal.ends_unix_seconds.to_le_bytes());
        principal.grants.words().iter().for_each(|word| digest.update(&word.to_le_bytes()));
        finish(digest)
    }

    /// The token of a caller: the one that was signed before, as long as it is not near its end.
    fn token(&self, principal: &Principal, key: &SigningKey, now: u64) -> Option<Arc<Signed>> {
        let hash = self.hash(principal, key);
        // A clock that was put back makes what was signed before a token of the future.
        let known = self.signed.find(&hash).filter(|known| known.issued <= now && now < known.renew);
        if known.is_some() {
            return known;
        }
        // SECURITY: nothing that the gateway vouches for outlives the credential that it knows of it by.
        let ends = now.saturating_add(self.plan.life.as_secs()).min(principal.ends_unix_seconds);
        let token = key.sign("at+jwt", &self.claims(principal, now, ends)?)?;
        let field = [b"Bearer ", token.as_bytes()].concat().into();
        let renew = ends.saturating_sub(ends.saturating_sub(now) / 4);
        let signed = Arc::new(Signed { field, issued: now, renew, ends });
        self.signed.keep(hash, Arc::clone(&signed));
        Some(signed)
    }

    fn claims(&self, principal: &Principal, now: u64, ends: u64) -> Option<Value> {
        let mut id = [0; 16];
        aws_lc_rs::rand::fill(&mut id).ok()?;
        let (roles, scopes) = self.words.granted(&principal.grants);
        // SECURITY: two providers may each know somebody by the same name.
        let own = |name: &str| format!("{}/{name}", principal.provider);
        let mut claims = json!({
            "iss": &*self.plan.signer.issuer,
            "aud": &*self.plan.audience,
            "sub": own(&principal.subject),
            "client_id": own(principal.client.as_deref().unwrap_or(&principal.subject)),
            "iat": now,
            "exp": ends,
            "jti": base64url(&id),
            "roles": roles,
            "scope": scopes.join(" "),
        });
        if let (Value::Object(claims), Some(consumer)) = (&mut claims, &principal.consumer) {
            claims.insert("consumer".to_owned(), Value::from(&*consumer.name));
        }
        Some(claims)
    }

    fn put(&self, exchange: &mut Exchange) -> Result<(), Rejection> {
        let now = exchange.record.started_unix_micros / 1_000_000;
        // SECURITY: this policy is for routes on which somebody is known; were nobody, nobody could be vouched for.
        let nobody = || Rejection::new(Reason::CredentialsMissing, "nobody vouched for the caller");
        let principal = exchange.principal().ok_or_else(nobody)?;
        let signed = self.keys.look(|keys: &SigningKeys| self.token(principal, keys.first(), now)).flatten();
        let signed = signed.ok_or_else(|| Rejection::new(Reason::Internal, "the token for the upstream could not be signed"))?;
        let set = exchange.request.fields_mut().set(KnownName::Authorization, &signed.field);
        set.map_err(|_| Rejection::new(Reason::Internal, "the token for the upstream is too long"))
    }
}

fn add(digest: &mut Context, bytes: &[u8]) {
    digest.update(&(bytes.len() as u64).to_le_bytes());
    digest.update(bytes);
}

pub(super) fn finish(digest: Context) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.iter_mut().zip(digest.finish().as_ref()).for_each(|(slot, byte)| *slot = *byte);
    bytes
}

impl Policy for Sign {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        Step::Ready(self.put(exchange).map_or_else(Verdict::Reject, |()| Verdict::Continue))
    }

    fn trailers_dropped(&self) -> (TrailerNames, TrailerNames) {
        trailers()
    }
}
