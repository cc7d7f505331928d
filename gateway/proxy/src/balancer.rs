//! Part of step 1: who connected, when a balancer speaks the PROXY protocol.

use crate::door::knock;
use crate::snapshot::Listener;
use crate::worker::Worker;
use portcullis_gateway_listener::{ConnectionPermit, read_proxy_header};
use portcullis_model::Reason;
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Who is on the other end of a connection.
pub(crate) struct Arrival {
    /// The client as far as addresses tell.
    pub(crate) peer: SocketAddr,
    /// The balancer that told of it.
    pub(crate) balancer: Option<SocketAddr>,
}

/// Takes the header off a connection from a balancer, and counts the connection for the client it tells of. From anybody else there
/// is none: such bytes are no request, and are refused as one. `None`: there is nobody to serve.
///
/// # Errors
/// The reason to close the connection.
pub(crate) async fn arrive(
    stream: &mut TcpStream,
    peer: SocketAddr,
    permit: &mut ConnectionPermit,
    (listener, worker): (&Listener, &Worker),
    deadline: Instant,
) -> Result<Option<Arrival>, Reason> {
    if !listener.balancers.trusts(peer.ip()) {
        // Counted already, unless the configuration has changed since it was accepted.
        permit.count_client(peer.ip())?;
        return Ok(Some(Arrival { peer, balancer: None }));
    }
    let Some(header) = Box::pin(read_proxy_header(stream, deadline)).await? else { return Ok(None) };
    match header.client {
        // The balancer's own connection, such as a health check, or one of which it knows nothing.
        None => Ok(Some(Arrival { peer, balancer: None })),
        Some(client) => {
            knock(worker, listener, client.ip())?;
            permit.count_client(client.ip())?;
            Ok(Some(Arrival { peer: client, balancer: Some(peer) }))
        }
    }
}
