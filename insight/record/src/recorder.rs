//! The control side: one thread that writes the log, and everything that can be asked.

use crate::encode::push_line;
use crate::exposition::{Gauges, expose};
use crate::series::WorkerSeries;
use crate::sink::SinkSeed;
use crate::summary::summary;
use crate::writer::LogWriter;
use portcullis_model::DecisionRecord;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Records a worker may have under way to the writer.
const RING_RECORDS: usize = 16 * 1024;
/// Records that go back to a worker for another use.
const RETURNED_RECORDS: usize = 1024;
/// How often the writer looks at the rings.
const TICK: Duration = Duration::from_millis(50);
/// Every how many ticks it looks whether the file is still where it was.
const CHECK_EVERY: u32 = 20;
/// Summaries that a watcher may have waiting.
const SUMMARIES_MAX: usize = 1024;

/// Rotation by ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Begin a new file at so many bytes.
    pub bytes: u64,
    /// Keep so many old ones.
    pub keep: u32,
}

/// Where the access log goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere.
    #[default]
    Off,
    /// To standard output.
    Stdout,
    /// To a file.
    File {
        /// The file.
        path: PathBuf,
        /// Rotation by ourselves, if any.
        rotate: Option<Rotation>,
    },
}

/// What is recorded, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordSettings {
    /// The access log.
    pub access_log: AccessLog,
}

/// How the log is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogStatus {
    /// Lines lost because the log could not be written.
    pub lost_lines: u64,
    /// Why it cannot be written at the moment.
    pub trouble: Option<String>,
}

/// A worker's end of the ring, seen from the writer.
struct Ring {
    records: Receiver<Box<DecisionRecord>>,
    back: SyncSender<Box<DecisionRecord>>,
}

#[derive(Default)]
struct Wishes {
    settings: Option<RecordSettings>,
    reopen: bool,
    stop: bool,
}

struct Shared {
    series: Vec<Arc<WorkerSeries>>,
    wanted: Arc<AtomicBool>,
    wishes: Mutex<Wishes>,
    status: Mutex<LogStatus>,
    watchers: Mutex<Vec<SyncSender<String>>>,
}

/// What was recorded, and the thread that writes it.
pub struct Recorder {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Recorder {
    /// Starts the writer, and makes a sink for each worker.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub fn start(workers: usize, settings: &RecordSettings) -> std::io::Result<(Self, Vec<SinkSeed>)> {
        let writer = LogWriter::new(&settings.access_log);
        let wanted = Arc::new(AtomicBool::new(writer.is_on()));
        let (mut seeds, mut rings, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..workers {
            let series = Arc::new(WorkerSeries::default());
            let (ring, records) = sync_channel(RING_RECORDS);
            let (back, returned) = sync_channel(RETURNED_RECORDS);
            seeds.push(SinkSeed { series: Arc::clone(&series), wanted: Arc::clone(&wanted), ring, returned });
            rings.push(Ring { records, back });
            all.push(series);
        }
        let shared = Arc::new(Shared {
            series: all,
            wanted,
            wishes: Mutex::default(),
            status: Mutex::default(),
            watchers: Mutex::default(),
        });
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("record-writer".to_owned()).spawn(move || write(&own, &rings, writer))?;
        Ok((Self { shared, thread: Mutex::new(Some(thread)) }, seeds))
    }

    /// Puts other settings in force.
    pub fn apply(&self, settings: RecordSettings) {
        lock(&self.shared.wishes).settings = Some(settings);
        self.wake();
    }

    /// Opens the log file anew, for those who rotate it themselves.
    pub fn reopen(&self) {
        lock(&self.shared.wishes).reopen = true;
        self.wake();
    }

    /// Lines for people, one for each exchange from now on. A watcher that does not keep up misses some.
    #[must_use]
    pub fn watch(&self) -> Receiver<String> {
        let (watcher, lines) = sync_channel(SUMMARIES_MAX);
        lock(&self.shared.watchers).push(watcher);
        self.shared.wanted.store(true, Ordering::Relaxed);
        lines
    }

    /// How the log is doing.
    #[must_use]
    pub fn log_status(&self) -> LogStatus {
        lock(&self.shared.status).clone()
    }

    /// All metrics in the text format of Prometheus 0.0.4.
    #[must_use]
    pub fn metrics(&self, gauges: &Gauges) -> String {
        expose(&self.shared.series, gauges, &self.log_status())
    }

    /// Writes what is under way and ends the writer.
    pub fn stop(&self) {
        lock(&self.shared.wishes).stop = true;
        if let Some(thread) = lock(&self.thread).take() {
            thread.thread().unpark();
            let ended = thread.join();
            debug_assert!(ended.is_ok(), "the writer does not panic");
        }
    }

    fn wake(&self) {
        if let Some(thread) = lock(&self.thread).as_ref() {
            thread.thread().unpark();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The writer's life.
fn write(shared: &Shared, rings: &[Ring], mut writer: LogWriter) {
    let mut ticks = 0_u32;
    loop {
        let wishes = std::mem::take(&mut *lock(&shared.wishes));
        drain(shared, rings, &mut writer);
        if let Some(settings) = wishes.settings {
            writer.retarget(&settings.access_log);
        }
        if wishes.reopen {
            writer.reopen();
        }
        ticks = ticks.wrapping_add(1);
        if ticks.is_multiple_of(CHECK_EVERY) {
            writer.check_moved();
        }
        let has_watchers = !lock(&shared.watchers).is_empty();
        shared.wanted.store(writer.is_on() || has_watchers, Ordering::Relaxed);
        *lock(&shared.status) = LogStatus { lost_lines: writer.lost_lines, trouble: writer.trouble.clone() };
        if wishes.stop {
            return;
        }
        std::thread::park_timeout(TICK);
    }
}

/// Takes what is in the rings, at most one ring's worth of each, and writes it.
fn drain(shared: &Shared, rings: &[Ring], writer: &mut LogWriter) {
    let mut watchers = lock(&shared.watchers);
    for ring in rings {
        for record in ring.records.try_iter().take(RING_RECORDS) {
            if writer.is_on() {
                push_line(writer.waiting(), &record);
            }
            if !watchers.is_empty() {
                let line = summary(&record);
                watchers.retain(|watcher| {
                    !matches!(watcher.try_send(line.clone()), Err(std::sync::mpsc::TrySendError::Disconnected(_)))
                });
            }
            if let Err(no_room) = ring.back.try_send(record) {
                drop(no_room);
            }
        }
    }
    writer.flush();
}

#[cfg(test)]
mod tests {
    use super::{AccessLog, RecordSettings, Recorder};
    use crate::exposition::Gauges;
    use portcullis_model::{DecisionRecord, Reason, RecordSink};
    use std::rc::Rc;

    fn emit(sink: &Rc<dyn RecordSink>, path: &str, method: &str, route: Option<&str>) {
        let mut record: Box<DecisionRecord> = sink.fresh();
        record.note_request(method.as_bytes(), b"a.test", path.as_bytes(), None, None);
        record.route = route.map(Into::into);
        record.status = 200;
        sink.emit(record);
    }

    #[test]
    fn every_exchange_is_one_line_by_the_time_of_stop() {
        let path = std::env::temp_dir().join(format!("portcullis-recorder-{}.log", std::process::id()));
        let _fresh = std::fs::remove_file(&path);
        let settings = RecordSettings { access_log: AccessLog::File { path: path.clone(), rotate: None } };
        let (recorder, seeds) = Recorder::start(1, &settings).unwrap();
        let sink = seeds.into_iter().next().unwrap().into_sink();
        for number in 0..500 {
            emit(&sink, &format!("/{number}"), "GET", Some("r"));
        }
        recorder.stop();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 500);
        for line in text.lines() {
            let _valid: serde_json::Value = serde_json::from_str(line).unwrap();
        }
    }

    #[test]
    fn c98_clients_cannot_grow_the_number_of_series() {
        let (recorder, seeds) = Recorder::start(1, &RecordSettings::default()).unwrap();
        let sink = seeds.into_iter().next().unwrap().into_sink();
        emit(&sink, "/", "GET", Some("r"));
        let count = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
        emit(&sink, "/", "BREW", None);
        let before = count(&recorder.metrics(&Gauges::default()));
        for number in 0..100_000 {
            emit(&sink, &format!("/{number}"), &format!("M{number}"), None);
        }
        assert_eq!(count(&recorder.metrics(&Gauges::default())), before);
        for number in 0..5_000 {
            emit(&sink, "/", "GET", Some(&format!("route-{number}")));
        }
        let text = recorder.metrics(&Gauges::default());
        assert!(text.contains("route=\"other\""));
        assert!(count(&text) < 30_000, "{}", count(&text));
        recorder.stop();
    }

    #[test]
    fn refusals_are_counted_by_reason() {
        let (recorder, seeds) = Recorder::start(1, &RecordSettings::default()).unwrap();
        let sink = seeds.into_iter().next().unwrap().into_sink();
        let mut record = sink.fresh();
        record.note_reason(Reason::HostUnknown, "");
        record.status = 404;
        sink.emit(record);
        let text = recorder.metrics(&Gauges::default());
        assert!(text.contains("portcullis_rejections_total{reason=\"host_unknown\",blame=\"downstream\"} 1\n"), "{text}");
        recorder.stop();
    }

    #[test]
    fn watchers_see_lines_and_may_leave() {
        let (recorder, seeds) = Recorder::start(1, &RecordSettings::default()).unwrap();
        let sink = seeds.into_iter().next().unwrap().into_sink();
        let lines = recorder.watch();
        emit(&sink, "/seen\x1b[31m", "GET", Some("r"));
        let line = lines.recv_timeout(std::time::Duration::from_secs(5)).unwrap();
        assert!(line.contains("/seen") && !line.contains('\x1b'), "{line}");
        drop(lines);
        emit(&sink, "/unseen", "GET", Some("r"));
        recorder.stop();
    }
}
