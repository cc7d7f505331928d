//! Logs people in with a browser at a provider of OpenID Connect (code flow with PKCE, RFC 9700), and knows them by a session from then on.
//!
//! Guards against: logins that somebody else began, answers of another provider, stolen codes, sessions that are planted or guessed, pages that
//! act for whoever is logged in, redirects to elsewhere (threats E 119 to 121). The state of a login and its session are here and nowhere
//! else: a browser holds two random names, as cookies that it sends to this host alone and that go no further. This folder has the endpoints of
//! the gateway's own below `/.portcullis/login/NAME`; [`authenticate`](crate::authenticate) asks it who is calling.
//!
//! ```yaml
//! identity:
//!   providers:
//!     corp: { issuer: "https://id.example.com", keys: { discover: { upstream: id } }, roles: { claim: groups } }
//!   logins:
//!     staff: { provider: corp, client_id: app, client_secret: "file:secrets/app", origin: "https://app.example.com" }
//! apis:
//!   app:
//!     authenticate: { any_of: [staff] }
//! ```

mod backchannel;
mod browser;
mod callback;
mod logout;
mod pending;
mod policy;
mod refresh;
mod seal;
mod sessions;
#[cfg(test)]
mod tests;
mod tokens;

pub use policy::{Granting, Judged, Login, StaleSession, compile};
