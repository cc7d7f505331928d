//! Runs a case through the gateway's own way of a request, over connections in memory.

use crate::case::{Case, Exchange};
use crate::stand_in;
use portcullis_control_config::load;
use portcullis_control_reload::Builder;
use portcullis_gateway_listener::Io;
use portcullis_gateway_policy::ConnectionFacts;
use portcullis_gateway_proxy::{Published, Worker, serve_connection};
use portcullis_model::{Clock, DecisionRecord, Generation, RecordSink, TlsFacts};
use portcullis_testing_kit::{Authority, Leaf, TempDir};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// When every case happens: 2026-11-24, noon UTC.
const NOW_MICROS: u64 = (20_781 * 86_400 + 43_200) * 1_000_000;
/// Fields that are different with every request, and say nothing of policies.
const LEFT_OUT: [&str; 3] = ["date", "x-request-id", "traceparent"];

struct Forget;

impl RecordSink for Forget {
    fn fresh(&self) -> Box<DecisionRecord> {
        Box::default()
    }
    fn emit(&self, record: Box<DecisionRecord>) {
        drop(record);
    }
}

/// Runs a case, and gives it back with what became of its requests.
///
/// # Panics
/// When its configuration is refused.
pub fn run(mut case: Case) -> Case {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let published = published(&case);
    let worker = Worker::new(Arc::clone(&published), Rc::new(Forget), [1; 16]);
    for exchange in &mut case.exchanges {
        tokio::task::LocalSet::new().block_on(&runtime, serve(exchange, &published, &worker));
    }
    case
}

async fn serve(exchange: &mut Exchange, published: &Published, worker: &Rc<Worker>) {
    let (status, fields) = exchange.upstream_answer();
    stand_in::will_answer(status, fields);
    let client = exchange.client();
    let address: IpAddr = client.address.parse().expect("the address of a client");
    let tls = TlsFacts { version: "TLSv1.3", ..TlsFacts::default() };
    let name = if client.https { "secure" } else { "plain" };
    let facts = ConnectionFacts::new(name.into(), SocketAddr::new(address, 50_000), client.https.then(|| Arc::new(tls)));
    let snapshot = published.snapshot();
    let listener = snapshot.listeners.iter().find(|listener| &*listener.name == name).expect("the listener of the case");
    let (mut ours, theirs) = tokio::io::duplex(1 << 20);
    tokio::task::spawn_local(serve_connection(Io::Mem(theirs), facts, Arc::clone(listener), Rc::clone(worker)));
    ours.write_all(&exchange.bytes()).await.expect("a connection in memory takes a request");
    ours.shutdown().await.expect("a connection in memory can be ended");
    let mut answer = Vec::new();
    ours.read_to_end(&mut answer).await.expect("a connection in memory can be read");
    exchange.forwarded = stand_in::forwarded().map(|bytes| shown(&bytes));
    exchange.answer = (!answer.is_empty()).then(|| shown(&answer));
}

/// A message as the case shows it: plain ends of lines, without what is different with every request.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let left_out = |line: &&str| LEFT_OUT.iter().any(|name| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(": ")));
    let lines: Vec<&str> = head.lines().filter(|line| !left_out(line)).collect();
    let mut shown = lines.join("\n");
    if !body.is_empty() {
        shown.push_str("\n\n");
        // The id stands last, and is the only one.
        shown.push_str(body.split_once(",\"request_id\"").map_or(body, |(before, _)| before).trim_end());
        shown.push_str(if body.contains(",\"request_id\"") { ",…}" } else { "" });
    }
    shown
}

/// The configuration of a case: two listeners, an API, and a route that takes everything, with what the case adds.
fn yaml(case: &Case) -> String {
    let mut text = String::from(
        "version: 1\nlisteners:\n  secure:\n    address: 127.0.0.1:8443\n    protocols: [h1]\n    tls: { certificates: \
         [ { hosts: [a.test], files: { certificate: a.crt, key: a.key } } ] }\n  plain:\n    address: 127.0.0.1:8080\n    \
         protocols: [h1]\n    danger_plaintext: { reason: case, owner: case, expires: 2099-01-01 }\nmanagement: { socket: run/s }\n\
         upstreams:\n  u:\n    endpoints: [ { url: 'http://127.0.0.1:9' } ]\n",
    );
    let mut add = |before: &str, indent: &str, title: &str| {
        text.push_str(before);
        for line in case.part(title).flat_map(str::lines) {
            writeln!(text, "{indent}{line}").expect("text can be written");
        }
    };
    if case.part("defaults").next().is_some() {
        add("defaults:\n", "  ", "defaults");
    }
    add("", "", "sections");
    add("apis:\n  a:\n    hosts: [a.test]\n    upstream: u\n", "    ", "api");
    let route = "    routes:\n      - name: all\n        methods: [GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS]\n        path: '/{*rest}'\n";
    let says_who = case.part("route").flat_map(str::lines).any(|line| line.starts_with("access:"));
    add(&format!("{route}{}", if says_who { "" } else { "        access: { public: true }\n" }), "        ", "route");
    text
}

fn published(case: &Case) -> Arc<Published> {
    // One key for all cases; it is never used.
    static LEAF: OnceLock<Leaf> = OnceLock::new();
    let leaf = LEAF.get_or_init(|| Authority::new().leaf(&["a.test"]));
    let folder = TempDir::new();
    let file = folder.write("portcullis.yaml", yaml(case));
    folder.write("a.crt", &leaf.certificate);
    folder.write("a.key", &leaf.key);
    for (name, text) in case.files() {
        folder.write(name, format!("{text}\n"));
    }
    let clock = Clock::fixed(NOW_MICROS);
    let schemas: Vec<_> = stand_in::table().iter().map(|row| row.settings).collect();
    let plan =
        load(&file, &schemas, &clock).unwrap_or_else(|report| panic!("{}: its configuration is refused\n{report}", case.name));
    let built = Builder::new(stand_in::table(), clock.clone()).build(&plan, Generation(1));
    let built = built.unwrap_or_else(|problem| panic!("{}: its configuration cannot be built: {problem}", case.name));
    Arc::new(Published::new(built.snapshot, clock))
}
