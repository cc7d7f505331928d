//! Logging in with a browser (OpenID Connect, code flow): what control has decided, what it has found out of the provider, and the desk at
//! which it asks the provider on behalf of policies.

mod desk;
mod endpoints;
mod plan;

pub use desk::{LoginDesk, TokenFailure, TokenQuestion};
pub use endpoints::{LiveEndpoints, ProviderEndpoints};
pub use plan::{CompileLogin, LoginEndpoint, LoginPlan, SESSION_COOKIE_PREFIX, SecretSource};
