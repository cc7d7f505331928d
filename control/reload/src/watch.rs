//! Notices when files change.

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A running watch; ends when dropped.
pub struct Watch {
    watcher: RecommendedWatcher,
    files: Arc<Mutex<HashSet<PathBuf>>>,
    folders: HashSet<PathBuf>,
}

/// Calls `changed` whenever one of the files given to [`Watch::follow`] may have changed. May call it more often than that.
///
/// # Errors
/// When the system offers no way to watch.
pub fn watch(changed: impl Fn() + Send + 'static) -> Result<Watch, String> {
    let files: Arc<Mutex<HashSet<PathBuf>>> = Arc::default();
    let followed = Arc::clone(&files);
    let handler = move |event: notify::Result<Event>| {
        // An overflow of the queue, or any other trouble, may hide a change.
        let relevant = event.map_or(true, |event| concerns(&event, &followed.lock().unwrap_or_else(PoisonError::into_inner)));
        if relevant {
            changed();
        }
    };
    let watcher = notify::recommended_watcher(handler).map_err(|error| format!("files cannot be watched: {error}"))?;
    Ok(Watch { watcher, files, folders: HashSet::new() })
}

fn concerns(event: &Event, files: &HashSet<PathBuf>) -> bool {
    if matches!(event.kind, EventKind::Access(_)) {
        return false;
    }
    event.paths.iter().any(|path| {
        // Mounted volumes swap a hidden link (`..data`) instead of the files themselves.
        let is_swap = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".."));
        is_swap || files.contains(path) || is_new_part(path, files)
    })
}

/// Whether a path is a configuration file that has appeared beside others.
fn is_new_part(path: &Path, files: &HashSet<PathBuf>) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml") && files.iter().any(|file| file.parent() == path.parent())
}

impl Watch {
    /// Follows these files from now on, through the folders they are in, so that files replaced by renaming are seen.
    ///
    /// # Errors
    /// Which folder cannot be watched.
    pub fn follow(&mut self, files: impl IntoIterator<Item = PathBuf>) -> Result<(), String> {
        let absolute: HashSet<PathBuf> = files.into_iter().map(|file| std::path::absolute(&file).unwrap_or(file)).collect();
        let folders: HashSet<PathBuf> = absolute.iter().filter_map(|file| file.parent().map(Path::to_owned)).collect();
        for folder in folders.difference(&self.folders) {
            let watched = self.watcher.watch(folder, RecursiveMode::NonRecursive);
            watched.map_err(|error| format!("`{}` cannot be watched: {error}", folder.display()))?;
        }
        for folder in self.folders.difference(&folders) {
            let _gone = self.watcher.unwatch(folder);
        }
        self.folders = folders;
        *self.files.lock().unwrap_or_else(PoisonError::into_inner) = absolute;
        Ok(())
    }
}
