//! Programs that end with the test.

use crate::eventually::{eventually, holds};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

/// A running program; killed, by its id, when dropped.
#[derive(Debug)]
pub struct Guarded(Process);

#[derive(Debug)]
enum Process {
    /// One that we started.
    Child(Child),
    /// One that a program of ours started: only known by its id.
    Other(u32),
}

impl Guarded {
    /// Starts a program.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        match command.spawn() {
            Ok(child) => Self(Process::Child(child)),
            Err(error) => panic!("{command:?} cannot be started: {error}; `cargo xtask test` installs what the tests need"),
        }
    }

    /// Takes charge of a program that one of ours has started.
    pub fn started_by_ours(id: u32) -> Self {
        Self(Process::Other(id))
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        match &self.0 {
            Process::Child(child) => child.id(),
            Process::Other(id) => *id,
        }
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        match &mut self.0 {
            Process::Child(child) => child.try_wait().expect("the system tells of its processes"),
            Process::Other(id) => {
                let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
                let fields: Vec<&str> = stat.rsplit_once(')').map_or(Vec::new(), |(_, rest)| rest.split_whitespace().collect());
                // One that has ended and that nobody has asked about is a zombie; as long as it has threads it may have files open.
                let runs = fields.first().is_some_and(|state| *state != "Z")
                    || fields.get(17).and_then(|threads| threads.parse::<u32>().ok()).is_some_and(|threads| threads > 1);
                (!runs).then(ExitStatus::default)
            }
        }
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// When the system does not tell.
    pub fn is_running(&mut self) -> bool {
        self.ended().is_none()
    }

    /// Sends it a signal, for example `HUP`.
    ///
    /// # Panics
    /// When it cannot be sent.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status();
        assert!(status.is_ok_and(|status| status.success()), "SIG{name} cannot be sent to process {}", self.id());
    }

    /// Stops it where it is, as a machine that hangs: the system still holds its connections and takes bytes and new connections for
    /// it, but nobody answers. `signal("CONT")` lets it go on.
    ///
    /// # Panics
    /// When it does not stop.
    pub fn pause(&self) {
        self.signal("STOP");
        let stat = || std::fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap_or_default();
        holds("a program to stop where it is", || stat().rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')));
    }

    /// Waits for its end. How a program ended that we did not start ourselves is not known; it counts as a success.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the end of a program", || self.ended())
    }

    /// Kills it, as a machine without memory would.
    pub fn kill(&mut self) {
        self.kill_now();
        holds("the end of a killed program", || !self.is_running());
    }

    fn kill_now(&mut self) {
        if !self.is_running() {
            return;
        }
        // Fails only when it has ended in between.
        let _ended = match &mut self.0 {
            Process::Child(child) => child.kill().is_ok(),
            Process::Other(id) => {
                let killed = Command::new("kill").arg("-KILL").arg(id.to_string()).stderr(Stdio::null()).status();
                killed.is_ok_and(|status| status.success())
            }
        };
    }

    /// Resident memory, in KiB; 0 when it has ended.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.kill_now();
        if let Process::Child(child) = &mut self.0 {
            let _reaped = child.wait();
        }
    }
}

/// Runs a program to its end and gives what it printed.
///
/// # Panics
/// When it cannot be started, or does not end within [`crate::PATIENCE`].
#[track_caller]
pub fn output_of(command: &mut Command) -> Output {
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = spawned.unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
    let id = child.id();
    let (send, received) = std::sync::mpsc::sync_channel(1);
    let waiter = std::thread::spawn(move || {
        // Nobody listens any more when the test has given up.
        let _late = send.send(child.wait_with_output());
    });
    let Ok(output) = received.recv_timeout(crate::PATIENCE) else {
        let _killed = Command::new("kill").arg("-KILL").arg(id.to_string()).status();
        panic!("{command:?} did not end");
    };
    waiter.join().expect("the waiting thread ends");
    output.expect("the output of a program can be read")
}

/// Where a program is: on the path, or where the system keeps its daemons.
pub(crate) fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|file| file.is_file()).unwrap_or_else(|| {
        panic!("`{program}` is not installed; `cargo xtask test` installs what the tests need");
    })
}
