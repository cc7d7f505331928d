//! Where connections come in: sockets, caps on connections, TLS, and [`Io`], the client's side of an exchange.

mod accept;
mod caps;
mod io;
mod proxy_header;
mod sockets;
mod tls;

pub use accept::{Comer, accept_loop};
pub use caps::{ConnectionCaps, ConnectionLimits, ConnectionPermit};
pub use io::Io;
pub use proxy_header::read_proxy_header;
pub use sockets::bind;
pub use tls::{CertificateFiles, ClientCertificates, OldestVersion, Revocation, TicketKeys, TlsContext, TlsStream, handshake};
