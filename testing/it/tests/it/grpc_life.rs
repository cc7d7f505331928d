//! Health checks by gRPC and HTTP/2, and calls that outlive reloads and upgrades.

use crate::grpc::{CLIENT, client, grpc_server};
use crate::upstream_h2_site::{H2Site, h2_server, h2_site};
use portcullis_testing_kit::{Gateway, TempDir, holds, python};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

fn in_state(site: &H2Site, state: &str) -> bool {
    site.gateway.metric(&format!("portcullis_upstream_endpoints{{upstream=\"u\",state=\"{state}\"}}")) as usize == 1
}

#[test]
fn only_a_server_that_says_that_it_serves_is_healthy() {
    let server = grpc_server();
    let health = |service: &str| format!("health: {{ check: grpc, {service}interval: 200ms, timeout: 500ms }}");
    let site = h2_site(server.address(), &health(""));
    client(&site.gateway, &site.authority, "checked");
    assert!(in_state(&site, "available"));
    for (service, why) in [
        ("bad", "it says that it does not serve"),
        ("hang", "no answer in time"),
        ("unknown", "grpc-status 5"),
        ("unimplemented", "grpc-status 12"),
    ] {
        let site = h2_site(server.address(), &health(&format!("service: {service}, ")));
        holds(&format!("{service} to be unhealthy"), || in_state(&site, "unhealthy"));
        assert_eq!(site.get("/x").code(), "upstream_unhealthy", "{service}");
        holds(&format!("{service}: {why}"), || (site.gateway.stdout() + &site.gateway.stderr()).contains(why));
    }
    // A server of HTTP/2 that is none of gRPC.
    let server = h2_server();
    let site = h2_site(server.address(), &health(""));
    holds("one that answers otherwise to be unhealthy", || in_state(&site, "unhealthy"));
}

#[test]
fn a_check_by_http_goes_by_http2_where_that_is_spoken() {
    let server = h2_server();
    let site = h2_site(server.address(), "health: { path: /go/checked, interval: 200ms }");
    assert_eq!(site.seen("/late/checked")["body"], "", "the check has let it go");
    assert!(in_state(&site, "available"));
    let site = h2_site(server.address(), "health: { path: /empty/500, interval: 200ms }");
    holds("one that answers 500 to be unhealthy", || in_state(&site, "unhealthy"));
}

/// A call that is held open by testing/it/py/grpc_client.py.
pub struct Held {
    process: Child,
    _folder: TempDir,
}

impl Held {
    /// Opens one, by the listener with TLS, to testing/it/py/grpc_server.py.
    pub fn open(gateway: &Gateway, authority: &str) -> Self {
        let folder = TempDir::new();
        let (script, authority) = (folder.write("client.py", CLIENT), folder.write("ca.crt", authority));
        let mut command = Command::new(python());
        command.args(["-I", "-B"]).arg(script).arg(gateway.address("tls").to_string()).arg(authority).arg("held");
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("Python starts");
        let mut line = String::new();
        let out = process.stdout.as_mut().expect("its output is piped");
        BufReader::new(out).read_line(&mut line).expect("it says something");
        assert_eq!(line, "open\n");
        Self { process, _folder: folder }
    }

    /// Lets it go on, to its end in order.
    pub fn ends_well(mut self) {
        self.process.stdin.as_mut().expect("its input is piped").write_all(b"\n").expect("it is there");
        assert!(self.process.wait().expect("it ends").success());
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // One that has ended needs none.
        let _ended = self.process.kill();
        let _seen = self.process.wait();
    }
}

#[test]
fn calls_live_on_through_a_reload() {
    let server = grpc_server();
    let site = h2_site(server.address(), "");
    let held = [Held::open(&site.gateway, &site.authority), Held::open(&site.gateway, &site.authority)];
    // Another route, and then another setting of the upstream.
    let generation = site.gateway.generation();
    site.gateway.configure(&site.gateway.config().replace("path: \"/{*rest}\"", "path: \"/test.Echo/{m}\""));
    site.gateway.reaches_generation(generation + 1);
    let [first, second] = held;
    first.ends_well();
    site.gateway.configure(&site.gateway.config().replace("protocol: h2", "protocol: h2\n    limits: { connections: 7 }"));
    site.gateway.reaches_generation(generation + 2);
    second.ends_well();
    client(&site.gateway, &site.authority, "errors");
}

#[test]
fn calls_live_on_through_an_upgrade() {
    let server = grpc_server();
    let mut site = h2_site(server.address(), "");
    let held = Held::open(&site.gateway, &site.authority);
    site.gateway.upgrade(&[]).expect("it upgrades");
    client(&site.gateway, &site.authority, "many");
    held.ends_well();
    holds("the former process to end", || !site.gateway.former().is_running());
}
