//! Step 5: every policy of the route is asked, in the fixed order; who has been revoked is refused whatever they say.

use crate::connection::Connection;
use crate::short_body::{ClientBody, take_body};
use crate::snapshot::Route;
use crate::worker::Worker;
use portcullis_gateway_policy::{Cleared, Exchange, Stop, Stopped};
use portcullis_model::{Reason, Rejection};

/// Clears the exchange, or says why not.
pub(crate) async fn decide(
    route: &Route,
    mut exchange: Exchange,
    connection: &mut Connection,
    worker: &Worker,
) -> Result<Cleared, Box<Stopped>> {
    if route.body_read_max > 0
        && let Err(rejection) = take_body(connection, worker, &mut exchange, route.body_read_max).await
    {
        return Err(Box::new(Stopped { exchange, stop: Stop::Reject(rejection) }));
    }
    let cleared = route.pipeline.clear_with(exchange, &mut ClientBody { connection, worker }).await;
    let cleared = cleared.map_err(|stopped| worker.locked_out_refused(stopped))?;
    if route.body_read_max > 0 {
        // A policy that has a body taken before anybody is asked answers itself; there is nothing to send it to.
        let stop = Stop::Reject(Rejection::new(Reason::Internal, "a policy that reads the body has not answered"));
        return Err(Box::new(Stopped { exchange: cleared.into_exchange(), stop }));
    }
    // SECURITY: here and not among the policies, so that it holds however the caller has been found, also by what is kept of a token.
    let rejection = match worker.revoked(cleared.exchange()) {
        Some(reason) => {
            let rejection = Rejection::new(reason, "what the caller is known by has been revoked");
            let asked = route.pipeline.challenge(cleared.exchange()).filter(|_| reason.status() == 401);
            match asked {
                Some(challenge) => rejection.asking(challenge),
                None => rejection,
            }
        }
        None if route.fresh_within.is_some_and(|within| !worker.knows_revocations_within(within)) => {
            Rejection::new(Reason::RevocationsStale, "the shared store has been away for longer than `stale_max`")
        }
        None => match worker.check_lockouts(cleared.exchange()) {
            Ok(under_way) => return Ok(under_way_as(under_way, cleared)),
            Err(rejection) => rejection,
        },
    };
    Err(Box::new(Stopped { exchange: cleared.into_exchange(), stop: Stop::Reject(rejection) }))
}

fn under_way_as(under_way: bool, mut cleared: Cleared) -> Cleared {
    if let Some(login) = &mut cleared.record().login {
        login.under_way = under_way;
    }
    cleared
}
