//! The key file, changed as a whole: whoever reads it sees it before or after a change, whatever happens.

use portcullis_engines_keys::{FILE_BYTES_MAX, HashKey, KeyFile};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// The access of a new file: its owner alone.
const MODE: u32 = 0o600;

fn failed(path: &Path, what: &str, error: &std::io::Error) -> String {
    format!("`{}` cannot be {what}: {error}", path.display())
}

/// The keys of a file.
///
/// # Errors
/// When it cannot be read or is not right.
pub fn read(path: &Path) -> Result<KeyFile, String> {
    let file = File::open(path).map_err(|error| failed(path, "read", &error))?;
    if !file.metadata().is_ok_and(|about| about.is_file()) {
        return Err(format!("`{}` is not a regular file", path.display()));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(|error| failed(path, "read", &error))?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(format!("`{}` has more than {FILE_BYTES_MAX} bytes", path.display()));
    }
    KeyFile::read(&bytes).map_err(|faults| super::wrong(path, faults))
}

/// Changes a file that is there, and gives what `with` gives.
///
/// # Errors
/// Why nothing was changed.
pub(super) fn change_known<R>(path: &Path, with: impl FnOnce(&mut KeyFile) -> Result<R, String>) -> Result<R, String> {
    change(path, || Err(format!("there is no file `{}`; `portcullis key create` makes one", path.display())), with)
}

/// Changes a file, which begins with a hash key if it is not there.
///
/// # Errors
/// Why nothing was changed.
pub(super) fn change<R>(
    path: &Path,
    begin: impl FnOnce() -> Result<HashKey, String>,
    with: impl FnOnce(&mut KeyFile) -> Result<R, String>,
) -> Result<R, String> {
    // Where a link leads is what is replaced, not the link.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = folder_of(&path);
    // Two commands at once would lose the change of one. The folder is locked, since the file itself is replaced.
    let lock = File::open(&folder).map_err(|error| failed(&folder, "opened", &error))?;
    lock.lock().map_err(|error| failed(&folder, "locked", &error))?;
    let mut keys = if path.exists() { read(&path)? } else { KeyFile::new(begin()?) };
    let result = with(&mut keys)?;
    replace(&path, &folder, keys.to_text().as_bytes())?;
    Ok(result)
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).map_or_else(|| PathBuf::from("."), Path::to_owned)
}

fn replace(path: &Path, folder: &Path, text: &[u8]) -> Result<(), String> {
    let name = path.file_name().ok_or_else(|| format!("`{}` is not the path of a file", path.display()))?;
    let beside = folder.join(format!(".{}.new", name.to_string_lossy()));
    // What a command left behind that was cut off; nobody else is at it while the folder is locked.
    if beside.symlink_metadata().is_ok() {
        fs::remove_file(&beside).map_err(|error| failed(&beside, "removed", &error))?;
    }
    let written = write(path, &beside, text);
    if written.is_err() {
        let _nothing_to_remove = fs::remove_file(&beside);
    }
    written.map_err(|error| failed(path, "written", &error))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| failed(folder, "written", &error))
}

fn write(path: &Path, beside: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(beside)?;
    if let Ok(before) = fs::metadata(path) {
        let made = file.metadata()?;
        if (before.uid(), before.gid()) != (made.uid(), made.gid()) {
            // The gateway must be able to read what root has changed.
            fchown(&file, Some(before.uid()), Some(before.gid()))?;
        }
        file.set_permissions(Permissions::from_mode(before.mode() & 0o7777))?;
    }
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(beside, path)
}
