//! Files that settings of policies name: read within bounds, and read again when they change, without building anything else.

use portcullis_control_config::{Plan, PolicyFile};
use portcullis_gateway_policy::{FileContent, FileFormat, FileProblem, LiveFile, LiveFiles, PolicyDefinition, StatePool};
use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How many problems of one file are told.
const PROBLEMS_TOLD: usize = 10;

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|about| Self::of(&about))
    }

    fn of(about: &Metadata) -> Self {
        Self {
            inode: about.ino(),
            bytes: about.len(),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        }
    }
}

/// Files as they were at a time, to tell later whether any has changed.
pub(crate) struct Seen {
    files: Vec<(PathBuf, Option<Stamp>)>,
    /// Whether one was changed so shortly before that a further change could look the same.
    fresh: bool,
}

impl Seen {
    pub(crate) fn now(paths: Vec<PathBuf>, unix_seconds: u64) -> Self {
        let files: Vec<_> = paths.into_iter().map(|path| (Stamp::at(&path), path)).map(|(stamp, path)| (path, stamp)).collect();
        let recent = i64::try_from(unix_seconds).unwrap_or(i64::MAX).saturating_sub(1);
        let fresh = files.iter().any(|(_, stamp)| stamp.is_none_or(|stamp| stamp.changed.0 >= recent));
        Self { files, fresh }
    }

    /// Whether these are the files, and certainly none has changed.
    pub(crate) fn is_still_so(&self, paths: &[PathBuf]) -> bool {
        !self.fresh
            && self.files.iter().map(|(path, _)| path).eq(paths)
            && self.files.iter().all(|(path, stamp)| Stamp::at(path) == *stamp)
    }
}

/// A file that a running policy looks at.
struct Known {
    live: Arc<LiveFile>,
    /// As it was when it was last read; nothing when it was not there.
    stamp: Option<Stamp>,
    /// Why what was read last is not in force.
    problem: Option<String>,
}

/// Every file that policies name.
pub(crate) struct PolicyFiles {
    policies: &'static [PolicyDefinition],
    known: HashMap<PolicyFile, Known>,
    /// What policies count and remember, across all configurations.
    states: Arc<StatePool>,
    /// Contents that are out of force and may still be looked at. Freed here rather than by a worker.
    retired: Vec<Arc<FileContent>>,
}

impl PolicyFiles {
    pub(crate) fn new(policies: &'static [PolicyDefinition], states: Arc<StatePool>) -> Self {
        Self { policies, known: HashMap::new(), states, retired: Vec::new() }
    }

    /// The files of a plan for each policy, by its row. Those that are known are not read again.
    ///
    /// # Errors
    /// Which file cannot be had, and why.
    pub(crate) fn open(&mut self, plan: &Plan) -> Result<Vec<LiveFiles>, String> {
        let mut files = vec![LiveFiles::beside(Arc::clone(&self.states)); self.policies.len()];
        let mut problems = Vec::new();
        // A policy that reads no files in this table is played by another.
        let is_read = |file: &PolicyFile| self.policies.get(file.policy).is_some_and(|row| !row.files.is_empty());
        for file in plan.policy_files().into_iter().filter(is_read) {
            match self.open_one(&file) {
                Ok(live) => {
                    files.get_mut(file.policy).into_iter().for_each(|files| files.insert(file.path.clone(), Arc::clone(&live)))
                }
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(files) } else { Err(problems.join("\n")) }
    }

    fn open_one(&mut self, file: &PolicyFile) -> Result<Arc<LiveFile>, String> {
        if let Some(known) = self.known.get(file) {
            return Ok(Arc::clone(&known.live));
        }
        let format = format(self.policies, file).ok_or_else(|| "a policy names a file and cannot read any".to_owned())?;
        let (stamp, content) = read(&file.path, format);
        let live = Arc::new(LiveFile::new(content?));
        self.known.insert(file.clone(), Known { live: Arc::clone(&live), stamp, problem: None });
        Ok(live)
    }

    /// Forgets the files that a plan, which is now in force, does not name.
    pub(crate) fn keep(&mut self, plan: &Plan) {
        let named = plan.policy_files();
        self.known.retain(|key, _| named.contains(key));
    }

    /// Reads those that changed, and gives the paths of those that are now in force.
    ///
    /// # Errors
    /// What is wrong with any of them, also since before.
    pub(crate) fn refresh(&mut self) -> Result<Vec<PathBuf>, String> {
        self.retired.retain(|content| Arc::strong_count(content) > 1);
        let mut refreshed = Vec::new();
        let mut known: Vec<_> = self.known.iter_mut().collect();
        known.sort_by(|a, b| a.0.cmp(b.0));
        let mut problems = Vec::new();
        for (file, known) in known {
            let path = &file.path;
            let stamp = Stamp::at(path);
            if stamp != known.stamp || stamp.is_none() {
                let Some(format) = format(self.policies, file) else { continue };
                let (stamp, content) = read(path, format);
                known.stamp = stamp;
                match content {
                    Ok(content) => {
                        self.retired.push(known.live.replace(content));
                        known.problem = None;
                        refreshed.push(path.clone());
                    }
                    Err(problem) => known.problem = Some(problem),
                }
            }
            problems.extend(known.problem.clone());
        }
        if problems.is_empty() {
            return Ok(refreshed);
        }
        Err(format!("{}\nwhat was read of it before stays in force", problems.join("\n")))
    }
}

/// How a file is read.
fn format(policies: &[PolicyDefinition], file: &PolicyFile) -> Option<FileFormat> {
    policies.get(file.policy)?.files.get(file.format).copied()
}

/// Reads a file; the stamp is of before, so that a change meanwhile is seen as one.
fn read(path: &Path, format: FileFormat) -> (Option<Stamp>, Result<FileContent, String>) {
    let stamp = Stamp::at(path);
    let content = read_bytes(path, format.bytes_max).and_then(|bytes| {
        (format.read)(&bytes).map_err(|problems| {
            let told: Vec<String> = problems.iter().take(PROBLEMS_TOLD).map(|problem| told(path, problem)).collect();
            let more = problems.len().saturating_sub(PROBLEMS_TOLD);
            if more > 0 { format!("{}\nand {more} more in `{}`", told.join("\n"), path.display()) } else { told.join("\n") }
        })
    });
    (stamp, content)
}

fn told(path: &Path, problem: &FileProblem) -> String {
    match problem.line {
        Some(line) => format!("{}:{line}: {}", path.display(), problem.what),
        None => format!("{}: {}", path.display(), problem.what),
    }
}

fn read_bytes(path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| {
        format!("`{}` cannot be read: {}; check the path and its permissions", path.display(), error.kind())
    };
    let about = fs::metadata(path).map_err(cannot)?;
    // Opening a pipe would wait for whoever writes into it.
    if !about.is_file() {
        return Err(format!("`{}` is not a regular file", path.display()));
    }
    let too_large = || format!("`{}` has more than {bytes_max} bytes; it may be generated wrongly", path.display());
    if about.len() > bytes_max {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(about.len()).unwrap_or(0) + 1);
    File::open(path).and_then(|file| file.take(bytes_max + 1).read_to_end(&mut bytes)).map_err(cannot)?;
    if bytes.len() as u64 > bytes_max { Err(too_large()) } else { Ok(bytes) }
}
