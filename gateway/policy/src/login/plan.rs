//! What is configured of a login.

use crate::{CompileError, Policy, ProviderPlan, Revocations, StatePool};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How the names of the gateway's own cookies begin. A browser takes such a cookie from its own host alone, by TLS, for all paths
/// (RFC 6265bis section 4.1.3.2).
pub const SESSION_COOKIE_PREFIX: &str = "__Host-portcullis-";

/// Where a secret is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// In an environment variable.
    Env(String),
    /// In a file.
    File(PathBuf),
}

/// How people log in with a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginPlan {
    /// The name, which stands where a provider's does.
    pub name: Arc<str>,
    /// The provider at which they log in.
    pub provider: Arc<ProviderPlan>,
    /// What the gateway is called there.
    pub client_id: Arc<str>,
    /// Where its secret is.
    pub client_secret: SecretSource,
    /// Where browsers reach what is protected: `https://app.example.com`.
    pub origin: Arc<str>,
    /// The host of it.
    pub host: Arc<str>,
    /// The scopes that are asked for, separated by spaces.
    pub scopes: Arc<str>,
    /// What the provider is to ask people in any case.
    pub prompt: Option<Arc<str>>,
    /// Where browsers come back to from a logout at the provider: a path of the origin.
    pub after_logout: Option<Arc<str>>,
    /// How long a session may go unused.
    pub idle: Duration,
    /// How long a session lasts at the most.
    pub lifetime: Duration,
}

impl LoginPlan {
    /// The path below which the gateway's own endpoints lie.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/.portcullis/login/{}", self.name)
    }

    /// Where the provider sends browsers back to.
    #[must_use]
    pub fn redirect_uri(&self) -> String {
        format!("{}{}/callback", self.origin, self.path())
    }
}

/// An endpoint of the gateway's own, with the policy that answers it.
pub struct LoginEndpoint {
    /// The last segment of its path, which is also its name.
    pub name: &'static str,
    /// The method.
    pub method: &'static str,
    /// How long a body may be that the policy reads; 0 where it reads none.
    pub body_bytes_max: u64,
    /// What answers it: every request, so that none is forwarded.
    pub policy: Arc<dyn Policy>,
}

/// Makes the endpoints of a login.
pub type CompileLogin = fn(&Arc<LoginPlan>, &StatePool, &Arc<Revocations>) -> Result<Vec<LoginEndpoint>, CompileError>;
