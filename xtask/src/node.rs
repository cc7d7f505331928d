//! The npm packages that the tests need: under the target folder, exactly as their lock file says, without running anything of them.
//! The tests find them by `node_modules` of the kit.

use crate::metadata::Metadata;
use crate::run;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What is installed, with every version and hash.
const FOLDER: &str = "testing/kit/js";
const FILES: [&str; 2] = ["package.json", "package-lock.json"];
const TIME_MAX: Duration = Duration::from_secs(600);

/// Installs the packages, unless they are there by just this lock file.
///
/// # Errors
/// What to run, when they cannot be installed from here.
pub fn ensure(npm: &Path) -> Result<(), String> {
    let from = run::root().join(FOLDER);
    let folder = Metadata::read()?.target_folder.join("node");
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| format!("`{}`: {error}", path.display()));
    let wanted = read(&from.join("package-lock.json"))?;
    if is_there(&folder, &wanted) {
        println!("all there: {}", folder.join("node_modules").display());
        return Ok(());
    }
    println!("making `{}`", folder.display());
    let cannot = |error: String| {
        let (from, folder) = (from.display(), folder.display());
        format!(
            "{error}\nnothing was tested. run this where it can work, then again `cargo xtask test`:\n  mkdir -p {folder} && cp \
             {from}/package*.json {folder}/ && (cd {folder} && npm ci --ignore-scripts) && cp {from}/package-lock.json {folder}/made-with.json"
        )
    };
    std::fs::create_dir_all(&folder).map_err(|error| cannot(error.to_string()))?;
    for file in FILES {
        std::fs::copy(from.join(file), folder.join(file)).map_err(|error| cannot(error.to_string()))?;
    }
    let mut command = Command::new(npm);
    command.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(&folder);
    run::shown(&mut command, TIME_MAX).map_err(cannot)?;
    // Written last: what was not finished is made anew.
    std::fs::write(folder.join(MARK), &wanted).map_err(|error| cannot(error.to_string()))
}

/// The copy of the lock file that says what was installed.
const MARK: &str = "made-with.json";

fn is_there(folder: &Path, wanted: &str) -> bool {
    std::fs::read_to_string(folder.join(MARK)).is_ok_and(|made_with| made_with == wanted) && folder.join("node_modules").is_dir()
}

#[cfg(test)]
mod tests {
    use super::{MARK, is_there};

    #[test]
    fn packages_by_another_lock_file_are_not_taken() {
        let folder = std::env::temp_dir().join(format!("portcullis-xtask-node-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("node_modules")).unwrap();
        assert!(!is_there(&folder, "{}"));
        std::fs::write(folder.join(MARK), "{}").unwrap();
        assert!(is_there(&folder, "{}") && !is_there(&folder, "{ }"));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
