//! `identity.client_certificates`: clients that are known by their certificates.

use super::{Numbered, Word};
use portcullis_gateway_policy::CertificateMatch;
use portcullis_model_settings::{Decode, Diagnostics, Node, Schema, Spanned, Value, scalar_schema, section};
use std::fmt::Write as _;
use std::sync::Arc;

section! {
    /// Clients that are known by the certificate of their connection. To an API this is another provider. A certificate counts only where the
    /// request brings no other credential that the API takes.
    pub struct CertificatesSettings {
        /// The authority that the certificates lead to, one of the listener's `trust`, in the form of RFC 4514: `CN=Machines,O=Example`, the
        /// attributes in the order of the certificate.
        pub issuer: Spanned<Arc<str>>,
        /// The clients. The first that fits counts; a certificate that none fits proves nothing.
        pub clients: Numbered<Spanned<CertificateClientSettings>>,
    }
}

section! {
    /// A client, or clients of a kind, by exactly one of `dns`, `uri` and `fingerprint`.
    pub struct CertificateClientSettings {
        /// Who it is, for records, limits and the upstream. Without it the host name or URI of the certificate says that.
        pub name: Option<Spanned<Word>>,
        /// A host name among the certificate's alternative names; `*.` at the beginning stands for one label.
        pub dns: Option<Spanned<DnsName>>,
        /// A URI among the certificate's alternative names; `/*` at the end stands for anything below.
        pub uri: Option<Spanned<UriName>>,
        /// The SHA-256 of the certificate, in hexadecimal digits. It changes with each renewal.
        pub fingerprint: Option<Spanned<Fingerprint>>,
        /// The roles it has; known as `NAME/ROLE`.
        pub roles: Vec<Spanned<Word>> = Vec::new(),
        /// The scopes it has.
        pub scopes: Vec<Spanned<Word>> = Vec::new(),
    }
}

/// A host name, or all of one label below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsName(pub CertificateMatch);

/// A URI, or all below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UriName(pub CertificateMatch);

/// The SHA-256 of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

fn dns(text: &str) -> Option<CertificateMatch> {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let below = text.strip_prefix('*').filter(|rest| rest.starts_with('.'));
    let name = below.map_or(text, |rest| rest.get(1..).unwrap_or_default());
    let is_sound = name.len() <= 253 && name.split('.').all(is_label);
    let lower = |text: &str| Arc::from(text.to_ascii_lowercase());
    is_sound.then(|| below.map_or_else(|| CertificateMatch::Dns(lower(text)), |rest| CertificateMatch::DnsBelow(lower(rest))))
}

fn uri(text: &str) -> Option<CertificateMatch> {
    let below = text.strip_suffix('*').filter(|rest| rest.ends_with('/'));
    let name = below.unwrap_or(text);
    let (scheme, rest) = name.split_once(':')?;
    let is_sound = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && rest.trim_matches('/').len() > 1
        && name.len() <= 512
        && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'*');
    is_sound.then(|| below.map_or_else(|| CertificateMatch::Uri(text.into()), |rest| CertificateMatch::UriBelow(rest.into())))
}

fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = match text.split(':').count() {
        1 if text.len() == 64 => text.bytes().collect(),
        32 if text.split(':').all(|pair| pair.len() == 2) => text.bytes().filter(|byte| *byte != b':').collect(),
        _ => return None,
    };
    let byte = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).ok().filter(|text| text.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        u8::from_str_radix(text, 16).ok()
    };
    digits.chunks(2).map(byte).collect::<Option<Vec<u8>>>()?.try_into().ok()
}

/// What fits, as it is written.
pub(crate) fn written(fits: &CertificateMatch) -> (&'static str, String) {
    match fits {
        CertificateMatch::Dns(name) => ("dns", name.to_string()),
        CertificateMatch::DnsBelow(rest) => ("dns", format!("*{rest}")),
        CertificateMatch::Uri(name) => ("uri", name.to_string()),
        CertificateMatch::UriBelow(rest) => ("uri", format!("{rest}*")),
        CertificateMatch::Fingerprint(bytes) => ("fingerprint", hexadecimal(bytes)),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _written = write!(out, "{byte:02x}");
        out
    })
}

macro_rules! scalar {
    ($name:ident, $read:expr, $write:expr, $what:literal, $title:literal, $example:literal) => {
        impl Decode for $name {
            fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
                let read = node.as_str().and_then($read);
                if read.is_none() {
                    diagnostics.wrong(node, $what);
                }
                read.map(Self)
            }

            fn encode(&self) -> Value {
                Value::from($write(&self.0))
            }

            fn schema() -> Schema {
                scalar_schema($title, None, $example)
            }
        }
    };
}

scalar!(
    DnsName,
    dns,
    |fits| written(fits).1,
    "a host name, such as `billing.example.com` or `*.machines.example.com`",
    "host name",
    "billing.example.com"
);
scalar!(
    UriName,
    uri,
    |fits| written(fits).1,
    "a URI, such as `spiffe://example.com/billing` or `spiffe://example.com/shop/*`",
    "URI",
    "spiffe://example.com/billing"
);
scalar!(
    Fingerprint,
    fingerprint,
    |bytes: &[u8; 32]| hexadecimal(bytes),
    "the SHA-256 of a certificate: 64 hexadecimal digits",
    "SHA-256",
    "0f1e2d3c…"
);

#[cfg(test)]
mod tests {
    use super::{dns, fingerprint, uri, written};

    #[test]
    fn what_fits_is_read_as_it_is_written() {
        for text in ["billing.example.com", "*.machines.example.com", "a", "x_1.example.com"] {
            assert_eq!(dns(text).map(|fits| written(&fits)), Some(("dns", text.to_owned())));
        }
        assert_eq!(dns("A.Example.COM").map(|fits| written(&fits).1).as_deref(), Some("a.example.com"));
        for bad in ["", "*", "*.", "a.*.b", "**.a", "*a.b", "a..b", ".a", "a.", "a b", "a/b", "192.0.2.1:1"] {
            assert_eq!(dns(bad), None, "{bad}");
        }
        for text in ["spiffe://example.com/billing", "spiffe://example.com/shop/*", "urn:uuid:1-2"] {
            assert_eq!(uri(text).map(|fits| written(&fits)), Some(("uri", text.to_owned())));
        }
        for bad in ["", "*", "spiffe://*", "spiffe:///*", "a/b", "spiffe://a*", "spiffe://a/*/b", "1:ab", "spiffe://a b/c"] {
            assert_eq!(uri(bad), None, "{bad}");
        }
        let (plain, colons) = ("0a".repeat(32), ["0A"; 32].join(":"));
        assert_eq!((fingerprint(&plain), fingerprint(&colons)), (Some([10; 32]), Some([10; 32])));
        for bad in ["", "0a", &"0g".repeat(32), &"0a".repeat(33), &"+a".repeat(32), &["0a"; 31].join(":"), &"é".repeat(32)] {
            assert_eq!(fingerprint(bad), None, "{bad}");
        }
    }
}
