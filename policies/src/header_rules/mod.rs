//! Sets, adds and removes header fields of requests and answers.
//!
//! Guards against: upstreams that need to be told what only the gateway knows, and answers that tell clients too much. Runs in *shape*, after
//! everything was decided. Off by default. Fields that frame a message, belong to a connection, say who the client is, or carry credentials
//! cannot be set; a name has one meaning under every spelling of it, so a client cannot slip `X_Tenant` past a rule for `X-Tenant`
//! (threats C 57). A level further in can add rules for other fields, and touch none that a level further out has a rule for.
//!
//! ```yaml
//! defaults:
//!   header_rules: { response: { remove: [X-Internal] } }
//! apis:
//!   orders:
//!     header_rules: { request: { set: { X-Client: "{client.ip}", X-Route: "{api}/{route}" }, remove: [X-Debug] } }
//! ```

mod config;
mod policy;
mod template;
#[cfg(test)]
mod tests;

pub use config::HeaderRules;
pub use policy::compile;
