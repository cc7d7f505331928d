//! `cargo xtask fuzz`: long runs of the fuzz targets.

use crate::run;
use std::time::Duration;

/// Fuzzes the target named, or each in turn.
///
/// # Errors
/// When the words are not understood, or a target found something.
pub fn fuzz(words: &[&str]) -> Result<(), String> {
    let (target, seconds) = read(words)?;
    let build = Duration::from_secs(1800);
    run::shown(run::cargo().args(["build", "--release", "--package", "portcullis-fuzz"]), build)?;
    let program = || {
        let mut command = run::cargo();
        command.args(["run", "--quiet", "--release", "--package", "portcullis-fuzz", "--bin", "portcullis-fuzz", "--"]);
        command
    };
    let targets = match target {
        Some(target) => vec![target.to_owned()],
        None => run::output(program().arg("--list"), build)?.lines().map(str::to_owned).collect(),
    };
    for target in targets {
        println!("\n== {target}, {seconds} s");
        let within = Duration::from_secs(seconds.saturating_add(120));
        run::shown(program().args([&target, "--seconds", &seconds.to_string()]), within)?;
    }
    Ok(())
}

fn read<'a>(words: &[&'a str]) -> Result<(Option<&'a str>, u64), String> {
    let (target, rest) = match words {
        [target, rest @ ..] if !target.starts_with("--") => (Some(*target), rest),
        rest => (None, rest),
    };
    match rest {
        [] => Ok((target, 60)),
        ["--seconds", number] => {
            number.parse().map(|seconds| (target, seconds)).map_err(|_| format!("`{number}` is not a number of seconds"))
        }
        _ => Err("usage: cargo xtask fuzz [TARGET] [--seconds N]".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn target_and_seconds_are_both_optional() {
        assert_eq!(read(&[]), Ok((None, 60)));
        assert_eq!(read(&["chunked"]), Ok((Some("chunked"), 60)));
        assert_eq!(read(&["chunked", "--seconds", "5"]), Ok((Some("chunked"), 5)));
        assert_eq!(read(&["--seconds", "5"]), Ok((None, 5)));
        assert!(read(&["--seconds", "x"]).is_err() && read(&["a", "b"]).is_err());
    }
}
