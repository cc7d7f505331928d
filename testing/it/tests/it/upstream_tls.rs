//! Upstreams by TLS: always verified, by the trust that the operator named or the system's.

use portcullis_testing_kit::{
    Authority, Gateway, Leaf, Nginx, Plain, RawClient, Response, TempDir, Witness, binary, holds, output_of,
};
use std::net::SocketAddr;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// A configuration whose only endpoint is reached by TLS; `tls` is what stands in the upstream's section.
fn config(endpoint: SocketAddr, tls: &str) -> String {
    let plain = Plain::to(endpoint).yaml();
    let secured = plain.replace(&format!("http://{endpoint}"), &format!("https://{endpoint}"));
    secured.replace("  u:\n", &format!("  u:\n    {tls}\n"))
}

const OURS: &str = "tls: { trust: ca.pem }";

fn before(endpoint: SocketAddr, authority: &Authority) -> Gateway {
    Gateway::start_with(&[("ca.pem", &authority.certificate)], &config(endpoint, OURS))
}

fn get(gateway: &Gateway) -> Response {
    RawClient::connect(gateway.http()).send("GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").response()
}

/// Requests fail as they must when the upstream is not who it should be; the record says `why`, the client learns nothing of it.
#[track_caller]
fn is_refused(gateway: &Gateway, why: &str) {
    let response = get(gateway);
    assert_eq!((response.status, response.code().as_str()), (502, "upstream_tls_failed"), "{why}: {}", response.head);
    assert!(!response.text().contains("certificate"), "{why}: {}", response.text());
    let record = gateway.record_of("upstream_tls_failed");
    let detail = record["detail"].as_str().unwrap_or_default();
    assert!(record["blame"] == "upstream" && detail.contains(why), "{why}: {record}");
}

#[test]
fn nginx_is_served_by_tls_with_its_address_or_another_name_checked() {
    let ours = Authority::new();
    for (host, tls, name) in
        [("127.0.0.1", OURS, ""), ("orders.internal", "tls: { trust: ca.pem, server_name: orders.internal }", "orders.internal")]
    {
        let nginx = Nginx::secure(&ours.leaf(&[host]), "", &[("x", b"from nginx")]);
        let gateway = Gateway::start_with(&[("ca.pem", &ours.certificate)], &config(nginx.address(), tls));
        let response = get(&gateway);
        assert_eq!((response.status, response.text().as_str()), (200, "from nginx"), "{}", response.head);
        let told = [response.field("x-tls-version"), response.field("x-tls-name")];
        assert_eq!(told.map(Option::unwrap_or_default), ["TLSv1.3", name], "{}", response.head);
    }
}

#[test]
fn f137_f138_an_upstream_that_is_not_proven_is_never_asked() {
    let (ours, theirs) = (Authority::new(), Authority::named("Somebody else"));
    let cases: [(Leaf, &str); 6] = [
        (ours.expired_leaf(&["127.0.0.1"]), "expired"),
        (ours.later_leaf(&["127.0.0.1"]), "not valid yet"),
        (ours.leaf(&["orders.internal"]), "for another name"),
        (ours.leaf(&["127.0.0.2"]), "for another name"),
        (theirs.leaf(&["127.0.0.1"]), "not trusted"),
        (Leaf::self_signed(&["127.0.0.1"]), "not trusted"),
    ];
    for (leaf, why) in cases {
        let nginx = Nginx::secure(&leaf, "", &[("x", b"secret")]);
        is_refused(&before(nginx.address(), &ours), why);
        assert_eq!(nginx.access_log(), "", "{why}: not a request reached it");
    }
}

#[test]
fn f137_without_a_word_the_systems_authorities_are_believed_and_no_others() {
    let (system, private) = (Authority::named("A system"), Authority::new());
    for (authority, works) in [(&system, true), (&private, false)] {
        let nginx = Nginx::secure(&authority.leaf(&["127.0.0.1"]), "", &[("x", b"x")]);
        let environment = [("SSL_CERT_FILE", "system.pem")];
        let gateway = Gateway::start_in(&environment, &[("system.pem", &system.certificate)], &config(nginx.address(), ""));
        match works {
            true => assert_eq!(get(&gateway).status, 200),
            false => is_refused(&gateway, "not trusted"),
        }
    }
}

#[test]
fn e113_trust_that_cannot_be_loaded_is_no_trust_at_the_start() {
    let folder = TempDir::new();
    let endpoint = SocketAddr::from(([127, 0, 0, 1], 9));
    let ready = config(endpoint, OURS).replace("@http@", "18080").replace("@probes@", "18081");
    folder.write("portcullis.yaml", &ready);
    let run = |environment: &[(&str, &str)]| {
        let mut command = Command::new(binary());
        command.args(["run", "--config", "portcullis.yaml"]).current_dir(folder.path()).envs(environment.iter().copied());
        let output = output_of(&mut command);
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let missing = run(&[]);
    assert!(missing.contains("ca.pem") && missing.contains("cannot be read"), "{missing}");
    for (content, why) in [("", "has no certificate"), ("garbage", "has no certificate"), (BROKEN, "cannot be trusted")] {
        folder.write("ca.pem", content);
        let told = run(&[]);
        assert!(told.contains("upstream `u`") && told.contains("ca.pem") && told.contains(why), "{told}");
    }
    folder.write("portcullis.yaml", ready.replace(OURS, ""));
    let nobody = run(&[("SSL_CERT_FILE", "/nonexistent"), ("SSL_CERT_DIR", "/nonexistent")]);
    assert!(nobody.contains("the system trusts no authority") && nobody.contains("tls: { trust: FILE }"), "{nobody}");
}

const BROKEN: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

#[test]
fn e113_trust_that_cannot_be_loaded_replaces_nothing() {
    let ours = Authority::new();
    let nginx = Nginx::secure(&ours.leaf(&["127.0.0.1"]), "", &[("x", b"x")]);
    let gateway = before(nginx.address(), &ours);
    for content in ["", "garbage", BROKEN, ours.certificate.get(..200).unwrap_or_default()] {
        let refused = gateway.refused_reloads();
        gateway.write("ca.pem", content);
        holds("trust that cannot be loaded to be refused", || gateway.refused_reloads() > refused);
        assert_eq!(get(&gateway).status, 200, "the old trust serves on");
    }
    let refused = gateway.refused_reloads();
    std::fs::remove_file(gateway.folder().join("ca.pem")).expect("removed");
    holds("trust that is gone to be refused", || gateway.refused_reloads() > refused);
    assert_eq!(get(&gateway).status, 200);
}

#[test]
fn f139_trust_that_is_withdrawn_is_not_outlived_by_connections_or_sessions() {
    let (ours, theirs) = (Authority::new(), Authority::named("Somebody else"));
    let nginx = Nginx::secure(&ours.leaf(&["127.0.0.1"]), "", &[("x", b"x")]);
    let gateway = before(nginx.address(), &ours);
    for _ in 0..8 {
        assert_eq!(get(&gateway).status, 200);
    }
    gateway.write("ca.pem", &theirs.certificate);
    gateway.reaches_generation(2);
    for _ in 0..8 {
        assert_eq!(get(&gateway).code(), "upstream_tls_failed");
    }
    // Both at once, as when an authority is replaced.
    gateway.write("ca.pem", format!("{}{}", theirs.certificate, ours.certificate));
    gateway.reaches_generation(3);
    assert_eq!(get(&gateway).status, 200);
}

#[test]
fn a34_plain_bytes_of_somebody_on_the_way_are_never_an_answer() {
    for answer in ["HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\ninjected", "injected"] {
        let witness = Witness::scripted(move |side| {
            side.write(answer);
            side.drain();
        });
        let mut gateway = before(witness.address(), &Authority::new());
        let response = get(&gateway);
        assert_eq!((response.status, response.code().as_str()), (502, "upstream_tls_failed"));
        assert!(!format!("{}{}", response.head, response.text()).contains("injected"));
        is_refused(&gateway, "what came is not TLS");
        gateway.is_well();
    }
}

#[test]
fn d86_a_handshake_of_an_upstream_that_stalls_ends_with_the_deadline_for_connecting() {
    let witness = Witness::scripted(|side| side.drain());
    let tls = "tls: { trust: ca.pem }\n    timeouts: { connect: 300ms }";
    let gateway = Gateway::start_with(&[("ca.pem", &Authority::new().certificate)], &config(witness.address(), tls));
    let response = get(&gateway);
    assert_eq!((response.status, response.code().as_str()), (504, "upstream_connect_timeout"));
    witness.all_ended();
}

#[test]
fn connections_are_kept_and_sessions_resumed() {
    let ours = Authority::new();
    let nginx = Nginx::secure(&ours.leaf(&["127.0.0.1"]), "", &[("x", b"x")]);
    let gateway = before(nginx.address(), &ours);
    let mut client = RawClient::connect(gateway.http());
    for _ in 0..20 {
        assert_eq!(client.send("GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n").response().status, 200);
    }
    let records = gateway.records_when(20);
    let reused = records.iter().filter(|record| record["reused"] == true).count();
    assert!(reused >= 19, "{reused} of 20: {}", records[0]);
    // A server that ends each connection makes each of ours a new one: after the first the handshake is short.
    for version in ["TLSv1.2", "TLSv1.3"] {
        let more = format!("keepalive_timeout 0; ssl_protocols {version}; ssl_session_cache shared:s:1m;");
        let nginx = Nginx::secure(&ours.leaf(&["127.0.0.1"]), &more, &[("x", b"x")]);
        let gateway = before(nginx.address(), &ours);
        let seen: Vec<String> = (0..8)
            .map(|_| get(&gateway))
            .map(|r| format!("{:?} {:?}", r.field("x-tls-version"), r.field("x-tls-reused")))
            .collect();
        assert_eq!(seen[0], format!("Some({version:?}) Some(\".\")"), "{seen:?}");
        assert!(seen[1..].iter().any(|seen| *seen == format!("Some({version:?}) Some(\"r\")")), "{seen:?}");
    }
}

#[test]
fn f138_no_session_goes_on_past_the_end_of_the_certificate() {
    let ours = Authority::new();
    let reused = |gateway: &Gateway| get(gateway).field("x-tls-reused").map(str::to_owned);
    for version in ["TLSv1.2", "TLSv1.3"] {
        let more = format!("keepalive_timeout 0; ssl_protocols {version}; ssl_session_cache shared:s:1m;");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let nginx = Nginx::secure(&ours.leaf_until(&["127.0.0.1"], now + 8), &more, &[("x", b"x")]);
        let mut gateway = before(nginx.address(), &ours);
        holds("a session to be resumed", || reused(&gateway).as_deref() == Some("r"));
        // nginx takes the session still; what it shows has expired.
        holds("the certificate to expire", || get(&gateway).status == 502);
        for _ in 0..4 {
            is_refused(&gateway, "the certificate has expired");
        }
        gateway.is_well();
    }
}

#[test]
fn a_certificate_is_shown_to_servers_that_ask_for_one() {
    let (ours, clients) = (Authority::new(), Authority::named("Clients"));
    let own = clients.leaf(&["gateway.internal"]);
    let asks = "ssl_verify_client on; ssl_client_certificate clients.pem;";
    let files = [("x", &b"x"[..]), ("../clients.pem", clients.certificate.as_bytes())];
    let nginx = Nginx::secure(&ours.leaf(&["127.0.0.1"]), asks, &files);
    let shown = "tls: { trust: ca.pem, client_certificate: { certificate: own.crt, key: own.key } }";
    let files = [("ca.pem", ours.certificate.as_str()), ("own.crt", &own.certificate), ("own.key", &own.key)];
    let gateway = Gateway::start_with(&files, &config(nginx.address(), shown));
    let response = get(&gateway);
    assert_eq!((response.status, response.field("x-tls-client")), (200, Some("SUCCESS")), "{}", response.head);
    // Without it the server refuses, and that is its answer.
    assert_eq!(get(&before(nginx.address(), &ours)).status, 400);
    // A key of another certificate replaces nothing; a new pair of both is taken.
    gateway.write("own.key", clients.leaf(&["gateway.internal"]).key);
    gateway.refuses_reload(1);
    assert_eq!(get(&gateway).status, 200);
    let next = Authority::named("Not for this server").leaf(&["gateway.internal"]);
    gateway.write("own.crt", &next.certificate);
    gateway.write("own.key", &next.key);
    holds("the new certificate to be shown", || get(&gateway).status == 400);
}

#[test]
fn bodies_pass_unchanged_both_ways() {
    let ours = Authority::new();
    let large: Vec<u8> = (0..5_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let witness = Witness::ok();
    let more = format!("client_max_body_size 16m; location /to/ {{ proxy_pass http://{}; }}", witness.address());
    let nginx = Nginx::secure(&ours.leaf(&["127.0.0.1"]), &more, &[("large", &large)]);
    let gateway = before(nginx.address(), &ours);
    let response = gateway.get("/large");
    assert!(response.status == 200 && response.body == large, "{}: {} bytes", response.head, response.body.len());
    let upload = large.get(..900_000).expect("that long");
    let mut client = RawClient::connect(gateway.http());
    let head = format!("POST /to/x HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n", upload.len());
    let response = client.send(head).send(upload).response();
    assert_eq!(response.status, 200, "{}", response.head);
    let requests = witness.requests();
    assert!(requests[0].ends_with(upload), "{} bytes", requests[0].len());
}
