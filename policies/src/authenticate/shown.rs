//! The token of a request, and how it is shown.

use portcullis_gateway_policy::Exchange;
use portcullis_model::{Reason, Rejection};
use portcullis_wire::KnownName;

/// How a token is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// By whoever has it (RFC 6750).
    Bearer,
    /// With a proof of the key that it is bound to (RFC 9449).
    Dpop,
}

/// How the token of a request is shown, as far as that can be told; for what is asked for.
pub(super) fn scheme_of(exchange: &Exchange) -> Scheme {
    let value = exchange.request.fields().first(KnownName::Authorization).unwrap_or_default();
    let is_proof = value.get(..4).is_some_and(|begin| begin.eq_ignore_ascii_case(b"dpop"));
    if is_proof { Scheme::Dpop } else { Scheme::Bearer }
}

/// The token of the one Authorization field (RFC 6750 section 2.1, RFC 9449 section 7.1).
///
/// # Errors
/// When there is none, or it is not just one.
pub(super) fn token_of(exchange: &Exchange, takes_proofs: bool) -> Result<(Scheme, &[u8]), Rejection> {
    let mut values = exchange.request.fields().values(KnownName::Authorization);
    let Some(value) = values.next() else {
        return Err(Rejection::new(Reason::CredentialsMissing, "there is no Authorization field"));
    };
    if values.next().is_some() {
        return Err(Rejection::new(Reason::CredentialsAmbiguous, "there is more than one Authorization field"));
    }
    let at = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
    let (scheme, token) = value.split_at_checked(at).unwrap_or((value, b""));
    let scheme = if scheme.eq_ignore_ascii_case(b"bearer") {
        Scheme::Bearer
    } else if takes_proofs && scheme.eq_ignore_ascii_case(b"dpop") {
        Scheme::Dpop
    } else {
        return Err(Rejection::new(Reason::CredentialsMissing, "the Authorization field is of another scheme than the API's"));
    };
    let token = token.trim_ascii_start();
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    if token.is_empty() || !token.iter().all(is_token) {
        return Err(Rejection::new(Reason::CredentialsAmbiguous, "the Authorization field does not hold one token"));
    }
    Ok((scheme, token))
}
