//! `identity.providers.*.introspection`: tokens that a provider is asked about.

use super::{HealthPath, Word};
use portcullis_model_settings::{Name, SecretRef, Spanned, choice, section};
use std::time::Duration;

section! {
    /// How a provider is asked about its tokens (RFC 7662). While it cannot be asked, and nothing that it has said is recent enough, answers are 503
    /// `introspection_unavailable`. An API may take one such provider.
    pub struct IntrospectionSettings {
        /// What the gateway is called there.
        pub client_id: Word,
        /// Its secret there; or a private key (PEM, P-256 or Ed25519), with which it signs who it is (`private_key_jwt`, RFC 7523). It is read
        /// whenever it is needed, so that it can be changed without a reload.
        pub client_secret: Spanned<SecretRef>,
        /// About which tokens it is asked.
        pub tokens: AskedTokens = AskedTokens::All,
        /// The upstream that is asked, under the issuer's host; without it that of `keys.discover`.
        pub upstream: Option<Spanned<Name>>,
        /// The path there; without it as the provider says it itself, with `keys.discover`, on the issuer's own host.
        pub path: Option<HealthPath>,
        /// How long a good answer is believed, but not longer than the token is valid. For so long a token is taken that its provider has revoked.
        pub cache: Duration where (Duration::ZERO, Duration::from_mins(10)) = Duration::from_secs(30),
        /// How long a bad answer is believed.
        pub negative_cache: Duration where (Duration::ZERO, Duration::from_mins(1)) = Duration::from_secs(5),
        /// How long an answer may take.
        pub deadline: Duration where (Duration::from_millis(50), Duration::from_secs(10)) = Duration::from_secs(2),
    }
}

choice! {
    /// About which tokens a provider is asked.
    pub enum AskedTokens {
        /// About all, also about those that could be verified here: so it is known when they have been revoked.
        All = "all",
        /// About those that are no signed tokens; signed ones are verified here.
        Opaque = "opaque",
    }
}
