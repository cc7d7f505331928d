//! API keys: their form, the file that knows them, and whose a key is. Values in, a result out.
//!
//! A key is `pck_ID_SECRET` with a checksum at its end, so that scanners find one that has leaked, and what is no key costs nothing. The file
//! holds keyed hashes alone (HMAC-SHA-256): nobody can make a key of what is in it.

mod base62;
mod file;
mod form;
mod hash;
mod table;
mod uses;

pub use file::{Entry, FILE_BYTES_MAX, Fault, KEYS_MAX, KeyFile};
pub use form::{KEY_BYTES_MAX, NewKey, RANDOM_BYTES, check, is_foreign_fit, is_ours};
pub use hash::{HashKey, KeyHash};
pub use table::{KeyTable, Unknown};
pub use uses::{Idled, KeyUses, USES_MAX};

#[cfg(test)]
mod tests;
