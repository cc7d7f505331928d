//! Threats F, the management plane: what is open after a fresh start, to whom, and what it tells.

use crate::site::site;
use portcullis_testing_kit::{RawClient, binary, get, output_of};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

#[test]
fn f132_only_the_listeners_and_the_loopback_probes_are_open() {
    let mut site = site();
    let id = site.gateway.process().id();
    let listening = listening_sockets(id);
    let expected = [site.http().port(), site.gateway.address("probes").port()];
    assert!(!listening.is_empty());
    for (address, port) in &listening {
        assert!(expected.contains(port), "{address}:{port} is open");
        assert_eq!(address, "0100007F", "{address}:{port} is not on loopback");
    }
    let socket = site.gateway.folder().join("run/portcullis.sock");
    let mode = std::fs::metadata(&socket).expect("the socket is there").permissions().mode();
    assert_eq!(mode & 0o007, 0, "others may not speak to the management socket: {mode:o}");
}

/// The addresses (as the kernel writes them) and ports of the TCP sockets that a process listens on.
fn listening_sockets(id: u32) -> Vec<(String, u16)> {
    let own: Vec<String> = std::fs::read_dir(format!("/proc/{id}/fd"))
        .expect("our own process")
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok()?.to_str().map(str::to_owned))
        .filter_map(|link| link.strip_prefix("socket:[").map(|rest| rest.trim_end_matches(']').to_owned()))
        .collect();
    let mut found = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in std::fs::read_to_string(table).unwrap_or_default().lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.get(3) == Some(&"0A") && words.get(9).is_some_and(|inode| own.iter().any(|own| own == inode)) {
                let (address, port) = words[1].split_once(':').expect("address:port");
                found.push((address.to_owned(), u16::from_str_radix(port, 16).expect("a port")));
            }
        }
    }
    found
}

#[test]
fn f132_the_probes_serve_three_pages_and_nothing_else() {
    let site = site();
    let probes = site.gateway.address("probes");
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(get(probes, "localhost", path).status, 200, "{path}");
        let post = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        assert_eq!(RawClient::connect(probes).send(post).response().status, 405, "{path}");
    }
    for path in ["/", "/v1/status", "/v1/configuration", "/debug", "/metrics/", "/livez/../v1/status"] {
        assert_eq!(get(probes, "localhost", path).status, 404, "{path}");
    }
}

#[test]
fn f133_a_page_in_a_browser_cannot_read_the_probes() {
    let site = site();
    let probes = site.gateway.address("probes");
    for host in ["evil.test", "localhost.evil.test", "127.0.0.1.evil.test", "10.0.0.1"] {
        assert_eq!(get(probes, host, "/metrics").status, 403, "{host}");
    }
}

#[test]
fn f132_management_pages_are_not_on_the_data_plane() {
    let mut site = site();
    for path in ["/livez", "/metrics", "/v1/status"] {
        let response = site.gateway.get(path);
        assert_eq!(response.text(), "ok", "{path} is the upstream's, like any other");
    }
    site.gateway.is_well();
}

#[test]
fn status_speaks_to_the_running_gateway() {
    let site = site();
    let socket = site.gateway.folder().join("run/portcullis.sock");
    let output = output_of(Command::new(binary()).args(["--format", "json", "status", "--socket"]).arg(&socket));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&status["ready"], &status["generation"]), (&true.into(), &1.into()), "{status}");
    let nobody = output_of(Command::new(binary()).args(["status", "--socket", "/nonexistent/portcullis.sock"]));
    assert!(!nobody.status.success() && String::from_utf8_lossy(&nobody.stderr).contains("/nonexistent/portcullis.sock"));
}

#[test]
fn a_second_gateway_on_the_same_port_says_so_and_ends() {
    let site = site();
    let folder = portcullis_testing_kit::TempDir::new();
    let config = folder.write("portcullis.yaml", site.gateway.config());
    let output = output_of(Command::new(binary()).args(["run", "--config"]).arg(config));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    let port = |address: std::net::SocketAddr| said.contains(&address.to_string());
    assert!(port(site.http()) || port(site.gateway.address("probes")), "it names the address: {said}");
    assert_eq!(site.gateway.get("/x").status, 200, "the first one serves on");
}

#[test]
fn it_stops_in_order_when_told() {
    let mut site = site();
    let mut client = RawClient::connect(site.http());
    assert_eq!(client.send("GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n").response().status, 200);
    site.gateway.stop();
    assert_eq!(site.gateway.records().len(), 1, "the record was written before the end");
}
