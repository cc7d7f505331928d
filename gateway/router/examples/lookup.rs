//! Nanoseconds a look-up takes with 10, 1,000 and 100,000 routes: `cargo run --release -p portcullis-gateway-router --example lookup`.
//!
//! Every route is asked for once before any comes again, in an order that caches cannot guess. Told is the time that a tenth of the
//! rounds stay below, so that other work on the machine counts as little as possible.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement prints, and takes real time")]

use portcullis_gateway_router::{HostPattern, Lookup, PathTemplate, RouteSpec, RouteTable};
use std::time::Instant;

/// A prime beyond the number of routes: multiples of it pass every route once.
const STRIDE: usize = 611_953;
/// Look-ups in a round, and rounds.
const LOOKUPS: usize = 2_000;
const ROUNDS: usize = 500;

fn main() {
    for count in [10, 1_000, 100_000] {
        let specs = (0..count).filter_map(spec).collect();
        let begin = Instant::now();
        let (table, _) = RouteTable::build(specs);
        let built = begin.elapsed();
        let asked: Vec<(usize, String)> =
            (0..count).map(|turn| (turn * STRIDE) % count).map(|number| (number, path(number, "17"))).collect();
        let mut turns = asked.iter().cycle();
        let (mut rounds, mut found) = (Vec::new(), 0);
        for _ in 0..ROUNDS {
            let begin = Instant::now();
            for (number, path) in turns.by_ref().take(LOOKUPS) {
                let lookup = table.find("api.example.com", "GET", path, &|_| None);
                found += usize::from(matches!(lookup, Lookup::Found { target } if target == number));
            }
            rounds.push(begin.elapsed().as_nanos() / LOOKUPS as u128);
        }
        rounds.sort_unstable();
        let each = rounds.get(ROUNDS / 10).copied().unwrap_or_default();
        println!("{count:>7} routes: built in {built:?}, {each} ns a look-up, {found} of {} found", ROUNDS * LOOKUPS);
    }
}

fn path(number: usize, id: &str) -> String {
    format!("/service-{}/items-{number}/{id}", number % 100)
}

fn spec(number: usize) -> Option<RouteSpec<usize>> {
    Some(RouteSpec {
        name: format!("r{number}").into(),
        hosts: vec![HostPattern::parse("api.example.com").ok()?],
        path: PathTemplate::parse(&path(number, "{id}")).ok()?,
        methods: vec!["GET".into()],
        headers: Vec::new(),
        target: number,
    })
}
