//! A gateway whose API is asked for what takes long by callers with tokens: WebSocket, events, files that come slowly, and calls of gRPC.

use crate::grpc::CLIENT;
use crate::upstream_h2_site::configuration;
use portcullis_testing_kit::http2::{Http2Client, Outcome, get_fields};
use portcullis_testing_kit::{
    Authority, Gateway, RawClient, SigningKey, TempDir, Witness, claims, eventually, key_set, python, unix_seconds,
};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub const ISSUER: &str = "https://id.test";
pub const AUDIENCE: &str = "https://api.test";
pub const HANDSHAKE: &str =
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
pub const AGREES: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A gateway before an upstream whose answers take long.
pub struct Streams {
    pub gateway: Gateway,
    pub corp: SigningKey,
    pub authority: Authority,
    pub witness: Witness,
    /// Set when the rest of files may come.
    pub rest: Arc<AtomicBool>,
}

impl Streams {
    /// `authenticate` is more for `authenticate` of the API.
    pub fn new(authenticate: &str) -> Self {
        let rest = Arc::new(AtomicBool::new(false));
        let may_come = Arc::clone(&rest);
        let witness = Witness::scripted(move |side| {
            let Some(request) = side.request() else { return };
            if request.starts_with(b"GET /ws") {
                side.write(AGREES);
                if request.starts_with(b"GET /ws/half") {
                    side.write("\u{1}\u{5}half");
                }
                side.drain();
            } else if request.starts_with(b"GET /events") {
                side.write(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n7\r\ndata: 1\r\n",
                );
                side.drain();
            } else {
                side.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
                while !may_come.load(Ordering::Acquire) {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                side.write(" half");
                side.drain();
            }
        });
        let (gateway, corp, authority) = gateway(&format!("http://{}", witness.address()), "h1", authenticate);
        Self { gateway, corp, authority, witness, rest }
    }

    /// Asks for a path by HTTP/2, as [`Streams::open`].
    #[track_caller]
    pub fn open_http2(&self, path: &str, token: &str) -> Http2Client {
        let mut client = Http2Client::connect(self.gateway.address("tls"), &self.authority.certificate);
        let bearer = format!("Bearer {token}");
        let mut fields = get_fields(path);
        fields.push(("authorization", &bearer));
        assert_eq!(client.headers(1, &fields, true).outcome(1), Outcome::Answered(200), "{path}");
        client
    }

    /// Waits for the record of a path, and gives the reason that is in it.
    #[track_caller]
    pub fn reason_of(&self, path: &str) -> Value {
        let record = || self.gateway.records().into_iter().find(|record| record["path"] == path);
        eventually(&format!("a record of {path}"), record)["reason"].clone()
    }

    /// A token of the provider that ends in so many seconds, with other claims than those of the kit.
    pub fn token(&self, seconds: u64, other: Value) -> String {
        token(&self.corp, seconds, other)
    }

    /// Asks for a path by HTTP/1.1, with a token, and comes back when the answer has begun. Paths that begin with `/ws` are WebSockets, those
    /// that begin with `/events` have no end, others have ten bytes.
    #[track_caller]
    pub fn open(&self, path: &str, token: &str) -> RawClient {
        let mut client = RawClient::connect(self.gateway.http());
        let handshake = if path.starts_with("/ws") { HANDSHAKE } else { "" };
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {token}\r\n{handshake}\r\n"));
        let status = client.response_head().status;
        assert!(matches!(status, 101 | 200), "{path}: {status}");
        client
    }
}

/// A gateway in front of a URL, which asks for tokens of one provider.
pub fn gateway(url: &str, protocol: &str, authenticate: &str) -> (Gateway, SigningKey, Authority) {
    let (corp, authority) = (SigningKey::p256("c1"), Authority::new());
    let leaf = authority.leaf(&["a.test"]);
    let set = key_set(&[&corp]);
    let websocket = protocol == "h1";
    let yaml = configuration(url, "")
        .replace("protocol: h2", &format!("protocol: {protocol}"))
        .replace(
            "    upstream: u\n",
            &format!("    upstream: u\n    authenticate: {{ any_of: [corp], audiences: [\"{AUDIENCE}\"], {authenticate} }}\n"),
        )
        .replace("access: { public: true }", &format!("websocket: {websocket}, access: {{ allow: {{ scopes: [go] }} }}"))
        + &format!("identity:\n  providers:\n    corp: {{ issuer: \"{ISSUER}\", keys: {{ file: corp.jwks.json }}, leeway: 0s }}\n");
    let files =
        [("a.crt", leaf.certificate.as_str()), ("a.key", &leaf.key), ("corp.jwks.json", &set), ("ca.crt", &authority.certificate)];
    (Gateway::start_with(&files, &yaml), corp, authority)
}

/// A token that ends in so many seconds, with other claims than those of the kit.
pub fn token(corp: &SigningKey, seconds: u64, other: Value) -> String {
    let mut claims = claims(ISSUER, AUDIENCE);
    claims["scope"] = json!("go");
    claims["exp"] = json!(unix_seconds() + seconds);
    for (name, value) in other.as_object().into_iter().flatten() {
        claims[name] = value.clone();
    }
    corp.token(&claims)
}

/// A call of gRPC that stands open until its caller's credential has ended.
pub struct Call {
    process: Child,
    out: BufReader<ChildStdout>,
    _folder: TempDir,
}

impl Call {
    /// Opens one at a gateway before testing/it/py/grpc_server.py.
    pub fn open(tls: SocketAddr, authority: &str, token: &str) -> Self {
        let folder = TempDir::new();
        let (script, authority) = (folder.write("client.py", CLIENT), folder.write("ca.crt", authority));
        let mut command = Command::new(python());
        command.args(["-I", "-B"]).arg(script).arg(tls.to_string()).arg(authority).args(["ended", token]);
        let mut process = command.stdout(Stdio::piped()).spawn().expect("Python starts");
        let out = BufReader::new(process.stdout.take().expect("its output is piped"));
        let mut call = Self { process, out, _folder: folder };
        assert_eq!(call.says(), "open");
        call
    }

    /// What it says next; once it is open, the words that it was ended with.
    pub fn says(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("it says something");
        line.trim_end().to_owned()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // One that has ended needs none.
        let _ended = self.process.kill();
        let _seen = self.process.wait();
    }
}
