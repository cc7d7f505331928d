//! The log's file, which we or others may rotate.

use crate::recorder::Rotation;
use crate::writer::write_some;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file that lines are appended to; opened when it is needed.
pub(crate) struct LogFile {
    path: PathBuf,
    rotation: Option<Rotation>,
    open: Option<Open>,
}

struct Open {
    file: File,
    /// Device and inode: what tells it from another file of the same name.
    identity: (u64, u64),
    /// Not a device or a pipe, which must not be renamed.
    is_plain: bool,
    bytes: u64,
}

impl LogFile {
    pub(crate) fn new(path: PathBuf, rotation: Option<Rotation>) -> Self {
        Self { path, rotation, open: None }
    }

    /// Closes the file; the next write opens what is at the path then.
    pub(crate) fn close(&mut self) {
        self.open = None;
    }

    /// Whether the open file is not the one at the path any more.
    pub(crate) fn is_moved(&self) -> bool {
        let Some(open) = &self.open else { return false };
        std::fs::metadata(&self.path).map_or(true, |found| (found.dev(), found.ino()) != open.identity)
    }

    /// Writes whole lines from the front of `waiting`, in as many files as rotation demands, and says how many bytes. `is_cut` says
    /// that the first line has begun in the file already, and must end there.
    pub(crate) fn write(&mut self, waiting: &[u8], is_cut: bool) -> (usize, io::Result<()>) {
        let (mut written, mut is_cut) = (0, is_cut);
        loop {
            let rest = waiting.get(written..).unwrap_or_default();
            let open = match &mut self.open {
                Some(open) => open,
                None => match Open::at(&self.path) {
                    Ok(open) => self.open.insert(open),
                    Err(error) => return (written, Err(error)),
                },
            };
            let part = match self.rotation {
                Some(rotation) if open.is_plain => lines_within(rest, rotation.bytes, open.bytes, is_cut),
                _ => rest,
            };
            is_cut = false;
            let (count, mut outcome) = write_some(&mut open.file, part);
            written += count;
            open.bytes += count as u64;
            if outcome.is_err() || part.len() == rest.len() {
                return (written, outcome);
            }
            if let Some(rotation) = self.rotation {
                outcome = rotate(&self.path, rotation.keep);
            }
            if outcome.is_err() {
                // A file that grows too long is better than lines that are lost. It is told, and tried again.
                let (count, _) =
                    self.open.as_mut().map_or((0, Ok(())), |open| write_some(&mut open.file, rest_of(waiting, written)));
                return (written + count, outcome);
            }
            self.open = None;
        }
    }
}

fn rest_of(waiting: &[u8], written: usize) -> &[u8] {
    waiting.get(written..).unwrap_or_default()
}

/// The lines that fit into a file that may have `bytes_max` and has `bytes`: all of them, or some; the first one in any case if the
/// file is empty or has its beginning.
fn lines_within(lines: &[u8], bytes_max: u64, bytes: u64, is_cut: bool) -> &[u8] {
    let room = usize::try_from(bytes_max.saturating_sub(bytes)).unwrap_or(usize::MAX);
    let Some(fitting) = lines.get(..room) else { return lines };
    let whole = fitting.iter().rposition(|byte| *byte == b'\n');
    let first = || if bytes == 0 || is_cut { lines.iter().position(|byte| *byte == b'\n') } else { None };
    whole.or_else(first).and_then(|end| lines.get(..=end)).unwrap_or_default()
}

impl Open {
    /// Opens for appending, so that a file truncated by somebody goes on from its new end.
    fn at(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().create(true).append(true).mode(0o640).open(path)?;
        let metadata = file.metadata()?;
        let identity = (metadata.dev(), metadata.ino());
        Ok(Self { file, identity, is_plain: metadata.is_file(), bytes: metadata.len() })
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
        match std::fs::rename(numbered(number), numbered(number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    std::fs::rename(path, numbered(1))
}
