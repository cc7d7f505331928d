//! The endpoints of an upstream: addresses that are written, and those that its host names have at the moment.

use portcullis_control_config::UpstreamPlan;
use portcullis_control_config::settings::{EndpointHost, EndpointUrl};
use portcullis_control_names::{Follower, Names};
use portcullis_gateway_upstream::{EndpointSpec, EndpointTls, Upstream, UpstreamTls};
use std::net::SocketAddr;
use std::sync::Arc;

/// The endpoints, and what is wrong with the names.
pub(crate) struct Found {
    pub(crate) endpoints: Vec<EndpointSpec>,
    pub(crate) trouble: Option<String>,
}

/// The endpoints that an upstream has by what is known of its names; `context` is there if any of them is reached by TLS.
///
/// # Errors
/// Which endpoint cannot be, and why.
pub(crate) fn find(planned: &UpstreamPlan, context: Option<&Arc<UpstreamTls>>, names: &Names) -> Result<Found, String> {
    let mut found = Found { endpoints: Vec::new(), trouble: None };
    for (url, weight) in planned.endpoints.iter().zip(&planned.weights) {
        let tls = tls(planned, url, context).map_err(|problem| format!("upstream `{}`: {problem}", planned.name))?;
        match &url.host {
            EndpointHost::Address(address) => {
                found.endpoints.push(EndpointSpec { tls, weight: *weight, ..EndpointSpec::literal(*address) });
            }
            EndpointHost::Name(name, port) => {
                // SECURITY: what is known has been checked, and these very addresses are connected to; nothing asks again.
                let known = names.known(name);
                let named = known.addresses.iter().map(|ip| {
                    let literal = EndpointSpec::literal(SocketAddr::new(*ip, *port));
                    EndpointSpec { host: Some(Arc::clone(name)), tls: tls.clone(), weight: *weight, ..literal }
                });
                found.endpoints.extend(named);
                found.trouble = found.trouble.or(known.trouble);
            }
        }
    }
    Ok(found)
}

fn tls(planned: &UpstreamPlan, url: &EndpointUrl, context: Option<&Arc<UpstreamTls>>) -> Result<Option<EndpointTls>, String> {
    let context = match (url.is_secure, context) {
        (false, _) => return Ok(None),
        (true, Some(context)) => context,
        // SECURITY: what is to be encrypted never goes out in plain text.
        (true, None) => return Err("there is nothing to verify its TLS with".to_owned()),
    };
    let host = match &url.host {
        EndpointHost::Address(address) => address.ip().to_string(),
        EndpointHost::Name(name, _) => name.to_string(),
    };
    EndpointTls::new(context, planned.tls.server_name.as_deref().unwrap_or(&host)).map(Some)
}

/// What keeps the endpoints of an upstream as its names have them; nothing when it has no names.
pub(crate) fn follower(
    planned: &Arc<UpstreamPlan>,
    context: Option<&Arc<UpstreamTls>>,
    upstream: &Arc<Upstream>,
) -> Option<Follower> {
    let names: Vec<Arc<str>> = planned.endpoints.iter().filter_map(|url| url.host.name().cloned()).collect();
    if names.is_empty() {
        return None;
    }
    let (planned, context, upstream) = (Arc::clone(planned), context.cloned(), Arc::clone(upstream));
    let refresh = move |names: &Names| match find(&planned, context.as_ref(), names) {
        Ok(found) => {
            upstream.note_trouble(found.trouble);
            upstream.replace_endpoints(&found.endpoints);
        }
        Err(problem) => {
            upstream.note_trouble(Some(problem));
            upstream.replace_endpoints(&[]);
        }
    };
    Some(Follower { names, refresh: Box::new(refresh) })
}
