//! Active health checks, against processes that are killed, paused, lie, or come back.

use portcullis_testing_kit::{Authority, Gateway, Leaf, Nginx, Plain, PyServer, RawClient, Witness, free_port, holds};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const GET: &str = "GET /x HTTP/1.1\r\nHost: a.test\r\nCookie: secret=1\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
const QUICK: &str = "health: { path: /healthz, interval: 200ms, timeout: 500ms, unhealthy_after: 2, healthy_after: 2 }\n    \
                     timeouts: { connect: 1s, first_byte: 1s, idle: 1s }\n    slow_start: 0s";

fn gateway(endpoints: &[SocketAddr], settings: &'static str) -> Gateway {
    let list: Vec<String> = endpoints.iter().map(|address| format!("{{ url: \"http://{address}\" }}")).collect();
    let mut plain = Plain::to(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
    plain.upstream_settings = settings;
    Gateway::start(&plain.yaml().replace("{ url: \"http://127.0.0.1:1\" }", &list.join(", ")))
}

fn in_state(gateway: &Gateway, state: &str) -> usize {
    gateway.metric(&format!("portcullis_upstream_endpoints{{upstream=\"u\",state=\"{state}\"}}")) as usize
}

#[track_caller]
fn becomes(gateway: &Gateway, state: &str, count: usize) {
    holds(&format!("{count} endpoints that are {state}"), || in_state(gateway, state) == count);
}

fn statuses(gateway: &Gateway, count: usize) -> Vec<u16> {
    (0..count).map(|_| RawClient::connect(gateway.http()).send(GET).response().status).collect()
}

/// Answers the check as `well` says, and everything else with 200.
fn checked(well: &Arc<AtomicBool>) -> Witness {
    let well = Arc::clone(well);
    Witness::scripted(move |side| {
        while let Some(request) = side.request() {
            let good = !request.starts_with(b"GET /healthz ") || well.load(Ordering::Acquire);
            if !side.write(if good { OK } else { BUSY }) {
                return;
            }
        }
    })
}

#[test]
fn a_check_asks_for_what_is_configured_and_carries_nothing_of_a_client() {
    let witness = Witness::ok();
    let gateway = gateway(&[witness.address()], QUICK);
    assert!(statuses(&gateway, 3).iter().all(|status| *status == 200));
    holds("a check", || witness.texts().iter().any(|text| text.starts_with("GET /healthz ")));
    let check = witness.texts().into_iter().find(|text| text.starts_with("GET /healthz ")).expect("there was one");
    let expected = format!("GET /healthz HTTP/1.1\r\nhost: {}\r\nuser-agent: portcullis-health\r\n\r\n", witness.address());
    // The last one of a connection says so.
    assert_eq!(check.replace("connection: close\r\n", ""), expected);
}

#[test]
fn a_killed_endpoint_gets_no_requests_and_the_others_serve() {
    let (mut victim, other) = (PyServer::start(), Witness::ok());
    let gateway = gateway(&[victim.address(), other.address()], QUICK);
    assert!(statuses(&gateway, 4).iter().all(|status| *status == 200));
    victim.kill();
    becomes(&gateway, "unhealthy", 1);
    let before = gateway.metric("portcullis_upstream_retries_total{upstream=\"u\"}");
    assert!(statuses(&gateway, 20).iter().all(|status| *status == 200));
    assert_eq!(gateway.metric("portcullis_upstream_retries_total{upstream=\"u\"}"), before, "nothing was tried there");
    assert!(gateway.stderr().contains("endpoint_unhealthy"), "{}", gateway.stderr());
}

#[test]
fn a_paused_endpoint_is_left_out_in_time_and_is_back_when_it_goes_on() {
    let (mut paused, other) = (PyServer::start(), Witness::ok());
    let gateway = gateway(&[paused.address(), other.address()], QUICK);
    becomes(&gateway, "available", 2);
    paused.process().pause();
    becomes(&gateway, "unhealthy", 1);
    assert!(statuses(&gateway, 10).iter().all(|status| *status == 200));
    paused.process().signal("CONT");
    becomes(&gateway, "available", 2);
    assert!(statuses(&gateway, 10).iter().all(|status| *status == 200));
}

#[test]
fn an_endpoint_that_lies_about_its_health_is_left_out_all_the_same() {
    let liar = Witness::scripted(|side| {
        while let Some(request) = side.request() {
            if !side.write(if request.starts_with(b"GET /healthz ") { OK } else { BUSY }) {
                return;
            }
        }
    });
    let honest = Witness::ok();
    let gateway = gateway(&[liar.address(), honest.address()], QUICK);
    let first = statuses(&gateway, 30);
    assert_eq!(first.iter().filter(|status| **status == 503).count(), 5, "{first:?}");
    assert_eq!((in_state(&gateway, "unhealthy"), in_state(&gateway, "ejected")), (0, 1));
    assert!(statuses(&gateway, 20).iter().all(|status| *status == 200));
}

#[test]
fn with_all_endpoints_unhealthy_requests_are_refused_at_once_and_served_again_when_one_is_back() {
    let well = [Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false))];
    let (first, second) = (checked(&well[0]), checked(&well[1]));
    let gateway = gateway(&[first.address(), second.address()], QUICK);
    becomes(&gateway, "unhealthy", 2);
    let answer = gateway.get("/x");
    assert_eq!((answer.status, answer.code().as_str()), (503, "upstream_unhealthy"));
    let asked = |witness: &Witness| witness.texts().iter().filter(|text| text.starts_with("GET /x ")).count();
    let before = (asked(&first), asked(&second));
    well[1].store(true, Ordering::Release);
    becomes(&gateway, "available", 1);
    assert!(statuses(&gateway, 10).iter().all(|status| *status == 200));
    assert_eq!((asked(&first), asked(&second)), (before.0, before.1 + 10));
}

#[test]
fn checks_that_are_taken_out_of_the_configuration_leave_nothing_behind() {
    let well = Arc::new(AtomicBool::new(false));
    let witness = checked(&well);
    let gateway = gateway(&[witness.address()], QUICK);
    becomes(&gateway, "unhealthy", 1);
    let without = gateway.config().replace("health: { path: /healthz", "health: { check: tcp").replace(", path: /healthz", "");
    gateway.configure(&without);
    becomes(&gateway, "available", 1);
    assert_eq!(gateway.get("/x").status, 200);
    let none: String = without.lines().map(|line| if line.contains("health:") { "" } else { line }).collect::<Vec<_>>().join("\n");
    gateway.configure(&none);
    gateway.reaches_generation(3);
    assert_eq!(gateway.get("/x").status, 200);
}

#[test]
fn an_endpoint_that_is_not_there_is_found_by_its_first_check() {
    let (witness, dead) = (Witness::ok(), SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())));
    let gateway = gateway(&[witness.address(), dead], "health: { check: tcp, interval: 1h }");
    becomes(&gateway, "unhealthy", 1);
    assert!(statuses(&gateway, 10).iter().all(|status| *status == 200));
}

/// Enough that some make a connection: every tenth does.
const CHECKS: usize = 21;
const STRICT: &str = "health: { path: /healthz, interval: 100ms, timeout: 5s, unhealthy_after: 1, healthy_after: 1 }";

fn never_unhealthy(gateway: &Gateway, what: &str) {
    assert_eq!(in_state(gateway, "available"), 1, "{what}");
    assert!(!gateway.stderr().contains("endpoint_unhealthy"), "{what}: {}", gateway.stderr());
}

#[test]
fn many_checks_of_an_endpoint_go_by_one_connection_but_some_make_another() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    for answer in [OK, chunked, "HTTP/1.1 204 No Content\r\n\r\n"] {
        let witness = Witness::answering(answer);
        let gateway = gateway(&[witness.address()], STRICT);
        holds("many checks", || witness.requests().len() >= CHECKS);
        let (connections, checks) = (witness.connections(), witness.requests().len());
        assert!((2..=checks.div_ceil(10) + 1).contains(&connections), "{connections} connections for {checks} checks of {answer}");
        never_unhealthy(&gateway, answer);
    }
}

#[test]
fn connections_that_an_endpoint_closes_between_checks_or_may_not_be_used_again_are_no_failures() {
    let once = |answer: &'static str| {
        Witness::scripted(move |side| {
            side.request();
            side.write(answer);
        })
    };
    let closes_when_asked_again = Witness::scripted(|side| {
        side.request();
        side.write(OK);
        side.head();
    });
    let says_why = Witness::scripted(|side| {
        side.request();
        side.write(OK);
        side.head();
        side.write("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
    for (what, witness) in [
        ("closed at once", once(OK)),
        ("closed when it is asked again", closes_when_asked_again),
        ("closed with a status", says_why),
        ("said to close", Witness::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")),
        ("a body that does not end", Witness::answering("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok")),
        ("a body until the end", once("HTTP/1.1 200 OK\r\n\r\nok")),
        ("more than the body", Witness::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok+")),
        ("a long body", Witness::answering(format!("HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n{}", "x".repeat(20_000)))),
    ] {
        let gateway = gateway(&[witness.address()], STRICT);
        holds(what, || witness.connections() >= 8);
        never_unhealthy(&gateway, what);
    }
}

#[test]
fn an_endpoint_that_takes_no_more_connections_is_found_though_the_one_that_is_kept_is_answered() {
    let (witness, other) = (Witness::ok(), Witness::ok());
    let gateway = gateway(&[witness.address(), other.address()], QUICK);
    becomes(&gateway, "available", 2);
    holds("checks of both", || !witness.requests().is_empty() && !other.requests().is_empty());
    // What is open goes on; nothing listens any more.
    drop(witness);
    becomes(&gateway, "unhealthy", 1);
    assert!(statuses(&gateway, 10).iter().all(|status| *status == 200));
}

/// An nginx that answers by TLS, and logs for each request which connection it came by and whether that resumed a session.
fn by_tls(leaf: &Leaf) -> Nginx {
    let port = free_port();
    let servers = format!(
        "log_format lines '$connection $ssl_session_reused $uri';\n\
         server {{ listen 127.0.0.1:{port} ssl; ssl_certificate tls.crt; ssl_certificate_key tls.key; ssl_session_cache shared:s:1m;\n\
         access_log access.log lines; location / {{ return 200 ok; }} }}"
    );
    let files = [("tls.crt", leaf.certificate.as_bytes()), ("tls.key", leaf.key.as_bytes())];
    Nginx::start_as(&servers, port, &files)
}

fn checked_by_tls(nginx: &Nginx, authority: &Authority) -> Gateway {
    let mut plain = Plain::to(nginx.address());
    plain.upstream_settings = STRICT;
    let config =
        plain.yaml().replace("http://127.0.0.1", "https://127.0.0.1").replace("  u:\n", "  u:\n    tls: { trust: ca.pem }\n");
    Gateway::start_with(&[("ca.pem", &authority.certificate)], &config)
}

#[test]
fn checks_by_tls_keep_their_connection_too_and_a_new_one_shows_the_certificate() {
    let ours = Authority::new();
    let nginx = by_tls(&ours.leaf(&["127.0.0.1"]));
    let gateway = checked_by_tls(&nginx, &ours);
    holds("many checks", || nginx.access_log().lines().count() >= CHECKS);
    let log = nginx.access_log();
    let lines: Vec<Vec<&str>> = log.lines().map(|line| line.split(' ').collect()).collect();
    let connections: std::collections::BTreeSet<&str> = lines.iter().map(|line| line[0]).collect();
    assert!((2..=lines.len().div_ceil(10) + 1).contains(&connections.len()), "{} connections:\n{log}", connections.len());
    assert!(lines.iter().all(|line| line[1..] == [".", "/healthz"]), "no session was resumed:\n{log}");
    never_unhealthy(&gateway, "by TLS");
}

#[test]
fn f138_a_certificate_that_goes_bad_is_found_by_the_next_check_that_makes_a_connection() {
    let (ours, theirs) = (Authority::new(), Authority::named("Somebody else"));
    let good = ours.leaf(&["127.0.0.1"]);
    let mut nginx = by_tls(&good);
    let gateway = checked_by_tls(&nginx, &ours);
    becomes(&gateway, "available", 1);
    for (bad, what) in [
        (ours.expired_leaf(&["127.0.0.1"]), "expired"),
        (ours.leaf(&["orders.internal"]), "another name"),
        (theirs.leaf(&["127.0.0.1"]), "another authority"),
    ] {
        nginx.change_certificate(&bad);
        holds(what, || in_state(&gateway, "unhealthy") == 1);
        let asked = nginx.access_log().lines().count();
        let answer = gateway.get("/x");
        assert_eq!((answer.status, answer.code().as_str()), (503, "upstream_unhealthy"), "{what}");
        assert_eq!(nginx.access_log().lines().count(), asked, "{what}: neither a check nor a request reached it");
        nginx.change_certificate(&good);
        becomes(&gateway, "available", 1);
    }
}

#[test]
fn f138_a_certificate_that_expires_while_connections_and_sessions_are_kept_is_found() {
    let ours = Authority::new();
    let soon = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970") + Duration::from_secs(4);
    let nginx = by_tls(&ours.leaf_until(&["127.0.0.1"], soon.as_secs()));
    let gateway = checked_by_tls(&nginx, &ours);
    becomes(&gateway, "available", 1);
    assert_eq!(gateway.get("/x").status, 200);
    becomes(&gateway, "unhealthy", 1);
    assert_eq!(gateway.get("/x").code(), "upstream_unhealthy");
}
