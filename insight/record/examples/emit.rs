//! Nanoseconds of a worker's time that a record costs, and of the writer's per line:
//! `cargo run --release -p portcullis-insight-record --example emit`.
//!
//! Told is the time that a tenth of the rounds stay below, so that other work on the machine counts as little as possible.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement prints, and takes real time")]

use portcullis_insight_record::{AccessLog, Gauges, RecordSettings, Recorder};
use portcullis_model::{Attempt, AttemptOutcome, RecordSink, RequestId, TraceContext};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Records in a round, and rounds.
const RECORDS: usize = 500;
const ROUNDS: usize = 400;

fn main() -> io::Result<()> {
    for (name, routes, access_log) in [
        ("log off, 10 routes", 10, AccessLog::Off),
        ("log off, 100,000 routes", 100_000, AccessLog::Off),
        ("log to /dev/null, 10 routes", 10, AccessLog::File { path: "/dev/null".into(), rotate: None }),
    ] {
        let pause = if access_log == AccessLog::Off { Duration::ZERO } else { Duration::from_millis(20) };
        let (recorder, seeds) = Recorder::start(1, &RecordSettings { access_log })?;
        let Some(sink) = seeds.into_iter().next().map(|seed| seed.into_sink()) else { continue };
        let routes: Vec<Arc<str>> = (0..routes).map(|number| format!("orders/route-{number}").into()).collect();
        let shared = Shared { listener: "public".into(), upstream: "orders".into() };
        let mut turns = routes.iter().cycle();
        let mut rounds = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let begin = Instant::now();
            for route in turns.by_ref().take(RECORDS) {
                emit(&sink, route, &shared);
            }
            rounds.push(begin.elapsed().as_nanos() / RECORDS as u128);
            std::thread::park_timeout(pause);
        }
        rounds.sort_unstable();
        let each = rounds.get(ROUNDS / 10).copied().unwrap_or_default();
        let begin = Instant::now();
        let metrics = recorder.metrics(&Gauges::default());
        println!("{name}: {each} ns a record; a scrape takes {:?} and has {} lines", begin.elapsed(), metrics.lines().count());
        recorder.stop();
    }
    Ok(())
}

struct Shared {
    listener: Arc<str>,
    upstream: Arc<str>,
}

fn emit(sink: &Rc<dyn RecordSink>, route: &Arc<str>, shared: &Shared) {
    let mut record = sink.fresh();
    let agent = Some(&b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"[..]);
    record.note_request(b"GET", b"api.example.com", b"/orders/7/lines", Some(b"page=2&token=abc"), agent);
    record.id = RequestId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    record.trace = TraceContext::continue_from(None, record.id, 7);
    record.started_unix_micros = 1_795_440_000_000_001;
    record.total_micros = 1234;
    record.status = 200;
    record.route = Some(Arc::clone(route));
    record.listener = Some(Arc::clone(&shared.listener));
    record.upstream = Some(Arc::clone(&shared.upstream));
    record.client = Some([192, 0, 2, 1].into());
    record.peer = Some(([192, 0, 2, 1], 40_000).into());
    record.note_attempt(Attempt { endpoint: ([192, 0, 2, 2], 8080).into(), reused: true, outcome: AttemptOutcome::Answered });
    sink.emit(record);
}
