//! Where the access log goes: standard output or a file that may be rotated by us or by others, on a disk that may be full.

use crate::recorder::{AccessLog, Rotation};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Lines that wait while the log cannot be written, in bytes; what comes beyond that is lost and counted.
const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The log being written.
pub(crate) struct LogWriter {
    target: Target,
    waiting: Vec<u8>,
    /// Lines lost so far.
    pub(crate) lost_lines: u64,
    /// Why the last write failed; nothing once one succeeds.
    pub(crate) trouble: Option<String>,
}

enum Target {
    Off,
    Stdout,
    File(LogFile),
}

struct LogFile {
    path: PathBuf,
    rotation: Option<Rotation>,
    open: Option<Open>,
}

struct Open {
    file: File,
    inode: u64,
    bytes: u64,
}

impl LogWriter {
    pub(crate) fn new(log: &AccessLog) -> Self {
        Self { target: Target::of(log), waiting: Vec::new(), lost_lines: 0, trouble: None }
    }

    /// Whether lines go anywhere.
    pub(crate) fn is_on(&self) -> bool {
        !matches!(self.target, Target::Off)
    }

    /// Sends lines elsewhere from now on. What waits goes to the old place if it can.
    pub(crate) fn retarget(&mut self, log: &AccessLog) {
        self.flush();
        self.target = Target::of(log);
    }

    /// Opens the file anew, for those who have renamed it.
    pub(crate) fn reopen(&mut self) {
        self.flush();
        if let Target::File(file) = &mut self.target {
            file.open = None;
        }
    }

    /// The bytes that wait, to add lines to.
    pub(crate) fn waiting(&mut self) -> &mut Vec<u8> {
        &mut self.waiting
    }

    /// Writes what waits. When that fails it goes on waiting, up to a bound.
    pub(crate) fn flush(&mut self) {
        let outcome = match &mut self.target {
            Target::Off => {
                self.waiting.clear();
                return;
            }
            Target::Stdout => write_some(&mut io::stdout().lock(), &mut self.waiting),
            Target::File(file) => file.write(&mut self.waiting),
        };
        self.trouble = outcome.err().map(|error| error.to_string());
        if self.trouble.is_some() && self.waiting.len() > WAITING_BYTES_MAX {
            self.lost_lines += self.waiting.iter().filter(|byte| **byte == b'\n').count() as u64;
            self.waiting = Vec::new();
        }
    }

    /// Notices that the file has been renamed or removed by somebody, and begins a new one.
    pub(crate) fn check_moved(&mut self) {
        if let Target::File(file) = &mut self.target
            && let Some(open) = &file.open
            && std::fs::metadata(&file.path).map_or(true, |found| found.ino() != open.inode)
        {
            file.open = None;
        }
    }
}

impl Target {
    fn of(log: &AccessLog) -> Self {
        match log {
            AccessLog::Off => Self::Off,
            AccessLog::Stdout => Self::Stdout,
            AccessLog::File { path, rotate } => Self::File(LogFile { path: path.clone(), rotation: *rotate, open: None }),
        }
    }
}

/// Writes from the front of `waiting`, and keeps what could not be written: a line cut by a full disk is completed later.
fn write_some(to: &mut impl Write, waiting: &mut Vec<u8>) -> io::Result<()> {
    let mut written = 0;
    let outcome = loop {
        let rest = waiting.get(written..).unwrap_or_default();
        if rest.is_empty() {
            break to.flush();
        }
        match to.write(rest) {
            Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    waiting.drain(..written);
    outcome
}

impl LogFile {
    /// Writes what waits, line by line into as many files as it takes.
    fn write(&mut self, waiting: &mut Vec<u8>) -> io::Result<()> {
        // Once even when there is nothing to write: whoever renamed the file waits for the new one.
        loop {
            let open = match &mut self.open {
                Some(open) => open,
                None => self.open.insert(Open::at(&self.path)?),
            };
            let room = self.rotation.map_or(u64::MAX, |rotation| rotation.bytes.saturating_sub(open.bytes));
            let mut rest = waiting.split_off(end_of_line(waiting, room));
            let before = waiting.len();
            let outcome = write_some(&mut open.file, waiting);
            open.bytes += (before - waiting.len()) as u64;
            waiting.append(&mut rest);
            outcome?;
            if let Some(rotation) = self.rotation
                && open.bytes >= rotation.bytes
            {
                self.open = None;
                rotate(&self.path, rotation.keep)?;
            }
            if waiting.is_empty() {
                return Ok(());
            }
        }
    }
}

/// The length of the lines that begin within the first `room` bytes.
fn end_of_line(bytes: &[u8], room: u64) -> usize {
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    let behind = bytes.get(room.saturating_sub(1)..).unwrap_or_default();
    behind.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| room.saturating_sub(1) + at + 1)
}

impl Open {
    /// Opens for appending, so that a file truncated by somebody goes on from its new end.
    fn at(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().create(true).append(true).mode(0o640).open(path)?;
        let metadata = file.metadata()?;
        Ok(Self { file, inode: metadata.ino(), bytes: metadata.len() })
    }
}

/// `log` becomes `log.1`, `log.1` becomes `log.2`, and so on; the last one goes.
fn rotate(path: &Path, keep: u32) -> io::Result<()> {
    let numbered = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    if keep == 0 {
        return std::fs::remove_file(path);
    }
    for number in (1..keep).rev() {
        if numbered(number).exists() {
            std::fs::rename(numbered(number), numbered(number + 1))?;
        }
    }
    std::fs::rename(path, numbered(1))
}

#[cfg(test)]
mod tests {
    use super::LogWriter;
    use crate::recorder::{AccessLog, Rotation};
    use std::path::PathBuf;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("portcullis-log-{name}-{}", std::process::id()));
        let _fresh = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn write(writer: &mut LogWriter, line: &str) {
        writer.waiting().extend_from_slice(line.as_bytes());
        writer.flush();
    }

    #[test]
    fn a_renamed_log_is_begun_anew() {
        let path = folder("renamed").join("access.log");
        let mut writer = LogWriter::new(&AccessLog::File { path: path.clone(), rotate: None });
        write(&mut writer, "one\n");
        let moved = path.with_extension("old");
        std::fs::rename(&path, &moved).unwrap();
        write(&mut writer, "two\n");
        writer.check_moved();
        write(&mut writer, "three\n");
        assert_eq!(std::fs::read_to_string(&moved).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
    }

    #[test]
    fn a_truncated_log_goes_on_from_its_new_end() {
        let path = folder("truncated").join("access.log");
        let mut writer = LogWriter::new(&AccessLog::File { path: path.clone(), rotate: None });
        write(&mut writer, "one\n");
        std::fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        write(&mut writer, "two\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
    }

    #[test]
    fn own_rotation_keeps_so_many_files() {
        let path = folder("rotated").join("access.log");
        let rotate = Some(Rotation { bytes: 4, keep: 2 });
        let mut writer = LogWriter::new(&AccessLog::File { path: path.clone(), rotate });
        for line in ["one\n", "two\n", "thr\n", "fou\n"] {
            write(&mut writer, line);
        }
        let read = |name: &str| std::fs::read_to_string(path.with_file_name(name)).ok();
        assert_eq!((read("access.log.1"), read("access.log.2")), (Some("fou\n".into()), Some("thr\n".into())));
        assert_eq!((read("access.log"), read("access.log.3")), (None, None));
    }

    #[test]
    fn a_full_disk_loses_lines_but_no_memory_and_is_told() {
        let mut writer = LogWriter::new(&AccessLog::File { path: "/dev/full".into(), rotate: None });
        let line = format!("{}\n", "x".repeat(1023));
        for _ in 0..10_000 {
            write(&mut writer, &line);
        }
        assert!(writer.trouble.is_some() && writer.lost_lines > 0);
        assert!(writer.waiting().len() <= super::WAITING_BYTES_MAX + 1024);
    }
}
