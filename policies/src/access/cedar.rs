//! Asks the policies of a route about a request.

use portcullis_engines_cedar::{Answer, Caller, Question};
use portcullis_gateway_policy::{AccessContext, Exchange, RoutePolicy};
use portcullis_model::{Mask, Principal, Reason, Rejection};
use std::sync::Arc;

/// The policies of a route, with what they ask of callers as bits.
pub(super) struct Judge {
    policy: Arc<RoutePolicy>,
    roles: Vec<(Arc<str>, Mask)>,
    scopes: Vec<(Arc<str>, Mask)>,
    /// What those show whom a provider vouches for.
    credentials: Vec<(Arc<str>, &'static str)>,
}

impl Judge {
    pub(super) fn new(policy: &Arc<RoutePolicy>, context: &AccessContext<'_>) -> Self {
        let words = context.words;
        let certificates = context.client_certificates.iter().map(|one| (Arc::clone(&one.name), "certificate"));
        let logins = context.logins.iter().map(|one| (Arc::clone(&one.name), "session"));
        let keys = context.api_keys.iter().map(|one| (Arc::clone(&one.name), "key"));
        let signatures = context.signatures.iter().map(|one| (Arc::clone(&one.name), "signature"));
        Self {
            policy: Arc::clone(policy),
            roles: policy.roles.iter().map(|(name, own)| (Arc::clone(name), words.of_roles(own))).collect(),
            scopes: policy.scopes.iter().map(|name| (Arc::clone(name), words.of_scope(name))).collect(),
            credentials: certificates.chain(logins).chain(keys).chain(signatures).collect(),
        }
    }

    /// Asks whether the request is permitted.
    ///
    /// # Errors
    /// The refusal; which policy made it is for the record alone.
    pub(super) fn ask(&self, exchange: &mut Exchange, principal: &Principal) -> Result<(), Rejection> {
        let denied = |detail: String| Rejection::new(Reason::AccessDenied, detail);
        let request = &exchange.request;
        let (Some(path), Some(query)) = (self.path(request.path()), query(request.query())) else {
            return Err(denied(format!("policies of {} cannot be asked: the path or the query is not UTF-8", self.policy.file)));
        };
        let Ok(method) = std::str::from_utf8(request.method_bytes()) else {
            return Err(denied(format!("policies of {} cannot be asked: the method is not UTF-8", self.policy.file)));
        };
        let has = |words: &'_ [(Arc<str>, Mask)]| -> Vec<Arc<str>> {
            words.iter().filter(|(_, mask)| principal.grants.has_any(mask)).map(|(name, _)| Arc::clone(name)).collect()
        };
        let (roles, scopes) = (has(&self.roles), has(&self.scopes));
        let (roles, scopes): (Vec<&str>, Vec<&str>) =
            (roles.iter().map(|name| &**name).collect(), scopes.iter().map(|name| &**name).collect());
        let credential = self.credentials.iter().find(|(name, _)| *name == principal.provider);
        let caller = Caller {
            provider: &principal.provider,
            subject: &principal.subject,
            credential: credential.map_or("token", |(_, shown)| shown),
            client: principal.client.as_deref(),
            consumer: principal.consumer.as_ref().map(|consumer| &*consumer.name),
            roles: &roles,
            scopes: &scopes,
        };
        let unix_seconds = exchange.record.started_unix_micros / 1_000_000;
        let question = Question { caller, path: &path, query: &query, method, address: exchange.client, unix_seconds };
        match self.policy.bucket.decide(&question) {
            Answer::Permitted(by) => {
                exchange.record.permitted_by = Some(by.join(", ").into());
                Ok(())
            }
            Answer::Forbidden(by) => Err(denied(format!("forbidden by {}", by.join(", ")))),
            Answer::Unmatched => Err(denied(format!("no policy of {} permits it", self.policy.file))),
            Answer::Failed(problem) => Err(denied(format!("a policy of {} failed: {problem}", self.policy.file))),
        }
    }

    fn path(&self, path: &str) -> Option<Vec<(&str, String)>> {
        self.policy.parameters.iter().map(|one| Some((&*one.name, decoded(one.value(path)?)?))).collect()
    }
}

/// The parameters of a canonical query, in their order. A `+` stays one.
fn query(query: Option<&str>) -> Option<Vec<(String, String)>> {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decoded(name)?, decoded(value)?))
        })
        .collect()
}

/// A canonical text without its escapes, each of which is `%` and two digits.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let (high, low) = (digit(rest.next())?, digit(rest.next())?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}
