//! Which hosts a certificate is for, by its subject alternative names alone (RFC 9525): the common name does not count.

use rustls::sign::CertifiedKey;
use std::net::IpAddr;
use std::path::Path;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// How many names are told of a certificate that covers others.
const TOLD_MAX: usize = 8;

/// Whether the certificate that was read from `file` covers each of `hosts`: names, `*.` and a name, or addresses.
///
/// # Errors
/// Which hosts it does not cover, what it does cover, and what to do.
pub fn check_coverage(file: &Path, key: &CertifiedKey, hosts: &[String]) -> Result<(), String> {
    let shown = file.display();
    let own = key.cert.first().ok_or_else(|| format!("`{shown}` has no certificate"))?;
    let (_, parsed) =
        X509Certificate::from_der(own).map_err(|error| format!("`{shown}`: the certificate cannot be read: {error}"))?;
    let extension = parsed.subject_alternative_name();
    let extension = extension.map_err(|error| format!("`{shown}`: the names of the certificate cannot be read: {error}"))?;
    let names = extension.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let missing: Vec<String> = hosts.iter().filter(|host| !is_covered(host, names)).map(|host| format!("`{host}`")).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let covered = told(names);
    let covered = if covered.is_empty() {
        "it has no subject alternative name, and its common name does not count".to_owned()
    } else {
        format!("it covers {covered}")
    };
    let missing = missing.join(", ");
    Err(format!(
        "`{shown}`: the certificate does not cover {missing}, which it is configured for; {covered}; get one that does, or correct its `hosts`"
    ))
}

fn is_covered(host: &str, names: &[GeneralName<'_>]) -> bool {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let address = bare.parse::<IpAddr>().ok();
    // A wildcard stands for one whole label (RFC 9525 section 6.3).
    let siblings = host.split_once('.').filter(|(label, _)| !label.is_empty()).map(|(_, parent)| parent);
    names.iter().any(|name| match (name, address) {
        (GeneralName::IPAddress(bytes), Some(address)) => address_of(bytes) == Some(address),
        (GeneralName::DNSName(name), None) => {
            let by_wildcard =
                || name.strip_prefix("*.").zip(siblings).is_some_and(|(parent, own)| parent.eq_ignore_ascii_case(own));
            name.eq_ignore_ascii_case(host) || by_wildcard()
        }
        _ => false,
    })
}

fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    v4().or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
}

/// What a certificate covers, for the operator. Its names are input: nothing in them may play tricks on a terminal.
fn told(names: &[GeneralName<'_>]) -> String {
    let mut covered: Vec<String> = names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(format!("`{}`", name.escape_default())),
            GeneralName::IPAddress(bytes) => address_of(bytes).map(|address| format!("`{address}`")),
            _ => None,
        })
        .collect();
    let more = covered.len().saturating_sub(TOLD_MAX);
    covered.truncate(TOLD_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    covered.join(", ") + &more
}

#[cfg(test)]
mod tests {
    use super::{GeneralName, is_covered, told};

    #[test]
    fn names_wildcards_and_addresses_cover_what_they_say_and_no_more() {
        let names = [
            GeneralName::DNSName("a.test"),
            GeneralName::DNSName("*.B.test"),
            GeneralName::DNSName("f*.c.test"),
            GeneralName::DNSName("10.9.9.9"),
            GeneralName::IPAddress(&[192, 0, 2, 1]),
            GeneralName::IPAddress(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            GeneralName::IPAddress(&[1, 2, 3]),
        ];
        for (host, covered) in [
            ("a.test", true),
            ("A.test", true),
            ("x.a.test", false),
            ("x.b.test", true),
            ("*.b.test", true),
            ("b.test", false),
            ("x.y.b.test", false),
            (".b.test", false),
            ("*.a.test", false),
            ("fx.c.test", false),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("10.9.9.9", false),
            ("[::1]", true),
            ("[::2]", false),
            ("test", false),
        ] {
            assert_eq!(is_covered(host, &names), covered, "{host}");
        }
    }

    #[test]
    fn what_is_told_of_a_certificate_is_short_and_harmless() {
        let many: Vec<String> = (0..20).map(|number| format!("n{number}.test")).collect();
        let many: Vec<_> = many.iter().map(|name| GeneralName::DNSName(name)).collect();
        assert!(told(&many).ends_with("`n7.test` and 12 more"), "{}", told(&many));
        assert_eq!(told(&[GeneralName::DNSName("a\u{1b}[2J")]), "`a\\u{1b}[2J`");
    }
}
