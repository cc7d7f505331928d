//! What a client's certificate says, once it is verified.

use portcullis_model::{AlternativeName, ClientCertificate};
use rustls::pki_types::CertificateDer;
use rustls::{CertificateError, Error};
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// How much of a name is recorded.
const NAME_BYTES_MAX: usize = 512;
/// How many alternative names are recorded.
const NAMES_MAX: usize = 8;

/// How many alternative names are looked at to find out who it is.
const IDENTITIES_MAX: usize = 64;

/// Attributes of a name by their numbers, and what they are called (RFC 4514 section 3).
const ATTRIBUTES: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    (EMAIL, "emailAddress"),
];
const EMAIL: &str = "1.2.840.113549.1.9.1";

/// Refuses names that one reader ends where another reads on (threats E 124), and those that nobody can read.
pub(super) fn check_names(certificate: &CertificateDer<'_>) -> Result<(), Error> {
    let bad = || Error::from(CertificateError::BadEncoding);
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| bad())?;
    let names = parsed.subject_alternative_name().map_err(|_| bad())?;
    let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let is_plain = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => {
            text.bytes().all(|byte| byte.is_ascii_graphic())
        }
        GeneralName::IPAddress(bytes) => matches!(bytes.len(), 4 | 16),
        GeneralName::Invalid(..) => false,
        _ => true,
    };
    let is_readable =
        |attribute: &AttributeTypeAndValue<'_>| !attribute.as_slice().contains(&0) && !attribute.as_str().is_ok_and(has_control);
    let subject = parsed.subject().iter_attributes().all(is_readable);
    if subject && names.iter().all(is_plain) { Ok(()) } else { Err(bad()) }
}

fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

/// What is recorded of a verified certificate. Nothing of it is longer than a bound, and e-mail addresses are left out.
pub(super) fn describe(certificate: &CertificateDer<'_>) -> ClientCertificate {
    let mut fingerprint = [0; 32];
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
    fingerprint.iter_mut().zip(digest.as_ref()).for_each(|(slot, byte)| *slot = *byte);
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        // INVARIANT: it was read when its names were checked.
        return ClientCertificate { fingerprint, ..ClientCertificate::default() };
    };
    let names = parsed.subject_alternative_name().ok().flatten();
    let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let shown: Vec<String> = names.iter().filter_map(alternative).take(NAMES_MAX).collect();
    ClientCertificate {
        fingerprint,
        subject: distinguished(parsed.subject()),
        issuer: distinguished(parsed.issuer()),
        names: bounded(shown.join(" ")),
        authority: Box::default(),
        identities: names.iter().take(IDENTITIES_MAX).filter_map(identity).collect(),
        expires_unix_seconds: u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or_default(),
    }
}

/// The name of an authority in the form of RFC 4514; nothing when it could be the name of another as well.
pub(super) fn authority_name(certificate: &CertificateDer<'_>) -> Option<Box<str>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let is_whole = |attribute: &AttributeTypeAndValue<'_>| {
        attribute.attr_type().to_id_string() != EMAIL && attribute.as_str().is_ok_and(|text| !has_control(text))
    };
    let name = distinguished(parsed.subject());
    let is_whole = parsed.subject().iter_attributes().all(is_whole) && name.len() <= NAME_BYTES_MAX && !name.is_empty();
    is_whole.then_some(name)
}

/// An alternative name that stands for one host or one thing.
fn identity(name: &GeneralName<'_>) -> Option<AlternativeName> {
    match name {
        GeneralName::DNSName(text) if !text.contains('*') => Some(AlternativeName::Dns(text.to_ascii_lowercase().into())),
        GeneralName::URI(text) => Some(AlternativeName::Uri((*text).into())),
        _ => None,
    }
}

/// A distinguished name in the form of RFC 4514, its parts in the order of the certificate.
fn distinguished(name: &X509Name<'_>) -> Box<str> {
    let mut out = String::new();
    for attribute in name.iter_attributes() {
        if out.len() > NAME_BYTES_MAX {
            break;
        }
        if !out.is_empty() {
            out.push(',');
        }
        let number = attribute.attr_type().to_id_string();
        let called = ATTRIBUTES.iter().find(|(known, _)| *known == number).map_or(number.as_str(), |(_, called)| called);
        out.push_str(called);
        out.push('=');
        match attribute.as_str() {
            Ok(_) if number == EMAIL => out.push_str("[redacted]"),
            Ok(text) => push_escaped(&mut out, text),
            Err(_) => out.push_str("[binary]"),
        }
    }
    bounded(out)
}

fn push_escaped(out: &mut String, text: &str) {
    for letter in text.chars() {
        if matches!(letter, ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=') {
            out.push('\\');
        }
        out.push(letter);
    }
}

/// An alternative name as it is recorded: of an e-mail address only where it is.
fn alternative(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(text) => Some(format!("DNS:{text}")),
        GeneralName::URI(text) => Some(format!("URI:{text}")),
        GeneralName::RFC822Name(text) => {
            Some(format!("email:[redacted]{}", text.rfind('@').and_then(|at| text.get(at..)).unwrap_or_default()))
        }
        GeneralName::IPAddress(bytes) => {
            let mut out = "IP:".to_owned();
            let four = <[u8; 4]>::try_from(*bytes).map(|four| write!(out, "{}", Ipv4Addr::from(four)));
            let written = four.or_else(|_| <[u8; 16]>::try_from(*bytes).map(|sixteen| write!(out, "{}", Ipv6Addr::from(sixteen))));
            written.is_ok().then_some(out)
        }
        _ => None,
    }
}

/// Cuts a text that is too long, and says so.
fn bounded(mut text: String) -> Box<str> {
    if text.len() > NAME_BYTES_MAX {
        let end = (0..=NAME_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        text.truncate(end);
        text.push('…');
    }
    text.into()
}
