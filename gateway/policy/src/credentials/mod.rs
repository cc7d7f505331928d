//! What an upstream gets as a credential in place of the client's: what control has decided, and what the policy is made from.

mod client;
mod exchange;

pub use client::{ClientTokenPlan, HeldToken, LiveToken};
pub use exchange::ExchangePlan;

use crate::{CompileError, LiveFiles, Policy, StatePool};
use portcullis_engines_authz::Vocabulary;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Who signs tokens for upstreams: a name of the gateway's own, with keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignerPlan {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The issuer that its tokens name: `https://api.example.com`. Its keys are published on that host.
    pub issuer: Arc<str>,
    /// The host of it.
    pub host: Arc<str>,
    /// The file with its private keys.
    pub keys: PathBuf,
}

impl SignerPlan {
    /// The path at which its keys are published, on its host.
    pub const PATH: &'static str = "/.well-known/jwks.json";
}

/// A token that the gateway signs of who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignPlan {
    /// Who signs.
    pub signer: Arc<SignerPlan>,
    /// For whom: what the upstream is called.
    pub audience: Arc<str>,
    /// How long it is valid at the most.
    pub life: Duration,
}

/// What the upstream of an API gets as a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialsPlan {
    /// A token that the gateway signs.
    Sign(SignPlan),
    /// A token that the gateway has at a provider.
    ClientCredentials(ClientTokenPlan),
    /// A token that a provider gives for that of the caller.
    Exchange(Arc<ExchangePlan>),
}

/// What the policy of a route is made from.
pub struct CredentialsContext<'c> {
    /// What the upstream gets.
    pub plan: &'c CredentialsPlan,
    /// Whether everybody may call the route: then nobody is known there.
    pub is_public: bool,
    /// The words of all lines of the configuration.
    pub words: &'c Arc<Vocabulary>,
    /// The files of the policy.
    pub files: &'c LiveFiles,
    /// What outlives the configuration.
    pub pool: &'c StatePool,
}

/// Makes the policy of a route of an API that says what its upstream gets.
pub type CompileCredentials = fn(&CredentialsContext<'_>) -> Result<Arc<dyn Policy>, CompileError>;

/// Makes the policy that answers with the public keys of a signer: every request that comes to it.
pub type CompileSigner = fn(&SignerPlan, &LiveFiles) -> Result<Arc<dyn Policy>, CompileError>;
