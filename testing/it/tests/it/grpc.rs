//! gRPC through the gateway, with the project's own client and server: all kinds of calls, what goes wrong, and what the gateway refuses.

use crate::upstream_h2_site::{configuration, h2_site, h2_site_of};
use portcullis_testing_kit::{Authority, Gateway, PyServer, TempDir, try_python};

/// The client.
pub const CLIENT: &str = include_str!("../../py/grpc_client.py");

/// The server of testing/it/py/grpc_server.py, without TLS.
pub fn grpc_server() -> PyServer {
    PyServer::running(include_str!("../../py/grpc_server.py"), &[])
}

/// Runs a part of testing/it/py/grpc_client.py against a gateway.
#[track_caller]
pub fn client(gateway: &Gateway, authority: &str, what: &str) {
    let folder = TempDir::new();
    let authority = folder.write("ca.crt", authority);
    let output = try_python(CLIENT, &[&gateway.address("tls").to_string(), &authority.to_string_lossy(), what]);
    let said = String::from_utf8_lossy(&output.stderr);
    let unwell = || gateway.records().into_iter().filter(|record| !record["reason"].is_null()).take(3).collect::<Vec<_>>();
    assert!(output.status.success(), "{said}\n{:#?}", unwell());
}

#[test]
fn all_kinds_of_calls_work() {
    let server = grpc_server();
    let site = h2_site(server.address(), "");
    client(&site.gateway, &site.authority, "kinds");
    assert!(site.gateway.records_when(7).iter().all(|record| record["status"] == 200 && record["reason"].is_null()));
}

#[test]
fn all_kinds_of_calls_work_with_tls_on_both_sides() {
    let authority = Authority::new();
    let (leaf, folder) = (authority.leaf(&["127.0.0.1"]), TempDir::new());
    let (certificate, key) = (folder.write("s.crt", &leaf.certificate), folder.write("s.key", &leaf.key));
    let arguments = [&*certificate.to_string_lossy(), &*key.to_string_lossy()];
    let server = PyServer::running(include_str!("../../py/grpc_server.py"), &arguments);
    let site = h2_site_of(&format!("https://{}", server.address()), "tls: { trust: ca.crt }", &authority, &[]);
    client(&site.gateway, &site.authority, "kinds");
}

#[test]
fn errors_deadlines_and_cancellations_go_through() {
    let server = grpc_server();
    let site = h2_site(server.address(), "");
    client(&site.gateway, &site.authority, "errors");
}

#[test]
fn many_calls_share_few_connections() {
    let server = grpc_server();
    let site = h2_site(server.address(), "");
    client(&site.gateway, &site.authority, "many");
    let connections = site.gateway.records().iter().filter(|record| record["reused"] == false).count();
    assert!(connections <= 20, "{connections} connections for 380 calls");
}

#[test]
fn the_gateways_own_deadline_reaches_client_and_server() {
    let server = grpc_server();
    let site = h2_site(server.address(), "timeouts: { first_byte: 500ms, total: 500ms }");
    client(&site.gateway, &site.authority, "total");
    let record = site.gateway.record_of("upstream_timeout");
    assert_eq!(record["status"], 504, "the record has the status of HTTP: {record}");
}

#[test]
fn what_the_gateway_refuses_is_told_as_grpc_tells_it() {
    let (server, authority) = (grpc_server(), Authority::new());
    let leaf = authority.leaf(&["a.test"]);
    let config = configuration(&format!("http://{}", server.address()), "").replace(
        "apis:\n",
        "  dead: { protocol: h2, endpoints: [ { url: \"http://127.0.0.1:1\" } ] }\napis:\n  \
         dead: { hosts: [\"*\"], base_path: /dead.End, upstream: dead, routes: [ { name: dead, methods: [POST], path: \"/{m}\", access: { public: true } } ] }\n  \
         none: { hosts: [\"*\"], base_path: /nowhere, upstream: u, routes: [ { name: none, methods: [POST], path: \"/a/b\", access: { public: true } } ] }\n  \
         denied: { hosts: [\"*\"], base_path: /denied.To, upstream: u, ip_rules: { deny: { networks: [127.0.0.1/32] } }, routes: [ { name: denied, methods: [POST], path: \"/{m}\", access: { public: true } } ] }\n",
    );
    let config = config.replace("path: \"/{*rest}\"", "path: \"/test.Echo/{m}\"");
    let files = [("a.crt", leaf.certificate.as_str()), ("a.key", leaf.key.as_str())];
    let gateway = Gateway::start_with(&files, &config);
    client(&gateway, &authority.certificate, "refused");
    for (reason, status) in [("route_unknown", 404), ("address_refused", 403), ("upstream_unreachable", 502)] {
        assert_eq!(gateway.record_of(reason)["status"], status);
    }
}
