//! When API keys were used last, kept on disk: noted by workers in memory, written by a thread of its own every few seconds.
//!
//! The version before and the one that has taken over from it may both be there. What is written is what either knows: of each key the
//! later use counts. A lock on the folder orders them.

use portcullis_control_config::Plan;
use portcullis_engines_keys::{Idled, KeyUses, USES_MAX};
use portcullis_gateway_policy::{KeyStorePlan, StatePool};
use portcullis_model::Clock;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often uses are written, where there are new ones: as much is lost when the machine fails.
const WRITE_EVERY: Duration = Duration::from_secs(10);
/// How often it is looked whether keys were refused for being idle.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// The longest line.
const LINE_BYTES_MAX: u64 = 512;
/// The form of the files.
const VERSION: u32 = 1;

/// What the operator is told.
pub enum KeyUseEvent<'e> {
    /// A key of a store was refused, for the first time, because nobody had used it for too long.
    Idle(&'e str, &'e Idled),
    /// Uses cannot be kept.
    Problem(&'e str),
}

/// When the keys of a store were used last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreUses {
    /// The store.
    pub store: Arc<KeyStorePlan>,
    /// Since when uses are noted, in seconds since the Unix epoch.
    pub since: u64,
    /// The keys that were used, by id, and when they were last.
    pub used: Vec<(Box<str>, u64)>,
}

/// A store in force.
#[derive(Clone)]
pub(crate) struct Kept {
    store: Arc<KeyStorePlan>,
    uses: Arc<KeyUses>,
    /// The sum of what the file says: it grows with every use.
    written: u64,
    /// Which file that was.
    seen: Option<(u64, u64)>,
}

/// The files, and whose uses go into them.
pub struct KeyUseLog {
    folder: PathBuf,
    clock: Clock,
    kept: Mutex<Vec<Kept>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    portcullis_key_uses: u32,
    since: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: Box<str>,
    used: u64,
}

impl KeyUseLog {
    /// Files in this folder, which is made when there is something to keep.
    #[must_use]
    pub fn new(folder: PathBuf, clock: Clock) -> Arc<Self> {
        Arc::new(Self { folder, clock, kept: Mutex::default() })
    }

    /// The stores of a plan, with what was known of each before. To be called before any of them is asked for a key.
    ///
    /// # Errors
    /// When there is a file and it is not understood: nobody is let in whose key may be idle.
    pub(crate) fn prepare(&self, plan: &Plan, states: &StatePool) -> Result<Vec<Kept>, String> {
        let kept = |store: &Arc<KeyStorePlan>| {
            let uses = store.uses(states);
            if uses.since().is_none() {
                let (since, before) = self.read(&store.name)?.unwrap_or_else(|| (self.clock.unix_seconds(), Vec::new()));
                uses.open(since, before);
            }
            Ok(Kept { store: Arc::clone(store), uses, written: 0, seen: None })
        };
        plan.identity.api_keys.iter().map(kept).collect()
    }

    /// These are in force from now on. What is known of others is written once more.
    pub(crate) fn keep(&self, next: Vec<Kept>) -> Result<(), String> {
        let mut kept = self.kept();
        let written = self.write_each(&mut kept);
        *kept = next;
        written
    }

    /// What is known of every store in force.
    #[must_use]
    pub fn all(&self) -> Vec<StoreUses> {
        let of = |one: &Kept| StoreUses {
            store: Arc::clone(&one.store),
            since: one.uses.since().unwrap_or_default(),
            used: one.uses.all(),
        };
        self.kept().clone().iter().map(of).collect()
    }

    /// Keeps uses on disk until what it gives is dropped, and then for a last time. `report` hears of idle keys and of what is wrong.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub fn follow(self: &Arc<Self>, report: impl Fn(&KeyUseEvent<'_>) + Send + 'static) -> io::Result<Following> {
        let (end, ended) = sync_channel::<()>(1);
        let log = Arc::clone(self);
        let work = move || {
            let (mut told, mut waited) = (String::new(), Duration::ZERO);
            loop {
                let ends = ended.recv_timeout(LOOK_EVERY) != Err(RecvTimeoutError::Timeout);
                log.tell_idle(&report);
                waited += LOOK_EVERY;
                if ends || waited >= WRITE_EVERY {
                    waited = Duration::ZERO;
                    let problem = log.write_all().err().unwrap_or_default();
                    if problem != told && !problem.is_empty() {
                        report(&KeyUseEvent::Problem(&problem));
                    }
                    told = problem;
                }
                if ends {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("key-uses".to_owned()).spawn(work)?;
        Ok(Following { end: Some(end), thread: Some(thread) })
    }

    fn tell_idle(&self, report: &impl Fn(&KeyUseEvent<'_>)) {
        for one in self.kept().clone() {
            one.uses.idled().iter().for_each(|idled| report(&KeyUseEvent::Idle(&one.store.name, idled)));
        }
    }

    fn write_all(&self) -> Result<(), String> {
        self.write_each(&mut self.kept())
    }

    /// Writes all that can be written, and tells what was wrong with the first that cannot.
    fn write_each(&self, kept: &mut [Kept]) -> Result<(), String> {
        let problems: Vec<String> = kept.iter_mut().filter_map(|one| self.write(one).err()).collect();
        problems.into_iter().next().map_or(Ok(()), Err)
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, store: &str) -> PathBuf {
        self.folder.join(format!("{store}.jsonl"))
    }

    /// What the file of a store says; nothing when there is none.
    fn read(&self, store: &str) -> Result<Option<Known>, String> {
        let (path, now) = (self.path(store), self.clock.unix_seconds());
        let help = "if it cannot be repaired, take it away: keys are then counted as unused since now";
        read(&path, now).map_err(|error| format!("when keys were used last is kept in `{}`: {error}; {help}", path.display()))
    }

    /// Writes what is known of a store, where that is more than the file says, and takes what another process has written.
    fn write(&self, one: &mut Kept) -> Result<(), String> {
        let path = self.path(&one.store.name);
        if sum(&one.uses.all()) == one.written && one.seen == seen(&path) {
            return Ok(());
        }
        let described = |error: io::Error| format!("when keys were used last is kept in `{}`: {error}", path.display());
        fs::create_dir_all(&self.folder).map_err(described)?;
        let folder = File::open(&self.folder).map_err(described)?;
        folder.lock().map_err(described)?;
        let before = self.read(&one.store.name)?;
        let since = before.as_ref().map(|(since, _)| *since).into_iter().chain(one.uses.since()).min().unwrap_or_default();
        let before = before.map(|(_, before)| before).unwrap_or_default();
        one.written = sum(&before);
        one.uses.merge(before);
        let mut used = one.uses.all();
        if sum(&used) == one.written {
            one.seen = seen(&path);
            return Ok(());
        }
        if used.len() > USES_MAX {
            used.sort_unstable_by_key(|(_, at)| std::cmp::Reverse(*at));
            used.truncate(USES_MAX);
        }
        used.sort_unstable();
        replace(&path, since, &used).and_then(|()| folder.sync_all()).map_err(described)?;
        (one.written, one.seen) = (sum(&used), seen(&path));
        Ok(())
    }
}

/// The writing goes on until this is dropped, which waits for the last.
pub struct Following {
    end: Option<SyncSender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Following {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// Since when uses were noted, and the last of each key.
type Known = (u64, Vec<(Box<str>, u64)>);

fn sum(used: &[(Box<str>, u64)]) -> u64 {
    used.iter().fold(used.len() as u64, |sum, (_, at)| sum.wrapping_add(*at))
}

/// What tells a file from the one that somebody else has put there.
fn seen(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|found| (found.ino(), found.len()))
}

fn read(path: &Path, now: u64) -> io::Result<Option<Known>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut lines = Lines { from: BufReader::new(file.take(FILE_BYTES_MAX)), number: 0 };
    let header: Option<Header> = lines.next()?;
    let header = header.filter(|header| header.portcullis_key_uses == VERSION);
    let since = header.ok_or_else(|| wrong("its first line is not that of such a file"))?.since;
    let mut used = Vec::new();
    while let Some(line) = lines.next::<Line>()? {
        if used.len() == USES_MAX {
            return Err(wrong("it has too many lines"));
        }
        // A clock that was ahead must not keep a key alive.
        used.push((line.id, line.used.min(now)));
    }
    Ok(Some((since.min(now), used)))
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

struct Lines<R> {
    from: R,
    number: usize,
}

impl<R: BufRead> Lines<R> {
    fn next<T: serde::de::DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let mut line = Vec::new();
        self.from.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        let whole = line.strip_suffix(b"\n").and_then(|line| serde_json::from_slice(line).ok());
        whole.map(Some).ok_or_else(|| wrong(&format!("line {} is not understood", self.number)))
    }
}

fn replace(path: &Path, since: u64, used: &[(Box<str>, u64)]) -> io::Result<()> {
    let beside = path.with_extension(format!("new{}", std::process::id()));
    let mut options = OpenOptions::new();
    let mut out = BufWriter::new(options.write(true).create(true).truncate(true).mode(0o640).open(&beside)?);
    put(&mut out, &Header { portcullis_key_uses: VERSION, since })?;
    for (id, used) in used {
        put(&mut out, &Line { id: id.clone(), used: *used })?;
    }
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_data()?;
    fs::rename(&beside, path)
}

fn put(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line).map_err(io::Error::other)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests;
