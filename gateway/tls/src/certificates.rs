//! Certificates and keys from files, refused when they cannot serve.

use portcullis_model::Clock;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

/// The shortest RSA key that is accepted (NIST SP 800-131A).
const RSA_BITS_MIN: usize = 2048;
/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Reads and checks a certificate and its key.
///
/// # Errors
/// What is wrong, in which file, and what to do.
pub fn load_certificate(certificate: &Path, key: &Path, provider: &CryptoProvider, clock: &Clock) -> Result<CertifiedKey, String> {
    let shown = certificate.display();
    let chain = read_file(certificate, FILE_BYTES_MAX)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&chain).collect();
    let chain = chain.map_err(|error| format!("`{shown}` is not a certificate chain in PEM: {error}"))?;
    let Some(own) = chain.first() else {
        return Err(format!("`{shown}` has no certificate; it must begin with `-----BEGIN CERTIFICATE-----`"));
    };
    check(own, clock).map_err(|problem| format!("`{shown}`: {problem}"))?;
    let key_shown = key.display();
    let key = portcullis_model::Secret::new(read_file(key, FILE_BYTES_MAX)?);
    let key = PrivateKeyDer::from_pem_slice(key.reveal())
        .map_err(|error| format!("`{key_shown}` is not a private key in PEM: {error}"))?;
    CertifiedKey::from_der(chain, key, provider)
        .map_err(|error| format!("the key `{key_shown}` does not go with the certificate `{shown}`: {error}"))
}

/// Reads a file that has at most `bytes_max`.
///
/// # Errors
/// When it cannot be read or is larger, for the operator.
pub fn read_file(path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let described = |error: std::io::Error| format!("`{shown}` cannot be read: {error}");
    let bytes = std::fs::metadata(path).map_err(described)?.len();
    if bytes > bytes_max {
        return Err(format!("`{shown}` has {bytes} bytes; at most {bytes_max} are read"));
    }
    std::fs::read(path).map_err(described)
}

fn check(certificate: &CertificateDer<'_>, clock: &Clock) -> Result<(), String> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| format!("the certificate cannot be read: {error}"))?;
    let now = i64::try_from(clock.unix_seconds()).unwrap_or(i64::MAX);
    let validity = parsed.validity();
    if now > validity.not_after.timestamp() {
        return Err(format!("the certificate expired on {}; renew it", validity.not_after));
    }
    if now < validity.not_before.timestamp() {
        return Err(format!("the certificate is not valid before {}; check the clock", validity.not_before));
    }
    match parsed.public_key().parsed() {
        Ok(PublicKey::RSA(key)) if key.key_size() < RSA_BITS_MIN => {
            Err(format!("the certificate's RSA key has {} bits; at least {RSA_BITS_MIN} are needed", key.key_size()))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(format!("the certificate's public key cannot be read: {error}")),
    }
}
