//! From a cleared exchange to an upstream's connection.

use crate::balance::{Balance, Chance, HashKey, choose};
use crate::connect::connect;
use crate::endpoint::{Endpoint, EndpointPlace};
use crate::h2::Opening;
use crate::pool::LocalWaiting;
use crate::retry::{Failure, Tries};
use crate::ring;
use crate::room::Waiting;
use crate::upstream::{UpstreamCounts, UpstreamProtocol};
use crate::{Pools, Upstream, UpstreamConnection};
use portcullis_gateway_policy::Cleared;
use portcullis_model::{Attempt, AttemptOutcome, Reason, Rejection};
use portcullis_wire::cookie;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::time::Instant;

/// What looking for a connection brought.
enum Sought {
    /// An unused connection, or a stream of one.
    Connection(UpstreamConnection),
    /// A place for a new one.
    Place(EndpointPlace),
    /// A connection that is being made and will carry streams.
    Opening(Rc<Opening>),
    /// Endpoints, but no place at any of them.
    Full,
    /// No endpoint.
    Nothing,
}

/// Finds a connection for a cleared exchange: an unused one of the endpoint that is chosen, or a new one; to another endpoint if that
/// cannot be reached and trying again is allowed. Waits when all places are taken, within the time for connecting.
///
/// # Errors
/// A rejection that blames the upstream, when no endpoint could be reached, or the gateway, when no place became free.
pub async fn checkout(
    cleared: &mut Cleared,
    tries: &mut Tries<'_>,
    pools: &Pools,
    now: Instant,
) -> Result<UpstreamConnection, Rejection> {
    let upstream = tries.upstream;
    let mut chance = chance(cleared, upstream, pools, now);
    let mut waiting: Option<InRoom<'_>> = None;
    loop {
        match seek(tries, pools, &chance, now) {
            Sought::Connection(connection) => return Ok(connection),
            Sought::Place(place) => {
                let endpoint = place.endpoint().clone();
                match connect(upstream, place, tries.total()).await {
                    Ok(connection) => return Ok(connection),
                    Err(rejection) => {
                        try_again(cleared, tries, &endpoint, rejection, true)?;
                        chance.now = upstream.origin().micros(Instant::now());
                        chance.random = pools.next_random();
                    }
                }
            }
            Sought::Opening(opening) => {
                // A stream may be taken by another who waited too: look again then.
                if let Err((rejection, is_first)) = opening.wait(tries.total()).await {
                    try_again(cleared, tries, opening.endpoint(), rejection, is_first)?;
                    chance.random = pools.next_random();
                }
                chance.now = upstream.origin().micros(Instant::now());
            }
            Sought::Full => match &mut waiting {
                // Something may have become free in the moment before it was noted that somebody waits: look again first.
                None => waiting = Some(InRoom::enter(upstream, pools, tries.total())?),
                Some(waiting) => waiting.wait().await?,
            },
            Sought::Nothing => return Err(nothing(upstream)),
        }
    }
}

/// Notes that an endpoint could not be reached, and whether there may be another try. `counts`: nobody has noted it yet.
fn try_again(
    cleared: &mut Cleared,
    tries: &mut Tries<'_>,
    endpoint: &Endpoint,
    rejection: Rejection,
    counts: bool,
) -> Result<(), Rejection> {
    let outcome = AttemptOutcome::Failed(rejection.reason);
    cleared.record().note_attempt(Attempt { endpoint: endpoint.address, reused: false, outcome });
    let now = Instant::now();
    if counts {
        tries.note_failure(endpoint, now);
    }
    if tries.may_try_again(endpoint, Failure::Connect, true, now) { Ok(()) } else { Err(rejection) }
}

fn nothing(upstream: &Upstream) -> Rejection {
    if upstream.endpoints().endpoints().is_empty() {
        return Rejection::new(
            Reason::UpstreamUnresolved,
            upstream.trouble().unwrap_or_else(|| "no name has an answer yet".to_owned()),
        );
    }
    Rejection::new(Reason::UpstreamUnhealthy, "health checks find no endpoint fit")
}

fn chance(cleared: &Cleared, upstream: &Upstream, pools: &Pools, now: Instant) -> Chance {
    let balance = &upstream.settings.balance;
    let key = if let Balance::ConsistentHash(key) = balance { key_of(cleared, key) } else { None };
    let turn = if *balance == Balance::RoundRobin { upstream.state.turn.fetch_add(1, Ordering::Relaxed) } else { 0 };
    Chance { now: upstream.origin().micros(now), turn, random: pools.next_random(), key, slow_start: upstream.slow_start_micros() }
}

fn key_of(cleared: &Cleared, key: &HashKey) -> Option<u64> {
    let exchange = cleared.exchange();
    match key {
        HashKey::ClientIp => Some(match exchange.client.to_canonical() {
            IpAddr::V4(address) => ring::hash(&address.octets()),
            IpAddr::V6(address) => ring::hash(&address.octets()),
        }),
        HashKey::Header(name) => exchange.request.fields().first_named(name).map(ring::hash),
        HashKey::Cookie(name) => {
            let cookies = cookie::cookies(exchange.request.fields()).ok()?;
            cookies.iter().find(|(known, _)| *known == name.as_bytes()).map(|(_, value)| ring::hash(value))
        }
    }
}

/// Looks for an unused connection or a place. Takes no lock.
fn seek(tries: &Tries<'_>, pools: &Pools, chance: &Chance, now: Instant) -> Sought {
    let upstream = tries.upstream;
    let settings = &upstream.settings;
    let set = upstream.endpoints();
    let mut passed = tries.passed;
    let mut full = false;
    while let Some(chosen) = choose(&set, &settings.balance, chance, &passed) {
        let sought = match settings.protocol {
            UpstreamProtocol::Http2 => seek_stream(upstream, pools, chosen.endpoint),
            UpstreamProtocol::Http1 => {
                let kept = if tries.fresh_only { None } else { pools.take(chosen.endpoint.id, settings.pooled_idle, now) };
                let place = || chosen.endpoint.admit(settings.connections_max).map(Sought::Place);
                kept.map(Sought::Connection).or_else(place)
            }
        };
        if let Some(sought) = sought {
            if chosen.last_resort {
                UpstreamCounts::one_more(&upstream.state.counts.last_resort);
            }
            return sought;
        }
        full = true;
        if !passed.add(chosen.endpoint.id) {
            break;
        }
    }
    if full { Sought::Full } else { Sought::Nothing }
}

/// Looks for a stream of a connection to an endpoint: of one that is there, else of one that is being made, else of a new one.
fn seek_stream(upstream: &Upstream, pools: &Pools, endpoint: &Arc<Endpoint>) -> Option<Sought> {
    let streams = &pools.streams;
    if let Some(stream) = streams.take(endpoint, upstream.settings.connections_max) {
        return Some(Sought::Connection(UpstreamConnection::of_stream(stream)));
    }
    if let Some(opening) = streams.opening(endpoint.id) {
        return Some(Sought::Opening(opening));
    }
    let place = endpoint.admit(upstream.settings.connections_max)?;
    Some(Sought::Opening(streams.open(place, upstream.settings.timeouts.connect)))
}

/// One who waits for a connection.
struct InRoom<'w> {
    waiting: Waiting<'w>,
    local: LocalWaiting<'w>,
    deadline: Instant,
}

impl<'w> InRoom<'w> {
    fn enter(upstream: &'w Upstream, pools: &'w Pools, total: Option<Instant>) -> Result<Self, Rejection> {
        let room = &upstream.state.room;
        let Some(waiting) = room.enter(upstream.settings.pending_max) else {
            return Err(Rejection::new(Reason::UpstreamExhausted, "all connections are in use, and as many requests wait as may"));
        };
        UpstreamCounts::one_more(&upstream.state.counts.waited);
        if waiting.is_first() {
            upstream.origin().press();
        }
        let deadline = Instant::now() + upstream.settings.timeouts.connect;
        let deadline = total.map_or(deadline, |total| total.min(deadline));
        Ok(Self { waiting, local: pools.wait_in(room), deadline })
    }

    async fn wait(&mut self) -> Result<(), Rejection> {
        let told = async {
            tokio::select! {
                () = self.waiting.wait() => {}
                () = self.local.wait() => {}
            }
        };
        tokio::time::timeout_at(self.deadline, told)
            .await
            .map_err(|_| Rejection::new(Reason::UpstreamExhausted, "all connections are in use, and none became free in time"))
    }
}

/// Puts the head of a cleared exchange's request, in its canonical form, on its way: as bytes in `out`, or as fields of a stream. The
/// only place where a client's request goes to an upstream.
pub fn put_request(cleared: &Cleared, connection: &mut UpstreamConnection, out: &mut Vec<u8>) {
    connection.put_head(&cleared.exchange().request, out);
}
