//! HTTP message signatures (RFC 9421). The head alone is signed, and with it the digest of the body: so the signature is checked before a body is read.

use super::keys::Key;
use super::once::Once;
use super::{Head, Senders, invalid};
use portcullis_engines_signatures::{
    CONTENT_DIGEST, MESSAGE_FIELDS, MessageFault, MessageSignature, RequestParts, check_content_digest,
};
use portcullis_gateway_policy::{BODY_HELD_MAX, Exchange, Scheme};
use portcullis_model::{Principal, Rejection};
use portcullis_wire::{BodyFraming, is_same_field};
use std::sync::Arc;

/// Whether a request looks signed.
pub(super) fn is_shown(exchange: &Exchange) -> bool {
    MESSAGE_FIELDS.iter().any(|name| exchange.request.fields().first_named(name).is_some())
}

/// The lines of a field, joined. Nothing when it is not there, or something is that an upstream could take for it.
fn joined(exchange: &Exchange, name: &str) -> Option<Vec<u8>> {
    // What frames and addresses a request is not kept as a field.
    match (name, exchange.request.framing()) {
        ("host", _) => {
            let mut authority = Vec::new();
            exchange.request.write_authority(&mut authority);
            return Some(authority);
        }
        ("content-length", BodyFraming::None) => return Some(b"0".to_vec()),
        ("content-length", BodyFraming::Length(length)) => return Some(length.to_string().into_bytes()),
        _ => {}
    }
    let mut value: Option<Vec<u8>> = None;
    for (found, line) in exchange.request.fields().iter() {
        if found == name.as_bytes() {
            let value = value.get_or_insert_default();
            if !value.is_empty() {
                value.extend_from_slice(b", ");
            }
            value.extend_from_slice(line);
        } else if is_same_field(found, name.as_bytes()) {
            // SECURITY: `x_amount` beside a signed `x-amount` is one and the same to some upstreams.
            return None;
        }
    }
    value
}

/// A signature that is good, whatever the body is.
struct Good<'s> {
    key: &'s Key,
    signature: MessageSignature,
    /// What was signed.
    base: Vec<u8>,
}

impl Good<'_> {
    /// What it is known by: what was signed, since of that there can be other signatures that are as good.
    fn parts<'p>(&'p self, senders: &'p Senders) -> [&'p [u8]; 3] {
        [senders.plan.name.as_bytes(), self.key.plan.caller.as_bytes(), &self.base]
    }

    fn admit(&self, senders: &Senders, once: &Once, exchange: &Exchange, now: u64) -> Result<Arc<Principal>, Rejection> {
        if self.signature.covers_field(CONTENT_DIGEST) {
            let digest = joined(exchange, CONTENT_DIGEST).ok_or_else(|| refused(MessageFault::ComponentMissing))?;
            check_content_digest(&digest, exchange.body.as_deref().unwrap_or_default()).map_err(refused)?;
        }
        once.take(&self.parts(senders), now, self.signature.ends(senders.plan.age_max), exchange.arrived)?;
        Ok(Arc::new(self.key.principal(senders, self.signature.created)))
    }
}

fn refused(fault: MessageFault) -> Rejection {
    invalid(fault.as_str())
}

fn has_body(exchange: &Exchange) -> bool {
    exchange.request.framing() != BodyFraming::None
}

fn judge<'s>(senders: &'s Senders, once: &Once, exchange: &Exchange, now: u64) -> Result<Good<'s>, Rejection> {
    let plan = &senders.plan;
    let [inputs, signatures] = MESSAGE_FIELDS.map(|name| joined(exchange, name));
    let (inputs, signatures) = inputs.zip(signatures).ok_or_else(|| refused(MessageFault::FieldMissing))?;
    let key_of = |id: &str| senders.keys.iter().find(|key| *key.plan.id == *id);
    let signature = MessageSignature::read(&inputs, &signatures, |id| key_of(id).is_some(), plan.tag.as_deref());
    let signature = signature.map_err(refused)?;
    let key = key_of(&signature.key).ok_or_else(|| refused(MessageFault::KeyUnknown))?;
    signature.check_algorithm(key.plan.algorithm).map_err(refused)?;
    signature.check_time(now, plan.age_max, plan.leeway).map_err(refused)?;
    once.check_clock(now, signature.ends(plan.age_max))?;
    let (request, is_https) = (&exchange.request, exchange.connection.scheme == Scheme::Https);
    let port = request.port().filter(|port| *port != if is_https { 443 } else { 80 });
    let authority = port.map_or_else(|| request.host().to_owned(), |port| format!("{}:{port}", request.host()));
    let parts = RequestParts {
        method: request.method_bytes(),
        is_https,
        authority: &authority,
        path: request.path(),
        query: request.query(),
        field: &|name| joined(exchange, name),
    };
    signature.check_covers(&parts, has_body(exchange), plan.covers.iter().map(|name| &**name)).map_err(refused)?;
    let base = signature.base(&parts).map_err(refused)?;
    if !key.look(|key| signature.is_by(key, &base))? {
        return Err(refused(MessageFault::SignatureWrong));
    }
    Ok(Good { key, signature, base })
}

pub(super) fn judge_head(senders: &Senders, once: &Once, exchange: &Exchange, now: u64) -> Result<Head, Rejection> {
    let good = judge(senders, once, exchange, now)?;
    if !has_body(exchange) {
        return good.admit(senders, once, exchange, now).map(Head::Known);
    }
    // Nobody's body is read for a request that was taken before.
    once.check_new(&good.parts(senders), exchange.arrived)?;
    Ok(Head::Body(BODY_HELD_MAX))
}

/// What the head said is found out again: nothing is believed of a body on the word of an earlier step.
pub(super) fn judge_whole(senders: &Senders, once: &Once, exchange: &Exchange, now: u64) -> Result<Arc<Principal>, Rejection> {
    judge(senders, once, exchange, now)?.admit(senders, once, exchange, now)
}

pub(super) fn remove(exchange: &mut Exchange) {
    for name in MESSAGE_FIELDS {
        exchange.request.fields_mut().remove_alike(name);
    }
}
