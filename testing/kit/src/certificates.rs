//! Certificates for tests, from an authority of their own.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyIdMethod, KeyPair, PublicKeyData, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use std::time::Duration;

/// Times in Unix seconds.
const FEBRUARY_2026: u64 = 1_769_904_000;
const IN_2096: u64 = 3_976_214_400;

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

fn authority_params(name: &str, serial: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.serial_number = Some(SerialNumber::from(serial));
    params.distinguished_name.push(DnType::CommonName, name);
    params
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
        let params = authority_params(name, 1);
        let certificate = params.self_signed(&key).expect("an authority can be made").pem();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// Makes one below this one.
    ///
    /// # Panics
    /// When no key can be made.
    pub fn below(&self, name: &str, serial: u64) -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let params = authority_params(name, serial);
        let certificate = params.signed_by(&key, &self.issuer).expect("an authority can be made").pem();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// A certificate for a client.
    ///
    /// # Panics
    /// When it cannot be signed.
    pub fn client(&self, name: &str, serial: u64) -> Leaf {
        self.client_with(name, serial, |_| {})
    }

    /// A certificate for a client, changed before it is signed.
    ///
    /// # Panics
    /// When it cannot be signed.
    pub fn client_with(&self, name: &str, serial: u64, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        self.leaf_with(&[], |params| {
            params.distinguished_name.push(DnType::CommonName, name);
            params.serial_number = Some(SerialNumber::from(serial));
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            change(params);
        })
    }

    /// A certificate for a client with alternative names, `DNS:host` and `URI:uri`.
    ///
    /// # Panics
    /// When it cannot be signed.
    pub fn client_known_as(&self, name: &str, alternatives: &[&str]) -> Leaf {
        self.client_with(name, 9, |params| {
            params.subject_alt_names = alternatives
                .iter()
                .map(|name| match name.split_once(':').expect("a kind and a name") {
                    ("URI", uri) => SanType::URI(uri.try_into().expect("a URI")),
                    (_, host) => SanType::DnsName(host.try_into().expect("a host")),
                })
                .collect();
        })
    }

    /// A certificate for a key that nobody may have, of a client or of an authority.
    ///
    /// # Panics
    /// When it cannot be signed.
    pub fn vouch(&self, key: &impl PublicKeyData, for_authority: bool) -> String {
        let mut params = authority_params("vouched for", 9);
        if !for_authority {
            params.is_ca = IsCa::NoCa;
        }
        params.signed_by(key, &self.issuer).expect("a certificate can be signed").pem()
    }

    /// A list of what this authority has revoked, PEM; its successor is far away, or overdue.
    ///
    /// # Panics
    /// When it cannot be signed.
    pub fn revoked(&self, serials: &[u64], is_fresh: bool) -> String {
        self.revoked_until(serials, if is_fresh { IN_2096 } else { FEBRUARY_2026 })
    }

    /// The same; its successor is promised for a time, in Unix seconds.
    ///
    /// # Panics
    /// When it cannot be signed.
    pub fn revoked_until(&self, serials: &[u64], unix_seconds: u64) -> String {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 2),
            next_update: date_time_ymd(1970, 1, 1) + Duration::from_secs(unix_seconds),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).expect("a list can be signed").pem().expect("a list can be written")
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

    /// A certificate that counts from 2020 until a time, in Unix seconds.
    ///
    /// # Panics
    /// When a host is not one.
    pub fn leaf_until(&self, hosts: &[&str], unix_seconds: u64) -> Leaf {
        self.leaf_with(hosts, |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(unix_seconds);
        })
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
