//! Clients that are known by their certificates.

use std::sync::Arc;

/// Clients whose certificates lead to one authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatesPlan {
    /// The name, which stands where a provider's does.
    pub name: Arc<str>,
    /// The authority of the listener's trust that the certificates lead to, in the form of RFC 4514.
    pub issuer: Arc<str>,
    /// The clients; the first that fits counts.
    pub clients: Vec<CertificateClient>,
}

/// A client, or clients of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateClient {
    /// Which certificate is theirs.
    pub fits: CertificateMatch,
    /// Who it is; without it the name in the certificate says that.
    pub name: Option<Arc<str>>,
    /// The roles it has.
    pub roles: Vec<Arc<str>>,
    /// The scopes it has.
    pub scopes: Vec<Arc<str>>,
}

/// What a certificate must have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CertificateMatch {
    /// This host name among its alternative names, lower case.
    Dns(Arc<str>),
    /// A host name of one label and this, which begins with a dot.
    DnsBelow(Arc<str>),
    /// This URI among its alternative names.
    Uri(Arc<str>),
    /// A URI that begins with this, which ends with a slash, and goes on.
    UriBelow(Arc<str>),
    /// This SHA-256.
    Fingerprint([u8; 32]),
}
