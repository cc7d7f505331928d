//! A new connection to an endpoint.

use crate::endpoint::EndpointPlace;
use crate::{Upstream, UpstreamConnection};
use portcullis_model::Reason;
use tokio::net::TcpStream;

/// Connects within the upstream's deadline.
///
/// # Errors
/// Why no connection came about; no byte of a request has been sent then. The place is given back.
pub(crate) async fn connect(upstream: &Upstream, place: EndpointPlace) -> Result<UpstreamConnection, Reason> {
    let limit = upstream.settings.timeouts.connect;
    match tokio::time::timeout(limit, TcpStream::connect(place.endpoint().address)).await {
        Err(_elapsed) => Err(Reason::UpstreamConnectTimeout),
        Ok(Err(_refused)) => Err(Reason::UpstreamUnreachable),
        Ok(Ok(stream)) => match stream.set_nodelay(true) {
            Ok(()) => Ok(UpstreamConnection::new(stream, place)),
            Err(_gone) => Err(Reason::UpstreamUnreachable),
        },
    }
}
