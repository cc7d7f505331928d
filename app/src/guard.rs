//! Whether a configuration may come into force by what it opens: the options of `run`, what is told, and `portcullis approve`.

use crate::check::load_plan;
use crate::events::{Event, tell};
use crate::gateway::last_good_path;
use crate::output::{Colour, Output};
use clap::{Args, ValueHint};
use portcullis_control_config::{Plan, load};
use portcullis_control_reload::{Admitted, Approval, Guard, NO_CONFIGURATION, PublicKey, Rule, compare, read_last_good};
use portcullis_model::Clock;
use serde_json::json;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

const SECONDS_PER_DAY: u64 = 86_400;

/// What a configuration is compared with before it comes into force, and whose approval lets it open more.
#[derive(Clone, Debug, Default, Args)]
pub struct Guarding {
    /// A configuration to compare with: what it lets in need not be approved. By default only what ran last is compared with.
    #[arg(long, env = "PORTCULLIS_BASELINE", value_hint = ValueHint::AnyPath)]
    pub baseline: Option<PathBuf>,
    /// Refuse configurations that open more than before, unless this key (a public key of Ed25519, PEM) has approved it. Keep it, like the
    /// folder of `--approval-state`, where those who write the configuration cannot change it.
    #[arg(long, env = "PORTCULLIS_APPROVAL_KEY", requires = "approval_state", value_hint = ValueHint::FilePath)]
    pub approval_key: Option<PathBuf>,
    /// A folder in which the gateway remembers what was accepted and which approvals are used up.
    #[arg(long, env = "PORTCULLIS_APPROVAL_STATE", requires = "approval_key", value_hint = ValueHint::DirPath)]
    pub approval_state: Option<PathBuf>,
    /// Where approvals are looked for; `approval.json` beside the configuration by default.
    #[arg(long, env = "PORTCULLIS_APPROVAL", requires = "approval_key", value_hint = ValueHint::FilePath)]
    pub approval: Option<PathBuf>,
}

impl Guarding {
    /// What judges configurations of the gateway at `config`.
    ///
    /// # Errors
    /// When the baseline or the key cannot be read.
    pub fn guard(&self, config: &Path, clock: &Clock) -> Result<Guard, String> {
        let baseline = self.baseline.as_ref().map(|file| {
            let plan = load(file, &portcullis_policies::settings(), clock);
            plan.map_err(|report| format!("the baseline `{}` is not sound\n{report}", file.display()))
        });
        let rule = match (&self.approval_key, &self.approval_state) {
            (Some(key), Some(state)) => {
                let shown = key.display();
                let pem = fs::read(key).map_err(|error| format!("`{shown}`: {error}"))?;
                let key = PublicKey::from_pem(&pem).map_err(|problem| format!("`{shown}`: {problem}"))?;
                let folder = if config.is_dir() { config } else { config.parent().unwrap_or(Path::new("")) };
                let approval = self.approval.clone().unwrap_or_else(|| folder.join("approval.json"));
                Some(Rule { key, approval, state: state.clone() })
            }
            _ => None,
        };
        Ok(Guard::new(clock.clone(), baseline.transpose()?, rule))
    }
}

/// Judges the first configuration, and tells.
///
/// # Errors
/// Why it may not come into force.
pub fn admit_first(guard: &Guard, plan: &Plan, clock: &Clock) -> Result<(), String> {
    let policies = portcullis_policies::settings();
    let last = read_last_good(&last_good_path(plan)).and_then(|kept| load(&kept, &policies, clock).ok());
    let admitted = guard.admit_first(plan, last.as_ref(), &policies)?;
    let before = last.map(|last| last.hash().to_string());
    tell_admitted(&admitted, before.as_deref(), &plan.hash().to_string());
    Ok(())
}

/// Tells why a configuration came into force, where that is worth telling.
pub fn tell_admitted(admitted: &Admitted, old: Option<&str>, new: &str) {
    match admitted {
        Admitted::NotWider => {}
        Admitted::Initial => tell(&Event::AccessInitial { hash: new }),
        Admitted::Approved { widenings } => tell(&Event::AccessWidened { old, new, approved: true, widenings }),
        Admitted::Unguarded { widenings } => tell(&Event::AccessWidened { old, new, approved: false, widenings }),
    }
}

/// What `portcullis approve` is given.
#[derive(Debug, Args)]
pub struct Approve {
    /// The configuration as it is accepted now: a file, or a folder of files; `none` where there is none yet.
    #[arg(value_hint = ValueHint::AnyPath)]
    pub old: PathBuf,
    /// The configuration that may follow it.
    #[arg(value_hint = ValueHint::AnyPath)]
    pub new: PathBuf,
    /// The private key to sign with: Ed25519, PEM, as `openssl genpkey -algorithm ed25519` makes it.
    #[arg(long, value_hint = ValueHint::FilePath)]
    pub key: PathBuf,
    /// The file to write the approval to.
    #[arg(long, default_value = "approval.json", value_hint = ValueHint::FilePath)]
    pub out: PathBuf,
    /// For how many days it is good, until it is used.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..=90))]
    pub days: u64,
}

/// Shows what a step opens, and signs that it may be made.
///
/// # Errors
/// When a configuration or the key cannot be read, nothing widens, or the approval cannot be written.
pub fn approve(asked: &Approve, clock: &Clock, output: Output) -> Result<(), String> {
    let new = load_plan(&asked.new, clock, output)?;
    let (old, widenings) = if asked.old.as_os_str() == NO_CONFIGURATION {
        (NO_CONFIGURATION.to_owned(), vec!["everything: nothing has been accepted before".to_owned()])
    } else {
        let old = load_plan(&asked.old, clock, output)?;
        (old.hash().to_string(), compare(&old, &new)?.widenings())
    };
    if widenings.is_empty() {
        return Err("nobody may do more than before: there is nothing to approve".to_owned());
    }
    let shown = asked.key.display();
    let key = fs::read(&asked.key).map_err(|error| format!("`{shown}`: {error}"))?;
    let until = clock.unix_seconds().saturating_add(asked.days * SECONDS_PER_DAY);
    let approval = Approval::sign(&key, &old, &new.hash().to_string(), until).map_err(|problem| format!("`{shown}`: {problem}"))?;
    let text = serde_json::to_string_pretty(&approval).map_err(|error| error.to_string())?;
    write(&asked.out, &(text + "\n")).map_err(|error| format!("`{}`: {error}", asked.out.display()))?;
    if output.is_json() {
        output.json(&json!({
            "approval": asked.out, "old": approval.old, "new": approval.new, "until_unix_seconds": until, "widens": widenings,
        }));
        return Ok(());
    }
    widenings.iter().for_each(|line| output.line(&format!("  {line}")));
    let approved = output.paint(Colour::Yellow, "approved, for once");
    output.line(&format!("{approved}: {} follows {}, within {} days", approval.new, approval.old, asked.days));
    output.line(&format!("written to {}", asked.out.display()));
    Ok(())
}

/// Writes a file wholly or not at all: the gateway looks at it as soon as it is there.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let staged = path.with_extension(format!("new{}", std::process::id()));
    let mut file = fs::File::create(&staged)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(staged, path)
}
