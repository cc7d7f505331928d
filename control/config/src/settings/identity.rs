//! `identity`, `roles`, and how an API finds out who is calling.

use super::{
    ApiKeysSettings, CertificatesSettings, IntrospectionSettings, LoginSettings, Numbered, Parts, SignaturesSettings,
    SignerSettings,
};
use portcullis_engines_jose::{Algorithm, ClaimPath, Holding};
use portcullis_gateway_policy::Credentials;
use portcullis_model_settings::{
    Decode, Diagnostics, FilePath, Name, Node, Schema, Spanned, Value, choice, quoted, scalar_schema, section,
};
use std::sync::Arc;
use std::time::Duration;

section! {
    /// Whose word on who is calling can be taken.
    pub struct IdentitySettings {
        /// Providers of OAuth 2.0 or OpenID Connect, by name. APIs name those that they trust.
        pub providers: Parts<ProviderSettings>,
        /// Clients that are known by the certificate of their connection, by names of their own; to an API such a name is another provider.
        pub client_certificates: Parts<CertificatesSettings>,
        /// Logins with a browser, by names of their own; to an API such a name is another provider, and it takes one of them at the most.
        pub logins: Parts<LoginSettings>,
        /// Clients that are known by API keys, by names of their own; to an API such a name is another provider.
        pub api_keys: Parts<ApiKeysSettings>,
        /// Who signs tokens for upstreams, by names of their own: the gateway itself.
        pub signers: Parts<SignerSettings>,
        /// Senders that are known by signing their requests, by names of their own; to an API such a name is another provider.
        pub signatures: Parts<SignaturesSettings>,
    }
}

section! {
    /// A provider of identities: who signs tokens, and what its tokens must be.
    pub struct ProviderSettings {
        /// The issuer, exactly as it stands in `iss` of its tokens.
        pub issuer: Spanned<Issuer>,
        /// Its public keys.
        pub keys: KeysSettings,
        /// The algorithms that it signs with. There are only asymmetric ones.
        pub algorithms: Numbered<SignatureAlgorithm> = Numbered(SignatureAlgorithm::STANDARD.into_iter().map(|one| (0, one)).collect()),
        /// The types of tokens that are taken. With `JWT`, ID tokens, logout tokens and proofs are refused all the same.
        pub token_types: Numbered<TokenTypeName> = Numbered(vec![(0, TokenTypeName::AccessToken)]),
        /// How its tokens may be shown. A token that is bound to something (`cnf`) is taken only when that is proven and listed here; without
        /// `bearer` every token must be bound.
        pub accept: Numbered<AcceptName> = Numbered(vec![(0, AcceptName::Bearer)]),
        /// What proofs must be that come with its tokens; with `dpop` in `accept`.
        pub dpop: Option<Spanned<DpopSettings>>,
        /// How the provider is asked about its tokens; with `introspection` in `accept`.
        pub introspection: Option<Spanned<IntrospectionSettings>>,
        /// How far the provider's clock and this one may differ.
        pub leeway: Duration where (Duration::ZERO, Duration::from_mins(5)) = Duration::from_secs(30),
        /// For how long from now a token may be valid at the most; one that lives longer is refused.
        pub lifetime_max: Duration where (Duration::from_mins(1), Duration::from_hours(24 * 31)) = Duration::from_hours(24),
        /// Where its tokens name roles; without it they have none.
        pub roles: Option<ClaimSettings>,
        /// Where its tokens name scopes.
        pub scopes: ClaimSettings = ClaimSettings::scope(),
    }
}

section! {
    /// What a proof must be that a client has the key of its token (DPoP, RFC 9449). Each is taken once.
    pub struct DpopSettings {
        /// The algorithms that clients may sign proofs with. There are only asymmetric ones.
        pub algorithms: Numbered<SignatureAlgorithm> = Numbered(SignatureAlgorithm::STANDARD.into_iter().map(|one| (0, one)).collect()),
        /// How old a proof may be.
        pub age_max: Duration where (Duration::from_secs(5), Duration::from_mins(5)) = Duration::from_mins(1),
        /// How far the clock of a client may be ahead.
        pub leeway: Duration where (Duration::ZERO, Duration::from_mins(1)) = Duration::from_secs(5),
        /// Whether a proof must have a nonce of the gateway's, so that none can be made ahead.
        pub nonce: NonceName = NonceName::Off,
    }
}

impl DpopSettings {
    /// What holds where nothing is written.
    #[must_use]
    pub fn standard() -> Self {
        Self {
            algorithms: Numbered(SignatureAlgorithm::STANDARD.into_iter().map(|one| (0, one)).collect()),
            age_max: Duration::from_mins(1),
            leeway: Duration::from_secs(5),
            nonce: NonceName::Off,
        }
    }
}

choice! {
    /// Whether proofs must have a nonce of the gateway's.
    pub enum NonceName {
        /// They need none.
        Off = "off",
        /// They must. A client is told the nonce with a 401 (`use_dpop_nonce`) and asks again, once in one to two minutes.
        Required = "required",
    }
}

section! {
    /// Where the public keys of a provider are.
    pub struct KeysSettings {
        /// A file with its JSON Web Key Set. It is read again when it changes; a file that is not right leaves the keys as they were.
        pub file: Option<FilePath>,
        /// Or ask the provider itself where they are (OpenID Connect Discovery), and for them.
        pub discover: Option<DiscoverSettings>,
    }
}

section! {
    /// How the keys of a provider are found. Its discovery document and its keys are asked for at `upstream` under the host of the issuer, and
    /// nowhere else: redirects, and keys at another host, are refused.
    pub struct DiscoverSettings {
        /// The upstream that leads to the provider: its endpoints, names and TLS are as there.
        pub upstream: Spanned<Name>,
        /// How often the keys are fetched. A token by a key that is not known has them fetched earlier, at most every 10 seconds.
        pub refresh: Duration where (Duration::from_secs(30), Duration::from_hours(24)) = Duration::from_mins(10),
        /// For how long keys are used that cannot be fetched again. From then on answers are 503 `keys_unavailable`.
        pub stale_max: Duration where (Duration::from_mins(1), Duration::from_hours(24 * 7)) = Duration::from_hours(24),
    }
}

section! {
    /// A claim that names roles or scopes: a list of texts, or one text; scopes in one text stand apart by spaces.
    pub struct ClaimSettings {
        /// The claim, `scope` or `realm_access.roles`; as a JSON pointer where a name has dots in it.
        pub claim: Claim,
    }
}

impl ClaimSettings {
    fn scope() -> Self {
        Self { claim: Claim(ClaimPath::member("scope")) }
    }
}

/// The path of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim(pub ClaimPath);

impl Decode for Claim {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let path = node.as_str().and_then(ClaimPath::parse);
        if path.is_none() {
            diagnostics
                .wrong(node, "a claim, such as `realm_access.roles`, or `/https:~1~1example.com~1roles` for names with dots");
        }
        path.map(Self)
    }

    fn encode(&self) -> Value {
        Value::from(self.0.as_str())
    }

    fn schema() -> Schema {
        scalar_schema("claim", None, "realm_access.roles")
    }
}

/// The name of an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer(pub Arc<str>);

impl Decode for Issuer {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let is_issuer = |text: &&str| {
            let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
            rest.is_some_and(|rest| !rest.is_empty()) && text.len() <= 512 && text.bytes().all(|b| matches!(b, 0x21..=0x7e))
        };
        let text = node.as_str().filter(is_issuer);
        if text.is_none() {
            diagnostics.wrong(node, "the URL of an issuer, such as `https://id.example.com/realms/main`");
        }
        text.map(|text| Self(text.into()))
    }

    fn encode(&self) -> Value {
        Value::from(&*self.0)
    }

    fn schema() -> Schema {
        scalar_schema("URL", None, "https://id.example.com/realms/main")
    }
}

choice! {
    /// An algorithm of signatures.
    pub enum SignatureAlgorithm {
        /// RSA with SHA-256.
        Rs256 = "RS256",
        /// RSA with SHA-384.
        Rs384 = "RS384",
        /// RSA with SHA-512.
        Rs512 = "RS512",
        /// RSA-PSS with SHA-256.
        Ps256 = "PS256",
        /// RSA-PSS with SHA-384.
        Ps384 = "PS384",
        /// RSA-PSS with SHA-512.
        Ps512 = "PS512",
        /// P-256 with SHA-256.
        Es256 = "ES256",
        /// P-384 with SHA-384.
        Es384 = "ES384",
        /// P-521 with SHA-512.
        Es512 = "ES512",
        /// Ed25519.
        EdDsa = "EdDSA",
    }
}

impl SignatureAlgorithm {
    const STANDARD: [Self; 4] = [Self::Rs256, Self::Ps256, Self::Es256, Self::EdDsa];

    /// The algorithm itself.
    #[must_use]
    pub fn algorithm(self) -> Algorithm {
        match self {
            Self::Rs256 => Algorithm::Rs256,
            Self::Rs384 => Algorithm::Rs384,
            Self::Rs512 => Algorithm::Rs512,
            Self::Ps256 => Algorithm::Ps256,
            Self::Ps384 => Algorithm::Ps384,
            Self::Ps512 => Algorithm::Ps512,
            Self::Es256 => Algorithm::Es256,
            Self::Es384 => Algorithm::Es384,
            Self::Es512 => Algorithm::Es512,
            Self::EdDsa => Algorithm::EdDsa,
        }
    }
}

choice! {
    /// A type of token.
    pub enum TokenTypeName {
        /// An access token that says so (RFC 9068).
        AccessToken = "at+jwt",
        /// A token that says no more than that it is one, or not even that.
        Jwt = "JWT",
    }
}

choice! {
    /// How a token may be shown.
    pub enum AcceptName {
        /// By whoever has it (RFC 6750).
        Bearer = "bearer",
        /// By the client whose certificate it is bound to, on a connection with this very certificate (RFC 8705). A listener must ask for
        /// certificates.
        MtlsBound = "mtls_bound",
        /// By the client whose key it is bound to, with a proof made for this very request (DPoP, RFC 9449).
        Dpop = "dpop",
        /// As the others say, or else by whoever has it; its provider is asked about it (RFC 7662).
        Introspection = "introspection",
    }
}

impl AcceptName {
    /// Those that say how a token is shown.
    pub const HOLDINGS: [Self; 3] = [Self::Bearer, Self::MtlsBound, Self::Dpop];

    /// As the rules of tokens have it; nothing when it says something else of them.
    #[must_use]
    pub fn holding(self) -> Option<Holding> {
        match self {
            Self::Bearer => Some(Holding::Bearer),
            Self::MtlsBound => Some(Holding::Certificate),
            Self::Dpop => Some(Holding::Key),
            Self::Introspection => None,
        }
    }
}

section! {
    /// How an API finds out who is calling. Needed unless everybody may call each of its routes.
    pub struct AuthenticateSettings {
        /// The providers whose word is taken.
        pub any_of: Numbered<Spanned<Name>>,
        /// The audiences of this API; a token must name one of them in `aud`. Needed where tokens are taken.
        pub audiences: Option<Numbered<Spanned<Arc<str>>>>,
        /// What becomes of a token that was accepted. On routes that everybody may call nothing is looked at, and no token removed. Signatures
        /// are removed likewise. API keys are never sent upstream, whatever stands here, by any route of the API. For another credential in its place see `credentials` of the API.
        pub credentials: CredentialsUpstream = CredentialsUpstream::Remove,
        /// How long an exchange may go on, a WebSocket, an event stream or a long transfer, before whoever is calling must ask again. What has no
        /// end of its own ends with its credential in any case.
        pub stream_age_max: Duration where (Duration::from_secs(1), Duration::from_hours(24 * 31)) = Duration::from_hours(24),
    }
}

choice! {
    /// What becomes of a credential that was accepted.
    pub enum CredentialsUpstream {
        /// The upstream does not get it.
        Remove = "remove",
        /// The upstream gets it as it came.
        Pass = "pass",
    }
}

impl CredentialsUpstream {
    /// As policies know it.
    #[must_use]
    pub fn decided(self) -> Credentials {
        match self {
            Self::Remove => Credentials::Remove,
            Self::Pass => Credentials::Pass,
        }
    }
}

/// A role of a provider: `corp/orders.reader`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProviderRole {
    /// The provider.
    pub provider: Arc<str>,
    /// The role, as the provider's tokens name it.
    pub role: Arc<str>,
}

impl ProviderRole {
    /// Reads `PROVIDER/ROLE`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (provider, role) = text.split_once('/')?;
        let is_sound = |part: &str| !part.is_empty() && part.len() <= 128 && part.bytes().all(|b| matches!(b, 0x21..=0x7e));
        (is_sound(provider) && is_sound(role)).then(|| Self { provider: provider.into(), role: role.into() })
    }
}

impl Decode for ProviderRole {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let role = node.as_str().and_then(Self::parse);
        if role.is_none() {
            diagnostics.wrong(node, "a role of a provider: `PROVIDER/ROLE`");
        }
        role
    }

    fn encode(&self) -> Value {
        Value::from(format!("{}/{}", self.provider, self.role))
    }

    fn schema() -> Schema {
        scalar_schema("role of a provider", None, "corp/orders.reader")
    }
}

/// A word that a token must bring: a role or a scope, printable ASCII without spaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word(pub Arc<str>);

impl Decode for Word {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        match node.as_str() {
            Some(text) if !text.is_empty() && text.len() <= 256 && text.bytes().all(|b| matches!(b, 0x21..=0x7e)) => {
                Some(Self(text.into()))
            }
            Some(text) => {
                let help = "write 1 to 256 printable ASCII characters without spaces";
                diagnostics.error_with_help(node, format!("{} is neither a role nor a scope", quoted(text)), help);
                None
            }
            None => {
                diagnostics.wrong(node, "a role or a scope");
                None
            }
        }
    }

    fn encode(&self) -> Value {
        Value::from(&*self.0)
    }

    fn schema() -> Schema {
        scalar_schema("role or scope", None, "orders:read")
    }
}
