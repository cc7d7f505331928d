//! Where the public keys of signers are published.

use crate::build::Upstreams;
use crate::pipelines::Pipelines;
use portcullis_control_config::PolicyLevels;
use portcullis_gateway_policy::SignerPlan;
use portcullis_gateway_proxy::Route;
use portcullis_gateway_router::{HostPattern, PathTemplate, RouteSpec};
use portcullis_gateway_upstream::fairness::Baseline;
use std::sync::Arc;

/// The route on which the keys of a signer are told, if there is any upstream at all. That is there because a route has one; the last policy answers
/// every request.
pub(crate) fn endpoint(
    signer: &Arc<SignerPlan>,
    defaults: &PolicyLevels,
    upstreams: &Upstreams,
    pipelines: &mut Pipelines<'_>,
) -> Result<Option<RouteSpec<Arc<Route>>>, String> {
    let error = |what: String| format!("signer `{}`: {what}", signer.name);
    let Some((_, upstream)) = upstreams.values().next() else { return Ok(None) };
    let host = HostPattern::parse(&signer.host).map_err(|problem| error(problem.to_string()))?;
    let path = PathTemplate::parse(SignerPlan::PATH).map_err(|problem| error(problem.to_string()))?;
    let Some(pipeline) = pipelines.of_signer(defaults, signer).map_err(error)? else { return Ok(None) };
    let name: Arc<str> = "keys".into();
    let target = Arc::new(Route {
        name: Arc::clone(&name),
        api: format!("identity.signers.{}", signer.name).into(),
        pipeline,
        upstream: Arc::clone(upstream),
        baseline: Baseline::default(),
        split: None,
        encoded_slash_kept: false,
        websocket: false,
        body_read_max: 0,
        stream_age_max: None,
        fresh_within: None,
    });
    let methods = vec!["GET".into(), "HEAD".into()];
    Ok(Some(RouteSpec { name, hosts: vec![host], path, methods, headers: Vec::new(), target }))
}
