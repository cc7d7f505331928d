//! Signed requests: what their senders' keys are, and what a signature must be.

use portcullis_engines_signatures::Algorithm;
use std::path::PathBuf;
use std::sync::Arc;

/// How requests are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureForm {
    /// Standard Webhooks.
    StandardWebhooks,
    /// HTTP message signatures (RFC 9421).
    Messages,
}

/// A key of a sender's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureKeyPlan {
    /// What it is called: the key id.
    pub id: Arc<str>,
    /// The only algorithm that it is for.
    pub algorithm: Algorithm,
    /// The file with it.
    pub file: PathBuf,
    /// Whose it is.
    pub caller: Arc<str>,
    /// The roles that whoever signs with it has.
    pub roles: Vec<Arc<str>>,
    /// Likewise the scopes.
    pub scopes: Vec<Arc<str>>,
}

/// Callers that are known by signing their requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignaturesPlan {
    /// The name, which stands where a provider's does.
    pub name: Arc<str>,
    /// How they sign.
    pub form: SignatureForm,
    /// The fields, by names in lower case, that a message signature must cover where a request has them.
    pub covers: Vec<Arc<str>>,
    /// The tag that a message signature must have.
    pub tag: Option<Arc<str>>,
    /// Their keys.
    pub keys: Vec<SignatureKeyPlan>,
    /// How old a signature may be, in seconds.
    pub age_max: u64,
    /// From how far in the future it may be, in seconds.
    pub leeway: u64,
}
