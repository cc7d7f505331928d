//! What `portcullis check` says of settings of policies that it refuses: golden reports in `testing/cases/config/policies`. With
//! `UPDATE_GOLDEN=1` they are written anew.

use portcullis_testing_kit::binary;
use std::path::{Path, PathBuf};
use std::process::Command;

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cases/config/policies");
    let entries = std::fs::read_dir(folder).expect("cases").map(|entry| entry.expect("an entry").path());
    let mut cases: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
    cases.sort();
    cases
}

#[test]
fn settings_of_policies_that_are_wrong_are_refused_with_their_reports() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for case in cases() {
        let (folder, name) = (case.parent().expect("a folder"), case.file_name().expect("a name"));
        let output = Command::new(binary())
            .args(["check", "--format", "text", "--config"])
            .arg(name)
            .current_dir(folder)
            .output()
            .expect("it runs");
        let found = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{} was accepted", case.display());
        let golden = case.with_extension("stderr");
        if update {
            std::fs::write(&golden, &found).expect("written");
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        if expected != found {
            wrong.push(format!("{}:\nexpected\n{expected}\nfound\n{found}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
