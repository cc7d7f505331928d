//! Certificates of clients that are revoked while connections are open by them: by a list, and by `portcullis revoke`. By openssl.

use crate::revocation::command;
use portcullis_testing_kit::http2::{block, frame, get_fields, kind};
use portcullis_testing_kit::{Authority, Gateway, Plain, Witness, eventually, holds, output_of};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

const ROUTES: &str = "- { name: ws, methods: [GET], path: \"/ws/{*rest}\", access: { public: true }, websocket: true }\n\
                      - { name: all, methods: [GET], path: \"/{*rest}\", access: { public: true } }";
const HANDSHAKE: &str =
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const AGREES: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A gateway whose clients must show a certificate, before an upstream with events and WebSockets.
struct Site {
    gateway: Gateway,
    clients: Authority,
    _witness: Witness,
}

impl Site {
    fn new() -> Self {
        let witness = Witness::scripted(|side| {
            while let Some(request) = side.request() {
                if request.starts_with(b"GET /ws") {
                    side.write(AGREES);
                    return side.drain();
                } else if request.starts_with(b"GET /events") {
                    side.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\ndata: 1\r\n");
                    return side.drain();
                }
                side.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nidle");
            }
        });
        let mut plain = Plain::to(witness.address());
        plain.routes = ROUTES;
        let tls = "listeners:\n  secure:\n    address: 127.0.0.1:@tls@\n    tls:\n      certificates: [ { hosts: [a.test], files: { certificate: a.crt, key: a.key } } ]\n      \
                   client_certificates: { mode: required, trust: clients.pem, revocation: { crl: [clients.crl] } }\n";
        let yaml = plain.yaml().replacen("listeners:\n", tls, 1);
        let (servers, clients) = (Authority::new(), Authority::new());
        let (own, mine, other) = (servers.leaf(&["a.test"]), clients.client("mine", 5), clients.client("other", 6));
        let list = clients.revoked(&[4], true);
        let files = [
            ("a.crt", &own.certificate),
            ("a.key", &own.key),
            ("clients.pem", &clients.certificate),
            ("clients.crl", &list),
            ("mine.crt", &mine.certificate),
            ("mine.key", &mine.key),
            ("other.crt", &other.certificate),
            ("other.key", &other.key),
        ];
        let files = files.map(|(name, text)| (name, text.as_str()));
        Self { gateway: Gateway::start_with(&files, &yaml), clients, _witness: witness }
    }

    /// Opens a connection by a certificate, asks on it, and waits for what the answer has in it.
    #[track_caller]
    fn open(&self, certificate: &str, name: &str, protocol: &str, request: &[u8], answer: &str) -> Pipe {
        let mut pipe = Pipe::open(self, certificate, name, protocol);
        pipe.process.stdin.as_mut().expect("its input is piped").write_all(request).expect("it takes bytes");
        eventually(&format!("an answer to {name}"), || {
            assert!(pipe.is_open(), "{} {:?}", pipe.said(), self.gateway.records());
            pipe.said().contains(answer).then_some(())
        });
        pipe
    }

    /// One of each kind of connection: a WebSocket, one that is idle, an event stream by HTTP/2.
    #[track_caller]
    fn open_all(&self, certificate: &str) -> [Pipe; 3] {
        let get = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{more}\r\n").into_bytes();
        let path = format!("/events/{certificate}");
        let http2 = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(kind::SETTINGS, 0, 0, &[]),
            frame(kind::HEADERS, 5, 1, &block(&get_fields(&path))),
        ];
        [
            self.open(certificate, "ws", "http/1.1", &get(&format!("/ws/{certificate}"), HANDSHAKE), "101 Switching"),
            self.open(certificate, "idle", "http/1.1", &get("/x", ""), "idle"),
            self.open(certificate, "http2", "h2", &http2.concat(), "data: 1"),
        ]
    }

    #[track_caller]
    fn reason_of(&self, path: &str) -> serde_json::Value {
        let record = || self.gateway.records().into_iter().find(|record| record["path"] == path);
        eventually(&format!("a record of {path}"), record)["reason"].clone()
    }
}

/// A connection by `openssl s_client`, which ends when the connection does.
struct Pipe {
    process: Child,
    out: PathBuf,
}

impl Pipe {
    fn open(site: &Site, certificate: &str, name: &str, protocol: &str) -> Self {
        let file = |name: &str| site.gateway.folder().join(name);
        let out = file(&format!("{certificate}-{name}.out"));
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-connect", &site.gateway.address("tls").to_string(), "-servername", "a.test"]);
        command.args(["-alpn", protocol, "-cert"]).arg(file(&format!("{certificate}.crt")));
        command.arg("-key").arg(file(&format!("{certificate}.key"))).stdin(Stdio::piped()).stderr(Stdio::null());
        let process = command.stdout(std::fs::File::create(&out).expect("a file")).spawn().expect("openssl starts");
        Self { process, out }
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.out).unwrap_or_default()).into_owned()
    }

    fn is_open(&mut self) -> bool {
        self.process.try_wait().expect("the system tells of its processes").is_none()
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // One that has ended needs none.
        let _ended = self.process.kill();
        let _seen = self.process.wait();
    }
}

#[test]
fn e140_a_list_ends_what_is_open_by_the_certificates_that_it_revokes() {
    let mut site = Site::new();
    let (mut mine, mut others) = (site.open_all("mine"), site.open_all("other"));
    let generation = site.gateway.generation();
    site.gateway.write("clients.crl", site.clients.revoked(&[4, 5], true));
    holds("the list to be in force", || site.gateway.generation() > generation);
    let reloaded = Instant::now();
    holds("the end of each connection", || mine.iter_mut().all(|pipe| !pipe.is_open()));
    println!("ended {} ms after the list was seen in force", reloaded.elapsed().as_millis());
    for path in ["/ws/mine", "/events/mine"] {
        assert_eq!(site.reason_of(path), "client_certificate_revoked", "{path}");
    }
    // What goes on by another certificate was judged anew, and goes on; what was idle is to be opened anew.
    let [ws, idle, http2] = &mut others;
    holds("the end of what was idle", || !idle.is_open());
    assert!(ws.is_open() && http2.is_open());
    assert!(site.gateway.records().iter().all(|record| !record["path"].as_str().is_some_and(|path| path.ends_with("other"))));
    site.gateway.is_well();
}

#[test]
fn a_certificate_that_is_revoked_by_hand_is_out() {
    let mut site = Site::new();
    let (mut mine, mut others) = (site.open_all("mine"), site.open_all("other"));
    let mut openssl = Command::new("openssl");
    openssl.args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]).arg(site.gateway.folder().join("mine.crt"));
    let printed = String::from_utf8_lossy(&output_of(&mut openssl).stdout).into_owned();
    let fingerprint = printed.trim().rsplit('=').next().expect("a fingerprint").to_owned();
    command(&site.gateway, &["revoke", "certificate", &fingerprint]).unwrap();
    let done = Instant::now();
    holds("the end of each connection", || mine.iter_mut().all(|pipe| !pipe.is_open()));
    println!("ended {} ms after the command was done", done.elapsed().as_millis());
    for path in ["/ws/mine", "/events/mine"] {
        assert_eq!(site.reason_of(path), "client_certificate_revoked", "{path}");
    }
    assert!(others.iter_mut().all(Pipe::is_open));
    let failed = "portcullis_handshakes_failed_total{listener=\"secure\",reason=\"client_certificate_revoked\"}";
    let before = site.gateway.metric(failed);
    let mut again = Pipe::open(&site, "mine", "again", "http/1.1");
    holds("a new connection to end", || !again.is_open());
    holds("it to be counted", || site.gateway.metric(failed) > before);
    command(&site.gateway, &["revoke", "certificate", &fingerprint, "--lift"]).unwrap();
    site.open("mine", "back", "http/1.1", b"GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n", "idle");
    site.gateway.is_well();
}
