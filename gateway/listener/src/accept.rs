//! Accepting connections without ever giving up.

use crate::{ConnectionCaps, ConnectionPermit};
use portcullis_model::Reason;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// How long to wait when the process has no descriptors left; clients wait in the kernel's queue meanwhile.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts until it is aborted. Each connection that has a place goes to `accepted`; of others `refused` hears the reason, and
/// they are closed. Who connects from where `is_balancer` is no client itself: its connections are counted for whom it tells of.
///
/// # Errors
/// When the socket cannot be registered with the runtime.
pub async fn accept_loop(
    socket: std::net::TcpListener,
    caps: &Arc<ConnectionCaps>,
    is_balancer: impl Fn(IpAddr) -> bool,
    mut accepted: impl FnMut(TcpStream, SocketAddr, ConnectionPermit),
    refused: impl Fn(Reason),
) -> io::Result<()> {
    let listener = TcpListener::from_std(socket)?;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => match if is_balancer(peer.ip()) { caps.admit_unknown() } else { caps.admit(peer.ip()) } {
                // A socket that cannot be set up has been reset by its client.
                Ok(permit) if stream.set_nodelay(true).is_ok() => accepted(stream, peer, permit),
                Ok(_) => {}
                Err(reason) => refused(reason),
            },
            // The client went away between its SYN and us; nobody is harmed.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {}
            // No descriptors or no memory: both come back.
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
