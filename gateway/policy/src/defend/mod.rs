//! Who is kept out for a while, and for what: bans of addresses, and how fast one client may open connections.

mod bans;
mod offences;

pub use bans::{Ban, BanRules, Bans, ClientNetwork, OTHERS_MAX};
pub use offences::{ConnectionRate, Defence, is_offence};
