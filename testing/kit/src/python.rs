//! Python programs with the packages that `cargo xtask programs` installs: real clients and servers that are not our own.

use crate::process::output_of;
use crate::{Guarded, TempDir, eventually};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// The interpreter of the tests' virtual environment, `python` under the target folder. It has what testing/kit/py/requirements.txt
/// lists: `websockets`, `grpc`, `h2`. The one place that knows where it is.
///
/// # Panics
/// When it is not there, with what to run.
pub fn python() -> PathBuf {
    let test = std::env::current_exe().expect("the system tells where the test is");
    let interpreters = test.ancestors().map(|folder| folder.join("python/bin/python3"));
    let found = interpreters.into_iter().find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("the tests' Python packages are not here; run `cargo xtask programs`, or `cargo xtask test`"))
}

/// Runs a Python program, given as its text, to its end.
///
/// # Panics
/// When it fails, with what it said; or does not end within [`crate::PATIENCE`].
#[track_caller]
pub fn run_python(program: &str, arguments: &[&str]) -> String {
    let output = try_python(program, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{errors}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// As [`run_python`], and leaves it to the test whether it may fail.
///
/// # Panics
/// When it does not end within [`crate::PATIENCE`].
#[track_caller]
pub fn try_python(program: &str, arguments: &[&str]) -> Output {
    let folder = TempDir::new();
    let script = folder.write("program.py", program);
    output_of(command().arg(script).args(arguments))
}

/// Isolated: what the developer has set up for Python has no influence.
fn command() -> Command {
    let mut command = Command::new(python());
    command.args(["-I", "-B"]);
    command
}

/// A Python program that serves. Without another it is that of testing/kit/py/server.py: echo, server-sent events, WebSocket, chunks,
/// trailers.
#[derive(Debug)]
pub struct PyServer {
    process: Guarded,
    address: SocketAddr,
    _folder: TempDir,
}

impl PyServer {
    /// Starts the server of testing/kit/py/server.py.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn start() -> Self {
        // Carried in the binary: clones that share a target folder share binaries, and a path could lead to another clone.
        Self::running(include_str!("../py/server.py"), &[])
    }

    /// Starts a server, given as its text. It listens on a port of 127.0.0.1 that the system chooses, writes the number beside the file
    /// that its first argument names and then renames it to that, and ends when its standard input does: so it cannot outlive the tests.
    ///
    /// # Panics
    /// When it does not start, with what it said.
    #[track_caller]
    pub fn running(program: &str, arguments: &[&str]) -> Self {
        let folder = TempDir::new();
        let (port_file, log) = (folder.path().join("port"), folder.path().join("log"));
        let script = folder.write("server.py", program);
        let errors = std::fs::File::create(&log).expect("a log can be written");
        let mut command = command();
        command.arg(script).arg(&port_file).args(arguments);
        let mut process = Guarded::start(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(errors));
        let port: u16 = eventually("the Python server to listen", || {
            assert!(process.is_running(), "it ended: {}", std::fs::read_to_string(&log).unwrap_or_default());
            std::fs::read_to_string(&port_file).ok()?.trim().parse().ok()
        });
        Self { process, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), _folder: folder }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process.
    pub fn process(&mut self) -> &mut Guarded {
        &mut self.process
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}
