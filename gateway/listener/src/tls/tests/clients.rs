//! Certificates of clients: who is let in, who is not, and why.

use super::{Site, clock, connect, exchange, ping, pong, site};
use crate::tls::clients::{ClientCertificates, Revocation};
use crate::tls::{OldestVersion, TicketKeys, TlsContext};
use portcullis_model::{Clock, Reason, TlsFacts};
use portcullis_testing_kit::{Authority, Leaf};
use rcgen::{DnType, ExtendedKeyUsagePurpose, SanType};
use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, SignatureAlgorithm, SignatureScheme, SupportedProtocolVersion};
use std::path::PathBuf;
use std::sync::Arc;

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// A listener's side, with files of its own.
struct Server {
    site: Site,
    folder: PathBuf,
}

impl Server {
    fn new(name: &str) -> Self {
        let site = site(name, &["a.test"], (-1, 30));
        let folder = site.files.certificate.parent().unwrap().to_owned();
        Self { site, folder }
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Certificates of `authority` are taken; `lists` tell who has been revoked.
    fn settings(&self, authority: &Authority, lists: &[&str]) -> ClientCertificates {
        let trust = self.write("trust.pem", &authority.certificate);
        let lists: Vec<PathBuf> = lists.iter().enumerate().map(|(at, list)| self.write(&format!("{at}.crl"), list)).collect();
        let revocation = (!lists.is_empty()).then_some(Revocation { lists, is_stale_accepted: false });
        ClientCertificates { is_required: true, trust, revocation }
    }

    fn build(&self, settings: &ClientCertificates, tickets: &Arc<TicketKeys>, clock: &Clock) -> Result<Arc<TlsContext>, String> {
        let files = std::slice::from_ref(&self.site.files);
        TlsContext::build(files, Some(settings), OldestVersion::Tls12, tickets, clock)
    }

    fn context(&self, settings: &ClientCertificates) -> Arc<TlsContext> {
        self.build(settings, &TicketKeys::new(clock()), &clock()).unwrap()
    }

    fn problem(&self, settings: &ClientCertificates) -> String {
        self.build(settings, &TicketKeys::new(clock()), &clock()).unwrap_err()
    }

    fn client(&self, shown: Option<Arc<dyn ResolvesClientCert>>, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.site.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        let config = config.with_root_certificates(roots);
        Arc::new(match shown {
            None => config.with_no_client_auth(),
            Some(shown) => config.with_client_cert_resolver(shown),
        })
    }
}

fn chain(certificates: &[&str]) -> Vec<CertificateDer<'static>> {
    certificates.iter().map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).collect()
}

fn shows(leaf: &Leaf, between: &[&str]) -> Option<Arc<dyn ResolvesClientCert>> {
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
    let all = [&[leaf.certificate.as_str()], between].concat();
    Some(Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain(&all), key))))
}

/// What the server makes of a client; a client that was let in has got its answer.
fn visit(context: &Arc<TlsContext>, client: Arc<ClientConfig>) -> Result<TlsFacts, Reason> {
    let (facts, text) = exchange(context, move |port| ping(connect(&client, "a.test", port)), pong);
    assert_eq!(facts.is_ok(), text.is_ok_and(|text| text == "pong"), "{facts:?}");
    facts
}

fn refused(context: &Arc<TlsContext>, server: &Server, shown: &Option<Arc<dyn ResolvesClientCert>>) -> Reason {
    let [first, second] = VERSIONS.map(|version| visit(context, server.client(shown.clone(), version)).unwrap_err());
    assert_eq!(first, second, "TLS 1.2 and 1.3 agree");
    first
}

#[test]
fn a_client_with_a_certificate_of_the_authority_is_let_in_and_told_of() {
    let (server, authority) = (Server::new("client-good"), Authority::new());
    let context = server.context(&server.settings(&authority, &[]));
    let leaf = authority.client_with("partner, a", 7, |params| {
        params.distinguished_name.push(DnType::OrganizationName, "x".repeat(600));
        params.subject_alt_names = vec![
            SanType::DnsName("partner.test".try_into().unwrap()),
            SanType::Rfc822Name("jane.doe@partner.test".try_into().unwrap()),
            SanType::URI("spiffe://partner/a".try_into().unwrap()),
            SanType::IpAddress("192.0.2.1".parse().unwrap()),
        ];
    });
    for version in VERSIONS {
        let client = visit(&context, server.client(shows(&leaf, &[]), version)).unwrap().client.unwrap();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &chain(&[&leaf.certificate])[0]);
        assert_eq!(client.fingerprint, digest.as_ref());
        assert!(client.subject.contains("CN=partner\\, a") && client.subject.len() < 520, "{}", client.subject);
        assert!(client.issuer.contains("CN=Portcullis tests"), "{}", client.issuer);
        assert_eq!(&*client.names, "DNS:partner.test email:[redacted]@partner.test URI:spiffe://partner/a IP:192.0.2.1");
    }
}

#[test]
fn the_authority_of_a_client_is_one_that_is_trusted_by_this_name_and_no_other() {
    let server = Server::new("client-authority");
    let (machines, others) = (Authority::named("Machines"), Authority::named("Others"));
    let (below, impostor) = (machines.below("Issuing", 2), others.below("Machines", 3));
    let told = |trusted: &[&Authority], issuer: &Authority, between: &[&str]| {
        let settings = server.settings(&machines, &[]);
        let bundle: String = trusted.iter().map(|authority| authority.certificate.as_str()).collect();
        server.write("trust.pem", bundle);
        let client = server.client(shows(&issuer.client("c", 4), between), VERSIONS[0]);
        visit(&server.context(&settings), client).unwrap().client.unwrap().authority
    };
    for trusted in [&[&machines][..], &[&machines, &others], &[&others, &machines]] {
        assert_eq!(&*told(trusted, &machines, &[]), "CN=Machines");
        assert_eq!(&*told(trusted, &below, &[&below.certificate]), "CN=Machines");
    }
    assert_eq!(&*told(&[&machines, &others], &impostor, &[&impostor.certificate]), "CN=Others");
    // Of two by the same name neither is meant.
    assert_eq!(&*told(&[&machines, &Authority::named("Machines")], &machines, &[]), "");
}

#[test]
fn a_client_without_a_good_certificate_is_refused_with_the_reason() {
    let (server, authority) = (Server::new("client-bad"), Authority::new());
    let stranger = Authority::new();
    let context = server.context(&server.settings(&authority, &[]));
    assert_eq!(refused(&context, &server, &None), Reason::ClientCertificateMissing);
    let expired = authority.client_with("late", 2, |params| params.not_after = rcgen::date_time_ymd(2026, 1, 1));
    let early = authority.client_with("early", 2, |params| params.not_before = rcgen::date_time_ymd(2090, 1, 1));
    let of_server = authority.client_with("server", 2, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let between = authority.below("between", 3);
    for (what, shown, reason) in [
        ("of nobody", shows(&stranger.client("x", 2), &[]), Reason::ClientCertificateUntrusted),
        ("expired", shows(&expired, &[]), Reason::ClientCertificateExpired),
        ("not valid yet", shows(&early, &[]), Reason::ClientCertificateExpired),
        ("not for clients", shows(&of_server, &[]), Reason::ClientCertificateUntrusted),
        ("with a gap", shows(&between.client("x", 2), &[]), Reason::ClientCertificateUntrusted),
        ("with other keys between", shows(&between.client("x", 2), &[&stranger.certificate]), Reason::ClientCertificateUntrusted),
    ] {
        assert_eq!(refused(&context, &server, &shown), reason, "{what}");
    }
    let whole = shows(&between.client("x", 2), &[&between.certificate]);
    assert!(visit(&context, server.client(whole, VERSIONS[1])).is_ok());
}

#[test]
fn where_certificates_are_optional_a_bad_one_is_still_refused() {
    let (server, authority) = (Server::new("client-optional"), Authority::new());
    let settings = ClientCertificates { is_required: false, ..server.settings(&authority, &[]) };
    let context = server.context(&settings);
    for version in VERSIONS {
        assert!(visit(&context, server.client(None, version)).unwrap().client.is_none());
        assert!(visit(&context, server.client(shows(&authority.client("x", 2), &[]), version)).unwrap().client.is_some());
    }
    let stranger = shows(&Authority::new().client("x", 2), &[]);
    assert_eq!(refused(&context, &server, &stranger), Reason::ClientCertificateUntrusted);
}

#[test]
fn e140_whoever_has_been_revoked_is_refused_and_whoever_is_not_told_of_too() {
    let (server, authority) = (Server::new("client-revoked"), Authority::new());
    let (good_between, bad_between) = (authority.below("good between", 10), authority.below("bad between", 11));
    let own = authority.revoked(&[5, 11], true);
    let lists = [own.as_str(), &good_between.revoked(&[20], true), &bad_between.revoked(&[], true)];
    let context = server.context(&server.settings(&authority, &lists));
    let leaf = |authority: &Authority, serial| authority.client("x", serial);
    let through = |between: &Authority, serial| shows(&leaf(between, serial), &[&between.certificate]);
    assert!(visit(&context, server.client(shows(&leaf(&authority, 6), &[]), VERSIONS[1])).is_ok());
    assert!(visit(&context, server.client(through(&good_between, 21), VERSIONS[0])).is_ok());
    for (what, shown) in [
        ("the client's own", shows(&leaf(&authority, 5), &[])),
        ("the client's own below another", through(&good_between, 20)),
        ("the one between", through(&bad_between, 21)),
    ] {
        assert_eq!(refused(&context, &server, &shown), Reason::ClientCertificateRevoked, "{what}");
    }
    let untold = server.context(&server.settings(&authority, &[&own]));
    assert_eq!(refused(&untold, &server, &through(&good_between, 21)), Reason::ClientRevocationUnknown);
}

#[test]
fn e140_a_stale_list_refuses_unless_it_is_said_otherwise() {
    let (server, authority) = (Server::new("client-stale"), Authority::new());
    let settings = server.settings(&authority, &[&authority.revoked(&[5], false)]);
    let shown = |serial| shows(&authority.client("x", serial), &[]);
    assert_eq!(refused(&server.context(&settings), &server, &shown(6)), Reason::ClientRevocationUnknown);
    let revocation = settings.revocation.clone().map(|revocation| Revocation { is_stale_accepted: true, ..revocation });
    let lenient = server.context(&ClientCertificates { revocation, ..settings });
    assert!(visit(&lenient, server.client(shown(6), VERSIONS[1])).is_ok());
    assert_eq!(refused(&lenient, &server, &shown(5)), Reason::ClientCertificateRevoked);
}

#[test]
fn e113_trust_and_lists_that_are_not_wholly_understood_are_refused_with_their_file() {
    let (server, authority) = (Server::new("client-files"), Authority::new());
    let good = server.settings(&authority, &[&authority.revoked(&[5], true)]);
    let stranger = Authority::new();
    let pem = authority.revoked(&[5], true);
    let der = CertificateRevocationListDer::from_pem_slice(pem.as_bytes()).unwrap();
    let with_trust = |name: &str, content: &str| ClientCertificates { trust: server.write(name, content), ..good.clone() };
    let with_list = |name: &str, content: &[u8]| {
        let revocation = Some(Revocation { lists: vec![server.write(name, content)], is_stale_accepted: false });
        ClientCertificates { revocation, ..good.clone() }
    };
    for (settings, file, words) in [
        (with_trust("empty.pem", ""), "empty.pem", "has no certificate"),
        (
            with_trust("garbage.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            "garbage.pem",
            "cannot be trusted",
        ),
        (with_trust("cut.pem", authority.certificate.get(..300).unwrap()), "cut.pem", "PEM"),
        (with_list("empty.crl", b""), "empty.crl", "has no revocation list"),
        (with_list("words.crl", b"nobody"), "words.crl", "has no revocation list"),
        (with_list("cut.crl", &pem.as_bytes()[..200]), "cut.crl", "is not a revocation list in PEM"),
        (with_list("more.crl", &[&der[..], &[0]].concat()), "more.crl", "something follows"),
        // As somebody who can write the file but not sign would have it; and one of an authority with the same name.
        (
            with_list("forged.crl", stranger.revoked(&[], true).as_bytes()),
            "forged.crl",
            "is not signed by the authority that it names",
        ),
    ] {
        let problem = server.problem(&settings);
        assert!(problem.contains(file) && problem.contains(words), "{file}: {problem}");
    }
    let missing = ClientCertificates { trust: PathBuf::from("/nowhere/ca.pem"), ..good.clone() };
    assert!(server.problem(&missing).contains("`/nowhere/ca.pem` cannot be read"));
    // The same list in DER.
    let context = server.context(&with_list("good.crl", &der));
    assert_eq!(refused(&context, &server, &shows(&authority.client("x", 5), &[])), Reason::ClientCertificateRevoked);
}

/// A part of DER.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = match content.len() {
        short @ 0..=127 => vec![short as u8],
        long => [&[0x82][..], &(long as u16).to_be_bytes()].concat(),
    };
    [&[tag][..], &length, content].concat()
}

/// A list that nobody signed, with this extension issuingDistributionPoint.
fn crafted(distribution_point: &[u8]) -> Vec<u8> {
    let algorithm = tlv(0x30, &tlv(6, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]));
    let name = tlv(0x30, &tlv(0x31, &tlv(0x30, &[tlv(6, &[0x55, 4, 3]), tlv(12, b"anybody")].concat())));
    let time = |text: &[u8]| tlv(0x17, text);
    let value = tlv(4, &tlv(0x30, distribution_point));
    let extension = tlv(0x30, &[tlv(6, &[0x55, 0x1d, 0x1c]), tlv(1, &[0xff]), value].concat());
    let number = tlv(0x30, &[tlv(6, &[0x55, 0x1d, 0x14]), tlv(4, &tlv(2, &[1]))].concat());
    let extensions = tlv(0xa0, &tlv(0x30, &[number, extension].concat()));
    let (begin, end) = (time(b"260101000000Z"), time(b"490101000000Z"));
    let list = tlv(0x30, &[tlv(2, &[1]), algorithm.clone(), name, begin, end, extensions].concat());
    tlv(0x30, &[list, algorithm, tlv(3, &[0, 0x30, 0])].concat())
}

#[test]
fn d97_crafted_lists_are_refused_or_tell_of_nobody_and_panic_nowhere() {
    let (server, authority) = (Server::new("client-crafted"), Authority::new());
    let good = server.settings(&authority, &[&authority.revoked(&[5], true)]);
    let build = |list: &[u8]| {
        let revocation = Some(Revocation { lists: vec![server.write("crafted.crl", list)], is_stale_accepted: false });
        server.build(&ClientCertificates { revocation, ..good.clone() }, &TicketKeys::new(clock()), &clock())
    };
    // onlySomeReasons as a bit string without its first byte (RUSTSEC-2026-0104), empty, and odd.
    for reasons in
        [&tlv(0x83, &[])[..], &tlv(0x83, &[0]), &tlv(0x83, &[9, 1]), &tlv(0x83, &[7]), &tlv(0x83, &[0xff; 300]), &[0x83], &[]]
    {
        if let Ok(context) = build(&crafted(reasons)) {
            let reason = refused(&context, &server, &shows(&authority.client("x", 6), &[]));
            assert_eq!(reason, Reason::ClientRevocationUnknown, "{reasons:?}");
        }
    }
    let list = crafted(&tlv(0x81, &[0xff]));
    for end in 0..list.len() {
        assert!(build(&list[..end]).is_err(), "cut after {end} bytes");
    }
    for at in 0..list.len() {
        for change in [1, 0x20, 0x80, 0xff] {
            let mut changed = list.clone();
            changed[at] ^= change;
            // Some of them are lists, of somebody else; none may panic.
            let _either = build(&changed);
        }
    }
}

#[test]
fn e124_a_name_with_a_nul_in_it_is_refused() {
    let (server, authority) = (Server::new("client-nul"), Authority::new());
    let context = server.context(&server.settings(&authority, &[]));
    let named = |name: SanType| authority.client_with("x", 2, move |params| params.subject_alt_names = vec![name]);
    for name in [
        SanType::DnsName("good\0.evil".try_into().unwrap()),
        SanType::DnsName("good.test evil.test".try_into().unwrap()),
        SanType::URI("spiffe://good\0/evil".try_into().unwrap()),
        SanType::Rfc822Name("good@a.test\0.evil".try_into().unwrap()),
        SanType::DnsName("good\n.evil".try_into().unwrap()),
    ] {
        assert_eq!(refused(&context, &server, &shows(&named(name), &[])), Reason::ClientCertificateUntrusted);
    }
    for subject in ["good\0evil", "good\nevil"] {
        let leaf = authority.client(subject, 2);
        assert_eq!(refused(&context, &server, &shows(&leaf, &[])), Reason::ClientCertificateUntrusted, "{subject:?}");
    }
    assert!(
        visit(&context, server.client(shows(&named(SanType::DnsName("good.evil".try_into().unwrap())), &[]), VERSIONS[1])).is_ok()
    );
}

/// Signs with whatever bytes.
#[derive(Debug)]
struct Forger;

impl SigningKey for Forger {
    fn choose_scheme(&self, _: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        Some(Box::new(Self))
    }
    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::RSA
    }
}

impl Signer for Forger {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        Ok(vec![0x55; 2048])
    }
    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::RSA_PSS_SHA256
    }
}

/// A public key of 16,384 bits.
struct HugeKey(Vec<u8>);

impl HugeKey {
    fn new() -> Self {
        let modulus = [&[0, 0xc1][..], &[0xa7; 2046], &[0x0f]].concat();
        Self(tlv(0x30, &[tlv(2, &modulus), tlv(2, &[1, 0, 1])].concat()))
    }
}

impl rcgen::PublicKeyData for HugeKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }
    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_RSA_SHA256
    }
}

#[test]
fn d96_huge_keys_and_long_chains_are_refused_before_they_cost_anything() {
    let (server, authority) = (Server::new("client-huge"), Authority::new());
    let context = server.context(&server.settings(&authority, &[]));
    let key = HugeKey::new();
    let forged = |certificates: Vec<CertificateDer<'static>>| -> Option<Arc<dyn ResolvesClientCert>> {
        Some(Arc::new(SingleCertAndKey::from(CertifiedKey::new(certificates, Arc::new(Forger)))))
    };
    // The authority vouches for the huge key; and one that claims to stand between the client and the authority.
    let own = authority.vouch(&key, false);
    let between = authority.vouch(&key, true);
    let below = Authority::new().client("x", 2);
    let pem = |text: &str| CertificateDer::from_pem_slice(text.as_bytes()).unwrap();
    let reason = refused(&context, &server, &forged(vec![pem(&own)]));
    assert!(matches!(reason, Reason::HandshakeFailed | Reason::ClientCertificateUntrusted), "{reason:?}");
    assert_eq!(refused(&context, &server, &shows(&below, &[&between])), Reason::ClientCertificateUntrusted);
    let many: Vec<String> = (0..40).map(|number| authority.below("between", number + 10).certificate).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(refused(&context, &server, &shows(&authority.client("x", 2), &many)), Reason::ClientCertificateUntrusted);
}

#[test]
fn e139_a_session_does_not_outlive_the_trust_it_began_with() {
    let (server, authority) = (Server::new("client-resume"), Authority::new());
    let first = server.settings(&authority, &[&authority.revoked(&[5], true)]);
    let clock = clock();
    let tickets = TicketKeys::new(clock.clone());
    let context = |settings: &ClientCertificates| server.build(settings, &tickets, &clock).unwrap();
    let short = authority.client_with("x", 6, |params| params.not_after = rcgen::date_time_ymd(2026, 11, 24));
    for version in VERSIONS {
        clock.set_unix_micros(super::NOW * 1_000_000);
        server.write("0.crl", authority.revoked(&[5], true));
        let client = server.client(shows(&short, &[]), version);
        let visit = |context: &Arc<TlsContext>| visit(context, Arc::clone(&client));
        assert!(!visit(&context(&first)).unwrap().resumed);
        let resumed = visit(&context(&first)).unwrap();
        assert!(resumed.resumed && resumed.client.is_some(), "the same trust, read anew");
        // Another list: a whole handshake; and the client that it names is gone, ticket or not.
        server.write("0.crl", authority.revoked(&[5, 7], true));
        assert!(!visit(&context(&first)).unwrap().resumed);
        assert!(visit(&context(&first)).unwrap().resumed);
        server.write("0.crl", authority.revoked(&[5, 6], true));
        assert_eq!(visit(&context(&first)).unwrap_err(), Reason::ClientCertificateRevoked);
        // Another mode is another trust.
        server.write("0.crl", authority.revoked(&[5], true));
        assert!(visit(&context(&first)).is_ok());
        assert!(!visit(&context(&ClientCertificates { is_required: false, ..first.clone() })).unwrap().resumed);
        // The certificate expires while its ticket would live on.
        assert!(visit(&context(&first)).is_ok());
        clock.set_unix_micros((super::NOW + 11 * 3600) * 1_000_000);
        let late = visit(&context(&first)).unwrap_err();
        assert_eq!(late, Reason::ClientCertificateExpired);
    }
}
