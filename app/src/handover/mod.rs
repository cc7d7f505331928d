//! The hand-over to the next version of the program: the same sockets, the same ticket keys, no gap.
//!
//! Closing a listening socket resets what is queued on it, so the new process gets descriptors of the same sockets: whichever process
//! accepts, nothing is lost. The old one starts the new one and tells it all it needs; the new one builds what it will run, begins to
//! accept, and says that it is ready; only then the old one stops accepting and drains. Until then nothing has changed.

mod channel;
mod new;
mod notify;
mod old;

pub use new::{Inheritance, Predecessor};
pub use notify::Notify;
pub use old::{Own, Program, Upgrader};

use serde::{Deserialize, Serialize};

/// What the old process says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FromOld {
    /// Sockets, in the order of the descriptors that go with the message; whether more of them come.
    Sockets { kinds: Vec<Kind>, more: bool },
    /// The new one has taken over.
    Go,
}

/// What a socket is for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// Connections of clients.
    Listener,
    /// The management API; where its file is.
    Management(std::path::PathBuf),
    /// Probes.
    Probes,
}

/// What the new process says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FromNew {
    /// It accepts.
    Ready,
    /// It cannot serve, and why.
    Failed(String),
}

fn written(message: &impl Serialize) -> std::io::Result<Vec<u8>> {
    serde_json::to_vec(message).map_err(std::io::Error::other)
}
