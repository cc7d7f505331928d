//! The new version's side: takes what it is given, and says when it serves.

use super::channel::Channel;
use super::{FromNew, FromOld, Kind, written};
use portcullis_control_reload::Inherited;
use portcullis_model::Secret;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

/// How long the old process may take for one message.
const PATIENCE: Duration = Duration::from_secs(30);
/// A text that is sent, at most; the rest of it is on standard error.
const TEXT_BYTES_MAX: usize = 16 * 1024;
/// How many messages with sockets there may be.
const MESSAGES_MAX: usize = 1024;

/// What a process begins with: nothing, or what the version before has handed over.
#[derive(Debug, Default)]
pub struct Inheritance {
    /// Listening sockets by address.
    pub listeners: Inherited,
    /// The socket of the management API, and where its file is.
    pub management: Option<(OwnedFd, PathBuf)>,
    /// The socket of the probes.
    pub probes: Option<TcpListener>,
    /// The keys of session tickets.
    pub tickets: Option<Secret<Vec<u8>>>,
}

impl Inheritance {
    /// The probes' socket, if it is at this address.
    pub fn probes_at(&mut self, address: SocketAddr) -> Option<TcpListener> {
        self.probes.take_if(|probes| probes.local_addr().is_ok_and(|local| local == address))
    }
}

/// The process that serves until this one is ready.
#[derive(Debug)]
pub struct Predecessor(Channel);

impl Predecessor {
    /// Takes over what the process that started this one hands over on standard input.
    ///
    /// # Errors
    /// When nothing of the kind comes, for the operator.
    pub fn meet() -> Result<(Self, Inheritance), String> {
        let told = |error: io::Error| {
            format!("nothing can be taken over on standard input: {error}; `--take-over` is for `portcullis upgrade` alone")
        };
        let channel = std::io::stdin().as_fd().try_clone_to_owned().and_then(Channel::of).map_err(told)?;
        // The end of the conversation must be the end of the channel.
        let nothing = std::fs::File::open("/dev/null").map_err(told)?;
        rustix::stdio::dup2_stdin(&nothing).map_err(|error| told(error.into()))?;
        let inheritance = receive(&channel).map_err(told)?;
        Ok((Self(channel), inheritance))
    }

    /// Tells why this process cannot take over.
    pub fn fail(&self, problem: &str) {
        let end = problem.floor_char_boundary(TEXT_BYTES_MAX);
        let text = problem.get(..end).unwrap_or_default().to_owned();
        // An old process that is gone needs no answer.
        let _gone = written(&FromNew::Failed(text)).and_then(|bytes| self.0.send(&bytes, &[]));
    }

    /// Says that this process accepts, and waits for the old one to step back. An old process that has gone has stepped back too; one
    /// that has given up ends this process.
    pub fn take_over(self) {
        if written(&FromNew::Ready).and_then(|bytes| self.0.send(&bytes, &[])).is_ok() {
            let _go = self.0.receive(PATIENCE);
        }
    }
}

fn receive(channel: &Channel) -> io::Result<Inheritance> {
    let mut inheritance = Inheritance::default();
    for _ in 0..MESSAGES_MAX {
        let (bytes, descriptors) = channel.receive(PATIENCE)?;
        let FromOld::Sockets { kinds, more } = serde_json::from_slice(&bytes).map_err(io::Error::other)? else { break };
        if kinds.len() != descriptors.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "as many descriptors as sockets are expected"));
        }
        for (kind, descriptor) in kinds.into_iter().zip(descriptors) {
            match kind {
                Kind::Management(path) => inheritance.management = Some((descriptor, path)),
                Kind::Probes => inheritance.probes = Some(descriptor.into()),
                Kind::Listener => {
                    let listener = TcpListener::from(descriptor);
                    inheritance.listeners.entry(listener.local_addr()?).or_default().push(listener);
                }
            }
        }
        if !more {
            inheritance.tickets = Some(channel.receive_secret(PATIENCE)?);
            return Ok(inheritance);
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the sockets do not end"))
}
