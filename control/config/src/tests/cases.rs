//! Golden cases: `testing/cases/config`. `UPDATE_GOLDEN=1 cargo test -p portcullis-control-config` writes the expected reports anew.

use super::{cases, load_here};
use std::fs;
use std::path::{Path, PathBuf};

/// The files and folders of a kind of cases; every case is a `.yaml` file or a folder.
fn all(kind: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(cases(kind)).expect("cases").map(|entry| entry.expect("an entry").path());
    let mut all: Vec<PathBuf> = entries.filter(|path| path.is_dir() || path.extension().is_some_and(|end| end == "yaml")).collect();
    all.sort();
    assert!(all.len() >= 4, "the cases of {kind} are missing");
    all
}

/// The report as if the cases' folder were the current one.
fn relative(report: &str, kind: &str) -> String {
    report.replace(&format!("{}/", cases(kind).display()), "")
}

fn compare(case: &Path, found: &str) -> Result<(), String> {
    let golden = case.with_extension("stderr");
    #[allow(clippy::disallowed_methods, reason = "how a developer asks to rewrite the expected reports")]
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    if update {
        fs::write(&golden, found).expect("written");
    }
    let expected = fs::read_to_string(&golden).unwrap_or_default();
    if expected == found { Ok(()) } else { Err(format!("{}:\nexpected\n{expected}\nfound\n{found}", case.display())) }
}

#[test]
fn every_wrong_configuration_is_refused_with_its_report() {
    let mut wrong = Vec::new();
    for case in all("refused") {
        match load_here(&case) {
            Ok(_) => wrong.push(format!("{} was accepted", case.display())),
            Err(report) => wrong.extend(compare(&case, &relative(&report.render(false), "refused")).err()),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_report_says_where_and_what_to_do() {
    for case in all("refused") {
        let report = load_here(&case).expect_err("refused");
        assert!(report.errors() > 0, "{}", case.display());
        for finding in &report.findings {
            assert!(!finding.file.is_empty() && !finding.what.is_empty() && !finding.what.ends_with('.'), "{finding:?}");
            assert!(!finding.what.starts_with(char::is_uppercase) || finding.what.starts_with("WebSocket"), "{finding:?}");
            assert!(finding.line == 0 || finding.column > 0, "{finding:?}");
        }
    }
}

#[test]
fn every_right_configuration_loads_and_its_canonical_form_is_the_same_plan() {
    for case in all("accepted") {
        let plan = load_here(&case).unwrap_or_else(|report| panic!("{}\n{report}", case.display()));
        let folder = super::Folder::new();
        let again = folder.write("canonical.yaml", plan.to_canonical_yaml());
        let again = load_here(&again).unwrap_or_else(|report| panic!("{}\n{report}", plan.to_canonical_yaml()));
        assert_eq!(again.to_canonical_json(), plan.to_canonical_json(), "{}", case.display());
        // What is left out of the form would come back as its default.
        assert_eq!(again.identity, plan.identity, "{}", case.display());
    }
}

#[test]
fn the_keys_of_the_accepted_cases_are_all_in_the_schema() {
    // The other way round: every key the schema names is in `everything.yaml`, so that none is untested.
    let plan = load_here(&cases("accepted/everything.yaml")).expect("accepted");
    let written = fs::read_to_string(cases("accepted/everything.yaml")).expect("there");
    let mut missing = Vec::new();
    keys(&crate::schema(plan.policies()), &mut |key| {
        if !written.contains(&format!("{key}:")) {
            missing.push(key.to_owned());
        }
    });
    assert!(missing.is_empty(), "{missing:?}");
}

fn keys(schema: &serde_json::Value, on: &mut dyn FnMut(&str)) {
    match schema {
        serde_json::Value::Object(fields) => {
            if let Some(properties) = fields.get("properties").and_then(|properties| properties.as_object()) {
                properties.keys().for_each(|key| on(key));
            }
            fields.values().for_each(|inner| keys(inner, on));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|inner| keys(inner, on)),
        _ => {}
    }
}
