//! Step 5: every policy of the route is asked, in the fixed order.

use crate::snapshot::Route;
use portcullis_gateway_policy::{Cleared, Exchange, Stopped};

/// Clears the exchange, or says why not.
pub(crate) async fn decide(route: &Route, exchange: Exchange) -> Result<Cleared, Box<Stopped>> {
    route.pipeline.clear(exchange).await
}
