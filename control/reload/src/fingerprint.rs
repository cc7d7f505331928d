//! What a snapshot was made from, in a hash.

use crate::build::Routing;
use crate::upstream_tls::ContentDigest;
use aws_lc_rs::digest::{Context, SHA256};
use portcullis_control_config::{ListenerMode as PlannedMode, Plan};

/// A hash of the plan and the bytes of the files it names: equal when a reload would change nothing.
pub(crate) fn fingerprint(plan: &Plan, routing: &Routing) -> ContentDigest {
    let mut parts = vec![plan.hash().0.to_vec()];
    for listener in &plan.listeners {
        if let PlannedMode::Tls(tls) = &listener.mode {
            for path in tls.files() {
                // A file that cannot be read has failed the build already.
                parts.push(std::fs::read(path).unwrap_or_default());
            }
        }
    }
    let mut upstreams: Vec<Vec<u8>> = routing.upstreams.iter().map(|(digest, _)| digest.to_vec()).collect();
    upstreams.sort_unstable();
    sha256(parts.iter().chain(&upstreams).map(Vec::as_slice))
}

pub(crate) fn sha256<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> ContentDigest {
    let mut context = Context::new(&SHA256);
    parts.into_iter().for_each(|part| context.update(part));
    let mut bytes = [0; 32];
    bytes.iter_mut().zip(context.finish().as_ref()).for_each(|(slot, byte)| *slot = *byte);
    bytes
}
