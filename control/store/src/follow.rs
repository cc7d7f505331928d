//! The thread that keeps journals equal: a connection that hears news, one that says them, and all over again when either is lost.

use crate::connection::{StoreSettings, told};
use crate::facts::{Board, StoreFacts, StoreState};
use crate::journal::{Journal, Line};
use crate::replies::{BEGIN, entries, news, scanned};
use portcullis_model::Clock;
use redis::aio::MultiplexedConnection;
use redis::{Value, cmd, pipe};
use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// How long the store holds an answer back while there is no news: so often it is known that it is there.
const HOLD: Duration = Duration::from_millis(400);
/// How often it is looked whether all is there that has been.
const COUNT_EVERY: Duration = Duration::from_secs(2);
/// Between two attempts; doubled up to the most, less up to a half by chance.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(5);
/// News that are taken at a time.
const NEWS_MAX: usize = 1000;
/// Entries that the log keeps, about; whoever was away longer compares everything.
const LOG_MAX: usize = 10_000;
/// Lines that a journal may have in the store, those included that only say that something is over.
const LINES_MAX: u64 = 300_000;
/// What may wait to be said.
const WAITING_MAX: usize = 64;
/// How long whoever has something to say waits until it is in the store.
const SAID_WITHIN: Duration = Duration::from_secs(2);

/// Hears what is worth telling the operator, a line at a time.
pub type StoreReport = Arc<dyn Fn(&str) + Send + Sync>;

/// What is kept equal.
pub type Journals = Arc<dyn Journal>;

/// Something to say, and who waits until it is said.
struct Said {
    line: Line,
    done: SyncSender<bool>,
}

/// The shared store. It ends when this is dropped.
pub struct Store {
    settings: Option<watch::Sender<Option<StoreSettings>>>,
    sayings: mpsc::Sender<Said>,
    board: Arc<Board>,
    thread: Option<JoinHandle<()>>,
}

impl Store {
    /// Starts the thread, which does nothing while there are no settings.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub fn start(journal: Journals, clock: Clock, report: StoreReport) -> io::Result<Self> {
        let (settings, changed) = watch::channel(None);
        let (sayings, said) = mpsc::channel(WAITING_MAX);
        let board = Arc::new(Board::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let follower = Follower { journal, clock, report, board: Arc::clone(&board), settings: changed, said };
        let work = move || runtime.block_on(follower.run());
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(work)?;
        Ok(Self { settings: Some(settings), sayings, board, thread: Some(thread) })
    }

    /// Uses the store of another configuration from now on, or none.
    pub fn use_settings(&self, next: Option<StoreSettings>) {
        let Some(settings) = &self.settings else { return };
        settings.send_if_modified(|now| {
            let is_same = now.as_ref().map(|one| one.digest) == next.as_ref().map(|one| one.digest);
            if !is_same {
                self.board.is(if next.is_some() { StoreState::Connecting } else { StoreState::Off });
                *now = next;
            }
            !is_same
        });
    }

    /// Waits, for so long at the most, until everything in it has been read or it is known to be away.
    pub fn wait(&self, within: Duration) {
        self.board.wait(within);
    }

    /// What is known of it.
    #[must_use]
    pub fn facts(&self) -> StoreFacts {
        self.board.facts()
    }

    /// Writes a line to the store, for every node; whether it is there. Waits for two seconds at the most, so it is nothing for a worker.
    #[must_use]
    pub fn say(&self, line: Line) -> bool {
        let (done, is_done) = sync_channel(1);
        self.sayings.try_send(Said { line, done }).is_ok() && is_done.recv_timeout(SAID_WITHIN).unwrap_or(false)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.settings = None;
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            debug_assert!(ended.is_ok(), "it ends by itself");
        }
    }
}

struct Follower {
    journal: Journals,
    clock: Clock,
    report: StoreReport,
    board: Arc<Board>,
    settings: watch::Receiver<Option<StoreSettings>>,
    said: mpsc::Receiver<Said>,
}

impl Follower {
    /// Until the store is dropped.
    async fn run(mut self) {
        let mut failures = 0_u32;
        loop {
            let now = self.settings.borrow_and_update().clone();
            let mut changed = self.settings.clone();
            let outcome = tokio::select! {
                gone = changed.changed() => {
                    failures = 0;
                    if gone.is_err() { return } else { continue }
                }
                outcome = self.session(now.as_ref(), &mut failures) => outcome,
            };
            let Some((settings, problem)) = now.as_ref().zip(outcome.err()) else { continue };
            if failures == 0 {
                let text = format!("the shared store at {} is away: {problem}; what is known here holds", settings.place());
                (self.report)(&text);
            }
            failures = failures.saturating_add(1);
            self.board.is(StoreState::Away(problem));
            self.rest(pause(failures)).await;
        }
    }

    /// Waits; whoever has something to say hears that it cannot be said.
    async fn rest(&mut self, pause: Duration) {
        let until = Instant::now() + pause;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                _gone_or_changed = self.settings.changed() => return,
                Some(said) = self.said.recv() => refuse(&said),
            }
        }
    }

    /// From a connection until it is lost, and why.
    async fn session(&mut self, settings: Option<&StoreSettings>, failures: &mut u32) -> Result<(), String> {
        let Some(settings) = settings else {
            while let Some(said) = self.said.recv().await {
                refuse(&said);
            }
            return std::future::pending().await;
        };
        let is_over = || settings.plaintext_until.is_some_and(|until| self.clock.unix_seconds() >= until);
        if is_over() {
            return Err("`danger_plaintext` has expired: it is not reached without encryption any more".to_owned());
        }
        let name = self.journal.name();
        let names = Names { table: format!("{{{}}}:{name}", settings.prefix), log: format!("{{{}}}:{name}:log", settings.prefix) };
        let (hearing, mut saying) = tokio::try_join!(settings.connect(), settings.connect())?;
        let mut hearing = Hearing { connection: hearing, names: &names, seen: HashSet::new(), last: BEGIN.to_owned() };
        let garbage = hearing.compare(&*self.journal, &self.board, &mut saying).await?;
        if garbage > 0 {
            (self.report)(&format!("{garbage} lines in the shared store are not understood, and do not count"));
        }
        if *failures > 0 {
            (self.report)(&format!("the shared store at {} is there again", settings.place()));
        }
        *failures = 0;
        self.board.is(StoreState::Reachable);
        let said = &mut self.said;
        let say = async {
            while let Some(Said { line, done }) = said.recv().await {
                let outcome = put(&mut saying, &names, std::slice::from_ref(&line)).await;
                let _nobody_waits = done.try_send(outcome.is_ok());
                outcome?;
            }
            std::future::pending().await
        };
        tokio::select! {
            outcome = hearing.follow(&*self.journal, &self.board, &self.report, &is_over) => outcome,
            outcome = say => outcome,
        }
    }
}

fn refuse(said: &Said) {
    let _nobody_waits = said.done.try_send(false);
}

/// Longer with each failure, and not at the same time on every node.
fn pause(failures: u32) -> Duration {
    let whole = AGAIN_AFTER.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(AGAIN_AFTER_MAX);
    let chance = std::hash::BuildHasher::hash_one(&std::collections::hash_map::RandomState::new(), failures) % 512;
    whole.mul_f64(1.0 - chance as f64 / 1024.0)
}

/// The names of a journal in the store. The braces keep both on one node of a cluster.
struct Names {
    /// A hash of all lines by their fields.
    table: String,
    /// The stream of what has changed.
    log: String,
}

/// Writes lines, to the table and to the log, both or none.
async fn put(connection: &mut MultiplexedConnection, names: &Names, lines: &[Line]) -> Result<(), String> {
    for some in lines.chunks(NEWS_MAX) {
        let mut both = pipe();
        both.atomic();
        for Line { field, text } in some {
            both.cmd("HSET").arg(&names.table).arg(field).arg(text).ignore();
            let add = both.cmd("XADD").arg(&names.log).arg("MAXLEN").arg("~").arg(LOG_MAX).arg("*");
            add.arg("field").arg(field).arg("line").arg(text).ignore();
        }
        both.query_async::<()>(connection).await.map_err(|error| told(&error))?;
    }
    Ok(())
}

/// The connection that hears news.
struct Hearing<'n> {
    connection: MultiplexedConnection,
    names: &'n Names,
    /// Which fields are there, to notice when some are not any more.
    seen: HashSet<String>,
    /// The last entry of the log that was heard.
    last: String,
}

impl Hearing<'_> {
    async fn ask(&mut self, command: &redis::Cmd) -> Result<Value, String> {
        command.query_async(&mut self.connection).await.map_err(|error| told(&error))
    }

    async fn count(&mut self) -> Result<u64, String> {
        let names = self.names;
        match self.ask(cmd("HLEN").arg(&names.table)).await? {
            Value::Int(count) => u64::try_from(count).map_err(|_| crate::replies::unexpected()),
            _ => Err(crate::replies::unexpected()),
        }
    }

    /// Reads everything, compares, and says what is missing there; gives how much of it was not understood. The place in the log comes
    /// first, so that nothing is missed between.
    async fn compare(&mut self, journal: &dyn Journal, board: &Board, saying: &mut MultiplexedConnection) -> Result<u64, String> {
        let (begun, names) = (Instant::now(), self.names);
        let latest = entries(self.ask(cmd("XREVRANGE").arg(&names.log).arg("+").arg("-").arg("COUNT").arg(1)).await?)?;
        self.last = latest.last.unwrap_or_else(|| BEGIN.to_owned());
        if self.count().await? > LINES_MAX {
            return Err(format!("`{}` has more than {LINES_MAX} lines; something else writes there", names.table));
        }
        let (mut cursor, mut found, mut garbage) = ("0".to_owned(), Vec::new(), 0);
        loop {
            let scan = self.ask(cmd("HSCAN").arg(&names.table).arg(&cursor).arg("COUNT").arg(NEWS_MAX)).await?;
            let (next, part) = scanned(scan)?;
            garbage += part.garbage;
            found.extend(part.lines);
            if found.len() as u64 > LINES_MAX.saturating_mul(2) {
                return Err(format!("`{}` has no end", names.table));
            }
            cursor = next;
            if cursor == "0" {
                break;
            }
        }
        self.seen = found.iter().map(|line| line.field.clone()).collect();
        let reconciled = journal.reconcile(found)?;
        put(saying, names, &reconciled.publish).await?;
        for some in reconciled.remove.chunks(NEWS_MAX) {
            self.ask(cmd("HDEL").arg(&names.table).arg(some)).await?;
            self.seen.retain(|field| !some.contains(field));
        }
        let garbage = garbage + reconciled.garbage;
        board.has_garbage(garbage);
        board.known_at(begun);
        journal.known_at(begun);
        Ok(garbage)
    }

    /// Hears news until something is wrong.
    async fn follow(
        &mut self,
        journal: &dyn Journal,
        board: &Board,
        report: &StoreReport,
        is_over: &impl Fn() -> bool,
    ) -> Result<(), String> {
        let (names, mut counted, mut differed) = (self.names, Instant::now(), false);
        while !is_over() {
            let begun = Instant::now();
            let mut ask = cmd("XREAD");
            ask.arg("COUNT").arg(NEWS_MAX).arg("BLOCK").arg(HOLD.as_millis() as u64);
            let heard = news(self.ask(ask.arg("STREAMS").arg(&names.log).arg(&self.last)).await?)?;
            let (is_quiet, mut garbage) = (heard.last.is_none(), heard.garbage);
            self.last = heard.last.unwrap_or_else(|| std::mem::take(&mut self.last));
            if !heard.lines.is_empty() {
                let mut fields: Vec<String> = heard.lines.iter().map(|line| line.field.clone()).collect();
                let not_understood = journal.take(heard.lines)?;
                garbage += not_understood.len() as u64;
                // What is not understood need not be in the table.
                for at in not_understood {
                    fields.get_mut(at).into_iter().for_each(String::clear);
                }
                self.seen.extend(fields.into_iter().filter(|field| !field.is_empty()));
            }
            if garbage > 0 {
                board.has_garbage(garbage);
                report(&format!("{garbage} lines in the shared store are not understood, and do not count"));
            }
            if is_quiet && counted.elapsed() >= COUNT_EVERY {
                counted = Instant::now();
                let differs = self.count().await? != self.seen.len() as u64;
                if differs && differed {
                    return Err("it does not have what it had; everything is compared anew".to_owned());
                }
                differed = differs;
            }
            board.known_at(begun);
            journal.known_at(begun);
        }
        Err("`danger_plaintext` has expired".to_owned())
    }
}
