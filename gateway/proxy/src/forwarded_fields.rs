//! Who the client is, and how the upstream is told: the client's own claims are gone before ours are set.

use crate::worker::Worker;
use portcullis_gateway_policy::{ConnectionFacts, Scheme};
use portcullis_model::DecisionRecord;
use portcullis_wire::client_address::client_address;
use portcullis_wire::{KnownName, RequestHead};
use std::net::IpAddr;

/// The client's address: the peer's, unless that is a trusted proxy; then the last address in `X-Forwarded-For` that is not one.
pub(crate) fn client_of(request: &RequestHead, peer: IpAddr, worker: &Worker) -> IpAddr {
    let view = worker.view();
    let rule = &view.client_address;
    if rule.trusted.is_empty() || !rule.trusts(peer) {
        return peer;
    }
    client_address(peer, request.fields().values(KnownName::XForwardedFor), |address| rule.trusts(address))
}

/// Tells the upstream who asked for what, under which id. To be called after the client's own such fields were removed: these are
/// added, not set.
pub(crate) fn add_forwarded_fields(request: &mut RequestHead, client: IpAddr, facts: &ConnectionFacts, record: &DecisionRecord) {
    let fields = request.fields_mut();
    debug_assert!(fields.first(KnownName::XForwardedFor).is_none(), "the client's own claims are gone");
    let mut valid = true;
    if client == facts.peer.ip() {
        fields.append_checked(KnownName::XForwardedFor, &facts.peer_text);
    } else {
        valid &= fields.append(KnownName::XForwardedFor, client.to_string().as_bytes()).is_ok();
    }
    let scheme: &[u8] = if facts.scheme == Scheme::Https { b"https" } else { b"http" };
    valid &= fields.append(KnownName::XForwardedProto, scheme).is_ok();
    valid &= fields.append(KnownName::XRequestId, &record.id.hex()).is_ok();
    valid &= fields.set(KnownName::Traceparent, &record.trace.traceparent()).is_ok();
    request.append_forwarded_host();
    // INVARIANT: these values are made here and contain nothing that is refused.
    debug_assert!(valid, "the gateway's own fields are valid");
}
