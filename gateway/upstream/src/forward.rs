//! From a cleared exchange to an upstream's connection.

use crate::connect::connect;
use crate::{Pools, Upstream, UpstreamConnection};
use portcullis_gateway_policy::Cleared;
use portcullis_model::{Attempt, AttemptOutcome, Reason, Rejection};
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
    let settings = &upstream.settings;
    if !fresh_only {
        let set = upstream.endpoints();
        if let Some(connection) = set.turn_from(turn).find_map(|endpoint| pools.take(endpoint.id, settings.pooled_idle, now)) {
            return Ok(connection);
        }
    }
    let tries = upstream.endpoints().endpoints().len();
    let mut last = Rejection::new(Reason::UpstreamUnreachable, "the upstream has no endpoint");
    for number in 0..tries {
        let endpoint = upstream.endpoints().turn_from(turn.wrapping_add(number)).next().cloned();
        let Some(endpoint) = endpoint else { break };
        let Some(place) = endpoint.admit(settings.connections_max) else {
            last = Rejection::new(Reason::UpstreamExhausted, "all connections of the endpoint are in use");
            continue;
        };
        match connect(upstream, place).await {
            Ok(connection) => return Ok(connection),
            Err(rejection) => {
                let outcome = AttemptOutcome::Failed(rejection.reason);
                cleared.record().note_attempt(Attempt { endpoint: endpoint.address, reused: false, outcome });
                last = rejection;
            }
        }
    }
    Err(last)
}

/// Writes the head of a cleared exchange's request, in its canonical form, to `out`. The only place where a client's request
/// becomes bytes for an upstream.
pub fn write_request_head(cleared: &Cleared, out: &mut Vec<u8>) {
    cleared.exchange().request.write_to(out);
}
