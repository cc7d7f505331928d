//! From when until when what is in files counts.

use crate::certificates::read_file;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use std::path::Path;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

/// The largest file of certificates, and of revocation lists, that is read.
const CERTIFICATE_BYTES_MAX: u64 = 1024 * 1024;
const LIST_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// From when until when something counts, Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub from: i64,
    /// The last second: `notAfter` of a certificate, `nextUpdate` of a list.
    pub until: i64,
}

/// The validity of that certificate of a chain in PEM which runs out first. None when the file cannot be read or has none: those who use
/// it say so.
#[must_use]
pub fn certificate_validity(chain: &Path) -> Option<Validity> {
    let bytes = read_file(chain, CERTIFICATE_BYTES_MAX).ok()?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().ok()?;
    first(certificates.iter().filter_map(validity_of))
}

/// The last second, Unix, in which all of these certificates count. None when there is none, or one that cannot be read.
#[must_use]
pub fn chain_counts_until(chain: &[CertificateDer<'_>]) -> Option<i64> {
    let until: Option<Vec<i64>> = chain.iter().map(|der| Some(validity_of(der)?.until)).collect();
    until?.into_iter().min()
}

fn validity_of(der: &CertificateDer<'_>) -> Option<Validity> {
    let (_, parsed) = X509Certificate::from_der(der).ok()?;
    let validity = parsed.validity();
    Some(Validity { from: validity.not_before.timestamp(), until: validity.not_after.timestamp() })
}

/// The validity of that revocation list of a file, in PEM or DER, whose successor is due first. None as with certificates, and when no list
/// promises a successor.
#[must_use]
pub fn revocation_validity(file: &Path) -> Option<Validity> {
    let bytes = read_file(file, LIST_BYTES_MAX).ok()?;
    // DER begins with a sequence, PEM with text.
    let lists: Vec<CertificateRevocationListDer<'_>> = if bytes.first() == Some(&0x30) {
        vec![CertificateRevocationListDer::from(bytes)]
    } else {
        CertificateRevocationListDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().ok()?
    };
    first(lists.iter().filter_map(|der| {
        let (_, parsed) = CertificateRevocationList::from_der(der).ok()?;
        Some(Validity { from: parsed.last_update().timestamp(), until: parsed.next_update()?.timestamp() })
    }))
}

fn first(all: impl Iterator<Item = Validity>) -> Option<Validity> {
    all.min_by_key(|validity| validity.until)
}
