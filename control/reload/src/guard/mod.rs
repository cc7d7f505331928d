//! Whether a configuration may come into force, by what it opens: nothing more than what was accepted before, unless somebody whose key the
//! operator trusts has approved exactly that step.

mod approval;
mod state;
#[cfg(test)]
mod tests;

pub use approval::{Approval, NONE, PublicKey};

use crate::access::compare;
use approval::APPROVAL_BYTES_MAX;
use portcullis_control_config::Plan;
use portcullis_model::Clock;
use portcullis_model_settings::PolicySchema;
use state::State;
use std::fs;
use std::io::Read;
use std::path::PathBuf;

/// How many lines of what widens a message has.
const TOLD_MAX: usize = 20;

/// Judges configurations before they come into force.
pub struct Guard {
    clock: Clock,
    /// The configuration that the operator has named.
    baseline: Option<Plan>,
    rule: Option<Rule>,
}

/// How widenings are approved.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Whose approvals count.
    pub key: PublicKey,
    /// Where an approval is looked for.
    pub approval: PathBuf,
    /// A folder of the guard's own, which those who write the configuration cannot change.
    pub state: PathBuf,
}

/// Why a configuration may come into force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// There was none to compare it with.
    Initial,
    /// It opens nothing.
    NotWider,
    /// It opens this, which was approved.
    Approved {
        /// What widens, a line each.
        widenings: Vec<String>,
    },
    /// It opens this, and nobody has to approve it.
    Unguarded {
        /// What widens, a line each.
        widenings: Vec<String>,
    },
}

/// Something that a configuration is compared with.
struct Reference<'p> {
    hash: String,
    plan: &'p Plan,
}

impl<'p> Reference<'p> {
    fn of(plan: &'p Plan) -> Self {
        Self { hash: plan.hash().to_string(), plan }
    }
}

impl Guard {
    /// A guard that compares with `baseline` too, where the operator has named one; without a rule it only tells.
    #[must_use]
    pub fn new(clock: Clock, baseline: Option<Plan>, rule: Option<Rule>) -> Self {
        Self { clock, baseline, rule }
    }

    /// The file that may change what is admitted.
    #[must_use]
    pub fn file(&self) -> Option<&PathBuf> {
        self.rule.as_ref().map(|rule| &rule.approval)
    }

    /// Whether it may refuse anything; without a rule it only tells.
    #[must_use]
    pub fn may_refuse(&self) -> bool {
        self.rule.is_some()
    }

    /// What was accepted last; nothing without a rule.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn accepted(&self, policies: &[PolicySchema]) -> Result<Option<Plan>, String> {
        let Some(rule) = &self.rule else { return Ok(None) };
        Ok(State(rule.state.clone()).accepted(policies, &self.clock)?.map(|accepted| accepted.plan))
    }

    /// Judges the first configuration of this process. `last` is the last known good one, which counts only without a rule: whoever writes
    /// the configuration decides where it lies.
    ///
    /// # Errors
    /// Why it may not come into force, what it opens and what to do, for the operator.
    pub fn admit_first(&self, new: &Plan, last: Option<&Plan>, policies: &[PolicySchema]) -> Result<Admitted, String> {
        let accepted = match &self.rule {
            Some(rule) => State(rule.state.clone()).accepted(policies, &self.clock)?,
            None => None,
        };
        let mut references: Vec<Reference<'_>> = self.baseline.iter().map(Reference::of).collect();
        match (&self.rule, &accepted) {
            (Some(_), Some(accepted)) => references.push(Reference { hash: accepted.hash.clone(), plan: &accepted.plan }),
            (Some(_), None) => {}
            (None, _) => references.extend(last.map(Reference::of)),
        }
        self.judge(&references, new)
    }

    /// Judges a configuration that is to follow the one that runs.
    ///
    /// # Errors
    /// As [`Guard::admit_first`].
    pub fn admit(&self, running: &Plan, new: &Plan) -> Result<Admitted, String> {
        let references: Vec<_> = self.baseline.iter().chain([running]).map(Reference::of).collect();
        self.judge(&references, new)
    }

    /// What opens nothing more than one of the references is admitted; else what it opens beyond the last of them must be approved.
    fn judge(&self, references: &[Reference<'_>], new: &Plan) -> Result<Admitted, String> {
        let admitted = self.judged(references, new)?;
        if let Some(rule) = &self.rule {
            // Before it is in force: what is in force and was not written down could not be started again.
            let kept = State(rule.state.clone()).accept(new);
            kept.map_err(|problem| format!("that the configuration is accepted cannot be kept: {problem}"))?;
        }
        Ok(admitted)
    }

    fn judged(&self, references: &[Reference<'_>], new: &Plan) -> Result<Admitted, String> {
        let hash = new.hash().to_string();
        if references.iter().any(|reference| reference.hash == hash) {
            return Ok(Admitted::NotWider);
        }
        let mut widenings = None;
        for reference in references {
            // SECURITY: what cannot be compared is taken to widen.
            let wider = match compare(reference.plan, new) {
                Ok(comparison) if !comparison.widens() => return Ok(Admitted::NotWider),
                Ok(comparison) => comparison.widenings(),
                Err(problem) => vec![problem],
            };
            widenings = Some(wider);
        }
        let Some(rule) = &self.rule else {
            return Ok(widenings.map_or(Admitted::Initial, |widenings| Admitted::Unguarded { widenings }));
        };
        let widenings = widenings.unwrap_or_else(|| vec!["everything: nothing has been accepted before".to_owned()]);
        let olds: Vec<&str> = references.iter().map(|reference| reference.hash.as_str()).collect();
        match self.approved(rule, &olds, &hash) {
            Ok(()) => Ok(Admitted::Approved { widenings }),
            Err(problem) => Err(refusal(&widenings, &olds, &hash, rule, &problem)),
        }
    }

    /// Uses up the approval of this step.
    fn approved(&self, rule: &Rule, olds: &[&str], new: &str) -> Result<(), String> {
        let shown = rule.approval.display();
        let approval = read(rule).map_err(|problem| format!("`{shown}`: {problem}"))?;
        let old_fits = olds.contains(&approval.old.as_str()) || (olds.is_empty() && approval.old == NONE);
        let now = self.clock.unix_seconds();
        // SECURITY: nothing is believed of a file before its signature is.
        let problem = if !approval.is_signed_by(&rule.key) {
            "it is not signed by the key that the gateway was given"
        } else if approval.new != new {
            "it is for another configuration"
        } else if !old_fits {
            "it is for another configuration before"
        } else if approval.until_unix_seconds <= now {
            "it is no longer good"
        } else {
            return State(rule.state.clone()).use_up(&approval, now).map_err(|problem| format!("`{shown}`: {problem}"));
        };
        Err(format!("`{shown}`: {problem}"))
    }
}

fn read(rule: &Rule) -> Result<Approval, String> {
    let mut text = String::new();
    let file = fs::File::open(&rule.approval).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "there is no approval".to_owned(),
        _ => error.to_string(),
    })?;
    file.take(APPROVAL_BYTES_MAX).read_to_string(&mut text).map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| format!("it is not an approval: {error}"))
}

/// Why a configuration is refused, and what to do.
fn refusal(widenings: &[String], olds: &[&str], new: &str, rule: &Rule, problem: &str) -> String {
    let mut text = "access widens, and that is not approved:\n".to_owned();
    for line in widenings.iter().take(TOLD_MAX) {
        text.push_str(&format!("  {line}\n"));
    }
    if widenings.len() > TOLD_MAX {
        text.push_str(&format!("  and {} more: `portcullis plan OLD NEW` tells all\n", widenings.len() - TOLD_MAX));
    }
    let old = olds.last().copied().unwrap_or(NONE);
    let from = if old == NONE { NONE } else { "OLD" };
    text.push_str(&format!(
        "{problem}\nif it is meant: `portcullis approve {from} NEW --key KEY --out {}` by whoever holds the key\n  old {old}\n  new {new}\n",
        rule.approval.display()
    ));
    text
}
