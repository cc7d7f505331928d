//! What has been revoked, kept in a file: a line of JSON for each change, on the disk before anybody is told that it is done.
//!
//! The version before and the one that has taken over from it may both be there: each follows what is in the file, so that what the one
//! revokes ends what still goes on in the other. A lock on the file orders what they write.

use crate::revocation::{Revocation, Target};
use portcullis_gateway_policy::{Reach, Revocations};
use portcullis_model::{Clock, Mark};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many revocations may be in force.
pub const REVOCATIONS_MAX: usize = 100_000;
/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// How often it is looked whether somebody else has written.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// So many lines that say nothing any more are kept before the file is written anew.
const STALE_LINES_MAX: usize = 10_000;
/// How often a file is opened that was replaced in between.
const OPENS_MAX: usize = 8;

/// What is known of a file: another one, or another length, means that somebody has written.
type Known = (u64, u64);

#[derive(Default)]
struct State {
    entries: BTreeMap<Target, (Revocation, Mark)>,
    known: Option<Known>,
    /// Lines in the file.
    lines: usize,
}

/// The file, and what is in force by it.
pub struct RevocationLog {
    path: PathBuf,
    clock: Clock,
    revocations: Arc<Revocations>,
    state: Mutex<State>,
}

impl RevocationLog {
    /// Reads the file, if there is one, and puts in force what it says.
    ///
    /// # Errors
    /// When there is a file and it is not understood: nobody is let in who may have been revoked.
    pub fn open(path: PathBuf, clock: Clock, revocations: Arc<Revocations>) -> Result<Arc<Self>, String> {
        let log = Self { path, clock, revocations, state: Mutex::default() };
        let opened = log.take_in_hand();
        opened.map_err(|error| log.explain(&error))?;
        Ok(Arc::new(log))
    }

    /// Keeps following the file until what it gives is dropped. `report` hears what is wrong with it.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub fn follow(self: &Arc<Self>, report: impl Fn(&str) + Send + 'static) -> io::Result<SyncSender<()>> {
        let (end, ended) = sync_channel::<()>(1);
        let log = Arc::clone(self);
        let work = move || {
            let mut told = String::new();
            while ended.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                let problem = log.look().err().map_or_else(String::new, |error| log.explain(&error));
                if problem != told && !problem.is_empty() {
                    report(&format!("{problem}; what was revoked before is in force"));
                }
                told = problem;
            }
        };
        std::thread::Builder::new().name("revocations".to_owned()).spawn(work)?;
        Ok(end)
    }

    /// What is in force.
    #[must_use]
    pub fn list(&self) -> Vec<Revocation> {
        let now = self.clock.unix_seconds();
        let state = self.state();
        state.entries.values().map(|(entry, _)| entry).filter(|entry| is_in_force(entry, now)).cloned().collect()
    }

    /// Revokes, or lifts what was revoked: on the disk, and then in force for every request that begins.
    ///
    /// # Errors
    /// For the operator: when there are too many, there is nothing to lift, or the disk does not take it. Nothing has changed then.
    pub fn add(&self, change: Revocation) -> Result<(), String> {
        let mut state = self.state();
        let (mut file, created) = self.locked(&mut state).map_err(|error| self.explain(&error))?;
        let now = self.clock.unix_seconds();
        state.entries.retain(|_, (entry, _)| is_in_force(entry, now));
        let known = state.entries.contains_key(&change.target);
        if change.lifted && !known {
            return Err("nothing of the kind is revoked; `portcullis revocations` shows what is".to_owned());
        }
        if !change.lifted && !known && state.entries.len() >= REVOCATIONS_MAX {
            let text = "revocations are in force, as many as there may be; lift some, or give those to come an earlier `--until`";
            return Err(format!("{REVOCATIONS_MAX} {text}"));
        }
        let bytes = line(&change).map_err(|error| self.explain(&error))?;
        let written = append(&mut file, &bytes).and_then(|()| if created { self.sync_folder() } else { Ok(()) });
        written.map_err(|error| self.explain(&error))?;
        state.lines += 1;
        state.known = known_of(&file).ok();
        take(&mut state.entries, change);
        self.put_in_force(&state, now);
        Ok(())
    }

    /// Takes changes that other nodes have made, or that they have heard of from here, in their order: on the disk, and then in force. What
    /// was revoked here holds until they have heard of it, whatever they say meanwhile.
    ///
    /// # Errors
    /// When there are too many, or the disk does not take them; some may be in force then.
    pub(crate) fn take_shared(&self, changes: Vec<Revocation>) -> Result<(), String> {
        let mut state = self.state();
        let (mut file, created) = self.locked(&mut state).map_err(|error| self.explain(&error))?;
        let (now, mut bytes, mut count) = (self.clock.unix_seconds(), Vec::new(), 0);
        for mut change in changes {
            change.shared = true;
            let known = state.entries.get(&change.target).map(|(known, _)| known);
            let is_news = match known {
                Some(known) if !known.shared => change.is_of(known),
                Some(known) => *known != change,
                None => !change.lifted && is_in_force(&change, now),
            };
            if !is_news {
                continue;
            }
            if known.is_none() && state.entries.len() >= REVOCATIONS_MAX {
                state.known = None;
                return Err(format!("{REVOCATIONS_MAX} revocations are in force here, as many as there may be; lift some"));
            }
            bytes.extend(line(&change).map_err(|error| self.explain(&error))?);
            count += 1;
            take(&mut state.entries, change);
        }
        if count == 0 {
            return Ok(());
        }
        let written = append(&mut file, &bytes).and_then(|()| if created { self.sync_folder() } else { Ok(()) });
        if let Err(error) = written {
            // What is on the disk counts, and is read again.
            state.known = None;
            return Err(self.explain(&error));
        }
        state.lines += count;
        state.known = known_of(&file).ok();
        self.put_in_force(&state, now);
        Ok(())
    }

    /// What is in force here, by what it is about; to be compared with what others have.
    pub(crate) fn in_force(&self) -> BTreeMap<Target, Revocation> {
        self.list().into_iter().map(|entry| (entry.target.clone(), entry)).collect()
    }

    /// When everything that others have revoked was known, for routes that ask.
    pub(crate) fn known_at(&self, at: tokio::time::Instant) {
        self.revocations.known_at(at);
    }

    /// The time, in Unix seconds.
    pub(crate) fn now(&self) -> u64 {
        self.clock.unix_seconds()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn explain(&self, error: &io::Error) -> String {
        format!("what has been revoked is kept in `{}`: {error}", self.path.display())
    }

    /// Reads the file as the first to do so, and writes it anew when most of it says nothing any more.
    fn take_in_hand(&self) -> io::Result<()> {
        if self.path.try_exists()? {
            let mut state = self.state();
            let (_locked, _) = self.locked(&mut state)?;
            let now = self.clock.unix_seconds();
            state.entries.retain(|_, (entry, _)| is_in_force(entry, now));
            if state.lines > state.entries.len() + STALE_LINES_MAX {
                state.known = Some(self.write_anew(state.entries.values().map(|(entry, _)| entry))?);
                state.lines = state.entries.len();
            }
            self.put_in_force(&state, now);
        }
        Ok(())
    }

    /// Looks whether somebody else has written. A file that is gone changes nothing.
    fn look(&self) -> io::Result<()> {
        let mut state = self.state();
        let found = match std::fs::metadata(&self.path) {
            Ok(found) => Some((found.ino(), found.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if found.is_none() || found == state.known {
            return Ok(());
        }
        let mut file = File::open(&self.path)?;
        read(&mut file, &mut state)?;
        self.put_in_force(&state, self.clock.unix_seconds());
        Ok(())
    }

    /// The file, to be written by nobody else until it is dropped, with `state` brought up to it. What a crash has left of a line that was
    /// never done is cut off. Says whether it is new.
    fn locked(&self, state: &mut State) -> io::Result<(File, bool)> {
        for _ in 0..OPENS_MAX {
            let created = !self.path.try_exists()?;
            let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o640).open(&self.path)?;
            file.lock()?;
            // It may have been replaced while it was waited for.
            let Ok(named) = std::fs::metadata(&self.path) else { continue };
            let known = known_of(&file)?;
            if named.ino() != known.0 {
                continue;
            }
            if known.1 == 0 {
                // A file that was taken away: what it said holds.
                for (entry, _) in state.entries.values() {
                    file.write_all(&line(entry)?)?;
                }
                (state.known, state.lines) = (Some(known_of(&file)?), state.entries.len());
            } else if state.known != Some(known) {
                let whole = read(&mut file, state)?;
                file.set_len(whole)?;
                state.known = Some(known_of(&file)?);
            }
            return Ok((file, created));
        }
        Err(io::Error::other("it is replaced again and again"))
    }

    /// Writes a file that has these lines alone, in the place of the one that there is.
    fn write_anew<'e>(&self, entries: impl Iterator<Item = &'e Revocation>) -> io::Result<Known> {
        let staged = self.path.with_extension(format!("new{}", std::process::id()));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&staged)?;
        for entry in entries {
            file.write_all(&line(entry)?)?;
        }
        file.sync_all()?;
        std::fs::rename(&staged, &self.path)?;
        self.sync_folder()?;
        known_of(&file)
    }

    /// A name is durable only when its folder is.
    fn sync_folder(&self) -> io::Result<()> {
        File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all()
    }

    fn put_in_force(&self, state: &State, now: u64) {
        let reach = |entry: &Revocation| Reach {
            issued_until: entry.issued_until.unwrap_or(u64::MAX),
            until: entry.until.unwrap_or(u64::MAX),
        };
        let in_force = state.entries.values().filter(|(entry, _)| is_in_force(entry, now));
        self.revocations.replace(in_force.map(|(entry, mark)| (*mark, reach(entry))).collect());
    }
}

fn is_in_force(entry: &Revocation, now: u64) -> bool {
    entry.until.is_none_or(|until| now < until)
}

fn known_of(file: &File) -> io::Result<Known> {
    file.metadata().map(|found| (found.ino(), found.len()))
}

fn line(entry: &Revocation) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(entry).map_err(io::Error::other)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn append(file: &mut File, lines: &[u8]) -> io::Result<()> {
    let before = file.metadata()?.len();
    let written = file.write_all(lines).and_then(|()| file.sync_data());
    if written.is_err() {
        // What is not done must not be found later. Where even that fails, the next one to write finds a line that has no end.
        let _as_it_was = file.set_len(before);
    }
    written
}

fn take(entries: &mut BTreeMap<Target, (Revocation, Mark)>, change: Revocation) {
    if change.lifted {
        entries.remove(&change.target);
    } else {
        let mark = change.target.mark();
        entries.insert(change.target.clone(), (change, mark));
    }
}

/// Reads a file from its begin to its last whole line, and gives how long that is.
fn read(file: &mut File, state: &mut State) -> io::Result<u64> {
    let (inode, length) = known_of(file)?;
    if length > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too large"));
    }
    let mut bytes = Vec::new();
    io::Seek::rewind(file)?;
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let (mut entries, mut lines) = (BTreeMap::new(), 0);
    for text in bytes.get(..whole).unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
        lines += 1;
        let change = serde_json::from_slice(text);
        let unread = |error| io::Error::new(io::ErrorKind::InvalidData, format!("line {lines} is not understood ({error})"));
        take(&mut entries, change.map_err(unread)?);
    }
    *state = State { entries, known: Some((inode, whole as u64)), lines };
    Ok(whole as u64)
}

#[cfg(test)]
mod tests;
