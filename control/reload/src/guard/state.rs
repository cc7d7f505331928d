//! What the guard remembers, in a folder of its own: the configuration that was accepted last, and the approvals that are used up.

use super::approval::Approval;
use portcullis_control_config::{Plan, load};
use portcullis_model::Clock;
use portcullis_model_settings::PolicySchema;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// How many approvals may be used within the time that they are good for.
const USED_MAX: usize = 10_000;
const USED_BYTES_MAX: u64 = 4 << 20;
const HEAD: &str = "# The configuration that was accepted last, written by the gateway. Do not edit. Hash: ";

/// The folder.
#[derive(Clone, Debug)]
pub(super) struct State(pub(super) PathBuf);

/// A configuration that was accepted.
pub(super) struct Accepted {
    pub(super) hash: String,
    pub(super) plan: Plan,
}

#[derive(Serialize, Deserialize)]
struct Used {
    signature: String,
    until_unix_seconds: u64,
}

impl State {
    fn accepted_file(&self) -> PathBuf {
        self.0.join("accepted.yaml")
    }

    fn used_file(&self) -> PathBuf {
        self.0.join("approvals-used.jsonl")
    }

    /// What was accepted last; nothing when nothing was.
    ///
    /// # Errors
    /// When it is there and cannot be read: then nothing can be compared, and nothing is accepted.
    pub(super) fn accepted(&self, policies: &[PolicySchema], clock: &Clock) -> Result<Option<Accepted>, String> {
        let file = self.accepted_file();
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("`{}`: {error}", file.display())),
        };
        let hash = text.lines().next().and_then(|line| line.strip_prefix(HEAD)).map(str::to_owned);
        let hash = hash.ok_or_else(|| format!("`{}` is not what the gateway has written", file.display()))?;
        let plan = load(&file, policies, clock).map_err(|report| {
            format!(
                "`{}`, the configuration that was accepted last, is not understood; name another by `--baseline`\n{report}",
                file.display()
            )
        })?;
        Ok(Some(Accepted { hash, plan }))
    }

    /// Remembers that a plan was accepted.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub(super) fn accept(&self, plan: &Plan) -> Result<(), String> {
        self.write(&self.accepted_file(), |out| {
            writeln!(out, "{HEAD}{}", plan.hash())?;
            plan.write_canonical_yaml(out)
        })
    }

    /// Uses an approval up.
    ///
    /// # Errors
    /// When it has been used before, or that it is used now cannot be kept.
    pub(super) fn use_up(&self, approval: &Approval, now: u64) -> Result<(), String> {
        let file = self.used_file();
        let mut used = read_used(&file).map_err(|error| format!("`{}`: {error}", file.display()))?;
        if used.iter().any(|one| one.signature == approval.signature) {
            return Err("it has been used before; each is for once".to_owned());
        }
        used.retain(|one| one.until_unix_seconds > now);
        if used.len() >= USED_MAX {
            return Err(format!("{USED_MAX} approvals have been used and are good still; wait until some are not"));
        }
        used.push(Used { signature: approval.signature.clone(), until_unix_seconds: approval.until_unix_seconds });
        let lines: Result<Vec<String>, _> = used.iter().map(serde_json::to_string).collect();
        let lines = lines.map_err(|error| error.to_string())?;
        self.write(&file, |out| writeln!(out, "{}", lines.join("\n")))
    }

    /// Writes a file wholly or not at all, also when the machine loses its power.
    fn write(&self, file: &Path, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), String> {
        let staged = file.with_extension(format!("new{}", std::process::id()));
        let written = || -> io::Result<()> {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
            let out = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&staged)?;
            let mut out = BufWriter::new(out);
            content(&mut out)?;
            out.into_inner()?.sync_all()?;
            fs::rename(&staged, file)?;
            fs::File::open(&self.0)?.sync_all()
        };
        written().map_err(|error| format!("`{}`: {error}", file.display()))
    }
}

fn read_used(file: &Path) -> io::Result<Vec<Used>> {
    let mut text = String::new();
    match fs::File::open(file) {
        Ok(open) => open.take(USED_BYTES_MAX).read_to_string(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    text.lines().map(|line| serde_json::from_str(line).map_err(io::Error::other)).collect()
}
