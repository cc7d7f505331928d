//! The files of a configuration: which ones, and their bytes, within bounds.

use crate::digest::Digest;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How large a configuration may be. What is larger was generated wrongly, and loading it could take the gateway down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Bytes of one file.
    pub file_bytes_max: u64,
    /// Bytes of all files.
    pub bytes_max: u64,
    /// Files of a folder.
    pub files_max: usize,
    /// Values in one file.
    pub values_max: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Self { file_bytes_max: 64 << 20, bytes_max: 256 << 20, files_max: 10_000, values_max: 8_000_000 }
    }
}

/// A file as it is now.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: Digest,
}

/// A file that could not be used: which one, what is wrong, what to do.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) path: PathBuf,
    pub(crate) what: String,
    pub(crate) help: String,
}

impl Unreadable {
    fn new(path: &Path, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { path: path.to_owned(), what: what.into(), help: help.into() }
    }
}

/// Where relative paths of a configuration start: the folder itself, or the folder of its file.
pub(crate) fn folder_of(path: &Path) -> PathBuf {
    if path.is_dir() { path.to_owned() } else { path.parent().map(Path::to_owned).unwrap_or_default() }
}

/// The file itself, or every `*.yaml` of a folder in the order of their names. Hidden files are left out: editors and ConfigMap mounts
/// keep their own things in them.
pub(crate) fn list(path: &Path, caps: &Caps) -> Result<Vec<PathBuf>, Vec<Unreadable>> {
    let cannot = |why: &std::io::Error| {
        vec![Unreadable::new(
            path,
            format!("the configuration cannot be read: {}", reason(why)),
            "check the path and its permissions",
        )]
    };
    if !fs::metadata(path).map_err(|why| cannot(&why))?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    let mut wrong = Vec::new();
    for entry in fs::read_dir(path).map_err(|why| cannot(&why))? {
        let file = entry.map_err(|why| cannot(&why))?.path();
        let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        match file.extension().and_then(|extension| extension.to_str()) {
            _ if hidden => {}
            Some("yaml") => files.push(file),
            Some("yml") => {
                wrong.push(Unreadable::new(&file, "this file is not read: only `*.yaml` files are", "rename it, or remove it"))
            }
            _ => {}
        }
        if files.len() > caps.files_max {
            let what = format!("the folder has more than {} files", caps.files_max);
            return Err(vec![Unreadable::new(path, what, "put several APIs into one file")]);
        }
    }
    if files.is_empty() && wrong.is_empty() {
        wrong.push(Unreadable::new(path, "the folder has no `*.yaml` file", "put the configuration there, or name its file"));
    }
    files.sort();
    if wrong.is_empty() { Ok(files) } else { Err(wrong) }
}

fn reason(why: &std::io::Error) -> String {
    why.kind().to_string()
}

/// Reads the files; all that is wrong with any of them.
pub(crate) fn read_all(paths: Vec<PathBuf>, caps: &Caps) -> Result<Vec<Source>, Vec<Unreadable>> {
    let mut sources = Vec::with_capacity(paths.len());
    let mut wrong = Vec::new();
    let mut left = caps.bytes_max;
    for path in paths {
        match read_one(&path, caps.file_bytes_max) {
            Ok(bytes) if bytes.len() as u64 <= left => {
                left -= bytes.len() as u64;
                let digest = Digest::of(&bytes);
                sources.push(Source { path, bytes, digest });
            }
            Ok(_) => {
                let what = format!("all files together have more than {} bytes", caps.bytes_max);
                wrong.push(Unreadable::new(
                    &path,
                    what,
                    "no configuration is meant to be so large; a file may be generated wrongly",
                ));
                break;
            }
            Err(unreadable) => wrong.push(unreadable),
        }
    }
    if wrong.is_empty() { Ok(sources) } else { Err(wrong) }
}

fn read_one(path: &Path, bytes_max: u64) -> Result<Vec<u8>, Unreadable> {
    let cannot = |why: &std::io::Error| {
        Unreadable::new(path, format!("the configuration cannot be read: {}", reason(why)), "check the path and its permissions")
    };
    let about = fs::metadata(path).map_err(|why| cannot(&why))?;
    // Opening a pipe would wait for whoever writes into it.
    if !about.is_file() {
        return Err(Unreadable::new(path, "this is not a regular file", "name a file, or a folder of files"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(about.len().min(bytes_max)).unwrap_or(0) + 1);
    let file = File::open(path).map_err(|why| cannot(&why))?;
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|why| cannot(&why))?;
    if bytes.len() as u64 > bytes_max { Err(too_large(path, bytes_max)) } else { Ok(bytes) }
}

/// Reads a text that a configuration names beside its own files; else what is wrong, and what to do.
pub(crate) fn read_text(path: &Path, bytes_max: u64) -> Result<Arc<str>, (String, String)> {
    let bytes = read_one(path, bytes_max).map_err(|wrong| (format!("`{}`: {}", path.display(), wrong.what), wrong.help))?;
    let text = String::from_utf8(bytes);
    text.map(Into::into).map_err(|_| (format!("`{}` is not UTF-8", path.display()), "save it as UTF-8".to_owned()))
}

pub(crate) fn too_large(path: &Path, bytes_max: u64) -> Unreadable {
    let help = "no configuration is meant to be so large; split it, or look at what generated it";
    Unreadable::new(path, format!("the file has more than {bytes_max} bytes"), help)
}
