//! Who may call a route, as control has decided it, and what the policies of identity are made from.

use crate::{
    CertificatesPlan, CompileError, IntrospectionPlan, KeyStorePlan, LiveEndpoints, LiveFiles, LiveKeys, LoginPlan, Policy,
    SignaturesPlan,
};
use aws_lc_rs::digest::{Context, SHA256};
use portcullis_engines_authz::{Line, Vocabulary};
use portcullis_engines_cedar::Bucket;
use portcullis_engines_jose::{ClaimPath, ProofRules, Rules};
use std::any::Any;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Where the key set of a provider is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// In a file.
    File(PathBuf),
    /// Where the provider says.
    Discover(DiscoveryPlan),
}

impl KeySource {
    /// The file, if it is in one.
    #[must_use]
    pub fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::File(file) => Some(file),
            Self::Discover(_) => None,
        }
    }
}

/// How the key set of a provider is found and kept (OpenID Connect Discovery 1.0).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveryPlan {
    /// The upstream that is asked.
    pub upstream: Arc<str>,
    /// How often.
    pub refresh: Duration,
    /// For how long a set is used that cannot be fetched again.
    pub stale_max: Duration,
}

impl ProviderPlan {
    /// The keys that control fetches; policies and control have the same ones by the same pool. Nothing when they are in a file.
    #[must_use]
    pub fn live_keys(&self, pool: &StatePool) -> Option<Arc<LiveKeys>> {
        Some(pool.state(&format!("keys/{}", self.name), self.where_found()?, LiveKeys::default))
    }

    /// Where the provider is asked, as control finds out with the keys.
    #[must_use]
    pub fn live_endpoints(&self, pool: &StatePool) -> Option<Arc<LiveEndpoints>> {
        Some(pool.state(&format!("endpoints/{}", self.name), self.where_found()?, LiveEndpoints::default))
    }

    /// A hash of whom control asks; nothing when it asks nobody.
    fn where_found(&self) -> Option<StateDigest> {
        let KeySource::Discover(plan) = &self.keys else { return None };
        Some(digest_of(&[self.rules.issuer.as_bytes(), plan.upstream.as_bytes()]))
    }
}

/// A provider of identities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderPlan {
    /// Its name.
    pub name: Arc<str>,
    /// Where its key set is.
    pub keys: KeySource,
    /// What its tokens must be.
    pub rules: Rules,
    /// What proofs must be that come with its tokens, where such tokens are taken (RFC 9449).
    pub proofs: Option<ProofRules>,
    /// How it is asked about its tokens, if it is.
    pub introspection: Option<IntrospectionPlan>,
    /// Where its tokens name roles, if they do.
    pub roles: Option<ClaimPath>,
    /// Where its tokens name scopes.
    pub scopes: ClaimPath,
}

/// A hash of what a state is made from.
pub(crate) fn digest_of(parts: &[&[u8]]) -> StateDigest {
    let mut digest = Context::new(&SHA256);
    for part in parts {
        digest.update(&(part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    let mut bytes = StateDigest::default();
    bytes.iter_mut().zip(digest.finish().as_ref()).for_each(|(slot, byte)| *slot = *byte);
    bytes
}

/// What becomes of a credential that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// It is not sent to the upstream.
    Remove,
    /// It is sent to the upstream as it came.
    Pass,
    /// It is not sent to the upstream, but given to the policy that exchanges it for another.
    Exchange,
}

/// Whose word on who is calling an API takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticatePlan {
    /// The names of the providers, of which one must vouch.
    pub any_of: Vec<Arc<str>>,
    /// The audiences, of which a token must name one.
    pub audiences: Vec<Arc<str>>,
    /// What becomes of the credential.
    pub credentials: Credentials,
    /// How long an exchange may go on that was begun with a credential.
    pub stream_age_max: Duration,
}

/// Who may call a route that is not for everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteAccess {
    /// How it is found out who is calling.
    pub authenticate: Arc<AuthenticatePlan>,
    /// What a caller must have; one line is enough. There may be none where there are policies.
    pub lines: Vec<Line>,
    /// Whether it must be known what other nodes have revoked.
    pub is_fresh: bool,
    /// Policies that must permit it as well.
    pub policy: Option<Arc<RoutePolicy>>,
}

/// Roles, each with its provider.
pub type ProviderRoles = Vec<(Arc<str>, Arc<str>)>;

/// Policies in Cedar that decide on a route.
#[derive(Debug, PartialEq, Eq)]
pub struct RoutePolicy {
    /// The file that they are from, as it is written.
    pub file: Arc<str>,
    /// All of the file.
    pub text: Arc<str>,
    /// Those of them that can apply to the route.
    pub bucket: Bucket,
    /// The roles that they name, and what each stands for.
    pub roles: Vec<(Arc<str>, ProviderRoles)>,
    /// The scopes that they name.
    pub scopes: Vec<Arc<str>>,
    /// All roles and scopes that they name, for the vocabulary.
    pub words: Line,
    /// The parameters of the route's path.
    pub parameters: Vec<PathParameter>,
}

/// Where a parameter stands in a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathParameter {
    /// Its name.
    pub name: Arc<str>,
    /// The number of its segment, from 0.
    pub segment: usize,
    /// Whether it stands for all segments from there on.
    pub is_rest: bool,
}

impl PathParameter {
    /// The parameters of a path template: `/orders/{id}`, `/files/{*rest}`.
    #[must_use]
    pub fn all(template: &str) -> Vec<Self> {
        let named = |(segment, text): (usize, &str)| {
            let name = text.strip_prefix('{')?.strip_suffix('}')?;
            let rest = name.strip_prefix('*');
            Some(Self { name: rest.unwrap_or(name).into(), segment, is_rest: rest.is_some() })
        };
        template.split('/').skip(1).enumerate().filter_map(named).collect()
    }

    /// What stands in its place in a canonical path.
    #[must_use]
    pub fn value<'p>(&self, path: &'p str) -> Option<&'p str> {
        let path = path.strip_prefix('/')?;
        match (self.is_rest, self.segment) {
            (true, 0) => Some(path),
            // The rest after a slash; where there is none, nothing.
            (true, before) => {
                Some(path.match_indices('/').nth(before - 1).and_then(|(at, _)| path.get(at + 1..)).unwrap_or_default())
            }
            (false, segment) => path.split('/').nth(segment),
        }
    }
}

/// What a policy of identity is made from.
pub struct AccessContext<'c> {
    /// Who may call.
    pub access: &'c RouteAccess,
    /// Every provider.
    pub providers: &'c [Arc<ProviderPlan>],
    /// All clients that are known by certificates.
    pub client_certificates: &'c [Arc<CertificatesPlan>],
    /// All ways to log in with a browser.
    pub logins: &'c [Arc<LoginPlan>],
    /// Every store of API keys.
    pub api_keys: &'c [Arc<KeyStorePlan>],
    /// All whose requests are signed.
    pub signatures: &'c [Arc<SignaturesPlan>],
    /// The words of all lines of the configuration.
    pub words: &'c Arc<Vocabulary>,
    /// The files of the policy.
    pub files: &'c LiveFiles,
    /// What outlives the configuration.
    pub pool: &'c StatePool,
}

/// Makes a policy of identity for a route that is not for everybody.
pub type CompileAccess = fn(&AccessContext<'_>) -> Result<Arc<dyn Policy>, CompileError>;

/// What a state was made from: equal digests, the same state.
pub type StateDigest = [u8; 32];

struct Kept {
    state: Arc<dyn Any + Send + Sync>,
    is_used: bool,
}

/// States of policies that outlive a configuration, by name and by what they were made from.
#[derive(Default)]
pub struct StatePool {
    kept: Mutex<HashMap<(String, StateDigest), Kept>>,
}

impl StatePool {
    /// The state of this name that was made from this, or a new one.
    pub fn state<T: Any + Send + Sync>(&self, name: &str, digest: StateDigest, make: impl FnOnce() -> T) -> Arc<T> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (name.to_owned(), digest);
        if let Some(known) = kept.get_mut(&key)
            && let Ok(state) = Arc::clone(&known.state).downcast::<T>()
        {
            known.is_used = true;
            return state;
        }
        let state = Arc::new(make());
        kept.insert(key, Kept { state: Arc::clone(&state) as Arc<dyn Any + Send + Sync>, is_used: true });
        state
    }

    /// Forgets what no configuration that was built since the last call has asked for. To be called when one comes into force.
    pub fn settle(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, one| std::mem::take(&mut one.is_used));
    }
}

#[cfg(test)]
mod tests {
    use super::StatePool;
    use std::sync::Arc;

    #[test]
    fn a_state_lives_as_long_as_it_is_asked_for() {
        let pool = StatePool::default();
        let first = pool.state("a", [1; 32], || 7_u32);
        pool.settle();
        assert!(Arc::ptr_eq(&first, &pool.state("a", [1; 32], || 8_u32)));
        let other = pool.state("a", [2; 32], || 9_u32);
        assert_eq!((*first, *other), (7, 9));
        pool.settle();
        pool.settle();
        assert_eq!(*pool.state("a", [1; 32], || 10_u32), 10);
    }
}
