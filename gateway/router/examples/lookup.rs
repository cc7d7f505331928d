//! Nanoseconds a look-up takes with 10, 1,000 and 100,000 routes: `cargo run --release -p portcullis-gateway-router --example lookup`.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement prints, and takes real time")]

use portcullis_gateway_router::{HostPattern, Lookup, PathTemplate, RouteSpec, RouteTable};
use std::time::Instant;

fn main() {
    for count in [10_usize, 1_000, 100_000] {
        let specs = (0..count)
            .filter_map(|number| {
                Some(RouteSpec {
                    name: format!("r{number}").into(),
                    hosts: vec![HostPattern::parse("api.example.com").ok()?],
                    path: PathTemplate::parse(&format!("/service-{}/items-{number}/{{id}}", number % 100)).ok()?,
                    methods: vec!["GET".into()],
                    headers: Vec::new(),
                    target: number,
                })
            })
            .collect();
        let begin = Instant::now();
        let (table, _) = RouteTable::build(specs);
        let built = begin.elapsed();
        let paths: Vec<String> = (0..4096)
            .map(|turn| {
                let number = (turn * 7919) % count;
                format!("/service-{}/items-{number}/{turn}", number % 100)
            })
            .collect();
        let (begin, mut found) = (Instant::now(), 0);
        for _ in 0..100 {
            for path in &paths {
                found += usize::from(matches!(table.find("api.example.com", "GET", path, &|_| None), Lookup::Found { .. }));
            }
        }
        let each = begin.elapsed().as_nanos() / (100 * paths.len() as u128);
        println!("{count:>7} routes: built in {built:?}, {each} ns a look-up, {found} of {} found", 100 * paths.len());
    }
}
