//! `identity.signers`, and `credentials` of an API: what its upstream gets in place of the client's credential.

use super::{HttpsOrigin, Numbered, Word};
use portcullis_model_settings::{FilePath, Name, SecretRef, Spanned, section};
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
        /// A token that the gateway has at a provider as a client of its own, for all callers and all routes alike.
        pub client_credentials: Option<Spanned<ClientCredentialsSettings>>,
        /// The caller's token, exchanged at its provider for one that is meant for the upstream. On routes that everybody may call there is none.
        pub exchange: Option<Spanned<ExchangeSettings>>,
    }
}

section! {
    /// A token of the gateway's own at a provider (RFC 6749 section 4.4), which tells the upstream nothing of who is calling. It is asked for at the start and
    /// renewed when about two thirds of its life are over; the one before is used as long as it is valid. Without any, answers are 503
    /// `upstream_token_unavailable`.
    pub struct ClientCredentialsSettings {
        /// The provider, with `keys: { discover: … }`: a name of `identity.providers`. It is asked at the same upstream as for its keys.
        pub provider: Spanned<Name>,
        /// What the gateway is called there.
        pub client_id: Word,
        /// Its secret there; or a private key (PEM, P-256 or Ed25519), with which it signs who it is (`private_key_jwt`, RFC 7523). It is read
        /// whenever it is needed, so that it can be changed without a reload.
        pub client_secret: Spanned<SecretRef>,
        /// The scopes that are asked for.
        pub scopes: Option<Numbered<Word>>,
        /// What the token is to be for (RFC 8707), where the provider asks for that.
        pub resource: Option<Arc<str>>,
    }
}

section! {
    /// The caller's token exchanged for one that is meant for the upstream (RFC 8693). `authenticate.any_of` of the API names this provider and nothing
    /// else, so that no token goes to another provider than its own. Each token is exchanged once, until what came of it ends. Without an answer it is 503
    /// `token_exchange_unavailable`; where the provider refuses, 403 `token_exchange_refused`. The caller's own token never reaches the upstream.
    pub struct ExchangeSettings {
        /// The provider of the callers' tokens, with `keys: { discover: … }`. It is asked at the same upstream as for its keys.
        pub provider: Spanned<Name>,
        /// What the gateway is called there.
        pub client_id: Word,
        /// Its secret there; or a private key (PEM, P-256 or Ed25519), with which it signs who it is (`private_key_jwt`, RFC 7523). It is read
        /// whenever it is needed, so that it can be changed without a reload.
        pub client_secret: Spanned<SecretRef>,
        /// What the upstream is called at the provider. One of `audience` and `resource` is needed.
        pub audience: Option<Arc<str>>,
        /// What the token is to be for, as a URI (RFC 8707).
        pub resource: Option<Arc<str>>,
        /// The scopes that are asked for.
        pub scopes: Option<Numbered<Word>>,
        /// How long an answer may take.
        pub deadline: Duration where (Duration::from_millis(50), Duration::from_secs(10)) = Duration::from_secs(2),
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
