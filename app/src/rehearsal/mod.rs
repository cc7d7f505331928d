//! `portcullis test`: requests and expected decisions, for the operator's CI, by the engine that decides at run time.

mod settings;

use crate::check::counted;
use crate::explain::head;
use crate::output::{Colour, Output};
use portcullis_control_config::{Loader, RoutePlace, read_settings};
use portcullis_control_reload::{Decided, Known, Rehearsal, Rehearsed, rehearsed};
use portcullis_gateway_policy::PolicyDefinition;
use portcullis_model::Clock;
use portcullis_model_settings::{Decode, Spanned};
use serde_json::{Value, json};
use settings::{DecisionWord, ExpectSettings, TestFile, TestSettings};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::LazyLock;

pub static POLICIES: LazyLock<Vec<PolicyDefinition>> = LazyLock::new(|| rehearsed(portcullis_policies::POLICIES));

/// What the tests, or the configuration, could not be read with.
const UNREADABLE: u8 = 2;

/// Runs the tests of a file: 0 when all pass, 1 when one fails, 2 when the file or its configuration cannot be read.
pub fn test(file: &Path, config: Option<PathBuf>, clock: &Clock, output: Output) -> ExitCode {
    match run(file, config, clock, output) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(problem) => {
            if !problem.is_empty() {
                output.complain(&problem);
            }
            ExitCode::from(UNREADABLE)
        }
    }
}

/// A test that was run.
struct Ran<'t> {
    test: &'t Spanned<TestSettings>,
    outcome: Rehearsed,
    /// What is not as expected; empty when it passes.
    differs: Vec<String>,
}

/// Runs and tells; how many have failed.
fn run(file: &Path, config: Option<PathBuf>, clock: &Clock, output: Output) -> Result<usize, String> {
    let tests: TestFile = read_settings(file).map_err(|report| crate::check::refused(&report, output))?;
    if tests.tests.is_empty() {
        return Err(format!("{}: there is no test in it", file.display()));
    }
    let folder = file.parent().unwrap_or(Path::new(""));
    let config = config.or_else(|| tests.configuration.as_ref().map(|path| path.resolve(folder)));
    let config = config.ok_or("which configuration? name it with `--config`, or by `configuration:` in the file")?;
    let mut loader = Loader::new(&config, &portcullis_policies::settings(), clock.clone());
    let plan = loader.load().map_err(|report| crate::check::refused(&report, output))?;
    let mut rehearsal = Rehearsal::new(&plan, &POLICIES, clock)?;
    let mut ran = Vec::with_capacity(tests.tests.len());
    for test in &tests.tests {
        let head = head(&test.request.method, &test.request.url, &test.headers)
            .map_err(|problem| format!("{}:{}:{}: {problem}", file.display(), test.position.line, test.position.column))?;
        let known = test.caller.as_ref();
        let known = known.map(|one| Known {
            provider: &one.provider,
            subject: &one.subject,
            roles: &one.roles,
            scopes: &one.scopes,
            consumer: one.consumer.as_deref(),
        });
        let outcome = rehearsal.decide(head.as_bytes(), test.client.0, known);
        let differs = differences(&test.expect, &outcome);
        ran.push(Ran { test, outcome, differs });
    }
    let wanted: HashSet<(&str, &str)> =
        ran.iter().filter_map(|one| one.outcome.route.as_ref().map(|(api, route)| (&**api, &**route))).collect();
    show(&ran, &loader.route_places(&wanted), file, output);
    Ok(ran.iter().filter(|one| !one.differs.is_empty()).count())
}

/// What became of a request, as the file would say it.
fn word(decided: Decided) -> DecisionWord {
    match decided {
        Decided::Allow => DecisionWord::Allow,
        Decided::Refuse => DecisionWord::Refuse,
        Decided::Answer => DecisionWord::Answer,
    }
}

/// What is not as expected.
fn differences(expect: &ExpectSettings, outcome: &Rehearsed) -> Vec<String> {
    let mut differs = Vec::new();
    let mut compare = |what: &str, expected: Option<String>, got: Option<String>| {
        if let Some(expected) = expected.filter(|expected| Some(expected) != got.as_ref()) {
            differs.push(format!("{what} {expected} expected, {}", got.unwrap_or_else(|| "none".to_owned())));
        }
    };
    compare("decision", Some(expect.decision.as_str().to_owned()), Some(word(outcome.decided).as_str().to_owned()));
    compare("status", expect.status.map(|status| status.to_string()), outcome.status.map(|status| status.to_string()));
    compare("code", expect.code.map(|code| code.0.code().to_owned()), outcome.code.map(str::to_owned));
    compare("route", expect.route.clone(), outcome.route.as_ref().map(|(api, route)| format!("{api}/{route}")));
    compare("line", expect.line.map(|line| line.to_string()), outcome.line.map(|line| line.to_string()));
    differs
}

impl Ran<'_> {
    fn name(&self) -> String {
        self.test.name.clone().unwrap_or_else(|| format!("{} {}", self.test.request.method, self.test.request.url))
    }

    /// Where that is written which made the decision: the line of `allow`, or else the route.
    fn place(&self, places: &HashMap<(String, String), RoutePlace>) -> Option<String> {
        let (api, route) = self.outcome.route.as_ref()?;
        let place = places.get(&(api.to_string(), route.to_string()))?;
        let line = self.outcome.line.and_then(|line| place.allow_lines.get(usize::from(line).checked_sub(1)?));
        Some(line.map_or_else(|| place.to_string(), |(line, column)| format!("{}:{line}:{column}", place.file)))
    }

    /// The decision in words.
    fn told(&self, places: &HashMap<(String, String), RoutePlace>) -> String {
        let outcome = &self.outcome;
        let mut text = match (outcome.decided, outcome.line) {
            (Decided::Allow, Some(line)) => format!("allowed by line {line} of `allow`"),
            (Decided::Allow, None) if !outcome.detail.is_empty() => "allowed".to_owned(),
            (Decided::Allow, None) => "allowed, as everybody is".to_owned(),
            (Decided::Answer, _) => format!("answered with {}", outcome.status.unwrap_or_default()),
            (Decided::Refuse, _) => {
                format!("refused with {} {}", outcome.status.unwrap_or_default(), outcome.code.unwrap_or_default())
            }
        };
        if let Some(policy) = outcome.policy {
            text.push_str(&format!(" by {policy}"));
        }
        if !outcome.detail.is_empty() {
            text.push_str(&format!(": {}", outcome.detail));
        }
        if let Some((api, route)) = &outcome.route {
            text.push_str(&format!("; route {api}/{route}"));
        }
        if let Some(place) = self.place(places) {
            text.push_str(&format!(" ({place})"));
        }
        text
    }

    fn to_json(&self, places: &HashMap<(String, String), RoutePlace>) -> Value {
        let outcome = &self.outcome;
        json!({
            "name": self.name(), "line": self.test.position.line, "passed": self.differs.is_empty(), "differs": self.differs,
            "request": self.test.request.encode(), "expected": self.test.expect.encode(),
            "got": {
                "decision": word(outcome.decided).as_str(), "status": outcome.status, "code": outcome.code, "policy": outcome.policy,
                "route": outcome.route.as_ref().map(|(api, route)| format!("{api}/{route}")), "line": outcome.line,
                "place": self.place(places), "detail": outcome.detail,
            },
        })
    }
}

fn show(ran: &[Ran<'_>], places: &HashMap<(String, String), RoutePlace>, file: &Path, output: Output) {
    let failed = ran.iter().filter(|one| !one.differs.is_empty()).count();
    let passed = ran.len() - failed;
    if output.is_json() {
        let tests: Vec<Value> = ran.iter().map(|one| one.to_json(places)).collect();
        output.json(&json!({ "passed": passed, "failed": failed, "tests": tests }));
        return;
    }
    for one in ran {
        let has_passed = one.differs.is_empty();
        let mark = if has_passed { output.paint(Colour::Green, "pass") } else { output.paint(Colour::Red, "FAIL") };
        output.line(&format!("{mark}  {}", one.name()));
        if !has_passed {
            let at = one.test.position;
            output.line(&format!("      {}:{}:{}: {}", file.display(), at.line, at.column, one.differs.join("; ")));
            output.line(&format!("      {}", one.told(places)));
        }
    }
    let failures = if failed == 0 { String::new() } else { output.paint(Colour::Red, &format!(", {failed} failed")) };
    output.line(&format!("\n{}: {passed} passed{failures}", counted(ran.len(), "test")));
}
