//! `portcullis explain`: the route a request would take, and why, by the codec and the table that decide at run time.

use crate::check::load_plan;
use crate::cli::Caller;
use crate::output::{Colour, Output};
use crate::rehearsal::POLICIES;
use portcullis_control_config::{Access, IdentityPlan, Plan};
use portcullis_control_reload::{Builder, Known, Rehearsal, Routing};
use portcullis_engines_authz::{Allow, Vocabulary};
use portcullis_gateway_policy::{ConsumerFits, ConsumerPlan, RouteAccess, preflight_method};
use portcullis_gateway_proxy::{Route, check_form, check_method, preflight_route};
use portcullis_gateway_router::Lookup;
use portcullis_model::{Clock, Reason};
use portcullis_wire::{HeadLimits, RequestHead};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

/// Explains a request, given as method and URL, with headers, and whether `caller` may send it.
pub fn explain(
    config: &Path,
    request: &[String],
    headers: &[String],
    caller: &Caller,
    clock: &Clock,
    output: Output,
) -> Result<(), String> {
    let plan = load_plan(config, clock, output)?;
    let [method, url] = request else { return Err("a request is a method and a URL".to_owned()) };
    let head = head(method, url, headers)?;
    let mut parsed = RequestHead::default();
    if let Err(error) = parsed.parse(head.as_bytes(), &HeadLimits::default()) {
        show_refused(output, error.reason.status(), error.reason.code(), error.detail);
        return Ok(());
    }
    if let Err(rejection) = check_method(&parsed) {
        show_refused(output, rejection.status(), rejection.reason.code(), &rejection.detail);
        return Ok(());
    }
    let routing = Builder::new(portcullis_policies::POLICIES, clock.clone()).routing(&plan)?;
    show(&plan, &routing, &parsed, &Asked { head: &head, caller, clock }, output)
}

/// The head that a client would send for this URL.
///
/// # Errors
/// When the URL or a header is none.
pub fn head(method: &str, url: &str, headers: &[String]) -> Result<String, String> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
        .ok_or_else(|| format!("`{url}` is not a URL; write `https://host/path`"))?;
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at_checked(at).unwrap_or((rest, ""));
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {authority}\r\n");
    for header in headers {
        if !header.contains(':') || header.contains(['\r', '\n']) {
            return Err(format!("`{header}` is not a header; write `Name: value`"));
        }
        head.push_str(header);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    Ok(head)
}

fn show_refused(output: Output, status: u16, code: &str, detail: &str) {
    if output.is_json() {
        output.json(&serde_json::json!({ "decision": "refused", "status": status, "code": code, "detail": detail }));
    } else {
        output.line(&format!("{} with {status} {code}: {detail}", output.paint(Colour::Red, "refused")));
    }
}

/// Who may call a route, as it is written.
fn access_of(plan: &Plan, api: &str, route: &str) -> String {
    let api = plan.apis.iter().find(|known| *known.name == *api);
    let route = api.and_then(|api| api.routes.iter().find(|known| *known.name == *route));
    match route.map(|route| &route.access) {
        Some(Access::Public) => "public".to_owned(),
        Some(Access::Allow { written, .. }) => written.to_string(),
        None => "nobody".to_owned(),
    }
}

/// What becomes of a caller on a route: the line that lets them in, counted from 1, or why they are refused. By the lines and the test of
/// bits that decide at run time; what a token must be to be good is not looked at.
fn decide(identity: &IdentityPlan, access: &RouteAccess, caller: &Caller) -> Result<usize, Reason> {
    let provider = caller.provider.as_deref().ok_or(Reason::CredentialsMissing)?;
    if !access.authenticate.any_of.iter().any(|known| **known == *provider) {
        return Err(Reason::CredentialsInvalid);
    }
    let words = Vocabulary::of(&access.lines, identity.consumers.iter().map(|one| &one.name)).map_err(|_| Reason::Internal)?;
    let (roles, scopes) = (caller.roles.iter().map(String::as_str), caller.scopes.iter().map(String::as_str));
    let grants = words.grants(provider, roles, scopes);
    let is_one = |one: &ConsumerPlan| {
        let is_who = match &one.fits {
            ConsumerFits::Caller { name, .. } => **name == *caller.subject || caller.consumer.as_deref() == Some(&*one.name),
            ConsumerFits::Claim { .. } => caller.consumer.as_deref() == Some(&*one.name),
        };
        is_who && one.fits.provider() == provider
    };
    let consumer = (0..).zip(&identity.consumers).find(|(_, one)| is_one(one)).map(|(number, _)| number);
    Allow::compile(&access.lines, &words).decide(&grants, consumer).map(|line| line + 1).ok_or(Reason::AccessDenied)
}

/// Whether a caller may: by lines, by policies or by both.
struct Outcome {
    /// The code and the status of a refusal.
    refused: Option<(&'static str, u16)>,
    /// The line that lets the caller in, counted from 1.
    line: Option<usize>,
    /// What policies said, where they were asked.
    policies: String,
}

/// The same for the route that a request takes; nothing when everybody may call it or nobody was named.
fn decided(plan: &Plan, (api, route): (&str, &str), asked: &Asked<'_>) -> Result<Option<Outcome>, String> {
    let Some(provider) = &asked.caller.provider else { return Ok(None) };
    let api = plan.apis.iter().find(|known| *known.name == *api);
    let route = api.and_then(|api| api.routes.iter().find(|known| *known.name == *route));
    let Some(Access::Allow { access, .. }) = route.map(|route| &route.access) else { return Ok(None) };
    if access.policy.is_none() {
        let decided = decide(&plan.identity, access, asked.caller);
        let refused = decided.err().map(|reason| (reason.code(), reason.status()));
        return Ok(Some(Outcome { refused, line: decided.ok(), policies: String::new() }));
    }
    let Caller { roles, scopes, subject, consumer, .. } = asked.caller;
    let known = Known { provider, subject, roles, scopes, consumer: consumer.as_deref() };
    let rehearsed = Rehearsal::new(plan, &POLICIES, asked.clock)?.decide(asked.head.as_bytes(), CLIENT, Some(known));
    let refused = rehearsed.code.map(|code| (code, rehearsed.status.unwrap_or_default()));
    Ok(Some(Outcome { refused, line: rehearsed.line.map(usize::from), policies: rehearsed.detail }))
}

/// An address that nobody has (RFC 5737).
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// What was asked to be explained.
struct Asked<'a> {
    head: &'a str,
    caller: &'a Caller,
    clock: &'a Clock,
}

fn show(plan: &Plan, routing: &Routing, request: &RequestHead, asked_for: &Asked<'_>, output: Output) -> Result<(), String> {
    let (host, path) = (request.host(), request.path());
    // A preflight has the route of the request that it asks about, by the same look-up as at run time.
    let preflight = preflight_route(&routing.routes, request).map(|(route, _)| route);
    let asked = preflight.and_then(|_| preflight_method(request));
    let method = asked.map_or_else(|| String::from_utf8_lossy(request.method_bytes()).into_owned(), str::to_owned);
    let header = |name: &str| request.fields().sole_named(name);
    let mut explanation = routing.routes.explain(host, &method, path, &header);
    if let Some(decides) = preflight {
        for one in &mut explanation.considered {
            one.taken = one.route == decides.name;
            let why = "decides on the preflight, within what the other routes allow that the request may take";
            one.why = if one.taken { why.to_owned() } else { one.why.clone() };
        }
    }
    let found = match preflight {
        Some(target) => Lookup::Found { target },
        None => routing.routes.find(host, &method, path, &header),
    };
    let (decision, status, route) = routed(found, request);
    // A preflight is answered before anybody is asked who they are.
    let outcome = match route.filter(|_| preflight.is_none()) {
        Some(route) => decided(plan, (&*route.api, &*route.name), asked_for)?,
        None => None,
    };
    let (decision, status) = match outcome.as_ref().and_then(|outcome| outcome.refused) {
        Some((code, status)) => (code, Some(status)),
        None => (decision, status),
    };
    let line = outcome.as_ref().and_then(|outcome| outcome.line);
    let said = outcome.as_ref().map(|outcome| outcome.policies.as_str()).filter(|said| !said.is_empty());
    let policies: Vec<&str> = route.map(|route| route.pipeline.names().collect()).unwrap_or_default();
    if output.is_json() {
        let considered: Vec<_> = explanation
            .considered
            .iter()
            .map(|one| serde_json::json!({ "route": *one.route, "template": one.template, "taken": one.taken, "why": one.why }))
            .collect();
        output.json(&serde_json::json!({
            "canonical": { "method": method, "host": host, "path": path, "query": request.query() },
            "decision": decision, "status": status, "host_pattern": explanation.host, "considered": considered,
            "route": route.map(|route| &*route.name), "api": route.map(|route| &*route.api),
            "upstream": route.map(|route| route.upstream_names()), "policies": policies,
            "access": route.map(|route| access_of(plan, &route.api, &route.name)), "allow_line": line, "cedar": said,
        }));
        return Ok(());
    }
    let query = request.query().map_or(String::new(), |query| format!("?{query}"));
    output.line(&format!("canonical   {method} {host} {path}{query}"));
    match &explanation.host {
        Some(pattern) => output.line(&format!("host        `{pattern}` decides")),
        None => output.line("host        no route has it"),
    }
    for one in &explanation.considered {
        let mark = if one.taken { output.paint(Colour::Green, "taken") } else { output.paint(Colour::Dim, "not  ") };
        output.line(&format!("{mark}       {} {}: {}", one.route, one.template, one.why));
    }
    if let Some(route) = route {
        output.line(&format!("policies    {}", policies.join(" -> ")));
        output.line(&format!("access      {}", access_of(plan, &route.api, &route.name)));
    }
    show_end((decision, status, route), line, said, output);
    Ok(())
}

/// What becomes of the request, and what made that.
fn show_end((decision, status, route): Decision<'_>, line: Option<usize>, said: Option<&str>, output: Output) {
    if let Some(line) = line {
        output.line(&format!("allowed     by line {line} of `allow`"));
    }
    if let Some(said) = said {
        output.line(&format!("cedar       {said}"));
    }
    match (route, status) {
        (Some(route), None) => output.line(&format!("goes to     upstream {}", route.upstream_names())),
        (_, status) => output.line(&format!("{} with {} {decision}", output.paint(Colour::Red, "refused"), status.unwrap_or(404))),
    }
}

/// What is decided, with which status if it is refused, and on which route.
type Decision<'r> = (&'static str, Option<u16>, Option<&'r Arc<Route>>);

/// What the table says, and the route that a request takes.
fn routed<'r>(found: Lookup<'r, Arc<Route>>, request: &RequestHead) -> Decision<'r> {
    match found {
        Lookup::Found { target } => match check_form(target, request) {
            Ok(()) => ("route", None, Some(target)),
            Err(rejection) => (rejection.reason.code(), Some(rejection.status()), None),
        },
        Lookup::HostUnknown => ("host_unknown", Some(404), None),
        Lookup::PathUnknown => ("route_unknown", Some(404), None),
        Lookup::MethodUnknown { .. } => ("method_unknown", Some(405), None),
    }
}
