//! Reloads: whole or not at all, without a lost connection; what is broken changes nothing.

use portcullis_testing_kit::{Authority, Gateway, Plain, RawClient, Witness, get, holds};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

const ONE: &str = "- { name: one, methods: [GET], path: \"/one\", access: { public: true } }";
const TWO: &str = "- { name: two, methods: [GET], path: \"/two\", access: { public: true } }";

fn with(upstream: &Witness, routes: &'static str) -> String {
    let mut plain = Plain::to(upstream.address());
    plain.routes = routes;
    plain.yaml()
}

fn start(upstream: &Witness) -> Gateway {
    Gateway::start(&with(upstream, ONE))
}

#[test]
fn a_changed_file_comes_into_force() {
    let witness = Witness::ok();
    let gateway = start(&witness);
    assert_eq!((gateway.get("/one").status, gateway.get("/two").status, gateway.generation()), (200, 404, 1));
    gateway.configure(&with(&witness, TWO));
    gateway.reaches_generation(2);
    assert_eq!((gateway.get("/one").status, gateway.get("/two").status), (404, 200));
}

#[test]
fn a_file_written_in_place_comes_into_force() {
    let witness = Witness::ok();
    let gateway = start(&witness);
    let text = gateway.config().replace("/one", "/two");
    std::fs::write(gateway.folder().join("portcullis.yaml"), text).expect("written");
    gateway.reaches_generation(2);
    assert_eq!(gateway.get("/two").status, 200);
}

#[test]
fn a_signal_reads_the_file_again() {
    let witness = Witness::ok();
    let mut gateway = start(&witness);
    gateway.configure(&with(&witness, TWO));
    gateway.process().signal("HUP");
    gateway.reaches_generation(2);
    assert_eq!(gateway.get("/two").status, 200);
    // A signal without a change changes nothing, and is no error.
    gateway.process().signal("HUP");
    gateway.is_well();
    assert_eq!((gateway.get("/two").status, gateway.refused_reloads()), (200, 0));
}

#[test]
fn f145_a_broken_configuration_leaves_the_old_one_serving() {
    let witness = Witness::ok();
    let mut gateway = start(&witness);
    let good = gateway.config();
    let half = &good[..good.len() / 2];
    let large = format!("{good}\n# {}", "x".repeat(80 << 20));
    let many = format!("{good}\nunknown_section: {{ a: 1 }}\n");
    let mut refused = 0;
    for (what, bad) in [
        ("empty", ""),
        ("truncated", half),
        ("much too large", &large),
        ("of the wrong type", "- a\n- list\n"),
        ("with an unknown section", &many),
        ("not YAML", "{{{{"),
        ("not text", "\u{0}\u{1}\u{2}"),
        ("without routes that may be reached", &good.replace("access: { public: true }", "access: {}")),
        ("with an alias bomb", "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"),
        ("with a file that is a weakening without an end", &good.replace("expires: 2099-01-01", "expires: 2001-01-01")),
    ] {
        gateway.write("portcullis.yaml", bad);
        holds(&format!("a configuration that is {what} to be refused"), || gateway.refused_reloads() > refused);
        refused = gateway.refused_reloads();
        assert_eq!((gateway.get("/one").status, gateway.generation()), (200, 1), "{what}");
    }
    assert!(gateway.stderr().contains("portcullis.yaml"), "it says what is wrong: {}", gateway.stderr());
    gateway.is_well();
    gateway.write("portcullis.yaml", good.replace("/one", "/two"));
    holds("a good configuration after bad ones", || gateway.get("/two").status == 200);
}

#[test]
fn a_configuration_that_vanishes_changes_nothing() {
    let witness = Witness::ok();
    let mut gateway = start(&witness);
    let text = gateway.config();
    std::fs::remove_file(gateway.folder().join("portcullis.yaml")).expect("removed");
    gateway.process().signal("HUP");
    holds("the absence to be told", || gateway.refused_reloads() > 0);
    assert_eq!(gateway.get("/one").status, 200);
    gateway.write("portcullis.yaml", text.replace("/one", "/two"));
    holds("the file that came back to be in force", || gateway.get("/two").status == 200);
    gateway.is_well();
}

#[test]
fn connections_stay_open_and_exchanges_under_way_are_finished_by_the_old_configuration() {
    let (send, release) = std::sync::mpsc::sync_channel::<()>(0);
    let release = std::sync::Mutex::new(release);
    let witness = Witness::scripted(move |side| {
        while side.request().is_some() {
            side.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha");
            if release.lock().expect("a lock").recv().is_err() || !side.write("lf") {
                return;
            }
        }
    });
    let gateway = start(&witness);
    let mut client = RawClient::connect(gateway.http());
    client.send("GET /one HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(client.response_head().status, 200);
    gateway.configure(&with(&witness, TWO));
    gateway.reaches_generation(2);
    send.send(()).expect("the upstream waits");
    assert_eq!(client.exactly(4), b"half");
    // The same connection, by the new configuration.
    client.send("GET /one HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(client.response().status, 404);
    client.send("GET /two HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(client.response_head().status, 200);
    send.send(()).expect("the upstream waits");
    assert_eq!(client.exactly(4), b"half");
}

#[test]
fn an_upstream_that_did_not_change_keeps_its_connections() {
    let witness = Witness::ok();
    let gateway = start(&witness);
    let mut client = RawClient::connect(gateway.http());
    client.send("GET /one HTTP/1.1\r\nHost: a.test\r\n\r\n").response();
    gateway.configure(&with(&witness, TWO));
    gateway.reaches_generation(2);
    assert_eq!(client.send("GET /two HTTP/1.1\r\nHost: a.test\r\n\r\n").response().status, 200);
    assert_eq!(witness.connections(), 1, "the pool was thrown away");
}

const SECOND: &str = "listeners:\n  second:\n    address: 127.0.0.1:@other@\n    protocols: [h1]\n    danger_plaintext: { reason: test, owner: test, expires: 2099-01-01 }\n";

#[test]
fn what_is_queued_on_a_listener_that_a_reload_takes_out_is_served_by_the_routes_in_force() {
    let witness = Witness::ok();
    let mut gateway = Gateway::start(&with(&witness, ONE).replacen("listeners:\n", SECOND, 1));
    // Nobody accepts: the kernel does, and keeps the requests.
    gateway.process().signal("STOP");
    let mut clients: Vec<_> = (0..80).map(|_| RawClient::connect(gateway.address("other"))).collect();
    gateway.configure(&with(&witness, TWO));
    gateway.process().signal("HUP");
    gateway.process().signal("CONT");
    gateway.reaches_generation(2);
    for client in &mut clients {
        assert_eq!(client.send("GET /two HTTP/1.1\r\nHost: a.test\r\n\r\n").response().status, 200);
        assert_eq!(client.send("GET /one HTTP/1.1\r\nHost: a.test\r\n\r\n").response().status, 404);
    }
    holds("the listener to be gone", || std::net::TcpStream::connect(gateway.address("other")).is_err());
}

#[test]
fn a_listener_comes_and_goes() {
    let witness = Witness::ok();
    let gateway = start(&witness);
    let before = with(&witness, ONE);
    gateway.configure(&before.replacen("listeners:\n", SECOND, 1));
    gateway.reaches_generation(2);
    assert_eq!(get(gateway.address("other"), "a.test", "/one").status, 200);
    gateway.configure(&before);
    gateway.reaches_generation(3);
    holds("the second listener to be gone", || std::net::TcpStream::connect(gateway.address("other")).is_err());
    assert_eq!(gateway.get("/one").status, 200);
}

/// Clients that keep their connection, and clients that make a new one for each request, until it is told to stop. Gives the number of
/// requests served; a single one that fails, fails the test.
pub struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Load {
    pub fn on(address: std::net::SocketAddr) -> Self {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (0..4).map(|number| {
            let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
            thread::spawn(move || {
                let mut client = RawClient::connect(address);
                while !stop.load(Ordering::Acquire) {
                    if number % 2 == 0 {
                        client = RawClient::connect(address);
                    }
                    let response = client.send("GET /one HTTP/1.1\r\nHost: a.test\r\n\r\n").response();
                    assert_eq!(response.status, 200);
                    served.fetch_add(1, Ordering::AcqRel);
                }
            })
        });
        Self { threads: threads.collect(), stop, served }
    }

    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Acquire)
    }

    #[track_caller]
    pub fn ends_well(self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads {
            thread.join().expect("no request failed");
        }
    }
}

#[test]
fn a_listener_that_changes_its_name_keeps_its_sockets_its_connections_and_its_caps() {
    let witness = Witness::ok();
    let mut plain = Plain::to(witness.address());
    plain.routes = ONE;
    plain.listener = "limits: { connections_per_client: 50 }";
    let mut gateway = plain.start();
    let base = plain.yaml();
    let mut held = RawClient::connect(gateway.http());
    held.send("GET /one HTTP/1.1\r\nHost: a.test\r\n\r\n").response();
    let load = Load::on(gateway.http());
    for round in 2..=21_u64 {
        let before = load.served();
        gateway.configure(&base.replacen("  plain:", &format!("  name-{round}:"), 1));
        gateway.reaches_generation(round);
        holds("requests between reloads", || load.served() > before + 20);
    }
    load.ends_well();
    // Under the new name it is ruled by what is written for that name.
    let limited =
        base.replacen("  plain:", "  last:", 1).replace("connections_per_client: 50", "connections_per_client: 1, headers_max: 8");
    gateway.configure(&limited);
    gateway.reaches_generation(22);
    assert_eq!(gateway.status()["listeners"][0]["name"], "last");
    // The held connection takes the only place, which it has had since before the first rename.
    assert_eq!(RawClient::connect(gateway.http()).rest(), b"");
    let refused = "portcullis_connections_refused_total{listener=\"last\",reason=\"client_connections_exhausted\"}";
    holds("the refusal to be counted under the new name", || gateway.metric(refused) >= 1.0);
    let many = format!("GET /one HTTP/1.1\r\nHost: a.test\r\n{}\r\n", "A: 1\r\n".repeat(8));
    held.send("GET /one HTTP/1.1\r\nHost: a.test\r\n\r\n").response();
    assert_eq!(held.send(many).response().status, 431, "a connection of the first name follows the last");
    holds("its place to be given back", || {
        let mut client = RawClient::connect(gateway.http());
        client.send("GET /one HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").rest().starts_with(b"HTTP/1.1 200")
    });
    gateway.is_well();
}

#[test]
fn listeners_can_exchange_their_names() {
    let witness = Witness::ok();
    let second = "  second:\n    address: 127.0.0.1:@other@\n    protocols: [h1]\n    redirect_to_https: true\n";
    let before = with(&witness, ONE).replacen("  plain:", &format!("{second}  plain:"), 1);
    let gateway = Gateway::start(&before);
    let status = |mark| get(gateway.address(mark), "a.test", "/one").status;
    assert_eq!((status("http"), status("other")), (200, 308));
    gateway.configure(&before.replace("plain:", "third:").replace("second:", "plain:").replace("third:", "second:"));
    gateway.reaches_generation(2);
    assert_eq!((status("http"), status("other")), (200, 308));
}

#[test]
fn a_connection_that_was_plain_is_not_served_when_its_listener_encrypts() {
    let witness = Witness::ok();
    let leaf = Authority::new().leaf(&["a.test"]);
    let files = [("server.crt", leaf.certificate.as_str()), ("server.key", leaf.key.as_str())];
    let before = with(&witness, ONE);
    let gateway = Gateway::start_with(&files, &before);
    let mut client = RawClient::connect(gateway.http());
    assert_eq!(client.send("GET /one HTTP/1.1\r\nHost: a.test\r\n\r\n").response().status, 200);
    let tls = "tls: { certificates: [ { hosts: [a.test], files: { certificate: server.crt, key: server.key } } ] }";
    gateway.configure(&before.replace("danger_plaintext: { reason: test, owner: test, expires: 2099-01-01 }", tls));
    gateway.reaches_generation(2);
    let response = client.send("GET /one HTTP/1.1\r\nHost: a.test\r\n\r\n").response();
    assert_eq!((response.status, response.code().as_str()), (503, "weakening_expired"));
}

#[test]
fn an_address_that_this_gateway_itself_holds_is_named() {
    let witness = Witness::ok();
    let gateway = start(&witness);
    gateway.configure(&with(&witness, ONE).replacen("127.0.0.1:@http@", "0.0.0.0:@http@", 1));
    gateway.refuses_reload(1);
    holds("who holds the address to be told", || gateway.stderr().contains("the running listener `plain` holds"));
    assert_eq!(gateway.get("/one").status, 200);
}

#[test]
fn a_listener_on_a_taken_port_is_refused_and_the_old_configuration_serves() {
    let witness = Witness::ok();
    let gateway = start(&witness);
    let taken = format!(
        "listeners:\n  second:\n    address: {}\n    protocols: [h1]\n    danger_plaintext: {{ reason: test, owner: test, expires: 2099-01-01 }}\n",
        witness.address()
    );
    gateway.configure(&with(&witness, TWO).replacen("listeners:\n", &taken, 1));
    gateway.refuses_reload(1);
    assert_eq!((gateway.get("/one").status, gateway.generation()), (200, 1));
    assert!(gateway.stderr().contains(&witness.address().to_string()), "{}", gateway.stderr());
}

#[test]
fn f146_a_hundred_reloads_under_load_fail_no_request() {
    let witness = Witness::ok();
    let mut gateway = start(&witness);
    let load = Load::on(gateway.http());
    let base = with(&witness, ONE);
    for round in 2..=101_u64 {
        let more =
            format!("\n      - {{ name: r{round}, methods: [GET], path: \"/r{round}\", access: {{ public: true }} }}\nrecord:");
        let before = load.served();
        gateway.configure(&base.replacen("\nrecord:", &more, 1));
        gateway.reaches_generation(round);
        holds("requests between reloads", || load.served() > before);
    }
    load.ends_well();
    assert_eq!((gateway.get("/r101").status, gateway.get("/r100").status), (200, 404));
    gateway.is_well();
}

#[test]
fn sigkill_during_reloads_leaves_a_gateway_that_starts() {
    let witness = Witness::ok();
    let mut gateway = start(&witness);
    for round in 0..5 {
        let routes = if round % 2 == 0 { TWO } else { ONE };
        gateway.configure(&with(&witness, routes));
        gateway.process().signal("HUP");
        gateway.kill_and_restart();
        let path = if round % 2 == 0 { "/two" } else { "/one" };
        assert_eq!(gateway.get(path).status, 200);
    }
}

#[test]
fn the_last_known_good_configuration_is_kept_without_secrets_and_can_be_started_from() {
    let witness = Witness::ok();
    let mut gateway = start(&witness);
    let kept = gateway.folder().join("run/last-known-good.yaml");
    holds("the last known good configuration", || std::fs::read_to_string(&kept).is_ok_and(|text| text.contains("/one")));
    let good = gateway.config();
    gateway.write("portcullis.yaml", "broken: [");
    gateway.refuses_reload(1);
    assert!(std::fs::read_to_string(&kept).is_ok_and(|text| text.contains("/one")), "a refused configuration was kept as good");
    gateway.stop();
    gateway.write("portcullis.yaml", good);
}

#[test]
fn the_last_known_good_configuration_is_on_disk_when_the_gateway_has_ended() {
    let witness = Witness::ok();
    let mut gateway = start(&witness);
    for round in 2..=6_u64 {
        gateway.configure(&with(&witness, ONE).replace("/one", &format!("/round-{round}")));
        gateway.reaches_generation(round);
    }
    gateway.stop();
    let kept = std::fs::read_to_string(gateway.folder().join("run/last-known-good.yaml")).expect("kept");
    assert!(kept.contains("/round-6"), "what was in force at the end: {kept}");
}

#[test]
fn that_the_last_known_good_configuration_cannot_be_kept_is_told_and_stops_nothing() {
    let witness = Witness::ok();
    let mut gateway = start(&witness);
    let kept = gateway.folder().join("run/last-known-good.yaml");
    let keeps = |path: &'static str| move |text: String| text.contains(path);
    holds("the first one to be kept", || std::fs::read_to_string(&kept).is_ok_and(keeps("/one")));
    // A folder that is not empty stands where the file should be.
    std::fs::remove_file(&kept).expect("removed");
    std::fs::create_dir_all(kept.join("in the way")).expect("made");
    gateway.configure(&with(&witness, TWO));
    gateway.reaches_generation(2);
    assert_eq!(gateway.get("/two").status, 200);
    let error = || gateway.status()["last_known_good_error"].as_str().map(str::to_owned);
    holds("the trouble to be in the status", || error().is_some_and(|text| text.contains("last-known-good.yaml")));
    assert!(gateway.stderr().contains("last known good configuration could not be kept"), "{}", gateway.stderr());
    std::fs::remove_dir_all(&kept).expect("removed");
    gateway.configure(&with(&witness, ONE));
    gateway.reaches_generation(3);
    holds("the next one to be kept", || std::fs::read_to_string(&kept).is_ok_and(keeps("/one")));
    holds("the status to be without trouble", || error().is_none());
    gateway.is_well();
}

#[test]
fn a_signal_right_after_readiness_is_heard() {
    let witness = Witness::ok();
    let mut gateway = start(&witness);
    for _ in 0..20 {
        // Whoever waits for readiness may signal at once; a signal that nobody listens for yet would end the process.
        gateway.process().signal("HUP");
        assert_eq!(gateway.get("/one").status, 200);
        gateway.is_well();
        gateway.kill_and_restart();
    }
}
