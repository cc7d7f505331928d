//! The way of a request, step by step. Each step lives in the file named after it; docs/life-of-a-request.md tells the same steps in
//! the same order.

use crate::answer::answer;
use crate::connection::{After, Connection};
use crate::decide::decide;
use crate::decode::{Decoded, decode};
use crate::forward::forward;
use crate::look::look;
use crate::respond::respond;
use crate::route::route;
use crate::watch::Watch;
use crate::worker::Worker;
use crate::write::write;
use portcullis_model::Phase;
use tokio::time::Instant;

/// One exchange on a connection, from the first byte of the request to the record of it.
pub(crate) async fn life_of_a_request(connection: &mut Connection, worker: &Worker) -> After {
    let _count = worker.count_exchange();
    let begin = Instant::now();
    // Step 1, accept, is behind us: gateway/listener gave this connection its place and its deadlines.
    // Step 2: decode.
    let decoded = decode(connection, worker, begin).await;
    // Step 3: look.
    let view = look(connection, worker);
    let (mut exchange, refused) = match decoded {
        Decoded::Request(exchange) => (exchange, None),
        Decoded::Refused(exchange, rejection) => (exchange, Some(rejection)),
        Decoded::Nothing(after) => return after,
    };
    connection.requests = connection.requests.saturating_add(1);
    exchange.record.generation = view.generation;
    let refused = refused
        .or_else(|| worker.banned(&exchange))
        .or_else(|| worker.locked_out_client(&exchange))
        .or_else(|| worker.overloaded());
    if let Some(rejection) = refused {
        return respond(connection, worker, &view.unrouted, exchange, rejection, begin).await;
    }
    // Step 4: route.
    let route = match route(&view, connection, &mut exchange) {
        Ok(route) => route,
        Err(rejection) => return respond(connection, worker, &view.unrouted, exchange, rejection, begin).await,
    };
    // Step 5: decide.
    let cleared = match decide(route, exchange, connection, worker).await {
        Ok(cleared) => cleared,
        Err(stopped) => {
            return respond(connection, worker, &route.pipeline, stopped.exchange, stopped.stop, begin).await;
        }
    };
    // Step 6, cache, is not in this version. Step 7: forward.
    let decided = Instant::now();
    connection.watch = Watch::begin(cleared.exchange(), route, worker, decided);
    let mut forwarded = match forward(cleared, route, connection, worker, decided).await {
        Ok(forwarded) => forwarded,
        Err((exchange, rejection)) => {
            return respond(connection, worker, &route.pipeline, exchange, rejection, begin).await;
        }
    };
    forwarded.exchange.record.timings.note_until(Phase::Decide, (decided - begin).as_micros() as u64);
    // Step 8: answer.
    let answered = answer(&mut forwarded, route, connection, worker);
    // Step 9: write.
    let (after, mut exchange) = write(forwarded, answered, route, connection, worker).await;
    // Step 10: record. It leaves when the exchange is dropped, here or wherever the exchange ended before.
    exchange.record.total_micros = (connection.finished - begin).as_micros() as u64;
    worker.keep_request_head(std::mem::take(&mut exchange.request));
    after
}
