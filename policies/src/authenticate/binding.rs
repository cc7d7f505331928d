//! Proof that whoever shows a bound token is the one it is bound to.

use portcullis_engines_jose::{Binding, Fault};
use portcullis_gateway_policy::Exchange;

/// Checks that the connection has the client certificate that a token is bound to, if it is bound to one (RFC 8705 section 3). What a client or a
/// proxy in front says of a certificate in fields does not count.
///
/// # Errors
/// [`Fault::CertificateOther`]
pub(super) fn check_certificate(binding: &Binding, exchange: &Exchange) -> Result<(), Fault> {
    let Some(wanted) = binding.certificate else { return Ok(()) };
    let shown = exchange.connection.tls.as_ref().and_then(|tls| tls.client.as_ref());
    if shown.is_some_and(|shown| shown.fingerprint == wanted) { Ok(()) } else { Err(Fault::CertificateOther) }
}
