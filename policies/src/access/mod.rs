//! Decides whether who is calling may, by the route's `allow` lines.
//!
//! Guards against: callers who are known and have no business here. Runs in *authorize*, on every route that is not for everybody. What a
//! token grants was turned into bits when it was verified; here bits are compared. Nobody is allowed by default.
//!
//! ```yaml
//! roles:
//!   orders.reader: [corp/orders.reader]
//! apis:
//!   orders:
//!     routes:
//!       - { name: list, methods: [GET], path: /, access: { allow: { roles: [orders.reader], scopes: ["orders:read"] } } }
//! ```

mod cedar;
mod policy;
#[cfg(test)]
mod tests;

pub use policy::compile;
