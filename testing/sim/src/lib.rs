//! Seeded simulation of an upstream: the gateway's own mechanisms, endpoints made of numbers, no sockets, a clock that only the simulation moves.
//!
//! A step is a millisecond. In it clients send requests, each goes where the gateway's mechanisms say, and an endpoint answers after a
//! time that grows with what it has to do. The seed is printed when something does not hold, so that a run can be repeated.

use portcullis_gateway_upstream::{
    Balance, BreakerSettings, Chance, Endpoint, EndpointSpec, Origin, Outcome, OutlierSettings, Passage, Passed, RetrySettings,
    Timeouts, Upstream, UpstreamSettings, choose,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Numbers that look random and come from a seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The dice of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Whether something happens that does so in so many of a thousand cases.
    pub fn happens(&mut self, of_thousand: u64) -> bool {
        self.roll() % 1000 < of_thousand
    }
}

/// What an endpoint is like at the moment.
#[derive(Clone, Copy, Debug)]
pub struct Nature {
    /// Milliseconds for a request when it has nothing else to do.
    pub millis: u64,
    /// Of a thousand requests so many fail.
    pub failing: u64,
    /// With more requests than that at the same time it fails: it has crashed, or its queue is full.
    pub capacity: u64,
}

/// One simulated second, as seen from outside.
#[derive(Clone, Debug, Default)]
pub struct Second {
    /// Requests of clients.
    pub asked: u64,
    /// Of them those that were refused without asking an endpoint.
    pub refused: u64,
    /// Of them those that failed.
    pub failed: u64,
    /// Tries by server.
    pub tries: Vec<u64>,
    /// Endpoints that were left out at its end.
    pub ejected: usize,
    /// Whether the circuit was open at its end.
    pub open: bool,
}

impl Second {
    /// Tries at all endpoints.
    #[must_use]
    pub fn all_tries(&self) -> u64 {
        self.tries.iter().sum()
    }
}

/// Something that ends at a millisecond: the server's number, the endpoint as it was when it began, when that was, whether it fails, how it
/// was let through, its tries so far.
#[derive(Clone, Debug)]
struct Flight {
    server: usize,
    endpoint: Arc<Endpoint>,
    begun: u64,
    fails: bool,
    passage: Passage,
    tries: u32,
}

/// The simulation.
pub struct World {
    /// The gateway's upstream.
    pub upstream: Upstream,
    /// What servers there are, whether the upstream knows them or not.
    pub natures: Vec<Nature>,
    /// Requests of clients in a millisecond.
    pub per_milli: u64,
    dice: Dice,
    now: u64,
    turn: u64,
    busy: Vec<u64>,
    flights: BTreeMap<u64, Vec<Flight>>,
    clock: Runtime,
}

/// The endpoints of servers by their numbers: each has a port of its own.
fn specs(servers: impl Iterator<Item = usize>) -> Vec<EndpointSpec> {
    let port = |server: usize| u16::try_from(server + 1).unwrap_or(u16::MAX);
    servers.map(|server| EndpointSpec::literal(([127, 0, 0, 1], port(server)).into())).collect()
}

/// Settings with the defaults of the configuration.
#[must_use]
pub fn settings(balance: Balance, breaker: Option<BreakerSettings>) -> UpstreamSettings {
    let second = Duration::from_secs(1);
    UpstreamSettings {
        name: "simulated".into(),
        protocol: portcullis_gateway_upstream::UpstreamProtocol::Http1,
        timeouts: Timeouts { connect: second, first_byte: second, idle: second, total: None, upgraded_idle: second },
        balance,
        slow_start: second * 10,
        health: None,
        outlier: Some(OutlierSettings { consecutive_failures: 5, eject_for: second * 30, eject_at_most_percent: 50 }),
        breaker,
        retry: RetrySettings { attempts: 3, budget_share: 2000, on_connect: true, on_reset_before_bytes: true },
        connections_max: 1000,
        pending_max: 1000,
        gate: None,
        idle_per_worker: 1000,
        pooled_idle: second,
        plaintext_expires: None,
    }
}

impl World {
    /// A world with these endpoints.
    #[must_use]
    pub fn new(seed: u64, settings: UpstreamSettings, natures: Vec<Nature>, per_milli: u64) -> Self {
        let known = natures.len();
        Self::knowing(seed, settings, natures, known, per_milli)
    }

    /// A world in which only the first `known` servers are endpoints at first.
    ///
    /// # Panics
    /// When there is no memory for a clock.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a simulation without a clock is none")]
    pub fn knowing(seed: u64, settings: UpstreamSettings, natures: Vec<Nature>, known: usize, per_milli: u64) -> Self {
        let clock = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a clock");
        let upstream = clock.block_on(async { Upstream::new(settings, &specs(0..known), None, &Arc::new(Origin::default())) });
        let busy = vec![0; natures.len()];
        Self { upstream, natures, per_milli, dice: Dice::new(seed), now: 0, turn: 0, busy, flights: BTreeMap::new(), clock }
    }

    /// An answer of the DNS: these servers, by number, are the endpoints from now on.
    pub fn answer(&self, servers: impl IntoIterator<Item = usize>) {
        self.clock.block_on(async { self.upstream.replace_endpoints(&specs(servers.into_iter())) });
    }

    /// The time, in microseconds.
    fn micros(&self) -> u64 {
        self.now * 1000
    }

    /// Lets so many seconds pass.
    pub fn run(&mut self, seconds: usize) -> Vec<Second> {
        (0..seconds).map(|_| self.second()).collect()
    }

    fn second(&mut self) -> Second {
        let mut seen = Second { tries: vec![0; self.natures.len()], ..Second::default() };
        for _ in 0..1000 {
            self.now += 1;
            self.clock.block_on(tokio::time::advance(Duration::from_millis(1)));
            for flight in self.flights.remove(&self.now).unwrap_or_default() {
                self.land(flight, &mut seen);
            }
            for _ in 0..self.per_milli {
                seen.asked += 1;
                self.ask(&mut seen);
            }
        }
        let micros = self.micros();
        seen.ejected = self.upstream.endpoints().endpoints().iter().filter(|one| one.state.is_ejected(micros)).count();
        seen.open = self.upstream.state.breaker.is_open();
        seen
    }

    fn ask(&mut self, seen: &mut Second) {
        let passage = match &self.upstream.settings.breaker {
            None => Passage::Closed,
            Some(settings) => self.upstream.state.breaker.ask(settings, self.micros()),
        };
        if passage == Passage::Open {
            seen.refused += 1;
            return;
        }
        self.upstream.state.budget.deposit(self.upstream.settings.retry.budget_share);
        self.depart(passage, 1, &Passed::default(), seen);
    }

    /// Sends a request to an endpoint.
    fn depart(&mut self, passage: Passage, tries: u32, passed: &Passed, seen: &mut Second) {
        self.turn += 1;
        let slow_start = u64::try_from(self.upstream.settings.slow_start.as_micros()).unwrap_or(u64::MAX);
        let chance = Chance { now: self.micros(), turn: self.turn, random: self.dice.roll(), key: None, slow_start };
        let set = self.upstream.endpoints();
        let chosen = choose(&set, &self.upstream.settings.balance, &chance, passed).map(|chosen| Arc::clone(chosen.endpoint));
        drop(set);
        let Some(endpoint) = chosen else {
            seen.refused += 1;
            return;
        };
        let server = usize::from(endpoint.address.port()) - 1;
        let (Some(nature), Some(busy)) = (self.natures.get(server), self.busy.get_mut(server)) else { return };
        endpoint.state.begin_exchange();
        *busy += 1;
        let fails = *busy > nature.capacity || self.dice.happens(nature.failing);
        // What fails does so quickly; what works takes longer the more there is to do.
        let millis = if fails { 1 } else { nature.millis + nature.millis * *busy / nature.capacity.max(1) };
        seen.tries.iter_mut().skip(server).take(1).for_each(|count| *count += 1);
        let flight = Flight { server, endpoint, begun: self.now, fails, passage, tries };
        self.flights.entry(self.now + millis.max(1)).or_default().push(flight);
    }

    fn land(&mut self, flight: Flight, seen: &mut Second) {
        if let Some(busy) = self.busy.get_mut(flight.server) {
            *busy -= 1;
        }
        let micros = (self.now - flight.begun) * 1000;
        let outcome = if flight.fails { Outcome::Failed } else { Outcome::Answered { micros } };
        let mut passed = Passed::default();
        // Also of an endpoint that an answer has taken away meanwhile.
        flight.endpoint.state.end_exchange();
        self.upstream.note(&flight.endpoint, flight.passage, outcome, self.micros());
        let _remembered = passed.add(flight.endpoint.id);
        if !flight.fails {
            return;
        }
        if flight.tries < self.upstream.settings.retry.attempts && self.upstream.state.budget.withdraw() {
            return self.depart(flight.passage, flight.tries + 1, &passed, seen);
        }
        seen.failed += 1;
    }
}
