//! Asks providers about tokens on behalf of policies (RFC 7662).

use crate::asking::{Asked, desk};
use crate::client_auth::Environment;
use crate::provider_client::{Problem, ProviderClient, upstream_of};
use portcullis_control_config::Plan;
use portcullis_engines_jose::INTROSPECTION_BYTES_MAX;
use portcullis_gateway_policy::{IntrospectionPlan, LiveEndpoints, ProviderPlan, StatePool};
use portcullis_gateway_upstream::Upstream;
use portcullis_model::Secret;
use std::sync::Arc;
use std::time::Duration;

/// A provider that is asked.
#[derive(Clone)]
pub(crate) struct KeptProvider {
    plan: Arc<ProviderPlan>,
    how: IntrospectionPlan,
    client: ProviderClient,
    endpoints: Option<Arc<LiveEndpoints>>,
}

/// Those of a plan.
///
/// # Errors
/// When a secret is not there.
pub(crate) fn kept_by<D>(
    plan: &Plan,
    upstreams: &[(D, Arc<Upstream>)],
    states: &StatePool,
    environment: &Environment,
) -> Result<Vec<KeptProvider>, String> {
    let _desk = desk::<KeptProvider>(states);
    let mut kept = Vec::new();
    for provider in &plan.identity.providers {
        let Some(how) = provider.introspection.clone() else { continue };
        let Some(upstream) = upstream_of(upstreams, &how.upstream) else { continue };
        let client = ProviderClient::new(provider, (&how.client_id, &how.client_secret), upstream, environment);
        let wrong = |problem: String| format!("provider `{}`: introspection.client_secret: {problem}", provider.name);
        let (client, endpoints) = (client.map_err(wrong)?, provider.live_endpoints(states));
        kept.push(KeptProvider { plan: Arc::clone(provider), how, client, endpoints });
    }
    Ok(kept)
}

impl Asked for KeptProvider {
    type Plan = ProviderPlan;
    const DESK: &'static str = "introspection-desk";
    const THREAD: &'static str = "introspection";

    fn plan(&self) -> &Arc<ProviderPlan> {
        &self.plan
    }

    fn name(&self) -> &Arc<str> {
        &self.plan.name
    }

    fn deadline(&self) -> Duration {
        self.how.deadline
    }

    async fn ask(&self, form: Secret<Vec<u8>>, now_unix_seconds: u64) -> Result<Vec<u8>, Problem> {
        let found = self.endpoints.as_ref().and_then(|endpoints| endpoints.get()).unwrap_or_default();
        let target = self.how.path.as_deref().or(found.introspection.as_deref());
        let target = target.ok_or_else(|| Problem::Other("it does not say where, on its own host; write `path`".to_owned()))?;
        self.client.post(target, form, INTROSPECTION_BYTES_MAX, self.how.deadline, now_unix_seconds).await
    }

    fn is_refusal(_: &Problem) -> bool {
        false
    }

    fn told(provider: &str, problem: Option<&str>) -> String {
        match problem {
            Some(problem) => format!("provider `{provider}` cannot be asked about tokens: {problem}"),
            None => format!("provider `{provider}` answers about tokens again"),
        }
    }
}
