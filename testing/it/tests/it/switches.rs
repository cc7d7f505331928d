//! Threat G 146: a switch that nobody had ever thrown. Each feature that a configuration can turn on is turned on and off under load.

use crate::reload::Load;
use portcullis_testing_kit::{Gateway, Plain, Witness, get, holds};

const ROUTES: &str = "- { name: one, methods: [GET, POST], path: \"/one\", access: { public: true } }\n\
                      - { name: two, methods: [GET], path: \"/two\", access: { public: true } }";

/// What is switched on: a part of the configuration, and what stands there when it is.
const SWITCHES: &[(&str, &str, &str)] = &[
    (
        "limits of requests",
        "upstream: u\n",
        "upstream: u\n    request_limits: { methods: [GET], uri_bytes_max: 100B, body_bytes_max: 1KiB }\n",
    ),
    ("HSTS", "upstream: u\n", "upstream: u\n    security_headers: { hsts: 1000d }\n"),
    ("another route turned off", "upstream: u\n", "upstream: u\n    disabled: { routes: [two], reason: test }\n"),
    (
        "a virtual patch",
        "upstreams:\n",
        "defaults: { disabled: { refuse: [ { path: '^/evil', reason: test, expires: 2099-01-01 } ] } }\nupstreams:\n",
    ),
    ("WebSocket", "path: \"/one\", access", "path: \"/one\", websocket: true, access"),
    ("encoded slashes", "path: \"/one\", access", "path: \"/one\", encoded_slash: keep, access"),
    ("trusted proxies", "upstreams:\n", "defend: { client_ip: { trusted_proxies: [10.0.0.0/8] } }\nupstreams:\n"),
    ("balancers", "protocols: [h1]\n", "protocols: [h1]\n    proxy_protocol: { from: [10.0.0.0/8] }\n"),
    (
        "limits of a listener",
        "    limits: { connection_rate",
        "    limits: { connections: 5000, headers_max: 64, header_deadline: 5s, connection_rate",
    ),
    (
        "time-outs of the upstream",
        "upstreams:\n  u:\n",
        "upstreams:\n  u:\n    timeouts: { connect: 2s, first_byte: 20s, idle: 20s, total: 60s }\n",
    ),
    ("limits of the upstream", "upstreams:\n  u:\n", "upstreams:\n  u:\n    limits: { connections: 100, idle_per_worker: 2 }\n"),
    ("no access log", "record: { access_log: { to: file, path: access.log, format: json } }", "record: { access_log: off }"),
    ("draining", "management: {", "management: { drain: { delay: 1s, deadline: 5s },"),
    ("a host of its own", "hosts: [\"*\"]", "hosts: [a.test, \"*.b.test\"]"),
];

#[test]
fn g146_every_switch_thrown_and_thrown_back_under_load_fails_no_request() {
    let witness = Witness::ok();
    let mut plain = Plain::to(witness.address());
    plain.routes = ROUTES;
    let base = plain.yaml();
    let mut gateway = Gateway::start(&base);
    let load = Load::on(gateway.http());
    let mut generation = gateway.generation();
    let mut all = base.clone();
    for (what, off, on) in SWITCHES {
        assert_eq!(base.matches(off).count(), 1, "{what}: where is it switched?\n{base}");
        for text in [base.replacen(off, on, 1), base.clone()] {
            let before = load.served();
            generation += 1;
            gateway.configure(&text);
            gateway.reaches_generation(generation);
            holds(what, || load.served() > before + 20);
        }
        if all.matches(off).count() == 1 {
            all = all.replacen(off, on, 1);
        }
    }
    // All that go together at once, and then none.
    for text in [&all, &base] {
        let before = load.served();
        generation += 1;
        gateway.configure(text);
        gateway.reaches_generation(generation);
        holds("requests with everything switched", || load.served() > before + 20);
    }
    assert!(load.served() > 500, "only {} requests", load.served());
    load.ends_well();
    assert_eq!(get(gateway.http(), "a.test", "/two").status, 200, "what was switched off is on again");
    assert_eq!(gateway.refused_reloads(), 0);
    gateway.is_well();
}
