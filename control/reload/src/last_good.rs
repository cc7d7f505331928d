//! The last known good configuration on disk, without secrets: references stay references. Written on a thread of its own, so
//! that no reload waits for the disk.

use portcullis_control_config::Plan;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Keeps on disk what was put in force last.
pub struct LastGood {
    /// The newest plan that is not on disk yet: at most one waits.
    waiting: Arc<Mutex<Option<Plan>>>,
    woken: SyncSender<()>,
    ended: Receiver<()>,
}

impl LastGood {
    /// Starts the thread that writes to `path`. `told` hears after each write whether it went well; an error says what the operator
    /// should know.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub fn start(path: PathBuf, told: impl Fn(Result<(), String>) + Send + 'static) -> io::Result<Self> {
        let waiting = Arc::<Mutex<Option<Plan>>>::default();
        let (woken, wakes) = sync_channel::<()>(1);
        let (held, ended) = sync_channel::<()>(1);
        let slot = Arc::clone(&waiting);
        let work = move || {
            // A wake-up is received also when the other end is gone: what was waiting then is written still.
            while wakes.recv().is_ok() {
                let plan = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(plan) = plan {
                    told(write(&plan, &path).map_err(|error| error.to_string()));
                }
            }
            drop(held);
        };
        std::thread::Builder::new().name("last-known-good".to_owned()).spawn(work)?;
        Ok(Self { waiting, woken, ended })
    }

    /// Writes `plan` soon. One that still waits is given up for it.
    pub fn keep(&self, plan: &Plan) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(plan.clone());
        // Full: the thread has yet to look, and will find this plan.
        let _awake = self.woken.try_send(());
    }

    /// Writes what waits and ends. `false`: the disk has taken longer than `within`, and the rest is given up.
    #[must_use]
    pub fn finish(self, within: Duration) -> bool {
        drop(self.woken);
        self.ended.recv_timeout(within) == Err(RecvTimeoutError::Disconnected)
    }
}

fn described(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
}

/// Writes the plan to `path`: wholly or not at all, also when the machine loses its power.
fn write(plan: &Plan, path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|error| described(folder, &error))?;
    let staged = path.with_extension(format!("new{}", std::process::id()));
    let outcome = stage(plan, &staged).and_then(|()| fs::rename(&staged, path));
    if outcome.is_err() {
        let _not_there = fs::remove_file(&staged);
    }
    // The name is durable only when the folder is.
    outcome.and_then(|()| fs::File::open(folder)?.sync_all()).map_err(|error| described(path, &error))
}

fn stage(plan: &Plan, staged: &Path) -> io::Result<()> {
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(staged)?;
    let mut file = BufWriter::new(file);
    file.write_all(b"# The last configuration that came into force, written by the gateway. Do not edit.\n")?;
    plan.write_canonical_yaml(&mut file)?;
    file.into_inner()?.sync_all()
}

/// Where the last known good configuration lies, if there is one.
#[must_use]
pub fn read(path: &Path) -> Option<PathBuf> {
    path.is_file().then(|| path.to_owned())
}
