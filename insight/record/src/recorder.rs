//! The control side: one thread that writes the log, and everything that can be asked.

use crate::exposition::{Gauges, expose};
use crate::series::{AllValues, WorkerSeries};
use crate::sink::{Ring, SinkSeed, Wire, ring};
use crate::summary::summary;
use crate::writer::LogWriter;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the writer looks at the rings.
const TICK: Duration = Duration::from_millis(50);
/// Every how many ticks it looks whether the file is still where it was.
const CHECK_EVERY: u32 = 20;
/// How long the writer may take for what is under way when it is stopped.
const STOP_DEADLINE: Duration = Duration::from_secs(2);
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

#[derive(Default)]
struct Wishes {
    settings: Option<RecordSettings>,
    reopen: bool,
    stop: bool,
}

struct Shared {
    series: Vec<Arc<WorkerSeries>>,
    wire: Arc<Wire>,
    wishes: Mutex<Wishes>,
    status: Mutex<LogStatus>,
    watchers: Mutex<Vec<SyncSender<String>>>,
}

/// The writer's thread, and what tells that it has ended: nothing is ever sent, but the sender is gone then.
struct Writing {
    thread: JoinHandle<()>,
    end: Receiver<()>,
}

/// What was recorded, and the thread that writes it. The thread ends when this is dropped.
pub struct Recorder {
    shared: Arc<Shared>,
    writing: Mutex<Option<Writing>>,
}

impl Recorder {
    /// Starts the writer, and makes a sink for each worker.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub fn start(workers: usize, settings: &RecordSettings) -> std::io::Result<(Self, Vec<SinkSeed>)> {
        let writer = LogWriter::new(&settings.access_log);
        let wire = Arc::new(Wire { is_wanted: AtomicBool::new(writer.is_on()), writer: OnceLock::new() });
        let values = AllValues::default();
        let series: Vec<_> = (0..workers).map(|_| Arc::new(WorkerSeries::new(&values))).collect();
        let (seeds, rings): (Vec<SinkSeed>, Vec<Ring>) = series.iter().map(|series| ring(series, &wire)).unzip();
        let shared =
            Arc::new(Shared { series, wire, wishes: Mutex::default(), status: Mutex::default(), watchers: Mutex::default() });
        let own = Arc::clone(&shared);
        let (running, end) = sync_channel(0);
        let thread = std::thread::Builder::new().name("record-writer".to_owned()).spawn(move || {
            let _until_the_end = running;
            write(&own, &rings, writer);
        })?;
        shared.wire.writer.get_or_init(|| thread.thread().clone());
        Ok((Self { shared, writing: Mutex::new(Some(Writing { thread, end })) }, seeds))
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
        self.shared.wire.is_wanted.store(true, Ordering::Relaxed);
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

    /// Writes what is under way and ends the writer. A writer whose target takes nothing and says nothing, such as a pipe that nobody
    /// reads, is left behind after two seconds: the process must be able to end.
    pub fn stop(&self) {
        self.ask_to_stop();
        if let Some(Writing { thread, end }) = lock(&self.writing).take() {
            let ended = end.recv_timeout(STOP_DEADLINE);
            if ended != Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let joined = thread.join();
                debug_assert!(joined.is_ok(), "the writer does not panic");
            }
        }
    }

    fn ask_to_stop(&self) {
        lock(&self.shared.wishes).stop = true;
        self.wake();
    }

    fn wake(&self) {
        if let Some(writer) = self.shared.wire.writer.get() {
            writer.unpark();
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.ask_to_stop();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The writer's life.
fn write(shared: &Shared, rings: &[Ring], mut writer: LogWriter) {
    let mut ticks = 0_u32;
    loop {
        let wishes = std::mem::take(&mut *lock(&shared.wishes));
        let is_watched = !lock(&shared.watchers).is_empty();
        for ring in rings {
            ring.drain(|record| {
                writer.push(record);
                if is_watched {
                    tell(&shared.watchers, &summary(record));
                }
            });
        }
        writer.flush();
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
        if wishes.stop {
            writer.finish();
        }
        let is_wanted = writer.is_on() || !lock(&shared.watchers).is_empty();
        shared.wire.is_wanted.store(is_wanted, Ordering::Relaxed);
        *lock(&shared.status) = LogStatus { lost_lines: writer.lost_lines, trouble: writer.trouble.clone() };
        if wishes.stop {
            return;
        }
        std::thread::park_timeout(TICK);
    }
}

/// Tells watchers a line, and forgets those who have left.
fn tell(watchers: &Mutex<Vec<SyncSender<String>>>, line: &str) {
    lock(watchers).retain(|watcher| !matches!(watcher.try_send(line.to_owned()), Err(TrySendError::Disconnected(_))));
}
