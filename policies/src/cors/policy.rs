//! Answers preflights, refuses what foreign pages may not do, and says on answers who may read them.

use super::config::{Cors, CorsRules};
use super::origin::parts;
use portcullis_gateway_policy::{
    ASKED_MAX, CompileError, Exchange, Grant, LiveFiles, LocalAnswer, Others, Policy, Step, Verdict, asked_fields, preflight_method,
};
use portcullis_model::{Reason, Rejection};
use portcullis_wire::{FieldValue, KnownName, Method, NameSet, RequestHead, ResponseHead};
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

/// What an upstream may have said of other origins.
const CORS_FIELDS: NameSet = NameSet::of(&[
    KnownName::AccessControlAllowCredentials,
    KnownName::AccessControlAllowHeaders,
    KnownName::AccessControlAllowMethods,
    KnownName::AccessControlAllowOrigin,
    KnownName::AccessControlAllowPrivateNetwork,
    KnownName::AccessControlExposeHeaders,
    KnownName::AccessControlMaxAge,
]);

/// Makes the running policy: what every level allows, if the innermost one that says something is not `off`.
///
/// # Errors
/// When a value cannot be sent.
pub fn compile(settings: &[Arc<dyn Any + Send + Sync>], _: &LiveFiles) -> Result<Arc<dyn Policy>, CompileError> {
    let levels: Vec<&Cors> = settings.iter().filter_map(|level| level.downcast_ref()).collect();
    let Some(Cors::On(inner)) = levels.last() else { return Ok(Arc::new(Nothing)) };
    let all: Vec<&CorsRules> =
        levels.iter().filter_map(|level| if let Cors::On(rules) = level { Some(rules) } else { None }).collect();
    let value = |text: &str| FieldValue::new(text.as_bytes()).map_err(|error| CompileError(error.detail.to_owned()));
    let listed = |origin: &str| all.iter().all(|rules| rules.origins.iter().any(|one| one.is_any() || one.as_str() == origin));
    let origins = inner.origins.iter().map(super::origin::Origin::as_str).filter(|origin| *origin == "*" || listed(origin));
    let origins: Vec<Listed> =
        origins.map(|text| Ok(Listed { text: text.into(), value: value(text)? })).collect::<Result<_, _>>()?;
    let in_all = |of: fn(&CorsRules) -> &super::origin::FieldNames| -> Vec<Arc<str>> {
        of(inner).0.iter().filter(|name| all.iter().all(|rules| of(rules).has(name))).cloned().collect()
    };
    let exposed = in_all(|rules| &rules.exposed_headers).join(", ");
    Ok(Arc::new(CorsPolicy {
        any: origins.iter().any(|origin| &*origin.text == "*"),
        origins,
        methods: all.iter().filter_map(|rules| rules.methods).reduce(portcullis_model_settings::Methods::and),
        headers: in_all(|rules| &rules.headers),
        exposed: if exposed.is_empty() { None } else { Some(value(&exposed)?) },
        credentials: if all.iter().all(|rules| rules.credentials) { Some(value("true")?) } else { None },
        max_age: all.iter().map(|rules| rules.max_age).min().unwrap_or(Duration::ZERO),
        vary: value("origin")?,
    }))
}

/// What runs where it is off.
#[derive(Debug)]
struct Nothing;

impl Policy for Nothing {}

/// An origin that is listed.
#[derive(Debug)]
struct Listed {
    text: Box<str>,
    value: FieldValue,
}

/// The running policy.
#[derive(Debug)]
struct CorsPolicy {
    any: bool,
    origins: Vec<Listed>,
    methods: Option<portcullis_model_settings::Methods>,
    headers: Vec<Arc<str>>,
    exposed: Option<FieldValue>,
    credentials: Option<FieldValue>,
    max_age: Duration,
    vary: FieldValue,
}

/// The only Origin of a request, if it has one; an error when it has several, of which none can be decided on.
fn origin_of(request: &RequestHead) -> Result<Option<&[u8]>, ()> {
    let mut origins = request.fields().values(KnownName::Origin);
    match (origins.next(), origins.next()) {
        (origin, None) => Ok(origin),
        _ => Err(()),
    }
}

/// Whether an origin is that of the host that is asked. By whatever scheme: before the gateway may stand what takes TLS off.
fn is_own(origin: &[u8], request: &RequestHead) -> bool {
    let Some((scheme, host, port)) = std::str::from_utf8(origin).ok().and_then(parts) else { return false };
    let usual = if scheme == "https" { 443 } else { 80 };
    host == request.host() && port == request.port().unwrap_or(usual)
}

fn refuse(detail: &'static str) -> Rejection {
    Rejection::new(Reason::CrossOriginRefused, detail)
}

impl CorsPolicy {
    fn listed(&self, origin: &[u8]) -> Option<&Listed> {
        self.origins.iter().find(|listed| self.any || listed.text.as_bytes() == origin)
    }

    fn judge(&self, request: &RequestHead) -> Result<(), Rejection> {
        if self.any || (matches!(request.method(), Method::Get | Method::Head | Method::Options) && !request.wants_websocket()) {
            return Ok(());
        }
        match origin_of(request) {
            Ok(None) => Ok(()),
            Ok(Some(origin)) if self.listed(origin).is_some() || is_own(origin, request) => Ok(()),
            Ok(Some(_)) => Err(refuse("a request that changes something, or a WebSocket, from an origin that is not listed")),
            Err(()) => Err(refuse("several origins")),
        }
    }

    /// What is allowed of the request that a preflight asks about (Fetch standard, section 3.2).
    fn grant(&self, request: &RequestHead) -> Result<Grant, Rejection> {
        let origin = origin_of(request).ok().flatten().and_then(|origin| self.listed(origin));
        let Some(origin) = origin else { return Err(refuse("a preflight from an origin that is not listed")) };
        let method = preflight_method(request).unwrap_or_default();
        let is_listed = |methods: portcullis_model_settings::Methods| methods.iter().any(|one| one.as_str() == method);
        if !self.methods.is_none_or(is_listed) {
            return Err(refuse("a preflight for a method that is not among cors.methods"));
        }
        Ok(Grant {
            origin: origin.text.to_string(),
            method: method.to_owned(),
            headers: self.asked_headers(request)?,
            credentials: self.credentials.is_some(),
            max_age: self.max_age,
        })
    }

    /// The names that a preflight asks for, written as they are listed here.
    fn asked_headers(&self, request: &RequestHead) -> Result<String, Rejection> {
        let mut granted: Vec<&str> = Vec::new();
        for (number, name) in asked_fields(request).enumerate() {
            let known = self.headers.iter().find(|known| known.as_bytes().eq_ignore_ascii_case(name));
            match known {
                Some(known) if number < ASKED_MAX => granted.push(known),
                _ => return Err(refuse("a preflight for a header field that is not among cors.headers")),
            }
        }
        Ok(granted.join(", "))
    }

    /// The answer to a preflight: what this route allows and every other one as well that the request may turn out to take.
    fn answer(&self, request: &RequestHead, others: &Others) -> Result<LocalAnswer, Rejection> {
        let grant = self.grant(request)?;
        match others {
            Others::None => Ok(grant.into_answer()),
            Others::Grant(theirs) => Ok(grant.and(theirs).into_answer()),
            Others::Refuse => Err(refuse("a preflight for a request that may take another route, which does not allow it")),
        }
    }
}

impl Policy for CorsPolicy {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        let verdict = match exchange.preflight() {
            Some(others) => self.answer(&exchange.request, others).map(Verdict::Respond),
            None => self.judge(&exchange.request).map(|()| Verdict::Continue),
        };
        Step::Ready(verdict.unwrap_or_else(Verdict::Reject))
    }

    fn on_response(&self, exchange: &Exchange, response: &mut ResponseHead) {
        // The answer to a preflight is made above, and says all there is to say.
        if exchange.is_preflight() {
            return;
        }
        let fields = response.fields_mut();
        fields.remove_all(CORS_FIELDS);
        if !self.any {
            let mut names =
                fields.values(KnownName::Vary).flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
            let is_there = names.any(|name| name.eq_ignore_ascii_case(b"origin") || name == b"*");
            drop(names);
            if !is_there {
                fields.append_checked(KnownName::Vary, &self.vary);
            }
        }
        let origin = origin_of(&exchange.request).ok().flatten();
        let Some(listed) = origin.and_then(|origin| self.listed(origin)) else { return };
        fields.append_checked(KnownName::AccessControlAllowOrigin, &listed.value);
        if let Some(credentials) = &self.credentials {
            fields.append_checked(KnownName::AccessControlAllowCredentials, credentials);
        }
        if let Some(exposed) = &self.exposed {
            fields.append_checked(KnownName::AccessControlExposeHeaders, exposed);
        }
    }

    fn grant_preflight(&self, request: &RequestHead) -> Option<Result<Grant, Rejection>> {
        Some(self.grant(request))
    }
}
