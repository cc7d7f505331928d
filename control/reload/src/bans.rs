//! Bans, kept in a file beside the socket so that a restart and an upgrade know of them: a line of JSON for each change.
//!
//! The version before and the one that has taken over may both be there: each appends what it has banned and takes over what the other has
//! appended. A lock on the file orders what they write. What is damaged is told, left out, and written anew: a ban that is lost costs little
//! beside a gateway that does not start.

use portcullis_gateway_policy::{Ban, ClientNetwork, Defence};
use portcullis_model::{Clock, Reason};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The largest file that is read: some four times what all bans there may be take.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How often bans are written down, and it is looked whether somebody else has.
const WRITE_EVERY: Duration = Duration::from_millis(200);
/// So many lines that say nothing any more are kept before the file is written anew.
const STALE_LINES_MAX: usize = 20_000;
/// How often a file is opened that was replaced in between.
const OPENS_MAX: usize = 8;

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    network: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    lifted: bool,
    /// For ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
    #[serde(default)]
    remembered_until: u64,
    #[serde(default)]
    level: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    unix_seconds: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Line {
    fn of(network: ClientNetwork, ban: &Ban) -> Self {
        Self {
            network: network.to_string(),
            lifted: false,
            until: (ban.until != u64::MAX).then_some(ban.until),
            remembered_until: ban.remembered_until,
            level: ban.level,
            cause: ban.cause.map(|cause| cause.code().to_owned()),
            unix_seconds: ban.since,
            uid: ban.uid,
            reason: ban.reason.as_deref().map(str::to_owned),
        }
    }

    fn lifting(network: ClientNetwork, uid: u32, unix_seconds: u64) -> Self {
        let network = network.to_string();
        let (until, remembered_until, level, cause, reason) = (None, 0, 0, None, None);
        Self { network, lifted: true, until, remembered_until, level, cause, unix_seconds, uid: Some(uid), reason }
    }

    fn ban(&self) -> Ban {
        let cause = self.cause.as_deref().and_then(|code| Reason::ALL.iter().find(|reason| reason.code() == code)).copied();
        Ban {
            until: self.until.unwrap_or(u64::MAX),
            remembered_until: self.remembered_until,
            level: self.level,
            cause,
            since: self.unix_seconds,
            uid: self.uid,
            reason: self.reason.as_deref().map(Arc::from),
        }
    }

    fn written(&self) -> io::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self).map_err(io::Error::other)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

/// What is known of the file: which one it is, how much of it has been read, and how many lines that was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    inode: u64,
    bytes: u64,
    lines: usize,
}

/// The file, and the bans that are in force by it.
pub struct BanLog {
    path: PathBuf,
    clock: Clock,
    defence: Arc<Defence>,
    known: Mutex<Known>,
}

impl BanLog {
    /// Reads the file, if there is one, and puts in force what it says. `report` hears what is not understood.
    #[must_use]
    pub fn open(path: PathBuf, clock: Clock, defence: Arc<Defence>, report: &dyn Fn(&str)) -> Arc<Self> {
        let log = Self { path, clock, defence, known: Mutex::default() };
        if log.path.exists() {
            let read = log.locked(&mut log.known()).map(drop);
            read.unwrap_or_else(|error| report(&log.explain(&error)));
        }
        Arc::new(log)
    }

    /// Keeps the file until what it gives is dropped. `told` hears of each ban that offences have made, `report` what is wrong with the file.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub fn follow(
        self: &Arc<Self>,
        told: impl Fn(&[(ClientNetwork, Ban)]) + Send + 'static,
        report: impl Fn(&str) + Send + 'static,
    ) -> io::Result<SyncSender<()>> {
        let (end, ended) = sync_channel::<()>(1);
        let log = Arc::clone(self);
        let work = move || {
            let mut trouble = String::new();
            loop {
                let last = ended.recv_timeout(WRITE_EVERY) != Err(RecvTimeoutError::Timeout);
                let made = log.made();
                if !made.is_empty() {
                    told(&made);
                }
                let problem = log.exchange(&made).err().map_or_else(String::new, |error| log.explain(&error));
                if problem != trouble && !problem.is_empty() {
                    report(&format!("{problem}; bans hold all the same, but may not outlive this process"));
                }
                trouble = problem;
                if last {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("bans".to_owned()).spawn(work)?;
        Ok(end)
    }

    /// What is in force, by network.
    #[must_use]
    pub fn list(&self) -> Vec<(ClientNetwork, Ban)> {
        let now = self.clock.unix_seconds();
        self.defence.bans.list(now).into_iter().filter(|(_, ban)| now < ban.until).collect()
    }

    /// How many are in force, and how many offences have made since the process was started.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.list().len() as u64, self.defence.bans.made())
    }

    /// Bans a network in the place of the ban that there may be: on the disk, and in force for whatever begins.
    ///
    /// # Errors
    /// For the operator: when there are too many, or the disk does not take it. Nothing has changed then.
    pub fn add(&self, network: ClientNetwork, ban: Ban) -> Result<(), String> {
        let (mut known, now) = (self.known(), self.clock.unix_seconds());
        let before = self.defence.bans.find(network);
        self.defence.bans.put(network, ban.clone(), now)?;
        let written = self.locked(&mut known).and_then(|mut file| append(&mut file, &mut known, &[Line::of(network, &ban)], true));
        if let Err(error) = written {
            self.defence.bans.lift(network);
            if let Some(before) = before {
                self.defence.bans.put(network, before, now)?;
            }
            return Err(self.explain(&error));
        }
        Ok(())
    }

    /// Lifts a ban, and forgets it: the next one of the client is as long as a first one.
    ///
    /// # Errors
    /// For the operator: when there is none, or the disk does not take it.
    pub fn lift(&self, network: ClientNetwork, uid: u32) -> Result<(), String> {
        let (mut known, now) = (self.known(), self.clock.unix_seconds());
        if self.defence.bans.find(network).is_none_or(|ban| ban.until <= now) {
            return Err(format!("`{network}` is not banned; `portcullis ban list` shows what is"));
        }
        let line = Line::lifting(network, uid, now);
        let written = self.locked(&mut known).and_then(|mut file| append(&mut file, &mut known, &[line], true));
        written.map_err(|error| self.explain(&error))?;
        self.defence.bans.lift(network);
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn explain(&self, error: &io::Error) -> String {
        format!("bans are kept in `{}`: {error}", self.path.display())
    }

    /// What offences have made since this was asked last.
    fn made(&self) -> Vec<(ClientNetwork, Ban)> {
        let bans = &self.defence.bans;
        bans.take_changes().into_iter().filter_map(|network| Some((network, bans.find(network)?))).collect()
    }

    /// Appends what was made, and takes over what somebody else has appended.
    fn exchange(&self, made: &[(ClientNetwork, Ban)]) -> io::Result<()> {
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
        let lines: Vec<Line> = made.iter().map(|(network, ban)| Line::of(*network, ban)).collect();
        append(&mut file, &mut known, &lines, false)?;
        let kept = self.defence.bans.list(self.clock.unix_seconds());
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
            damaged += usize::from(!self.take(text, now));
        }
        known.bytes += whole as u64;
        match damaged {
            0 => Ok(()),
            _ => {
                *known = self.write_anew(&self.defence.bans.list(now))?;
                let text = format!("{damaged} lines were not understood and are left out");
                Err(io::Error::new(io::ErrorKind::InvalidData, text))
            }
        }
    }

    /// Puts a line in force. Says whether it was understood.
    fn take(&self, text: &[u8], now: u64) -> bool {
        let Ok(line) = serde_json::from_slice::<Line>(text) else { return false };
        let Some(network) = ClientNetwork::parse(&line.network) else { return false };
        let (bans, ban) = (&self.defence.bans, line.ban());
        if line.lifted {
            bans.lift(network);
        } else if now < ban.until.max(ban.remembered_until) {
            return bans.put(network, ban, now).is_ok();
        }
        true
    }

    /// Writes a file that has these alone, in the place of the one that there is.
    fn write_anew(&self, kept: &[(ClientNetwork, Ban)]) -> io::Result<Known> {
        let staged = self.path.with_extension(format!("new{}", std::process::id()));
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o640).open(&staged)?;
        let mut known = Known { inode: file.metadata()?.ino(), ..Known::default() };
        let lines: Vec<Line> = kept.iter().map(|(network, ban)| Line::of(*network, ban)).collect();
        append(&mut file, &mut known, &lines, true)?;
        std::fs::rename(&staged, &self.path)?;
        Ok(known)
    }
}

fn append(file: &mut File, known: &mut Known, lines: &[Line], durable: bool) -> io::Result<()> {
    let mut bytes = Vec::new();
    for line in lines {
        bytes.extend(line.written()?);
    }
    file.write_all(&bytes)?;
    if durable {
        file.sync_data()?;
    }
    known.bytes += bytes.len() as u64;
    known.lines += lines.len();
    Ok(())
}

#[cfg(test)]
mod tests;
