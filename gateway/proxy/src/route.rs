//! Step 4: which route, if any, and whether the request may use it in this form.

use crate::connection::Connection;
use crate::snapshot::{ListenerMode, Route, Snapshot};
use portcullis_gateway_policy::{Exchange, Grant, Others, may_bring, preflight_method};
use portcullis_gateway_router::{Lookup, RouteTable};
use portcullis_model::{Reason, Rejection};
use portcullis_wire::RequestHead;
use std::sync::Arc;

/// Finds the route of a request.
pub(crate) fn route<'v>(view: &'v Snapshot, connection: &Connection, exchange: &mut Exchange) -> Result<&'v Arc<Route>, Rejection> {
    let now_seconds = exchange.record.started_unix_micros / 1_000_000;
    check_listener(connection, now_seconds)?;
    check_client_trust(connection)?;
    check_server_name(connection, &exchange.request)?;
    check_method(&exchange.request)?;
    let route = match preflight_route(&view.routes, &exchange.request) {
        Some((route, others)) => {
            exchange.mark_preflight(others);
            route
        }
        None => find(view, &exchange.request)?,
    };
    exchange.record.route = Some(Arc::clone(&route.name));
    exchange.record.api = Some(Arc::clone(&route.api));
    check_form(route, &exchange.request)?;
    check_upstream(route, now_seconds)?;
    Ok(route)
}

fn check_listener(connection: &Connection, now_seconds: u64) -> Result<(), Rejection> {
    match connection.listener.mode {
        // SECURITY: the listener was plain when this connection was made; a reload has taken that back.
        ListenerMode::Tls if connection.facts.tls.is_none() => {
            Err(Rejection::new(Reason::WeakeningExpired, "the listener encrypts now, and this connection is plain"))
        }
        ListenerMode::Tls => Ok(()),
        ListenerMode::RedirectToHttps { .. } => Err(Reason::RedirectToHttps.into()),
        ListenerMode::DangerPlaintext { expires } if now_seconds >= expires => {
            Err(Rejection::new(Reason::WeakeningExpired, "danger_plaintext of the listener has expired"))
        }
        ListenerMode::DangerPlaintext { .. } => Ok(()),
    }
}

/// What decided on the client's certificate when the connection was opened must still hold: nobody keeps an old connection past a
/// revocation, an authority that is gone, or certificates that have come to be required (threats E 139).
fn check_client_trust(connection: &Connection) -> Result<(), Rejection> {
    match (&connection.facts.tls, &connection.listener.tls) {
        (Some(facts), Some(context)) if facts.client_trust != context.client_trust() => {
            Err(Rejection::new(Reason::ClientTrustChanged, "whom the listener trusts has changed since the connection was opened"))
        }
        _ => Ok(()),
    }
}

/// The host must belong to the certificate that the connection was opened for (threats B 45; RFC 9110 section 15.5.20).
fn check_server_name(connection: &Connection, request: &RequestHead) -> Result<(), Rejection> {
    let (Some(facts), Some(context)) = (&connection.facts.tls, &connection.listener.tls) else { return Ok(()) };
    match &facts.sni {
        Some(name) if **name != *request.host() && !context.covers_same(name, request.host()) => {
            Err(Rejection::new(Reason::Misdirected, "the host is not covered by the certificate of the server name"))
        }
        _ => Ok(()),
    }
}

/// What is refused whatever the routes say.
///
/// # Errors
/// The refusal.
pub fn check_method(request: &RequestHead) -> Result<(), Rejection> {
    if matches!(request.method_bytes(), b"CONNECT" | b"TRACE" | b"TRACK") {
        return Err(Rejection::new(Reason::MethodRefused, "CONNECT, TRACE and TRACK are never forwarded"));
    }
    if request.is_asterisk() {
        return Err(Rejection::new(Reason::RouteUnknown, "OPTIONS * names no resource"));
    }
    Ok(())
}

/// The route of the request that a preflight asks about, if a policy of it answers preflights, and what other routes say that the request
/// may turn out to take: a preflight has no fields that a route demands, it only names those that a page wants to send.
///
/// The route that demands no fields decides, where there is one that fits. Where all demand some, the first of those that the request
/// may take does, and none is found unless each of them grants the preflight: who may not send the request does not learn here which
/// fields it needs.
pub fn preflight_route<'v>(routes: &'v RouteTable<Arc<Route>>, request: &RequestHead) -> Option<(&'v Arc<Route>, Others)> {
    let method = preflight_method(request)?;
    let may_have = |name: &str, value: &[u8]| may_bring(request, name) || request.fields().sole_named(name) == Some(value);
    let possible = routes.possible(request.host(), method, request.path(), &may_have);
    let (decides, others) = if possible.is_certain { possible.targets.split_last() } else { possible.targets.split_first() }?;
    let own = decides.pipeline.grant_preflight(request)?;
    let others = others_say(others, request);
    let is_granted = own.is_ok() && !matches!(others, Others::Refuse);
    (possible.is_certain || is_granted).then_some((*decides, others))
}

/// What all of these routes allow of the request that a preflight asks about.
fn others_say(routes: &[&Arc<Route>], request: &RequestHead) -> Others {
    let mut all: Option<Grant> = None;
    for route in routes {
        let Some(Ok(grant)) = route.pipeline.grant_preflight(request) else { return Others::Refuse };
        all = Some(match all {
            Some(before) => before.and(&grant),
            None => grant,
        });
    }
    all.map_or(Others::None, |grant| Others::Grant(Box::new(grant)))
}

fn find<'v>(view: &'v Snapshot, request: &RequestHead) -> Result<&'v Arc<Route>, Rejection> {
    // INVARIANT: a method is a token (RFC 9110 section 5.6.2), so it is ASCII.
    let method = std::str::from_utf8(request.method_bytes()).unwrap_or_default();
    match view.routes.find(request.host(), method, request.path(), &|name| request.fields().sole_named(name)) {
        Lookup::Found { target, .. } => Ok(target.chosen()),
        Lookup::HostUnknown => Err(Rejection::new(Reason::HostUnknown, "no route has this host")),
        Lookup::PathUnknown => Err(Rejection::new(Reason::RouteUnknown, "no route of this host has this path")),
        Lookup::MethodUnknown { allow } => {
            let mut rejection = Rejection::new(Reason::MethodUnknown, "no route of this path has this method");
            rejection.allow = Some(allow.into());
            Err(rejection)
        }
    }
}

/// What a route refuses of a request that fits it.
///
/// # Errors
/// The refusal.
pub fn check_form(route: &Route, request: &RequestHead) -> Result<(), Rejection> {
    if request.path_has_encoded_slash() && !route.encoded_slash_kept {
        return Err(Rejection::new(Reason::PathAmbiguous, "%2F in a path whose route does not say encoded_slash: keep"));
    }
    if request.wants_websocket() && !route.websocket {
        return Err(Rejection::new(Reason::UpgradeRefused, "the route does not say websocket: true"));
    }
    Ok(())
}

fn check_upstream(route: &Route, now_seconds: u64) -> Result<(), Rejection> {
    match route.upstream.settings.plaintext_expires {
        Some(expires) if now_seconds >= expires => {
            Err(Rejection::new(Reason::WeakeningExpired, "danger_plaintext of the upstream has expired"))
        }
        _ => Ok(()),
    }
}
