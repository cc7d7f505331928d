//! Says whose account a login is for, so that guessing at it is counted (`defend.lockout`).
//!
//! Guards against: guessing passwords and trying out stolen ones where the upstream checks them (threats E 122), also by spellings of a name that
//! the upstream takes for the same, and by requests that name one account to the gateway and another to the upstream. Runs in *validate*; takes
//! the body whole, of at most 64 KiB, and sends it on as it came. Off by default. A request that does not name exactly one account where it
//! should is refused (400 with the code `login_field_invalid`).
//!
//! ```yaml
//! routes:
//!   - name: sign_in
//!     methods: [POST]
//!     path: /login
//!     access: { public: true }
//!     login_account: { form: username, domains: [example.com] }
//! ```

mod config;
mod name;
mod policy;
#[cfg(test)]
mod tests;

pub use config::LoginAccount;
#[cfg(test)]
use name::canonical_account;
pub use policy::compile;
