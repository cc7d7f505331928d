//! New connections go from a busy worker to an idle one: before anything has been read from them, so that nothing else moves.

use crate::snapshot::Listener;
use crate::worker::Worker;
use portcullis_gateway_listener::ConnectionPermit;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// How many connections may be on the way to a worker.
const HANDED_MAX: usize = 256;

/// A connection that has just been accepted.
pub(crate) struct Fresh {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) permit: ConnectionPermit,
    pub(crate) listener: Arc<Listener>,
}

/// The same on its way, free of the runtime that accepted it.
pub(crate) struct Handed {
    stream: std::net::TcpStream,
    peer: SocketAddr,
    permit: ConnectionPermit,
    listener: Arc<Listener>,
}

impl Handed {
    /// Takes the connection into the runtime of this thread; `None` when the system does not let it, which ends the connection.
    pub(crate) fn arrive(self) -> Option<Fresh> {
        let Self { stream, peer, permit, listener } = self;
        TcpStream::from_std(stream).ok().map(|stream| Fresh { stream, peer, permit, listener })
    }
}

/// What a worker gets connections by, and what it hands them to others by.
pub(crate) struct Hands {
    /// Connections that others have accepted.
    pub(crate) received: mpsc::Receiver<Handed>,
    /// The giving side.
    pub(crate) giving: Giving,
}

/// Hands for so many workers.
pub(crate) fn hands(workers: usize) -> Vec<Hands> {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::channel(HANDED_MAX)).unzip();
    receivers.into_iter().map(|received| Hands { received, giving: Giving(senders.clone()) }).collect()
}

/// Hands connections to every worker.
#[derive(Clone)]
pub(crate) struct Giving(Vec<mpsc::Sender<Handed>>);

impl Giving {
    /// Hands a connection to a worker that has less to do, or gives it back to be served here. `None`: it is gone.
    pub(crate) fn hand(&self, worker: &Worker, fresh: Fresh) -> Option<Fresh> {
        let load = worker.load();
        load.saw_descriptor(u64::try_from(fresh.stream.as_raw_fd()).unwrap_or(0));
        let Some(better) = load.better_than(worker.index()).and_then(|index| self.0.get(index)) else { return Some(fresh) };
        let Fresh { stream, peer, permit, listener } = fresh;
        // A socket that cannot leave the runtime is broken.
        let stream = stream.into_std().ok()?;
        match better.try_send(Handed { stream, peer, permit, listener }) {
            Ok(()) => {
                load.note_handed(worker.index());
                None
            }
            // Its hands are full, or it is ending.
            Err(mpsc::error::TrySendError::Full(handed) | mpsc::error::TrySendError::Closed(handed)) => handed.arrive(),
        }
    }
}
