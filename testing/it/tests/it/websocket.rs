//! WebSocket by a real client over TLS, through the gateway, to a real server: the library `websockets` on both sides.

use portcullis_testing_kit::{Authority, Gateway, Plain, PyServer, run_python};

const SERVER: &str = include_str!("../../py/websocket_server.py");
const CLIENT: &str = include_str!("../../py/websocket_client.py");
const ROUTES: &str = "- { name: ws, methods: [GET], path: \"/ws/{*rest}\", access: { public: true }, websocket: true }\n\
                      - { name: plain, methods: [GET], path: \"/plain/{*rest}\", access: { public: true } }";

/// A gateway with TLS before the server.
struct Site {
    gateway: Gateway,
    _server: PyServer,
}

fn site() -> Site {
    let server = PyServer::running(SERVER, &[]);
    let authority = Authority::new();
    let leaf = authority.leaf(&["a.test"]);
    let mut plain = Plain::to(server.address());
    plain.routes = ROUTES;
    let secure = "listeners:\n  secure:\n    address: 127.0.0.1:@tls@\n    protocols: [h1]\n    tls: { certificates: \
                  [ { hosts: [a.test], files: { certificate: tls.crt, key: tls.key } } ] }\n";
    let yaml = plain.yaml().replacen("listeners:\n", secure, 1);
    let files = [("tls.crt", leaf.certificate.as_str()), ("tls.key", &leaf.key), ("ca.crt", &authority.certificate)];
    Site { gateway: Gateway::start_with(&files, &yaml), _server: server }
}

impl Site {
    /// Has the client hold a conversation, and gives what it printed.
    #[track_caller]
    fn talks(&self, conversation: &str) -> String {
        let port = self.gateway.address("tls").port().to_string();
        let authority = self.gateway.folder().join("ca.crt");
        run_python(CLIENT, &[conversation, &port, authority.to_str().expect("a path")])
    }
}

#[test]
fn messages_of_every_size_and_kind_come_back_as_they_were() {
    let site = site();
    site.talks("echo");
    let record = &site.gateway.records_when(1)[0];
    assert_eq!(
        (&record["status"], &record["route"], &record["listener"]),
        (&101.into(), &"ws".into(), &"secure".into()),
        "{record}"
    );
    assert_eq!(record["tls"]["sni"], "a.test", "{record}");
}

#[test]
fn a_message_of_1_mib_comes_back_whole() {
    site().talks("large");
}

#[test]
fn client_and_server_agree_on_compression_through_the_gateway() {
    site().talks("compressed");
}

#[test]
fn pings_are_answered_in_both_directions() {
    site().talks("pings");
}

#[test]
fn the_code_and_reason_of_a_close_arrive_in_both_directions() {
    site().talks("closes");
}

#[test]
fn many_messages_at_once_come_in_order() {
    site().talks("burst");
}

#[test]
fn many_connections_at_once_get_their_own_messages() {
    let site = site();
    site.talks("together");
    let records = site.gateway.records_when(40);
    assert!(records.iter().all(|record| record["status"] == 101), "{records:#?}");
}

#[test]
fn a_client_is_told_why_its_handshake_was_refused() {
    let mut site = site();
    site.talks("refused");
    site.gateway.is_well();
}
