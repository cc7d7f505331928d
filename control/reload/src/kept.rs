//! What defends the gateway at run time, kept in files beside the socket so that a restart and an upgrade know of it: a line of JSON for each
//! change.
//!
//! The version before and the one that has taken over may both be there: each appends what it has made and takes over what the other has
//! appended. A lock on the file orders what they write. What is damaged is told, left out, and written anew: what is lost costs little
//! beside a gateway that does not start.

use portcullis_model::Clock;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The largest file that is read: some four times what all there may be take.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How often what was made is written down, and it is looked whether somebody else has.
const WRITE_EVERY: Duration = Duration::from_millis(200);
/// So many lines that say nothing any more are kept before the file is written anew.
pub(crate) const STALE_LINES_MAX: usize = 20_000;
/// How often a file is opened that was replaced in between.
const OPENS_MAX: usize = 8;

/// What a file is of.
pub(crate) trait Kept: Send + Sync + 'static {
    /// What one line is of.
    type Row;

    /// What they are called.
    const WORD: &'static str;

    /// What was made since this was asked last.
    fn take_changes(&self) -> Vec<Self::Row>;

    /// All that is in force or remembered; Unix seconds.
    fn list(&self, now: u64) -> Vec<Self::Row>;

    /// As a line, without its end.
    fn line(row: &Self::Row) -> io::Result<Vec<u8>>;

    /// Puts a line in force. Says whether it was understood.
    fn take(&self, line: &[u8], now: u64) -> bool;
}

/// What is known of the file: which one it is, how much of it has been read, and how many lines that was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    inode: u64,
    bytes: u64,
    lines: usize,
}

/// The file, and what is in force by it.
pub(crate) struct KeptFile<K> {
    path: PathBuf,
    pub(crate) clock: Clock,
    pub(crate) kept: K,
    known: Mutex<Known>,
}

impl<K: Kept> KeptFile<K> {
    /// Reads the file, if there is one, and puts in force what it says. `report` hears what is not understood.
    pub(crate) fn open(path: PathBuf, clock: Clock, kept: K, report: &dyn Fn(&str)) -> Self {
        let file = Self { path, clock, kept, known: Mutex::default() };
        if file.path.exists() {
            let read = file.locked(&mut file.known()).map(drop);
            read.unwrap_or_else(|error| report(&file.explain(&error)));
        }
        file
    }

    /// Keeps the file until what it gives is dropped. `told` hears of what was made, `report` what is wrong with the file.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub(crate) fn follow(
        self: &Arc<Self>,
        told: impl Fn(&[K::Row]) + Send + 'static,
        report: impl Fn(&str) + Send + 'static,
    ) -> io::Result<SyncSender<()>> {
        let (end, ended) = sync_channel::<()>(1);
        let file = Arc::clone(self);
        let work = move || {
            let mut trouble = String::new();
            loop {
                let last = ended.recv_timeout(WRITE_EVERY) != Err(RecvTimeoutError::Timeout);
                let made = file.kept.take_changes();
                if !made.is_empty() {
                    told(&made);
                }
                let problem = file.exchange(&made).err().map_or_else(String::new, |error| file.explain(&error));
                if problem != trouble && !problem.is_empty() {
                    report(&format!("{problem}; {} hold all the same, but may not outlive this process", K::WORD));
                }
                trouble = problem;
                if last {
                    return;
                }
            }
        };
        std::thread::Builder::new().name(K::WORD.to_owned()).spawn(work)?;
        Ok(end)
    }

    /// Writes a line, so that it is on the disk when this comes back.
    ///
    /// # Errors
    /// As a text for the operator.
    pub(crate) fn write(&self, line: io::Result<Vec<u8>>) -> Result<(), String> {
        let mut known = self.known();
        let written = line.and_then(|line| {
            let mut file = self.locked(&mut known)?;
            append(&mut file, &mut known, &[line], true)
        });
        written.map_err(|error| self.explain(&error))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn explain(&self, error: &io::Error) -> String {
        format!("{} are kept in `{}`: {error}", K::WORD, self.path.display())
    }

    /// Appends what was made, and takes over what somebody else has appended.
    pub(crate) fn exchange(&self, made: &[K::Row]) -> io::Result<()> {
        let mut known = self.known();
        if made.is_empty() {
            let found = match std::fs::metadata(&self.path) {
                Ok(found) => found,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            };
            if (found.ino(), found.len()) == (known.inode, known.bytes) {
                return Ok(());
            }
        }
        let mut file = self.locked(&mut known)?;
        append(&mut file, &mut known, &lines::<K>(made)?, false)?;
        let kept = self.kept.list(self.clock.unix_seconds());
        if known.lines > kept.len() + STALE_LINES_MAX {
            *known = self.write_anew(&kept)?;
        }
        Ok(())
    }

    /// The file, to be written by nobody else until it is dropped; what it says is in force.
    fn locked(&self, known: &mut Known) -> io::Result<File> {
        for _ in 0..OPENS_MAX {
            let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o640).open(&self.path)?;
            file.lock()?;
            // It may have been replaced while it was waited for.
            let Ok(named) = std::fs::metadata(&self.path) else { continue };
            let found = file.metadata()?;
            if named.ino() != found.ino() {
                continue;
            }
            if known.inode != found.ino() || found.len() < known.bytes {
                *known = Known { inode: found.ino(), ..Known::default() };
            }
            if found.len() > known.bytes {
                self.take_over(&mut file, known)?;
            }
            return Ok(file);
        }
        Err(io::Error::other("it is replaced again and again"))
    }

    /// Puts in force what is in the file behind what is known. What a crash has left of a line is cut off; a line that is not understood is told
    /// when all others are in force, and written away with the next new file.
    fn take_over(&self, file: &mut File, known: &mut Known) -> io::Result<()> {
        if file.metadata()?.len() > FILE_BYTES_MAX {
            file.set_len(0)?;
            *known = Known { inode: known.inode, ..Known::default() };
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it was too large, and was begun anew"));
        }
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(known.bytes))?;
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        file.set_len(known.bytes + whole as u64)?;
        let (now, mut damaged) = (self.clock.unix_seconds(), 0);
        for text in bytes.get(..whole).unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
            known.lines += 1;
            damaged += usize::from(!self.kept.take(text, now));
        }
        known.bytes += whole as u64;
        match damaged {
            0 => Ok(()),
            _ => {
                *known = self.write_anew(&self.kept.list(now))?;
                let text = format!("{damaged} lines were not understood and are left out");
                Err(io::Error::new(io::ErrorKind::InvalidData, text))
            }
        }
    }

    /// Writes a file that has these alone, in the place of the one that there is.
    fn write_anew(&self, kept: &[K::Row]) -> io::Result<Known> {
        let staged = self.path.with_extension(format!("new{}", std::process::id()));
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o640).open(&staged)?;
        let mut known = Known { inode: file.metadata()?.ino(), ..Known::default() };
        append(&mut file, &mut known, &lines::<K>(kept)?, true)?;
        std::fs::rename(&staged, &self.path)?;
        Ok(known)
    }
}

fn lines<K: Kept>(rows: &[K::Row]) -> io::Result<Vec<Vec<u8>>> {
    rows.iter().map(K::line).collect()
}

fn append(file: &mut File, known: &mut Known, lines: &[Vec<u8>], durable: bool) -> io::Result<()> {
    let mut bytes = Vec::new();
    for line in lines {
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
    }
    file.write_all(&bytes)?;
    if durable {
        file.sync_data()?;
    }
    known.bytes += bytes.len() as u64;
    known.lines += lines.len();
    Ok(())
}
