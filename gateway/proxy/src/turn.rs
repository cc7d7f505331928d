//! A request's turn, where an upstream has as many as it may have at once, and with whom it shares its turns.

use crate::connection::Connection;
use crate::snapshot::Route;
use portcullis_gateway_policy::Exchange;
use portcullis_gateway_upstream::fairness::{Class, Flow};
use portcullis_gateway_upstream::{Gate, Turn};
use portcullis_model::{Principal, Reason, Rejection};
use portcullis_wire::BodyFraming;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::task::Poll;
use tokio::time::Instant;

/// Apart from all others, so that no name is another kind's.
const CONSUMER: u8 = 0;
const CALLER: u8 = 1;
const ADDRESS: u8 = 2;

/// Waits for the request's turn; nothing where the upstream has no bound. Whoever leaves meanwhile leaves their place to the next.
pub(crate) async fn turn(
    exchange: &Exchange,
    route: &Route,
    connection: &mut Connection,
    total: Option<Instant>,
) -> Result<Option<Turn>, Rejection> {
    let mut waits = pin!(route.upstream.turn(|gate| flow_of(exchange, gate), total));
    // What comes from a client that still sends is its body.
    let mut watches_client = exchange.request.framing() == BodyFraming::None;
    poll_fn(|cx| {
        if let Poll::Ready(turn) = waits.as_mut().poll(cx) {
            return Poll::Ready(turn);
        }
        if watches_client {
            match connection.io.poll_gone(cx) {
                Poll::Ready(true) => return Poll::Ready(Err(Rejection::new(Reason::ClientGone, "while its turn was waited for"))),
                Poll::Ready(false) => watches_client = false,
                Poll::Pending => {}
            }
        }
        Poll::Pending
    })
    .await
}

/// The consumer, if it is known, else who is calling, else the network that the request came from. Consumers with a plan come first, and whoever did not
/// say who they are comes last.
fn flow_of(exchange: &Exchange, gate: &Gate) -> Flow {
    match exchange.principal().map(|caller| &**caller) {
        Some(Principal { consumer: Some(consumer), .. }) => {
            let plan = consumer.plan.as_ref();
            let class = if plan.is_some() { Class::Planned } else { Class::Known };
            Flow { key: gate.key(&(CONSUMER, &consumer.name)), class, weight: plan.map_or(1, |plan| plan.weight) }
        }
        Some(caller) => Flow { key: gate.key(&(CALLER, &caller.provider, &caller.subject)), class: Class::Known, weight: 1 },
        None => Flow { key: gate.key(&(ADDRESS, network(exchange.client))), class: Class::Anonymous, weight: 1 },
    }
}

/// An IPv4 address, however it is written, or the /64 of an IPv6 address.
fn network(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(four) => u128::from(four.to_ipv6_mapped()),
        IpAddr::V6(six) => u128::from(six) >> 64 << 64,
    }
}
