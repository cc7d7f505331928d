//! What a client is asked for that has to show a credential, or a better one (RFC 9110 section 11.6.1).

use super::api_keys::KeyStores;
use super::shown::Scheme;
use super::signatures::Signatures;
use portcullis_engines_jose::{Algorithm, Holding};
use portcullis_gateway_policy::ProviderPlan;
use portcullis_model::{Reason, Rejection};

/// The kinds of credentials that an API takes.
pub(super) struct Challenge {
    /// Whether it takes tokens at all.
    takes_tokens: bool,
    /// What else it asks for: certificates where it takes no tokens, and API keys.
    others: Box<[Box<str>]>,
    /// Whether tokens may be shown as Bearer.
    bearer: bool,
    /// The algorithms of proofs, where tokens may be shown as DPoP.
    algorithms: Option<Box<str>>,
}

impl Challenge {
    /// For what these providers take, and what an API takes beside tokens.
    pub(super) fn of<'p>(
        providers: impl Iterator<Item = &'p ProviderPlan> + Clone,
        takes_certificates: bool,
        keys: &KeyStores,
        signatures: &Signatures,
    ) -> Self {
        let takes_tokens = providers.clone().next().is_some();
        let certificate = (takes_certificates && !takes_tokens).then(|| "ClientCertificate realm=\"api\"".to_owned());
        let others = certificate.into_iter().chain(keys.challenges()).chain(signatures.challenges()).map(Into::into).collect();
        let mut names: Vec<&str> = Vec::new();
        for rules in providers.clone().filter_map(|plan| plan.proofs.as_ref()) {
            names.extend(rules.algorithms.iter().map(Algorithm::as_str).filter(|name| !names.contains(name)).collect::<Vec<_>>());
        }
        let is_bearer =
            |plan: &ProviderPlan| [Holding::Bearer, Holding::Certificate].iter().any(|way| plan.rules.holdings.contains(*way));
        Self {
            takes_tokens,
            others,
            bearer: providers.clone().any(is_bearer),
            algorithms: (!names.is_empty()).then(|| names.join(" ").into()),
        }
    }

    /// Whether tokens may be shown as DPoP.
    pub(super) fn takes_proofs(&self) -> bool {
        self.algorithms.is_some()
    }

    /// A refusal with what is asked for, by how the credential was shown (RFC 6750 section 3, RFC 9449 section 7.1).
    pub(super) fn put(&self, rejection: Rejection, shown: Scheme) -> Rejection {
        let error = match rejection.reason {
            Reason::CredentialsMissing => None,
            Reason::CredentialsInvalid => Some("invalid_token"),
            Reason::CredentialsAmbiguous => Some("invalid_request"),
            Reason::ProofInvalid => Some("invalid_dpop_proof"),
            Reason::ProofNonceNeeded => Some("use_dpop_nonce"),
            _ => return rejection,
        };
        if !self.takes_tokens {
            return rejection.asking(self.others.join(", "));
        }
        let others: String = self.others.iter().flat_map(|other| [", ", other]).collect();
        let Some(algorithms) = &self.algorithms else {
            let challenge = rejection.challenge().filter(|_| !others.is_empty()).map(|of_token| format!("{of_token}{others}"));
            return match challenge {
                Some(challenge) => rejection.asking(challenge),
                None => rejection,
            };
        };
        let error = error.map_or(String::new(), |error| format!(", error=\"{error}\""));
        let is_proof = shown == Scheme::Dpop || !self.bearer;
        let (of_bearer, of_proof) = if is_proof { ("", &*error) } else { (&*error, "") };
        let bearer = if self.bearer { format!("Bearer realm=\"api\"{of_bearer}, ") } else { String::new() };
        rejection.asking(format!("{bearer}DPoP realm=\"api\"{of_proof}, algs=\"{algorithms}\"{others}"))
    }

    /// The same after a key or a signature that is none: nothing is wrong with a token.
    pub(super) fn put_for_key(&self, rejection: Rejection) -> Rejection {
        if rejection.reason != Reason::CredentialsInvalid {
            return rejection;
        }
        let missing = self.put(Rejection::from(Reason::CredentialsMissing), Scheme::Bearer);
        rejection.asking(missing.challenge().unwrap_or_default().to_owned())
    }
}
