//! Puts configurations in force, one after the other, each wholly or not at all.

use crate::build::Builder;
use crate::expiries::{Expiry, expiries};
use crate::files::Seen;
use crate::guard::{Admitted, Guard};
use crate::last_good::LastGood;
use crate::warnings::warnings;
use portcullis_control_config::{Finding, ListenerPlan, Loader, Plan};
use portcullis_gateway_listener::{ConnectionCaps, ConnectionLimits, bind};
use portcullis_gateway_proxy::{DataPlane, ListenerKey, Published, Snapshot};
use portcullis_model::Generation;
use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long the end waits for a disk that does not take the last known good configuration.
const DISK_PATIENCE: Duration = Duration::from_secs(5);

/// What runs.
pub struct Running {
    /// The plan it was built from.
    pub plan: Plan,
    /// What workers look at.
    pub snapshot: Arc<Snapshot>,
    /// What of it runs out.
    pub expiries: Arc<[Expiry]>,
    fingerprint: [u8; 32],
}

/// What a reload brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The number of the configuration now in force.
    pub generation: Generation,
    /// Its hash.
    pub hash: String,
    /// Whether anything changed.
    pub changed: bool,
    /// What the operator should know.
    pub warnings: Vec<Finding>,
    /// Why it may be in force, by what it opens.
    pub admitted: Admitted,
    /// The hash of the configuration before.
    pub hash_before: String,
}

impl Outcome {
    /// What runs is what is written.
    #[must_use]
    pub fn unchanged(generation: Generation, hash: String) -> Self {
        let hash_before = hash.clone();
        Self { generation, hash, changed: false, warnings: Vec::new(), admitted: Admitted::NotWider, hash_before }
    }
}

/// A listener that is listened on: its sockets are the workers', whatever its name becomes.
struct Listening {
    name: Arc<str>,
    address: SocketAddr,
    caps: Arc<ConnectionCaps>,
    /// For the next version of this program: descriptors of the sockets that the workers accept on.
    sockets: Vec<TcpListener>,
}

/// Sockets that were listened on before this process began, by their addresses.
pub type Inherited = HashMap<SocketAddr, Vec<TcpListener>>;

/// Loads, builds and publishes.
pub struct Reloader {
    loader: Loader,
    builder: Builder,
    guard: Guard,
    last_good: LastGood,
    running: Running,
    published: Arc<Published>,
    plane: DataPlane,
    listening: HashMap<ListenerKey, Listening>,
    /// Snapshots that are out of force and may still be looked at by an exchange. Freed here rather than by a worker.
    retired: Vec<Arc<Snapshot>>,
    /// The files as they were when they were last read and said what runs.
    seen: Option<Seen>,
}

impl Reloader {
    /// Takes over after the first configuration: begins to listen, on the sockets that are there already where there are some.
    ///
    /// # Errors
    /// When an address cannot be had.
    pub fn start(
        loader: Loader,
        builder: Builder,
        (guard, last_good): (Guard, LastGood),
        (plan, fingerprint): (Plan, [u8; 32]),
        published: Arc<Published>,
        plane: DataPlane,
        mut inherited: Inherited,
    ) -> Result<Self, String> {
        let expiries = expiries(&plan).into();
        let running = Running { plan, snapshot: published.snapshot(), expiries, fingerprint };
        let listening = HashMap::new();
        let retired = Vec::new();
        let mut reloader = Self { loader, builder, guard, last_good, running, published, plane, listening, retired, seen: None };
        let sockets = reloader.bind_new(&reloader.running.plan, &mut inherited)?;
        let plan = reloader.running.plan.clone();
        reloader.listen(&plan, sockets)?;
        reloader.last_good.keep(&plan);
        Ok(reloader)
    }

    /// What runs.
    #[must_use]
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// The files to watch: the configuration's own, those of certificates, keys, authorities and revocation, and those that policies name.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = self.own_files();
        files.extend(self.guard.file().cloned());
        files.extend(self.running.plan.policy_files().into_iter().map(|file| file.path));
        files
    }

    /// The files without those that policies name.
    fn own_files(&self) -> Vec<PathBuf> {
        let mut files = self.loader.files();
        for listener in &self.running.plan.listeners {
            if let portcullis_control_config::ListenerMode::Tls(tls) = &listener.mode {
                files.extend(tls.files().cloned());
            }
        }
        files.extend(self.running.plan.upstreams.iter().flat_map(|upstream| upstream.tls.files().cloned()));
        files
    }

    /// Reads those files again that policies name and that have changed, and gives the paths of those that are now in force. Nothing
    /// else is built anew.
    ///
    /// # Errors
    /// What is wrong with any of them, for the operator. What was read of it before stays in force.
    pub fn refresh_files(&mut self) -> Result<Vec<PathBuf>, String> {
        self.builder.files.refresh()
    }

    /// Whether certainly nothing but files that policies name has changed since the configuration was last read: then there is no need to
    /// read it again.
    #[must_use]
    pub fn is_up_to_date(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.is_still_so(&self.own_files()))
    }

    /// Reads the configuration again, and puts it in force if it is sound; else what runs goes on.
    ///
    /// # Errors
    /// Why it was refused, for the operator.
    pub fn reload(&mut self) -> Result<Outcome, String> {
        self.retired.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        let seen = Seen::now(self.own_files(), self.builder.clock.unix_seconds());
        self.seen = None;
        let plan = self.loader.load().map_err(|report| report.render(false))?;
        let generation = Generation(self.running.snapshot.generation.0 + 1);
        let built = self.builder.build(&plan, generation)?;
        if built.fingerprint == self.running.fingerprint {
            self.seen = Some(seen);
            let (generation, hash) = (self.running.snapshot.generation, self.running.snapshot.hash.clone());
            return Ok(Outcome::unchanged(generation, hash));
        }
        // The last step that can fail comes before the first that changes anything.
        let sockets = self.bind_new(&plan, &mut Inherited::new())?;
        let hash_before = self.running.snapshot.hash.clone();
        // Where nothing is refused by what it opens, what it opens is found out when it is in force: that is not waited for.
        let admitted = if self.guard.may_refuse() { Some(self.guard.admit(&self.running.plan, &plan)?) } else { None };
        let warnings = warnings(&plan, &built.overlaps, &built.snapshot.routes, &self.loader);
        self.builder.follow(built.names);
        let mut snapshot = built.snapshot;
        snapshot.follow(&self.running.snapshot);
        let snapshot = Arc::new(snapshot);
        self.published.publish(Arc::clone(&snapshot));
        self.listen(&plan, sockets)?;
        let hash = snapshot.hash.clone();
        let expiries = expiries(&plan).into();
        let next = Running { plan, snapshot, expiries, fingerprint: built.fingerprint };
        let before = std::mem::replace(&mut self.running, next);
        self.retired.push(before.snapshot);
        self.last_good.keep(&self.running.plan);
        let admitted = admitted.map_or_else(|| self.guard.admit(&before.plan, &self.running.plan), Ok)?;
        Ok(Outcome { generation, hash, changed: true, warnings, admitted, hash_before })
    }

    /// Asks clients to go elsewhere, or no longer.
    pub fn leave(&self, leaving: bool) {
        self.plane.leave(leaving);
    }

    /// Ends the data plane, letting exchanges finish for at most `within`. `false`: the last known good configuration was not on disk
    /// in time.
    #[must_use]
    pub fn stop(mut self, within: Duration) -> bool {
        // As long as a descriptor is open the kernel accepts on its socket, for nobody.
        self.listening.clear();
        self.plane.stop(within);
        self.last_good.finish(DISK_PATIENCE)
    }

    /// Descriptors of every socket that is listened on, for the next version of this program.
    ///
    /// # Errors
    /// When the system gives no more descriptors.
    pub fn sockets(&self) -> std::io::Result<Vec<TcpListener>> {
        self.listening.values().flat_map(|listening| &listening.sockets).map(TcpListener::try_clone).collect()
    }

    /// How many connections each listener has.
    #[must_use]
    pub fn open_connections(&self) -> u64 {
        self.listening.values().map(|listening| u64::from(listening.caps.open())).sum()
    }

    /// The addresses that are listened on, by listener.
    pub fn addresses(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.listening.values().map(|listening| (&*listening.name, listening.address))
    }

    /// Binds what is not bound yet. A listener whose name alone is new has its sockets already: what is queued on them is not lost.
    fn bind_new(&self, plan: &Plan, inherited: &mut Inherited) -> Result<HashMap<ListenerKey, Vec<TcpListener>>, String> {
        let mut bound = HashMap::new();
        for listener in &plan.listeners {
            let key = key_of(listener);
            if self.listening.contains_key(&key) {
                continue;
            }
            if let Some(sockets) = inherited.remove(&listener.address) {
                bound.insert(key, sockets);
                continue;
            }
            let refused = |error| format!("listener `{}`: {}", listener.name, self.explain(listener.address, &error));
            bound.insert(key, bind(listener.address, self.plane.workers()).map_err(refused)?);
        }
        Ok(bound)
    }

    /// Why an address cannot be had, also when it is this gateway that stands in the way.
    fn explain(&self, address: SocketAddr, error: &std::io::Error) -> String {
        let in_the_way =
            |other: &&Listening| other.address.port() == address.port() && other.address.is_ipv4() == address.is_ipv4();
        match self.listening.values().find(in_the_way) {
            Some(other) if error.kind() == std::io::ErrorKind::AddrInUse => {
                let (name, held) = (&other.name, other.address);
                format!(
                    "{address}: the running listener `{name}` holds {held}; take it out in a reload of its own first, or choose another port"
                )
            }
            _ => error.to_string(),
        }
    }

    fn listen(&mut self, plan: &Plan, mut sockets: HashMap<ListenerKey, Vec<TcpListener>>) -> Result<(), String> {
        let mut gone: HashMap<ListenerKey, Listening> = std::mem::take(&mut self.listening);
        for listener in &plan.listeners {
            let limits = ConnectionLimits {
                connections: listener.limits.connections,
                per_client: listener.limits.connections_per_client,
                handshakes_per_client: listener.limits.handshakes_per_client,
            };
            let key = key_of(listener);
            let (caps, mut kept) = match gone.remove(&key) {
                Some(running) => {
                    running.caps.set_limits(limits);
                    (running.caps, running.sockets)
                }
                None => (ConnectionCaps::new(limits), Vec::new()),
            };
            if let Some(sockets) = sockets.remove(&key) {
                kept = sockets.iter().map(TcpListener::try_clone).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
                self.plane.listen(&key, sockets, &caps).map_err(|error| error.to_string())?;
            }
            let (name, address) = (Arc::clone(&listener.name), listener.address);
            self.listening.insert(key, Listening { name, address, caps, sockets: kept });
        }
        // Drops the descriptors: as long as one is open the kernel accepts on its socket, for nobody.
        self.plane.unlisten(gone.into_keys().collect());
        Ok(())
    }
}

fn key_of(listener: &ListenerPlan) -> ListenerKey {
    ListenerKey::new(listener.address, &listener.name)
}
