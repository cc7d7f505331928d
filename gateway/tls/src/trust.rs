//! Whom a certificate is believed from.

use crate::certificates::read_file;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::path::Path;

/// The largest bundle that is read; that of a whole operating system has a quarter of a megabyte.
const BUNDLE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Reads a bundle of authorities in PEM. All of it must be readable: an authority that is silently left out is trust that somebody
/// believes to be there, and an empty bundle would leave nothing to verify with (threats E 113).
///
/// # Errors
/// What is wrong with the file, and what to do.
pub fn read_trust(path: &Path) -> Result<RootCertStore, String> {
    let shown = path.display();
    let mut roots = RootCertStore::empty();
    for (at, certificate) in read_certificates(path)?.into_iter().enumerate() {
        let number = at + 1;
        roots.add(certificate).map_err(|error| format!("certificate {number} of `{shown}` cannot be trusted: {error}"))?;
    }
    Ok(roots)
}

/// Reads every certificate of a bundle in PEM; there is at least one.
///
/// # Errors
/// What is wrong with the file, and what to do.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let bytes = read_file(path, BUNDLE_BYTES_MAX)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let certificates = certificates.map_err(|error| format!("`{shown}` is not a bundle of certificates in PEM: {error}"))?;
    if certificates.is_empty() {
        return Err(format!("`{shown}` has no certificate; each must begin with `-----BEGIN CERTIFICATE-----`"));
    }
    Ok(certificates)
}

/// The authorities that the operating system trusts.
///
/// # Errors
/// When there is none, with what to do.
pub fn system_trust() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Systems carry authorities that no verifier takes, so one that is not understood is passed over.
    let (added, _passed_over) = roots.add_parsable_certificates(found.certs);
    if added > 0 {
        return Ok(roots);
    }
    let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
    Err(format!(
        "the system trusts no authority{why}; install its certificates (`ca-certificates`), or name `tls: {{ trust: FILE }}`"
    ))
}

#[cfg(test)]
mod tests {
    use super::read_trust;
    use std::path::PathBuf;

    fn file(name: &str, content: &[u8]) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("portcullis-trust-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn authority() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::default().self_signed(&key).unwrap().pem()
    }

    #[test]
    fn every_authority_of_a_bundle_is_read() {
        let bundle = format!("# ours\n{}\n# theirs\n{}", authority(), authority());
        assert_eq!(read_trust(&file("two.pem", bundle.as_bytes())).unwrap().len(), 2);
    }

    #[test]
    fn e113_a_bundle_that_is_not_wholly_understood_is_no_trust() {
        let good = authority();
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (name, content, expected) in [
            ("empty.pem", String::new(), "has no certificate"),
            ("words.pem", "no certificate here".to_owned(), "has no certificate"),
            ("garbage.pem", broken.to_owned(), "certificate 1 of"),
            ("half.pem", format!("{good}{broken}"), "certificate 2 of"),
            ("cut.pem", good.get(..good.len() - 40).unwrap().to_owned(), "is not a bundle of certificates in PEM"),
        ] {
            let problem = read_trust(&file(name, content.as_bytes())).unwrap_err();
            assert!(problem.contains(expected) && problem.contains(name), "{name}: {problem}");
        }
        assert!(read_trust(&file("empty.pem", b"").with_file_name("absent.pem")).unwrap_err().contains("cannot be read"));
        let large = vec![b'#'; 5 * 1024 * 1024];
        assert!(read_trust(&file("large.pem", &large)).unwrap_err().contains("at most"));
    }
}
