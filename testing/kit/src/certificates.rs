//! Certificates for tests, from an authority of their own.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// An authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, PEM.
    pub certificate: String,
}

/// A certificate with its key.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// The certificate, PEM.
    pub certificate: String,
    /// The private key, PEM.
    pub key: String,
}

impl Leaf {
    /// A certificate for hosts that is signed by nobody else.
    ///
    /// # Panics
    /// When a host is not one.
    pub fn self_signed(hosts: &[&str]) -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let names: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let params = CertificateParams::new(names).expect("hosts of tests are valid");
        let certificate = params.self_signed(&key).expect("a certificate can be signed").pem();
        Self { certificate, key: key.serialize_pem() }
    }
}

impl Authority {
    /// Makes one.
    ///
    /// # Panics
    /// When no key can be made.
    #[expect(clippy::new_without_default, reason = "it makes a key, which no default should")]
    pub fn new() -> Self {
        Self::named("Portcullis tests")
    }

    /// Makes one with a name of its own.
    ///
    /// # Panics
    /// When no key can be made.
    pub fn named(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).expect("an authority can be made").pem();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// A certificate for hosts.
    ///
    /// # Panics
    /// When a host is not one.
    pub fn leaf(&self, hosts: &[&str]) -> Leaf {
        self.leaf_with(hosts, |_| {})
    }

    /// A certificate for hosts, changed before it is signed.
    ///
    /// # Panics
    /// When a host is not one.
    pub fn leaf_with(&self, hosts: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let key = KeyPair::generate().expect("a key can be made");
        let names: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("hosts of tests are valid");
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate can be signed").pem();
        Leaf { certificate, key: key.serialize_pem() }
    }

    /// A certificate that has expired.
    ///
    /// # Panics
    /// When a host is not one.
    pub fn expired_leaf(&self, hosts: &[&str]) -> Leaf {
        self.leaf_with(hosts, |params| {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2020, 2, 1);
        })
    }

    /// A certificate that is not valid yet.
    ///
    /// # Panics
    /// When a host is not one.
    pub fn later_leaf(&self, hosts: &[&str]) -> Leaf {
        self.leaf_with(hosts, |params| {
            params.not_before = rcgen::date_time_ymd(2090, 1, 1);
            params.not_after = rcgen::date_time_ymd(2090, 2, 1);
        })
    }
}
