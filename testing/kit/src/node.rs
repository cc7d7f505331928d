//! Node.js programs with the packages that `cargo xtask programs` installs.

use crate::{Guarded, TempDir, eventually, output_of};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The packages: `node/node_modules` under the target folder, as testing/kit/js says.
///
/// # Panics
/// When they are not there, with what to run.
fn node_modules() -> PathBuf {
    let test = std::env::current_exe().expect("the system tells where the test is");
    let found = test.ancestors().map(|folder| folder.join("node/node_modules")).find(|folder| folder.is_dir());
    found.unwrap_or_else(|| panic!("the tests' npm packages are not here; run `cargo xtask programs`, or `cargo xtask test`"))
}

/// Runs a Node.js program, given as its text, to its end, and gives what it printed. Its arguments are the folder of the packages, and those given
/// here. It gets a minute.
///
/// # Panics
/// When it fails, with what it said.
#[track_caller]
pub fn run_node(program: &str, arguments: &[&str]) -> String {
    let folder = TempDir::new();
    let script = folder.write("program.mjs", program);
    let mut command = Command::new("timeout");
    command.args(["60", "node"]).arg(script).arg(node_modules()).args(arguments).current_dir(folder.path());
    let output = output_of(&mut command);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}\n{said}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    said
}

/// A Node.js program that serves.
#[derive(Debug)]
pub struct NodeServer {
    process: Guarded,
    address: SocketAddr,
    folder: TempDir,
}

impl NodeServer {
    /// Starts a server, given as its text, with files beside it. Its arguments are the file to write its port to, the folder of the packages,
    /// and those given here; it listens on 127.0.0.1 and ends when its standard input does: so it cannot outlive the tests.
    ///
    /// # Panics
    /// When it does not start, with what it said.
    #[track_caller]
    pub fn running(program: &str, arguments: &[&str], files: &[(&str, &str)]) -> Self {
        let folder = TempDir::new();
        files.iter().for_each(|(name, text)| drop(folder.write(name, text)));
        let (port_file, log) = (folder.path().join("port"), folder.path().join("log"));
        let script = folder.write("server.mjs", program);
        let errors = std::fs::File::create(&log).expect("a log can be written");
        let mut command = Command::new("node");
        command.arg(script).arg(&port_file).arg(node_modules()).args(arguments).current_dir(folder.path());
        let mut process = Guarded::start(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(errors));
        let port: u16 = eventually("the Node.js server to listen", || {
            assert!(process.is_running(), "it ended: {}", std::fs::read_to_string(&log).unwrap_or_default());
            std::fs::read_to_string(&port_file).ok()?.trim().parse().ok()
        });
        Self { process, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), folder }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Writes a file beside it, whole.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, content: &str) {
        let written = self.folder.write(&format!("{name}.new"), content);
        std::fs::rename(written, self.folder.path().join(name)).expect("a file can be renamed");
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}
