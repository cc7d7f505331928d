//! Who is kept out for a while, and for what: bans of addresses, how fast one client may open connections, and lockouts for what has failed.

mod bans;
mod failures;
mod lockouts;
mod offences;

pub use bans::{Ban, BanRules, Bans, ClientNetwork, OTHERS_MAX};
pub use failures::{Failures, LockoutRules};
pub use lockouts::{LockedOut, Lockout, LockoutPer, Lockouts, Whom};
pub use offences::{ConnectionRate, Defence, is_offence};
