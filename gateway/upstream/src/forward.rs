//! From a cleared exchange to an upstream's connection.

use crate::endpoint::{Endpoint, EndpointUse};
use crate::{Pools, Upstream, UpstreamConnection};
use portcullis_gateway_policy::Cleared;
use portcullis_model::{Attempt, AttemptOutcome, Reason, Rejection};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Finds a connection for a cleared exchange: an unused one, or a new one to the endpoint whose turn it is, or to the next if that
/// cannot be reached. With `fresh_only` pooled connections are passed over: the exchange has met a stale one already.
///
/// # Errors
/// A rejection that blames the upstream, when no endpoint could be reached in time, or the gateway, when all places are taken.
pub async fn checkout(
    cleared: &mut Cleared,
    upstream: &Upstream,
    pools: &Pools,
    fresh_only: bool,
    now: Instant,
) -> Result<UpstreamConnection, Rejection> {
    let turn = pools.next_turn();
    if !fresh_only {
        let kept_for = upstream.settings.pooled_idle;
        if let Some(connection) = upstream.endpoints_from(turn).find_map(|endpoint| pools.take(endpoint.id, kept_for, now)) {
            return Ok(connection);
        }
    }
    let Some(mut place) = upstream.admit() else {
        return Err(Rejection::new(Reason::UpstreamExhausted, "all connections of the upstream are in use"));
    };
    let mut last = Reason::UpstreamUnreachable;
    for endpoint in upstream.endpoints_from(turn) {
        match connect(upstream, endpoint, place).await {
            Ok(connection) => return Ok(connection),
            Err((reason, given_back)) => {
                let outcome = AttemptOutcome::Failed(reason);
                cleared.record().note_attempt(Attempt { endpoint: endpoint.address, reused: false, outcome });
                (last, place) = (reason, given_back);
            }
        }
    }
    Err(Rejection::new(last, "no endpoint of the upstream could be reached"))
}

async fn connect(
    upstream: &Upstream,
    endpoint: &Endpoint,
    place: EndpointUse,
) -> Result<UpstreamConnection, (Reason, EndpointUse)> {
    let limit = upstream.settings.timeouts.connect;
    match tokio::time::timeout(limit, TcpStream::connect(endpoint.address)).await {
        Err(_elapsed) => Err((Reason::UpstreamConnectTimeout, place)),
        Ok(Err(_refused)) => Err((Reason::UpstreamUnreachable, place)),
        Ok(Ok(stream)) => match stream.set_nodelay(true) {
            Ok(()) => Ok(UpstreamConnection::new(stream, endpoint.id, endpoint.address, place)),
            Err(_gone) => Err((Reason::UpstreamUnreachable, place)),
        },
    }
}

/// Writes the head of a cleared exchange's request, in its canonical form, to `out`. The only place where a client's request
/// becomes bytes for an upstream.
pub fn write_request_head(cleared: &Cleared, out: &mut Vec<u8>) {
    cleared.exchange().request.write_to(out);
}
