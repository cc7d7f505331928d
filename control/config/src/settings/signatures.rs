//! `identity.signatures`: senders that are known by signing their requests.

use super::{Numbered, Word};
use portcullis_engines_signatures::{Algorithm, is_field_name};
use portcullis_gateway_policy::SignatureForm;
use portcullis_model_settings::{
    Decode, Diagnostics, FilePath, Node, Schema, Spanned, Value, choice, quoted, scalar_schema, section,
};
use portcullis_wire::is_gateways_own;
use std::sync::Arc;
use std::time::Duration;

section! {
    /// Senders that are known by signing their requests. To an API this is another provider; the roles of a key are known as `NAME/ROLE`. The
    /// body of such a request, of at most 1 MiB, is held until it is known who has signed it, and nothing is sent upstream before that. Each
    /// signature is taken once.
    pub struct SignaturesSettings {
        /// How they sign.
        pub form: SignatureFormName,
        /// The keys of senders, at most 32.
        pub keys: Numbered<Spanned<SignatureKeySettings>>,
        /// With `rfc9421`, the header fields that must be signed where a request has them, beside what must be always: the method, the target
        /// (`@target-uri`; or `@authority` with `@request-target`, or with `@path` and `@query`), and `content-digest` when there is a body. When
        /// absent: `content-type` and `content-encoding`.
        pub covers: Option<Vec<Spanned<SignedField>>>,
        /// With `rfc9421`, the `tag` that the signature must have, which says what it is for. Signatures with another are somebody else's.
        pub tag: Option<Spanned<Word>>,
        /// How old a signature may be.
        pub age_max: Duration where (Duration::from_secs(5), Duration::from_mins(15)) = Duration::from_mins(5),
        /// How far the clock of a sender may be ahead.
        pub leeway: Duration where (Duration::ZERO, Duration::from_mins(5)) = Duration::from_secs(30),
    }
}

choice! {
    /// How requests are signed.
    pub enum SignatureFormName {
        /// As messages of Standard Webhooks, by `webhook-id`, `webhook-timestamp` and `webhook-signature`. Id, time and body are signed, and
        /// nothing else: neither path nor method.
        StandardWebhooks = "standard_webhooks",
        /// As HTTP message signatures (RFC 9421), by `Signature-Input` and `Signature`, with the digest of a body in `Content-Digest` (RFC 9530).
        Rfc9421 = "rfc9421",
    }
}

/// The name of a header field that is signed, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedField(pub Arc<str>);

impl Decode for SignedField {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Some(name) = node.as_str().map(str::to_ascii_lowercase).filter(|name| is_field_name(name)) else {
            diagnostics.wrong(node, "the name of a header field, such as `Content-Type`");
            return None;
        };
        if is_gateways_own(&name) {
            let what = format!("{} is a header field that the gateway sets itself", quoted(&name));
            diagnostics.error_with_help(node, what, "remove it: what clients say by it is never believed");
            return None;
        }
        Some(Self(name.into()))
    }

    fn encode(&self) -> Value {
        Value::from(&*self.0)
    }

    fn schema() -> Schema {
        scalar_schema("header field", None, "Content-Type")
    }
}

impl SignatureFormName {
    /// As policies know it.
    #[must_use]
    pub fn form(self) -> SignatureForm {
        match self {
            Self::StandardWebhooks => SignatureForm::StandardWebhooks,
            Self::Rfc9421 => SignatureForm::Messages,
        }
    }

    /// The form of a name.
    #[must_use]
    pub fn of(form: SignatureForm) -> Self {
        match form {
            SignatureForm::StandardWebhooks => Self::StandardWebhooks,
            SignatureForm::Messages => Self::Rfc9421,
        }
    }
}

section! {
    /// A key of a sender's.
    pub struct SignatureKeySettings {
        /// What it is called. A key can be revoked by it: `portcullis revoke key ID --provider NAME`.
        pub id: Spanned<Word>,
        /// The file with it, and nothing else: a secret (`whsec_` with base64, or one line of 24 to 512 characters), or a public key (PEM, or
        /// `whpk_` with base64). It is read again when it changes, and one that is not right leaves the key as it was.
        pub file: FilePath,
        /// The only algorithm that it is for, whatever a request says.
        pub algorithm: Spanned<SignatureAlgorithmName>,
        /// Whose it is, for records, limits and the upstream; when absent that is its id. Several keys may be of one caller, so that one can
        /// replace another.
        pub caller: Option<Word>,
        /// The roles that whoever signs with it has; known as `NAME/ROLE`.
        pub roles: Vec<Spanned<Word>> = Vec::new(),
        /// The scopes.
        pub scopes: Vec<Spanned<Word>> = Vec::new(),
    }
}

choice! {
    /// An algorithm of signatures of requests.
    pub enum SignatureAlgorithmName {
        /// HMAC with SHA-256, by a secret that both sides have.
        HmacSha256 = "hmac-sha256",
        /// Ed25519.
        Ed25519 = "ed25519",
        /// ECDSA with P-256 and SHA-256.
        EcdsaP256Sha256 = "ecdsa-p256-sha256",
        /// RSA-PSS with SHA-512, by a key of at least 2048 bits.
        RsaPssSha512 = "rsa-pss-sha512",
    }
}

impl SignatureAlgorithmName {
    /// The algorithm itself.
    #[must_use]
    pub fn algorithm(self) -> Algorithm {
        match self {
            Self::HmacSha256 => Algorithm::HmacSha256,
            Self::Ed25519 => Algorithm::Ed25519,
            Self::EcdsaP256Sha256 => Algorithm::EcdsaP256Sha256,
            Self::RsaPssSha512 => Algorithm::RsaPssSha512,
        }
    }
}
