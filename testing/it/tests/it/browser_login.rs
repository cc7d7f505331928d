//! Login and logout in a real browser, by HTTP/2 over TLS, at a real provider.

use crate::login::wishes;
use crate::openid::{private_keys, written};
use crate::operations::{blocks, pages, run, with_ports};
use portcullis_testing_kit::{Authority, Gateway, NodeServer, TempDir, Witness, free_port, get, output_of, run_node};
use serde_json::{Value, json};

fn yaml(application: &NodeServer, provider: &NodeServer, port: u16) -> String {
    let (application, provider) = (application.address(), provider.address());
    let listener = |port: &str| {
        format!(
            "{{ address: \"127.0.0.1:{port}\", tls: {{ certificates: [ {{ hosts: [app.test], files: {{ certificate: app.crt, key: app.key }} }} ] }} }}"
        )
    };
    let (first, second) = (listener(&port.to_string()), listener("@other@"));
    format!(
        r#"version: 1
listeners:
  first: {first}
  second: {second}
management: {{ socket: run/portcullis.sock, probes: 127.0.0.1:@probes@ }}
upstreams:
  u: {{ endpoints: [ {{ url: "http://{application}" }} ] }}
  id: {{ endpoints: [ {{ url: "http://{provider}" }} ] }}
identity:
  providers:
    corp: {{ issuer: "http://{provider}", keys: {{ discover: {{ upstream: id }} }}, roles: {{ claim: groups }} }}
  logins:
    staff: {{ provider: corp, client_id: app, client_secret: "env:LOGIN_SECRET", origin: "https://app.test:{port}" }}
apis:
  a:
    hosts: [app.test]
    upstream: u
    authenticate: {{ any_of: [staff] }}
    routes:
      - {{ name: open, methods: [GET], path: "/open", access: {{ public: true }} }}
      - {{ name: all, methods: [GET, POST], path: "/{{*rest}}", websocket: true, access: {{ allow: {{ roles: [staff/members] }} }} }}
record: {{ access_log: {{ to: file, path: access.log, format: json }} }}
"#
    )
}

#[test]
fn people_log_in_and_out_with_a_browser() {
    let port = free_port();
    let origin = format!("https://app.test:{port}");
    let keys = written("RS256", &[&private_keys("RS256", "k1")]);
    let files = [("keys.json", &*keys), ("wishes.json", &wishes(json!({ "origin": origin })))];
    let provider = NodeServer::running(include_str!("../../js/login_provider.mjs"), &["keys.json", "wishes.json"], &files);
    let application = NodeServer::running(include_str!("../../js/login_app.mjs"), &[], &[]);
    let leaf = Authority::new().leaf(&["app.test"]);
    let files = [("app.crt", &*leaf.certificate), ("app.key", &*leaf.key)];
    let mut gateway = Gateway::start_in(&[("LOGIN_SECRET", "only-for-tests")], &files, &yaml(&application, &provider, port));
    let other = format!("https://app.test:{}", gateway.address("other").port());
    let said = run_node(include_str!("../../js/login_browser.mjs"), &[&origin, &other]);
    let saw: Value = serde_json::from_str(said.trim()).unwrap_or_else(|error| panic!("{error}: {said}\n{}", gateway.access_log()));
    for (what, expected) in [
        ("asked", json!("Who are you?")),
        ("page", json!("Orders")),
        // What scripts see of cookies, and what they may do.
        ("scripts", json!("theme=dark")),
        ("fetched", json!(200)),
        ("form", json!("Paid")),
        ("socket", json!("open")),
        ("foreign", json!("Open")),
        ("foreignSocket", json!("refused")),
        // The session, what was open by it, and the provider's session.
        ("out", json!("opaqueredirect")),
        ("ended", json!("closed")),
        ("program", json!(401)),
        ("left", json!(["theme"])),
        ("again", json!("Orders")),
        ("askedAgain", json!("Who are you?")),
    ] {
        assert_eq!(saw[what], expected, "{what}: {saw:#}");
    }
    let session = saw["cookies"].as_array().and_then(|all| all.iter().find(|one| one["name"] != "theme")).expect("a session");
    let expected = json!({
        "name": "__Host-portcullis-session-staff", "secure": true, "httpOnly": true, "sameSite": "Lax", "path": "/", "domain": "app.test",
    });
    assert_eq!(session, &expected);
    // A page of the same site sends the cookie, and is refused by what the gateway makes of it.
    let of_path = |path: &str| gateway.records().into_iter().find(|record| record["path"] == path).expect("a record");
    assert_eq!(of_path("/foreign")["reason"], "cross_origin_refused");
    assert_eq!(of_path("/orders")["protocol"], "HTTP/2", "{:#}", of_path("/orders"));
    let seen = get(application.address(), "a.test", "/seen").text();
    assert!(!seen.contains("__Host") && seen.contains("theme=dark"), "{seen}");
    // The body of a logout token may come by HTTP/2 as well.
    let mut curl = std::process::Command::new("curl");
    let resolve = format!("app.test:{port}:127.0.0.1");
    curl.args(["-sk", "--http2", "--resolve", &resolve, "--data", "logout_token=a", "--write-out", "%{http_version}"]);
    let told = output_of(curl.arg(format!("{origin}/.portcullis/login/staff/backchannel"))).stdout;
    let told = String::from_utf8_lossy(&told).into_owned();
    assert!(told.contains("logout_invalid") && told.ends_with('2'), "{told}");
    gateway.is_well();
}

#[test]
fn the_guide_works_as_written() {
    let page = std::fs::read_to_string(pages().join("../guides/browser-login.md")).expect("the guide");
    let port = free_port();
    let keys = written("ES256", &[&private_keys("ES256", "k1")]);
    let wanted = wishes(json!({ "origin": format!("https://app.example.com:{port}") }));
    let files = [("keys.json", &*keys), ("wishes.json", &wanted)];
    let provider = NodeServer::running(include_str!("../../js/login_provider.mjs"), &["keys.json", "wishes.json"], &files);
    let witness = Witness::ok();
    let ports = [(8443, port), (9464, free_port()), (3000, witness.address().port())];
    let here = |text: &str| with_ports(text, &ports).replace("https://id.example.com", &format!("http://{}", provider.address()));
    let (folder, authority) = (TempDir::new(), Authority::new());
    let leaf = authority.leaf(&["app.example.com"]);
    folder.write("tls/ca.crt", &authority.certificate);
    folder.write("tls/app.crt", &leaf.certificate);
    folder.write("tls/app.key", &leaf.key);
    let [configuration] = blocks(&page, "yaml").try_into().expect("one configuration");
    folder.write("portcullis.yaml", here(&configuration));
    run(folder.path(), &here(&blocks(&page, "sh").concat()));
    assert_eq!(witness.requests().len(), 3, "{:#?}", witness.texts());
}
