//! The gateway as a client of a provider: where it asks, as whom, and why there was no answer.
//!
//! SECURITY: only the upstream that the configuration names is asked, under the issuer's own host (threats E 111).

use crate::client_auth::{ClientProof, Environment};
use crate::key_sets::origin_of;
use portcullis_gateway_policy::{KeySource, LiveEndpoints, ProviderPlan, SecretSource, StatePool};
use portcullis_gateway_upstream::{Fetch, FetchFailure, Upstream};
use portcullis_model::Secret;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Where a provider is asked, and as whom.
#[derive(Clone)]
pub(crate) struct ProviderClient {
    provider: Arc<ProviderPlan>,
    client_id: Arc<str>,
    client_secret: SecretSource,
    upstream: Arc<Upstream>,
    environment: Environment,
}

/// The upstream of a name.
pub(crate) fn upstream_of<'u, D>(upstreams: &'u [(D, Arc<Upstream>)], name: &str) -> Option<&'u Arc<Upstream>> {
    upstreams.iter().map(|(_, upstream)| upstream).find(|one| *one.settings.name == *name)
}

impl ProviderClient {
    /// For a provider that is asked at this upstream.
    ///
    /// # Errors
    /// When the secret is not there.
    pub(crate) fn new(
        provider: &Arc<ProviderPlan>,
        (client_id, client_secret): (&Arc<str>, &SecretSource),
        upstream: &Arc<Upstream>,
        environment: &Environment,
    ) -> Result<Self, String> {
        ClientProof::find(client_secret, environment)?;
        Ok(Self {
            provider: Arc::clone(provider),
            client_id: Arc::clone(client_id),
            client_secret: client_secret.clone(),
            upstream: Arc::clone(upstream),
            environment: Arc::clone(environment),
        })
    }

    /// For a provider whose endpoints are discovered, and where these are told; nothing for others.
    ///
    /// # Errors
    /// When the secret is not there.
    pub(crate) fn discovered<D>(
        provider: &Arc<ProviderPlan>,
        credentials: (&Arc<str>, &SecretSource),
        upstreams: &[(D, Arc<Upstream>)],
        states: &StatePool,
        environment: &Environment,
    ) -> Result<Option<(Self, Arc<LiveEndpoints>)>, String> {
        let KeySource::Discover(discovery) = &provider.keys else { return Ok(None) };
        let found = upstream_of(upstreams, &discovery.upstream).zip(provider.live_endpoints(states));
        let Some((upstream, endpoints)) = found else { return Ok(None) };
        Ok(Some((Self::new(provider, credentials, upstream, environment)?, endpoints)))
    }

    /// Posts a form there, with a proof that it comes from this client.
    pub(crate) async fn post(
        &self,
        target: &str,
        form: Secret<Vec<u8>>,
        bytes_max: usize,
        within: Duration,
        now_unix_seconds: u64,
    ) -> Result<Vec<u8>, Problem> {
        let issuer = &self.provider.rules.issuer;
        let proof = ClientProof::find(&self.client_secret, &self.environment).map_err(Problem::Other)?;
        let form = proof.form(form, &self.client_id, issuer, now_unix_seconds).map_err(Problem::Other)?;
        let (origin, _) = origin_of(issuer);
        let authority = origin.split_once("://").map_or("", |(_, authority)| authority).to_owned();
        let fetch = Fetch { authority, target: target.to_owned(), bytes_max };
        fetch.post(&form, &self.upstream, within, now_unix_seconds).await.map_err(Problem::Fetch)
    }
}

/// Why there is no answer.
pub(crate) enum Problem {
    /// Not in time.
    Late,
    /// What came of asking.
    Fetch(FetchFailure),
    /// It was not asked, or what it says is no answer.
    Other(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late => f.write_str("no whole answer in time"),
            Self::Fetch(FetchFailure::Status(401)) => f.write_str("status 401; check `client_id` and `client_secret`"),
            Self::Fetch(failure) => failure.fmt(f),
            Self::Other(text) => f.write_str(text),
        }
    }
}
