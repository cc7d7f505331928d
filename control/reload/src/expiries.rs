//! What runs out: certificates that the gateway shows, and lists that say who has been revoked.

use portcullis_control_config::settings::StaleList;
use portcullis_control_config::{ListenerMode, Plan};
use portcullis_gateway_tls::{Validity, certificate_validity, revocation_validity};
use portcullis_model_settings::Date;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const DAY_SECONDS: i64 = 86_400;
/// The longest time before its end that something is called near it. What lives shortly is so in the last quarter of its life.
const NEAR_SECONDS_MAX: i64 = 14 * DAY_SECONDS;

/// What it is that runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExpiryKind {
    /// A certificate that a listener shows.
    ListenerCertificate,
    /// A certificate that upstreams are shown.
    UpstreamCertificate,
    /// A list of those who are revoked; once it has run out, everybody below its issuer is refused.
    RevocationList,
    /// The same where lists count on (`stale: accept`).
    RevocationListAccepted,
}

impl ExpiryKind {
    /// The value of the label `kind`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ListenerCertificate => "listener_certificate",
            Self::UpstreamCertificate => "upstream_certificate",
            Self::RevocationList | Self::RevocationListAccepted => "revocation_list",
        }
    }
}

/// Something that runs out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// What it is.
    pub kind: ExpiryKind,
    /// The listener or upstream that needs it.
    pub name: Arc<str>,
    /// The file it is in.
    pub file: PathBuf,
    /// From when until when it counts.
    pub validity: Validity,
}

/// Everything that a plan names and that runs out, as the files are now. What cannot be read is left out: building what runs tells of it.
#[must_use]
pub fn expiries(plan: &Plan) -> Vec<Expiry> {
    let mut found = Vec::new();
    let mut add = |kind, name: &Arc<str>, file: &Path, validity: Option<Validity>| {
        found.extend(validity.map(|validity| Expiry { kind, name: Arc::clone(name), file: file.to_owned(), validity }));
    };
    for listener in &plan.listeners {
        let ListenerMode::Tls(tls) = &listener.mode else { continue };
        for one in &tls.certificates {
            add(ExpiryKind::ListenerCertificate, &listener.name, &one.certificate, certificate_validity(&one.certificate));
        }
        if let Some(clients) = &tls.client_certificates {
            let kind = match clients.stale {
                StaleList::Accept => ExpiryKind::RevocationListAccepted,
                StaleList::Refuse => ExpiryKind::RevocationList,
            };
            for file in &clients.crl {
                add(kind, &listener.name, file, revocation_validity(file));
            }
        }
    }
    for upstream in plan.upstreams.iter().filter(|upstream| upstream.uses_tls()) {
        if let Some((certificate, _)) = &upstream.tls.client_certificate {
            add(ExpiryKind::UpstreamCertificate, &upstream.name, certificate, certificate_validity(certificate));
        }
    }
    found
}

impl Expiry {
    /// The seconds that are left; negative when it has run out.
    #[must_use]
    pub fn left(&self, now_unix_seconds: u64) -> i64 {
        self.validity.until.saturating_sub(i64::try_from(now_unix_seconds).unwrap_or(i64::MAX))
    }

    /// What to tell the operator when it has run out or will soon: within 14 days, or within the last quarter of its life if that is less.
    #[must_use]
    pub fn warning(&self, now_unix_seconds: u64) -> Option<String> {
        let left = self.left(now_unix_seconds);
        let life = self.validity.until.saturating_sub(self.validity.from);
        if left >= NEAR_SECONDS_MAX.min(life / 4) {
            return None;
        }
        let day = Date::of_unix_seconds(u64::try_from(self.validity.until).unwrap_or_default());
        let when = match left {
            ..0 => format!("ran out on {day}"),
            0..DAY_SECONDS => format!("runs out on {day}, within {} h", (left + 3599).max(3600) / 3600),
            _ => format!("runs out on {day}, in {} days", left / DAY_SECONDS),
        };
        let (of, what, then) = match self.kind {
            ExpiryKind::ListenerCertificate => ("listener", "certificate", "clients refuse it then; renew it"),
            ExpiryKind::UpstreamCertificate => ("upstream", "client certificate", "servers refuse it then; renew it"),
            ExpiryKind::RevocationList => {
                ("listener", "revocation list", "everybody below its issuer is refused then; fetch the next one")
            }
            ExpiryKind::RevocationListAccepted => (
                "listener",
                "revocation list",
                "it counts on (`stale: accept`), and who is revoked since is let in; fetch the next one",
            ),
        };
        Some(format!("{of} `{}`: the {what} in `{}` {when}: {then}", self.name, self.file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::{DAY_SECONDS, Expiry, ExpiryKind, Validity};

    fn told(life_days: i64, left_seconds: i64) -> Option<String> {
        let until = 1_800_000_000;
        let validity = Validity { from: until - life_days * DAY_SECONDS, until };
        let expiry = Expiry { kind: ExpiryKind::ListenerCertificate, name: "secure".into(), file: "a.crt".into(), validity };
        let now = u64::try_from(until - left_seconds).unwrap();
        assert_eq!(expiry.left(now), left_seconds);
        expiry.warning(now)
    }

    #[test]
    fn what_runs_out_is_told_in_time() {
        assert_eq!(told(365, 14 * DAY_SECONDS), None);
        let begin = "listener `secure`: the certificate in `a.crt` ";
        let soon = told(365, 14 * DAY_SECONDS - 1).unwrap();
        assert!(soon.starts_with(begin) && soon.contains("runs out on 2027-01-15, in 13 days"), "{soon}");
        assert!(told(365, 5000).unwrap().contains("within 2 h"));
        assert!(told(365, -1).unwrap().contains("ran out on 2027-01-15"));
        // A list that lives for a week is fresh for most of it.
        assert_eq!(told(7, 2 * DAY_SECONDS), None);
        assert!(told(7, DAY_SECONDS).is_some());
    }
}
