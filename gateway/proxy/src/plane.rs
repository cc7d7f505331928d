//! The data plane: one thread a core, each with a runtime, sockets and connections of its own.

use crate::balancer::{Arrival, arrive};
use crate::connection::serve_connection;
use crate::snapshot::{ListenerKey, Published};
use crate::worker::Worker;
use portcullis_gateway_listener::{ConnectionCaps, ConnectionPermit, Io, accept_loop, handshake};
use portcullis_gateway_policy::ConnectionFacts;
use portcullis_model::{ConnectionEvent, RecordSink};
use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// How often unused upstream connections are looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// Commands a worker may have waiting.
const COMMANDS_MAX: usize = 64;

/// Makes a worker's sink on the worker's own thread.
pub type SinkMaker = Box<dyn FnOnce() -> Rc<dyn RecordSink> + Send>;

enum Command {
    Listen { key: ListenerKey, socket: std::net::TcpListener, caps: Arc<ConnectionCaps> },
    Unlisten { key: ListenerKey },
    Stop { within: Duration },
}

struct WorkerHandle {
    commands: mpsc::Sender<Command>,
    thread: JoinHandle<()>,
}

/// The workers. Its functions wait for them, so they must not be called on a thread that runs async tasks.
pub struct DataPlane {
    workers: Vec<WorkerHandle>,
}

impl DataPlane {
    /// Starts a worker for each sink; `seed` must be random.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made.
    pub fn start(published: &Arc<Published>, sinks: Vec<SinkMaker>, seed: [u8; 16]) -> io::Result<Self> {
        let mut workers = Vec::with_capacity(sinks.len());
        for (index, sink) in sinks.into_iter().enumerate() {
            let (commands, received) = mpsc::channel(COMMANDS_MAX);
            let published = Arc::clone(published);
            let mut seed = seed;
            for (byte, own) in seed.iter_mut().zip((index as u64 + 1).to_le_bytes()) {
                *byte ^= own;
            }
            let runtime_made = std::sync::mpsc::sync_channel(1);
            let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
                match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
                    Ok(runtime) => {
                        let _heard = runtime_made.0.send(Ok(()));
                        runtime.block_on(work(Worker::new(published, sink(), seed), received));
                    }
                    Err(error) => {
                        let _heard = runtime_made.0.send(Err(error));
                    }
                }
            })?;
            runtime_made.1.recv().map_err(io::Error::other)??;
            workers.push(WorkerHandle { commands, thread });
        }
        Ok(Self { workers })
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Gives each worker one of `sockets` to accept on, for the listener of this key in whatever configuration is in force.
    ///
    /// # Errors
    /// When a worker is gone.
    pub fn listen(&self, key: &ListenerKey, sockets: Vec<std::net::TcpListener>, caps: &Arc<ConnectionCaps>) -> io::Result<()> {
        for (worker, socket) in self.workers.iter().zip(sockets) {
            let command = Command::Listen { key: key.clone(), socket, caps: Arc::clone(caps) };
            worker.commands.blocking_send(command).map_err(|_| io::Error::other("a worker is gone"))?;
        }
        Ok(())
    }

    /// Stops accepting for a listener; its connections go on.
    pub fn unlisten(&self, key: &ListenerKey) {
        for worker in &self.workers {
            // A worker that is gone accepts nothing.
            let _gone = worker.commands.blocking_send(Command::Unlisten { key: key.clone() });
        }
    }

    /// Stops accepting, lets exchanges finish for at most `within`, and ends every worker.
    pub fn stop(self, within: Duration) {
        for worker in &self.workers {
            let _gone = worker.commands.blocking_send(Command::Stop { within });
        }
        for worker in self.workers {
            let joined = worker.thread.join();
            debug_assert!(joined.is_ok(), "a worker ends by itself");
        }
    }
}

/// A worker's life.
async fn work(worker: Rc<Worker>, mut commands: mpsc::Receiver<Command>) {
    let mut accepting: HashMap<ListenerKey, AbortHandle> = HashMap::new();
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    let (mut origin, presses) = (worker.origin(), Cell::new(0));
    loop {
        let pressed = async {
            match &origin {
                Some(origin) => origin.is_pressed(&presses).await,
                None => std::future::pending().await,
            }
        };
        let command = tokio::select! {
            command = commands.recv() => command,
            () = pressed => {
                worker.relieve();
                continue;
            }
            _ = sweep.tick() => {
                worker.sweep();
                origin = worker.origin();
                continue;
            }
        };
        match command {
            Some(Command::Listen { key, socket, caps }) => {
                let task = tokio::task::spawn_local(accept(key.clone(), socket, caps, Rc::clone(&worker)));
                if let Some(before) = accepting.insert(key, task.abort_handle()) {
                    before.abort();
                }
            }
            Some(Command::Unlisten { key }) => {
                if let Some(task) = accepting.remove(&key) {
                    task.abort();
                }
            }
            Some(Command::Stop { within }) => {
                accepting.values().for_each(AbortHandle::abort);
                return drain(&worker, within).await;
            }
            None => return,
        }
    }
}

/// Waits until no exchange is going on.
async fn drain(worker: &Worker, within: Duration) {
    worker.begin_draining();
    let deadline = Instant::now() + within;
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    while worker.exchanges() > 0 && Instant::now() < deadline {
        tick.tick().await;
    }
}

async fn accept(key: ListenerKey, socket: std::net::TcpListener, caps: Arc<ConnectionCaps>, worker: Rc<Worker>) {
    let outcome = accept_loop(
        socket,
        &caps,
        |address| worker.view().listener(&key).is_some_and(|listener| listener.balancers.trusts(address)),
        |stream, peer, permit| {
            tokio::task::spawn_local(begin(stream, peer, permit, key.clone(), Rc::clone(&worker)));
        },
        |reason| {
            if let Some(listener) = worker.view().listener(&key) {
                worker.connection_event(&listener.name, ConnectionEvent::Refused(reason));
            }
        },
    )
    .await;
    debug_assert!(outcome.is_ok(), "a bound socket can be registered");
}

/// One accepted connection: its handshake, and then its exchanges. Counted while it lives.
async fn begin(mut stream: TcpStream, peer: SocketAddr, mut permit: ConnectionPermit, key: ListenerKey, worker: Rc<Worker>) {
    let Some(listener) = worker.view().listener(&key).cloned() else { return };
    let name = Arc::clone(&listener.name);
    let _open = Open::new(&worker, &name);
    let limits = &listener.limits;
    let deadline = Instant::now() + if listener.tls.is_some() { limits.handshake_deadline } else { limits.header_deadline };
    let Arrival { peer, balancer } = match arrive(&mut stream, peer, &mut permit, &listener, deadline).await {
        Ok(Some(arrival)) => arrival,
        Ok(None) => return,
        Err(reason) => return worker.connection_event(&name, ConnectionEvent::Refused(reason)),
    };
    let (io, tls) = match &listener.tls {
        None => (Io::Tcp(stream), None),
        Some(context) => {
            let left = deadline.saturating_duration_since(Instant::now());
            match Box::pin(handshake(stream, Arc::clone(context), left)).await {
                Ok((stream, facts)) => {
                    worker.connection_event(&name, ConnectionEvent::Secured);
                    (Io::Tls(Box::new(stream)), Some(Arc::new(facts)))
                }
                Err(reason) => return worker.connection_event(&name, ConnectionEvent::HandshakeFailed(reason)),
            }
        }
    };
    let facts = ConnectionFacts::new(Arc::clone(&name), peer, tls).through(balancer);
    serve_connection(io, facts, listener, Rc::clone(&worker)).await;
}

/// Tells of a connection's begin and, whatever happens in between, its end.
struct Open<'a> {
    worker: &'a Worker,
    name: &'a Arc<str>,
}

impl<'a> Open<'a> {
    fn new(worker: &'a Worker, name: &'a Arc<str>) -> Self {
        worker.connection_event(name, ConnectionEvent::Opened);
        Self { worker, name }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.worker.connection_event(self.name, ConnectionEvent::Closed);
    }
}
