//! Messages of Standard Webhooks. What is signed is the id, the time and the body, and nothing else of the request.

use super::once::Once;
use super::{Senders, invalid};
use portcullis_engines_signatures::{Delivery, WEBHOOK_FIELDS, WebhookFault};
use portcullis_gateway_policy::{BODY_HELD_MAX, Exchange};
use portcullis_model::{Principal, Rejection};
use std::sync::Arc;

/// Whether a request looks like a message.
pub(super) fn is_shown(exchange: &Exchange) -> bool {
    WEBHOOK_FIELDS.iter().any(|name| exchange.request.fields().first_named(name).is_some())
}

fn read(exchange: &Exchange) -> Result<Delivery<'_>, Rejection> {
    let [id, time, signatures] = WEBHOOK_FIELDS.map(|name| exchange.request.fields().sole_named(name));
    let missing = || invalid(WebhookFault::FieldMissing.as_str());
    let (id, time, signatures) = (id.ok_or_else(missing)?, time.ok_or_else(missing)?, signatures.ok_or_else(missing)?);
    Delivery::read(id, time, signatures).map_err(|fault| invalid(fault.as_str()))
}

/// Until when a message is good.
fn ends(senders: &Senders, delivery: &Delivery<'_>) -> u64 {
    delivery.sent.saturating_add(senders.plan.age_max)
}

pub(super) fn judge_head(senders: &Senders, once: &Once, exchange: &Exchange, now: u64) -> Result<u64, Rejection> {
    let delivery = read(exchange)?;
    let (age_max, leeway) = (senders.plan.age_max, senders.plan.leeway);
    delivery.check_time(now, age_max, leeway).map_err(|fault| invalid(fault.as_str()))?;
    once.check_clock(now, ends(senders, &delivery))?;
    if !senders.keys.iter().any(|key| delivery.may_be_of(key.plan.algorithm)) {
        return Err(invalid(WebhookFault::SignatureWrong.as_str()));
    }
    Ok(BODY_HELD_MAX)
}

pub(super) fn judge_whole(senders: &Senders, once: &Once, exchange: &Exchange, now: u64) -> Result<Arc<Principal>, Rejection> {
    let delivery = read(exchange)?;
    let body = exchange.body.as_deref().unwrap_or_default();
    let mut unfit = None;
    for key in &senders.keys {
        match key.look(|key| delivery.is_signed_by(key, body)) {
            Ok(true) => {
                // Whoever sends again says so by another time; a message that somebody has seen on its way has the same.
                let parts = [senders.plan.name.as_bytes(), key.plan.caller.as_bytes(), delivery.id, &delivery.sent.to_le_bytes()];
                once.take(&parts, now, ends(senders, &delivery), exchange.arrived)?;
                return Ok(Arc::new(key.principal(senders, delivery.sent)));
            }
            Ok(false) => {}
            Err(rejection) => unfit = Some(rejection),
        }
    }
    Err(unfit.unwrap_or_else(|| invalid(WebhookFault::SignatureWrong.as_str())))
}

/// The id and the time are the upstream's to know: by the id it tells a message that it has had before.
pub(super) fn remove(exchange: &mut Exchange) {
    let [_, _, signatures] = WEBHOOK_FIELDS;
    exchange.request.fields_mut().remove_alike(signatures);
}
