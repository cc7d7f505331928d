//! Certificate revocation lists from files (RFC 5280 section 5).

use portcullis_gateway_tls::read_file;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use std::path::{Path, PathBuf};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// One list.
pub(super) struct List {
    pub(super) der: CertificateRevocationListDer<'static>,
}

/// Reads every list of every file. A list that says to be of one of the `authorities` must be signed by it; whether the authorities
/// in between have signed theirs is seen when they are used.
///
/// # Errors
/// What is wrong with which file, and what to do.
pub(super) fn read_lists(
    files: &[PathBuf],
    authorities: &[CertificateDer<'_>],
    crypto: &CryptoProvider,
) -> Result<Vec<List>, String> {
    let mut lists = Vec::new();
    for file in files {
        for der in lists_of(file)? {
            check(&der, authorities, crypto).map_err(|problem| format!("`{}`: {problem}", file.display()))?;
            lists.push(List { der });
        }
    }
    Ok(lists)
}

fn lists_of(file: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let shown = file.display();
    let bytes = read_file(file, FILE_BYTES_MAX)?;
    // DER begins with a sequence, PEM with text.
    if bytes.first() == Some(&0x30) {
        return Ok(vec![CertificateRevocationListDer::from(bytes)]);
    }
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    match lists {
        Ok(lists) if lists.is_empty() => {
            Err(format!("`{shown}` has no revocation list; it must begin with `-----BEGIN X509 CRL-----`, or be DER"))
        }
        Ok(lists) => Ok(lists),
        Err(error) => Err(format!("`{shown}` is not a revocation list in PEM: {error}")),
    }
}

fn check(der: &[u8], authorities: &[CertificateDer<'_>], crypto: &CryptoProvider) -> Result<(), String> {
    let (rest, list) =
        CertificateRevocationList::from_der(der).map_err(|error| format!("the revocation list cannot be read: {error}"))?;
    if !rest.is_empty() {
        return Err("something follows the revocation list".to_owned());
    }
    let parsed = authorities.iter().filter_map(|authority| X509Certificate::from_der(authority).ok());
    let mut issuers = parsed.filter(|(_, issuer)| issuer.subject().as_raw() == list.issuer().as_raw()).peekable();
    if issuers.peek().is_none() {
        return Ok(());
    }
    let (message, signature) = (list.tbs_cert_list.as_ref(), &list.signature_value.data);
    let is_signed_by = |key: &[u8]| {
        let mut algorithms = crypto.signature_verification_algorithms.all.iter();
        algorithms.any(|algorithm| algorithm.verify_signature(key, message, signature).is_ok())
    };
    if issuers.any(|(_, issuer)| is_signed_by(&issuer.public_key().subject_public_key.data)) {
        return Ok(());
    }
    Err("the revocation list is not signed by the authority that it names".to_owned())
}
