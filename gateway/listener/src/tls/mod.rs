//! TLS towards clients, by rustls and aws-lc-rs.

mod certificates;
mod client_certificate;
mod clients;
mod context;
mod handshake;
mod revocation;
mod tickets;

pub use certificates::CertificateFiles;
pub use clients::{ClientCertificates, Revocation};
pub use context::{OldestVersion, TlsContext};
pub use handshake::handshake;
pub use tickets::TicketKeys;

/// The server's side of a TLS connection.
pub type TlsStream = portcullis_gateway_tls::TlsStream<context::ServerSide>;

#[cfg(test)]
mod tests;
