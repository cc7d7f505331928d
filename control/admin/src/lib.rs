//! The management API: on a Unix socket for operators of this machine, and read-only probes on a loopback address.

mod backend;
mod bans;
mod client;
mod lockouts;
mod probes;
mod revoke;
mod server;
mod unix;
mod upgrade;

pub use backend::{
    Actor, BanInfo, BanRequest, ConcurrencyInfo, EndpointInfo, Failure, KeyUsesInfo, ListenerInfo, LockoutInfo, Management,
    Reloaded, RevocationInfo, RevokeRequest, RevokeWhat, RouteInfo, Status, UnlockRequest, UpgradeRequest, Upgraded, UpstreamInfo,
};
pub use bans::operation as ban_operation;
pub use client::{ClientError, call};
pub use lockouts::operation as unlock_operation;
pub use probes::serve_probes;
pub use revoke::operation as revoke_operation;
pub use unix::{Bound, adopt, bind, serve_unix};
pub use upgrade::operation as upgrade_operation;
