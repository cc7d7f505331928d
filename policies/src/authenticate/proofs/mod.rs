//! Proofs that whoever shows a token has the key that it is bound to (DPoP, RFC 9449): for this request, made just now, and shown once.

mod nonces;
mod replays;

use self::nonces::Nonces;
pub(super) use self::replays::{InProcess, Mark, Replays, Shown};
use super::cache::TokenHash;
use aws_lc_rs::digest::{Context, SHA256};
use portcullis_engines_jose::{Proof, ProofFault, ProofRules, Thumbprint};
use portcullis_gateway_policy::{Exchange, Scheme};
use portcullis_model::{Reason, Rejection};
use portcullis_wire::{CanonicalUri, KnownName};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// By how many seconds the clock may go back without proofs that were forgotten being worth something again: for so long each is remembered
/// beyond its end.
const CLOCK_SLACK: u64 = 10;

/// What is known of proofs, the same for all workers, providers and configurations of the process.
pub(super) struct Proofs {
    replays: Box<dyn Replays>,
    nonces: Option<Nonces>,
    /// What proofs are remembered by is mixed with this, so that nobody can choose where.
    secret: [u8; 32],
    /// The latest second, since the Unix epoch, at which a proof was looked at.
    latest: AtomicU64,
}

impl Default for Proofs {
    fn default() -> Self {
        let mut secret = [0; 32];
        let is_random = aws_lc_rs::rand::fill(&mut secret).is_ok();
        // SECURITY: without random bytes there are no nonces, and every proof that needs one is refused.
        let nonces = if is_random { Nonces::new() } else { None };
        Self { replays: Box::new(InProcess::default()), nonces, secret, latest: AtomicU64::new(0) }
    }
}

impl Proofs {
    /// Checks the proof of a request for a token that is bound to a key (RFC 9449 section 4.3). One that is good is remembered.
    ///
    /// # Errors
    /// When it proves nothing, or it could not be told whether it was shown before.
    pub(super) fn check(
        &self,
        exchange: &Exchange,
        rules: &ProofRules,
        key: &Thumbprint,
        token: &TokenHash,
        now: u64,
    ) -> Result<(), Rejection> {
        let proof = Proof::parse(sole(exchange).map_err(invalid)?).map_err(invalid)?;
        proof.check(rules, key, token, now).map_err(invalid)?;
        if proof.method.as_bytes() != exchange.request.method_bytes() {
            return Err(invalid(ProofFault::MethodOther));
        }
        if !is_target(exchange, &proof.target) {
            return Err(invalid(ProofFault::TargetOther));
        }
        let latest = self.latest.fetch_max(now, Ordering::Relaxed);
        // SECURITY: a clock that was put back would make proofs worth something again which are forgotten; nonces go by another clock.
        let is_set_back = now.saturating_add(CLOCK_SLACK) < latest;
        if rules.nonces || is_set_back {
            self.check_nonce(proof.nonce.as_deref(), exchange.arrived)?;
        }
        proof.verify().map_err(invalid)?;
        let ends = proof.issued.saturating_add(rules.age_max).saturating_sub(now).saturating_add(1 + CLOCK_SLACK);
        let ends = exchange.arrived.saturating_add(Duration::from_secs(ends));
        match self.replays.show(self.mark(key, &proof.id), exchange.arrived, ends) {
            Shown::First => Ok(()),
            Shown::Again => Err(invalid(ProofFault::Again)),
            Shown::Full => Err(Rejection::new(Reason::ProofsExhausted, "as many proofs are remembered as may be")),
        }
    }

    fn check_nonce(&self, nonce: Option<&str>, now: Duration) -> Result<(), Rejection> {
        let none = || Rejection::new(Reason::Internal, "there were no random bytes to make nonces with");
        let nonces = self.nonces.as_ref().ok_or_else(none)?;
        if nonce.is_some_and(|nonce| nonces.is_good(nonce, now)) {
            return Ok(());
        }
        let detail = if nonce.is_some() { "the proof's nonce is old or not the gateway's" } else { "the proof has no nonce" };
        Err(Rejection { nonce: Some(nonces.at(now)), ..Rejection::new(Reason::ProofNonceNeeded, detail) })
    }

    /// What a proof is remembered by.
    fn mark(&self, key: &Thumbprint, id: &str) -> Mark {
        let mut context = Context::new(&SHA256);
        [&self.secret[..], &key[..], id.as_bytes()].iter().for_each(|part| context.update(part));
        let mut mark = Mark::default();
        mark.iter_mut().zip(context.finish().as_ref()).for_each(|(slot, byte)| *slot = *byte);
        mark
    }
}

/// The one DPoP field of a request (RFC 9449 section 4.3, 1).
fn sole(exchange: &Exchange) -> Result<&[u8], ProofFault> {
    let mut values = exchange.request.fields().values(KnownName::Dpop);
    let value = values.next().ok_or(ProofFault::Missing)?;
    if values.next().is_some() { Err(ProofFault::Several) } else { Ok(value) }
}

/// Whether a URI is that of the request, query and fragment aside: by the scheme of the connection and the host that the client named.
fn is_target(exchange: &Exchange, written: &str) -> bool {
    let Ok(uri) = CanonicalUri::parse(written.as_bytes()) else { return false };
    let (request, is_https) = (&exchange.request, exchange.connection.scheme == Scheme::Https);
    let port = request.port().unwrap_or(if is_https { 443 } else { 80 });
    uri.is_https == is_https && uri.host == request.host() && uri.port == port && uri.path == request.path()
}

fn invalid(fault: ProofFault) -> Rejection {
    Rejection::new(Reason::ProofInvalid, fault.as_str())
}

#[cfg(test)]
mod tests;
