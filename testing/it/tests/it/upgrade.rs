//! The hand-over to the next version: the same sockets, the same keys, no lost request; and what happens when the next version is no
//! good.

use portcullis_testing_kit::{
    Authority, Gateway, Guarded, Plain, RawClient, Response, TempDir, Witness, binary, eventually, free_port, get, holds, output_of,
};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const GET: &str = "GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n";

fn start(upstream: &Witness) -> Gateway {
    with_drain(upstream, "deadline: 30s")
}

fn with_drain(upstream: &Witness, drain: &str) -> Gateway {
    let yaml = Plain::to(upstream.address()).yaml();
    Gateway::start(&yaml.replace("probes: 127.0.0.1:@probes@", &format!("probes: 127.0.0.1:@probes@, drain: {{ {drain} }}")))
}

/// What the management API says of the gateway that answers.
fn status(gateway: &Gateway) -> serde_json::Value {
    let socket = gateway.folder().join("run/portcullis.sock");
    let output = output_of(Command::new(binary()).args(["--format", "json", "status", "--socket"]).arg(socket));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Clients that ask again and again; any answer but 200, and any lost one, fails the test.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Four clients that keep their connections until they are told to go, and two that make one for each request.
    pub(crate) fn on(address: SocketAddr) -> Self {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = |keeps: bool| {
            let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
            thread::spawn(move || {
                let mut connection = None;
                while !stop.load(Ordering::Acquire) {
                    let mut client: RawClient = connection.take().unwrap_or_else(|| RawClient::connect(address));
                    let close = if keeps { "" } else { "Connection: close\r\n" };
                    let response: Response = client.send(format!("GET /x HTTP/1.1\r\nHost: a.test\r\n{close}\r\n")).response();
                    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
                    if response.field("connection") != Some("close") {
                        connection = Some(client);
                    }
                    served.fetch_add(1, Ordering::AcqRel);
                }
            })
        };
        let clients = [true, true, true, true, false, false].map(client).into_iter().collect();
        Self { stop, served, clients }
    }

    pub(crate) fn served(&self) -> u64 {
        self.served.load(Ordering::Acquire)
    }

    /// Waits until so many more have been served.
    #[track_caller]
    pub(crate) fn serves_more(&self, count: u64) {
        let before = self.served();
        eventually("requests to be served", || {
            assert!(self.clients.iter().all(|client| !client.is_finished()), "a request failed");
            (self.served() >= before + count).then_some(())
        });
    }

    #[track_caller]
    pub(crate) fn end(self) -> u64 {
        self.stop.store(true, Ordering::Release);
        for client in self.clients {
            client.join().expect("no request failed");
        }
        self.served.load(Ordering::Acquire)
    }
}

/// How many requests there are between two upgrades; PORTCULLIS_LOAD_REQUESTS is for long runs (docs/operations/upgrade.md).
pub(crate) fn between() -> u64 {
    std::env::var("PORTCULLIS_LOAD_REQUESTS").ok().and_then(|number| number.parse::<u64>().ok()).map_or(300, |all| all / 11)
}

#[test]
fn ten_upgrades_under_load_fail_no_request() {
    let witness = Witness::ok();
    let mut gateway = start(&witness);
    let load = Load::on(gateway.http());
    load.serves_more(between());
    for _ in 0..10 {
        gateway.upgrade(&[]).expect("upgraded");
        let serving = u64::from(gateway.process().id());
        assert_eq!(status(&gateway)["pid"], serving, "the management socket is the new one's");
        assert!(gateway.former().wait().success(), "the old one ends in order");
        load.serves_more(between());
    }
    let served = load.end();
    // The kit's clients count what was answered; the log what was recorded by eleven processes.
    holds("every record", || gateway.records().len() as u64 >= served);
    println!("{served} requests over 10 upgrades, none failed");
    gateway.is_well();
    gateway.stop();
    assert!(!gateway.folder().join("run/portcullis.sock").exists());
}

#[test]
fn upgrades_to_more_and_fewer_workers_fail_no_request() {
    let witness = Witness::ok();
    let with_workers =
        |count: u64| Plain::to(witness.address()).yaml().replacen("version: 1\n", &format!("version: 1\nworkers: {count}\n"), 1);
    let mut gateway = Gateway::start(&with_workers(3));
    let load = Load::on(gateway.http());
    load.serves_more(100);
    // Sockets are handed on as they are: with fewer workers one serves several, with more some begin with none.
    for count in [1, 4, 2] {
        gateway.configure(&with_workers(count));
        gateway.upgrade(&[]).expect("upgraded");
        assert_eq!(status(&gateway)["workers"], count);
        assert!(gateway.former().wait().success(), "the old one ends in order");
        load.serves_more(100);
    }
    println!("{} requests over 3 upgrades to other numbers of workers, none failed", load.end());
    gateway.is_well();
}

#[test]
fn what_is_queued_during_an_upgrade_is_served() {
    let witness = Witness::ok();
    let mut gateway = start(&witness);
    for _ in 0..3 {
        let mut clients: Vec<_> = (0..20).map(|_| RawClient::connect(gateway.http())).collect();
        gateway.upgrade(&[]).expect("upgraded");
        for client in &mut clients {
            assert_eq!(client.send(GET).response().status, 200);
        }
    }
}

#[test]
fn a_websocket_lives_on_until_the_drain_deadline_and_new_clients_have_the_new_version() {
    const ACCEPT: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let witness = Witness::scripted(|side| {
        if side.request().is_some_and(|request| request.windows(9).any(|part| part == b"websocket")) && side.write(ACCEPT) {
            while let Some(four) = side.exactly(4) {
                if !side.write(four) {
                    return;
                }
            }
        } else {
            side.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let mut plain = Plain::to(witness.address());
    plain.routes = "- { name: ws, methods: [GET], path: \"/ws\", access: { public: true }, websocket: true }\n\
                    - { name: x, methods: [GET], path: \"/x\", access: { public: true } }";
    let drain = "probes: 127.0.0.1:@probes@, drain: { deadline: 8s }";
    let mut gateway = Gateway::start(&plain.yaml().replace("probes: 127.0.0.1:@probes@", drain));
    let mut client = RawClient::connect(gateway.http());
    client.send(
        "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert_eq!(client.response_head().status, 101);
    gateway.upgrade(&[]).expect("upgraded");
    assert_eq!(gateway.get("/x").status, 200, "the new version serves");
    assert_eq!(client.send("ping").exactly(4), b"ping", "the old connection lives on");
    assert!(gateway.former().is_running());
    // The old one holds no socket any more: where the new one dies, a third can begin.
    gateway.kill_and_restart();
    assert_eq!(gateway.get("/x").status, 200);
    assert_eq!(client.send("pong").exactly(4), b"pong");
    assert!(client.rest().is_empty(), "it ends at the deadline");
    assert!(gateway.former().wait().success());
    gateway.record_of("shutting_down");
    gateway.is_well();
}

#[test]
fn a_tls_session_is_resumed_with_the_next_version() {
    let witness = Witness::ok();
    let leaf = Authority::new().leaf(&["a.test"]);
    let secure = "listeners:\n  secure:\n    address: 127.0.0.1:@tls@\n    protocols: [h1]\n    tls: { certificates: \
                  [ { hosts: [a.test], files: { certificate: tls.crt, key: tls.key } } ] }\n";
    let yaml = Plain::to(witness.address()).yaml().replacen("listeners:\n", secure, 1);
    let mut gateway = Gateway::start_with(&[("tls.crt", &leaf.certificate), ("tls.key", &leaf.key)], &yaml);
    let (address, session) = (gateway.address("tls").to_string(), gateway.folder().join("session.pem"));
    let connect = |option: &str| {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-tls1_3", "-servername", "a.test", "-ign_eof", "-connect", &address, option]).arg(&session);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("openssl");
        let request = "GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
        std::io::Write::write_all(child.stdin.as_mut().expect("piped"), request.as_bytes()).expect("written");
        let told = String::from_utf8_lossy(&child.wait_with_output().expect("openssl ends").stdout).into_owned();
        assert!(told.contains("200 OK"), "{told}");
        told
    };
    assert!(connect("-sess_out").contains("\nNew, TLSv1.3"));
    gateway.upgrade(&[]).expect("upgraded");
    assert!(gateway.former().wait().success());
    let told = connect("-sess_in");
    assert!(told.contains("\nReused, TLSv1.3"), "{told}");
}

/// A program that a gateway may be asked to become.
fn program(folder: &TempDir, name: &str, content: &[u8], mode: u32) -> PathBuf {
    let path = folder.write(name, content);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("its own file");
    path
}

#[test]
fn a_next_version_that_is_no_good_changes_nothing() {
    let witness = Witness::ok();
    let mut gateway = start(&witness);
    let load = Load::on(gateway.http());
    let folder = TempDir::new();
    let pid = gateway.process().id();
    let own = std::fs::read(binary()).expect("the program");
    for (name, content, mode, why) in [
        ("not-executable", &b"#!/bin/sh\nexec sleep 60\n"[..], 0o644, "cannot be started"),
        ("garbage", b"\x7fELF, but not really", 0o755, "cannot be started"),
        ("truncated", &own[..own.len() / 50], 0o755, "portcullis"),
        ("ends", b"#!/bin/sh\nexit 3\n", 0o755, "ended before it was ready"),
        ("crashes", b"#!/bin/sh\nkill -SEGV $$\n", 0o755, "ended before it was ready"),
        ("never-ready", b"#!/bin/sh\nexec sleep 60\n", 0o755, "not ready within 1 s"),
        ("speaks-otherwise", b"#!/bin/sh\nprintf hello >&0\nexec sleep 60\n", 0o755, "does not speak"),
        ("others-may-write", b"#!/bin/sh\nexit 0\n", 0o777, "can be changed by others"),
    ] {
        let path = program(&folder, name, content, mode);
        let said = gateway.upgrade(&["--within", "1", "--binary", path.to_str().expect("a path")]).expect_err(name);
        assert!(said.starts_with("not upgraded: ") && (said.contains(why) || name == "truncated"), "{name}: {said}");
        load.serves_more(20);
        assert_eq!(status(&gateway)["pid"], u64::from(pid), "{name}");
    }
    let missing = gateway.upgrade(&["--binary", "/nonexistent/portcullis"]).expect_err("nothing there");
    assert!(missing.contains("/nonexistent/portcullis"), "{missing}");
    load.end();
    // What was tried and failed is on record, and hinders no later upgrade.
    assert!(gateway.stderr().contains("\"event\":\"upgrade_refused\""), "{}", gateway.stderr());
    gateway.upgrade(&[]).expect("upgraded");
    assert_ne!(gateway.process().id(), pid);
    assert_eq!(gateway.get("/x").status, 200);
}

#[test]
fn a_configuration_that_the_next_version_refuses_keeps_the_old_one_serving() {
    let witness = Witness::ok();
    let mut gateway = start(&witness);
    let good = gateway.config();
    let pid = gateway.process().id();
    gateway.write("portcullis.yaml", good.replace("upstream: u", "upstream: missing"));
    gateway.refuses_reload(1);
    let said = gateway.upgrade(&[]).expect_err("refused");
    assert!(said.contains("missing") && said.contains("portcullis.yaml"), "the client is told what is wrong: {said}");
    assert_eq!((gateway.get("/x").status, status(&gateway)["pid"].as_u64()), (200, Some(pid.into())));
    assert!(gateway.folder().join("run/portcullis.sock").exists());
    gateway.write("portcullis.yaml", good);
    gateway.upgrade(&[]).expect("upgraded");
    assert_eq!(gateway.get("/x").status, 200);
}

#[test]
fn listeners_that_come_and_go_with_an_upgrade_are_bound_and_closed() {
    let witness = Witness::ok();
    let mut gateway = start(&witness);
    let before = gateway.config();
    let port = gateway.address("other").port();
    let second = format!(
        "listeners:\n  second:\n    address: 127.0.0.1:{port}\n    protocols: [h1]\n    danger_plaintext: {{ reason: test, owner: test, expires: 2099-01-01 }}\n"
    );
    gateway.write("portcullis.yaml", before.replacen("listeners:\n", &second, 1));
    gateway.upgrade(&[]).expect("upgraded");
    assert_eq!(get(gateway.address("other"), "a.test", "/x").status, 200);
    gateway.write("portcullis.yaml", before);
    gateway.upgrade(&[]).expect("upgraded");
    assert!(gateway.former().wait().success());
    holds("the second listener to be gone", || std::net::TcpStream::connect(gateway.address("other")).is_err());
    assert_eq!(gateway.get("/x").status, 200);
}

#[test]
fn nobody_takes_over_who_was_not_asked_to() {
    let witness = Witness::ok();
    let mut gateway = start(&witness);
    let output =
        output_of(Command::new(binary()).args(["run", "--take-over", "--config"]).arg(gateway.folder().join("portcullis.yaml")));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("portcullis upgrade"), "{said}");
    assert!(gateway.folder().join("run/portcullis.sock").exists());
    gateway.is_well();
}

#[test]
fn upgrades_are_on_record_and_an_upgrade_that_cannot_be_is_refused() {
    let witness = Witness::ok();
    let mut gateway = start(&witness);
    gateway.upgrade(&[]).expect("upgraded");
    let log = gateway.folder().join("run/audit.log");
    let audit = std::fs::read_to_string(&log).expect("an audit log");
    assert!(audit.contains("\"action\":\"upgrade\""), "{audit}");
    std::fs::remove_file(&log).expect("removed");
    std::fs::create_dir(&log).expect("made");
    assert!(gateway.upgrade(&[]).expect_err("refused").contains("audit.log"));
    assert_eq!(gateway.get("/x").status, 200);
}

#[test]
fn signals_reach_the_process_that_serves() {
    let witness = Witness::ok();
    let mut gateway = start(&witness);
    gateway.upgrade(&[]).expect("upgraded");
    let text = gateway.config().replace("path: \"/{*rest}\"", "path: \"/only\"");
    gateway.write("portcullis.yaml", text);
    holds("the new configuration", || gateway.get("/only").status == 200 && gateway.get("/x").status == 404);
    gateway.stop();
    holds("nobody to listen", || std::net::TcpStream::connect(gateway.http()).is_err());
}

#[test]
fn the_service_manager_is_told_which_process_serves() {
    let witness = Witness::ok();
    let folder = TempDir::new();
    let manager = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
    manager.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    let heard = || {
        let mut bytes = [0; 512];
        let count = manager.recv(&mut bytes).expect("something is told");
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    };
    let yaml = Plain::to(witness.address()).yaml();
    let yaml = yaml.replace("@http@", &free_port().to_string()).replace("@probes@", &free_port().to_string());
    let config = folder.write("portcullis.yaml", yaml);
    let mut command = Command::new(binary());
    command.args(["run", "--config"]).arg(&config).env("NOTIFY_SOCKET", folder.path().join("notify"));
    let mut first = Guarded::start(command.current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null()));
    assert!(heard().starts_with(&format!("READY=1\nMAINPID={}\n", first.id())));
    first.signal("HUP");
    assert!(heard().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert!(heard().starts_with("READY=1\n"));
    let socket = folder.path().join("run/portcullis.sock");
    let output = output_of(Command::new(binary()).arg("upgrade").arg("--socket").arg(socket));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let second = Guarded::started_by_ours(u32::try_from(answer["pid"].as_u64().expect("an id")).expect("an id"));
    // The old one, which the manager trusts already, names the new one; the new one says that it serves.
    let mut told = [heard(), heard()];
    told.sort();
    assert_eq!(told[0], format!("MAINPID={}", second.id()));
    assert!(told[1].starts_with(&format!("READY=1\nMAINPID={}\n", second.id())), "{told:?}");
    assert!(first.wait().success(), "the old one ends without a word: the service goes on");
    second.signal("TERM");
    assert!(heard().starts_with("STOPPING=1\n"));
}
