//! Threats C and D where whoever is trusted is the one who attacks, or is claimed to have spoken: upstreams without end, bombs, claims
//! of a client to be local, credentials that go elsewhere.

use crate::site::{post_with, site};
use portcullis_testing_kit::{Gateway, Plain, RawClient, Witness, binary, free_port, get, output_of, run_python};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

const GET: &str = "GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n";
/// More than anything that is held for one exchange.
const FLOOD_BYTES_MAX: usize = 256 << 20;
const GROWTH_KIB_MAX: u64 = 16 * 1024;

/// The claims of a client to be somebody inside, by every field that servers have believed.
const CLAIMS: [&str; 12] = [
    "X-Real-IP",
    "X_Real_IP",
    "X-Forwarded-For",
    "X-Client-IP",
    "X-Original-Forwarded-For",
    "X-Originating-IP",
    "X-Remote-IP",
    "X-Remote-Addr",
    "True-Client-IP",
    "CF-Connecting-IP",
    "X-Cluster-Client-IP",
    "Fastly-Client-IP",
];

#[test]
fn c60_no_claim_makes_a_client_local_and_nothing_internal_answers_on_the_data_plane() {
    let site = site();
    let ask = |path: &str| {
        let mut command = Command::new("curl");
        // Not the address that the claims are of.
        command.args(["-sS", "--interface", "127.0.0.9", "-H", "Host: a.test"]);
        command.args(CLAIMS.iter().flat_map(|name| ["-H".to_owned(), format!("{name}: 127.0.0.1")]));
        command.args(["-H", "Forwarded: for=127.0.0.1;host=localhost"]);
        String::from_utf8_lossy(&output_of(command.arg(format!("http://{}{path}", site.http()))).stdout).into_owned()
    };
    let paths = ["/x", "/v1/status", "/metrics", "/livez", "/apisix/batch-requests", "/apisix/admin/routes", "/__admin"];
    for path in paths {
        // Every path is a route here, so it is the upstream that answers, never the gateway itself.
        assert_eq!(ask(path), "ok", "{path}");
    }
    for record in site.gateway.records_when(paths.len()) {
        assert_eq!(record["client"], "127.0.0.9", "{record}");
    }
    for seen in site.witness.texts() {
        assert!(!seen.contains("127.0.0.1\r\n") && seen.contains("x-forwarded-for: 127.0.0.9\r\n"), "{seen}");
    }
}

#[test]
fn c67_credentials_of_a_request_that_is_not_answered_go_nowhere_else() {
    const SECRET: &str = "c67-hidden-value";
    let witness = Witness::ok();
    let dead = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let mut plain = Plain::to(dead);
    plain.sections = "# The other upstream is there, and healthy; nobody is to be asked in place of the one that is not.";
    let yaml = plain.yaml().replacen(
        "upstreams:\n",
        &format!("upstreams:\n  other: {{ endpoints: [ {{ url: \"http://{}\" }} ] }}\n", witness.address()),
        1,
    );
    let gateway = Gateway::start(&yaml);
    for (method, host, status) in [("GET", "a.test", 502), ("PATCH", "a.test", 405), ("GET", "a.test, b.test", 400)] {
        let lines = format!("Authorization: Bearer {SECRET}\r\nCookie: session={SECRET}\r\nConnection: close\r\n");
        let response =
            RawClient::connect(gateway.http()).send(format!("{method} /x HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n")).response();
        assert_eq!(response.status, status, "{method} {host}: {}", response.head);
        assert!(!response.head.contains(SECRET) && !response.text().contains(SECRET), "{}{}", response.head, response.text());
    }
    gateway.records_when(3);
    assert_eq!(witness.bytes(), 0, "another upstream was sent something");
    assert!(!gateway.access_log().contains(SECRET) && !gateway.stderr().contains(SECRET));
}

/// An upstream that begins an answer and repeats a piece of it until the connection takes no more.
fn without_end(begin: &'static str, piece: &'static str) -> Witness {
    Witness::scripted(move |side| {
        side.request();
        side.write(begin);
        let block = piece.repeat(65_536 / piece.len());
        let mut sent = 0;
        while sent < FLOOD_BYTES_MAX && side.write(&block) {
            sent += block.len();
        }
    })
}

#[test]
fn d88_answers_without_end_take_no_memory_and_are_cut() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (what, begin, piece) in [
        ("interim answers", "", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
        ("fields", "HTTP/1.1 200 OK\r\n", "X-A: aaaaaaaaaaaaaaaaaaaaaaaa\r\n"),
        ("a status line", "HTTP/1.1 200 ", "OK OK OK "),
        ("a chunk extension", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a=", "aaaaaaaa"),
        ("a chunk size", chunked, "0000000000000000"),
        ("trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "X-A: aaaaaaaaaaaaaaaaaaaaaaaa\r\n"),
    ] {
        let witness = without_end(begin, piece);
        let mut gateway = Plain::to(witness.address()).start();
        let memory = gateway.process().resident_kib();
        let mut client = RawClient::connect(gateway.http());
        let answer = client.send(GET).rest();
        assert!(answer.len() < 1 << 20, "{what}: {} bytes came through", answer.len());
        witness.all_ended();
        let record = &gateway.records_when(1)[0];
        let reason = if what == "interim answers" { "upstream_upgrade_invalid" } else { "upstream_malformed" };
        assert_eq!((&record["blame"], &record["reason"]), (&"upstream".into(), &reason.into()), "{what}: {record}");
        let grown = gateway.process().resident_kib().saturating_sub(memory);
        assert!(grown < GROWTH_KIB_MAX, "{what}: grown by {grown} KiB");
        gateway.is_well();
    }
}

#[test]
fn d88_a_body_without_end_is_passed_on_in_the_memory_that_was_there() {
    let witness = without_end("HTTP/1.1 200 OK\r\n\r\n", "endless ");
    let mut gateway = Plain::to(witness.address()).start();
    let memory = gateway.process().resident_kib();
    let mut client = RawClient::connect(gateway.http());
    client.send(GET);
    for _ in 0..64 {
        client.exactly(1 << 20);
    }
    let grown = gateway.process().resident_kib().saturating_sub(memory);
    assert!(grown < GROWTH_KIB_MAX, "grown by {grown} KiB after 64 MiB");
    client.reset();
    witness.all_ended();
    gateway.is_well();
}

#[test]
fn d89_a_compressed_bomb_is_passed_on_as_it_is() {
    let site = site();
    let file = site.gateway.folder().join("bomb.gz");
    // 64 MiB of nothing in 64 KiB.
    run_python(
        "import gzip, sys\nopen(sys.argv[1], 'wb').write(gzip.compress(bytes(64 << 20)))",
        &[file.to_str().expect("a path")],
    );
    let bomb = std::fs::read(file).expect("a bomb");
    assert!(bomb.len() < 100 << 10);
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", bomb.len()).into_bytes();
    answer.extend(&bomb);
    let witness = Witness::answering(answer);
    let mut gateway = Plain::to(witness.address()).start();
    let memory = gateway.process().resident_kib();
    let mut request = post_with(&format!("Content-Encoding: gzip\r\nContent-Length: {}\r\n", bomb.len()), "").into_bytes();
    request.extend(&bomb);
    let response = RawClient::connect(gateway.http()).send(request).response();
    assert_eq!((response.status, response.field("content-encoding")), (200, Some("gzip")), "{}", response.head);
    assert!(response.body == bomb, "the answer's body was changed");
    assert!(witness.requests().first().is_some_and(|seen| seen.ends_with(&bomb)), "the request's body was changed");
    let grown = gateway.process().resident_kib().saturating_sub(memory);
    assert!(grown < GROWTH_KIB_MAX, "grown by {grown} KiB: it was unpacked");
}

#[test]
fn d90_deep_nesting_overflows_no_stack() {
    let mut site = site();
    let deep =
        ["[".repeat(100_000), "{\"a\":".repeat(100_000), "{a: ".repeat(100_000), "- ".repeat(100_000), "a:\n ".repeat(100_000)];
    for (number, text) in deep.iter().enumerate() {
        // As a body it is data.
        let post =
            post_with(&format!("Content-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n", text.len()), text);
        assert_eq!(site.answer(post).status, 200);
        // As a configuration it is refused, by the command and by the running gateway.
        let file = site.gateway.folder().join(format!("deep-{number}.yaml"));
        std::fs::write(&file, text).expect("written");
        let checked = output_of(Command::new(binary()).args(["--format", "json", "check", "--config"]).arg(&file));
        assert!(checked.status.code().is_some_and(|code| code != 0), "{:?}", checked.status);
        let told: Value = serde_json::from_slice(&checked.stdout).unwrap_or_default();
        assert_eq!(told["findings"][0]["severity"], "error", "{told}");
        let refused = site.gateway.refused_reloads();
        site.gateway.write("portcullis.yaml", text);
        site.gateway.refuses_reload(refused + 1);
        site.gateway.is_well();
    }
    assert_eq!((site.gateway.get("/x").status, site.gateway.generation()), (200, 1));
}

#[test]
fn d94_a_huge_header_on_an_upgrade_is_refused_before_it_is_whole() {
    let witness = Witness::ok();
    let mut plain = Plain::to(witness.address());
    plain.routes = "- { name: ws, methods: [GET], path: \"/ws\", access: { public: true }, websocket: true }";
    let mut gateway = plain.start();
    let memory = gateway.process().resident_kib();
    let begin = "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-A: ";
    let mut clients: Vec<RawClient> = (0..20).map(|_| RawClient::connect(gateway.http())).collect();
    for client in &mut clients {
        // Its end never comes.
        client.send(begin).send("a".repeat(1 << 20));
        assert_eq!(client.response().status, 431);
    }
    assert_eq!(witness.bytes(), 0);
    assert!(gateway.process().resident_kib() < memory + GROWTH_KIB_MAX);
    assert_eq!(get(gateway.address("probes"), "localhost", "/livez").status, 200);
    gateway.is_well();
}
