//! `portcullis advise`: what a configuration grants and nobody needed, by the records of what was called.

mod calls;
mod findings;
mod records;
mod usage;

use crate::check::{counted, refused};
use crate::cli::Advise;
use crate::output::{Colour, Output};
use calls::Calls;
use findings::{Advice, advice, quoted, unused_words};
use portcullis_control_config::{Loader, Plan};
use portcullis_engines_keys::KeyFile;
use portcullis_model::Clock;
use portcullis_model_settings::Date;
use records::Reading;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use usage::{Covered, Usage};

const DAY: u64 = 86_400;
/// So much of the time that is asked for may go by before the first call.
const HOUR: u64 = 3_600;

/// Reads the records and tells.
///
/// # Errors
/// When the configuration is refused, or the records cannot be read.
pub fn advise(asked: &Advise, clock: &Clock, output: Output) -> Result<(), String> {
    let mut loader = Loader::new(&asked.config, &portcullis_policies::settings(), clock.clone());
    let plan = loader.load().map_err(|report| refused(&report, output))?;
    let now = clock.unix_seconds();
    let since = now.saturating_sub(u64::from(asked.days) * DAY);
    let mut usage = Usage::of(&plan, keys(&plan)?, since);
    let mut calls = Calls::default();
    let reading = records::read(&asked.records, |record, at| {
        // A call of a route for everybody is one that no line had to let through.
        if let Some((place, line)) = usage.count(record, at)
            && let Some(route) = usage.routes.get(place).filter(|route| line.is_some() || route.allow().is_empty())
        {
            calls.keep(record, place, route, line);
        }
    })?;
    let wanted: HashSet<(&str, &str)> = usage.routes.iter().map(|route| (&**route.api, &*route.route.name)).collect();
    let all = advice(&usage, &loader.route_places(&wanted), since, now);
    if let Some(file) = &asked.tests {
        write_tests(file, &asked.config, &calls, output)?;
    }
    let told = Told { asked, reading: &reading, usage: &usage, covered: usage.covered(), all: &all, now };
    if output.is_json() {
        output.json(&told.to_json())
    } else {
        told.show(output)
    }
    Ok(())
}

fn keys(plan: &Plan) -> Result<Vec<(Arc<str>, PathBuf, KeyFile)>, String> {
    let read = |store: &Arc<portcullis_gateway_policy::KeyStorePlan>| {
        Ok((Arc::clone(&store.name), store.file.clone(), crate::keys::read(&store.file)?))
    };
    plan.identity.api_keys.iter().map(read).collect()
}

fn write_tests(file: &Path, config: &Path, calls: &Calls, output: Output) -> Result<(), String> {
    let absolute = std::path::absolute(config).unwrap_or_else(|_| config.to_owned());
    let text = calls.to_text(&quoted(&absolute.display().to_string()));
    std::fs::write(file, text).map_err(|error| format!("`{}` cannot be written: {error}", file.display()))?;
    let more = if calls.more { "; there were more kinds of calls than are kept" } else { "" };
    output.note(&format!("written to {}: {}{more}", file.display(), counted(calls.len(), "test")));
    Ok(())
}

fn ago(seconds: u64) -> String {
    match seconds / DAY {
        0 => counted(usize::try_from(seconds / HOUR).unwrap_or(usize::MAX), "hour"),
        days => counted(usize::try_from(days).unwrap_or(usize::MAX), "day"),
    }
}

struct Told<'t> {
    asked: &'t Advise,
    reading: &'t Reading,
    usage: &'t Usage<'t>,
    covered: Option<Covered>,
    all: &'t [Advice],
    now: u64,
}

impl Told<'_> {
    /// For how many whole days, up to now, the records tell what was used.
    fn covered_days(&self) -> u64 {
        let asked = u64::from(self.asked.days);
        let of = |covered: Covered| {
            let time = self.now.saturating_sub(covered.from);
            // What is older shows that nothing was called before the first of those that count.
            if self.usage.older > 0 || time + HOUR >= asked * DAY { asked } else { time / DAY }
        };
        self.covered.map_or(0, of)
    }

    /// What keeps the advice from being as good as it looks.
    fn doubts(&self) -> Vec<String> {
        let (days, asked) = (self.covered_days(), u64::from(self.asked.days));
        let mut doubts = Vec::new();
        match self.covered {
            None => doubts.push(format!("no record is of the last {asked} days: nothing can be told")),
            Some(covered) => {
                if days < asked {
                    doubts.push(format!(
                        "the records begin {} ago, not {asked} days ago: what is called seldom may look unused",
                        ago(self.now.saturating_sub(covered.from))
                    ));
                }
                let quiet = days.saturating_sub(covered.days as u64);
                if quiet > 0 {
                    doubts.push(format!(
                        "on {quiet} of these {days} days there is no record: either nobody called, or a file is missing"
                    ));
                }
                let old = self.now.saturating_sub(covered.to) / DAY;
                if old > 1 {
                    doubts.push(format!("the last record is {old} days old"));
                }
            }
        }
        let count = |count: u64, what: &str| (count > 0).then(|| format!("{count} {what}"));
        doubts.extend(count(self.usage.elsewhere, "allowed calls were by a route or line that the configuration does not have"));
        doubts.extend(count(self.usage.unsure, "allowed calls do not say by which role: all of their line's count as used"));
        let first = self.reading.first_not_understood.as_deref().unwrap_or_default();
        doubts.extend(count(self.reading.not_understood, &format!("lines are no records, the first is {first}")));
        doubts
    }

    fn to_json(&self) -> Value {
        let (roles, scopes) = unused_words(self.usage);
        json!({
            "days": self.asked.days, "enough": self.covered_days() >= u64::from(self.asked.days), "doubts": self.doubts(),
            "covers": self.covered.map(|covered| json!({
                "from": covered.from, "to": covered.to, "days": self.covered_days(), "days_with_records": covered.days,
            })),
            "records": self.usage.records, "older": self.usage.older, "not_understood": self.reading.not_understood,
            "advice": self.all.iter().map(Advice::to_json).collect::<Vec<_>>(),
            "unused_roles": roles, "unused_scopes": scopes,
        })
    }

    fn show(&self, output: Output) {
        let covered = self.covered.map_or_else(String::new, |covered| {
            format!(", from {} to {}", Date::of_unix_seconds(covered.from), Date::of_unix_seconds(covered.to))
        });
        output.line(&format!("{}{covered}", counted(usize::try_from(self.usage.records).unwrap_or(usize::MAX), "record")));
        for doubt in self.doubts() {
            output.line(&format!("{} {doubt}", output.paint(Colour::Yellow, "note:")));
        }
        if self.covered.is_none() {
            return;
        }
        if self.all.is_empty() {
            return output.line(&output.paint(Colour::Green, "everything that is granted was used"));
        }
        for one in self.all {
            output.line(&format!("\n{}", output.paint(Colour::Bold, &one.what)));
            output.line(&output.paint(Colour::Dim, &format!("  {}", one.place)));
            output.line(&format!("  seen   {}", one.seen));
            output.line(&format!("  write  {}", output.paint(Colour::Green, &one.write)));
        }
        let (roles, scopes) = unused_words(self.usage);
        for (kind, words) in [("roles", roles), ("scopes", scopes)] {
            if !words.is_empty() {
                output.line(&format!("\n{kind} that let nobody through, and that nobody need have: {}", words.join(", ")));
            }
        }
    }
}
