//! The old version's side: starts the new one, hands everything over, and steps back only when the new one serves.

use super::channel::{Channel, DESCRIPTORS_MAX};
use super::{FromNew, FromOld, Kind, Notify, written};
use crate::events::{Event, tell};
use portcullis_control_admin::{Actor, UpgradeRequest, Upgraded};
use portcullis_gateway_listener::TicketKeys;
use std::ffi::OsString;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a new version may take to get ready, unless the caller says otherwise.
const WITHIN: Duration = Duration::from_secs(30);
/// The argument by which a process knows that it is to take over.
pub const TAKE_OVER: &str = "--take-over";

/// How this process was started, and so how the next one is.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// Reads it from the system. Links in the path stay links: where an installation switches one, the next version is behind it.
    ///
    /// # Errors
    /// When the system does not tell.
    #[expect(clippy::disallowed_methods, reason = "app alone reads the command line")]
    pub fn of_this_process() -> io::Result<Self> {
        let running = std::env::current_exe()?;
        let mut words = std::env::args_os();
        let named = words.next().map(PathBuf::from).filter(|path| path.components().count() > 1);
        let named = named.map(std::path::absolute).transpose()?;
        let same = |path: &PathBuf| std::fs::canonicalize(path).is_ok_and(|real| real == running);
        let arguments = words.filter(|word| word != TAKE_OVER).collect();
        Ok(Self { path: named.filter(same).unwrap_or(running), arguments })
    }
}

/// The sockets of this process that are not the data plane's.
#[derive(Debug)]
pub struct Own {
    /// The management API, and where its file is.
    pub management: (OwnedFd, PathBuf),
    /// Probes.
    pub probes: Option<OwnedFd>,
}

/// What upgrades this process.
pub struct Upgrader {
    program: Program,
    /// Let go of when another process serves: as long as a descriptor is open, the kernel takes connections for this process. Locked
    /// while an upgrade is under way.
    own: Mutex<Option<Own>>,
    tickets: Arc<TicketKeys>,
    notify: Notify,
    step_back: tokio::sync::watch::Sender<bool>,
}

impl Upgrader {
    /// `step_back` hears when the next version serves.
    pub fn new(
        program: Program,
        own: Own,
        tickets: Arc<TicketKeys>,
        notify: Notify,
        step_back: tokio::sync::watch::Sender<bool>,
    ) -> Self {
        Self { program, own: Mutex::new(Some(own)), tickets, notify, step_back }
    }

    /// Starts the next version on `listeners` and this process's own sockets; steps back when it is ready. Waits for that.
    ///
    /// # Errors
    /// Why the next version does not serve, for the operator. Nothing has changed then.
    pub fn upgrade(&self, actor: Actor, asked: &UpgradeRequest, listeners: &[TcpListener]) -> Result<Upgraded, String> {
        let mut own = match self.own.try_lock() {
            Ok(own) => own,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err("an upgrade is under way".to_owned()),
        };
        let Some(sockets) = own.as_ref() else { return Err("another version serves already".to_owned()) };
        let path = match &asked.binary {
            None => &self.program.path,
            Some(binary) => trusted(binary, actor)?,
        };
        let outcome = self.start(path, asked.within.unwrap_or(WITHIN), sockets, listeners);
        if outcome.is_ok() {
            *own = None;
        }
        match &outcome {
            Ok(pid) => tell(&Event::HandedOver { pid: *pid }),
            Err(problem) => tell(&Event::UpgradeRefused { problem }),
        }
        outcome.map(|pid| Upgraded { pid, draining_pid: std::process::id() })
    }

    fn start(&self, path: &Path, within: Duration, own: &Own, listeners: &[TcpListener]) -> Result<u32, String> {
        let deadline = Instant::now() + within;
        let shown = path.display();
        let (channel, other) = Channel::pair().map_err(|error| format!("no channel to the new version: {error}"))?;
        let mut command = Command::new(path);
        command.args(&self.program.arguments).arg(TAKE_OVER).stdin(Stdio::from(other));
        let child = command.spawn().map_err(|error| format!("`{shown}` cannot be started: {error}"))?;
        // The other end must be the new process's alone, or its end would not be noticed.
        drop(command);
        let mut child = Starting(Some(child));
        let answer = self.hand_over(&channel, own, listeners).and_then(|()| {
            let left = deadline.saturating_duration_since(Instant::now());
            channel.receive(left).map(|(bytes, _)| bytes)
        });
        match answer {
            Ok(bytes) if !bytes.is_empty() => match serde_json::from_slice(&bytes) {
                Ok(FromNew::Ready) => {}
                Ok(FromNew::Failed(problem)) => return Err(problem),
                Err(_) => return Err(format!("`{shown}` does not speak as this version does{}", child.end())),
            },
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Err(format!("`{shown}` was not ready within {} s and was ended", within.as_secs()));
            }
            // No word, or what was said to it was not read to the end.
            Ok(_) | Err(_) => return Err(format!("`{shown}` ended before it was ready{}", child.end())),
        }
        let go = written(&FromOld::Go).and_then(|bytes| channel.send(&bytes, &[]));
        go.map_err(|error| format!("`{shown}` ended when it was ready: {error}{}", child.end()))?;
        let pid = child.serves();
        self.notify.main_process(pid);
        self.step_back.send_replace(true);
        Ok(pid)
    }

    fn hand_over(&self, channel: &Channel, own: &Own, listeners: &[TcpListener]) -> io::Result<()> {
        let (management, path) = &own.management;
        let mut sockets: Vec<(Kind, BorrowedFd<'_>)> = vec![(Kind::Management(path.clone()), management.as_fd())];
        sockets.extend(own.probes.iter().map(|probes| (Kind::Probes, probes.as_fd())));
        sockets.extend(listeners.iter().map(|listener| (Kind::Listener, listener.as_fd())));
        let mut left = sockets.len();
        let mut sockets = sockets.into_iter();
        while left > 0 {
            let (kinds, descriptors): (Vec<Kind>, Vec<BorrowedFd<'_>>) = sockets.by_ref().take(DESCRIPTORS_MAX).unzip();
            left -= kinds.len();
            channel.send(&written(&FromOld::Sockets { kinds, more: left > 0 })?, &descriptors)?;
        }
        channel.send_secret(&self.tickets.hand_over())
    }
}

/// A program that somebody names.
///
/// SECURITY: it will have this process's rights and keys. Whoever may open the management socket may ask for an upgrade to the program
/// at this process's own path; another one may only be named by who could make this process run it anyway: root, or its own user. It
/// must not be one that others can change.
fn trusted(binary: &Path, actor: Actor) -> Result<&Path, String> {
    let shown = binary.display();
    let own = rustix::process::geteuid().as_raw();
    if actor.uid != 0 && actor.uid != own {
        return Err(format!(
            "only root and the gateway's own user may name a binary; install it at the gateway's own path instead of `{shown}`"
        ));
    }
    let found = std::fs::metadata(binary).map_err(|error| format!("`{shown}`: {error}"))?;
    if !found.is_file() {
        return Err(format!("`{shown}` is not a file"));
    }
    if found.uid() != 0 && found.uid() != own {
        return Err(format!("`{shown}` belongs to another user; it must be root's or the gateway's"));
    }
    if found.permissions().mode() & 0o022 != 0 {
        return Err(format!("`{shown}` can be changed by others; run `chmod go-w` on it"));
    }
    Ok(binary)
}

/// A process that may become the next version. Ended, by its id, unless it has.
struct Starting(Option<Child>);

impl Starting {
    /// It serves.
    fn serves(&mut self) -> u32 {
        self.0.take().map_or(0, |child| child.id())
    }

    /// Ends it; says how it had ended, if it had.
    fn end(&mut self) -> String {
        let Some(mut child) = self.0.take() else { return String::new() };
        // Fails only when it has ended already.
        let _ended = child.kill();
        match child.wait() {
            Ok(status) if status.signal() != Some(rustix::process::Signal::KILL.as_raw()) => format!(" ({status})"),
            _ => String::new(),
        }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::{Actor, trusted};
    use std::os::unix::fs::PermissionsExt;

    fn actor(uid: u32) -> Actor {
        Actor { uid, gid: uid, pid: None }
    }

    #[test]
    fn only_who_could_make_this_process_run_anything_may_name_a_binary() {
        let own = rustix::process::geteuid().as_raw();
        let path = std::env::temp_dir().join(format!("portcullis-binary-{}", std::process::id()));
        std::fs::write(&path, "").unwrap();
        let allow = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        allow(0o755);
        assert!(trusted(&path, actor(own)).is_ok() && trusted(&path, actor(0)).is_ok());
        let stranger = trusted(&path, actor(own + 4242)).unwrap_err();
        assert!(stranger.contains("only root and the gateway's own user"), "{stranger}");
        for mode in [0o775, 0o757] {
            allow(mode);
            assert!(trusted(&path, actor(own)).unwrap_err().contains("can be changed by others"), "{mode:o}");
        }
        assert!(trusted(&std::env::temp_dir(), actor(own)).unwrap_err().contains("not a file"));
        std::fs::remove_file(path).unwrap();
    }
}
