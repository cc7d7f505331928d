//! What is configured of a certificate.

use std::path::PathBuf;

/// A certificate's files and the hosts it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// Hosts: names, `*.` and a name, or addresses.
    pub hosts: Vec<String>,
    /// The chain in PEM, the server's own certificate first.
    pub certificate: PathBuf,
    /// The private key in PEM.
    pub key: PathBuf,
}
