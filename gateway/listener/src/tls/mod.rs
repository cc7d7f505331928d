//! TLS towards clients, by rustls and aws-lc-rs.

mod certificates;
mod context;
mod handshake;
mod stream;
mod tickets;

pub use certificates::CertificateFiles;
pub use context::{OldestVersion, TlsContext};
pub use handshake::handshake;
pub use stream::TlsStream;
pub use tickets::TicketKeys;

#[cfg(test)]
mod tests;
