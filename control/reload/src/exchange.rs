//! Has providers exchange tokens of callers on behalf of policies (RFC 8693).

use crate::asking::{Asked, desk};
use crate::client_auth::Environment;
use crate::provider_client::{Problem, ProviderClient};
use portcullis_control_config::Plan;
use portcullis_engines_jose::{ISSUED_BYTES_MAX, read_issued};
use portcullis_gateway_policy::{CredentialsPlan, ExchangePlan, LiveEndpoints, StatePool};
use portcullis_gateway_upstream::{FetchFailure, Upstream};
use portcullis_model::Secret;
use std::sync::Arc;
use std::time::Duration;

/// Where tokens are exchanged for an API.
#[derive(Clone)]
pub(crate) struct KeptExchange {
    /// The first API that wants it so.
    api: Arc<str>,
    plan: Arc<ExchangePlan>,
    client: ProviderClient,
    endpoints: Arc<LiveEndpoints>,
}

/// Those of a plan, each once, however many APIs want it so.
///
/// # Errors
/// When a secret is not there.
pub(crate) fn kept_by<D>(
    plan: &Plan,
    upstreams: &[(D, Arc<Upstream>)],
    states: &StatePool,
    environment: &Environment,
) -> Result<Vec<KeptExchange>, String> {
    let _desk = desk::<KeptExchange>(states);
    let mut kept: Vec<KeptExchange> = Vec::new();
    for api in &plan.apis {
        let Some(CredentialsPlan::Exchange(how)) = api.credentials.as_deref() else { continue };
        if kept.iter().any(|known| known.plan == *how) {
            continue;
        }
        let credentials = (&how.client_id, &how.client_secret);
        let found = ProviderClient::discovered(&how.provider, credentials, upstreams, states, environment);
        let wrong = |problem| format!("api `{}`: credentials.exchange.client_secret: {problem}", api.name);
        let Some((client, endpoints)) = found.map_err(wrong)? else { continue };
        kept.push(KeptExchange { api: Arc::clone(&api.name), plan: Arc::clone(how), client, endpoints });
    }
    Ok(kept)
}

impl Asked for KeptExchange {
    type Plan = ExchangePlan;
    const DESK: &'static str = "exchange-desk";
    const THREAD: &'static str = "exchange";

    fn plan(&self) -> &Arc<ExchangePlan> {
        &self.plan
    }

    fn name(&self) -> &Arc<str> {
        &self.api
    }

    fn deadline(&self) -> Duration {
        self.plan.deadline
    }

    async fn ask(&self, form: Secret<Vec<u8>>, now_unix_seconds: u64) -> Result<Vec<u8>, Problem> {
        let found = self.endpoints.get().unwrap_or_default();
        let target = found.token.as_deref().ok_or_else(|| Problem::Other("it does not say where, on its own host".to_owned()))?;
        let answer = self.client.post(target, form, ISSUED_BYTES_MAX, self.plan.deadline, now_unix_seconds).await?;
        // Policies read it again; here it is told what is wrong with it.
        read_issued(&answer).map_err(|fault| Problem::Other(fault.to_owned()))?;
        Ok(answer)
    }

    fn is_refusal(problem: &Problem) -> bool {
        matches!(problem, Problem::Fetch(FetchFailure::Status(400)))
    }

    fn told(api: &str, problem: Option<&str>) -> String {
        match problem {
            Some("status 400") => format!(
                "api `{api}`: the provider refuses to exchange a caller's token: status 400; if it refuses all, check `audience`, `resource`, `scopes`, and what the client may there"
            ),
            Some(problem) => format!("api `{api}`: the provider exchanges no tokens for the upstream: {problem}"),
            None => format!("api `{api}`: the provider exchanges tokens for the upstream again"),
        }
    }
}
