//! Which endpoint a request goes to. Pure: time, turn and chance are given in.

use crate::endpoint::{Endpoint, EndpointState};
use crate::ring::{Ring, mix};
use crate::set::EndpointSet;
use std::sync::Arc;

/// How an endpoint is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Each in its turn, as often as its weight says.
    #[default]
    RoundRobin,
    /// Of two at random the one with fewer exchanges under way, in proportion to its weight.
    LeastRequests,
    /// Of two at random the one that promises the quicker answer: moving average of latency, times exchanges under way.
    LeastLatency,
    /// The same one for the same key, as long as it is available and not busier than the others by far.
    ConsistentHash(HashKey),
}

/// What is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address, found behind trusted proxies.
    ClientIp,
    /// The value of a header field; lower-case name.
    Header(Arc<str>),
    /// The value of a cookie.
    Cookie(Arc<str>),
}

/// How much busier than the mean an endpoint may be before a key goes to the next one on the ring: 5/4.
const BOUND: (u64, u64) = (5, 4);
/// Fewer exchanges under way than that are never too many.
const BOUND_FROM: u32 = 4;
/// The share that an endpoint gets at the begin of its slow start, in thousandths.
const SLOW_START_FROM: u64 = 100;

/// What a choice depends on besides the endpoints.
#[derive(Clone, Copy, Debug)]
pub struct Chance {
    /// Microseconds, as the states of the endpoints count them.
    pub now: u64,
    /// Counts requests: whose turn it is.
    pub turn: u64,
    /// A number at random.
    pub random: u64,
    /// The hash of the key, for [`Balance::ConsistentHash`].
    pub key: Option<u64>,
    /// How long a slow start takes, in microseconds; 0 for none.
    pub slow_start: u64,
}

/// Endpoints that are passed over, for one request: tried in vain, or full. Bounded, without allocation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passed {
    ids: [u64; 8],
    len: usize,
}

impl Passed {
    /// Passes over an endpoint from now on; says whether there was room to remember it: only eight are.
    pub fn add(&mut self, id: u64) -> bool {
        let Some(slot) = self.ids.get_mut(self.len) else { return false };
        *slot = id;
        self.len += 1;
        true
    }

    /// How many are passed over.
    #[must_use]
    pub fn count(&self) -> usize {
        self.len
    }

    fn has(&self, id: u64) -> bool {
        self.ids.iter().take(self.len).any(|passed| *passed == id)
    }
}

/// What was chosen.
#[derive(Clone, Copy, Debug)]
pub struct Chosen<'s> {
    /// The endpoint.
    pub endpoint: &'s Arc<Endpoint>,
    /// Whether it is one that is left out because it failed, taken because no other is left.
    pub last_resort: bool,
}

/// Chooses an endpoint of the set; none when the upstream has none, or active health checks find all of them unfit, or all have
/// been passed over.
///
/// When all that are healthy are left out because they failed, they are used all the same: leaving out is a guess, and with nothing
/// left it is of no use. What active health checks say is not a guess, and is kept to.
pub fn choose<'s>(set: &'s EndpointSet, balance: &Balance, chance: &Chance, passed: &Passed) -> Option<Chosen<'s>> {
    let fits = |endpoint: &Arc<Endpoint>| endpoint.state.is_available(chance.now) && !passed.has(endpoint.id);
    let first = match balance {
        Balance::RoundRobin => set.by_turn(chance.turn).filter(|one| fits(one) && is_warm(one, chance)),
        Balance::LeastRequests => better_of_two(set, chance, passed, busier),
        Balance::LeastLatency => better_of_two(set, chance, passed, |a, b| costlier(a, b, chance.now)),
        Balance::ConsistentHash(_) => set.ring().and_then(|ring| by_ring(set, ring, chance, passed)),
    };
    if let Some(endpoint) = first {
        return Some(Chosen { endpoint, last_resort: false });
    }
    // Seldom: the one whose turn it is is not available. Its share is spread over all others, not given to its neighbour.
    if let Some(endpoint) = at_random(set, chance.random, fits) {
        return Some(Chosen { endpoint, last_resort: false });
    }
    let healthy = |endpoint: &Arc<Endpoint>| !endpoint.state.is_unhealthy() && !passed.has(endpoint.id);
    at_random(set, chance.random, healthy).map(|endpoint| Chosen { endpoint, last_resort: true })
}

/// One of those that fit, by weight.
fn at_random(set: &EndpointSet, random: u64, fits: impl Fn(&Arc<Endpoint>) -> bool) -> Option<&Arc<Endpoint>> {
    let total: u64 = set.endpoints().iter().filter(|one| fits(one)).map(|one| u64::from(one.weight)).sum();
    let mut at = mix(random).checked_rem(total)?;
    set.endpoints().iter().filter(|one| fits(one)).find(|one| {
        let mine = at < u64::from(one.weight);
        at = at.saturating_sub(u64::from(one.weight));
        mine
    })
}

/// Whether an endpoint that has just come (back) takes this turn: more and more often, until its slow start is over.
fn is_warm(endpoint: &Endpoint, chance: &Chance) -> bool {
    let share = warmth(&endpoint.state, chance);
    share >= 1000 || mix(chance.random ^ 0x5bd1_e995) % 1000 < share
}

/// The share of its ordinary load that an endpoint may get now, in thousandths.
fn warmth(state: &EndpointState, chance: &Chance) -> u64 {
    let since = state.back_since();
    if since == 0 || chance.slow_start == 0 {
        return 1000;
    }
    let passed = chance.now.saturating_sub(since).min(chance.slow_start);
    SLOW_START_FROM + (1000 - SLOW_START_FROM) * passed / chance.slow_start
}

fn better_of_two<'s>(
    set: &'s EndpointSet,
    chance: &Chance,
    passed: &Passed,
    worse: impl Fn(&Endpoint, &Endpoint) -> bool,
) -> Option<&'s Arc<Endpoint>> {
    let fits = |one: &&Arc<Endpoint>| one.state.is_available(chance.now) && !passed.has(one.id) && is_warm(one, chance);
    // The wheel holds each endpoint as often as its weight says, so this draws by weight.
    let (one, other) = (chance.random >> 32, u64::from(chance.random as u32));
    let first = set.by_turn(one).filter(fits);
    // Drawn twice the same, its neighbour is the second: of few endpoints most draws would else compare nothing.
    let differs = |two: &&Arc<Endpoint>| first.is_none_or(|first| first.id != two.id);
    let second = set.by_turn(other).filter(differs).or_else(|| set.by_turn(other + 1).filter(differs)).filter(fits);
    match (first, second) {
        (Some(first), Some(second)) if worse(first, second) => Some(second),
        (Some(one), _) | (None, Some(one)) => Some(one),
        (None, None) => None,
    }
}

fn busier(a: &Endpoint, b: &Endpoint) -> bool {
    u64::from(a.state.in_flight()) * u64::from(b.weight) > u64::from(b.state.in_flight()) * u64::from(a.weight)
}

fn costlier(a: &Endpoint, b: &Endpoint, now: u64) -> bool {
    let cost = |one: &Endpoint| {
        let busy = u64::from(one.state.in_flight());
        match one.state.latency_micros(now) {
            Some(latency) => latency.saturating_mul(busy + 1),
            // Nobody knows it yet: one request at a time finds out.
            None if busy == 0 => 0,
            None => u64::MAX,
        }
    };
    cost(a) > cost(b)
}

fn by_ring<'s>(set: &'s EndpointSet, ring: &Ring, chance: &Chance, passed: &Passed) -> Option<&'s Arc<Endpoint>> {
    // A request without the key goes anywhere.
    let key = chance.key.unwrap_or(chance.random);
    let mut bound = None;
    ring.walk(key).filter_map(|at| set.endpoints().get(at)).take(1024).find(|one| {
        if !one.state.is_available(chance.now) || passed.has(one.id) {
            return false;
        }
        let busy = one.state.in_flight();
        busy < BOUND_FROM || u64::from(busy) < *bound.get_or_insert_with(|| bound_of(set)) * u64::from(one.weight)
    })
}

/// How many exchanges under way an endpoint may have for each unit of its weight.
fn bound_of(set: &EndpointSet) -> u64 {
    let (busy, weight) = set
        .endpoints()
        .iter()
        .fold((0_u64, 0_u64), |(busy, weight), one| (busy + u64::from(one.state.in_flight()), weight + u64::from(one.weight)));
    ((busy + 1) * BOUND.0).div_ceil(BOUND.1 * weight.max(1))
}
