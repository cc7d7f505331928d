//! `identity.signers`, and `credentials` of an API: what its upstream gets in place of the client's credential.

use super::HttpsOrigin;
use portcullis_model_settings::{FilePath, Name, Spanned, section};
use std::sync::Arc;
use std::time::Duration;

section! {
    /// Who signs tokens for upstreams: the gateway, by a name and with keys of its own.
    pub struct SignerSettings {
        /// The issuer that its tokens name. Its public keys are at `ISSUER/.well-known/jwks.json`, behind the policies of `defaults`; upstreams fetch
        /// them there.
        pub issuer: Spanned<HttpsOrigin>,
        /// Its private keys.
        pub keys: SignerKeysSettings,
    }
}

section! {
    /// The private keys of a signer.
    pub struct SignerKeysSettings {
        /// A file with 1 to 16 private keys on Ed25519 or P-256, PEM. The first signs, all are published. It is read again when it changes, and
        /// one that is not right leaves the keys as they were. To rotate: add the new key at the end, put it first when upstreams know it (five
        /// minutes), take the old one out when its tokens have ended.
        pub file: FilePath,
    }
}

section! {
    /// What the upstream of an API gets as a credential. What clients send in `Authorization` never reaches it, also on routes that everybody may
    /// call. It goes with one kind.
    pub struct CredentialsSettings {
        /// A short token of who is calling, signed by the gateway. On routes that everybody may call there is none.
        pub sign: Option<Spanned<SignSettings>>,
    }
}

section! {
    /// A token of who is calling, signed by the gateway (RFC 9068). `sub` and `client_id` are `PROVIDER/NAME`; `roles` and `scope` are those that some
    /// line of the configuration names and the caller has; `consumer` is there if there is one. It never outlives the caller's own credential.
    pub struct SignSettings {
        /// Who signs: a name of `identity.signers`.
        pub signer: Spanned<Name>,
        /// What the upstream is called; it must refuse tokens for others.
        pub audience: Arc<str>,
        /// How long a token is valid at the most. It is used again for the same caller until a quarter of that is left.
        pub life: Duration where (Duration::from_secs(10), Duration::from_mins(10)) = Duration::from_mins(1),
    }
}
