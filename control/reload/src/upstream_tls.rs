//! What TLS to upstreams is verified with: one context for all that name the same authorities and show the same certificate.

use crate::care::protocol;
use aws_lc_rs::digest::{Context, SHA256};
use portcullis_control_config::UpstreamPlan;
use portcullis_gateway_tls::{read_trust, system_trust};
use portcullis_gateway_upstream::{ClientCertificateFiles, UpstreamProtocol, UpstreamTls};
use portcullis_model::Clock;
use rustls::RootCertStore;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

/// A hash of what a context was made from.
pub(crate) type ContentDigest = [u8; 32];

/// Contexts by what they were made from. A context lives on as long as that does not change, and with it sessions and connections.
pub(crate) type Contexts = HashMap<ContentDigest, Arc<UpstreamTls>>;

/// Makes the contexts of one configuration. Each file is read once.
pub(crate) struct ContextMaker<'b> {
    before: &'b Contexts,
    clock: &'b Clock,
    trust: HashMap<Option<PathBuf>, Arc<RootCertStore>>,
    made: Contexts,
}

impl<'b> ContextMaker<'b> {
    /// Contexts that are in `before` are taken from there.
    pub(crate) fn new(before: &'b Contexts, clock: &'b Clock) -> Self {
        Self { before, clock, trust: HashMap::new(), made: Contexts::new() }
    }

    /// The context for an upstream, and the hash of what it is made from.
    ///
    /// # Errors
    /// Which file cannot serve, why, and what to do.
    pub(crate) fn context(&mut self, planned: &UpstreamPlan) -> Result<(ContentDigest, Arc<UpstreamTls>), String> {
        let described = |problem: String| format!("upstream `{}`: {problem}", planned.name);
        let trust = self.trust(planned.tls.trust.as_ref()).map_err(described)?;
        let own = planned.tls.client_certificate.clone();
        let own = own.map(|(certificate, key)| ClientCertificateFiles { certificate, key });
        let protocol = protocol(planned.protocol);
        let digest = digest(&trust, own.as_ref(), protocol);
        if let Some(context) = self.made.get(&digest).or_else(|| self.before.get(&digest)) {
            let context = Arc::clone(context);
            self.made.insert(digest, Arc::clone(&context));
            return Ok((digest, context));
        }
        let context = UpstreamTls::build(&trust, own.as_ref(), protocol, self.clock).map_err(described)?;
        self.made.insert(digest, Arc::clone(&context));
        Ok((digest, context))
    }

    /// All contexts that were asked for.
    pub(crate) fn finish(self) -> Contexts {
        self.made
    }

    fn trust(&mut self, file: Option<&PathBuf>) -> Result<Arc<RootCertStore>, String> {
        let key = file.cloned();
        if let Some(read) = self.trust.get(&key) {
            return Ok(Arc::clone(read));
        }
        let read = Arc::new(match file {
            Some(file) => read_trust(file)?,
            None => system_trust()?,
        });
        self.trust.insert(key, Arc::clone(&read));
        Ok(read)
    }
}

fn digest(trust: &RootCertStore, own: Option<&ClientCertificateFiles>, protocol: UpstreamProtocol) -> ContentDigest {
    let mut context = Context::new(&SHA256);
    let mut part = |bytes: &[u8]| {
        // Lengths first, so that no two lists of parts look alike.
        context.update(&(bytes.len() as u64).to_le_bytes());
        context.update(bytes);
    };
    part(&[u8::from(protocol == UpstreamProtocol::Http2)]);
    for root in &trust.roots {
        part(&root.subject);
        part(&root.subject_public_key_info);
        part(root.name_constraints.as_deref().unwrap_or_default());
    }
    for path in own.iter().flat_map(|files| [&files.certificate, &files.key]) {
        // A file that cannot be read fails where the context is built.
        part(&std::fs::read(path).unwrap_or_default());
    }
    let mut bytes = [0; 32];
    bytes.iter_mut().zip(context.finish().as_ref()).for_each(|(slot, byte)| *slot = *byte);
    bytes
}
