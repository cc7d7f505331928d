//! The Python packages that the tests need: in a virtual environment under the target folder, where nothing of the system is touched.
//! The tests find it by `python` of the kit.

use crate::metadata::Metadata;
use crate::run;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What is installed: every package with its version, also those that others need.
const REQUIREMENTS: &str = "testing/kit/py/requirements.txt";
const TIME_MAX: Duration = Duration::from_secs(600);

/// Whether this Python can make virtual environments; on Debian that is a package of its own.
pub fn can_make_environments(python: &Path) -> bool {
    run::output(Command::new(python).args(["-I", "-c", "import ensurepip, venv"]), Duration::from_secs(60)).is_ok()
}

/// Makes the environment, unless it is there with just these packages.
///
/// # Errors
/// What to run, when it cannot be made from here.
pub fn ensure(python: &Path) -> Result<(), String> {
    let requirements = run::root().join(REQUIREMENTS);
    let wanted = std::fs::read_to_string(&requirements).map_err(|error| format!("`{REQUIREMENTS}`: {error}"))?;
    let folder = Metadata::read()?.target_folder.join("python");
    if is_there(&folder, &wanted) {
        println!("all there: {}", packages(&wanted).join(", "));
        return Ok(());
    }
    println!("making `{}` with {}", folder.display(), packages(&wanted).join(", "));
    make(python, &folder, &requirements).map_err(|error| {
        let (folder, requirements) = (folder.display(), requirements.display());
        format!(
            "{error}\nnothing was tested. run this where it can work, then again `cargo xtask test`:\n  python3 -m venv --clear \
             {folder} && {folder}/bin/python3 -m pip install --no-deps -r {requirements} && cp {requirements} {folder}/"
        )
    })?;
    // Written last: an environment that was not finished is made anew.
    let mark = mark(&folder);
    std::fs::write(&mark, &wanted).map_err(|error| format!("`{}`: {error}", mark.display()))
}

fn make(python: &Path, folder: &Path, requirements: &Path) -> Result<(), String> {
    run::shown(Command::new(python).args(["-m", "venv", "--clear"]).arg(folder), TIME_MAX)?;
    let mut command = Command::new(interpreter(folder));
    command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement"]);
    run::shown(command.arg(requirements), TIME_MAX)
}

/// The copy of the requirements that says what an environment was made with.
fn mark(folder: &Path) -> PathBuf {
    folder.join("requirements.txt")
}

fn interpreter(folder: &Path) -> PathBuf {
    folder.join("bin/python3")
}

fn is_there(folder: &Path, wanted: &str) -> bool {
    // The interpreter is a link to the system's, which may have been replaced.
    std::fs::read_to_string(mark(folder)).is_ok_and(|made_with| made_with == wanted) && interpreter(folder).is_file()
}

fn packages(requirements: &str) -> Vec<&str> {
    requirements.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

#[cfg(test)]
mod tests {
    use super::{is_there, packages};

    #[test]
    fn an_environment_with_other_packages_is_not_taken() {
        let folder = std::env::temp_dir().join(format!("portcullis-xtask-python-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("bin")).unwrap();
        assert!(!is_there(&folder, "a==1\n"));
        std::fs::write(folder.join("bin/python3"), "").unwrap();
        std::fs::write(folder.join("requirements.txt"), "a==1\n").unwrap();
        assert!(is_there(&folder, "a==1\n") && !is_there(&folder, "a==2\n"));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn comments_are_not_packages() {
        assert_eq!(packages("# why\na==1\n\nb==2\n"), ["a==1", "b==2"]);
    }
}
