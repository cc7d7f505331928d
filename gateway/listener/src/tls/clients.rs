//! Certificates of clients: whom a listener trusts, and who has been revoked.

use super::client_certificate::{authority_name, check_names};
use super::revocation::{List, read_lists};
use aws_lc_rs::digest::{Context, SHA256};
use portcullis_gateway_tls::read_certificates;
use portcullis_model::{Clock, Reason};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How many certificates a client may send beside its own. Each costs a signature before anybody knows who it is (threats D 96).
const INTERMEDIATES_MAX: usize = 5;
/// How large a certificate of a client may be.
const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;
/// Up to so many authorities clients are told whom the listener trusts, so that they choose the right certificate.
const HINTS_MAX: usize = 32;

/// Whose certificates are taken from clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// Whether a client without one is refused.
    pub is_required: bool,
    /// The authorities, a bundle in PEM.
    pub trust: PathBuf,
    /// Whether revocation is looked at, and how.
    pub revocation: Option<Revocation>,
}

/// Who has been revoked. With this every certificate of a chain below its authority needs a list that covers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Certificate revocation lists, PEM or DER (RFC 5280 section 5).
    pub lists: Vec<PathBuf>,
    /// Whether a list counts on after the time at which its successor was promised.
    pub is_stale_accepted: bool,
}

/// One of the authorities, alone.
#[derive(Debug)]
struct NamedAuthority {
    name: Box<str>,
    verifier: Arc<dyn ClientCertVerifier>,
}

/// Whom a listener trusts, read and understood.
#[derive(Clone, Debug)]
pub(super) struct ClientTrust {
    verifier: Arc<dyn ClientCertVerifier>,
    /// A hash of everything that decides whether a certificate is taken.
    pub(super) binding: [u8; 32],
    authorities: Arc<[NamedAuthority]>,
    clock: Clock,
}

impl ClientTrust {
    /// Reads the authorities and the lists. All of them must be readable: what is silently left out is trust or revocation that
    /// somebody believes to be there (threats E 113).
    ///
    /// # Errors
    /// What is wrong with which file, and what to do.
    pub(super) fn read(settings: &ClientCertificates, crypto: &Arc<CryptoProvider>, clock: &Clock) -> Result<Self, String> {
        let shown = settings.trust.display();
        let authorities = read_certificates(&settings.trust)?;
        let mut roots = RootCertStore::empty();
        for (at, authority) in authorities.iter().enumerate() {
            let number = at + 1;
            roots
                .add(authority.clone())
                .map_err(|error| format!("certificate {number} of `{shown}` cannot be trusted: {error}"))?;
        }
        let lists = match &settings.revocation {
            None => Vec::new(),
            Some(revocation) => read_lists(&revocation.lists, &authorities, crypto)?,
        };
        let binding = binding(settings, &authorities, &lists);
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(crypto));
        if authorities.len() > HINTS_MAX {
            builder = builder.clear_root_hint_subjects();
        }
        if !settings.is_required {
            builder = builder.allow_unauthenticated();
        }
        if settings.revocation.as_ref().is_some_and(|revocation| !revocation.is_stale_accepted) {
            builder = builder.enforce_revocation_expiration();
        }
        let builder = builder.with_crls(lists.into_iter().map(|list| list.der));
        let inner = builder.build().map_err(|error| format!("clients cannot be verified by `{shown}`: {error}"))?;
        let authorities =
            named(&authorities, crypto).map_err(|error| format!("clients cannot be verified by `{shown}`: {error}"))?;
        Ok(Self { verifier: Arc::new(Verifier { inner }), binding, authorities, clock: clock.clone() })
    }

    /// What the library asks in a handshake.
    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier)
    }

    /// The name of the first authority of the bundle that a chain leads to, which has been verified; empty when that name is not one authority's
    /// alone. What a certificate between says of its own name is not asked: below another authority anybody could have that name.
    pub(super) fn authority_of(&self, chain: &[CertificateDer<'_>]) -> Box<str> {
        // The library has found one already.
        if let [sole] = &*self.authorities {
            return sole.name.clone();
        }
        let now = UnixTime::since_unix_epoch(Duration::from_secs(self.clock.unix_seconds()));
        let Some((own, rest)) = chain.split_first() else { return Box::default() };
        let found = self.authorities.iter().find(|one| one.verifier.verify_client_cert(own, rest, now).is_ok());
        found.map(|one| one.name.clone()).unwrap_or_default()
    }

    /// Verifies a chain that was verified before, when its session began: since then it may have expired, and so may the lists.
    pub(super) fn verify_again(&self, chain: Option<&[CertificateDer<'_>]>) -> Result<(), Reason> {
        let now = UnixTime::since_unix_epoch(Duration::from_secs(self.clock.unix_seconds()));
        match chain.and_then(<[_]>::split_first) {
            None if self.verifier.client_auth_mandatory() => Err(Reason::ClientCertificateMissing),
            None => Ok(()),
            Some((own, rest)) => self.verifier.verify_client_cert(own, rest, now).map(|_| ()).map_err(|error| reason_of(&error)),
        }
    }
}

/// The authorities, each with what verifies by it alone: that costs a signature only where the names fit.
fn named(authorities: &[CertificateDer<'static>], crypto: &Arc<CryptoProvider>) -> Result<Arc<[NamedAuthority]>, String> {
    let names: Vec<Option<Box<str>>> = authorities.iter().map(authority_name).collect();
    let one = |(authority, name): (&CertificateDer<'static>, &Option<Box<str>>)| {
        let is_sole = names.iter().filter(|other| *other == name).count() == 1;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone()).map_err(|error| error.to_string())?;
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(crypto));
        let verifier = builder.build().map_err(|error| error.to_string())?;
        Ok(NamedAuthority { name: name.clone().filter(|_| is_sole).unwrap_or_default(), verifier })
    };
    authorities.iter().zip(&names).map(one).collect()
}

fn binding(settings: &ClientCertificates, authorities: &[CertificateDer<'_>], lists: &[List]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    let stale = settings.revocation.as_ref().map(|revocation| revocation.is_stale_accepted);
    context.update(format!("client trust {} {stale:?} {} {}", settings.is_required, authorities.len(), lists.len()).as_bytes());
    let all = authorities.iter().map(AsRef::as_ref).chain(lists.iter().map(|list| list.der.as_ref()));
    for der in all {
        context.update(&(der.len() as u64).to_le_bytes());
        context.update(der);
    }
    let mut bytes = [0; 32];
    bytes.iter_mut().zip(context.finish().as_ref()).for_each(|(slot, byte)| *slot = *byte);
    bytes
}

/// Why a handshake failed, as far as the client's certificate is concerned.
pub(super) fn reason_of(error: &Error) -> Reason {
    let Error::InvalidCertificate(error) = error else {
        return match error {
            Error::NoCertificatesPresented => Reason::ClientCertificateMissing,
            Error::InvalidCertRevocationList(_) => Reason::ClientRevocationUnknown,
            _ => Reason::HandshakeFailed,
        };
    };
    match error {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => Reason::ClientCertificateExpired,
        CertificateError::Revoked => Reason::ClientCertificateRevoked,
        CertificateError::UnknownRevocationStatus
        | CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => Reason::ClientRevocationUnknown,
        _ => Reason::ClientCertificateUntrusted,
    }
}

/// The library's verifier, with bounds in front of it and a look at the names behind it.
#[derive(Debug)]
struct Verifier {
    inner: Arc<dyn ClientCertVerifier>,
}

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let mut all = std::iter::once(end_entity).chain(intermediates);
        if intermediates.len() > INTERMEDIATES_MAX || all.any(|one| one.len() > CERTIFICATE_BYTES_MAX) {
            return Err(CertificateError::BadEncoding.into());
        }
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        // SECURITY: only now, so that nothing else reads what nobody has vouched for.
        check_names(end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
