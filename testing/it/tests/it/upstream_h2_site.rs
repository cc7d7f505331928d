//! A gateway before an upstream that speaks HTTP/2, with listeners for clients of either version.

use portcullis_testing_kit::http2::Http2Client;
use portcullis_testing_kit::{Authority, Gateway, PyServer, RawClient, Response};
use serde_json::Value;
use std::net::SocketAddr;

/// The server of testing/it/py/h2_server.py, with prior knowledge.
pub fn h2_server() -> PyServer {
    PyServer::running(include_str!("../../py/h2_server.py"), &[])
}

/// A gateway before an upstream.
pub struct H2Site {
    pub gateway: Gateway,
    /// The certificate of the authority that the gateway's own is from, PEM.
    pub authority: String,
}

/// Everything goes to this address by HTTP/2; `more` is for the section of the upstream.
pub fn h2_site(upstream: SocketAddr, more: &str) -> H2Site {
    h2_site_of(&format!("http://{upstream}"), more, &Authority::new(), &[])
}

/// Everything goes to this address by HTTP/2, WebSockets too; `more` is for the section of the upstream.
pub fn h2_websocket_site(upstream: SocketAddr, more: &str) -> H2Site {
    let authority = Authority::new();
    let leaf = authority.leaf(&["a.test"]);
    let files = [("a.crt", leaf.certificate.as_str()), ("a.key", &leaf.key), ("ca.crt", &authority.certificate)];
    let yaml = configuration(&format!("http://{upstream}"), more).replace("public: true } }", "public: true }, websocket: true }");
    H2Site { gateway: Gateway::start_with(&files, &yaml), authority: authority.certificate.clone() }
}

/// Everything goes to this URL; `authority` is known to the upstream's section as `ca.crt`.
pub fn h2_site_of(url: &str, more: &str, authority: &Authority, files: &[(&str, &str)]) -> H2Site {
    let leaf = authority.leaf(&["a.test"]);
    let own = [("a.crt", leaf.certificate.as_str()), ("a.key", leaf.key.as_str()), ("ca.crt", authority.certificate.as_str())];
    let all: Vec<(&str, &str)> = own.into_iter().chain(files.iter().copied()).collect();
    H2Site { gateway: Gateway::start_with(&all, &configuration(url, more)), authority: authority.certificate.clone() }
}

/// The configuration of [`h2_site_of`].
pub fn configuration(url: &str, more: &str) -> String {
    format!(
        r#"version: 1
listeners:
  plain:
    address: 127.0.0.1:@http@
    protocols: [h1]
    danger_plaintext: {{ reason: test, owner: test, expires: 2099-01-01 }}
    limits: {{ connection_rate_per_client: 1000000/s }}
  secure:
    address: 127.0.0.1:@tls@
    tls: {{ certificates: [ {{ hosts: [a.test], files: {{ certificate: a.crt, key: a.key }} }} ] }}
management: {{ socket: run/portcullis.sock, probes: 127.0.0.1:@probes@ }}
upstreams:
  u:
    endpoints: [ {{ url: "{url}" }} ]
    protocol: h2
    {more}
apis:
  a:
    hosts: ["*"]
    base_path: /
    upstream: u
    request_limits: {{ body_bytes_max: 8MiB }}
    routes: [ {{ name: all, methods: [GET, HEAD, POST, PUT, DELETE], path: "/{{*rest}}", access: {{ public: true }} }} ]
record: {{ access_log: {{ to: file, path: access.log, format: json }} }}
"#
    )
}

impl H2Site {
    /// A client that speaks HTTP/1.1.
    #[track_caller]
    pub fn http1(&self) -> RawClient {
        RawClient::connect(self.gateway.http())
    }

    /// A client that speaks HTTP/2.
    #[track_caller]
    pub fn http2(&self) -> Http2Client {
        Http2Client::connect(self.gateway.address("tls"), &self.authority)
    }

    /// The answer to a GET by HTTP/1.1.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.http1().send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")).response()
    }

    /// What the server of testing/it/py/h2_server.py says that it has seen of a GET by HTTP/1.1.
    #[track_caller]
    pub fn seen(&self, path: &str) -> Value {
        let response = self.get(path);
        assert_eq!(response.status, 200, "{}{}", response.head, response.text());
        serde_json::from_str(&response.text()).expect("the server answers JSON")
    }
}
