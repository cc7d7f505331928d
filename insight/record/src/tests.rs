use crate::labels::VALUES_MAX;
use crate::{AccessLog, Gauges, RecordSettings, Recorder};
use portcullis_model::{Attempt, AttemptOutcome, ConnectionEvent, DecisionRecord, Protocol, Reason, RecordSink};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// A file that goes away with the test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let place = Self(std::env::temp_dir().join(format!("portcullis-record-{name}-{}", std::process::id())));
        let _fresh = std::fs::remove_file(&place.0);
        place
    }

    fn settings(&self) -> RecordSettings {
        RecordSettings { access_log: AccessLog::File { path: self.0.clone(), rotate: None } }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}

fn start(workers: usize, settings: &RecordSettings) -> (Recorder, Vec<Rc<dyn RecordSink>>) {
    let (recorder, seeds) = Recorder::start(workers, settings).unwrap();
    (recorder, seeds.into_iter().map(|seed| seed.into_sink()).collect())
}

fn emit(sink: &Rc<dyn RecordSink>, fill: impl FnOnce(&mut DecisionRecord)) {
    let mut record = sink.fresh();
    record.status = 200;
    fill(&mut record);
    sink.emit(record);
}

fn emit_request(sink: &Rc<dyn RecordSink>, method: &str, host: &str, path: &str, route: Option<&str>) {
    emit(sink, |record| {
        record.note_request(method.as_bytes(), host.as_bytes(), path.as_bytes(), None, None);
        record.route = route.map(Into::into);
    });
}

fn metrics(recorder: &Recorder) -> String {
    recorder.metrics(&Gauges::default())
}

fn series(text: &str) -> usize {
    text.lines().filter(|line| !line.starts_with('#')).count()
}

/// The value of a series by its name with its labels.
#[track_caller]
fn value(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
}

#[test]
fn every_exchange_of_every_worker_is_one_line_by_the_time_of_stop() {
    let place = Place::new("lines");
    let (recorder, sinks) = start(3, &place.settings());
    for number in 0..500 {
        for (worker, sink) in sinks.iter().enumerate() {
            emit_request(sink, "GET", "a.test", &format!("/{worker}/{number}"), Some("r"));
        }
    }
    recorder.stop();
    let text = std::fs::read_to_string(&place.0).unwrap();
    let path = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["path"].as_str().unwrap().to_owned();
    let paths: std::collections::BTreeSet<String> = text.lines().map(path).collect();
    assert_eq!((text.lines().count(), paths.len()), (1500, 1500));
}

#[test]
fn c98_clients_cannot_grow_the_number_of_series() {
    let (recorder, sinks) = start(2, &RecordSettings::default());
    for sink in &sinks {
        emit_request(sink, "GET", "a.test", "/", Some("r"));
        emit_request(sink, "BREW", "a.test", "/", None);
    }
    let before = series(&metrics(&recorder));
    for number in 0..100_000 {
        let text = number.to_string();
        emit_request(&sinks[number % 2], &text, &text, &text, None);
    }
    let text = metrics(&recorder);
    assert_eq!(series(&text), before);
    assert_eq!(value(&text, "portcullis_requests_total{route=\"none\",method=\"other\",status=\"2xx\"}"), 100_002.0);
    recorder.stop();
}

/// Whichever worker sees which route first, the same routes have a name everywhere: a name whose counts are partly under `other` would
/// tell something wrong.
#[test]
fn c98_routes_beyond_the_cap_are_other_for_every_worker() {
    const ROUTES: usize = 3000;
    let (recorder, sinks) = start(2, &RecordSettings::default());
    let routes: Vec<String> = (0..ROUTES).map(|number| format!("route-{number}")).collect();
    for (forwards, backwards) in routes.iter().zip(routes.iter().rev()) {
        emit_request(&sinks[0], "GET", "a.test", "/", Some(forwards));
        emit_request(&sinks[1], "GET", "a.test", "/", Some(backwards));
    }
    emit_request(&sinks[1], "GET", "a.test", "/", None);
    let text = metrics(&recorder);
    let counts: Vec<(&str, f64)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("portcullis_requests_total{route=\"")?.split_once('"'))
        .map(|(route, rest)| (route, rest.rsplit_once(' ').unwrap().1.parse().unwrap()))
        .collect();
    assert_eq!(counts.len(), VALUES_MAX + 1);
    for (route, count) in &counts {
        let expected = match *route {
            "none" => 1.0,
            "other" => (2 * (ROUTES - (VALUES_MAX - 1))) as f64,
            _ => 2.0,
        };
        assert_eq!(*count, expected, "{route}");
    }
    recorder.stop();
}

#[test]
fn what_happened_is_counted_by_what_it_was() {
    let (recorder, sinks) = start(2, &RecordSettings::default());
    let endpoint = "192.0.2.1:80".parse().unwrap();
    for sink in &sinks {
        emit(sink, |record| {
            record.note_request(b"POST", b"a.test", b"/", None, None);
            record.note_reason(Reason::UpstreamReset, "");
            (record.status, record.total_micros, record.protocol) = (502, 1_500, Protocol::Http10);
            record.route = Some("a/\"b\"".into());
            record.listener = Some("public".into());
            record.upstream = Some("up".into());
            (record.traffic.request_head, record.traffic.request_body, record.traffic.response_body) = (10, 5, 7);
            let reset = AttemptOutcome::Failed(Reason::UpstreamReset);
            record.note_attempt(Attempt { endpoint, reused: true, outcome: reset });
            record.note_attempt(Attempt { endpoint, reused: false, outcome: AttemptOutcome::Answered });
        });
    }
    let text = metrics(&recorder);
    let route = r#"route="a/\"b\"""#;
    for (name, expected) in [
        (format!(r#"portcullis_requests_total{{{route},method="POST",status="5xx"}}"#), 2.0),
        (format!(r#"portcullis_request_duration_seconds_bucket{{{route},le="0.001"}}"#), 0.0),
        (format!(r#"portcullis_request_duration_seconds_bucket{{{route},le="0.0025"}}"#), 2.0),
        (format!(r#"portcullis_request_duration_seconds_bucket{{{route},le="+Inf"}}"#), 2.0),
        (format!("portcullis_request_duration_seconds_sum{{{route}}}"), 0.003),
        (format!("portcullis_request_duration_seconds_count{{{route}}}"), 2.0),
        (format!(r#"portcullis_traffic_bytes_total{{{route},direction="request"}}"#), 30.0),
        (format!(r#"portcullis_traffic_bytes_total{{{route},direction="response"}}"#), 14.0),
        (r#"portcullis_rejections_total{reason="upstream_reset",blame="upstream"}"#.to_owned(), 2.0),
        (r#"portcullis_upstream_attempts_total{upstream="up",outcome="answered"}"#.to_owned(), 2.0),
        (r#"portcullis_upstream_attempts_total{upstream="up",outcome="upstream_reset"}"#.to_owned(), 2.0),
        (r#"portcullis_upstream_reused_total{upstream="up"}"#.to_owned(), 2.0),
        (r#"portcullis_listener_requests_total{listener="public",protocol="HTTP/1.0"}"#.to_owned(), 2.0),
    ] {
        assert_eq!(value(&text, &name), expected, "{name}");
    }
    recorder.stop();
}

#[test]
fn connections_are_counted_by_listener() {
    let (recorder, sinks) = start(1, &RecordSettings::default());
    let listener: Arc<str> = "public".into();
    for event in [
        ConnectionEvent::Opened,
        ConnectionEvent::Opened,
        ConnectionEvent::Secured,
        ConnectionEvent::HandshakeFailed(Reason::HandshakeTimeout),
        ConnectionEvent::Closed,
        ConnectionEvent::Refused(Reason::ConnectionsExhausted),
    ] {
        sinks[0].connection(&listener, event);
    }
    let text = metrics(&recorder);
    for (name, expected) in [
        (r#"portcullis_connections_total{listener="public"}"#, 2.0),
        (r#"portcullis_connections_open{listener="public"}"#, 1.0),
        (r#"portcullis_handshakes_total{listener="public"}"#, 1.0),
        (r#"portcullis_handshakes_failed_total{listener="public",reason="handshake_timeout"}"#, 1.0),
        (r#"portcullis_connections_refused_total{listener="public",reason="connections_exhausted"}"#, 1.0),
    ] {
        assert_eq!(value(&text, name), expected, "{name}");
    }
    recorder.stop();
}

/// As Prometheus reads it: every family has its help and type once, right before its samples, and no series comes twice.
#[test]
fn metrics_are_well_formed() {
    let (recorder, sinks) = start(2, &RecordSettings::default());
    for sink in &sinks {
        emit_request(sink, "GET", "a.test", "/", Some("line\nbreak\\"));
        sink.connection(&"l".into(), ConnectionEvent::Opened);
    }
    let text = metrics(&recorder);
    let (mut families, mut names, mut current) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new(), "");
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            current = help.split(' ').next().unwrap();
            assert!(families.insert(current), "{current} comes twice");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            assert!(matches!(kind.strip_prefix(current), Some(" counter" | " gauge" | " histogram")), "{line}");
            assert_eq!(kind.ends_with(" counter"), current.ends_with("_total"), "{line}");
        } else {
            let (name, number) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with(current) && number.parse::<f64>().is_ok(), "{line}");
            assert!(names.insert(name), "{name} comes twice");
        }
    }
    assert!(families.len() > 15, "{families:?}");
    recorder.stop();
}

/// Every metric has its row, else nobody finds it.
#[test]
fn the_reference_names_every_metric() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/metrics.md")).unwrap();
    let (recorder, _) = start(1, &RecordSettings::default());
    for name in metrics(&recorder).lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()) {
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
    recorder.stop();
}

#[test]
fn watchers_see_lines_and_may_leave() {
    let (recorder, sinks) = start(1, &RecordSettings::default());
    let lines = recorder.watch();
    emit_request(&sinks[0], "GET", "a.test", "/seen\x1b[31m", Some("r"));
    let line = lines.recv_timeout(Duration::from_secs(5)).unwrap();
    assert!(line.contains("/seen") && !line.contains('\x1b'), "{line}");
    drop(lines);
    emit_request(&sinks[0], "GET", "a.test", "/unseen", Some("r"));
    recorder.stop();
}

#[test]
fn settings_change_while_it_runs() {
    let (first, second) = (Place::new("first"), Place::new("second"));
    let (recorder, sinks) = start(1, &first.settings());
    let lines = recorder.watch();
    // A watcher hears of a record when the writer has taken it.
    let emit_and_wait = |path: &str| {
        emit_request(&sinks[0], "GET", "a.test", path, None);
        lines.recv_timeout(Duration::from_secs(5)).unwrap();
    };
    emit_and_wait("/1");
    recorder.apply(second.settings());
    while !second.0.exists() {
        std::thread::yield_now();
    }
    emit_and_wait("/2");
    recorder.stop();
    for (place, path) in [(&first, "\"/1\""), (&second, "\"/2\"")] {
        let text = std::fs::read_to_string(&place.0).unwrap();
        assert!(text.lines().count() == 1 && text.contains(path), "{text}");
    }
}

/// Nobody reads the pipe: opening it blocks the writer for ever. Workers go on, and so does the process.
#[test]
fn a_log_that_blocks_holds_up_neither_workers_nor_the_end() {
    let place = Place::new("pipe");
    let made = std::process::Command::new("mkfifo").arg(&place.0).status().unwrap();
    assert!(made.success());
    let (recorder, sinks) = start(1, &place.settings());
    for _ in 0..20_000 {
        emit_request(&sinks[0], "GET", "a.test", "/", None);
    }
    let text = metrics(&recorder);
    assert_eq!(value(&text, "portcullis_requests_total{route=\"none\",method=\"GET\",status=\"2xx\"}"), 20_000.0);
    assert!(value(&text, "portcullis_records_dropped_total") > 0.0);
    recorder.stop();
}
