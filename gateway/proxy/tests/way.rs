//! The way of a request over a connection in memory, with the clock in the test's hands. Nothing here needs an upstream.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

use portcullis_gateway_listener::Io;
use portcullis_gateway_policy::{ConnectionFacts, Exchange, Pipeline, PipelineStep, Policy, Step};
use portcullis_gateway_proxy::{
    ClientAddressRule, Listener, ListenerKey, ListenerLimits, ListenerMode, Published, Route, Snapshot, Worker, serve_connection,
};
use portcullis_gateway_router::{HostPattern, PathTemplate, RouteSpec, RouteTable};
use portcullis_gateway_upstream::fairness::Baseline;
use portcullis_gateway_upstream::{Balance, Origin, RetrySettings, Timeouts, Upstream, UpstreamSettings};
use portcullis_model::{Clock, DecisionRecord, Generation, PolicyId, Protocol, Reason, RecordSink, TlsFacts};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::Instant;

const NOW: u64 = 1_795_440_000;

#[derive(Default)]
struct Records(RefCell<Vec<DecisionRecord>>);

impl RecordSink for Records {
    fn fresh(&self) -> Box<DecisionRecord> {
        Box::default()
    }
    fn emit(&self, record: Box<DecisionRecord>) {
        self.0.borrow_mut().push(*record);
    }
}

struct Panics;

impl Policy for Panics {
    fn on_request<'a>(&'a self, _: &'a mut Exchange) -> Step<'a> {
        panic!("a policy with a fault");
    }
}

struct Bench {
    records: Rc<Records>,
    worker: Rc<Worker>,
    published: Arc<Published>,
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn upstream() -> Arc<Upstream> {
    let timeouts =
        Timeouts { connect: seconds(1), first_byte: seconds(1), idle: seconds(1), total: None, upgraded_idle: seconds(1) };
    let settings = UpstreamSettings {
        name: "u".into(),
        protocol: portcullis_gateway_upstream::UpstreamProtocol::Http1,
        timeouts,
        balance: Balance::RoundRobin,
        slow_start: Duration::ZERO,
        health: None,
        outlier: None,
        breaker: None,
        retry: RetrySettings { attempts: 1, budget_share: 2000, on_connect: true, on_reset_before_bytes: true },
        connections_max: 1,
        pending_max: 1,
        gate: None,
        idle_per_worker: 1,
        pooled_idle: seconds(1),
        plaintext_expires: Some(NOW + 30),
    };
    Arc::new(Upstream::new(settings, &[], None, &Arc::new(Origin::default())))
}

fn listener() -> Arc<Listener> {
    let limits = ListenerLimits {
        head: Default::default(),
        connection_rate: None,
        handshake_deadline: seconds(10),
        header_deadline: seconds(10),
        idle_timeout: seconds(75),
        body_rate_min: 500,
        rate_window: seconds(10),
        requests_max: Some(3),
    };
    let (name, mode) = ("l".into(), ListenerMode::DangerPlaintext { expires: NOW + 60 });
    let key = ListenerKey::new("127.0.0.1:80".parse().unwrap(), &name);
    Arc::new(Listener { key, name, mode, tls: None, limits, balancers: ClientAddressRule::default() })
}

fn snapshot(generation: u64) -> Snapshot {
    let step = PipelineStep { id: PolicyId(0), name: "panics", policy: Arc::new(Panics) };
    let route = Arc::new(Route {
        name: "faulty".into(),
        api: "a".into(),
        pipeline: Pipeline::new(vec![step]),
        upstream: upstream(),
        baseline: Baseline::default(),
        split: None,
        encoded_slash_kept: false,
        websocket: false,
        body_read_max: 0,
        stream_age_max: None,
        fresh_within: None,
    });
    let spec = RouteSpec {
        name: "faulty".into(),
        hosts: vec![HostPattern::Any],
        path: PathTemplate::parse("/faulty").unwrap(),
        methods: vec!["GET".into()],
        headers: Vec::new(),
        target: route,
    };
    Snapshot {
        generation: Generation(generation),
        hash: String::new(),
        listeners: vec![listener()],
        departed: Vec::new(),
        routes: RouteTable::build(vec![spec]).0,
        unrouted: Pipeline::default(),
        client_address: ClientAddressRule::default(),
        bans: None,
        lockouts: None,
        lockout_spared: ClientAddressRule::default(),
        spared: ClientAddressRule::default(),
        upstreams: Vec::new(),
    }
}

fn bench() -> Bench {
    let published = Arc::new(Published::new(snapshot(1), Clock::fixed(NOW * 1_000_000)));
    let records = Rc::new(Records::default());
    let worker = Worker::new(Arc::clone(&published), records.clone(), [1; 16]);
    Bench { records, worker, published }
}

impl Bench {
    fn connect(&self) -> (DuplexStream, JoinHandle<()>) {
        self.connect_by(None, listener())
    }

    fn connect_by(&self, tls: Option<TlsFacts>, listener: Arc<Listener>) -> (DuplexStream, JoinHandle<()>) {
        let (client, server) = tokio::io::duplex(64 * 1024);
        let facts = ConnectionFacts::new("l".into(), "192.0.2.1:5".parse().unwrap(), tls.map(Into::into));
        let task = tokio::task::spawn_local(serve_connection(Io::Mem(server), facts, listener, Rc::clone(&self.worker)));
        (client, task)
    }

    fn reasons(&self) -> Vec<Option<Reason>> {
        self.records.0.borrow().iter().map(|record| record.reason).collect()
    }
}

async fn answer(client: &mut DuplexStream) -> String {
    let mut text = String::new();
    while !text.contains("\r\n\r\n") || !text.ends_with('\n') {
        let mut part = [0; 4096];
        let count = client.read(&mut part).await.unwrap();
        if count == 0 {
            break;
        }
        text.push_str(&String::from_utf8_lossy(part.get(..count).unwrap()));
    }
    text
}

#[tokio::test(start_paused = true)]
async fn a_weakening_ends_in_the_running_gateway() {
    LocalSet::new()
        .run_until(async {
            let bench = bench();
            let (mut client, _task) = bench.connect();
            client.write_all(b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            assert!(answer(&mut client).await.starts_with("HTTP/1.1 404 "));
            // First the one of the upstream, then the one of the listener.
            for (seconds, path) in [(30, "/faulty"), (60, "/none")] {
                bench.published.clock.set_unix_micros((NOW + seconds) * 1_000_000);
                let (mut client, _task) = bench.connect();
                client.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
                let closed = answer(&mut client).await;
                assert!(closed.starts_with("HTTP/1.1 503 ") && closed.contains("\"code\":\"weakening_expired\""), "{closed}");
            }
            let expired = Some(Reason::WeakeningExpired);
            assert_eq!(bench.reasons(), [Some(Reason::RouteUnknown), expired, expired]);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_policy_with_a_fault_costs_its_own_connection_and_leaves_a_record() {
    LocalSet::new()
        .run_until(async {
            let bench = bench();
            let (mut faulty, task) = bench.connect();
            faulty.write_all(b"GET /faulty HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            assert!(task.await.unwrap_err().is_panic());
            assert_eq!(bench.records.0.borrow().len(), 1);
            let (mut other, _task) = bench.connect();
            other.write_all(b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            assert!(answer(&mut other).await.starts_with("HTTP/1.1 404 "));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn d86_a_head_that_dribbles_is_cut_at_its_deadline() {
    LocalSet::new()
        .run_until(async {
            let bench = bench();
            let (mut client, task) = bench.connect();
            let begin = Instant::now();
            client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
            let mut dribble = tokio::time::interval(seconds(1));
            let mut task = task;
            loop {
                tokio::select! {
                    _ = dribble.tick() => { let _cut = client.write_all(b"X: y\r\n").await; }
                    ended = &mut task => { ended.unwrap(); break; }
                }
            }
            assert!((10..=13).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
            assert_eq!(bench.reasons(), [Some(Reason::HeaderTimeout)]);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn d86_a_connection_that_says_nothing_is_gone_without_a_record() {
    LocalSet::new()
        .run_until(async {
            let bench = bench();
            let begin = Instant::now();
            let (_client, task) = bench.connect();
            task.await.unwrap();
            assert!(begin.elapsed() <= seconds(13) && bench.reasons().is_empty());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_serves_so_many_requests_and_says_so() {
    LocalSet::new()
        .run_until(async {
            let bench = bench();
            let (mut client, _task) = bench.connect();
            for last in [false, false, true] {
                client.write_all(b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
                assert_eq!(answer(&mut client).await.contains("connection: close\r\n"), last);
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn another_configuration_decides_from_the_next_request_on() {
    LocalSet::new()
        .run_until(async {
            let bench = bench();
            let (mut client, _task) = bench.connect();
            for generation in 1..=2 {
                if generation == 2 {
                    bench.published.publish(Arc::new(snapshot(2)));
                }
                client.write_all(b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
                answer(&mut client).await;
                assert_eq!(bench.records.0.borrow().last().unwrap().generation, Generation(generation));
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn g155_a_step_of_the_clock_moves_no_deadline() {
    // Ten minutes back and ten forward, as a machine whose time is set right while it serves.
    for step in [-600_i64, 600] {
        LocalSet::new()
            .run_until(async {
                let bench = bench();
                let (mut client, task) = bench.connect();
                let begin = Instant::now();
                client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
                tokio::time::sleep(seconds(5)).await;
                bench.published.clock.set_unix_micros(NOW.checked_add_signed(step).unwrap() * 1_000_000);
                tokio::time::sleep(seconds(1)).await;
                assert!(!task.is_finished(), "a step of {step} s cut a client that was in time");
                task.await.unwrap();
                assert!((10..=13).contains(&begin.elapsed().as_secs()), "{step}: {:?}", begin.elapsed());
                assert_eq!(bench.reasons(), [Some(Reason::HeaderTimeout)]);
            })
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn d77_many_streams_of_a_connection_do_not_hold_up_who_comes_after_them() {
    const STREAMS: u8 = 90;
    LocalSet::new()
        .run_until(async {
            let bench = bench();
            let mut unlimited = listener();
            Arc::get_mut(&mut unlimited).unwrap().limits.requests_max = None;
            let tls = TlsFacts { alpn: Some("h2"), ..TlsFacts::default() };
            let (mut many, _task) = bench.connect_by(Some(tls), unlimited);
            let mut text = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00".to_vec();
            for stream in 0..STREAMS {
                // A whole head of 12 bytes: GET https://a/none.
                text.extend([0, 0, 12, 1, 5, 0, 0, 0, 2 * stream + 1]);
                text.extend(b"\x82\x87\x04\x05/none\x01\x01a");
            }
            many.write_all(&text).await.unwrap();
            let (mut one, _task) = bench.connect();
            one.write_all(b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            assert!(answer(&mut one).await.starts_with("HTTP/1.1 404 "));
            let before = bench.records.0.borrow().iter().position(|record| record.protocol != Protocol::Http2).unwrap();
            assert!(before < usize::from(STREAMS) / 2, "{before} streams came first");
            // All of them have their turns.
            while bench.records.0.borrow().len() <= usize::from(STREAMS) {
                tokio::task::yield_now().await;
            }
        })
        .await;
}
