//! Running programs: always with a deadline, never with a standard input.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// The root of the repository: of the clone that cargo runs this in. Not of the one that it was built in: clones may share a target
/// folder, and then this program is not built anew for each.
pub fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// `cargo`, the one that runs us, in the root of the repository.
pub fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// Runs a program with its output shown, and ends it at the deadline.
///
/// # Errors
/// When it cannot be started, fails, or takes too long.
pub fn shown(command: &mut Command, within: Duration) -> Result<(), String> {
    let mut child = command.stdin(Stdio::null()).spawn().map_err(|error| format!("{}: {error}", name(command)))?;
    let status = wait(&mut child, within).map_err(|error| format!("{}: {error}", name(command)))?;
    judge(command, status)
}

/// Runs a program, hands each line of its standard output to `line`, and ends it at the deadline.
///
/// # Errors
/// As [`shown`].
pub fn by_line(command: &mut Command, within: Duration, mut line: impl FnMut(&str)) -> Result<(), String> {
    let until = Instant::now() + within;
    let failed = |command: &Command, error: &dyn std::fmt::Display| format!("{}: {error}", name(command));
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|error| failed(command, &error))?;
    let Some(out) = child.stdout.take() else { return Err(failed(command, &"its output cannot be read")) };
    // Bounded: a program that prints faster than we print waits for us.
    let (send, lines) = mpsc::sync_channel(256);
    let reader = thread::spawn(move || {
        for text in BufReader::new(out).split(b'\n').map_while(Result::ok) {
            if send.send(String::from_utf8_lossy(&text).into_owned()).is_err() {
                return;
            }
        }
    });
    loop {
        match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(text) => line(&text),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                end(&mut child);
                return Err(failed(command, &format!("not done within {} s; ended", within.as_secs())));
            }
        }
    }
    let status = wait(&mut child, until.saturating_duration_since(Instant::now())).map_err(|error| failed(command, &error))?;
    if reader.join().is_err() {
        return Err(failed(command, &"its output cannot be read"));
    }
    judge(command, status)
}

/// Runs a program and returns its standard output; its errors are part of the error.
///
/// # Errors
/// As [`shown`], or when the output is not UTF-8.
pub fn output(command: &mut Command, within: Duration) -> Result<String, String> {
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|error| format!("{}: {error}", name(command)))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let out = thread::spawn(move || read_all(out));
    let err = thread::spawn(move || read_all(err));
    let status = wait(&mut child, within).map_err(|error| format!("{}: {error}", name(command)))?;
    let out = out.join().unwrap_or_default();
    let err = String::from_utf8_lossy(&err.join().unwrap_or_default()).into_owned();
    judge(command, status).map_err(|error| format!("{error}\n{err}"))?;
    String::from_utf8(out).map_err(|error| format!("{}: {error}", name(command)))
}

fn read_all(from: Option<impl Read>) -> Vec<u8> {
    let mut all = Vec::new();
    if let Some(mut from) = from
        && from.read_to_end(&mut all).is_err()
    {
        all.clear();
    }
    all
}

fn judge(command: &Command, status: ExitStatus) -> Result<(), String> {
    if status.success() { Ok(()) } else { Err(format!("{}: {status}", name(command))) }
}

fn name(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

fn wait(child: &mut Child, within: Duration) -> Result<ExitStatus, String> {
    let until = Instant::now() + within;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(20)),
            Ok(None) => {
                end(child);
                return Err(format!("not done within {} s; ended", within.as_secs()));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Ends a program and everything that it started, by process id.
fn end(child: &mut Child) {
    let mut ids: Vec<String> = descendants(child.id()).iter().map(u32::to_string).collect();
    ids.push(child.id().to_string());
    let killed = Command::new("kill").arg("-KILL").args(&ids).stdin(Stdio::null()).stderr(Stdio::null()).status();
    if killed.is_err() && child.kill().is_err() {
        eprintln!("process {} could not be ended", child.id());
    }
    if let Err(error) = child.wait() {
        eprintln!("process {}: {error}", child.id());
    }
}

fn descendants(of: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        if let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok())
            && let Some(parent) = parent_of(id)
        {
            children.entry(parent).or_default().push(id);
        }
    }
    let (mut found, mut next) = (Vec::new(), vec![of]);
    while let Some(id) = next.pop() {
        for child in children.remove(&id).unwrap_or_default() {
            found.push(child);
            next.push(child);
        }
    }
    found
}

fn parent_of(id: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name, in parentheses, may itself contain spaces and parentheses: what follows the last one counts.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{by_line, output, shown};
    use std::process::Command;
    use std::time::{Duration, Instant};

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn lines_and_output_come_through() {
        let mut lines = Vec::new();
        by_line(Command::new("sh").args(["-c", "echo a; echo b"]), LONG, |line| lines.push(line.to_owned())).unwrap();
        assert_eq!(lines, ["a", "b"]);
        assert_eq!(output(Command::new("echo").arg("c"), LONG).unwrap(), "c\n");
    }

    #[test]
    fn a_failure_names_the_command() {
        let error = shown(Command::new("sh").args(["-c", "exit 3"]), LONG).unwrap_err();
        assert!(error.contains("sh -c exit 3") && error.contains('3'), "{error}");
        assert!(output(Command::new("sh").args(["-c", "echo why >&2; exit 1"]), LONG).unwrap_err().contains("why"));
    }

    #[test]
    fn what_takes_too_long_is_ended_with_its_children() {
        let mut child = 0;
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & echo $!; wait"]);
        let error = by_line(&mut command, Duration::from_secs(1), |line| child = line.parse().unwrap()).unwrap_err();
        assert!(error.contains("ended"), "{error}");
        let until = Instant::now() + LONG;
        let gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        while !gone() {
            assert!(Instant::now() < until, "process {child} still runs");
            std::thread::yield_now();
        }
    }
}
