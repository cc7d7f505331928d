//! A revocation: what, how far, by whom and why.

use portcullis_gateway_policy::Revocable;
use portcullis_model::Mark;
use serde::{Deserialize, Serialize};

/// What is revoked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Target {
    /// A token, by its `jti`.
    Token {
        /// `iss`
        issuer: String,
        /// `jti`
        id: String,
    },
    /// Every token of somebody that was issued by then.
    Subject {
        /// `iss`
        issuer: String,
        /// `sub`
        subject: String,
    },
    /// An API key.
    Key {
        /// The name of its store.
        store: String,
        /// Its id.
        id: String,
    },
    /// A client's certificate.
    Certificate {
        /// The SHA-256 of its DER, in hexadecimal digits.
        fingerprint: String,
    },
}

/// The longest name, in bytes.
const TEXT_BYTES_MAX: usize = 512;

impl Target {
    /// What it is called in a store that nodes share; equal for equal things alone.
    #[must_use]
    pub fn field(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    fn is_well_formed(&self) -> bool {
        let is_name = |text: &str| !text.is_empty() && text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control);
        match self {
            Self::Token { issuer: first, id: second }
            | Self::Subject { issuer: first, subject: second }
            | Self::Key { store: first, id: second } => is_name(first) && is_name(second),
            Self::Certificate { fingerprint } => {
                fingerprint.len() == 64 && fingerprint.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            }
        }
    }

    pub(crate) fn mark(&self) -> Mark {
        match self {
            Self::Token { issuer, id } => Revocable::Token { issuer, id }.mark(),
            Self::Subject { issuer, subject } => Revocable::Subject { issuer, subject }.mark(),
            Self::Key { store, id } => Revocable::Key { store, id }.mark(),
            Self::Certificate { fingerprint } => {
                let digit = |at: usize| fingerprint.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
                let bytes: Vec<u8> = (0..fingerprint.len()).step_by(2).filter_map(digit).collect();
                Revocable::Certificate { fingerprint: &bytes }.mark()
            }
        }
    }
}

/// A revocation, or that one has been lifted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// What.
    #[serde(flatten)]
    pub target: Target,
    /// Whether it has been lifted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lifted: bool,
    /// Credentials that were issued by then, in Unix seconds; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_until: Option<u64>,
    /// Until when it is in force, in Unix seconds; for ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// When it was made, in Unix seconds.
    pub unix_seconds: u64,
    /// The user who made it.
    pub uid: u32,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether other nodes have been told, or it came from one of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
}

impl Revocation {
    /// Reads what another node has written; nothing when it is not understood as a whole.
    pub(crate) fn read(field: &str, text: &str) -> Option<Self> {
        let read: Self = serde_json::from_str(text).ok()?;
        let is_reason = |reason: &String| reason.len() <= TEXT_BYTES_MAX && !reason.chars().any(char::is_control);
        let is_sound = read.target.is_well_formed() && read.reason.as_ref().is_none_or(is_reason);
        (is_sound && read.target.field() == field).then_some(read)
    }

    /// Whether it says the same, but for who has heard of it.
    pub(crate) fn is_of(&self, other: &Self) -> bool {
        *self == Self { shared: self.shared, ..other.clone() }
    }
}
