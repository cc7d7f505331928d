//! A new connection to an endpoint.

use crate::connection::Stream;
use crate::endpoint::{Endpoint, EndpointPlace};
use crate::tls::{ClientStream, EndpointTls};
use crate::{Upstream, UpstreamConnection};
use portcullis_model::{Reason, Rejection};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Connects within the upstream's deadline, and before `total` if that is given; where the endpoint wants TLS, its handshake is a part
/// of connecting.
///
/// # Errors
/// Why no connection came about; no byte of a request has been sent then. The place is given back.
pub(crate) async fn connect(
    upstream: &Upstream,
    place: EndpointPlace,
    total: Option<Instant>,
) -> Result<UpstreamConnection, Rejection> {
    let limit = Instant::now() + upstream.settings.timeouts.connect;
    match tokio::time::timeout_at(total.map_or(limit, |total| total.min(limit)), open(place.endpoint())).await {
        Ok(Ok(stream)) => Ok(UpstreamConnection::new(stream, place)),
        Ok(Err(rejection)) => Err(rejection),
        Err(_elapsed) => Err(Rejection::new(Reason::UpstreamConnectTimeout, NOT_REACHED)),
    }
}

const NOT_REACHED: &str = "no endpoint of the upstream could be reached";

/// Opens a connection, TLS handshake included, in whatever time it takes.
pub(crate) async fn open(endpoint: &Endpoint) -> Result<Stream, Rejection> {
    open_by(endpoint, true).await
}

/// The same, without resuming a session: a resumed one does not show the certificate again, which may have expired.
pub(crate) async fn open_unresumed(endpoint: &Endpoint) -> Result<Stream, Rejection> {
    open_by(endpoint, false).await
}

async fn open_by(endpoint: &Endpoint, may_resume: bool) -> Result<Stream, Rejection> {
    let tcp = open_tcp(endpoint).await?;
    match &endpoint.tls {
        None => Ok(Stream::Tcp(tcp)),
        // Boxed: few exchanges open a connection, and all of them would have to hold the handshake.
        Some(tls) => Ok(Stream::Tls(Box::new(Box::pin(shake_hands(endpoint, tls, tcp, may_resume)).await?))),
    }
}

async fn open_tcp(endpoint: &Endpoint) -> Result<TcpStream, Rejection> {
    let unreachable = |_| Rejection::new(Reason::UpstreamUnreachable, NOT_REACHED);
    let tcp = TcpStream::connect(endpoint.address).await.map_err(unreachable)?;
    tcp.set_nodelay(true).map_err(unreachable)?;
    Ok(tcp)
}

/// The handshake; again by another connection when the first went on with a session whose certificate has expired since.
async fn shake_hands(endpoint: &Endpoint, tls: &EndpointTls, tcp: TcpStream, may_resume: bool) -> Result<ClientStream, Rejection> {
    if let Some(stream) = tls.handshake(tcp, may_resume).await? {
        return Ok(stream);
    }
    let stream = tls.handshake(open_tcp(endpoint).await?, false).await?;
    stream.ok_or_else(|| Rejection::new(Reason::UpstreamTlsFailed, "the certificate has expired"))
}
