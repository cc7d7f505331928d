//! The data plane: one thread a core, each with a runtime, sockets and connections of its own.

use crate::balancer::{Arrival, arrive};
use crate::connection::serve_connection;
use crate::door::knock;
use crate::drain::{Place, Stage};
use crate::hand::{Fresh, Giving, Handed, Hands, hands};
use crate::load::BEAT_EVERY;
use crate::overload::Pressure;
use crate::snapshot::{Listener, ListenerKey, Published};
use crate::worker::Worker;
use portcullis_gateway_listener::{Comer, ConnectionCaps, ConnectionPermit, Io, accept_loop, handshake};
use portcullis_gateway_policy::ConnectionFacts;
use portcullis_model::{ConnectionEvent, Reason, RecordSink};
use std::cell::Cell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle as Task;
use tokio::time::{Instant, MissedTickBehavior};

/// How often unused upstream connections are looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// How long connections that are cut off may take to end in order.
const CUT_TIME_MAX: Duration = Duration::from_secs(1);
/// Between two connections that a socket accepts under pressure: a few, so that a figure that does not fall locks nobody out.
const HOLD: Duration = Duration::from_millis(100);
const HOLD_LONGER: Duration = Duration::from_secs(1);
/// Commands a worker may have waiting.
const COMMANDS_MAX: usize = 64;

/// Makes a worker's sink on the worker's own thread.
pub type SinkMaker = Box<dyn FnOnce() -> Rc<dyn RecordSink> + Send>;

enum Command {
    Listen { key: ListenerKey, sockets: Vec<std::net::TcpListener>, caps: Arc<ConnectionCaps> },
    Unlisten { keys: Arc<[ListenerKey]>, heard: std::sync::mpsc::SyncSender<()> },
    Leave { leaving: bool, heard: std::sync::mpsc::SyncSender<()> },
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
        let count = sinks.len();
        published.load.expect_workers(count);
        let hands = hands(count);
        for (index, (sink, hands)) in sinks.into_iter().zip(hands).enumerate() {
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
                        runtime.block_on(work(Worker::numbered(published, sink(), seed, (index, count)), received, hands));
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

    /// Shares `sockets` out to the workers to accept on, for the listener of this key in whatever configuration is in force, in
    /// place of those that it accepted on before.
    ///
    /// # Errors
    /// When a worker is gone, or the system gives no more descriptors.
    pub fn listen(&self, key: &ListenerKey, sockets: Vec<std::net::TcpListener>, caps: &Arc<ConnectionCaps>) -> io::Result<()> {
        for (worker, sockets) in self.workers.iter().zip(share_out(sockets, self.workers.len())?) {
            let command = Command::Listen { key: key.clone(), sockets, caps: Arc::clone(caps) };
            worker.commands.blocking_send(command).map_err(|_| io::Error::other("a worker is gone"))?;
        }
        Ok(())
    }

    /// Asks clients to go elsewhere, or no longer: answers say that connections end with them. Everything is still served. Comes
    /// back when every worker does so.
    pub fn leave(&self, leaving: bool) {
        let (heard, all_heard) = std::sync::mpsc::sync_channel(self.workers.len());
        for worker in &self.workers {
            // A worker that is gone serves nobody.
            let _gone = worker.commands.blocking_send(Command::Leave { leaving, heard: heard.clone() });
        }
        drop(heard);
        while all_heard.recv().is_ok() {}
    }

    /// What ends the workers at once while [`DataPlane::stop`] waits for them.
    #[must_use]
    pub fn hurry(&self) -> Hurry {
        Hurry(self.workers.iter().map(|worker| worker.commands.clone()).collect())
    }

    /// Stops accepting for these listeners; their connections go on. Comes back when every worker has taken over what is queued on their sockets: by
    /// then the configuration in force must still know them ([`crate::Snapshot::follow`]).
    pub fn unlisten(&self, keys: Vec<ListenerKey>) {
        let keys: Arc<[ListenerKey]> = keys.into();
        let (heard, all_heard) = std::sync::mpsc::sync_channel(1);
        for worker in self.workers.iter().filter(|_| !keys.is_empty()) {
            // A worker that is gone accepts nothing.
            let _gone = worker.commands.blocking_send(Command::Unlisten { keys: Arc::clone(&keys), heard: heard.clone() });
        }
        drop(heard);
        while all_heard.recv().is_ok() {}
    }

    /// Stops accepting, serves what the kernel has accepted already, lets exchanges finish for at most `within`, and ends every
    /// worker.
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

/// Ends the workers of a data plane at once.
pub struct Hurry(Vec<mpsc::Sender<Command>>);

impl Hurry {
    /// Cuts off what still goes on.
    pub fn now(&self) {
        for worker in &self.0 {
            // A worker that is gone, or has so much to hear, has been told already.
            let _told = worker.try_send(Command::Stop { within: Duration::ZERO });
        }
    }
}

/// Which worker accepts on which sockets: each socket has a worker, and each worker a socket, which it may share with others.
fn share_out(sockets: Vec<std::net::TcpListener>, workers: usize) -> io::Result<Vec<Vec<std::net::TcpListener>>> {
    let mut shares: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
    let few: Vec<_> = sockets.iter().take(workers).map(std::net::TcpListener::try_clone).collect::<io::Result<_>>()?;
    let count = few.len().max(1);
    for (index, share) in shares.iter_mut().enumerate().skip(few.len()) {
        share.extend(few.get(index % count).map(std::net::TcpListener::try_clone).transpose()?);
    }
    for (index, socket) in sockets.into_iter().enumerate() {
        if let Some(share) = shares.get_mut(index % workers.max(1)) {
            share.push(socket);
        }
    }
    Ok(shares)
}

/// A socket that is accepted on until this is dropped.
struct Accepting {
    _until: oneshot::Sender<()>,
    task: Task<()>,
}

/// Accepts no more; what the kernel has accepted already is served.
async fn finish(accepting: Vec<Accepting>) {
    let tasks: Vec<_> = accepting.into_iter().map(|one| one.task).collect();
    for task in tasks {
        // A task that failed accepts nothing any more.
        let _ended = task.await;
    }
}

/// A worker's life.
async fn work(worker: Rc<Worker>, mut commands: mpsc::Receiver<Command>, hands: Hands) {
    let Hands { received, giving } = hands;
    let (_until, until) = oneshot::channel();
    let taking = Accepting { _until, task: tokio::task::spawn_local(take_over(received, Rc::clone(&worker), until)) };
    let _beats = tokio::task::spawn_local(beats(Rc::clone(&worker)));
    let mut accepting: HashMap<ListenerKey, Vec<Accepting>> = HashMap::new();
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
            Some(Command::Listen { key, sockets, caps }) => {
                let begin = |socket| {
                    let (_until, until) = oneshot::channel();
                    let accepted = accept(key.clone(), socket, Arc::clone(&caps), (Rc::clone(&worker), giving.clone()), until);
                    Accepting { _until, task: tokio::task::spawn_local(accepted) }
                };
                let begun = sockets.into_iter().map(begin).collect();
                finish(accepting.insert(key, begun).unwrap_or_default()).await;
            }
            Some(Command::Unlisten { keys, heard }) => {
                finish(keys.iter().filter_map(|key| accepting.remove(key)).flatten().collect()).await;
                // Whoever asked hears of it by the end of the channel.
                drop(heard);
            }
            Some(Command::Leave { leaving, heard }) => {
                if leaving {
                    worker.drain.enter(Stage::Leaving);
                } else {
                    worker.drain.come_back();
                }
                // Whoever asked may have stopped waiting.
                let _nobody_waits = heard.try_send(());
            }
            Some(Command::Stop { within }) => {
                worker.drain.enter(Stage::Leaving);
                worker.load().leave(worker.index());
                finish(accepting.into_values().flatten().chain([taking]).collect()).await;
                return drain(&worker, within, &mut commands).await;
            }
            None => return,
        }
    }
}

/// Waits until every connection has ended; cuts off what is left when time is up, or when told to hurry.
async fn drain(worker: &Worker, within: Duration, commands: &mut mpsc::Receiver<Command>) {
    worker.begin_draining();
    let mut deadline = Instant::now() + within;
    loop {
        tokio::select! {
            () = worker.drain.emptied() => return,
            () = tokio::time::sleep_until(deadline) => break,
            command = commands.recv() => match command {
                Some(Command::Stop { within }) => deadline = deadline.min(Instant::now() + within),
                Some(_) => {}
                None => break,
            }
        }
    }
    worker.drain.enter(Stage::Cut);
    // Those that do not manage are dropped with the runtime.
    let _in_order = tokio::time::timeout(CUT_TIME_MAX, worker.drain.emptied()).await;
}

async fn accept(
    key: ListenerKey,
    socket: std::net::TcpListener,
    caps: Arc<ConnectionCaps>,
    (worker, giving): (Rc<Worker>, Giving),
    until: oneshot::Receiver<()>,
) {
    let outcome = accept_loop(
        socket,
        &caps,
        |address| match worker.view().accepting(&key) {
            Some(listener) if listener.balancers.trusts(address) => Ok(Comer::Balancer),
            Some(listener) => knock(&worker, listener, address).map(|()| Comer::Client),
            None => Ok(Comer::Client),
        },
        |stream, peer, permit| {
            let Some(listener) = worker.view().accepting(&key).map(Arc::clone) else { return };
            if let Some(fresh) = giving.hand(&worker, Fresh { stream, peer, permit, listener }) {
                serve(fresh, &worker);
            }
        },
        |reason| {
            if let Some(listener) = worker.view().accepting(&key) {
                worker.connection_event(&listener.name, ConnectionEvent::Refused(reason));
            }
        },
        || match worker.load().pressure() {
            Pressure::None | Pressure::Saving => Duration::ZERO,
            Pressure::Holding => HOLD,
            Pressure::Refusing => HOLD_LONGER,
        },
        until,
    )
    .await;
    debug_assert!(outcome.is_ok(), "a bound socket can be registered");
}

/// Serves connections that other workers have accepted, until `until` is ready; from then on whoever hands one over gets it back.
async fn take_over(mut received: mpsc::Receiver<Handed>, worker: Rc<Worker>, mut until: oneshot::Receiver<()>) {
    loop {
        let handed = tokio::select! {
            biased;
            _ = &mut until => break,
            handed = received.recv() => handed,
        };
        let Some(handed) = handed else { return };
        handed.arrive().into_iter().for_each(|fresh| serve(fresh, &worker));
    }
    received.close();
    while let Ok(handed) = received.try_recv() {
        handed.arrive().into_iter().for_each(|fresh| serve(fresh, &worker));
    }
}

/// Tells how the worker is doing, and how late it comes to tell.
async fn beats(worker: Rc<Worker>) {
    let mut beat = tokio::time::interval(BEAT_EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let due = beat.tick().await;
        worker.beat(Instant::now().saturating_duration_since(due));
    }
}

/// Serves a connection, in a task of its own.
fn serve(fresh: Fresh, worker: &Rc<Worker>) {
    let Fresh { stream, peer, permit, listener } = fresh;
    let place = worker.drain.place();
    worker.load().note_connections(worker.index(), worker.drain.connections());
    tokio::task::spawn_local(begin(stream, peer, (permit, place), listener, Rc::clone(worker)));
}

/// One accepted connection: its handshake, and then its exchanges. Counted while it lives.
async fn begin(
    mut stream: TcpStream,
    peer: SocketAddr,
    (mut permit, place): (ConnectionPermit, Place),
    listener: Arc<Listener>,
    worker: Rc<Worker>,
) {
    place.wake(Some(poll_fn(|cx| Poll::Ready(cx.waker().clone())).await));
    let listener = worker.listener(&listener);
    let name = Arc::clone(&listener.name);
    let _open = Open::new(&worker, &name);
    let limits = &listener.limits;
    let deadline = Instant::now() + if listener.tls.is_some() { limits.handshake_deadline } else { limits.header_deadline };
    let Arrival { peer, balancer } = match arrive(&mut stream, peer, &mut permit, (&listener, &worker), deadline).await {
        Ok(Some(arrival)) => arrival,
        Ok(None) => return,
        Err(reason) => return worker.connection_event(&name, ConnectionEvent::Refused(reason)),
    };
    let (io, tls) = match &listener.tls {
        None => (Io::Tcp(stream), None),
        Some(context) => {
            let left = deadline.saturating_duration_since(Instant::now());
            if let Err(reason) = permit.begin_handshake() {
                worker.published().offend(peer.ip(), reason);
                return worker.connection_event(&name, ConnectionEvent::Refused(reason));
            }
            let shaken = Box::pin(handshake(stream, Arc::clone(context), left)).await;
            permit.end_handshake();
            match shaken {
                Ok((stream, facts)) => {
                    worker.connection_event(&name, ConnectionEvent::Secured);
                    (Io::Tls(Box::new(stream)), Some(Arc::new(facts)))
                }
                Err(reason) => {
                    worker.published().offend(peer.ip(), reason);
                    return worker.connection_event(&name, ConnectionEvent::HandshakeFailed(reason));
                }
            }
        }
    };
    let facts = ConnectionFacts::new(Arc::clone(&name), peer, tls).through(balancer);
    if worker.is_revoked(&facts) {
        return worker.connection_event(&name, ConnectionEvent::HandshakeFailed(Reason::ClientCertificateRevoked));
    }
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
