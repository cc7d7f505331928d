//! Who may see secrets: one function reveals them, and each place that calls it is listed here with its reason.

use super::Finding;
use crate::repo::Repo;
use crate::source::{line_of, words};

const DEFINED: &str = "model/src/secret.rs";

/// The places that may call `reveal`, how often, and why.
const CALLS: &[(&str, usize, &str)] = &[
    ("gateway/tls/src/certificates.rs", 1, "a private key is handed to the TLS library"),
    (
        "gateway/listener/src/tls/tickets.rs",
        3,
        "ticket keys are made into ciphers, and handed over to the next version and taken there",
    ),
    (
        "gateway/upstream/src/fetch.rs",
        6,
        "the gateway's own credentials, and what only a provider may see, are sent to that provider",
    ),
    ("policies/src/credentials/client.rs", 1, "the gateway's own token goes to the upstream that it was asked for"),
    (
        "policies/src/credentials/exchange.rs",
        4,
        "a caller's token is hashed, goes to the provider that gave it, and is compared with what comes back; what came of it goes to the upstream",
    ),
    ("policies/src/login/refresh.rs", 1, "a refresh token goes back to the provider that gave it"),
    (
        "policies/src/login/logout.rs",
        1,
        "an ID token goes back to the provider that signed it, by the browser of the one it is about",
    ),
    (
        "control/store/src/connection.rs",
        1,
        "the gateway's password at the shared store is handed to the library that logs in there",
    ),
    ("control/reload/src/client_auth.rs", 3, "the gateway's secret at a provider is cut at the end of its line, or read as a key"),
    ("app/src/keys/mod.rs", 1, "a new API key is shown to whoever has made it, this once"),
    ("app/src/handover/channel.rs", 1, "ticket keys are sent to the next version over a socket that it alone has"),
];

/// Checks that no other place reveals secrets.
pub fn check(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, source) in repo.product() {
        let mut calls = Vec::new();
        for at in words(&source.product, "reveal") {
            let before = source.product.get(..at).unwrap_or_default().trim_end();
            if before.ends_with("fn") {
                if path != DEFINED {
                    findings.push(Finding::at(
                        path,
                        line_of(&source.product, at),
                        format!("only {DEFINED} defines what reveals a secret"),
                    ));
                }
            } else {
                calls.push(line_of(&source.product, at));
            }
        }
        let allowed = CALLS.iter().find(|(place, _, _)| *place == path).map_or(0, |(_, count, _)| *count);
        if let Some(line) = calls.get(allowed) {
            findings.push(Finding::at(
                path,
                *line,
                "reveals a secret; add the place and its reason to xtask/src/tidy/secrets.rs, or do without",
            ));
        }
        if calls.len() < allowed {
            findings.push(Finding::of(path, "reveals fewer secrets than xtask/src/tidy/secrets.rs allows; lower it there"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{CALLS, Repo, check};

    #[test]
    fn a_new_place_that_reveals_is_found() {
        assert_eq!(check(&Repo::sample(&[("model/src/secret.rs", "fn reveal(&self) {}")])), []);
        assert_eq!(check(&Repo::sample(&[("wire/src/lib.rs", "fn reveal(&self) {}")])).len(), 1);
        assert_eq!(check(&Repo::sample(&[("wire/src/lib.rs", "fn a() { key.reveal(); }")])).len(), 1);
        assert_eq!(check(&Repo::sample(&[("wire/src/lib.rs", "fn a() { Secret::reveal(&key); }")])).len(), 1);
    }

    #[test]
    fn a_listed_place_reveals_exactly_as_often_as_listed() {
        let (path, count, _) = CALLS[0];
        let text = |times: usize| "fn a() { key.reveal(); }\n".repeat(times);
        assert_eq!(check(&Repo::sample(&[(path, &text(count))])), []);
        assert_eq!(check(&Repo::sample(&[(path, &text(count + 1))])).len(), 1);
        assert_eq!(check(&Repo::sample(&[(path, "")])).len(), 1);
    }
}
