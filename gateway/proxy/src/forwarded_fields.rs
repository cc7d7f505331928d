//! Who the client is, and how the upstream is told: the client's own claims are gone before ours are set.

use crate::worker::Worker;
use portcullis_gateway_policy::Scheme;
use portcullis_model::DecisionRecord;
use portcullis_wire::client_address::client_address;
use portcullis_wire::{KnownName, RequestHead};
use std::io::Write;
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

/// Text of bounded length without an allocation.
struct ShortText {
    bytes: [u8; 64],
    len: usize,
}

impl Write for ShortText {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        let count = bytes.len().min(room.len());
        for (slot, byte) in room.iter_mut().zip(bytes) {
            *slot = *byte;
        }
        self.len += count;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Tells the upstream who asked for what, under which id. To be called after the client's own such fields were removed.
pub(crate) fn set_forwarded_fields(request: &mut RequestHead, client: IpAddr, scheme: Scheme, record: &DecisionRecord) {
    let mut address = ShortText { bytes: [0; 64], len: 0 };
    let mut authority = Vec::with_capacity(64);
    request.write_authority(&mut authority);
    let written = write!(address, "{client}");
    let text = address.bytes.get(..address.len).unwrap_or_default();
    let fields = request.fields_mut();
    // INVARIANT: these values are made here and contain nothing that `set` refuses; an address always fits.
    let _always_valid = written.is_ok()
        && fields.set(KnownName::XForwardedFor, text).is_ok()
        && fields.set(KnownName::XForwardedProto, scheme.as_str().as_bytes()).is_ok()
        && fields.set(KnownName::XForwardedHost, &authority).is_ok()
        && fields.set(KnownName::XRequestId, &record.id.hex()).is_ok()
        && fields.set(KnownName::Traceparent, &record.trace.traceparent()).is_ok();
    debug_assert!(_always_valid, "the gateway's own fields are valid");
}
