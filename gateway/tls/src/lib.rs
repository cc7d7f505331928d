//! TLS records over a socket, whichever side of the connection this is, with next to no memory while it is idle; certificates, keys
//! and trust from files.

mod certificates;
mod coverage;
mod stream;
mod trust;
mod validity;

pub use certificates::{load_certificate, read_file};
pub use coverage::check_coverage;
pub use stream::{Side, TlsStream};
pub use trust::{read_certificates, read_trust, system_trust};
pub use validity::{Validity, certificate_validity, chain_counts_until, revocation_validity};

use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};

/// Key exchange, post-quantum first, and cipher suites with forward secrecy and authenticated encryption only.
#[must_use]
pub fn crypto() -> CryptoProvider {
    provider::default_provider()
}
